package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Copy gives the file from a second key, durably, and moves no bytes where the
// file system has hard links: a file under a key never changes, so sharing it is
// safe. It replaces nothing: when to is taken, its error wraps [fs.ErrExist].
func (f *Folder) Copy(from, to string) error {
	err := f.at(from, func(dir *os.Root, name string) error {
		_, err := regular(dir, name)
		return err
	})
	if err == nil {
		err = f.place(to, func() error { return f.root.Link(from, to) })
	}
	if noLinks(err) {
		err = f.copyBytes(from, to)
	}
	if err != nil {
		return fmt.Errorf("copy file %s to %s: %w", from, to, err)
	}
	return nil
}

// noLinks reports whether err says that this file system, or this file, cannot
// have another link.
func noLinks(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || // ENOSYS, ENOTSUP, EOPNOTSUPP
		errors.Is(err, syscall.EPERM) || // what FAT and some FUSE file systems say
		errors.Is(err, syscall.EMLINK) ||
		errors.Is(err, syscall.EXDEV)
}

// copyBytes is Copy without links. Of two such copies to one key at a time, the
// later may replace the earlier.
func (f *Folder) copyBytes(from, to string) error {
	if _, err := f.Stat(to); err == nil {
		return fs.ErrExist
	}
	src, err := f.Open(from)
	if err != nil {
		return err
	}
	w, err := f.Create(to)
	if err != nil {
		return closeAfter(src, err)
	}
	_, err = w.ReadFrom(src)
	if err = closeAfter(src, err); err != nil {
		return errors.Join(err, w.Abort())
	}
	_, err = w.Commit()
	return err
}
