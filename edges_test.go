package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// serveWeb serves with a server as serve builds it, changed for the test.
func serveWeb(t *testing.T, change func(*http.Server)) (address string) {
	t.Helper()
	web := webServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), slog.New(slog.DiscardHandler))
	change(web)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	t.Cleanup(func() {
		_ = web.Close() // its connections are the test's
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func dialWeb(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // closed by the server already
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Headers that come a byte at a time do not keep a connection.
func TestSlowHeaders(t *testing.T) {
	t.Parallel()
	conn := dialWeb(t, serveWeb(t, func(s *http.Server) {
		if s.ReadHeaderTimeout <= 0 || s.ReadHeaderTimeout > time.Minute {
			t.Errorf("headers may take %s", s.ReadHeaderTimeout)
		}
		s.ReadHeaderTimeout = 300 * time.Millisecond
	}))
	closed := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn)
		closed <- err
	}()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
	for began := time.Now(); ; {
		select {
		case err := <-closed:
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is held for as long as bytes come")
			}
			return
		case <-time.After(20 * time.Millisecond): // what is tested is how slow it is
			_, _ = io.WriteString(conn, "x") // fails once the server has had enough
		}
		if time.Since(began) > 30*time.Second {
			t.Fatal("the connection is held for as long as bytes come")
		}
	}
}

// Connections on which nothing is asked any more are closed.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	conn := dialWeb(t, serveWeb(t, func(s *http.Server) {
		if s.IdleTimeout <= 0 {
			t.Errorf("idle for %s", s.IdleTimeout)
		}
		s.IdleTimeout = 100 * time.Millisecond
	}))
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	text, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 204 ") {
		t.Errorf("%v: %s", err, text)
	}
}

func TestLargeHeaders(t *testing.T) {
	t.Parallel()
	address := serveWeb(t, func(*http.Server) {})
	for size, want := range map[int]int{32 << 10: http.StatusNoContent, 80 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		conn := dialWeb(t, address)
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", size)+"\r\n\r\n") // refused before its end
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%d bytes: %v", size, err)
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%d bytes: %s", size, resp.Status)
		}
	}
}

// edges are the settings of serve, without a provider.
func edges(change func(*serveSettings)) *serveSettings {
	s := &serveSettings{Addr: "127.0.0.1:8080"}
	change(s)
	return s
}

func TestHosts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings *serveSettings
		want     []string
	}{
		"loopback":             {edges(func(*serveSettings) {}), []string{"127.0.0.1"}},
		"IPv6":                 {edges(func(s *serveSettings) { s.Addr = "[::1]:0" }), []string{"::1"}},
		"public URL":           {edges(func(s *serveSettings) { s.PublicURL = "https://LH.example.com:8443/x" }), []string{"127.0.0.1", "lh.example.com"}},
		"remote":               {edges(func(s *serveSettings) { s.AllowRemote, s.Addr = true, "0.0.0.0:80" }), nil},
		"remote, public URL":   {edges(func(s *serveSettings) { s.AllowRemote, s.Addr, s.PublicURL = true, "0.0.0.0:80", "http://lh" }), []string{"lh"}},
		"remote, one address":  {edges(func(s *serveSettings) { s.AllowRemote, s.Addr, s.PublicURL = true, "192.0.2.7:80", "http://lh" }), []string{"192.0.2.7", "lh"}},
		"remote, all of IPv6":  {edges(func(s *serveSettings) { s.AllowRemote, s.Addr, s.PublicURL = true, "[::]:80", "http://lh" }), []string{"lh"}},
		"remote, no address":   {edges(func(s *serveSettings) { s.AllowRemote, s.Addr, s.PublicURL = true, ":80", "http://lh" }), []string{"lh"}},
		"provider":             {edges(func(s *serveSettings) { s.OIDCIssuer = "https://login.example.com" }), []string{"127.0.0.1"}},
		"provider, public URL": {edges(func(s *serveSettings) { s.OIDCIssuer, s.PublicURL = "https://login.example.com", "https://lh" }), nil},
	} {
		if diff := cmp.Diff(test.want, test.settings.hosts()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestEdgeSettings(t *testing.T) {
	t.Parallel()
	for _, good := range []accessSettings{
		{},
		{CORSOrigins: []string{"https://finance.example.com", "https://finance.example.com:8443", "http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000"}},
		{TrustedProxies: []string{"10.1.2.3", "10.0.0.0/8", "::1", "2001:db8::/32"}, RateLimit: 1},
	} {
		if err := good.validateEdges(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, origin := range []string{
		"*", "https://*", "https://*.example.com", "null", "finance.example.com", "http://finance.example.com", "https://finance.example.com/",
		"https://finance.example.com/app", "https://Finance.example.com", "https://a@finance.example.com", "https://", "ftp://localhost", "https://finance.example.com?x", "",
	} {
		if err := (&accessSettings{CORSOrigins: []string{origin}}).validateEdges(); err == nil || !strings.Contains(err.Error(), "LONGHAUL_CORS_ORIGINS") {
			t.Errorf("%q: %v", origin, err)
		}
	}
	for _, proxy := range []string{"proxy", "10.1.2.3:80", "10.0.0.0/33", "fe80::1%eth0", "*", "", "10.0.0"} {
		if err := (&accessSettings{TrustedProxies: []string{proxy}}).validateEdges(); err == nil || !strings.Contains(err.Error(), "LONGHAUL_TRUSTED_PROXIES") {
			t.Errorf("%q: %v", proxy, err)
		}
	}
	if err := (&accessSettings{RateLimit: -1, AddressRateLimit: -1, MaxWaiting: -1}).validateEdges(); err == nil || strings.Count(err.Error(), "less than 0") != 3 {
		t.Errorf("limits below 0: %v", err)
	}
	got, err := (&accessSettings{TrustedProxies: []string{"10.1.2.3", "10.1.2.3/8", "::ffff:192.0.2.1"}}).proxies()
	want := []netip.Prefix{netip.MustParsePrefix("10.1.2.3/32"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	for _, address := range []string{"longhaul.example.com", "ftp://longhaul", "https://", "//x"} {
		if err := edges(func(s *serveSettings) { s.PublicURL = address }).validateAccess(); err == nil {
			t.Errorf("LONGHAUL_PUBLIC_URL %q is taken", address)
		}
	}
}
