package storage

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Sealer encrypts secrets at rest with AES-256-GCM. The id of the record that holds a secret
// is bound to it as associated data, so that a sealed value copied to another record is refused.
type Sealer struct {
	aead cipher.AEAD
}

// NewSealer makes a Sealer from a secret of at least 32 characters; its SHA-256 is the key.
func NewSealer(secret string) (*Sealer, error) {
	if len(secret) < 32 {
		return nil, errors.New("the secret key is shorter than 32 characters; make one with: openssl rand -base64 32")
	}
	key := sha256.Sum256([]byte(secret))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead: aead}, nil
}

// Seal encrypts plain for the record id.
func (s *Sealer) Seal(id string, plain []byte) []byte {
	return s.aead.Seal(nil, nil, plain, []byte(id)) //nolint:gosec // G407: it makes a random nonce itself
}

// Open decrypts what Seal made for the same record id.
func (s *Sealer) Open(id string, sealed []byte) ([]byte, error) {
	plain, err := s.aead.Open(nil, nil, sealed, []byte(id))
	if err != nil {
		return nil, fmt.Errorf("open the secret of %s: it was sealed with another key; set LONGHAUL_SECRET_KEY to the key in use before", id)
	}
	return plain, nil
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
	random := make([]byte, 32)
	rand.Read(random) // never fails, as its documentation states
	secret := prefix + base64.RawURLEncoding.EncodeToString(random)
	return secret, writeSecret(path, secret)
}

// writeSecret makes the file whole or not at all, so that a crash leaves no half of a secret.
func writeSecret(path, secret string) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(secret), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
