package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Swept says what a sweep removed.
type Swept struct {
	Files int
	Bytes int64
}

// Sweep implements [Store]. A writer whose file is taken from it this way fails at
// Commit. What cannot be removed is told in the error; the rest is removed all the same.
func (f *Folder) Sweep(_ context.Context, idle time.Duration) (Swept, error) {
	return f.sweep(incomingFolder, idle, nil)
}

// SweepGrowing implements [Store].
func (f *Folder) SweepGrowing(_ context.Context, idle time.Duration, known []string) (Swept, error) {
	return f.sweep(growingFolder, idle, growingNames(known))
}

// growingNames are the names in growingFolder of the files with these keys.
func growingNames(keys []string) map[string]bool {
	names := make(map[string]bool, len(keys))
	for _, key := range keys {
		names[growing(key)] = true
	}
	return names
}

func (f *Folder) sweep(dir string, idle time.Duration, keep map[string]bool) (Swept, error) {
	in, err := f.walk(dir, true)
	if err != nil {
		return Swept{}, fmt.Errorf("sweep unfinished files: %w", err)
	}
	swept, err := sweep(in, time.Now().Add(-idle), keep)
	if err = closeAfter(in, err); err != nil {
		return swept, fmt.Errorf("sweep unfinished files: %w", err)
	}
	return swept, nil
}

// sweep removes what was not written to since before, but what is to be kept.
func sweep(in *os.Root, before time.Time, keep map[string]bool) (Swept, error) {
	entries, err := fs.ReadDir(in.FS(), ".")
	if err != nil {
		return Swept{}, err
	}
	var swept Swept
	var errs []error
	for _, e := range entries {
		if keep[e.Name()] {
			continue
		}
		st, err := e.Info()
		if err == nil && st.ModTime().After(before) {
			continue
		}
		if err == nil {
			err = in.RemoveAll(e.Name())
		}
		switch {
		case err == nil:
			swept.Files++
			swept.Bytes += st.Size()
		case !errors.Is(err, fs.ErrNotExist): // committed or aborted meanwhile
			errs = append(errs, err)
		}
	}
	return swept, errors.Join(errs...)
}
