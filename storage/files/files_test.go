package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a new folder and the path of it.
func open(t testing.TB) (*Folder, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "files")
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, dir
}

// put stores text under key.
func put(t testing.TB, f *Folder, key, text string) Stored {
	t.Helper()
	w, err := f.Create(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	stored, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// get returns what is stored under key.
func get(t testing.TB, f *Folder, key string) string {
	t.Helper()
	file, err := f.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(file)
	if err := closeAfter(file, err); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// keys returns the keys under prefix.
func keys(t testing.TB, f *Folder, prefix string) []string {
	t.Helper()
	var got []string
	for info, err := range f.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Key)
	}
	return got
}

// onDisk returns all paths below dir, folders with a slash at the end.
func onDisk(t testing.TB, dir string) []string {
	t.Helper()
	var got []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(dir, path)
		if d != nil && d.IsDir() {
			name += "/"
		}
		if name != "./" {
			got = append(got, name)
		}
		return errors.Join(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantOnDisk(t testing.TB, dir string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{growingFolder + "/", incomingFolder + "/"}, want...), onDisk(t, dir)); diff != "" {
		t.Errorf("on disk (-want +got):\n%s", diff)
	}
}

func TestOpenFileSeeks(t *testing.T) {
	t.Parallel()
	f, _ := open(t)
	put(t, f, "a", "0123456789")
	file, err := f.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	part := make([]byte, 3)
	if _, err := file.ReadAt(part, 4); err != nil || string(part) != "456" {
		t.Errorf("got %q, %v", part, err)
	}
	if _, err := file.Seek(8, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(file); err != nil || string(rest) != "89" {
		t.Errorf("got %q, %v", rest, err)
	}
	if file.Size() != 10 {
		t.Errorf("its size is %d", file.Size())
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	f, _ := open(t)
	before := time.Now().Add(-time.Second)
	for _, key := range []string{"a/c", "a.csv", "a/b/d", "a-b", "b", "a/b.x", "é"} {
		put(t, f, key, key)
	}
	want := []string{"a-b", "a.csv", "a/b.x", "a/b/d", "a/c", "b", "é"}
	if diff := cmp.Diff(want, keys(t, f, "")); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a/b.x", "a/b/d", "a/c"}, keys(t, f, "a")); diff != "" {
		t.Errorf("a folder (-want +got):\n%s", diff)
	}
	if got := keys(t, f, "b"); !cmp.Equal(got, []string(nil)) {
		t.Errorf("a file: %q", got)
	}
	for info, err := range f.List(t.Context(), "") {
		if err != nil || info.Key != "a-b" || info.Size != 3 || info.ModifiedAt.Before(before) {
			t.Errorf("got %+v, %v", info, err)
		}
		if st, err := f.Stat(t.Context(), info.Key); err != nil || st != info {
			t.Errorf("stat says %+v, %v, and list %+v", st, err, info)
		}
		break // and no more is read
	}
}

func TestRemovePrunes(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	for _, key := range []string{"app/name/1/inbound/a", "app/name/1/inbound/b/c", "app/name/2/x", "app/y"} {
		put(t, f, key, key)
	}
	if err := f.RemoveAll(t.Context(), "app/name/1"); err != nil {
		t.Fatal(err)
	}
	wantOnDisk(t, dir, "app/", "app/name/", "app/name/2/", "app/name/2/x", "app/y")
	if err := f.Remove(t.Context(), "app/name/2/x"); err != nil {
		t.Fatal(err)
	}
	wantOnDisk(t, dir, "app/", "app/y")
	if err := f.RemoveAll(t.Context(), "app/y"); err != nil {
		t.Fatal(err)
	}
	wantOnDisk(t, dir)
}

func TestCopy(t *testing.T) {
	t.Parallel()
	for name, copyFile := range map[string]func(f *Folder, ctx context.Context, from, to string) error{
		"link":  (*Folder).Copy,
		"bytes": (*Folder).copyBytes,
	} {
		f, dir := open(t)
		put(t, f, "a/file", "one")
		if err := copyFile(f, t.Context(), "a/file", "b/c/file"); err != nil {
			t.Fatal(err)
		}
		if err := copyFile(f, t.Context(), "a/file", "b/c/file"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: onto a file: got %v, want %v", name, err, fs.ErrExist)
		}
		if err := f.Remove(t.Context(), "a/file"); err != nil {
			t.Fatal(err)
		}
		if got := get(t, f, "b/c/file"); got != "one" {
			t.Errorf("%s: got %q", name, got)
		}
		put(t, f, "a/file", "two")
		if got := get(t, f, "b/c/file"); got != "one" {
			t.Errorf("%s: the copy changed with the file: %q", name, got)
		}
		wantOnDisk(t, dir, "a/", "a/file", "b/", "b/c/", "b/c/file")
	}
}

func TestBatch(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, fewFiles + 1} {
		f, dir := open(t)
		batch, err := f.Batch(t.Context(), "app/1/inbound", n)
		if err != nil {
			t.Fatal(err)
		}
		then := time.Date(2026, time.March, 1, 2, 3, 4, 0, time.UTC)
		for _, name := range []string{"a.csv", "b/c/d.csv"} {
			w, err := batch.Create(t.Context(), name, 1, then)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, "a"); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for name, want := range map[string]error{"a.csv": fs.ErrExist, "../x": ErrKey} {
			if _, err := batch.Create(t.Context(), name, 1, then); !errors.Is(err, want) {
				t.Errorf("create %s: got %v, want %v", name, err, want)
			}
		}
		if err := closeAfter(batch, batch.Commit(t.Context())); err != nil {
			t.Fatal(err)
		}
		if info, err := f.Stat(t.Context(), "app/1/inbound/b/c/d.csv"); err != nil || !info.ModifiedAt.Equal(then) {
			t.Errorf("got %+v, %v", info, err)
		}
		wantOnDisk(t, dir, "app/", "app/1/", "app/1/inbound/", "app/1/inbound/a.csv", "app/1/inbound/b/", "app/1/inbound/b/c/", "app/1/inbound/b/c/d.csv")
	}
}

func TestOpenAgain(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	put(t, f, "a", "a")
	again, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, again, "a"); got != "a" {
		t.Errorf("got %q", got)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenFolder(filepath.Join(dir, "a")); err == nil {
		t.Error("a file was opened as a folder")
	}
}

func TestAvailable(t *testing.T) {
	t.Parallel()
	f, _ := open(t)
	if n, err := f.Available(t.Context()); err != nil || n <= 0 {
		t.Errorf("got %d, %v", n, err)
	}
}
