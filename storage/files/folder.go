package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
)

// Folder is a [Store] in a rooted folder.
type Folder struct {
	root *os.Root
}

var _ Store = (*Folder)(nil)

// OpenFolder opens the folder dir, which it makes, for its owner alone (0700), when
// it is missing. Close it when done.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make file folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open file folder: %w", err)
	}
	f := &Folder{root: root}
	for _, unfinished := range []string{incomingFolder, growingFolder} {
		in, err := f.walk(unfinished, true)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open file folder %s: %w", dir, err), root.Close())
		}
		_ = in.Close() // a handle of a folder
	}
	return f, nil
}

// Close implements [Store].
func (f *Folder) Close() error { return f.root.Close() }

// Open implements [Store]. No link is followed on the way: its error says that one was met.
func (f *Folder) Open(_ context.Context, key string) (File, error) {
	var file *os.File
	err := f.at(key, func(dir *os.Root, name string) (err error) {
		file, err = openRegular(dir, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open file %s: %w", key, err)
	}
	st, err := file.Stat()
	if err != nil {
		return nil, closeAfter(file, fmt.Errorf("open file %s: %w", key, err))
	}
	return &folderFile{file, st.Size()}, nil
}

// folderFile is an open file of a folder.
type folderFile struct {
	*os.File
	size int64
}

// Size implements [File].
func (f *folderFile) Size() int64 { return f.size }

// Stat implements [Store].
func (f *Folder) Stat(_ context.Context, key string) (Info, error) {
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

// Remove implements [Store]. It removes the folders above the file that are empty then, too.
func (f *Folder) Remove(_ context.Context, key string) error {
	err := f.at(key, func(dir *os.Root, name string) error {
		if _, err := regular(dir, name); err != nil {
			return err
		}
		return dir.Remove(name)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove file %s: %w", key, err)
	}
	if err == nil {
		f.prune(path.Dir(key))
	}
	return nil
}

// RemoveAll implements [Store]. Links below prefix are removed, not followed.
func (f *Folder) RemoveAll(_ context.Context, prefix string) error {
	err := f.at(prefix, func(dir *os.Root, name string) error { return dir.RemoveAll(name) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove files in %s: %w", prefix, err)
	}
	f.prune(path.Dir(prefix))
	return nil
}

// List implements [Store]. Links, devices and unfinished files are left out.
func (f *Folder) List(_ context.Context, prefix string) iter.Seq2[Info, error] {
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
		if key == incomingFolder || key == growingFolder {
			continue
		}
		more, err := listEntry(dir, e, key, yield)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errInTheWay) {
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

func (f *Folder) walkPrefix(prefix string, create bool) (*os.Root, error) {
	if prefix == "" {
		prefix = "."
	} else if err := CheckKey(prefix); err != nil {
		return nil, err
	}
	return f.walk(prefix, create)
}
