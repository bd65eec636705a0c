package sso

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	// requestTimeout bounds one request to the provider with its answer. A person
	// waits for it.
	requestTimeout = 10 * time.Second
	// maxAnswer bounds an answer; documents, key sets and token answers have some
	// kilobytes, with many groups some hundred.
	maxAnswer = 1 << 20

	// ownKeysEvery is for tokens that the provider itself handed over for a code,
	// which nobody can forge at will.
	ownKeysEvery = time.Second
	// sentKeysEvery is for tokens that anybody may send.
	sentKeysEvery = 10 * time.Second
)

// statusError is an answer that is not the one asked for.
type statusError struct {
	host, path string
	status     int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s%s answered %d %s", e.host, e.path, e.status, http.StatusText(e.status))
}

// temporary reports whether the same request may be answered later.
func (e *statusError) temporary() bool {
	return e.status >= http.StatusInternalServerError || e.status == http.StatusTooManyRequests || e.status == http.StatusRequestTimeout
}

// strict bounds answers, and makes errors of those that are not what was asked for.
// The libraries above it make text of a status and quote the body, neither of which
// can be told apart or shown.
type strict struct{ next http.RoundTripper }

func (s strict) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := s.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	refused := &statusError{host: req.URL.Host, path: req.URL.Path, status: resp.StatusCode}
	// The token endpoint, the one that is posted to, tells errors of its own with 4xx.
	own := req.Method == http.MethodPost && resp.StatusCode >= http.StatusBadRequest && !refused.temporary()
	if resp.StatusCode != http.StatusOK && !own {
		_ = resp.Body.Close() // nobody reads it
		return nil, refused
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	return resp, nil
}

func newClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: strict{next: transport},
		Timeout:   requestTimeout,
		// The endpoints are where the document says; a secret follows no redirect.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: requestTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: requestTimeout,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     time.Minute,
	}
}

// withClient is how the libraries are told which client to use.
func (p *Provider) withClient(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.client)
}

// newKeySet is the library's key set, which reads the keys again whenever a
// signature does not match those it has, behind a client that asks the provider
// only so often.
func (p *Provider) newKeySet(ctx context.Context, address string, every time.Duration) oidc.KeySet {
	client := *p.client
	client.Transport = &seldom{next: client.Transport, every: every, now: p.config.Now}
	return oidc.NewRemoteKeySet(oidc.ClientContext(ctx, &client), address)
}

// seldom sends a request at most once in a while; in between, the last answer is
// given again, or the last failure.
type seldom struct {
	next  http.RoundTripper
	every time.Duration
	now   func() time.Time

	mu   sync.Mutex
	at   time.Time // of the last request, zero before
	body []byte
	err  error
}

func (s *seldom) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.now(); s.at.IsZero() || !within(now, s.at, s.every) {
		s.at = now
		s.body, s.err = s.read(req)
	}
	if s.err != nil {
		return nil, s.err
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader(s.body)),
		ContentLength: int64(len(s.body)),
		Request:       req,
	}, nil
}

func (s *seldom) read(req *http.Request) ([]byte, error) {
	resp, err := s.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // its reads told all there is
	return io.ReadAll(resp.Body)
}
