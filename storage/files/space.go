package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrFull is wrapped by the error of a call that found no room: the disk is
// full, or the quota of the process's user is used up. HTTP calls it 507.
var ErrFull = errors.New("no space left for files")

// IsFull reports whether err says that there was no room, also when it comes
// from writing into a file of a [Batch].
func IsFull(err error) bool {
	return errors.Is(err, ErrFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// asFull adds ErrFull to an error of the operating system that means it.
func asFull(err error) error {
	if IsFull(err) && !errors.Is(err, ErrFull) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// Available implements [Store]: what this process's user may still write to the disk
// of the folder. It is what the file system says now; others write too.
func (f *Folder) Available(context.Context) (int64, error) {
	var st unix.Statfs_t
	err := withFolder(f.root, func(d *os.File) error { return unix.Fstatfs(int(d.Fd()), &st) })
	if err != nil {
		return 0, fmt.Errorf("ask for free disk space: %w", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // uint32 on macOS
}

// Check implements [Store]: it writes, and removes, an empty file.
func (f *Folder) Check(ctx context.Context) error {
	w, err := f.Create(ctx, "check")
	if err != nil {
		return err
	}
	return w.Abort()
}
