package oauth

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// assertionAudience is the audience of assertions for every domain, with
	// its slash (OCI, "Using a user assertion").
	assertionAudience = "https://identity.oraclecloud.com/"
	// assertionLife is short: an assertion is used at once.
	assertionLife = 3 * time.Minute
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// UserAssertion gets a token for a person of the domain by a JWT that the
// application signs (RFC 7523). The certificate of key, which is RSA, must have
// been uploaded to the application under the alias keyID. Where [Config] has no
// secret, the application itself signs in by such a JWT too.
func (c *Client) UserAssertion(ctx context.Context, user string, key crypto.Signer, keyID, scope string) (*Token, error) {
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "scope": {scope}}
	assertion, err := c.sign(user, key, keyID)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opUserAssertion, err)
	}
	form.Set("assertion", assertion)
	if c.cfg.ClientSecret == "" {
		assertion, err := c.sign(c.cfg.ClientID, key, keyID)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", opUserAssertion, err)
		}
		form.Set("client_assertion", assertion)
		form.Set("client_assertion_type", assertionType)
	}
	return c.token(ctx, opUserAssertion, form)
}

// assertion is the payload that the domain asks for.
type assertion struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Person   string `json:"prn,omitempty"`
	Audience string `json:"aud"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Expiry   int64  `json:"exp"`
}

// sign makes an assertion about a subject.
func (c *Client) sign(subject string, key crypto.Signer, keyID string) (string, error) {
	if _, ok := key.Public().(*rsa.PublicKey); !ok {
		return "", errors.New("the key is not an RSA key, and the domain takes no other")
	}
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", keyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: cryptosigner.Opaque(key)}, options)
	if err != nil {
		return "", fmt.Errorf("sign the assertion: %w", err)
	}
	now := c.cfg.Now()
	payload := assertion{
		Issuer: c.cfg.ClientID, Subject: subject, Audience: assertionAudience, ID: rand.Text(),
		IssuedAt: now.Unix(), Expiry: now.Add(assertionLife).Unix(),
	}
	if subject != c.cfg.ClientID {
		payload.Person = subject
	}
	text, err := jwt.Signed(signer).Claims(payload).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign the assertion: %w", err)
	}
	return text, nil
}

// minKeyBits is the shortest RSA key that is taken, as NIST SP 800-131A has it.
const minKeyBits = 2048

// ParseKey reads an RSA private key in PEM, PKCS #8 or PKCS #1, not encrypted.
// Its errors hold nothing of the key.
func ParseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("private key: is not PEM; it begins with -----BEGIN PRIVATE KEY-----")
	case strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
		return nil, errors.New("private key: is encrypted; give it without a passphrase (openssl pkey -in key.pem)")
	case block.Type == "CERTIFICATE" || block.Type == "PUBLIC KEY":
		return nil, errors.New("private key: is a certificate or public key; that goes to the identity domain, the private key here")
	}
	var key any
	var err error
	if block.Type == "RSA PRIVATE KEY" {
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, errors.New("private key: cannot be read; give it as PKCS #8 (openssl pkey -in key.pem)")
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok || private.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("private key: is not an RSA key of at least %d bits", minKeyBits)
	}
	return private, nil
}
