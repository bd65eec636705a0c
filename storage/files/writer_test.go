package files

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStoreAndRead(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	for _, size := range []int{0, 1, blockBytes - 1, blockBytes, blockBytes + 1, 3*blockBytes + 5, 20 * blockBytes} {
		text := strings.Repeat("importAccount ", size/14+1)[:size]
		key := fmt.Sprintf("app/in put/%d", size)
		var digest Digest
		_, _ = io.WriteString(&digest, text)
		want := Stored{Key: key, Size: int64(size), SHA256: sha256.Sum256([]byte(text)), Sums: digest.Sums()}
		for name, write := range map[string]func(w *Writer) error{
			"at once":   func(w *Writer) error { _, err := io.WriteString(w, text); return err },
			"read from": func(w *Writer) error { _, err := io.Copy(w, strings.NewReader(text)); return err },
			"read in bits": func(w *Writer) error {
				_, err := w.ReadFrom(iotest.HalfReader(iotest.DataErrReader(strings.NewReader(text))))
				return err
			},
			"both": func(w *Writer) error {
				_, err := io.WriteString(w, text[:size/3])
				_, err2 := w.ReadFrom(strings.NewReader(text[size/3:]))
				return errors.Join(err, err2)
			},
		} {
			w, err := f.Create(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if err := write(w); err != nil {
				t.Fatal(err)
			}
			got, err := w.Commit()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%d bytes, %s (-want +got):\n%s", size, name, diff)
			}
			if get(t, f, key) != text {
				t.Errorf("%d bytes, %s: something else was stored", size, name)
			}
		}
	}
	if in := onDisk(t, filepath.Join(dir, incomingFolder)); len(in) > 0 {
		t.Errorf("left behind: %q", in)
	}
	st, err := os.Stat(filepath.Join(dir, "app/in put/0"))
	if err != nil || st.Mode() != 0o600 {
		t.Errorf("got %v, %v; want mode 0600", st.Mode(), err)
	}
	if st, err := os.Stat(filepath.Join(dir, "app")); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("folder: got %v, %v; want mode 0700", st.Mode(), err)
	}
}

func TestNothingBeforeCommit(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	put(t, f, "a/file", "old")
	w, err := f.Create(t.Context(), "a/file")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, strings.Repeat("new", blockBytes)); err != nil {
		t.Fatal(err)
	}
	if got := get(t, f, "a/file"); got != "old" {
		t.Errorf("file changed before it was committed: %.10q", got)
	}
	if diff := cmp.Diff([]string{"a/file"}, keys(t, f, "")); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if err := errors.Join(w.Abort(), w.Abort()); err != nil {
		t.Error(err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("write after abort: got %v, want %v", err, ErrClosed)
	}
	if _, err := w.ReadFrom(strings.NewReader("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("read after abort: got %v, want %v", err, ErrClosed)
	}
	if _, err := w.Commit(); !errors.Is(err, ErrClosed) {
		t.Errorf("commit after abort: got %v, want %v", err, ErrClosed)
	}
	wantOnDisk(t, dir, "a/", "a/file")
}

// TestBrokenUpload commits after the reader broke off, which must not pass for a file.
func TestBrokenUpload(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	w, err := f.Create(t.Context(), "upload")
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("client went away")
	n, err := w.ReadFrom(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(gone)))
	if n != 4 || err != gone { //nolint:errorlint // the very error is promised
		t.Errorf("got %d, %v; want 4, %v", n, err, gone)
	}
	if _, err := w.Commit(); !errors.Is(err, gone) {
		t.Errorf("commit: got %v, want %v", err, gone)
	}
	wantOnDisk(t, dir)
}

// TestConcurrentWriters lets writers of one key race: at any time the key has the
// whole of what one of them wrote.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	size := 2*blockBytes + 99
	text := func(i int) string { return strings.Repeat(string(rune('a'+i)), size) }
	put(t, f, "a/b/file", text(0))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 5 {
				w, err := f.Create(t.Context(), "a/b/file")
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.WriteString(w, text(i)); err != nil {
					t.Error(err)
				}
				if _, err := w.Commit(); err != nil {
					t.Error(err)
				}
				got := get(t, f, "a/b/file")
				if got != strings.Repeat(got[:1], size) {
					t.Error("a mixture of two files")
				}
			}
		})
	}
	wg.Wait()
	wantOnDisk(t, dir, "a/", "a/b/", "a/b/file")
}

// TestWritersAgainstPruning removes a neighbour all the time, and with it the folder
// into which others are about to put their file.
func TestWritersAgainstPruning(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			key := fmt.Sprintf("a/b/%d", i)
			for range 50 {
				if err := create(f, key); err != nil {
					t.Error(err)
				}
				if err := f.Remove(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantOnDisk(t, dir)
}

// tempOf is the unfinished file of a writer.
func tempOf(w *Writer) string { return w.sink.(*folderSink).temp }

// waitForSize waits until the bytes given to a writer are in its file.
func waitForSize(t testing.TB, f *Folder, name string, size int64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		st, err := f.root.Stat(name)
		if err == nil && st.Size() == size {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: got %v, %v; want %d bytes", name, st, err, size)
		}
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	old, err := f.Create(t.Context(), "old")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := f.Create(t.Context(), "fresh")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []*Writer{old, fresh} {
		if _, err := w.Write(make([]byte, blockBytes)); err != nil {
			t.Fatal(err)
		}
	}
	waitForSize(t, f, tempOf(old), blockBytes)
	waitForSize(t, f, tempOf(fresh), blockBytes)
	hourAgo := time.Now().Add(-time.Hour)
	if err := f.root.Chtimes(tempOf(old), hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	// What a crash leaves is a file that no writer knows of.
	left := filepath.Join(dir, incomingFolder, "left")
	if err := errors.Join(os.WriteFile(left, []byte("left"), 0o600), os.Chtimes(left, hourAgo, hourAgo)); err != nil {
		t.Fatal(err)
	}
	put(t, f, "stored", "stored")

	got, err := f.Sweep(t.Context(), 30*time.Minute)
	if want := (Swept{Files: 2, Bytes: blockBytes + 4}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if got, err := f.Sweep(t.Context(), 30*time.Minute); err != nil || got != (Swept{}) {
		t.Errorf("second sweep: got %+v, %v", got, err)
	}
	if _, err := old.Commit(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("commit of a swept file: got %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := fresh.Commit(); err != nil {
		t.Error(err)
	}
	wantOnDisk(t, dir, "fresh", "stored")
}
