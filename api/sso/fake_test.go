package sso_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"longhaul/api/sso"
)

const (
	domainID   = "idcs-0123456789abcdef0123456789abcdef"
	domainURL  = "https://" + domainID + ".identity.oraclecloud.com"
	plainURL   = "https://login.example.com/tenant"
	clientID   = "our-client"
	audience   = "https://longhaul.example.com/api"
	redirectTo = "https://longhaul.example.com/sign-in/callback"
)

// signingKey makes one key for all fakes: making one takes a while.
var signingKey = sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// fake is a provider whose every answer the test may bend: what the two real ones
// never do. It is reached as https://HOST for any host.
type fake struct {
	url string

	mu        sync.Mutex
	document  map[string]any
	key       *rsa.PrivateKey
	kid       string
	keys      []jose.JSONWebKey // shown beside key
	jwksCode  int
	jwksReads int
	reads     int            // of the document
	token     map[string]any // the answer of the token endpoint
	form      url.Values     // what was posted there
	basic     string         // whose HTTP Basic credentials came with it
	userinfo  map[string]any
	infoCode  int
	infoReads int

	transport http.RoundTripper
}

func newFake(t *testing.T, address string) *fake {
	t.Helper()
	f := &fake{url: address, key: signingKey(), kid: "SIGNING_KEY", jwksCode: http.StatusOK, infoCode: http.StatusOK}
	f.document = map[string]any{
		"issuer":                                address,
		"authorization_endpoint":                address + "/oauth2/v1/authorize",
		"token_endpoint":                        address + "/oauth2/v1/token",
		"userinfo_endpoint":                     address + "/oauth2/v1/userinfo",
		"end_session_endpoint":                  address + "/oauth2/v1/userlogout",
		"jwks_uri":                              address + "/admin/v1/SigningCert/jwk",
		"scopes_supported":                      []string{"openid", "profile", "email", "groups", "get_groups"},
		"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]http.HandlerFunc{
		"GET " + u.Path + "/.well-known/openid-configuration": f.discovery,
		"GET " + u.Path + "/admin/v1/SigningCert/jwk":         f.jwks,
		"POST " + u.Path + "/oauth2/v1/token":                 f.tokenEndpoint,
		"GET " + u.Path + "/oauth2/v1/userinfo":               f.userinfoEndpoint,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			handle(w, r)
		})
	}
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	tls := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	tls.ServerName = "example.com" // the certificate's
	f.transport = &http.Transport{
		TLSClientConfig: tls,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		},
	}
	return f
}

// newDomain is a fake with the oddities of an Oracle identity domain.
func newDomain(t *testing.T) *fake {
	t.Helper()
	f := newFake(t, domainURL)
	f.document["issuer"] = sso.OracleIssuer
	f.document["authorization_endpoint"] = domainURL + ":443/oauth2/v1/authorize"
	f.document["token_endpoint"] = "/oauth2/v1/token"
	f.document["jwks_uri"] = domainURL + ":443/admin/v1/SigningCert/jwk"
	f.document["id_token_signing_alg_values_supported"] = []string{"RS256"}
	return f
}

func (f *fake) discovery(w http.ResponseWriter, _ *http.Request) {
	f.reads++
	answer(w, http.StatusOK, f.document)
}

func (f *fake) jwks(w http.ResponseWriter, _ *http.Request) {
	f.jwksReads++
	shown := jose.JSONWebKey{Key: &f.key.PublicKey, KeyID: f.kid, Use: "sig", Algorithm: "RS256"}
	answer(w, f.jwksCode, jose.JSONWebKeySet{Keys: append([]jose.JSONWebKey{shown}, f.keys...)})
}

func (f *fake) tokenEndpoint(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	f.form = r.PostForm
	f.basic, _, _ = r.BasicAuth()
	code := http.StatusOK
	if f.token["error"] != nil {
		code = http.StatusBadRequest
	}
	answer(w, code, f.token)
}

func (f *fake) userinfoEndpoint(w http.ResponseWriter, _ *http.Request) {
	f.infoReads++
	answer(w, f.infoCode, f.userinfo)
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) //nolint:errchkjson // of tests: strings, numbers and maps
}

// provider is ours, for this fake.
func (f *fake) provider(t *testing.T, change func(*sso.Config)) *sso.Provider {
	t.Helper()
	config := sso.Config{
		Issuer: f.url, ClientID: clientID, ClientSecret: "our-secret", Audience: audience, Transport: f.transport,
	}
	if change != nil {
		change(&config)
	}
	p, err := sso.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (f *fake) issuer() string { return f.document["issuer"].(string) }

// idToken has the claims of an ID token, those of change over them; nil takes one away.
func (f *fake) idToken(nonce string, change map[string]any) map[string]any {
	now := time.Now().Unix()
	return with(map[string]any{
		"iss": f.issuer(), "sub": "jo", "aud": []string{clientID, f.issuer()}, "azp": clientID,
		"iat": now, "exp": now + 3600, "nonce": nonce,
		"name": "Jo Doe", "email": "jo@example.com", "groups": []string{"finance"}, "sid": "session-1",
	}, change)
}

// accessToken likewise.
func (f *fake) accessToken(change map[string]any) map[string]any {
	now := time.Now().Unix()
	return with(map[string]any{
		"iss": f.issuer(), "sub": "jo", "aud": audience, "client_id": "web-app", "scope": "openid",
		"iat": now, "exp": now + 3600, "jti": "1", "email": "jo@example.com", "groups": []string{"finance"},
	}, change)
}

func with(claims, change map[string]any) map[string]any {
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// sign makes a JWT of the fake's.
func (f *fake) sign(t *testing.T, claims map[string]any, header ...string) string {
	t.Helper()
	return signWith(t, jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: f.key, KeyID: f.kid}}, claims, header...)
}

func signWith(t *testing.T, key jose.SigningKey, claims map[string]any, header ...string) string {
	t.Helper()
	options := new(jose.SignerOptions)
	for i := 0; i < len(header); i += 2 {
		options.WithHeader(jose.HeaderKey(header[i]), header[i+1])
	}
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func ellipticKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signIn begins and finishes a sign-in, at which the provider hands over the ID token
// that make returns for the nonce.
func (f *fake) signIn(t *testing.T, p *sso.Provider, mint func(nonce string) string) (*sso.Person, error) {
	t.Helper()
	_, flow, err := p.Begin(t.Context(), redirectTo)
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	f.mu.Lock()
	f.token = map[string]any{"access_token": "opaque", "token_type": "Bearer", "expires_in": 3600, "id_token": mint(flow.Nonce)}
	f.mu.Unlock()
	return p.Finish(t.Context(), flow, url.Values{"state": {flow.State}, "code": {"code-1"}})
}

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

func containsAll(s string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}
