package oracle

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config is what [New] needs. Only URL is required.
type Config struct {
	// URL is the address of the environment: scheme, host, and the path
	// prefix of a gateway when one stands in front. Plain http is taken for
	// loopback hosts only.
	URL string
	// Auth signs every request; nil sends none signed.
	Auth Auth
	// Transport sends the requests; nil means a new [DefaultTransport]. Share
	// one between clients, it holds the open connections.
	Transport http.RoundTripper
	// Timeout bounds one attempt of a short call from its first byte to the
	// last byte of its answer. Default one minute: Oracle documents none, and
	// public clients use one to five.
	Timeout time.Duration
	// IdleTimeout ends a transfer when no byte has moved for so long; a
	// transfer has no other limit. Default two minutes.
	IdleTimeout time.Duration
	// Retry says how reads are tried again.
	Retry Retry
	// UserAgent is sent with every request. Default "longhaul".
	UserAgent string
	// Logger hears of every attempt at level debug, never of headers, bodies
	// or secrets in addresses. Nil is silent.
	Logger *slog.Logger
}

// withDefaults fills what was left out.
func (c Config) withDefaults() Config {
	if c.Auth == nil {
		c.Auth = unsigned
	}
	if c.Transport == nil {
		c.Transport = DefaultTransport()
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Minute
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = 2 * time.Minute
	}
	if c.UserAgent == "" {
		c.UserAgent = "longhaul"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Retry = c.Retry.withDefaults()
	return c
}

// DefaultTransport returns a transport with limits on everything that happens
// before a request is written; what follows is bounded by [Config].
//
// It speaks HTTP/1.1 only: Go's HTTP/2 transport sends a request again after
// some stream errors of the server although its headers were written, which
// must not happen to a call that starts something. HTTP/1.1 sends a POST again
// only where not a byte of it was written.
func DefaultTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		Protocols:             protocols,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   8,
		// Shorter than the usual keep-alive of servers, so that a start
		// seldom meets a connection which the server is just closing.
		IdleConnTimeout: 30 * time.Second,
	}
}

// parseBase checks the configured address and cuts its trailing slash.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		// The parser's own message repeats the address, password and all.
		return nil, errors.New("url: not an address; write it like https://host.example.com")
	}
	switch {
	case u.Host == "" || u.Hostname() == "":
		return nil, errors.New("url: has no host; write it like https://host.example.com")
	case u.User != nil:
		return nil, errors.New("url: holds a user name or password; put them into the credentials")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("url: holds a query or fragment; give only scheme, host and path")
	case hasDotSegment(u.Path):
		return nil, errors.New("url: its path holds . or .. segments")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("url: plain http to %s would show the credentials; use https", u.Hostname())
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("url: scheme %q is not https", u.Scheme)
	}
	prefix := strings.TrimRight(u.EscapedPath(), "/")
	return url.Parse(u.Scheme + "://" + u.Host + prefix)
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
