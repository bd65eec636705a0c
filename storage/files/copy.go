package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Copy implements [Store]. It moves no bytes where the file system has hard links: a
// file under a key never changes, so sharing it is safe.
func (f *Folder) Copy(ctx context.Context, from, to string) error {
	err := f.at(from, func(dir *os.Root, name string) error {
		_, err := regular(dir, name)
		return err
	})
	if err == nil {
		err = f.place(to, func() error { return f.root.Link(from, to) })
	}
	if noLinks(err) {
		err = f.copyBytes(ctx, from, to)
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
func (f *Folder) copyBytes(ctx context.Context, from, to string) error {
	if _, err := f.Stat(ctx, to); err == nil {
		return fs.ErrExist
	}
	src, err := f.Open(ctx, from)
	if err != nil {
		return err
	}
	w, err := f.Create(ctx, to)
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
