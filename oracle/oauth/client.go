package oauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"longhaul/oracle"
)

// Config is what [New] needs.
type Config struct {
	// DomainURL is the address of the identity domain, as its console shows
	// it: https://idcs-….identity.oraclecloud.com, with or without :443.
	// Plain http is taken for loopback hosts only.
	DomainURL string
	// ClientID and ClientSecret are those of the integrated application.
	// Without a secret it is a public client, or one that signs assertions.
	ClientID, ClientSecret string
	// Transport sends the requests; nil means a new [oracle.DefaultTransport].
	Transport http.RoundTripper
	// Logger hears of every request at level debug, never of what is in it.
	// Nil is silent.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// LogValue implements [slog.LogValuer]: it leaves out the secret.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("domain_url", c.DomainURL), slog.String("client_id", c.ClientID))
}

// String is the same for fmt.
func (c Config) String() string { return c.LogValue().String() }

// GoString is the same for %#v.
func (c Config) GoString() string { return c.String() }

// timeout bounds a request; the domain answers within a second or two.
const timeout = 30 * time.Second

// Client asks one identity domain for tokens, as one application. It may be
// used from many goroutines; that one refresh token is not used by two of them
// is the caller's to see to.
type Client struct {
	cfg Config
	api *oracle.Client
}

// New returns a client, or an error that says what is wrong with the
// configuration. It sends nothing.
func New(cfg Config) (*Client, error) {
	if cfg.ClientID == "" {
		return nil, errors.New("client id: is empty; copy it from the integrated application in the identity domain")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Transport == nil {
		cfg.Transport = oracle.DefaultTransport()
	}
	settings := oracle.Config{
		URL: cfg.DomainURL, Transport: codeReader{cfg.Transport}, Timeout: timeout, Logger: cfg.Logger,
	}
	if cfg.ClientSecret != "" {
		// RFC 6749, 2.3.1 wants both encoded like a form. Oracle's hold
		// nothing that this changes.
		settings.Auth = oracle.Basic(url.QueryEscape(cfg.ClientID), url.QueryEscape(cfg.ClientSecret))
	}
	api, err := oracle.New(settings)
	if err != nil {
		return nil, fmt.Errorf("identity domain: %w", err)
	}
	return &Client{cfg: cfg, api: api}, nil
}

// post sends a form once and decodes the answer into out.
func (c *Client) post(ctx context.Context, what operation, path string, form url.Values, out any) error {
	if c.cfg.ClientSecret == "" && !form.Has("client_assertion") {
		form.Set("client_id", c.cfg.ClientID)
	}
	text := form.Encode()
	call := oracle.Call{
		Op: string(what), Method: http.MethodPost, Path: path,
		Body: strings.NewReader(text), Size: int64(len(text)),
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded;charset=UTF-8"}, "Accept": {"application/json"}},
	}
	ctx, code := withCode(ctx)
	err := c.api.Do(ctx, call, out)
	if err == nil {
		return nil
	}
	if below, ok := errors.AsType[*oracle.Error](err); ok {
		below.Message = c.scrub(below.Message, form)
	}
	return newError(what, *code, err)
}

// scrub takes out of a text what was sent in confidence, should the domain have
// repeated it.
func (c *Client) scrub(text string, form url.Values) string {
	secrets := []string{c.cfg.ClientSecret}
	for _, name := range []string{"refresh_token", "device_code", "assertion", "client_assertion"} {
		secrets = append(secrets, form.Get(name))
	}
	for _, secret := range secrets {
		if secret != "" {
			text = strings.NewReplacer(secret, "…", url.QueryEscape(secret), "…").Replace(text)
		}
	}
	return text
}

// unusable is the error of an answer that came but cannot be used.
func (c *Client) unusable(what operation, message string) error {
	return newError(what, "", &oracle.Error{
		Op: string(what), Method: http.MethodPost, URL: c.cfg.DomainURL, Status: http.StatusOK,
		Kind: oracle.KindProtocol, Message: message, MayHaveHappened: true,
	})
}
