package api_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"github.com/chromedp/chromedp"
	"github.com/labstack/echo/v4"

	"longhaul/api"
	"longhaul/api/sso/ssotest"
)

// Every answer carries what browsers are to keep to, whoever asks for what.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.waitFinal(s.create(object{"app": "vision", "name": "importAccount", "kind": "epm.importMetadata"}, accounts(t, 20, 2)).ID, "succeeded")
	output := taskPath(task.ID) + "/outputs/" + task.Outputs[0].Path
	s.echo().GET("/static/boom", func(echo.Context) error { panic("boom") })
	const (
		answer   = "default-src 'none'; frame-ancestors 'none'"
		download = "sandbox; default-src 'none'"
	)
	for _, test := range []struct {
		method, path string
		accept       string
		status       int
		policy       string
	}{
		{"GET", "/api/v1/me", "", 200, answer},
		{"GET", "/api/v1/tasks", "", 200, answer},
		{"GET", taskPath(task.ID), "", 200, answer},
		{"GET", taskPath(task.ID) + "/log", "", 200, answer},
		{"GET", taskPath(task.ID) + "/events", "", 200, answer},
		{"GET", output, "", 200, download},
		{"GET", taskPath(task.ID) + "/outputs.zip", "", 200, download},
		{"GET", "/openapi.json", "", 200, answer},
		{"GET", "/metrics", "", 200, answer},
		{"GET", "/healthz", "", 200, answer},
		{"GET", "/readyz", "", 200, answer},
		{"GET", "/static/none.css", "", 404, answer},
		{"GET", "/static/boom", "", 500, answer},
		{"GET", "/api/v1/none", "", 404, answer},
		{"PATCH", "/api/v1/tasks", "", 405, answer},
		{"POST", "/api/v1/apps", "", 400, answer},
		{"GET", "/none", "text/html", 404, "page"},
		{"GET", "/", "text/html", 200, "page"},
		{"GET", "/docs", "text/html", 200, "page"},
		{"GET", "/sign-in", "text/html", 200, "page"},
		{"GET", "/sign-in?token=wrong", "text/html", 401, "page"},
		{"GET", "/sign-in?token=" + adminToken, "text/html", 303, answer},
	} {
		resp := s.open(test.method, test.path, nil, "Accept", test.accept)
		must(t, resp.Body.Close())
		if resp.StatusCode != test.status {
			t.Errorf("%s %s: %d, want %d", test.method, test.path, resp.StatusCode, test.status)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin",
			"Strict-Transport-Security": "", "Access-Control-Allow-Origin": "",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", test.method, test.path, name, got, want)
			}
		}
		policy, cache := resp.Header.Get("Content-Security-Policy"), resp.Header.Get("Cache-Control")
		if test.policy != "page" && policy != test.policy || test.policy == "page" && !strings.Contains(policy, "script-src 'self'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s %s: the policy is %q", test.method, test.path, policy)
		}
		if cache != "no-store" && cache != "private, no-cache" {
			t.Errorf("%s %s: Cache-Control is %q", test.method, test.path, cache)
		}
		if strings.HasPrefix(test.path, "/api/") {
			continue // what follows is for what is shown as a page
		}
		if opener := resp.Header.Get("Cross-Origin-Opener-Policy"); opener != "same-origin" {
			t.Errorf("%s %s: Cross-Origin-Opener-Policy is %q", test.method, test.path, opener)
		}
		if referrer := resp.Header.Get("Referrer-Policy"); referrer != "same-origin" && referrer != "no-referrer" {
			t.Errorf("%s %s: Referrer-Policy is %q", test.method, test.path, referrer)
		}
		if features := resp.Header.Get("Permissions-Policy"); !strings.Contains(features, "camera=()") {
			t.Errorf("%s %s: Permissions-Policy is %q", test.method, test.path, features)
		}
	}
	refused := s.get(output, "Range", "bytes=999999999-").want(http.StatusRequestedRangeNotSatisfiable)
	refused.wantHeader("Cache-Control", "no-store")
}

func TestStrictTransport(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle, func(c *config) { c.api.PublicURL = "https://longhaul.example.com" })
	for _, path := range []string{"/healthz", "/api/v1/me", "/sign-in", "/none"} {
		s.get(path).wantHeader("Strict-Transport-Security", "max-age=31536000")
	}
}

const webApp = "https://finance.example.com"

func forWebApp(c *config) { c.idle, c.api.Origins = true, []string{webApp} }

func TestCORS(t *testing.T) {
	t.Parallel()
	s := newServer(t, forWebApp)
	preflight := func(path, origin string) *answer {
		resp := s.open(http.MethodOptions, path, nil, "Authorization", "", "Origin", origin,
			"Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "authorization,content-type")
		must(t, resp.Body.Close())
		return &answer{t: t, asked: "OPTIONS " + path, status: resp.StatusCode, header: resp.Header}
	}
	for _, path := range []string{"/api/v1/tasks", "/api/v1/apps/none", "/openapi.json"} {
		a := preflight(path, webApp).want(http.StatusNoContent)
		a.wantHeader("Access-Control-Allow-Origin", webApp)
		a.wantHeader("Access-Control-Max-Age", "7200")
		a.wantHeader("Vary", "Origin")
		for _, header := range []string{"Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Range", "Last-Event-ID"} {
			if !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), header) {
				t.Errorf("%s: %s is not taken", a.asked, header)
			}
		}
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			if !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), method) {
				t.Errorf("%s: %s is not taken", a.asked, method)
			}
		}
	}
	// Others are answered as ever, and the pages are for nobody's scripts.
	for _, origin := range []string{"https://example.com", "https://finance.example.com.evil.example", "http://finance.example.com", webApp + ":8443", "null", ""} {
		a := preflight("/api/v1/tasks", origin).want(http.StatusUnauthorized)
		a.wantHeader("Access-Control-Allow-Origin", "")
		a.wantHeader("Vary", "Origin")
		s.get("/api/v1/me", "Origin", origin).want(http.StatusOK).wantHeader("Access-Control-Allow-Origin", "")
	}
	for _, path := range []string{"/", "/apps", "/sign-in", "/sign-out", "/metrics", "/healthz"} {
		if got := preflight(path, webApp).header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s is for the scripts of %q", path, got)
		}
	}
	// The web app can read answers, refusals too, but not with cookies.
	for path, status := range map[string]int{"/api/v1/me": 200, "/api/v1/tasks/none": 404, "/api/v1/audit?limit=0": 422} {
		a := s.get(path, "Origin", webApp).want(status)
		a.wantHeader("Access-Control-Allow-Origin", webApp)
		a.wantHeader("Access-Control-Allow-Credentials", "")
		if !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "Retry-After") {
			t.Errorf("%s: the web app cannot read Retry-After", path)
		}
	}
	s.get("/api/v1/me", "Origin", webApp, "Authorization", "Bearer wrong").want(http.StatusUnauthorized).wantHeader("Access-Control-Allow-Origin", webApp)
}

// A named origin is one for bearer tokens: with a person's cookie it changes nothing.
func TestCORSIsNotForCookies(t *testing.T) {
	t.Parallel()
	s := newServer(t, forWebApp)
	cookie := "longhaul=" + s.sessionOf(s.person("jo@example.com").id)
	for _, sent := range [][]string{
		{"Origin", webApp, "Sec-Fetch-Site", "same-site"},
		{"Origin", webApp, "Sec-Fetch-Site", "cross-site"},
		{"Origin", webApp}, // of an older browser
	} {
		headers := append([]string{"Authorization", "", "Cookie", cookie}, sent...)
		s.do(http.MethodPost, "/api/v1/tokens", object{"name": "x", "scopes": []string{"view"}}, headers...).problem(http.StatusForbidden)
		s.get("/api/v1/me", headers...).want(http.StatusOK).wantHeader("Access-Control-Allow-Credentials", "")
	}
	if n := s.count(`SELECT count(*) FROM tokens WHERE name = 'x'`); n != 0 {
		t.Error("a token was made")
	}
	s.do(http.MethodPost, "/api/v1/tokens", object{"name": "x", "scopes": []string{"view"}}, "Authorization", "", "Cookie", cookie,
		"Origin", s.url, "Sec-Fetch-Site", "same-origin").want(http.StatusCreated)
}

// TestEdgesInBrowser runs the tests of the edges that need a real browser, in one.
func TestEdgesInBrowser(t *testing.T) {
	t.Parallel()
	browser := startBrowser(t)
	t.Run("web app", func(t *testing.T) {
		t.Parallel()
		page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, err := io.WriteString(w, "<!doctype html><title>A web app</title>")
			must(t, err)
		})
		named, other := httptest.NewServer(page), httptest.NewServer(page)
		t.Cleanup(named.Close)
		t.Cleanup(other.Close)
		// Not newSite: the browser complains of what is refused here, as it should.
		s := &site{server: newServer(t, func(c *config) { c.idle, c.api.Origins = true, []string{named.URL} })}
		tab, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
		t.Cleanup(cancel)
		must(t, chromedp.Do(tab)) // a tab lives as long as the context of its first step
		s.tab = tab
		s.signIn()
		call := func(options string) string {
			return js[string](s, `fetch(`+quote(s.url+"/api/v1/me")+`, `+options+`).then((r) => r.status + " " + r.headers.get("X-Request-Id")?.length, () => "refused")`)
		}
		withToken := `{headers: {Authorization: ` + quote("Bearer "+adminToken) + `}}`
		for origin, want := range map[string]string{named.URL: "200 36", other.URL: "refused"} {
			s.steps(chromedp.Navigate(origin))
			if got := call(withToken); got != want {
				t.Errorf("with a token from %s: %s, want %s", origin, got, want)
			}
			if got := call(`{credentials: "include"}`); got != "refused" {
				t.Errorf("with the cookie from %s: %s", origin, got)
			}
			// A form needs no leave to be sent; the cookie counts for nothing with it.
			before := s.count(`SELECT count(*) FROM sessions`)
			s.run(`await fetch(` + quote(s.url+"/sign-out") + `, {method: "POST", mode: "no-cors", credentials: "include", body: new URLSearchParams({a: "b"})}).catch(() => {})`)
			if after := s.count(`SELECT count(*) FROM sessions`); after != before {
				t.Errorf("a page of %s signed a person out", origin)
			}
		}
	})
	t.Run("sign out at the provider", func(t *testing.T) {
		t.Parallel()
		p := ssotest.Zitadel(t)
		s := newSite(browser, t, withProvider(t, p))
		s.register(p)
		s.visit("/sign-in/start")
		s.fill("input[name=username]", ssotest.Jo().Login)
		s.fill("input[name=password]", ssotest.Jo().Password)
		s.click("button")
		s.untilAt("/")
		s.until("document.querySelector('input[name=everywhere]')")
		s.run("document.querySelector('input[name=everywhere]').form.requestSubmit()")
		s.untilAt("/sign-in")
		if at := s.where(); strings.Contains(at, "out=1") {
			t.Errorf("the provider was not asked: %s", at)
		}
	})
	t.Run("redirects", func(t *testing.T) {
		t.Parallel()
		s := newSite(browser, t, idle)
		s.visit("/sign-in")
		for _, next := range nextSeeds {
			target := api.LocalPathForTest(next)
			if !js[bool](s, "new URL("+quote(target)+", location.href).origin === location.origin") {
				t.Errorf("next %q leads to %q, which the browser takes for elsewhere", next, target)
			}
		}
	})
}

// TestOnlyHosts asks under names that a stranger could point here.
func TestOnlyHosts(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *config) { c.idle, c.api.Hosts = true, []string{"longhaul.example.com", "192.0.2.7"} })
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.url, "http://"))
	must(t, err)
	ask := func(path, host string) *answer {
		r := s.request(http.MethodGet, path, nil)
		r.Host = host
		resp, err := s.http.Do(r)
		must(t, err)
		defer resp.Body.Close()
		a := &answer{t: t, asked: "GET " + path, status: resp.StatusCode, header: resp.Header}
		if resp.StatusCode == http.StatusMisdirectedRequest {
			var p api.Problem
			must(t, decodeJSON(resp.Body, &p))
			if !strings.Contains(p.Detail, "LONGHAUL_PUBLIC_URL") {
				t.Errorf("the refusal does not say what to do: %s", p.Detail)
			}
		}
		return a
	}
	for _, host := range []string{
		"localhost", "LocalHost:" + port, "localhost.", "127.0.0.1", "127.0.0.1:" + port, "127.9.9.9", "[::1]:" + port, "[::1]",
		"longhaul.example.com", "LONGHAUL.example.com:443", "longhaul.example.com.", "192.0.2.7:" + port,
	} {
		ask("/api/v1/me", host).want(http.StatusOK)
	}
	for _, host := range []string{
		"evil.example", "evil.example:" + port, "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost", "0.0.0.0:" + port, "[::]:" + port,
		"192.0.2.8", "longhaul.example.com.evil.example",
	} {
		ask("/api/v1/me", host).want(http.StatusMisdirectedRequest)
		ask("/sign-in?token="+adminToken, host).want(http.StatusMisdirectedRequest)
		ask("/static/x.css", host).want(http.StatusMisdirectedRequest)
	}
	ask("/healthz", "10.0.0.9").want(http.StatusOK) // asked by what looks after processes
	ask("/readyz", "10.0.0.9").want(http.StatusOK)
}

// nextSeeds are tricks that lead elsewhere where an address is not read as browsers read it.
var nextSeeds = []string{
	"", "/", "/tasks/x?y=1#z", "//evil.example", `/\evil.example`, `\\evil.example`, `\/evil.example`, "///evil.example", "////evil.example",
	"/\t/evil.example", "/\n/evil.example", "/\r\n/evil.example", "\t//evil.example", " //evil.example", "\x00//evil.example", "\x1f//evil.example",
	"/%2f/evil.example", "/%5cevil.example", "%2f%2fevil.example", "/.//evil.example", "/..//evil.example", "/a/../..//evil.example", "/;//evil.example",
	"https://evil.example", "https:evil.example", "https:/evil.example", "HTTPS://evil.example", "javascript:alert(1)", "java\tscript:alert(1)",
	"data:text/html,x", "/@evil.example", "@evil.example", ".evil.example", "evil.example", "?//evil.example", "#//evil.example", "/?//evil.example",
	"/\u2028/evil.example", "/\u00a0/evil.example", "/\uff0fevil.example", "/\ufeff/evil.example", "/\x7f/evil.example", "/\x80/evil.example",
	"/:80//evil.example", "//[::1]", "/%", "/%zz", "//%65vil.example", "/\u0085/evil.example", "http://[", "/#\x00", "/#\r\nSet-Cookie: a=b", "/sign-in?next=//evil.example",
}

// FuzzLocalPath holds where a sign-in leads to against how browsers read addresses, as the URL
// standard (url.spec.whatwg.org) has it: they leave out tabs and line breaks, and control characters
// and spaces at both ends, and take \ for /.
func FuzzLocalPath(f *testing.F) {
	for _, next := range nextSeeds {
		f.Add(next)
	}
	f.Fuzz(func(t *testing.T, next string) {
		target := api.LocalPathForTest(next)
		if target != next && target != "/" {
			t.Fatalf("%q became %q", next, target)
		}
		read := strings.TrimFunc(target, func(r rune) bool { return r <= ' ' })
		read = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(read)
		if !strings.HasPrefix(read, "/") || strings.HasPrefix(read, "//") {
			t.Errorf("%q leads a browser elsewhere", target)
		}
		u, err := url.Parse(target)
		if err != nil || u.IsAbs() || u.Host != "" || u.User != nil {
			t.Errorf("%q is no path: %v", target, err)
		}
		if strings.ContainsFunc(target, unicode.IsControl) {
			t.Errorf("%q breaks out of its header", target)
		}
	})
}
