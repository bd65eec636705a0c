package files

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestFull writes to the device that is always full, in place of the file.
func TestFull(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"less than a block": 10, "one block": blockBytes, "many blocks": 20 * blockBytes} {
		f, dir := open(t)
		w, err := f.Create(t.Context(), "a/file")
		if err != nil {
			t.Fatal(err)
		}
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		file := &w.sink.(*folderSink).file
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		file.File = full
		_, err = io.Copy(w, strings.NewReader(strings.Repeat("x", size)))
		if err != nil && !errors.Is(err, ErrFull) || err == nil && size > 10*blockBytes {
			t.Errorf("%s: write: got %v, want %v", name, err, ErrFull)
		}
		if _, err := w.Commit(); !errors.Is(err, ErrFull) || !IsFull(err) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: commit: got %v, want %v", name, err, ErrFull)
		}
		wantOnDisk(t, dir)
	}
}

func TestIsFull(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		ErrFull:        true,
		syscall.ENOSPC: true,
		syscall.EDQUOT: true,
		syscall.EIO:    false,
		nil:            false,
		&os.PathError{Op: "write", Path: "a", Err: syscall.ENOSPC}: true,
	} {
		if got := IsFull(err); got != want {
			t.Errorf("%v: got %v", err, got)
		}
	}
}
