package storage

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
)

// Sealer encrypts secrets at rest with AES-256-GCM. It seals with the first of its keys and opens
// with any, so that a key can be replaced while the server runs. The id of the record that holds
// a secret is bound to it as associated data: a sealed value copied to another record is refused.
//
// A sealed value is
//
//	0x01 | key id, 4 bytes | nonce, 12 bytes | ciphertext | tag, 16 bytes
//
// with the first five bytes, then the record's id, as associated data. What was sealed before
// keys had ids begins with the nonce, and has the record's id alone; it still opens.
type Sealer struct {
	// source says in messages where the keys come from.
	source string
	// path is the key file that is followed; empty: the keys stay as they are.
	path string

	mu   sync.Mutex
	keys []*sealKey // never changed, only replaced; the first seals
	seen os.FileInfo
}

// NewSealer makes a Sealer that seals with secret and opens with the old ones too. Each is at
// least 32 characters; its SHA-256 is the key.
func NewSealer(secret string, old ...string) (*Sealer, error) {
	keys, err := newSealKeys(append([]string{secret}, old...))
	if err != nil {
		return nil, err
	}
	return &Sealer{source: "LONGHAUL_SECRET_KEY", keys: keys}, nil
}

// String keeps keys out of logs.
func (*Sealer) String() string { return "[keys]" }

// KeyID is the id of the key that seals.
func (s *Sealer) KeyID() KeyID { return s.current()[0].id }

// Seal encrypts plain for the record id.
func (s *Sealer) Seal(id string, plain []byte) []byte {
	_, _ = s.follow() // a key file that cannot be read leaves the keys that are there
	key := s.current()[0]
	return key.aead.Seal(key.header(), nil, plain, append(key.header(), id...)) //nolint:gosec // G407: it makes a random nonce itself
}

// Open decrypts what Seal made for the same record id.
func (s *Sealer) Open(id string, sealed []byte) ([]byte, error) {
	plain, ok := openWith(s.current(), id, sealed)
	if ok {
		return plain, nil
	}
	changed, unread := s.follow()
	if changed {
		if plain, ok = openWith(s.current(), id, sealed); ok {
			return plain, nil
		}
	}
	err := fmt.Errorf("the secret of %s cannot be read: it %s, and this server has key %s; give it again, or let the operator of this server put that key back",
		id, s.mismatch(sealed), s.KeyID())
	if unread != nil {
		err = fmt.Errorf("%w (%w)", err, unread)
	}
	return nil, err
}

// openWith opens a sealed value by the key that it names, or, when it names none, by any.
func openWith(keys []*sealKey, id string, sealed []byte) (plain []byte, ok bool) {
	if named := namedKey(keys, sealed); named != nil {
		plain, err := named.aead.Open(nil, nil, sealed[headerSize:], append(named.header(), id...))
		if err == nil {
			return plain, true
		}
	}
	// A nonce from before keys had ids can look like a header, so this is tried in any case.
	for _, key := range keys {
		if plain, err := key.aead.Open(nil, nil, sealed, []byte(id)); err == nil {
			return plain, true
		}
	}
	return nil, false
}

// namedKey is the key that a sealed value names, or nil.
func namedKey(keys []*sealKey, sealed []byte) *sealKey {
	for _, key := range keys {
		if bytes.HasPrefix(sealed, key.header()) {
			return key
		}
	}
	return nil
}

// mismatch says of a sealed value why none of the keys opens it.
func (s *Sealer) mismatch(sealed []byte) string {
	if namedKey(s.current(), sealed) != nil || len(sealed) < headerSize || sealed[0] != sealVersion {
		return "was sealed with another key, or is damaged"
	}
	return "was sealed with key " + KeyID(sealed[1:headerSize]).String()
}

func (s *Sealer) current() []*sealKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

// follow reads the key file again if it is another than before, and reports whether it was. A
// look at the file's times costs microseconds, so it needs no limit; a file is read once.
func (s *Sealer) follow() (changed bool, err error) {
	if s.path == "" {
		return false, nil
	}
	info, err := os.Stat(s.path)
	if err != nil {
		return false, fmt.Errorf("key file: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if os.SameFile(info, s.seen) && info.ModTime().Equal(s.seen.ModTime()) && info.Size() == s.seen.Size() {
		return false, nil
	}
	s.seen = info
	secrets, err := readKeys(s.path)
	if err != nil {
		return false, err
	}
	keys, err := newSealKeys(secrets)
	if err != nil {
		return false, fmt.Errorf("key file %s: %w", s.path, err)
	}
	s.keys = keys
	return true, nil
}

// KeyID names a key without telling anything about it that helps to find it.
type KeyID [4]byte

// String is the id as people see it.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

const (
	sealVersion = 1
	headerSize  = 1 + len(KeyID{})
	// minSecret is the length of 24 random bytes in base64, more than anyone can try.
	minSecret = 32
)

// sealKey is one key of a Sealer.
type sealKey struct {
	id   KeyID
	aead cipher.AEAD
}

func newSealKey(secret string) (*sealKey, error) {
	key := sha256.Sum256([]byte(secret))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(append([]byte("longhaul key id\x00"), key[:]...))
	return &sealKey{id: KeyID(digest[:]), aead: aead}, nil
}

// header is what a value sealed with the key begins with.
func (k *sealKey) header() []byte { return append([]byte{sealVersion}, k.id[:]...) }

var errShortSecret = errors.New("the secret key is shorter than 32 characters; make one with: openssl rand -base64 32")

// newSealKeys makes the keys of secrets. Earlier versions took the newline at the end of a key
// file for a part of the key, so each key opens in that form too.
func newSealKeys(secrets []string) ([]*sealKey, error) {
	keys := make([]*sealKey, 0, 2*len(secrets))
	for _, ending := range []string{"", "\n"} {
		for _, secret := range secrets {
			if len(secret) < minSecret {
				return nil, errShortSecret
			}
			key, err := newSealKey(secret + ending)
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
	}
	return keys, nil
}
