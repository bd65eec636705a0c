package files

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"time"
)

// Folder is a rooted folder of files. Its methods may be called from several
// goroutines, and several processes may have the same folder open.
type Folder struct {
	root *os.Root
}

// Info describes a stored file.
type Info struct {
	Key        string
	Size       int64 // in bytes
	ModifiedAt time.Time
}

// Open opens the folder dir, which it makes, for its owner alone (0700), when it
// is missing. Close it when done.
func Open(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make file folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open file folder: %w", err)
	}
	f := &Folder{root: root}
	in, err := f.walk(Incoming, true)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open file folder %s: %w", dir, err), root.Close())
	}
	return f, closeAfter(in, nil)
}

// Close closes the folder. Files opened from it stay open; writers cannot
// commit any more.
func (f *Folder) Close() error { return f.root.Close() }

// Open opens a file for reading; close it when done. Its error wraps
// [fs.ErrNotExist] when no file has that key, and [ErrInTheWay] when a link is
// met on the way.
func (f *Folder) Open(key string) (*os.File, error) {
	var file *os.File
	err := f.at(key, func(dir *os.Root, name string) (err error) {
		file, err = openRegular(dir, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open file %s: %w", key, err)
	}
	return file, nil
}

// Stat describes the file with that key. Its error wraps [fs.ErrNotExist] when
// there is none.
func (f *Folder) Stat(key string) (Info, error) {
	info := Info{Key: key}
	err := f.at(key, func(dir *os.Root, name string) error {
		st, err := regular(dir, name)
		if err == nil {
			info.Size, info.ModifiedAt = st.Size(), st.ModTime()
		}
		return err
	})
	if err != nil {
		return Info{}, fmt.Errorf("stat file %s: %w", key, err)
	}
	return info, nil
}

// Remove removes the file with that key, and the folders above it that are
// empty then. Its error wraps [fs.ErrNotExist] when there is none.
//
// A removal is not forced to disk: after a loss of power the file may be back,
// so callers that must be sure remove again.
func (f *Folder) Remove(key string) error {
	err := f.at(key, func(dir *os.Root, name string) error {
		if _, err := regular(dir, name); err != nil {
			return err
		}
		return dir.Remove(name)
	})
	if err != nil {
		return fmt.Errorf("remove file %s: %w", key, err)
	}
	f.prune(path.Dir(key))
	return nil
}

// RemoveAll removes the file or the folder named prefix with all that is in it,
// and the folders above it that are empty then. Nothing there is no error.
// Links in it are removed, not followed. As with Remove, it is not forced to disk.
func (f *Folder) RemoveAll(prefix string) error {
	err := f.at(prefix, func(dir *os.Root, name string) error { return dir.RemoveAll(name) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove files in %s: %w", prefix, err)
	}
	f.prune(path.Dir(prefix))
	return nil
}

// Rename moves a file, or a folder with all that is in it, to another key and
// makes the move durable. A file that was at to is replaced; anything else there
// is refused with [ErrInTheWay].
func (f *Folder) Rename(from, to string) error {
	err := f.at(from, func(dir *os.Root, name string) error {
		st, err := dir.Lstat(name)
		if err == nil && !st.IsDir() && !st.Mode().IsRegular() {
			err = inTheWay(from, st.Mode())
		}
		return err
	})
	if err == nil {
		err = f.place(to, func() error { return f.root.Rename(from, to) })
	}
	if err != nil {
		return fmt.Errorf("rename file %s to %s: %w", from, to, err)
	}
	return f.syncAndPrune(path.Dir(from))
}

// syncAndPrune makes the folder dir durable after something was moved out of it,
// and removes it when that left it empty.
func (f *Folder) syncAndPrune(dir string) error {
	d, err := f.walk(dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile, and the move with it
	}
	if err != nil {
		return err
	}
	err = closeAfter(d, syncFolder(d))
	f.prune(dir)
	return err
}

// List yields the files in the folder named prefix ("" for all), sorted by key
// as bytes compare, which is S3's order. A missing folder yields nothing. Links,
// devices and unfinished files are left out; files that come or go meanwhile may
// or may not be in it. After an error it ends.
func (f *Folder) List(prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		dir, err := f.walkPrefix(prefix, false)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err == nil {
			_, err = list(dir, prefix, yield)
			err = closeAfter(dir, err)
		}
		if err != nil {
			yield(Info{}, fmt.Errorf("list files in %q: %w", prefix, err))
		}
	}
}

// list yields what is under dir, whose key is prefix, and reports whether to go on.
func list(dir *os.Root, prefix string, yield func(Info, error) bool) (bool, error) {
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return false, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(sortName(a), sortName(b)) })
	for _, e := range entries {
		key := path.Join(prefix, e.Name())
		if key == Incoming {
			continue
		}
		more, err := listEntry(dir, e, key, yield)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrInTheWay) {
			continue // gone, or turned into something else, since the folder was read
		}
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

func listEntry(dir *os.Root, e fs.DirEntry, key string, yield func(Info, error) bool) (bool, error) {
	switch {
	case e.IsDir():
		sub, err := child(dir, e.Name())
		if err != nil {
			return false, err
		}
		more, err := list(sub, key, yield)
		return more, closeAfter(sub, err)
	case e.Type().IsRegular():
		st, err := e.Info()
		if err != nil {
			return false, err
		}
		return yield(Info{Key: key, Size: st.Size(), ModifiedAt: st.ModTime()}, nil), nil
	}
	return true, nil
}

// sortName is what an entry sorts by within its folder so that whole keys come
// out in order: everything in folder "a" has keys that begin with "a/".
func sortName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

// Sub opens the folder named prefix as a root of its own, to read what is in it
// (its FS method gives an [fs.FS]). Its error wraps [fs.ErrNotExist] when it is
// missing. Close it when done.
func (f *Folder) Sub(prefix string) (*os.Root, error) {
	dir, err := f.walkPrefix(prefix, false)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", prefix, err)
	}
	return dir, nil
}

// MakeSub makes the folder named prefix where it is missing, durably, and opens
// it as a root of its own, to put files into it without Create; whoever does that
// makes them durable. Close it when done.
func (f *Folder) MakeSub(prefix string) (*os.Root, error) {
	dir, err := f.walkPrefix(prefix, true)
	if err != nil {
		if CheckKey(prefix) == nil {
			f.prune(prefix) // what was made of it
		}
		return nil, fmt.Errorf("make folder %s: %w", prefix, asFull(err))
	}
	return dir, nil
}

func (f *Folder) walkPrefix(prefix string, create bool) (*os.Root, error) {
	if prefix == "" {
		prefix = "."
	} else if err := CheckKey(prefix); err != nil {
		return nil, err
	}
	return f.walk(prefix, create)
}
