package sso_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longhaul/api/sso"
)

func TestBegin(t *testing.T) {
	t.Parallel()
	f := newFake(t, plainURL)
	p := f.provider(t, nil)
	address, flow, err := p.Begin(t.Context(), redirectTo)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	got := u.Query()
	if challenge := got.Get("code_challenge"); len(challenge) != 43 || challenge == flow.Verifier {
		t.Errorf("code_challenge = %q", challenge)
	}
	got.Del("code_challenge")
	want := url.Values{
		"client_id": {clientID}, "response_type": {"code"}, "redirect_uri": {redirectTo},
		"scope": {"openid profile email groups get_groups"}, "state": {flow.State}, "nonce": {flow.Nonce},
		"code_challenge_method": {"S256"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("query (-want +got):\n%s", diff)
	}
	_, second, err := p.Begin(t.Context(), redirectTo)
	if err != nil {
		t.Fatal(err)
	}
	if second.State == flow.State || second.Nonce == flow.Nonce || second.Verifier == flow.Verifier {
		t.Error("two sign-ins share a secret")
	}
	if f.reads != 1 {
		t.Errorf("the document was read %d times", f.reads)
	}
}

func TestManyBeginAtOnce(t *testing.T) {
	t.Parallel()
	f := newFake(t, plainURL)
	p := f.provider(t, nil)
	var people sync.WaitGroup
	for range 50 {
		people.Go(func() {
			if _, _, err := p.Begin(t.Context(), redirectTo); err != nil {
				t.Error(err)
			}
		})
	}
	people.Wait()
	if f.reads != 1 {
		t.Errorf("the document was read %d times", f.reads)
	}
}

func TestHowTheSecretIsShown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		methods []string
		secret  string
		basic   string
		form    string
	}{
		{"the standard's default", nil, "s", clientID, ""},
		{"basic", []string{"client_secret_post", "client_secret_basic"}, "s", clientID, ""},
		{"post", []string{"client_secret_post"}, "s", "", "s"},
		{"public client", nil, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, plainURL)
			if c.methods != nil {
				f.document["token_endpoint_auth_methods_supported"] = c.methods
			}
			p := f.provider(t, func(config *sso.Config) { config.ClientSecret = c.secret })
			if _, err := f.signIn(t, p, func(nonce string) string { return f.sign(t, f.idToken(nonce, nil)) }); err != nil {
				t.Fatal(err)
			}
			if f.basic != c.basic || f.form.Get("client_secret") != c.form || f.form.Get("code_verifier") == "" {
				t.Errorf("basic %q, form %v", f.basic, f.form)
			}
		})
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		url    string
		change map[string]any
		config func(*sso.Config)
		want   string // in the error; empty: it is taken
	}{
		{"right", plainURL, nil, nil, ""},
		{"the issuer with a slash", plainURL, map[string]any{"issuer": plainURL + "/"}, nil, ""},
		{"the issuer with its port", plainURL, map[string]any{"issuer": "https://login.example.com:443/tenant"}, nil, ""},
		{"another issuer, expected", plainURL, map[string]any{"issuer": "x"}, func(c *sso.Config) { c.ExpectedIssuer = "x" }, ""},
		{"relative endpoints", plainURL, map[string]any{"token_endpoint": "oauth2/v1/token", "jwks_uri": "/tenant/admin/v1/SigningCert/jwk"}, nil, ""},
		{"another issuer", plainURL, map[string]any{"issuer": "https://login.example.com/other"}, nil, "set it as the expected issuer"},
		{"Oracle's issuer elsewhere", plainURL, map[string]any{"issuer": sso.OracleIssuer}, nil, "set it as the expected issuer"},
		{"no issuer", plainURL, map[string]any{"issuer": nil}, nil, "names the issuer \"\""},
		{"no keys", plainURL, map[string]any{"jwks_uri": nil}, nil, "no jwks_uri"},
		{"plain http", plainURL, map[string]any{"token_endpoint": "http://login.example.com/token"}, nil, "is not https"},
		{"plain http to us", plainURL, map[string]any{"token_endpoint": "http://127.0.0.1/token"}, nil, "is not https"},
		{"domain", domainURL, map[string]any{"issuer": sso.OracleIssuer}, nil, ""},
		{"domain that names itself", domainURL, nil, nil, ""},
		{"domain with another's keys", domainURL, map[string]any{"issuer": sso.OracleIssuer, "jwks_uri": "https://idcs-ff.identity.oraclecloud.com/jwk"}, nil, "not at our identity domain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, c.url)
			with(f.document, c.change)
			p := f.provider(t, c.config)
			if c.want == "" {
				if _, err := f.signIn(t, p, func(nonce string) string { return f.sign(t, f.idToken(nonce, nil)) }); err != nil {
					t.Fatal(err)
				}
				return
			}
			_, _, err := p.Begin(t.Context(), redirectTo)
			if wantRefusal(t, err, sso.CodeSetup); !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestNoProviderThere(t *testing.T) {
	t.Parallel()
	f := newFake(t, plainURL)
	p := f.provider(t, func(c *sso.Config) { c.Issuer = "https://login.example.com/elsewhere" })
	_, _, err := p.Begin(t.Context(), redirectTo)
	wantRefusal(t, err, sso.CodeSetup)
}

// broken is a provider in a bad hour.
type broken struct {
	next http.RoundTripper

	mu    sync.Mutex
	how   func() (*http.Response, error) // nil: it works
	sent  int
	paths []string
}

func (b *broken) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent++
	b.paths = append(b.paths, r.URL.Path)
	if b.how != nil {
		return b.how()
	}
	return b.next.RoundTrip(r)
}

func (b *broken) set(how func() (*http.Response, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.how = how
}

func page(status int) func() (*http.Response, error) {
	return func() (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {"text/html"}},
			Body: http.MaxBytesReader(nil, readCloser{strings.NewReader("<h1>Maintenance</h1>")}, 1000),
		}, nil
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func TestProviderDownAndBack(t *testing.T) {
	t.Parallel()
	refused := func() (*http.Response, error) { return nil, errors.New("connection refused") }
	f := newFake(t, plainURL)
	line := &broken{next: f.transport, how: refused}
	var now clock
	p := f.provider(t, func(c *sso.Config) { c.Transport, c.Now = line, now.now })
	begin := func() error {
		_, _, err := p.Begin(t.Context(), redirectTo)
		return err
	}
	for _, how := range []func() (*http.Response, error){refused, page(http.StatusServiceUnavailable), page(http.StatusOK), page(http.StatusTooManyRequests)} {
		line.set(how)
		now.advance(6 * time.Second)
		before := line.sent
		for range 20 {
			if err := begin(); !errors.Is(err, sso.ErrUnavailable) {
				t.Fatalf("provider down: %v", err)
			}
		}
		if asked := line.sent - before; asked != 1 {
			t.Errorf("a dead provider was asked %d times", asked)
		}
	}
	line.set(nil)
	now.advance(6 * time.Second)
	if err := begin(); err != nil {
		t.Fatalf("provider back: %v", err)
	}

	// An old document serves until there is a new one.
	line.set(refused)
	now.advance(2 * time.Hour)
	before := line.sent
	for range 3 {
		if err := begin(); err != nil {
			t.Errorf("with the old document: %v", err)
		}
	}
	if asked := line.sent - before; asked != 1 {
		t.Errorf("the document was asked for %d times", asked)
	}

	// The keys, the token endpoint and userinfo fail likewise.
	line.set(nil)
	now.advance(6 * time.Second)
	right := f.sign(t, f.accessToken(map[string]any{"exp": time.Now().Add(9 * time.Hour).Unix()}))
	line.set(page(http.StatusBadGateway))
	if _, _, err := p.AccessToken(t.Context(), right); !errors.Is(err, sso.ErrUnavailable) {
		t.Errorf("keys that cannot be read: %v", err)
	}
	if _, err := f.signIn(t, p, func(string) string { return "" }); !errors.Is(err, sso.ErrUnavailable) {
		t.Errorf("a code that cannot be exchanged: %v", err)
	}
	line.set(nil)
	now.advance(11 * time.Second)
	f.infoCode = http.StatusBadGateway
	open := f.sign(t, f.accessToken(map[string]any{"groups": nil, "exp": time.Now().Add(9 * time.Hour).Unix()}))
	if _, _, err := p.AccessToken(t.Context(), open); !errors.Is(err, sso.ErrUnavailable) {
		t.Errorf("userinfo that cannot be read: %v", err)
	}
	eventually(t, func() error { // a token that leaves nothing open
		_, _, err := p.AccessToken(t.Context(), right)
		return err
	})
}

func TestRedirectErrors(t *testing.T) {
	t.Parallel()
	f := newFake(t, plainURL)
	p := f.provider(t, nil)
	for code, want := range map[string]string{
		"access_denied": sso.CodeDenied, "login_required": sso.CodeStartAgain, "consent_required": sso.CodeStartAgain,
		"server_error": sso.CodeProvider, "temporarily_unavailable": sso.CodeProvider,
		"invalid_scope": sso.CodeSetup, "unauthorized_client": sso.CodeSetup, "something<new>": sso.CodeProvider,
	} {
		_, flow, err := p.Begin(t.Context(), redirectTo)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Finish(t.Context(), flow, url.Values{"state": {flow.State}, "error": {code}, "error_description": {"<b>why</b>"}})
		if message := wantRefusal(t, err, want); strings.ContainsAny(message, "<>") {
			t.Errorf("message = %q", message)
		}
	}
	_, flow, err := p.Begin(t.Context(), redirectTo)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Finish(t.Context(), flow, url.Values{"state": {flow.State}})
	wantRefusal(t, err, sso.CodeStartAgain)
	flow.BegunAt = flow.BegunAt.Add(-2 * time.Hour)
	_, err = p.Finish(t.Context(), flow, url.Values{"state": {flow.State}, "code": {"c"}})
	wantRefusal(t, err, sso.CodeStartAgain)
}
