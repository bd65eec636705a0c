package storage

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A key file holds one key a line; the first seals, the others open what they sealed before.
// More than one line means that a key is being replaced.

// FollowKeyFile makes a Sealer of the keys in the file at path, which reads it again when it
// changes. The error is fs.ErrNotExist when there is no such file.
func FollowKeyFile(path string) (*Sealer, error) {
	s := &Sealer{source: "the file " + path, path: path}
	if _, err := s.follow(); err != nil {
		return nil, err
	}
	return s, nil
}

// ReadKeyFile makes a Sealer of the keys that are in the file at path now.
func ReadKeyFile(path string) (*Sealer, error) {
	s, err := FollowKeyFile(path)
	if err != nil {
		return nil, err
	}
	s.path = ""
	return s, nil
}

// MakeKeyFile makes a key file with a new key, mode 0600.
func MakeKeyFile(path string) error { return writeSecret(path, newSecret()) }

// AddKey puts a new key before the one in the key file, and reports whether it did: a file with
// several keys is left alone, since a key is being replaced already.
func AddKey(path string) (added bool, err error) {
	secrets, err := readKeys(path)
	if err != nil || len(secrets) > 1 {
		return false, err
	}
	return true, writeSecret(path, newSecret()+"\n"+secrets[0])
}

// DropOldKeys leaves the first key in the key file, and reports whether there were others. A file
// whose first key is not the one of that id is left alone, and an error.
func DropOldKeys(path string, id KeyID) (dropped bool, err error) {
	secrets, err := readKeys(path)
	if err != nil || len(secrets) == 1 {
		return false, err
	}
	first, err := newSealKey(secrets[0])
	if err != nil {
		return false, err
	}
	if first.id != id {
		return false, fmt.Errorf("key file %s: somebody else has changed it: its first key is %s, not %s", path, first.id, id)
	}
	return true, writeSecret(path, secrets[0])
}

// readKeys returns the lines of a key file that are not empty.
func readKeys(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	var secrets []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			secrets = append(secrets, line)
		}
	}
	if len(secrets) == 0 {
		return nil, fmt.Errorf("key file %s: is empty; restore it from a backup, or remove it when nothing was stored yet", path)
	}
	return secrets, nil
}

// ReadOrMakeSecret returns the secret kept in the file at path, made at random with mode 0600
// when there is none.
func ReadOrMakeSecret(path, prefix string) (string, error) {
	kept, err := os.ReadFile(path)
	if err == nil {
		return string(kept), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	secret := prefix + newSecret()
	return secret, writeSecret(path, secret)
}

// newSecret is 256 random bits as text.
func newSecret() string {
	random := make([]byte, 32)
	rand.Read(random) // never fails, as its documentation states
	return base64.RawURLEncoding.EncodeToString(random)
}

// writeSecret makes the file whole or not at all, so that a crash leaves no half of a secret. A
// file that takes the place of another has its owner and mode: the administrator who replaces it
// is not always the user who reads it.
func writeSecret(path, secret string) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = likeBefore(file, path)
	if err == nil {
		_, err = file.WriteString(secret)
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// likeBefore gives a file the owner and mode of the one at path, if there is one.
func likeBefore(file *os.File, path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		if err := file.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return file.Chmod(info.Mode().Perm())
}

func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
