package identity_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"longhaul/oracle/sim/identity"
)

const (
	epm      = "urn:opc:serviceInstanceID=123456789"
	epmScope = epm + identity.ConsumerScope
	fusion   = "urn:opc:resource:fa:instanceid=42"
	callback = "http://127.0.0.1:1/callback"
	goodbye  = "http://127.0.0.1:1/bye"
	verifier = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
)

// key is shared, because making one takes a while.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	made, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return made
})

// publicPEM is the public half of key.
func publicPEM() string {
	der, err := x509.MarshalPKIXPublicKey(&key().PublicKey)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// domain is a simulated identity domain, a browser, and a clock.
type domain struct {
	*identity.Domain
	t       *testing.T
	url     string
	browser *http.Client

	mu  sync.Mutex
	now time.Time
}

func newDomain(t *testing.T, change ...func(*identity.Config)) *domain {
	t.Helper()
	d := &domain{t: t, now: time.Now().Truncate(time.Second)}
	cfg := identity.Config{
		Key: key(), Now: d.clock, KeysPublic: true,
		Users: []identity.User{
			{
				Name: "jo@example.com", Password: "welcome1", Given: "Jo", Family: "Doe", Email: "jo@example.com",
				Groups: []string{"Planners", "Close Team"},
			},
			{Name: "max@example.com", Password: "welcome1", Groups: []string{"Planners"}},
		},
		Resources: []identity.Resource{
			{Audience: epm},
			{Audience: fusion, Scopes: []string{"consumer::all"}, ExpiresIn: 27261 * time.Second},
			{Audience: "urn:strict", Scopes: []string{":all"}, NoRefresh: true},
		},
		Apps: []identity.App{
			{ID: "web", Name: "Web", Secret: "web+secret", Redirects: []string{callback}, LogoutRedirects: []string{goodbye}},
			{ID: "mobile", Redirects: []string{callback}},
			{ID: "service", Keys: map[string]string{"cert1": publicPEM()}},
			{ID: "both", Secret: "s3cret", Keys: map[string]string{"cert1": publicPEM()}},
			{ID: "narrow", Secret: "s3cret", Grants: []string{identity.GrantClientCredentials, identity.GrantDeviceCode}, Scopes: []string{epmScope}},
		},
	}
	for _, each := range change {
		each(&cfg)
	}
	made, err := identity.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.Domain = made
	server := httptest.NewServer(made)
	t.Cleanup(server.Close)
	d.url = server.URL
	d.newBrowser()
	return d
}

// newBrowser forgets all cookies. It follows no redirect.
func (d *domain) newBrowser() {
	jar, err := cookiejar.New(nil)
	if err != nil {
		d.t.Fatal(err)
	}
	d.browser = &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (d *domain) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *domain) advance(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(by)
}

func (d *domain) change(f func(*identity.Config)) {
	d.t.Helper()
	if err := d.Change(f); err != nil {
		d.t.Fatal(err)
	}
}

type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (a answer) text(name string) string { s, _ := a.body[name].(string); return s }

// do sends a request and reads all of its answer.
func (d *domain) do(req *http.Request) answer {
	d.t.Helper()
	resp, err := d.browser.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	got := answer{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(raw, &got.body); err != nil {
			d.t.Fatalf("%s: %v in %s", req.URL, err, raw)
		}
	}
	return got
}

func (d *domain) request(method, path string, form url.Values) *http.Request {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		d.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req
}

func (d *domain) get(path string) answer {
	d.t.Helper()
	return d.do(d.request(http.MethodGet, path, nil))
}

// post sends a form as a client: "id:secret" by basic authentication, or "id"
// as a public client. Pairs of name and value make up the form.
func (d *domain) post(path, client string, pairs ...string) answer {
	d.t.Helper()
	form := values(pairs...)
	id, password, confidential := strings.Cut(client, ":")
	if !confidential && id != "" {
		form.Set("client_id", id)
	}
	req := d.request(http.MethodPost, path, form)
	if confidential {
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(password))
	}
	return d.do(req)
}

// bearer sends a request with an access token.
func (d *domain) bearer(method, path, token string) answer {
	d.t.Helper()
	req := d.request(method, path, nil)
	req.Header.Set("Authorization", "Bearer "+token)
	return d.do(req)
}

const (
	webClient = "web:web+secret"
	tokenPath = "/oauth2/v1/token"
)

func values(pairs ...string) url.Values {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

// challenge is the code challenge of verifier.
func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authorizePath is an authorization request of web's; pairs change it.
func authorizePath(pairs ...string) string {
	query := values(
		"response_type", "code", "client_id", "web", "redirect_uri", callback, "scope", "openid profile email groups offline_access",
		"state", "st&te", "nonce", "n0nce", "code_challenge", challenge(), "code_challenge_method", "S256",
	)
	for i := 0; i < len(pairs); i += 2 {
		if query.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			query.Del(pairs[i])
		}
	}
	return "/oauth2/v1/authorize?" + query.Encode()
}

// signIn fills in the login form as Jo and returns the code that comes back.
func (d *domain) signIn(pairs ...string) string {
	d.t.Helper()
	got := d.do(d.request(http.MethodPost, authorizePath(pairs...), values("username", "jo@example.com", "password", "welcome1")))
	return d.codeOf(got)
}

func (d *domain) codeOf(got answer) string {
	d.t.Helper()
	back := d.sentBack(got)
	if back.Get("code") == "" || back.Get("state") != "st&te" {
		d.t.Fatalf("sent back with %v", back)
	}
	return back.Get("code")
}

// sentBack is what the browser is sent to the client with.
func (d *domain) sentBack(got answer) url.Values {
	d.t.Helper()
	target, err := url.Parse(got.header.Get("Location"))
	if err != nil || got.status != http.StatusFound || !strings.HasPrefix(target.String(), callback+"?") {
		d.t.Fatalf("%d to %q, %s", got.status, got.header.Get("Location"), got.raw)
	}
	return target.Query()
}

// exchange trades a code for tokens.
func (d *domain) exchange(code string, pairs ...string) answer {
	d.t.Helper()
	form := []string{"grant_type", "authorization_code", "code", code, "redirect_uri", callback, "code_verifier", verifier}
	return d.post(tokenPath, webClient, append(form, pairs...)...)
}

// want fails unless an answer has a status, and an error with a text where it
// is one of OAuth's.
func (d *domain) want(got answer, status int, code, text string) {
	d.t.Helper()
	if got.status != status || got.text("error") != code || !strings.Contains(got.text("error_description"), text) {
		d.t.Fatalf("%d %s\nwant %d %s %q", got.status, got.raw, status, code, text)
	}
}

// payload reads a token without checking it.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestConfigReportsEveryProblem(t *testing.T) {
	t.Parallel()
	cfg := identity.Config{
		Users: []identity.User{{Name: "x"}}, Resources: []identity.Resource{{}}, Groups: "circles", GroupsClaim: "groups",
		Apps: []identity.App{{ID: "a"}, {ID: "a", Keys: map[string]string{"k": "-"}}}, CodeLife: -1,
	}
	_, err := identity.New(cfg)
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"user 1", "resource 1", "app 2: needs", `app 2: key "k"`, "circles", "reserved", "code life"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not mention %q", err, part)
		}
	}
}

func TestChange(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	if err := d.Change(func(c *identity.Config) { c.ExpiresIn = -time.Second }); err == nil {
		t.Error("a negative life was taken")
	}
	if err := d.ChangeUser("nobody", func(*identity.User) {}); err == nil {
		t.Error("nobody was changed")
	}
	before := payload(t, d.exchange(d.signIn()).text("id_token"))
	if err := d.ChangeUser("jo@example.com", func(u *identity.User) { u.Name = "jo.doe@example.com" }); err != nil {
		t.Fatal(err)
	}
	after := payload(t, d.exchange(d.codeOf(d.get(authorizePath()))).text("id_token"))
	if after["sub"] != "jo.doe@example.com" || after["user_id"] != before["user_id"] {
		t.Errorf("after the rename: sub %v, user_id %v; before %v", after["sub"], after["user_id"], before["user_id"])
	}
	if got := fmt.Sprint(before["sub"]); got != "jo@example.com" {
		t.Errorf("before the rename: %s", got)
	}
}
