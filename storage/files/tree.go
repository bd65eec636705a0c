package files

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// errInTheWay is wrapped by the error of a call that met something that is
// neither a folder on the way to its key nor a file under it: a symbolic link, a
// device, a file where a folder is needed, or a folder where a file is. In the
// last two cases, where nothing is wrong but that no file has that key, the error
// wraps [fs.ErrNotExist] too.
var errInTheWay = errors.New("something else is in the way")

// wayError says what is in the way.
type wayError struct {
	name string
	what string
	// harmless is set for ordinary files and folders in each other's place.
	harmless bool
}

func inTheWay(name string, mode fs.FileMode) error {
	switch {
	case mode.IsDir():
		return &wayError{name, "it is a folder", true}
	case mode.IsRegular():
		return &wayError{name, "it is a file", true}
	case mode.Type() == fs.ModeSymlink:
		return &wayError{name, "it is a symbolic link", false}
	default:
		return &wayError{name, "it is a device or the like", false}
	}
}

func (e *wayError) Error() string { return e.name + ": " + errInTheWay.Error() + ": " + e.what }

func (e *wayError) Is(target error) bool {
	return target == errInTheWay || e.harmless && target == fs.ErrNotExist
}

// placeTries is how often a file is put into its folder before giving up on a folder that is removed
// again each time, and how often it is opened before giving up on a name that never stays the same.
const placeTries = 10

// at calls fn with the folder of the file named key and the file's name in it.
func (f *Folder) at(key string, fn func(dir *os.Root, name string) error) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	dir, err := f.walk(path.Dir(key), false)
	if err != nil {
		return err
	}
	return closeAfter(dir, fn(dir, path.Base(key)))
}

// place makes the folder of key, calls move, which puts a file or folder there,
// and makes the new entry durable. The folder may be pruned by a removal between
// the two steps; then both are done again.
func (f *Folder) place(key string, move func() error) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	var err error
	for range placeTries {
		err = f.placeOnce(key, move)
		if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, errInTheWay) {
			break
		}
	}
	if err != nil {
		f.prune(path.Dir(key)) // folders made for nothing
	}
	return asFull(err)
}

func (f *Folder) placeOnce(key string, move func() error) error {
	dir, err := f.walk(path.Dir(key), true)
	if err != nil {
		return err
	}
	_, err = regular(dir, path.Base(key))
	if err == nil || !errors.Is(err, errInTheWay) {
		err = move()
	}
	if err == nil {
		err = syncFolder(dir)
	}
	return closeAfter(dir, err)
}

// walk opens the folder named name, "." for the root itself, part by part and
// without following a link. With create it makes the parts that are missing.
func (f *Folder) walk(name string, create bool) (*os.Root, error) {
	dir, err := f.root.OpenRoot(".")
	if err != nil || name == "." {
		return dir, err
	}
	for part := range strings.SplitSeq(name, "/") {
		next, err := step(dir, part, create)
		if err = closeAfter(dir, err); err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

func step(dir *os.Root, part string, create bool) (*os.Root, error) {
	if create {
		err := dir.Mkdir(part, 0o700)
		if err == nil {
			err = syncFolder(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return child(dir, part)
}

// child opens the folder called name in dir. A root follows links as long as
// they stay inside it; comparing what was opened with what the name itself is
// shows a link, also one that was put there between the two looks.
func child(dir *os.Root, name string) (*os.Root, error) {
	before, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.IsDir() {
		return nil, inTheWay(name, before.Mode())
	}
	sub, err := dir.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	if after, err := sub.Stat("."); err != nil || !os.SameFile(before, after) {
		return nil, closeAfter(sub, errors.Join(err, replaced(name)))
	}
	return sub, nil
}

// replaced is the error of opening something that is not what was looked at just before.
func replaced(name string) error {
	return &wayError{name, "it was replaced while it was opened", false}
}

// regular describes the file called name in dir.
func regular(dir *os.Root, name string) (fs.FileInfo, error) {
	st, err := dir.Lstat(name)
	if err == nil && !st.Mode().IsRegular() {
		err = inTheWay(name, st.Mode())
	}
	return st, err
}

// openRegular opens the file called name in dir for reading, in the way that
// child opens a folder. A file may be replaced by another all the time.
func openRegular(dir *os.Root, name string) (*os.File, error) {
	for range placeTries {
		before, err := regular(dir, name)
		if err != nil {
			return nil, err
		}
		file, err := dir.Open(name)
		if err != nil {
			return nil, err
		}
		after, err := file.Stat()
		if err == nil && os.SameFile(before, after) {
			return file, nil
		}
		if err = closeAfter(file, err); err != nil {
			return nil, err
		}
	}
	return nil, replaced(name)
}

// prune removes the folder name and those above it for as long as they are
// empty. It only tidies up, so what stops it is of no interest: mostly a folder
// that has something in it.
func (f *Folder) prune(name string) {
	for ; name != "."; name = path.Dir(name) {
		dir, err := f.walk(path.Dir(name), false)
		if err == nil {
			err = closeAfter(dir, removeFolder(dir, path.Base(name)))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}

// removeFolder removes the folder called name in dir if it is empty. Root.Remove
// would do as much to a file that took the folder's place meanwhile.
func removeFolder(dir *os.Root, name string) error {
	return withFolder(dir, func(d *os.File) error {
		return unix.Unlinkat(int(d.Fd()), name, unix.AT_REMOVEDIR)
	})
}

// syncFolder makes the entries of dir durable: names that came, went or moved.
func syncFolder(dir *os.Root) error {
	return withFolder(dir, (*os.File).Sync)
}

func withFolder(dir *os.Root, fn func(*os.File) error) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	return closeAfter(d, fn(d))
}

// closeAfter closes c and returns err, or else what closing said.
func closeAfter(c interface{ Close() error }, err error) error {
	return errors.Join(err, c.Close())
}
