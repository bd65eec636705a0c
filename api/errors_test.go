package api_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
)

func TestErrorsOfTheRouter(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	for _, path := range []string{"/api/v1", "/api/v1/nothing", "/api/v2/tasks", "/api/v1/tasks/x/y", "/api/v1/tasks/", "/nothing.json", "/api/v1/apps/a/b/c"} {
		s.get(path).problem(http.StatusNotFound)
	}
	for _, wrong := range []struct{ method, path string }{
		{http.MethodPut, "/api/v1/tasks"},
		{http.MethodDelete, "/api/v1/kinds"},
		{http.MethodPatch, "/api/v1/apps/plain"},
		{http.MethodGet, "/api/v1/apps/plain/check"},
		{http.MethodPost, "/api/v1/tasks/01990000-0000-7000-8000-000000000000"},
		{http.MethodGet, "/api/v1/tasks/01990000-0000-7000-8000-000000000000/cancel"},
		{http.MethodPost, "/openapi.json"},
		{"BREW", "/api/v1/tasks"},
	} {
		a := s.do(wrong.method, wrong.path, nil)
		a.problem(http.StatusMethodNotAllowed)
		if allow := a.header.Get("Allow"); allow == "" || strings.Contains(allow, wrong.method) {
			t.Errorf("%s %s: Allow is %q", wrong.method, wrong.path, allow)
		}
	}
}

// What fails in the server is told by its request_id alone, and logged once, with the cause.
func TestInternalErrors(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	task := s.create(noop(), nil)
	s.echo().GET("/panics", func(echo.Context) error { panic("the secret of the panic") })
	s.echo().GET("/fails", func(echo.Context) error { return errors.New("the secret cause") })
	s.pool.Close()
	for path, cause := range map[string]string{
		"/api/v1/tasks":                      "closed pool", // one that huma serves
		taskPath(task.ID):                    "closed pool", // and one of our own
		taskPath(task.ID) + "/outputs":       "closed pool",
		taskPath(task.ID) + "/log":           "closed pool",
		taskPath(task.ID) + "/events":        "closed pool",
		taskPath(task.ID) + "/outputs.zip":   "closed pool",
		taskPath(task.ID) + "/outputs/a.txt": "closed pool",
		"/api/v1/apps":                       "closed pool",
		"/fails":                             "the secret cause",
		"/panics":                            "the secret of the panic",
	} {
		a := s.get(path)
		p := a.problem(http.StatusInternalServerError)
		if strings.Contains(string(a.body), "pool") || strings.Contains(string(a.body), "secret") || strings.Contains(string(a.body), "goroutine") {
			t.Errorf("%s shows its cause: %s", path, a.body)
		}
		lines := s.logs.lines(`"level":"ERROR"`, p.RequestID)
		if len(lines) != 1 || !strings.Contains(lines[0], cause) {
			t.Errorf("%s is logged %d times with its cause: %s", path, len(lines), lines)
		}
		if path == "/panics" && len(lines) == 1 && !strings.Contains(lines[0], "errors_test.go") {
			t.Errorf("the panic is logged without its stack: %s", lines[0])
		}
	}
	s.post(noop(), nil).problem(http.StatusInternalServerError)
	s.post(noop(), zipOf(t, entry{"a", "b"})).problem(http.StatusInternalServerError)
	s.do(http.MethodDelete, taskPath(task.ID), nil).problem(http.StatusInternalServerError)
	s.do(http.MethodPost, taskPath(task.ID)+"/cancel", nil).problem(http.StatusInternalServerError)
	if found := s.stored(); len(found) > 0 {
		t.Errorf("files were left: %q", found)
	}
	ready := s.get("/readyz")
	if ready.status != http.StatusServiceUnavailable || strings.Contains(string(ready.body), "pool") {
		t.Errorf("readyz: %d %s", ready.status, ready.body)
	}
	s.get("/healthz").want(http.StatusOK)
}

// public are the routes that answer without signing in.
var public = []string{
	"GET /healthz", "GET /readyz", "GET /static/*",
	"GET /sign-in", "POST /sign-in", "GET /sign-in/start", "GET /sign-in/callback", "POST /sign-in/provider-logout",
}

func TestNobodyIsSignedOut(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	task := s.create(noop(), nil)
	fill := strings.NewReplacer(":id", task.ID, ":app", "plain", "*", "a.txt")
	routes := s.echo().Routes()
	seen := 0
	for _, route := range routes {
		if route.Method == echo.RouteNotFound {
			continue
		}
		seen++
		name := route.Method + " " + route.Path
		anonymous := s.do(route.Method, fill.Replace(route.Path), nil, "Authorization", "")
		if slices.Contains(public, name) {
			if anonymous.status == http.StatusUnauthorized {
				t.Errorf("%s is public and answers %d", name, anonymous.status)
			}
			continue
		}
		for _, headers := range [][]string{
			{"Authorization", ""},
			{"Authorization", "Bearer wrong"},
			{"Authorization", "Bearer "},
			{"Authorization", adminToken},
			{"Authorization", "Basic " + adminToken},
			{"Authorization", "", "Cookie", "longhaul=forged"},
		} {
			a := s.do(route.Method, fill.Replace(route.Path), nil, headers...)
			if a.want(http.StatusUnauthorized); route.Method != http.MethodHead { // which has no body
				a.problem(http.StatusUnauthorized)
			}
			if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s: WWW-Authenticate is %q", name, a.header.Get("WWW-Authenticate"))
			}
		}
	}
	if seen < 20 {
		t.Fatalf("only %d routes were found", seen)
	}
	// Nor do strangers learn what there is.
	s.get("/api/v1/nothing", "Authorization", "").problem(http.StatusUnauthorized)
	if got := s.getTask(task.ID); got.Version != task.Version {
		t.Error("a stranger changed the task")
	}
	s.get("/api/v1/kinds", "Authorization", "bearer "+adminToken).want(http.StatusOK) // RFC 9110: the scheme's case is free
}

// signIn gives the session cookie of a browser.
func (s *server) signIn() *http.Cookie {
	s.t.Helper()
	a := s.do(http.MethodPost, "/sign-in", strings.NewReader(url.Values{"token": {adminToken}}.Encode()),
		"Authorization", "", "Content-Type", "application/x-www-form-urlencoded").want(http.StatusSeeOther)
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 {
		s.t.Fatalf("cookies: %v", cookies)
	}
	return cookies[0]
}

func TestSession(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	cookie := s.signIn()
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Secure || cookie.Path != "/" {
		t.Errorf("cookie: %+v", cookie)
	}
	if strings.Contains(cookie.Value, adminToken) {
		t.Error("the cookie is the token")
	}
	task := s.create(noop(object{"kind": "sleep", "params": object{"ms": 3_600_000}}), nil)
	with := []string{"Authorization", "", "Cookie", cookie.Name + "=" + cookie.Value}
	s.get(taskPath(task.ID), with...).want(http.StatusOK)

	// Unsafe methods from another origin are refused, whatever the browser says of it.
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "https://evil.example.com"},
		{"Origin", "null"},
	} {
		all := append(slices.Clone(with), headers...)
		s.do(http.MethodPost, taskPath(task.ID)+"/cancel", nil, all...).problem(http.StatusForbidden)
		s.do(http.MethodDelete, taskPath(task.ID), nil, all...).problem(http.StatusForbidden)
		s.do(http.MethodPost, "/api/v1/tasks", noop(), all...).problem(http.StatusForbidden)
		s.do(http.MethodPut, "/api/v1/apps/plain", object{"product": "none"}, all...).problem(http.StatusForbidden)
		s.get(taskPath(task.ID), all...).want(http.StatusOK)
	}
	if got := s.getTask(task.ID); got.Progress.Message == "Cancelling" || s.count("SELECT count(*) FROM tasks") != 1 {
		t.Error("a refused request had its effect")
	}
	// A token is sent by programs only, which no page of another origin can make do it.
	s.get("/api/v1/kinds", "Sec-Fetch-Site", "cross-site").want(http.StatusOK)
	s.do(http.MethodPost, taskPath(task.ID)+"/cancel", nil, append(slices.Clone(with), "Sec-Fetch-Site", "same-origin", "Origin", s.url)...).want(http.StatusAccepted)
	s.waitFinal(task.ID, "cancelled")
	if n := s.count("SELECT count(*) FROM audit WHERE action = 'task.cancel' AND actor = 'admin'"); n != 1 {
		t.Errorf("%d lines of audit", n)
	}

	s.do(http.MethodPost, "/sign-out", nil, with...).want(http.StatusSeeOther)
	s.get(taskPath(task.ID), with...).problem(http.StatusUnauthorized)
	// Sessions that ran out are swept.
	s.signIn()
	s.exec("UPDATE sessions SET expiry = now() - interval '1 second'")
	s.engine.SweepFiles(t.Context())
	if n := s.count("SELECT count(*) FROM sessions"); n != 0 {
		t.Errorf("%d sessions were left", n)
	}
}

func TestSessionOnHTTPS(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle, func(c *config) { c.api.PublicURL = "https://longhaul.example.com/" })
	if cookie := s.signIn(); !cookie.Secure {
		t.Errorf("cookie: %+v", cookie)
	}
	task := s.create(noop(), nil)
	if want := "https://longhaul.example.com" + taskPath(task.ID); task.Links.Self != want {
		t.Errorf("links lead to %s, want %s", task.Links.Self, want)
	}
	a := s.do(http.MethodPost, "/sign-in", strings.NewReader("token=wrong"), "Authorization", "", "Content-Type", "application/x-www-form-urlencoded")
	if a.status != http.StatusUnauthorized || len(a.header["Set-Cookie"]) != 0 {
		t.Errorf("a wrong token: %d %v", a.status, a.header)
	}
}

// Nothing secret is in the log, whatever is asked.
func TestSecretsAreNotLogged(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	cookie := s.signIn()
	s.get("/sign-in?token="+adminToken, "Authorization", "")
	s.get("/sign-in?token=lh_wrong-secret", "Authorization", "")
	s.do(http.MethodPost, "/api/v1/apps", s.appOn(nil)).want(http.StatusCreated)
	s.do(http.MethodPost, "/api/v1/apps", s.appOn(nil)).problem(http.StatusConflict)
	s.waitFinal(s.create(object{"app": "books", "name": "Refresh Database", "kind": "epm.refreshCube"}, nil).ID, "succeeded")
	for _, secret := range []string{adminToken, "lh_wrong-secret", simPass, secretKey, cookie.Value} {
		if strings.Contains(s.logs.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestMetricsAndHealth(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		s.get(path, "Authorization", "").want(http.StatusOK)
	}
	s.get("/metrics").want(http.StatusOK)
}
