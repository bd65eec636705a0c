package files

import (
	"bytes"
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
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a new folder and the path of it.
func open(t testing.TB) (*Folder, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "files")
	f, err := Open(dir)
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
	w, err := f.Create(key)
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
	file, err := f.Open(key)
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
	for info, err := range f.List(prefix) {
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
	if diff := cmp.Diff(append([]string{Incoming + "/"}, want...), onDisk(t, dir)); diff != "" {
		t.Errorf("on disk (-want +got):\n%s", diff)
	}
}

func TestStoreAndRead(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	for _, size := range []int{0, 1, blockBytes - 1, blockBytes, blockBytes + 1, 3*blockBytes + 5, 20 * blockBytes} {
		text := strings.Repeat("importAccount ", size/14+1)[:size]
		key := fmt.Sprintf("app/in put/%d", size)
		want := Stored{Key: key, Size: int64(size), SHA256: sha256.Sum256([]byte(text))}
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
			w, err := f.Create(key)
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
	if in := onDisk(t, filepath.Join(dir, Incoming)); len(in) > 0 {
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

func TestOpenFileSeeks(t *testing.T) {
	t.Parallel()
	f, _ := open(t)
	put(t, f, "a", "0123456789")
	file, err := f.Open("a")
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
	if _, err := file.Write([]byte("x")); err == nil {
		t.Error("a file opened for reading was written to")
	}
}

func TestNothingBeforeCommit(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	put(t, f, "a/file", "old")
	w, err := f.Create("a/file")
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
	w, err := f.Create("upload")
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

func TestKeys(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	for _, key := range []string{
		"", ".", "..", "/", "/a", "a/", "a//b", "./a", "a/.", "a/..", "../a", "a/../b", `a\b`, "a\x00b", "a\nb", "a\u0085",
		"a\xff", Incoming, Incoming + "/a", strings.Repeat("x", 256), strings.Repeat("abc/", 256) + "x",
	} {
		_, createErr := f.Create(key)
		_, openErr := f.Open(key)
		_, statErr := f.Stat(key)
		for call, err := range map[string]error{
			"check": CheckKey(key), "create": createErr, "open": openErr, "stat": statErr,
			"remove": f.Remove(key), "remove all": f.RemoveAll(key), "rename from": f.Rename(key, "x"), "copy from": f.Copy(key, "x"),
		} {
			if !errors.Is(err, ErrKey) {
				t.Errorf("%s %.20q: got %v, want %v", call, key, err, ErrKey)
			}
		}
	}
	put(t, f, "a", "a")
	if err := f.Rename("a", "../b"); !errors.Is(err, ErrKey) {
		t.Errorf("rename: got %v, want %v", err, ErrKey)
	}
	if err := f.Copy("a", "../b"); !errors.Is(err, ErrKey) {
		t.Errorf("copy: got %v, want %v", err, ErrKey)
	}
	if _, err := f.MakeSub("../b"); !errors.Is(err, ErrKey) {
		t.Errorf("make sub: got %v, want %v", err, ErrKey)
	}
	for _, key := range []string{"März/été.csv", "a b", "-", "...", "..a", strings.Repeat("x", 255)} {
		put(t, f, key, "x")
	}
	if got := onDisk(t, filepath.Dir(dir)); got[0] != "files/" {
		t.Errorf("outside: %q", got)
	}
}

// TestPlantedLinks has links to a file outside, a file inside and folders: none is
// followed, and none is listed.
func TestPlantedLinks(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	put(t, f, "mine/file", "mine")
	if err := errors.Join(
		os.WriteFile(secret, []byte("secret"), 0o600),
		os.Symlink(secret, filepath.Join(dir, "mine/out")),
		os.Symlink("file", filepath.Join(dir, "mine/in")),
		os.Symlink(outside, filepath.Join(dir, "outside")),
		os.Symlink("mine", filepath.Join(dir, "inside")),
		os.Symlink("nowhere", filepath.Join(dir, "mine/dangling")),
	); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"mine/out", "mine/in", "mine/dangling", "outside/secret", "inside/file"} {
		_, openErr := f.Open(key)
		_, statErr := f.Stat(key)
		for call, err := range map[string]error{
			"open": openErr, "stat": statErr, "create": create(f, key), "remove": f.Remove(key),
			"rename from": f.Rename(key, "x"), "rename to": f.Rename("mine/file", key), "copy from": f.Copy(key, "x"), "copy to": f.Copy("mine/file", key),
		} {
			if !errors.Is(err, ErrInTheWay) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s %s: got %v, want only %v", call, key, err, ErrInTheWay)
			}
		}
	}
	for _, prefix := range []string{"outside", "inside"} {
		_, subErr := f.Sub(prefix)
		_, makeErr := f.MakeSub(prefix + "/x")
		if !errors.Is(subErr, ErrInTheWay) || !errors.Is(makeErr, ErrInTheWay) {
			t.Errorf("sub %s: got %v and %v, want %v", prefix, subErr, makeErr, ErrInTheWay)
		}
		for _, err := range f.List(prefix) {
			if !errors.Is(err, ErrInTheWay) {
				t.Errorf("list %s: got %v, want %v", prefix, err, ErrInTheWay)
			}
		}
	}
	if diff := cmp.Diff([]string{"mine/file"}, keys(t, f, "")); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if err := errors.Join(f.RemoveAll("mine"), f.RemoveAll("outside"), f.RemoveAll("inside")); err != nil {
		t.Error(err)
	}
	wantOnDisk(t, dir)
	if data, err := os.ReadFile(secret); err != nil || string(data) != "secret" {
		t.Errorf("outside: got %q, %v", data, err)
	}
}

func create(f *Folder, key string) error {
	w, err := f.Create(key)
	if err != nil {
		return err
	}
	_, err = w.Commit()
	return err
}

// TestFilesAndFolders uses a file as a folder and the other way round.
func TestFilesAndFolders(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	put(t, f, "a/b", "x")
	put(t, f, "c", "y")
	for key, wantWrite := range map[string]error{"a": ErrInTheWay, "a/b/c": ErrInTheWay, "c/d": ErrInTheWay} {
		_, err := f.Open(key)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %s: got %v, want %v", key, err, fs.ErrNotExist)
		}
		if err := f.Remove(key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("remove %s: got %v, want %v", key, err, fs.ErrNotExist)
		}
		for call, err := range map[string]error{"create": create(f, key), "rename": f.Rename("c", key), "copy": f.Copy("a/b", key)} {
			if !errors.Is(err, wantWrite) {
				t.Errorf("%s %s: got %v, want %v", call, key, err, wantWrite)
			}
		}
	}
	wantOnDisk(t, dir, "a/", "a/b", "c")
}

func TestMissing(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	_, openErr := f.Open("a/b")
	_, statErr := f.Stat("a/b")
	_, subErr := f.Sub("a")
	for call, err := range map[string]error{
		"open": openErr, "stat": statErr, "sub": subErr, "remove": f.Remove("a/b"), "rename": f.Rename("a/b", "c/d"), "copy": f.Copy("a/b", "c/d"),
	} {
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "a") {
			t.Errorf("%s: got %v, want %v", call, err, fs.ErrNotExist)
		}
	}
	if err := f.RemoveAll("a/b"); err != nil {
		t.Error(err)
	}
	if got := keys(t, f, "a"); got != nil {
		t.Errorf("listed %q", got)
	}
	wantOnDisk(t, dir)
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
	for info, err := range f.List("") {
		if err != nil || info.Key != "a-b" || info.Size != 3 || info.ModifiedAt.Before(before) {
			t.Errorf("got %+v, %v", info, err)
		}
		if st, err := f.Stat(info.Key); err != nil || st != info {
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
	if err := f.RemoveAll("app/name/1"); err != nil {
		t.Fatal(err)
	}
	wantOnDisk(t, dir, "app/", "app/name/", "app/name/2/", "app/name/2/x", "app/y")
	if err := f.Remove("app/name/2/x"); err != nil {
		t.Fatal(err)
	}
	wantOnDisk(t, dir, "app/", "app/y")
	if err := f.RemoveAll("app/y"); err != nil {
		t.Fatal(err)
	}
	wantOnDisk(t, dir)
}

func TestRename(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	put(t, f, "a/b/file", "new")
	put(t, f, "c/d", "old")
	if err := f.Rename("a/b/file", "c/d"); err != nil {
		t.Fatal(err)
	}
	if got := get(t, f, "c/d"); got != "new" {
		t.Errorf("got %q", got)
	}
	wantOnDisk(t, dir, "c/", "c/d")
	if err := f.Rename("c", "e/f/g"); err != nil {
		t.Fatal(err)
	}
	wantOnDisk(t, dir, "e/", "e/f/", "e/f/g/", "e/f/g/d")
}

func TestCopy(t *testing.T) {
	t.Parallel()
	for name, copyFile := range map[string]func(f *Folder, from, to string) error{
		"link":  (*Folder).Copy,
		"bytes": (*Folder).copyBytes,
	} {
		f, dir := open(t)
		put(t, f, "a/file", "one")
		if err := copyFile(f, "a/file", "b/c/file"); err != nil {
			t.Fatal(err)
		}
		if err := copyFile(f, "a/file", "b/c/file"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: onto a file: got %v, want %v", name, err, fs.ErrExist)
		}
		if err := f.Remove("a/file"); err != nil {
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

func TestSub(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	sub, err := f.MakeSub("app/1/inbound")
	if err != nil {
		t.Fatal(err)
	}
	if err := closeAfter(sub, sub.WriteFile("a.csv", []byte("a"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if got := get(t, f, "app/1/inbound/a.csv"); got != "a" {
		t.Errorf("got %q", got)
	}
	if sub, err = f.Sub("app/1"); err != nil {
		t.Fatal(err)
	}
	data, err := fs.ReadFile(sub.FS(), "inbound/a.csv")
	if err := closeAfter(sub, err); err != nil || string(data) != "a" {
		t.Errorf("got %q, %v", data, err)
	}
	wantOnDisk(t, dir, "app/", "app/1/", "app/1/inbound/", "app/1/inbound/a.csv")
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
				w, err := f.Create("a/b/file")
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
				if err := f.Remove(key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantOnDisk(t, dir)
}

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
	old, err := f.Create("old")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := f.Create("fresh")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []*Writer{old, fresh} {
		if _, err := w.Write(make([]byte, blockBytes)); err != nil {
			t.Fatal(err)
		}
	}
	waitForSize(t, f, old.temp, blockBytes)
	waitForSize(t, f, fresh.temp, blockBytes)
	hourAgo := time.Now().Add(-time.Hour)
	if err := f.root.Chtimes(old.temp, hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	// What a crash leaves is a file that no writer knows of.
	left := filepath.Join(dir, Incoming, "left")
	if err := errors.Join(os.WriteFile(left, []byte("left"), 0o600), os.Chtimes(left, hourAgo, hourAgo)); err != nil {
		t.Fatal(err)
	}
	put(t, f, "stored", "stored")

	got, err := f.Sweep(30 * time.Minute)
	if want := (Swept{Files: 2, Bytes: blockBytes + 4}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if got, err := f.Sweep(30 * time.Minute); err != nil || got != (Swept{}) {
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

func TestOpenAgain(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	put(t, f, "a", "a")
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, again, "a"); got != "a" {
		t.Errorf("got %q", got)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(dir, "a")); err == nil {
		t.Error("a file was opened as a folder")
	}
}

func TestAvailable(t *testing.T) {
	t.Parallel()
	f, _ := open(t)
	if n, err := f.Available(); err != nil || n <= 0 {
		t.Errorf("got %d, %v", n, err)
	}
}

func FuzzCheckKey(f *testing.F) {
	for _, key := range []string{"a", "a/b", "../a", "/a", "a/", `a\b`, Incoming + "/a", "é"} {
		f.Add(key)
	}
	folder, _ := open(f)
	f.Fuzz(func(t *testing.T, key string) {
		if CheckKey(key) != nil {
			return
		}
		if !filepath.IsLocal(key) || filepath.Clean(key) != key || bytes.ContainsAny([]byte(key), "\x00\\") {
			t.Errorf("%q passed", key)
		}
		put(t, folder, key, key)
		if got := get(t, folder, key); got != key {
			t.Errorf("%q has %q", key, got)
		}
		if err := folder.Remove(key); err != nil {
			t.Error(err)
		}
	})
}
