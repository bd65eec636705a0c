package oracle

import (
	"net/url"
	"strings"
	"testing"
)

func mustClient(t testing.TB, address string) *Client {
	t.Helper()
	c, err := New(Config{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRebase(t *testing.T) {
	t.Parallel()
	const gateway, plain = "https://gw.example.com/epm/test", "https://epm-acme.example.com"
	tests := []struct{ name, base, href, want string }{
		{"same", plain, plain + "/interop/rest/v2/status/jobs/1", plain + "/interop/rest/v2/status/jobs/1"},
		{"leading space", plain, " " + plain + "/a/1\n", plain + "/a/1"},
		{"explicit port", plain, plain + ":443/a/1", plain + "/a/1"},
		{"http for https", plain, "http://epm-acme.example.com/a/1", plain + "/a/1"},
		{"inner host", gateway, "http://inner:7001/a/1", gateway + "/a/1"},
		{"with the prefix", gateway, gateway + "/a/1", gateway + "/a/1"},
		{"inner host with the prefix", gateway, "http://inner/epm/test/a/1", gateway + "/a/1"},
		{"prefix is a whole segment", gateway, "http://inner/epm/testing/a", gateway + "/epm/testing/a"},
		{"another host", plain, "https://evil.example.net/a/1", plain + "/a/1"},
		{"user in link", plain, "https://u:p@evil.example.net/a/1", plain + "/a/1"},
		{"no host", gateway, "/a/1", gateway + "/a/1"},
		{"no leading slash", gateway, "a/1", gateway + "/a/1"},
		{"scheme relative", plain, "//evil.example.net/a", plain + "/a"},
		{"doubled", plain, plain + "/interop/rest/v2/interop/rest/v2/files/upload/7", plain + "/interop/rest/v2/files/upload/7"},
		{"doubled behind a gateway", gateway, gateway + "/interop/rest/v2/interop/rest/v2/x", gateway + "/interop/rest/v2/x"},
		{"escaped name stays one segment", plain, plain + "/s/inbox%2Fa%20b.csv/contents", plain + "/s/inbox%2Fa%20b.csv/contents"},
		{"raw space in the path", plain, plain + "/s/a b/contents", plain + "/s/a%20b/contents"},
		{"query kept", plain, plain + "/d?limit=25&msgtype=error", plain + "/d?limit=25&msgtype=error"},
		{"raw query", plain, plain + `/d?q={a:"b c"}`, plain + "/d?q=%7Ba:%22b%20c%22%7D"},
		{"fragment cut", plain, plain + "/d#x", plain + "/d"},
	}
	for _, tt := range tests {
		got, err := mustClient(t, tt.base).Rebase(tt.href)
		if err != nil || got.String() != tt.want {
			t.Errorf("%s: Rebase(%q) = %v, %v; want %s", tt.name, tt.href, got, err, tt.want)
		}
	}
}

func TestRebaseRefuses(t *testing.T) {
	t.Parallel()
	c := mustClient(t, "https://h.example.com/gw")
	for _, href := range []string{
		"", "  ", "javascript:alert(1)", "mailto:a@b", "ftp://h/x", "https://h/%zz", "https://h/a/../b",
		"https://h/a/%2e%2e/b", `https://h/a/..\b`, "https://h/gw/./x", "https://h/a\x00b", "http://[::1",
	} {
		if got, err := c.Rebase(href); err == nil {
			t.Errorf("Rebase(%q) = %s; want an error", href, got)
		}
	}
}

// FuzzRebase holds that no link leads credentials away from the configured
// host and prefix.
func FuzzRebase(f *testing.F) {
	for _, seed := range []string{
		"https://h.example.com:443/gw/interop/rest/v2/x", " http://evil/a?b=c", "//evil/x", "/a/%2e%2e/b", `/\evil`,
		"https://h@evil/x", "a/b/a/b/c", "?q", "#", "https://h/%2F%2Fevil", "/gw/gw/gw/gw/x", "/a;b=c/@evil",
	} {
		f.Add(seed)
	}
	c, err := New(Config{URL: "https://gw.example.com/pre/fix"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, href string) {
		got, err := c.Rebase(href)
		if err != nil {
			return
		}
		again, err := url.Parse(got.String())
		if err != nil {
			t.Fatalf("Rebase(%q) = %q, which does not parse: %v", href, got, err)
		}
		if again.Scheme != "https" || again.Host != "gw.example.com" || again.User != nil {
			t.Errorf("Rebase(%q) = %s leaves the host", href, got)
		}
		if !strings.HasPrefix(again.EscapedPath(), "/pre/fix/") || hasDotSegment(again.Path) {
			t.Errorf("Rebase(%q) = %s leaves the prefix", href, got)
		}
		if strings.ContainsAny(got.RawQuery, " \"<>\r\n{}") {
			t.Errorf("Rebase(%q) has a raw query %q", href, got.RawQuery)
		}
	})
}

func TestSegment(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"inbox/a b.csv": "inbox%2Fa%20b.csv", `inbox\x.csv`: "inbox%5Cx.csv", "a+b%": "a%2Bb%25", "Ä": "%C3%84", "x?y#z": "x%3Fy%23z",
	} {
		if got := Segment(in); got != want {
			t.Errorf("Segment(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestTarget(t *testing.T) {
	t.Parallel()
	c := mustClient(t, "https://h.example.com/gw/")
	tests := []struct {
		call Call
		want string
	}{
		{Call{Path: "/a/" + Segment("x/y+z")}, "https://h.example.com/gw/a/x%2Fy%2Bz"},
		{Call{Path: "/a", Query: url.Values{"q": {`{"a":"b c+d"}`}}}, "https://h.example.com/gw/a?q=%7B%22a%22%3A%22b%20c%2Bd%22%7D"},
		{Call{Path: "/ignored", Link: "http://in/l?x=1&q=old", Query: url.Values{"q": {"new"}}}, "https://h.example.com/gw/l?q=new&x=1"},
	}
	for _, tt := range tests {
		got, err := c.target(tt.call)
		if err != nil || got.String() != tt.want {
			t.Errorf("target(%+v) = %v, %v; want %s", tt.call, got, err, tt.want)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://user:pw@h/p?x=1":                        "https://h/p?x=1",
		"https://h/p?password=a&x=1":                     "https://h/p?password=%2A%2A%2A&x=1",
		`https://h/p?q={type:"import",userPassword:"x"}`: "https://h/p?q=%2A%2A%2A",
		"https://h/p?q=%zzpassword":                      "https://h/p?***",
		`https://h/p?q=%7B%22isFirst%22%3Atrue%7D`:       `https://h/p?q=%7B%22isFirst%22%3Atrue%7D`,
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := redact(u); got != want {
			t.Errorf("redact(%s) = %s; want %s", in, got, want)
		}
	}
}

func TestParseBase(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		" https://h.example.com/ ":     "https://h.example.com",
		"https://h.example.com/a%2Fb/": "https://h.example.com/a%2Fb",
		"http://127.0.0.1:99":          "http://127.0.0.1:99",
		"http://[::1]:99/x":            "http://[::1]:99/x",
		"http://localhost":             "http://localhost",
	} {
		if got, err := parseBase(in); err != nil || got.String() != want {
			t.Errorf("parseBase(%q) = %v, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "h.example.com", "http://h.example.com", "http://localhost.example.com", "http://10.0.0.1", "ftp://h", "https://u:sesame@h",
		"https://h?x=1", "https://h#x", "https://h/a/../b", "https://", "https://sesame:h:1:2", "localhost:8080",
	} {
		got, err := parseBase(in)
		if err == nil {
			t.Errorf("parseBase(%q) = %s; want an error", in, got)
		} else if strings.Contains(err.Error(), "sesame") {
			t.Errorf("parseBase(%q) shows the secret: %v", in, err)
		}
	}
}
