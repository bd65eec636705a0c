package oracle_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"longhaul/oracle"
)

// listen accepts connections and hands each in turn to serve.
func listen(t *testing.T, serve func(conn *net.TCPConn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn.(*net.TCPConn))
			_ = conn.Close()
		}
	}()
	return "http://" + l.Addr().String() + prefix
}

// readRequest reads one whole request off the wire.
func readRequest(r *bufio.Reader) (*http.Request, error) {
	req, err := http.ReadRequest(r)
	if err == nil {
		_, err = io.Copy(io.Discard, req.Body)
	}
	return req, err
}

func start(ctx context.Context, c *oracle.Client) error {
	return c.Do(ctx, oracle.Call{Op: "start", Method: http.MethodPost, Path: "/jobs", JSON: map[string]string{"a": "b"}}, &struct{}{})
}

// TestMayHaveHappened holds the rule for a start that got no whole answer.
func TestMayHaveHappened(t *testing.T) {
	t.Parallel()
	reset := func(conn *net.TCPConn) { _ = conn.SetLinger(0) } // makes Close send a reset
	tests := []struct {
		name    string
		address func(t *testing.T) string
		want    bool
	}{
		{"connection refused", func(t *testing.T) string {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := l.Addr().String()
			_ = l.Close()
			return "http://" + address
		}, false},
		{"no such host", func(*testing.T) string { return "https://nowhere.invalid" }, false},
		{"TLS to a server without", func(t *testing.T) string {
			return strings.Replace(listen(t, func(conn *net.TCPConn) {
				_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			}), "http:", "https:", 1)
		}, false},
		{"certificate not trusted", func(t *testing.T) string {
			s := httptest.NewUnstartedServer(http.NotFoundHandler())
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.StartTLS()
			t.Cleanup(s.Close)
			return s.URL
		}, false},
		{"reset after the request", func(t *testing.T) string {
			return listen(t, func(conn *net.TCPConn) {
				_, _ = readRequest(bufio.NewReader(conn))
				reset(conn)
			})
		}, true},
		{"closed after the request", func(t *testing.T) string {
			return listen(t, func(conn *net.TCPConn) { _, _ = readRequest(bufio.NewReader(conn)) })
		}, true},
		{"reset while the request is read", func(t *testing.T) string {
			return listen(t, func(conn *net.TCPConn) {
				_, _ = conn.Read(make([]byte, 10))
				reset(conn)
			})
		}, true},
		{"never answers", func(t *testing.T) string {
			return listen(t, func(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) })
		}, true},
		{"half an answer's head", func(t *testing.T) string {
			return listen(t, func(conn *net.TCPConn) {
				_, _ = readRequest(bufio.NewReader(conn))
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Ty"))
			})
		}, true},
		{"half an answer's body", func(t *testing.T) string {
			return listen(t, func(conn *net.TCPConn) {
				_, _ = readRequest(bufio.NewReader(conn))
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"status\":"))
			})
		}, true},
		{"not HTTP", func(t *testing.T) string {
			return listen(t, func(conn *net.TCPConn) {
				_, _ = readRequest(bufio.NewReader(conn))
				_, _ = conn.Write([]byte("SSH-2.0-OpenSSH\r\n\r\n"))
			})
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := client(t, tt.address(t), func(cfg *oracle.Config) { cfg.Timeout = 300 * time.Millisecond })
			e := asError(t, start(t.Context(), c))
			if e.MayHaveHappened != tt.want || e.Kind != oracle.KindUnavailable {
				t.Errorf("%v: may have happened %v, kind %s; want %v", e, e.MayHaveHappened, e.Kind, tt.want)
			}
		})
	}
}

// TestAcceptThenReset: nobody can tell how much of the request went out before
// the reset came back, so only the claim "it did not happen" would be wrong
// where the head was written.
func TestAcceptThenReset(t *testing.T) {
	t.Parallel()
	for range 50 {
		var got atomic.Int64
		c := client(t, listen(t, func(conn *net.TCPConn) {
			_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			n, _ := conn.Read(make([]byte, 4096))
			got.Add(int64(n))
			_ = conn.SetLinger(0)
		}))
		e := asError(t, start(t.Context(), c))
		if got.Load() > 0 && !e.MayHaveHappened {
			t.Fatalf("%v: said that nothing happened although %d bytes arrived", e, got.Load())
		}
	}
}

// TestStaleConnection holds that a start which meets a connection the server
// has given up is never sent twice, and that a read is.
func TestStaleConnection(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	var starts, reads atomic.Int32
	address := listen(t, func(conn *net.TCPConn) {
		r := bufio.NewReader(conn)
		for n := 1; ; n++ {
			req, err := readRequest(r)
			if err != nil {
				return
			}
			if req.Method == http.MethodPost {
				starts.Add(1)
			} else {
				reads.Add(1)
			}
			if n == 2 { // the second on any connection is its last
				_ = conn.SetLinger(0)
				return
			}
			_, _ = io.WriteString(conn, ok)
		}
	})
	read := oracle.Call{Op: "read", Method: http.MethodGet, Path: "/x"}

	c := client(t, address)
	if err := c.Do(t.Context(), read, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	if e := asError(t, start(t.Context(), c)); !e.MayHaveHappened {
		t.Errorf("start on a stale connection: %v; may have happened: false", e)
	}
	if starts.Load() != 1 {
		t.Errorf("the start was sent %d times", starts.Load())
	}
	if err := c.Do(t.Context(), read, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	before := reads.Load()
	if err := c.Do(t.Context(), read, &struct{}{}); err != nil || reads.Load() != before+2 {
		t.Errorf("read on a stale connection: %v after %d attempts", err, reads.Load()-before)
	}
}

// TestClosedIdleConnection: the usual stale connection, closed by the server
// between two calls, costs a start nothing, or at worst an error that says
// truly whether it went out.
func TestClosedIdleConnection(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	var starts atomic.Int32
	address := listen(t, func(conn *net.TCPConn) {
		req, err := readRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		if req.Method == http.MethodPost {
			starts.Add(1)
		}
		_, _ = io.WriteString(conn, ok)
	})
	for range 100 {
		c := client(t, address)
		if err := c.Do(t.Context(), oracle.Call{Op: "read", Method: http.MethodGet, Path: "/x"}, &struct{}{}); err != nil {
			t.Fatal(err)
		}
		before := starts.Load()
		err := start(t.Context(), c)
		sent := starts.Load() - before
		if sent > 1 || err == nil && sent != 1 || sent == 1 && !oracle.MayHaveHappened(err) && err != nil {
			t.Fatalf("start arrived %d times: %v, may have happened: %v", sent, err, oracle.MayHaveHappened(err))
		}
	}
}

func TestCancelledStart(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 1)
	c := client(t, listen(t, func(conn *net.TCPConn) {
		_, _ = readRequest(bufio.NewReader(conn))
		arrived <- struct{}{}
		_, _ = io.Copy(io.Discard, conn)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	e := asError(t, start(ctx, c))
	if e.Kind != oracle.KindCancelled || !errors.Is(e, context.Canceled) || !e.MayHaveHappened {
		t.Errorf("cancelled on the way: %v, may have happened: %v", e, e.MayHaveHappened)
	}
	e = asError(t, start(ctx, c))
	if e.Kind != oracle.KindCancelled || !errors.Is(e, context.Canceled) || e.MayHaveHappened {
		t.Errorf("cancelled before: %v, may have happened: %v", e, e.MayHaveHappened)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	e = asError(t, start(ctx, c))
	if e.Kind != oracle.KindCancelled || !errors.Is(e, context.DeadlineExceeded) || !e.MayHaveHappened {
		t.Errorf("deadline on the way: %v, may have happened: %v", e, e.MayHaveHappened)
	}
}

// TestForeignTransport: a transport that reports nothing leaves it open.
func TestForeignTransport(t *testing.T) {
	t.Parallel()
	c := client(t, "https://h.example.com", func(cfg *oracle.Config) {
		cfg.Transport = tripper(func(req *http.Request) (*http.Response, error) {
			_ = req.Body.Close()
			return nil, errors.New("lost")
		})
	})
	if e := asError(t, start(t.Context(), c)); !e.MayHaveHappened || e.Kind != oracle.KindUnavailable {
		t.Errorf("%v, may have happened: %v", e, e.MayHaveHappened)
	}
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
