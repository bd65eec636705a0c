package storage_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longhaul/storage"
)

const (
	keyOne   = "the first key, of more than 32 characters"
	keyTwo   = "the second key, of more than 32 characters"
	keyThree = "the third key, of more than 32 characters"
)

func newSealer(t *testing.T, secret string, old ...string) *storage.Sealer {
	t.Helper()
	s, err := storage.NewSealer(secret, old...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sealedBefore is what the versions before keys had ids made of a secret.
func sealedBefore(t *testing.T, secret, id, plain string) []byte {
	t.Helper()
	key := sha256.Sum256([]byte(secret))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead.Seal(nil, nil, []byte(plain), []byte(id))
}

func TestSealer(t *testing.T) {
	t.Parallel()
	one, two := newSealer(t, keyOne), newSealer(t, keyTwo)
	both := newSealer(t, keyTwo, keyOne)
	byOne, byTwo := one.Seal("app/a", []byte("secret")), two.Seal("app/a", []byte("secret"))
	broken := append([]byte{}, byOne...)
	broken[len(broken)-1] ^= 1
	otherKey := append([]byte{}, byOne...) // says that it is under the second key
	copy(otherKey, byTwo[:5])
	for _, c := range []struct {
		what   string
		sealer *storage.Sealer
		id     string
		sealed []byte
		opens  bool
	}{
		{"its own key", one, "app/a", byOne, true},
		{"an old key beside a new one", both, "app/a", byOne, true},
		{"the new key", both, "app/a", byTwo, true},
		{"another key", two, "app/a", byOne, false},
		{"another record", one, "app/b", byOne, false},
		{"a changed value", one, "app/a", broken, false},
		{"a changed header", both, "app/a", otherKey, false},
		{"half a value", one, "app/a", byOne[:20], false},
		{"half a header", one, "app/a", byOne[:3], false},
		{"nothing", one, "app/a", nil, false},
		{"from before keys had ids", one, "app/a", sealedBefore(t, keyOne, "app/a", "secret"), true},
		{"from before, an old key", both, "app/a", sealedBefore(t, keyOne, "app/a", "secret"), true},
		{"from before, another key", two, "app/a", sealedBefore(t, keyOne, "app/a", "secret"), false},
		{"from before, another record", one, "app/b", sealedBefore(t, keyOne, "app/a", "secret"), false},
		{"from before, a newline in the key file", one, "app/a", sealedBefore(t, keyOne+"\n", "app/a", "secret"), true},
	} {
		plain, err := c.sealer.Open(c.id, c.sealed)
		if c.opens && (err != nil || string(plain) != "secret") {
			t.Errorf("%s: %q, %v", c.what, plain, err)
		}
		if !c.opens && err == nil {
			t.Errorf("%s: opened", c.what)
		}
	}
}

// The message names both keys, so that an operator who has several knows which one is missing.
func TestSealerNamesKeys(t *testing.T) {
	t.Parallel()
	one, two := newSealer(t, keyOne), newSealer(t, keyTwo)
	_, err := two.Open("app/a", one.Seal("app/a", []byte("secret")))
	if err == nil || !strings.Contains(err.Error(), one.KeyID().String()) || !strings.Contains(err.Error(), two.KeyID().String()) {
		t.Errorf("the error does not name both keys: %v", err)
	}
	if one.KeyID() == two.KeyID() {
		t.Error("two keys have one id")
	}
}

func TestSealerPrintsNothing(t *testing.T) {
	t.Parallel()
	one := newSealer(t, keyOne)
	for _, format := range []string{"%v", "%+v", "%s"} {
		if text := fmt.Sprintf(format, one); text != "[keys]" {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

func TestShortKey(t *testing.T) {
	t.Parallel()
	if _, err := storage.NewSealer("short"); err == nil {
		t.Error("a short key is taken")
	}
	if _, err := storage.NewSealer(keyOne, "short"); err == nil {
		t.Error("a short old key is taken")
	}
}

func FuzzOpen(f *testing.F) {
	one, err := storage.NewSealer(keyOne)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("app/a", []byte{1})
	f.Add("", one.Seal("app/a", []byte("secret")))
	f.Fuzz(func(t *testing.T, id string, sealed []byte) {
		if plain, err := one.Open(id, sealed); err == nil {
			t.Errorf("opened %x for %q: %q", sealed, id, plain)
		}
	})
}

// writeKeys puts keys into a key file as an operator would, in place.
func writeKeys(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret-key")
	if _, err := storage.FollowKeyFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no file: %v", err)
	}
	if err := storage.MakeKeyFile(path); err != nil {
		t.Fatal(err)
	}
	server, err := storage.FollowKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := server.KeyID()
	old := server.Seal("app/a", []byte("old"))

	if added, err := storage.AddKey(path); err != nil || !added {
		t.Fatalf("add a key: %v, %v", added, err)
	}
	if added, err := storage.AddKey(path); err != nil || added {
		t.Fatalf("add a key to two: %v, %v", added, err)
	}
	command, err := storage.ReadKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if command.KeyID() == first {
		t.Fatal("the new key does not seal")
	}
	// The running server opens what a key sealed that it has not met, and still what it sealed.
	for id, sealed := range map[string][]byte{"app/b": command.Seal("app/b", []byte("new")), "app/a": old} {
		if _, err := server.Open(id, sealed); err != nil {
			t.Errorf("the server: %v", err)
		}
	}
	if server.Seal("app/a", nil); server.KeyID() != command.KeyID() {
		t.Error("the server goes on sealing with the old key")
	}

	if _, err := storage.DropOldKeys(path, first); err == nil {
		t.Error("a key that is not the first one is kept")
	}
	if dropped, err := storage.DropOldKeys(path, command.KeyID()); err != nil || !dropped {
		t.Fatalf("drop the old key: %v, %v", dropped, err)
	}
	if dropped, err := storage.DropOldKeys(path, command.KeyID()); err != nil || dropped {
		t.Fatalf("drop the old key again: %v, %v", dropped, err)
	}
	if _, err := command.Open("app/a", old); err != nil {
		t.Errorf("a sealer that does not follow the file: %v", err)
	}
	server.Seal("app/a", nil)
	if _, err := server.Open("app/a", old); err == nil {
		t.Error("the server opens with a key that was taken away")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(path + "?*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A file that is gone or broken for a while does not stop a running server.
func TestKeyFileBroken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret-key")
	writeKeys(t, path, keyOne+"\n")
	server, err := storage.FollowKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if id := newSealer(t, keyOne).KeyID(); server.KeyID() != id {
		t.Errorf("the newline at the end is a part of the key: %s, not %s", server.KeyID(), id)
	}
	for _, text := range []string{"", "\n\n", "short", keyTwo + "\nshort"} {
		writeKeys(t, path, text)
		if plain, err := server.Open("app/a", server.Seal("app/a", []byte("secret"))); err != nil || string(plain) != "secret" {
			t.Errorf("with a key file of %q: %q, %v", text, plain, err)
		}
		if _, err := storage.FollowKeyFile(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("a key file of %q is read, or not named: %v", text, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Open("app/a", server.Seal("app/a", []byte("secret"))); err != nil {
		t.Error(err)
	}
	_, err = server.Open("app/a", newSealer(t, keyTwo).Seal("app/a", nil))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error does not say that the key file is gone: %v", err)
	}
	writeKeys(t, path, keyThree+"\r\n\r\n "+keyTwo+"\r\n")
	if _, err := server.Open("app/a", newSealer(t, keyTwo).Seal("app/a", nil)); err != nil {
		t.Error(err)
	}
}

// A link to the key file, as container platforms make them, stays one.
func TestKeyFileLinked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, link := filepath.Join(dir, "key"), filepath.Join(dir, "link")
	writeKeys(t, path, keyOne)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("key", link); err != nil {
		t.Fatal(err)
	}
	if _, err := storage.AddKey(link); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(string(text), "\n"+keyOne) {
		t.Errorf("the file behind the link holds %q, %v", text, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file's mode became %v, %v", info.Mode(), err)
	}
	if target, err := os.Readlink(link); err != nil || target != "key" {
		t.Errorf("the link became %q, %v", target, err)
	}
}
