package api_test

import (
	"net/http"
	"net/netip"
	"testing"
)

// The word of a proxy counts for the client's address, and nobody else's.
func TestClientAddress(t *testing.T) {
	t.Parallel()
	none := newServer(t, idle)
	named := newServer(t, idle, func(c *config) {
		for _, network := range []string{"10.1.0.0/16", "192.0.2.1/32", "2001:db8:5::/48"} {
			c.api.Proxies = append(c.api.Proxies, netip.MustParsePrefix(network))
		}
	})
	for _, test := range []struct {
		name, peer string
		header     []string
		want       string
	}{
		{"no header", "10.1.2.3:80", nil, "10.1.2.3"},
		{"a proxy", "10.1.2.3:80", []string{"198.51.100.7"}, "198.51.100.7"},
		{"one proxy alone", "192.0.2.1:80", []string{"198.51.100.7"}, "198.51.100.7"},
		{"its neighbour", "192.0.2.2:80", []string{"198.51.100.7"}, "192.0.2.2"},
		{"a private network that is not named", "10.2.0.1:80", []string{"198.51.100.7"}, "10.2.0.1"},
		{"loopback that is not named", "127.0.0.1:80", []string{"198.51.100.7"}, "127.0.0.1"},
		{"link-local that is not named", "[fe80::1%eth0]:80", []string{"198.51.100.7"}, "fe80::1%eth0"},
		{"a stranger", "203.0.113.5:80", []string{"198.51.100.7"}, "203.0.113.5"},
		{"what a client made up comes first", "10.1.2.3:80", []string{"1.1.1.1, 198.51.100.7"}, "198.51.100.7"},
		{"two proxies", "10.1.2.3:80", []string{"1.1.1.1, 198.51.100.7, 192.0.2.1"}, "198.51.100.7"},
		{"several headers", "10.1.2.3:80", []string{"1.1.1.1", "198.51.100.7", "10.1.9.9"}, "198.51.100.7"},
		{"proxies alone", "10.1.2.3:80", []string{"10.1.4.4, 10.1.5.5"}, "10.1.4.4"},
		{"IPv6", "[2001:db8:5::1]:80", []string{"2001:db8:9::1"}, "2001:db8:9::1"},
		{"IPv6 in brackets", "[2001:db8:5::1]:80", []string{"[2001:db8:9::1]"}, "2001:db8:9::1"},
		{"IPv4 in IPv6", "10.1.2.3:80", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"a proxy's IPv4 in IPv6", "[::ffff:10.1.2.3]:80", []string{"198.51.100.7"}, "198.51.100.7"},
		{"a port", "10.1.2.3:80", []string{"198.51.100.7:4711"}, "10.1.2.3"},
		{"a zone", "10.1.2.3:80", []string{"fe80::1%eth0"}, "10.1.2.3"},
		{"a name", "10.1.2.3:80", []string{"localhost"}, "10.1.2.3"},
		{"nothing", "10.1.2.3:80", []string{""}, "10.1.2.3"},
		{"commas", "10.1.2.3:80", []string{",,"}, "10.1.2.3"},
		{"unknown", "10.1.2.3:80", []string{"unknown"}, "10.1.2.3"},
		{"a number", "10.1.2.3:80", []string{"2130706433"}, "10.1.2.3"},
		{"markup", "10.1.2.3:80", []string{"<script>"}, "10.1.2.3"},
		{"garbage behind the client", "10.1.2.3:80", []string{"x, 198.51.100.7"}, "198.51.100.7"},
		{"garbage before the proxy", "10.1.2.3:80", []string{"198.51.100.7, x"}, "10.1.2.3"},
	} {
		r := &http.Request{RemoteAddr: test.peer, Header: http.Header{"X-Forwarded-For": test.header}}
		if got := named.echo().IPExtractor(r); got != test.want {
			t.Errorf("%s: the address is %q, want %q", test.name, got, test.want)
		}
		alone := &http.Request{RemoteAddr: test.peer}
		if got, want := none.echo().IPExtractor(r), none.echo().IPExtractor(alone); got != want {
			t.Errorf("%s, without named proxies: the address is %q, want %q", test.name, got, want)
		}
	}
	for name, s := range map[string]*server{"none": none, "named": named} {
		if warned := s.logs.lines("LONGHAUL_TRUSTED_PROXIES"); len(warned) != 1 {
			t.Errorf("%s: %d warnings of proxies that are not named", name, len(warned))
		}
	}
}

// What a request says of its scheme and host does not count, not even from a proxy.
func TestForwardedSchemeAndHost(t *testing.T) {
	t.Parallel()
	s := newServer(t, behindProxy)
	a := s.do(http.MethodPost, "/api/v1/tasks", noop(), "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.example",
		"Forwarded", "host=evil.example;proto=https", "X-Original-URL", "/metrics", "X-Rewrite-URL", "/metrics", "X-HTTP-Method-Override", "DELETE")
	if task := a.want(http.StatusAccepted).task(); task.Links.Self != s.url+taskPath(task.ID) {
		t.Errorf("the task's address became %s", task.Links.Self)
	}
	a.wantHeader("Strict-Transport-Security", "")
}
