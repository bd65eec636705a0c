package oracle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"longhaul/oracle"
)

const (
	prefix   = "/gate/way"
	user     = "acme.jane@example.com"
	password = "open sésame"
)

// serve answers under a path prefix, so that a call which forgets it meets 404.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(prefix+"/", http.StripPrefix(prefix, handler))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL + prefix
}

// client returns a client of address that retries fast.
func client(t *testing.T, address string, change ...func(*oracle.Config)) *oracle.Client {
	t.Helper()
	transport := oracle.DefaultTransport()
	transport.Proxy = nil // the tests' servers are on this machine
	t.Cleanup(transport.CloseIdleConnections)
	cfg := oracle.Config{
		URL:       address,
		Auth:      oracle.Basic(user, password),
		Transport: transport,
		Retry:     oracle.Retry{Attempts: 3, Base: time.Millisecond, Max: 2 * time.Second},
		Logger:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := oracle.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func asError(t *testing.T, err error) *oracle.Error {
	t.Helper()
	var e *oracle.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v (%T); want an *oracle.Error", err, err)
	}
	return e
}

func answer(w http.ResponseWriter, status int, contentType, text string) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func TestRequest(t *testing.T) {
	t.Parallel()
	type seen struct{ Method, URI, Type, Agent, User, Password, Body string }
	var got seen
	c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		text, _ := io.ReadAll(r.Body)
		got = seen{r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.UserAgent(), u, p, string(text)}
		answer(w, 200, "application/json;charset=UTF-8", "\xef\xbb\xbf "+`{"ok":true}`)
	}))
	var out struct{ OK bool }
	err := c.Do(t.Context(), oracle.Call{
		Op: "start", Method: http.MethodPost, Path: "/apps/" + oracle.Segment("My App/1"), JSON: map[string]string{"a": "b"},
	}, &out)
	if err != nil || !out.OK {
		t.Fatalf("Do = %v, %v", out, err)
	}
	want := seen{"POST", "/apps/My%20App%2F1", "application/json", "longhaul", user, password, `{"a":"b"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

// TestStatus holds the kinds of answers and the rule of MayHaveHappened for a
// start that got one.
func TestStatus(t *testing.T) {
	t.Parallel()
	const jsonType, htmlType = "application/json", "text/html; charset=utf-8"
	tests := []struct {
		name    string
		status  int
		typ     string
		body    string
		kind    oracle.Kind
		happen  bool
		message string
		code    string
	}{
		{
			"planning error", 400, jsonType, `{"detail":"The dimension Tyme is invalid.","status":400,"message":"com.hyperion.planning.InvalidDimensionException: x"}`,
			oracle.KindRefused, false, "The dimension Tyme is invalid.", "",
		},
		{
			"message only", 400, jsonType, `{"message":"com.hyperion.planning.InvalidDimensionException: The dimension Tyme is invalid."}`,
			oracle.KindRefused, false, "The dimension Tyme is invalid.", "",
		},
		{
			"interop error", 400, jsonType, `{"details":"Invalid file : Sales.zip","status":1,"links":[]}`,
			oracle.KindRefused, false, "Invalid file : Sales.zip", "",
		},
		{"details null string", 400, jsonType, `{"details":"null","message":"m","errorCode":"E1"}`, oracle.KindRefused, false, "m", "E1"},
		{"details array", 422, jsonType, `{"details":["a","b"]}`, oracle.KindRefused, false, "a; b", ""},
		{"code in the text", 400, jsonType, `{"details":"EPMCSS-21067: no such user"}`, oracle.KindRefused, false, "EPMCSS-21067: no such user", "EPMCSS-21067"},
		{
			"launch refused, 500", 500, jsonType, `{"descriptiveStatus":"Error","jobId":-1,"status":1,"details":null,"jobName":null,"links":null}`,
			oracle.KindRefused, false, "Error", "",
		},
		{"launch refused, 400", 400, jsonType, `{"descriptiveStatus":"Error","jobID":"-1","status":"1"}`, oracle.KindRefused, false, "Error", ""},
		{"unauthorized, empty", 401, "", "", oracle.KindUnauthorized, false, "the credentials are not accepted", ""},
		{"unauthorized, page", 401, htmlType, "<html><title>Sign in</title>", oracle.KindUnauthorized, false, "the credentials are not accepted", ""},
		{"forbidden", 403, jsonType, `{"detail":"no"}`, oracle.KindForbidden, false, "no", ""},
		{"not found", 404, jsonType, `{"detail":"nothing here"}`, oracle.KindNotFound, false, "nothing here", ""},
		{"not found, empty", 404, "", "", oracle.KindNotFound, false, "", ""},
		{"not found, page", 404, htmlType, "<html><head><title>Maintenance &amp; more</title>", oracle.KindUnavailable, false, "page “Maintenance & more”", ""},
		{"wrong media type", 415, "", "", oracle.KindRefused, false, "", ""},
		{"request timeout", 408, "", "", oracle.KindUnavailable, true, "", ""},
		{"client closed", 499, "", "", oracle.KindRefused, true, "", ""},
		{"throttled", 429, jsonType, `{"message":"slow down"}`, oracle.KindUnavailable, false, "slow down", ""},
		{"server error", 500, jsonType, `{"detail":"broken","status":500}`, oracle.KindServer, true, "broken", ""},
		{"server error, empty", 500, "", "", oracle.KindServer, true, "", ""},
		{"server error, page", 500, htmlType, "<html><body>oops", oracle.KindUnavailable, true, "a page without a title", ""},
		{"not implemented", 501, jsonType, `{"odd":1}`, oracle.KindServer, true, `{"odd":1}`, ""},
		{"bad gateway", 502, "text/plain", "bad gateway", oracle.KindUnavailable, true, "bad gateway", ""},
		{"maintenance", 503, htmlType, "<HTML><TITLE>\nDown </TITLE>", oracle.KindUnavailable, false, "page “Down”", ""},
		{"maintenance, json", 503, jsonType, `{"details":"in maintenance"}`, oracle.KindUnavailable, false, "in maintenance", ""},
		{
			"proxy lost the service", 503, "text/plain", "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
			oracle.KindUnavailable, true, "upstream connect error or disconnect/reset before headers. reset reason: connection termination", "",
		},
		{"gateway timeout", 504, "", "", oracle.KindUnavailable, true, "", ""},
		{"page with 200", 200, htmlType, "<html><title>Maintenance</title>", oracle.KindUnavailable, true, "answer is not JSON: page “Maintenance”", ""},
		{"text with 200", 200, jsonType, "OK", oracle.KindUnavailable, true, "answer is not JSON: OK", ""},
		{"nothing with 200", 200, jsonType, "", oracle.KindUnavailable, true, "answer is not JSON", ""},
		{"broken json", 200, jsonType, `{"status":0`, oracle.KindProtocol, true, "answer cannot be read as the JSON it should be", ""},
		{"wrong json", 200, jsonType, `{"status":"abc"}`, oracle.KindProtocol, true, "answer cannot be read as the JSON it should be", ""},
		{"huge json", 200, jsonType, `{"x":"` + strings.Repeat("x", 8<<20) + `"}`, oracle.KindProtocol, true, "answer is larger than 8388608 bytes", ""},
	}
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		for _, tt := range tests {
			t.Run(method+" "+tt.name, func(t *testing.T) {
				t.Parallel()
				var calls atomic.Int32
				address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
					calls.Add(1)
					w.Header().Set("X-ORACLE-DMS-ECID", "ecid-1")
					answer(w, tt.status, tt.typ, tt.body)
				})
				c := client(t, address)
				var out struct {
					Status oracle.Number `json:"status"`
				}
				got := asError(t, c.Do(t.Context(), oracle.Call{Op: "try it", Method: method, Path: "/x"}, &out))
				want := &oracle.Error{
					Op: "try it", Method: method, URL: address + "/x", Status: tt.status, Code: tt.code,
					Message: tt.message, RequestID: "ecid-1", Kind: tt.kind, MayHaveHappened: tt.happen && method == http.MethodPost,
				}
				if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(oracle.Error{}, "Err")); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
				wantCalls := int32(1)
				if method == http.MethodGet && tt.kind == oracle.KindUnavailable {
					wantCalls = 3
				}
				if calls.Load() != wantCalls {
					t.Errorf("sent %d times; want %d", calls.Load(), wantCalls)
				}
			})
		}
	}
}

func TestNoContent(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	if err := c.Do(t.Context(), oracle.Call{Op: "set", Method: http.MethodPost, Path: "/x"}, nil); err != nil {
		t.Error(err)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	c := client(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		answer(w, 200, "application/json", `{}`)
	}))
	began := time.Now()
	if err := c.Do(t.Context(), oracle.Call{Op: "read", Method: http.MethodGet, Path: "/x"}, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < time.Second || calls.Load() != 2 {
		t.Errorf("answered after %s and %d calls", took, calls.Load())
	}
}

func TestRetryAfterTooLong(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	c := client(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	e := asError(t, c.Do(t.Context(), oracle.Call{Op: "read", Method: http.MethodGet, Path: "/x"}, &struct{}{}))
	if e.RetryAfter != time.Hour || calls.Load() != 1 {
		t.Errorf("RetryAfter = %s after %d calls", e.RetryAfter, calls.Load())
	}
}

// TestDeadlineBeforeRetry holds that a call does not sit out its caller's
// deadline for an attempt it cannot make.
func TestDeadlineBeforeRetry(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusServiceUnavailable)
	}), func(cfg *oracle.Config) { cfg.Retry.Max = time.Hour })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	began := time.Now()
	err := c.Do(ctx, oracle.Call{Op: "read", Method: http.MethodGet, Path: "/x"}, &struct{}{})
	if !oracle.IsUnavailable(err) || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

func TestCancelDuringRetry(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := client(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusServiceUnavailable)
		time.AfterFunc(20*time.Millisecond, cancel)
	}), func(cfg *oracle.Config) { cfg.Retry.Max = time.Hour })
	err := c.Do(ctx, oracle.Call{Op: "read", Method: http.MethodGet, Path: "/x"}, &struct{}{})
	if !errors.Is(err, context.Canceled) || oracle.KindOf(err) != oracle.KindCancelled {
		t.Errorf("error is %v", err)
	}
}

// TestRedirect holds that credentials stay on the host, and that only reads
// follow.
func TestRedirect(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	var starts atomic.Int32
	c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/here":
			http.Redirect(w, r, prefix+"/there", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, prefix+"/loop", http.StatusFound)
		case "/away":
			http.Redirect(w, r, other.URL+"/sign/in", http.StatusFound)
		case "/start":
			starts.Add(1)
			http.Redirect(w, r, prefix+"/start", http.StatusTemporaryRedirect)
		case "/there":
			if u, p, _ := r.BasicAuth(); u != user || p != password {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			answer(w, 200, "application/json", `{}`)
		}
	}))
	do := func(method, path string) error {
		return c.Do(t.Context(), oracle.Call{Op: "go", Method: method, Path: path, JSON: map[string]int{}}, &struct{}{})
	}
	if err := do(http.MethodGet, "/here"); err != nil {
		t.Errorf("same host: %v", err)
	}
	if e := asError(t, do(http.MethodGet, "/away")); e.Kind != oracle.KindUnavailable || e.Status != 302 || !strings.Contains(e.Message, "redirected to 127.0.0.1") {
		t.Errorf("other host: %v", e)
	}
	if e := asError(t, do(http.MethodGet, "/loop")); e.Status != 302 {
		t.Errorf("loop: %v", e)
	}
	if e := asError(t, do(http.MethodPost, "/start")); e.Status != 307 || !e.MayHaveHappened {
		t.Errorf("start: %v", e)
	}
	if elsewhere.Load() != 0 || starts.Load() != 1 {
		t.Errorf("the other host was called %d times, the start sent %d times", elsewhere.Load(), starts.Load())
	}
}

// TestLinkStaysOnHost holds that a link to another host is not followed there.
func TestLinkStaysOnHost(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, "application/json", `{"uri":`+fmt.Sprintf("%q", r.URL.RequestURI())+`}`)
	}))
	for _, href := range []string{"https://evil.example.net/x/1?a=b", "http://evil.example.net:443" + prefix + "/x/1?a=b"} {
		var out struct{ URI string }
		if err := c.Do(t.Context(), oracle.Call{Op: "follow", Method: http.MethodGet, Link: href}, &out); err != nil || out.URI != "/x/1?a=b" {
			t.Errorf("%s: %q, %v", href, out.URI, err)
		}
	}
	err := c.Do(t.Context(), oracle.Call{Op: "follow", Method: http.MethodPost, Link: "javascript:x"}, nil)
	if e := asError(t, err); e.Kind != oracle.KindRequest || e.MayHaveHappened {
		t.Errorf("bad link: %v", e)
	}
}

func TestAuthFails(t *testing.T) {
	t.Parallel()
	address := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent unsigned") })
	for name, auth := range map[string]oracle.Auth{
		"colon": oracle.Basic("a:b", "c"),
		"token": func(context.Context, *http.Request) error { return errors.New("no token") },
	} {
		c := client(t, address, func(cfg *oracle.Config) { cfg.Auth = auth })
		e := asError(t, c.Do(t.Context(), oracle.Call{Op: "start", Method: http.MethodPost, Path: "/x"}, nil))
		if e.Kind != oracle.KindRequest || e.MayHaveHappened {
			t.Errorf("%s: %v, may have happened: %v", name, e, e.MayHaveHappened)
		}
	}
	c := client(t, address, func(cfg *oracle.Config) {
		cfg.Auth = func(context.Context, *http.Request) error { return &oracle.Error{Kind: oracle.KindUnavailable} }
	})
	if err := c.Do(t.Context(), oracle.Call{Op: "start", Method: http.MethodPost, Path: "/x"}, nil); !oracle.IsUnavailable(err) {
		t.Errorf("token service down: %v", err)
	}
}

// TestIdleTimeout holds that a transfer may take long while bytes move, and
// ends soon once none do.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		for range 10 {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(120 * time.Millisecond) // slower in all than any one limit
		}
		if r.URL.Path == "/stalls" {
			select {
			case <-stall:
			case <-r.Context().Done():
			}
		}
	}), func(cfg *oracle.Config) {
		cfg.Timeout = 50 * time.Millisecond
		cfg.IdleTimeout = time.Second
	})

	read := func(path string) (string, error) {
		resp, err := c.Open(t.Context(), oracle.Call{Op: "fetch", Method: http.MethodGet, Path: path})
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		return string(text), err
	}
	if text, err := read("/slow"); err != nil || text != "xxxxxxxxxx" {
		t.Errorf("slow: %q, %v", text, err)
	}
	text, err := read("/stalls")
	if e := asError(t, err); text != "xxxxxxxxxx" || e.Kind != oracle.KindUnavailable || !strings.Contains(e.Error(), "no byte moved for 1s") {
		t.Errorf("stalls: %q, %v", text, err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("own timeout looks like the caller's context: %v", err)
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/deaf" {
			answer(w, 200, "application/json", `{}`)
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		answer(w, 200, "application/json", fmt.Sprintf(`{"n":%d,"length":%d}`, n, r.ContentLength))
	}))
	upload := func(path string, r io.Reader, size int64) (struct{ N, Length int64 }, error) {
		var out struct{ N, Length int64 }
		err := c.Do(t.Context(), oracle.Call{Op: "send", Method: http.MethodPost, Path: path, Body: r, Size: size, Transfer: true}, &out)
		return out, err
	}
	if out, err := upload("/x", strings.NewReader("hello, world"), 5); err != nil || out.N != 5 || out.Length != 5 {
		t.Errorf("exact: %v, %v", out, err)
	}
	_, err := upload("/x", strings.NewReader("hell"), 5)
	if e := asError(t, err); e.Kind != oracle.KindRequest || !errors.Is(err, io.ErrUnexpectedEOF) || !e.MayHaveHappened {
		t.Errorf("short: %v", err)
	}
	broken := errors.New("disk on fire")
	_, err = upload("/x", io.MultiReader(strings.NewReader("hel"), failing{broken}), 5)
	if e := asError(t, err); e.Kind != oracle.KindRequest || !errors.Is(err, broken) {
		t.Errorf("broken: %v", err)
	}
	_, err = upload("/deaf", bytes.NewReader(make([]byte, 64<<20)), 64<<20)
	if err == nil {
		t.Error("a success that did not read the body passed")
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestLogHoldsNoSecrets also shows what a line looks like.
func TestLogHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	c := client(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 400, "application/json", `{"detail":"no"}`)
	}), func(cfg *oracle.Config) {
		cfg.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	err := c.Do(t.Context(), oracle.Call{
		Op: "import", Method: http.MethodPost, Path: "/x", Query: map[string][]string{"userPassword": {"hush"}, "n": {"1"}},
		JSON: map[string]string{"pwd": "hush"},
	}, nil)
	for _, text := range []string{log.String(), err.Error()} {
		for _, secret := range []string{"hush", "sésame", "Basic", "YWNtZS"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s", secret, text)
			}
		}
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(log.String()), &line); err != nil {
		t.Fatal(err)
	}
	if line["level"] != "DEBUG" || line["msg"] != "oracle call" || line["status"] != 400.0 || line["op"] != "import" {
		t.Errorf("log line is %v", line)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	e := &oracle.Error{
		Op: `start IMPORT_METADATA job "a"`, Method: "POST", URL: "https://h/x?q=1", Status: 400, Code: "E1",
		Message: "The dimension Tyme is invalid.",
	}
	want := `start IMPORT_METADATA job "a": POST https://h/x: 400 Bad Request: E1: The dimension Tyme is invalid.`
	if got := e.Error(); got != want {
		t.Errorf("Error() = %s\nwant      %s", got, want)
	}
	wrapped := fmt.Errorf("task 7: %w", &oracle.Error{Kind: oracle.KindNotFound, MayHaveHappened: true, Err: io.EOF})
	if !oracle.IsNotFound(wrapped) || !oracle.MayHaveHappened(wrapped) || !errors.Is(wrapped, io.EOF) || oracle.IsUnavailable(wrapped) {
		t.Error("helpers do not see through a wrapped error")
	}
	if oracle.MayHaveHappened(nil) || !oracle.MayHaveHappened(io.EOF) || oracle.KindOf(io.EOF) != "" {
		t.Error("helpers are wrong about other errors")
	}
}
