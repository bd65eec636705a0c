package sso_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"longhaul/api/sso"
)

func ago(d time.Duration) int64 { return time.Now().Add(-d).Unix() }

// forgeries are signatures that nobody may take, whatever the claims.
func forgeries(t *testing.T, f *fake, claims map[string]any) map[string]string {
	t.Helper()
	public, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	right := f.sign(t, claims)
	parts := strings.Split(right, ".")
	payload := parts[1]
	other := strings.Split(f.sign(t, with(maps.Clone(claims), map[string]any{"sub": "kim"})), ".")
	return map[string]string{
		"HS256 with the public key": signWith(t, jose.SigningKey{Algorithm: jose.HS256, Key: public}, claims),
		"HS256 with the secret":     signWith(t, jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("our-secret", 4))}, claims),
		"another key, same kid":     signWith(t, jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: newKey(), KeyID: f.kid}}, claims),
		"an algorithm not offered":  signWith(t, jose.SigningKey{Algorithm: jose.ES256, Key: ellipticKey(t)}, claims),
		"none":                      "eyJhbGciOiJub25lIn0." + payload + ".",
		"none, with a signature":    "eyJhbGciOiJub25lIn0." + payload + "." + parts[2],
		"other claims":              parts[0] + "." + other[1] + "." + parts[2],
		"no signature":              parts[0] + "." + parts[1] + ".",
		"JSON":                      `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
		"nothing":                   "",
		"opaque":                    "c2VjcmV0",
		"far too long":              strings.Repeat("a", 1<<19) + ".b.c",
	}
}

func TestIDTokens(t *testing.T) {
	t.Parallel()
	f := newFake(t, plainURL)
	p := f.provider(t, nil)
	hash := sha256.Sum256([]byte("opaque")) // the access token
	for _, c := range []struct {
		name   string
		change map[string]any
		code   string // empty: it is taken
	}{
		{"right", nil, ""},
		{"audience alone", map[string]any{"aud": clientID, "azp": nil}, ""},
		{"expired a moment ago", map[string]any{"exp": ago(50 * time.Second)}, ""},
		{"issued in a moment", map[string]any{"iat": ago(-50 * time.Second), "nbf": ago(-50 * time.Second)}, ""},
		{"expired", map[string]any{"exp": ago(70 * time.Second)}, sso.CodeInvalidToken},
		{"no expiry", map[string]any{"exp": nil}, sso.CodeInvalidToken},
		{"issued in the future", map[string]any{"iat": ago(-70 * time.Second)}, sso.CodeInvalidToken},
		{"not valid yet", map[string]any{"nbf": ago(-70 * time.Second)}, sso.CodeInvalidToken},
		{"another issuer", map[string]any{"iss": "https://login.example.com/other"}, sso.CodeInvalidToken},
		{"the issuer with a slash", map[string]any{"iss": plainURL + "/"}, sso.CodeInvalidToken},
		{"another audience", map[string]any{"aud": "other-client"}, sso.CodeInvalidToken},
		{"no audience", map[string]any{"aud": nil}, sso.CodeInvalidToken},
		{"another authorized party", map[string]any{"azp": "other-client"}, sso.CodeInvalidToken},
		{"another nonce", map[string]any{"nonce": "other"}, sso.CodeInvalidToken},
		{"no nonce", map[string]any{"nonce": nil}, sso.CodeInvalidToken},
		{"a hash of another access token", map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, sso.CodeInvalidToken},
		{"the hash of the access token", map[string]any{"at_hash": base64.RawURLEncoding.EncodeToString(hash[:16])}, ""},
		{"no subject", map[string]any{"sub": nil}, sso.CodeInvalidToken},
	} {
		_, err := f.signIn(t, p, func(nonce string) string { return f.sign(t, f.idToken(nonce, c.change)) })
		if c.code == "" && err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if c.code != "" {
			wantRefusal(t, err, c.code)
		}
	}
	for name := range forgeries(t, f, f.idToken("", nil)) {
		if name == "nothing" {
			continue // the provider's setting is wrong then
		}
		_, err := f.signIn(t, p, func(nonce string) string { return forgeries(t, f, f.idToken(nonce, nil))[name] })
		t.Log(name, err)
		wantRefusal(t, err, sso.CodeInvalidToken)
	}
	_, err := f.signIn(t, p, func(string) string { return "" })
	wantRefusal(t, err, sso.CodeSetup)
}

func TestAccessTokens(t *testing.T) {
	t.Parallel()
	f := newFake(t, plainURL)
	p := f.provider(t, nil)
	f.infoCode = http.StatusUnauthorized
	for _, c := range []struct {
		name   string
		change map[string]any
		header []string
		ok     bool
	}{
		{"right", nil, nil, true},
		{"typed", nil, []string{"typ", "at+jwt"}, true},
		{"with the long type", nil, []string{"typ", "application/at+jwt"}, true},
		{"several audiences", map[string]any{"aud": []string{"x", audience}}, nil, true},
		{"expired a moment ago", map[string]any{"exp": ago(50 * time.Second)}, nil, true},
		{"without groups", map[string]any{"groups": nil}, nil, true},
		{"expired", map[string]any{"exp": ago(70 * time.Second)}, nil, false},
		{"no expiry", map[string]any{"exp": nil}, nil, false},
		{"not valid yet", map[string]any{"nbf": ago(-70 * time.Second)}, nil, false},
		{"another issuer", map[string]any{"iss": "https://login.example.com"}, nil, false},
		{"for the client", map[string]any{"aud": clientID}, nil, false},
		{"no audience", map[string]any{"aud": nil}, nil, false},
		{"nobody", map[string]any{"sub": nil, "email": nil}, nil, false},
		{"a program", map[string]any{"sub": "web-app", "email": nil}, nil, false},
		{"an ID token", map[string]any{"nonce": "n"}, nil, false},
		{"an ID token by its hash", map[string]any{"at_hash": "h"}, nil, false},
		{"an ID token by its type", map[string]any{"tok_type": "IT"}, nil, false},
		{"no mark of an access token", map[string]any{"scope": nil, "client_id": nil}, nil, false},
		{"a logout token", nil, []string{"typ", "logout+jwt"}, false},
	} {
		who, _, err := p.AccessToken(t.Context(), f.sign(t, f.accessToken(c.change), c.header...))
		if c.ok && (err != nil || who.Subject != "jo") {
			t.Errorf("%s: %+v, %v", c.name, who, err)
		} else if !c.ok {
			wantRefusal(t, err, sso.CodeInvalidToken)
		}
	}
	for name, raw := range forgeries(t, f, f.accessToken(nil)) {
		_, _, err := p.AccessToken(t.Context(), raw)
		t.Log(name, err)
		wantRefusal(t, err, sso.CodeInvalidToken)
	}
}

func TestLogoutTokens(t *testing.T) {
	t.Parallel()
	f := newFake(t, plainURL)
	p := f.provider(t, nil)
	const event = "http://schemas.openid.net/event/backchannel-logout"
	right := func(change map[string]any) map[string]any {
		return with(map[string]any{
			"iss": f.issuer(), "aud": clientID, "sub": "jo", "sid": "session-1", "jti": "logout-1",
			"iat": ago(0), "exp": ago(-2 * time.Minute), "events": map[string]any{event: map[string]any{}},
		}, change)
	}
	for _, c := range []struct {
		name   string
		change map[string]any
		header []string
		ok     bool
	}{
		{"right", nil, nil, true},
		{"typed", nil, []string{"typ", "logout+jwt"}, true},
		{"the session alone", map[string]any{"sub": nil}, nil, true},
		{"the person alone", map[string]any{"sid": nil}, nil, true},
		{"neither", map[string]any{"sub": nil, "sid": nil}, nil, false},
		{"a nonce", map[string]any{"nonce": "n"}, nil, false},
		{"no event", map[string]any{"events": nil}, nil, false},
		{"another event", map[string]any{"events": map[string]any{"x": map[string]any{}}}, nil, false},
		{"an event that is nothing", map[string]any{"events": map[string]any{event: nil}}, nil, false},
		{"no id", map[string]any{"jti": nil}, nil, false},
		{"too old", map[string]any{"iat": ago(7 * time.Minute)}, nil, false},
		{"no time", map[string]any{"iat": nil}, nil, false},
		{"issued in the future", map[string]any{"iat": ago(-2 * time.Minute)}, nil, false},
		{"expired", map[string]any{"exp": ago(2 * time.Minute)}, nil, false},
		{"another audience", map[string]any{"aud": "other-client"}, nil, false},
		{"another issuer", map[string]any{"iss": "https://login.example.com"}, nil, false},
		{"an access token", nil, []string{"typ", "at+jwt"}, false},
	} {
		got, err := p.LogoutToken(t.Context(), f.sign(t, right(c.change), c.header...))
		if c.ok && (err != nil || got.ID != "logout-1" || got.Issuer != plainURL) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		} else if !c.ok {
			wantRefusal(t, err, sso.CodeInvalidToken)
		}
	}
	for name, raw := range forgeries(t, f, right(nil)) {
		_, err := p.LogoutToken(t.Context(), raw)
		t.Log(name, err)
		wantRefusal(t, err, sso.CodeInvalidToken)
	}
}

// TestForgedTokensDoNotFlood shows that a flood of forged tokens is a trickle for the
// provider, and does not keep people from signing in with new keys.
func TestForgedTokensDoNotFlood(t *testing.T) {
	t.Parallel()
	f := newFake(t, plainURL)
	var time clock
	p := f.provider(t, func(c *sso.Config) { c.Now = time.now })
	forged := signWith(t, jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: newKey(), KeyID: "new"}}, f.accessToken(nil))
	flood := func() {
		for range 200 {
			_, _, err := p.AccessToken(t.Context(), forged)
			wantRefusal(t, err, sso.CodeInvalidToken)
		}
	}
	flood()
	if f.jwksReads != 1 || f.reads != 1 {
		t.Errorf("200 forged tokens: the keys were read %d times, the document %d times", f.jwksReads, f.reads)
	}
	time.advance(11 * second)
	flood()
	if f.jwksReads != 2 {
		t.Errorf("400 forged tokens in 11 seconds: the keys were read %d times", f.jwksReads)
	}
	f.mu.Lock()
	f.key = newKey()
	f.mu.Unlock()
	eventually(t, func() error { // amid the flood
		_, err := f.signIn(t, p, func(nonce string) string { return f.sign(t, f.idToken(nonce, nil)) })
		return err
	})
	if _, _, err := p.AccessToken(t.Context(), f.sign(t, f.accessToken(nil))); err == nil {
		t.Error("an access token with new keys was taken before they could be known")
	}
	time.advance(11 * second)
	eventually(t, func() error {
		_, _, err := p.AccessToken(t.Context(), f.sign(t, f.accessToken(nil)))
		return err
	})
}
