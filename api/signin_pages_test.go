package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"longhaul/api/sso/ssotest"
)

// TestSignInPages signs in through the providers' own pages, in Chromium.
func TestSignInPages(t *testing.T) {
	t.Parallel()
	chrome := startBrowser(t)
	for name, start := range providers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			s := newSite(chrome, t, withProvider(t, p))
			s.register(p)
			s.member("plain", "group", "finance", "operator", true)
			s.visit("/apps")
			s.untilAt("/sign-in?next=")
			s.accessible()
			s.click(`main a[href^="/sign-in/start"]`)
			s.atProvider(p)
			s.untilAt("/apps") // where the person wanted to go
			s.untilSays(".who", "jo@example.com")
			s.untilSays("main", "plain")

			// A sign-in that comes back changed is refused in words, and leaves who is signed in alone.
			s.visit("/sign-in/callback?code=x&state=y")
			s.untilSays("main", "begin again")
			s.visit("/apps")
			s.untilSays("main", "plain")

			// While the provider is down, who is signed in works on, and others are told.
			p.Stop(t)
			s.visit("/")
			s.untilSays("h1", "Tasks")
			p.Start(t)
		})
	}
}

// atProvider signs Jo in on the pages of the provider.
func (s *site) atProvider(p *ssotest.Provider) {
	s.t.Helper()
	who := ssotest.Jo()
	s.until("location.origin === " + quote(p.Issuer) + " && document.querySelector('input[name=password]')")
	s.fill("input[name=username], input[name=login]", who.Login)
	s.fill("input[name=password]", who.Password)
	s.keys(kb.Enter)
	// The npm provider asks for consent too, on a page of its own.
	s.until("location.origin === " + quote(s.url) + " || document.querySelector('button[type=submit]') && !document.querySelector('input[name=password]')")
	if js[bool](s, "location.origin === "+quote(p.Issuer)) {
		s.click("button[type=submit]")
	}
}

// A page of another origin that a signed-in person opens can do nothing here: neither by a form,
// nor by a script, nor can it read what it asked for.
func TestCrossSite(t *testing.T) {
	t.Parallel()
	s := newSite(startBrowser(t), t, func(c *config) { c.idle = true })
	task := s.create(noop(object{"kind": "sleep", "params": object{"ms": 1000}}), nil)
	s.signIn()
	s.untilSays("h1", "Tasks")
	// Another port of the same host: of another origin, and for cookies of the same site.
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<title>evil</title><form id="f" method="post" action="` + s.url + "/tasks/" + task.ID + `/cancel"><button>win</button></form>`))
	}))
	t.Cleanup(evil.Close)
	at, err := url.Parse(evil.URL)
	must(t, err)
	open := func() {
		s.steps(chromedp.Navigate(evil.URL))
		s.until("location.port === " + quote(at.Port()))
	}
	open()
	s.click("#f button")
	s.untilSays("main", "another origin")
	open()
	outcome := js[string](s, `fetch(`+quote(s.url+"/api/v1/tasks/"+task.ID+"/cancel")+`, {method: "POST", credentials: "include"}).then((r) => "status " + r.status, (e) => "unreadable")`)
	if outcome != "unreadable" {
		t.Errorf("a script of another origin got an answer: %s", outcome)
	}
	outcome = js[string](s, `fetch(`+quote(s.url+"/api/v1/tasks")+`, {credentials: "include"}).then((r) => r.text(), (e) => "unreadable")`)
	if outcome != "unreadable" {
		t.Errorf("a script of another origin read %q", outcome)
	}
	if n := s.count(`SELECT count(*) FROM tasks WHERE cancel_requested_at IS NOT NULL`); n != 0 {
		t.Error("a page of another origin cancelled a task")
	}
	if n := s.count(`SELECT count(*) FROM audit WHERE action = 'request.refuse' AND detail = 'another origin'`); n < 2 {
		t.Errorf("%d refusals are in the audit trail", n)
	}
	if !strings.HasPrefix(s.get(taskPath(task.ID)).want(http.StatusOK).task().State, "queued") {
		t.Error("the task is not as it was")
	}
}
