package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	for _, key := range []string{
		"", ".", "..", "/", "/a", "a/", "a//b", "./a", "a/.", "a/..", "../a", "a/../b", `a\b`, "a\x00b", "a\nb", "a\u0085",
		"a\xff", incomingFolder, incomingFolder + "/a", growingFolder, growingFolder + "/a", strings.Repeat("x", 256), strings.Repeat("abc/", 256) + "x",
	} {
		_, createErr := f.Create(t.Context(), key)
		_, openErr := f.Open(t.Context(), key)
		_, statErr := f.Stat(t.Context(), key)
		for call, err := range map[string]error{
			"check": CheckKey(key), "create": createErr, "open": openErr, "stat": statErr,
			"remove": f.Remove(t.Context(), key), "remove all": f.RemoveAll(t.Context(), key), "copy from": f.Copy(t.Context(), key, "x"),
		} {
			if !errors.Is(err, ErrKey) {
				t.Errorf("%s %.20q: got %v, want %v", call, key, err, ErrKey)
			}
		}
	}
	put(t, f, "a", "a")
	if err := f.Copy(t.Context(), "a", "../b"); !errors.Is(err, ErrKey) {
		t.Errorf("copy: got %v, want %v", err, ErrKey)
	}
	if _, err := f.Batch(t.Context(), "../b", 1); !errors.Is(err, ErrKey) {
		t.Errorf("batch: got %v, want %v", err, ErrKey)
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
		_, openErr := f.Open(t.Context(), key)
		_, statErr := f.Stat(t.Context(), key)
		for call, err := range map[string]error{
			"open": openErr, "stat": statErr, "create": create(f, key), "remove": f.Remove(t.Context(), key),
			"copy from": f.Copy(t.Context(), key, "x"), "copy to": f.Copy(t.Context(), "mine/file", key),
		} {
			if !errors.Is(err, errInTheWay) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s %s: got %v, want only %v", call, key, err, errInTheWay)
			}
		}
	}
	for _, prefix := range []string{"outside", "inside"} {
		if _, err := f.Batch(t.Context(), prefix+"/x", 1); !errors.Is(err, errInTheWay) {
			t.Errorf("batch in %s: got %v, want %v", prefix, err, errInTheWay)
		}
		for _, err := range f.List(t.Context(), prefix) {
			if !errors.Is(err, errInTheWay) {
				t.Errorf("list %s: got %v, want %v", prefix, err, errInTheWay)
			}
		}
	}
	if diff := cmp.Diff([]string{"mine/file"}, keys(t, f, "")); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if err := errors.Join(f.RemoveAll(t.Context(), "mine"), f.RemoveAll(t.Context(), "outside"), f.RemoveAll(t.Context(), "inside")); err != nil {
		t.Error(err)
	}
	wantOnDisk(t, dir)
	if data, err := os.ReadFile(secret); err != nil || string(data) != "secret" {
		t.Errorf("outside: got %q, %v", data, err)
	}
}

func create(f *Folder, key string) error {
	w, err := f.Create(context.Background(), key)
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
	for key, wantWrite := range map[string]error{"a": errInTheWay, "a/b/c": errInTheWay, "c/d": errInTheWay} {
		_, err := f.Open(t.Context(), key)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %s: got %v, want %v", key, err, fs.ErrNotExist)
		}
		if err := f.Remove(t.Context(), key); err != nil {
			t.Errorf("remove %s: %v", key, err)
		}
		for call, err := range map[string]error{"create": create(f, key), "copy": f.Copy(t.Context(), "a/b", key)} {
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
	_, openErr := f.Open(t.Context(), "a/b")
	_, statErr := f.Stat(t.Context(), "a/b")
	for call, err := range map[string]error{
		"open": openErr, "stat": statErr, "copy": f.Copy(t.Context(), "a/b", "c/d"),
	} {
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "a") {
			t.Errorf("%s: got %v, want %v", call, err, fs.ErrNotExist)
		}
	}
	if err := errors.Join(f.Remove(t.Context(), "a/b"), f.RemoveAll(t.Context(), "a/b")); err != nil {
		t.Error(err)
	}
	if got := keys(t, f, "a"); got != nil {
		t.Errorf("listed %q", got)
	}
	wantOnDisk(t, dir)
}

func FuzzCheckKey(f *testing.F) {
	for _, key := range []string{"a", "a/b", "../a", "/a", "a/", `a\b`, incomingFolder + "/a", "é"} {
		f.Add(key)
	}
	folder, _ := open(f)
	f.Fuzz(func(t *testing.T, key string) {
		if CheckKey(key) != nil {
			return
		}
		if !filepath.IsLocal(key) || filepath.Clean(key) != key || strings.ContainsAny(key, "\x00\\") {
			t.Errorf("%q passed", key)
		}
		put(t, folder, key, key)
		if got := get(t, folder, key); got != key {
			t.Errorf("%q has %q", key, got)
		}
		if err := folder.Remove(t.Context(), key); err != nil {
			t.Error(err)
		}
	})
}

// TestFailedMoveLeavesNothing makes folders for a file that then cannot be put there.
func TestFailedMoveLeavesNothing(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	put(t, f, "a/file", "x")
	w, err := f.Create(t.Context(), "b/c/file")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.root.Remove(tempOf(w)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
	wantOnDisk(t, dir, "a/", "a/file")
}
