package oauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"longhaul/oracle/oauth"
)

func TestParseKey(t *testing.T) {
	t.Parallel()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key())
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve8, err := x509.MarshalPKCS8PrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(name string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: name, Bytes: der}) }
	for name, each := range map[string]struct {
		text []byte
		err  string
	}{
		"PKCS #8":     {encode("PRIVATE KEY", pkcs8), ""},
		"PKCS #1":     {encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key())), ""},
		"encrypted":   {encode("ENCRYPTED PRIVATE KEY", pkcs8), "passphrase"},
		"certificate": {encode("CERTIFICATE", pkcs8), "identity domain"},
		"public":      {encode("PUBLIC KEY", pkcs8), "identity domain"},
		"curve":       {encode("PRIVATE KEY", curve8), "2048"},
		"broken":      {encode("PRIVATE KEY", pkcs8[:40]), "cannot be read"},
		"no PEM":      {[]byte("hunter2"), "not PEM"},
	} {
		got, err := oauth.ParseKey(each.text)
		switch {
		case each.err == "" && (err != nil || got == nil):
			t.Errorf("%s: %v", name, err)
		case each.err != "" && (err == nil || !strings.Contains(err.Error(), each.err) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%s: %v, want %q", name, err, each.err)
		}
	}
	c := newClient(t, oauth.Config{DomainURL: "http://127.0.0.1:1", ClientID: "web"})
	if _, err := c.UserAssertion(t.Context(), "jo", curve, "cert1", scope); err == nil || !strings.Contains(err.Error(), "RSA") {
		t.Errorf("a key of another kind: %v", err)
	}
}
