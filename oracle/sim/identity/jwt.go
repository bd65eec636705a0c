package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // G505: x5t is a SHA-1 thumbprint by definition
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

// keyName is the name of every signing key, before and after a rotation.
const keyName = "SIGNING_KEY"

var base64url = base64.RawURLEncoding

// claims is the payload of a token.
type claims map[string]any

func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// texts is a claim that is a string or an array of strings.
func (c claims) texts(name string) []string {
	switch v := c[name].(type) {
	case string:
		return []string{v}
	case []any:
		var list []string
		for _, each := range v {
			if s, ok := each.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}

// at is a claim that counts seconds.
func (c claims) at(name string) (time.Time, bool) {
	seconds, ok := c[name].(float64)
	if !ok || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// signingKey is a key with the certificate that is shown for it.
type signingKey struct {
	private     *rsa.PrivateKey
	certificate []byte // DER
}

func newSigningKey(private *rsa.PrivateKey) (signingKey, error) {
	if private == nil {
		var err error
		if private, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return signingKey{}, fmt.Errorf("make a signing key: %w", err)
		}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: keyName},
		NotBefore:    time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2060, time.January, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return signingKey{}, fmt.Errorf("make a signing certificate: %w", err)
	}
	return signingKey{private: private, certificate: der}, nil
}

// jwk is the public key as the key set shows it.
func (k signingKey) jwk() map[string]any {
	x5t, x5t256 := thumbprints(k.certificate)
	return map[string]any{
		"kty": "RSA", "alg": "RS256", "kid": keyName, "key_ops": []string{"wrapKey", "verify", "encrypt"},
		"n":   base64url.EncodeToString(k.private.N.Bytes()),
		"e":   base64url.EncodeToString(big.NewInt(int64(k.private.E)).Bytes()),
		"x5t": x5t, "x5t#S256": x5t256,
		"x5c": []string{base64.StdEncoding.EncodeToString(k.certificate)},
	}
}

// sign makes a token.
func (k signingKey) sign(payload claims) string {
	x5t, x5t256 := thumbprints(k.certificate)
	head := mustJSON(map[string]any{"alg": "RS256", "kid": keyName, "x5t": x5t, "x5t#S256": x5t256})
	signed := base64url.EncodeToString(head) + "." + base64url.EncodeToString(mustJSON(payload))
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, k.private, crypto.SHA256, digest[:])
	if err != nil {
		panic(err) // only a key too short for the digest fails here
	}
	return signed + "." + base64url.EncodeToString(signature)
}

func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // everything marshalled here is built of strings, numbers and maps
	}
	return text
}

func thumbprints(certificate []byte) (x5t, x5t256 string) {
	short := sha1.Sum(certificate) //nolint:gosec // G401: by definition, as above
	long := sha256.Sum256(certificate)
	return base64url.EncodeToString(short[:]), base64url.EncodeToString(long[:])
}

// keyring holds the signing keys, the newest last. The older ones are no longer
// shown, but what they signed is still known to be the domain's own.
type keyring struct {
	mu   sync.Mutex
	keys []signingKey
}

func newKeyring(private *rsa.PrivateKey) (*keyring, error) {
	key, err := newSigningKey(private)
	if err != nil {
		return nil, err
	}
	return &keyring{keys: []signingKey{key}}, nil
}

func (k *keyring) rotate() error {
	key, err := newSigningKey(nil)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = append(k.keys, key)
	return nil
}

func (k *keyring) current() signingKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys[len(k.keys)-1]
}

// verify returns the claims of a token that one of the keys signed.
func (k *keyring) verify(token string) (claims, error) {
	parsed, err := parseJWT(token)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	keys := k.keys
	k.mu.Unlock()
	for _, key := range keys {
		if parsed.verify(&key.private.PublicKey) == nil {
			return parsed.payload, nil
		}
	}
	return nil, errors.New("token has a wrong signature")
}

// jwt is a token whose signature has not been checked.
type jwt struct {
	head, payload claims
	signed        string
	signature     []byte
}

// parseJWT takes a token apart; only RS256 is known.
func parseJWT(token string) (*jwt, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("token does not have three parts")
	}
	parsed := &jwt{signed: parts[0] + "." + parts[1]}
	for i, into := range []*claims{&parsed.head, &parsed.payload} {
		text, err := base64url.DecodeString(parts[i])
		if err != nil {
			return nil, fmt.Errorf("token part %d: %w", i+1, err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			return nil, fmt.Errorf("token part %d: %w", i+1, err)
		}
	}
	if parsed.head.text("alg") != "RS256" {
		return nil, errors.New("token is not signed with RS256")
	}
	var err error
	if parsed.signature, err = base64url.DecodeString(parts[2]); err != nil {
		return nil, fmt.Errorf("token signature: %w", err)
	}
	return parsed, nil
}

func (j *jwt) verify(key *rsa.PublicKey) error {
	digest := sha256.Sum256([]byte(j.signed))
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], j.signature)
}

// publicKey is an uploaded key, with its certificate where it came in one.
type publicKey struct {
	key         *rsa.PublicKey
	certificate []byte // DER
}

// parsePublicKey reads a certificate or a public key in PEM.
func parsePublicKey(text string) (publicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return publicKey{}, errors.New("is not PEM")
	}
	var found any
	var certificate []byte
	switch block.Type {
	case "CERTIFICATE":
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return publicKey{}, err
		}
		found, certificate = parsed.PublicKey, parsed.Raw
	case "PUBLIC KEY":
		var err error
		if found, err = x509.ParsePKIXPublicKey(block.Bytes); err != nil {
			return publicKey{}, err
		}
	default:
		return publicKey{}, fmt.Errorf("is a %s; give a certificate or a public key", strings.ToLower(block.Type))
	}
	key, ok := found.(*rsa.PublicKey)
	if !ok {
		return publicKey{}, errors.New("is not an RSA key")
	}
	return publicKey{key: key, certificate: certificate}, nil
}
