package oauth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"longhaul/oracle"
	"longhaul/oracle/oauth"
	"longhaul/oracle/sim/identity"
)

const (
	audience  = "urn:opc:serviceInstanceID=123456789"
	scope     = audience + identity.ConsumerScope
	tokenPath = "/oauth2/v1/token"
	clientKey = "idcscs-5ecret+value"
)

// key is shared, because making one takes a while.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	made, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return made
})

// domain is a simulated identity domain and a clock that both sides go by.
type domain struct {
	*identity.Domain
	t   *testing.T
	url string

	mu  sync.Mutex
	now time.Time
}

func newDomain(t *testing.T, change ...func(*identity.Config)) *domain {
	t.Helper()
	d := &domain{t: t, now: time.Now().Truncate(time.Second)}
	public, err := x509.MarshalPKIXPublicKey(&key().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{"cert1": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}
	cfg := identity.Config{
		Key: key(), Now: d.clock,
		Users:     []identity.User{{Name: "jo@example.com", Password: "welcome1"}},
		Resources: []identity.Resource{{Audience: audience}, {Audience: "urn:strict", NoRefresh: true}},
		Apps: []identity.App{
			{ID: "web", Secret: clientKey, Keys: keys}, {ID: "mobile"}, {ID: "service", Keys: keys},
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
	return d
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

func (d *domain) fault(f identity.Fault) {
	d.t.Helper()
	if err := d.AddFault(f); err != nil {
		d.t.Fatal(err)
	}
}

// asked counts the requests to the token endpoint.
func (d *domain) asked() int {
	n := 0
	for _, r := range d.Requests() {
		if r.Path == tokenPath {
			n++
		}
	}
	return n
}

// client is the application with an id; web has the secret.
func (d *domain) client(id string) *oauth.Client {
	d.t.Helper()
	cfg := oauth.Config{DomainURL: d.url, ClientID: id, Now: d.clock}
	if id == "web" {
		cfg.ClientSecret = clientKey
	}
	return newClient(d.t, cfg)
}

func newClient(t *testing.T, cfg oauth.Config) *oauth.Client {
	t.Helper()
	transport := oracle.DefaultTransport()
	transport.Proxy = nil // the tests' servers are on this machine
	t.Cleanup(transport.CloseIdleConnections)
	cfg.Transport = transport
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	c, err := oauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answering is a client of a server that is no simulator.
func answering(t *testing.T, handler http.HandlerFunc) *oauth.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return newClient(t, oauth.Config{DomainURL: server.URL, ClientID: "web", ClientSecret: clientKey})
}

func asError(t *testing.T, err error) *oauth.Error {
	t.Helper()
	var e *oauth.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v (%T); want an *oauth.Error", err, err)
	}
	return e
}

// consent is a token with a refresh token, by the device flow.
func (d *domain) consent(c *oauth.Client) *oauth.Token {
	d.t.Helper()
	device, err := c.StartDevice(d.t.Context(), scope+" offline_access")
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.ApproveDevice(device.UserCode, "jo@example.com"); err != nil {
		d.t.Fatal(err)
	}
	token, err := c.PollDevice(d.t.Context(), device.DeviceCode)
	if err != nil {
		d.t.Fatal(err)
	}
	return token
}

func writeJSON(w http.ResponseWriter, status int, body map[string]any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// canned answers everything the same, without a network.
type canned struct {
	status int
	text   string
}

func (c canned) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		if err := req.Body.Close(); err != nil {
			return nil, err
		}
	}
	return &http.Response{
		StatusCode: c.status, Header: http.Header{}, Request: req, Body: io.NopCloser(strings.NewReader(c.text)),
	}, nil
}
