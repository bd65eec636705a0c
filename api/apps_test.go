package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"longhaul/api"
)

// appOn describes an app on the simulator.
func (s *server) appOn(changes object) object {
	app := object{
		"name": "books", "product": "epm", "url": s.simURL, "application": "Vision",
		"auth":        object{"type": "basic", "username": "admin", "password": simPass},
		"max_running": 4, "maintenance": object{"start": "02:00", "minutes": 60, "time_zone": "Europe/Berlin"},
	}
	for name, value := range changes {
		app[name] = value
		if value == nil {
			delete(app, name)
		}
	}
	return app
}

// settings are the same without the name, which the address has.
func (s *server) settings(changes object) object {
	app := s.appOn(changes)
	delete(app, "name")
	return app
}

func (a *answer) app() api.App {
	a.t.Helper()
	var app api.App
	a.into(&app)
	return app
}

func TestApps(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	created := s.do(http.MethodPost, "/api/v1/apps", s.appOn(nil)).want(http.StatusCreated)
	created.wantHeader("Location", "/api/v1/apps/books")
	want := api.App{
		Name: "books", Product: "epm", URL: s.simURL, Application: "Vision", Auth: api.AppAuth{Type: "basic"},
		MaxRunning: 4, Maintenance: &api.Maintenance{Start: "02:00", Minutes: 60, TimeZone: "Europe/Berlin"},
	}
	times := cmpopts.IgnoreFields(api.App{}, "CreatedAt", "UpdatedAt")
	if diff := cmp.Diff(want, created.app(), times); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	got := s.get("/api/v1/apps/books").want(http.StatusOK)
	if diff := cmp.Diff(created.app(), got.app()); diff != "" {
		t.Errorf("got (-created +got):\n%s", diff)
	}
	var page api.Page[api.App]
	list := s.get("/api/v1/apps").want(http.StatusOK)
	list.into(&page)
	if len(page.Items) != 3 || !cmp.Equal(page.Items[0], got.app()) || page.NextCursor != nil {
		t.Errorf("list: %s", list.body)
	}
	s.do(http.MethodPost, "/api/v1/apps", s.appOn(nil)).problem(http.StatusConflict)

	replaced := s.do(http.MethodPut, "/api/v1/apps/books", s.settings(object{"application": "Sales", "max_running": nil, "maintenance": nil})).want(http.StatusOK)
	want.Application, want.MaxRunning, want.Maintenance = "Sales", 0, nil
	if diff := cmp.Diff(want, replaced.app(), times); diff != "" {
		t.Errorf("replaced (-want +got):\n%s", diff)
	}
	if !replaced.app().UpdatedAt.After(replaced.app().CreatedAt) {
		t.Error("updated_at did not move")
	}

	for _, a := range []*answer{created, got, list, replaced} {
		if strings.Contains(string(a.body), simPass) || strings.Contains(string(a.body), `"username"`) {
			t.Errorf("%s shows credentials: %s", a.asked, a.body)
		}
	}
	s.do(http.MethodDelete, "/api/v1/apps/books", nil).want(http.StatusNoContent)
	for _, a := range []*answer{
		s.get("/api/v1/apps/books"), s.do(http.MethodDelete, "/api/v1/apps/books", nil),
		s.do(http.MethodPut, "/api/v1/apps/books", s.settings(nil)), s.do(http.MethodPost, "/api/v1/apps/books/check", nil),
		s.get("/api/v1/apps/books/job-definitions?kind=epm.importData"),
	} {
		a.problem(http.StatusNotFound)
	}
	for action, n := range map[string]int{"app.create": 1, "app.update": 1, "app.delete": 1} {
		if got := s.count("SELECT count(*) FROM audit WHERE action = $1 AND object = 'books' AND actor = 'admin'", action); got != n {
			t.Errorf("%d lines of audit about %s", got, action)
		}
	}
}

// An app whose tasks are on record cannot be deleted.
func TestDeleteAppWithTasks(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.waitFinal(s.create(noop(), nil).ID, "succeeded")
	s.do(http.MethodDelete, "/api/v1/apps/plain", nil).problem(http.StatusConflict)
	s.do(http.MethodDelete, taskPath(task.ID), nil).want(http.StatusNoContent)
	s.do(http.MethodDelete, "/api/v1/apps/plain", nil).want(http.StatusNoContent)
}

func TestAppsRefuse(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	for name, test := range map[string]struct {
		changes object
		at      string
	}{
		"no name":             {object{"name": nil}, "body"},
		"name in capitals":    {object{"name": "Books"}, "body.name"},
		"name with a slash":   {object{"name": "a/b"}, "body.name"},
		"long name":           {object{"name": strings.Repeat("a", 64)}, "body.name"},
		"unknown product":     {object{"product": "sap"}, "body.product"},
		"no product":          {object{"product": nil}, "body"},
		"unknown field":       {object{"colour": "red"}, "body.colour"},
		"no address":          {object{"url": nil}, "body.url"},
		"no host":             {object{"url": "https://"}, "body.url"},
		"http elsewhere":      {object{"url": "http://epm.example.com"}, "body.url"},
		"http by a name":      {object{"url": "http://127.0.0.1.example.com"}, "body.url"},
		"another scheme":      {object{"url": "ftp://epm.example.com"}, "body.url"},
		"password in the url": {object{"url": "https://me:secret@epm.example.com"}, "body.url"},
		"no application":      {object{"application": nil}, "body.application"},
		"no user name":        {object{"auth": object{"type": "basic", "password": "x"}}, "body.auth"},
		"no password":         {object{"auth": object{"type": "basic", "username": "x"}}, "body.auth"},
		"unknown auth":        {object{"auth": object{"type": "magic"}}, "body.auth.type"},
		"negative limit":      {object{"max_running": -1}, "body.max_running"},
		"time of no day":      {object{"maintenance": object{"start": "24:00", "minutes": 60, "time_zone": "UTC"}}, "body.maintenance.start"},
		"endless maintenance": {object{"maintenance": object{"start": "02:00", "minutes": 1440, "time_zone": "UTC"}}, "body.maintenance.minutes"},
		"half a maintenance":  {object{"maintenance": object{"start": "02:00"}}, "body.maintenance"},
		"unknown time zone":   {object{"maintenance": object{"start": "02:00", "minutes": 60, "time_zone": "Mars/Olympus"}}, "body.maintenance.time_zone"},
		"empty time zone":     {object{"maintenance": object{"start": "02:00", "minutes": 60, "time_zone": ""}}, "body.maintenance.time_zone"},
	} {
		t.Run(name, func(t *testing.T) {
			one := s.in(t)
			a := one.do(http.MethodPost, "/api/v1/apps", s.appOn(test.changes))
			a.wantField(test.at)
			if strings.Contains(string(a.body), "secret") || strings.Contains(string(a.body), simPass) {
				t.Errorf("the refusal repeats a password: %s", a.body)
			}
		})
	}
	if n := s.count("SELECT count(*) FROM apps"); n != 2 {
		t.Errorf("%d apps", n)
	}
	s.do(http.MethodPost, "/api/v1/apps", strings.NewReader("{"), "Content-Type", "application/json").problem(http.StatusBadRequest)
	s.do(http.MethodPost, "/api/v1/apps", strings.NewReader("name=a"), "Content-Type", "text/plain").problem(http.StatusUnsupportedMediaType)
	for _, url := range []string{"http://localhost:1", "http://127.0.0.9:1", "http://[::1]:1", "https://epm.example.com/gateway"} {
		s.do(http.MethodPut, "/api/v1/apps/vision", s.settings(object{"url": url})).want(http.StatusOK)
	}
	// The address people copy from their browser is cut to what the client needs.
	app := s.do(http.MethodPut, "/api/v1/apps/vision", s.settings(object{"url": "https://epm.example.com/epmcloud?x=y"})).want(http.StatusOK).app()
	if app.URL != "https://epm.example.com" {
		t.Errorf("the address became %q", app.URL)
	}
}

// Credentials lie in the database sealed, stay when an app is replaced without them, and are not
// sent to another address.
func TestCredentials(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	s.do(http.MethodPost, "/api/v1/apps", s.appOn(nil)).want(http.StatusCreated)
	sealed := func() string {
		rows, err := s.pool.Query(t.Context(), "SELECT coalesce(encode(auth_sealed, 'hex'), '') FROM apps WHERE name = 'books'")
		must(t, err)
		defer rows.Close()
		var hex string
		for rows.Next() {
			must(t, rows.Scan(&hex))
		}
		return hex
	}
	before := sealed()
	if n := s.count(`SELECT count(*) FROM apps WHERE row_to_json(apps)::text LIKE '%' || $1 || '%'
		OR position($1::bytea IN auth_sealed) > 0`, simPass); n != 0 || before == "" {
		t.Error("the password is in the database in clear, or not at all")
	}

	s.do(http.MethodPut, "/api/v1/apps/books", s.settings(object{"auth": nil, "url": s.simURL + "/HyperionPlanning"})).want(http.StatusOK)
	if got := s.get("/api/v1/apps/books").app().Auth.Type; got != "basic" || sealed() != before {
		t.Errorf("replaced without credentials, the app signs in by %q", got)
	}
	s.do(http.MethodPut, "/api/v1/apps/books", s.settings(object{"auth": nil, "url": "https://evil.example.com"})).wantField("body.auth", "credentials again")
	if got := s.get("/api/v1/apps/books").app().URL; got != s.simURL {
		t.Errorf("the refused change changed the address to %s", got)
	}
	s.do(http.MethodPut, "/api/v1/apps/books", s.settings(object{"auth": object{"type": "basic", "username": "admin", "password": "another"}})).want(http.StatusOK)
	if sealed() == before {
		t.Error("new credentials were not taken")
	}
	s.do(http.MethodPut, "/api/v1/apps/books", s.settings(object{"auth": object{"type": "none"}})).want(http.StatusOK)
	if sealed() != "" {
		t.Error("credentials stay although none are needed")
	}
	if strings.Contains(s.logs.String(), simPass) {
		t.Error("the password is in the log")
	}
}

// check makes an app, checks it and removes it.
func (s *server) check(changes object) api.Check {
	s.t.Helper()
	s.do(http.MethodPost, "/api/v1/apps", s.appOn(changes)).want(http.StatusCreated)
	var check api.Check
	s.do(http.MethodPost, "/api/v1/apps/books/check", nil).want(http.StatusOK).into(&check)
	s.do(http.MethodDelete, "/api/v1/apps/books", nil).want(http.StatusNoContent)
	return check
}

func TestCheck(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	defer elsewhere.Close()
	for name, test := range map[string]struct {
		changes object
		ok      bool
		words   []string
	}{
		"good":                {nil, true, []string{"Signed in", "Vision", "26.11"}},
		"nothing to check":    {object{"product": "none", "url": nil, "application": nil, "auth": nil}, true, []string{"needs no application"}},
		"bad password":        {object{"auth": object{"type": "basic", "username": "admin", "password": "wrong"}}, false, []string{"user name or password"}},
		"no credentials":      {object{"auth": nil}, false, []string{"user name or password"}},
		"another application": {object{"application": "vision"}, false, []string{`no application "vision"`, "Vision", "Sales", "case"}},
		"unreachable":         {object{"url": closed.URL}, false, []string{"does not answer", "address"}},
		"something else":      {object{"url": elsewhere.URL}, false, []string{"does not answer", "address"}},
	} {
		began := time.Now()
		got := s.check(test.changes)
		if got.OK != test.ok {
			t.Errorf("%s: %+v", name, got)
		}
		for _, word := range test.words {
			if !strings.Contains(got.Message, word) {
				t.Errorf("%s: %q does not hold %q", name, got.Message, word)
			}
		}
		if (got.Version != "") != strings.Contains(got.Message, "Signed in") {
			t.Errorf("%s: version %q", name, got.Version)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
	}
}

func TestJobDefinitions(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	for kind, want := range map[string][]string{
		"epm.importMetadata": {"importAccount", "importAll", "importEntity", "importProduct"},
		"epm.refreshCube":    {"Refresh Database"},
		"noop":               {},
	} {
		var page api.Page[api.Definition]
		s.get("/api/v1/apps/vision/job-definitions?kind=" + kind).want(http.StatusOK).into(&page)
		got := []string{}
		for _, d := range page.Items {
			got = append(got, d.Name)
		}
		if diff := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
	var none api.Page[api.Definition]
	s.get("/api/v1/apps/plain/job-definitions?kind=epm.importData").want(http.StatusOK).into(&none)
	if len(none.Items) != 0 {
		t.Errorf("an app of no application has the jobs %+v", none.Items)
	}
	s.get("/api/v1/apps/vision/job-definitions?kind=dance").wantField("query.kind", "dance")
	s.get("/api/v1/apps/vision/job-definitions").wantField("query.kind")
	s.do(http.MethodPut, "/api/v1/apps/vision", s.settings(object{"auth": object{"type": "basic", "username": "admin", "password": "wrong"}})).want(http.StatusOK)
	if p := s.get("/api/v1/apps/vision/job-definitions?kind=epm.importData").problem(http.StatusBadGateway); !strings.Contains(p.Detail, "password") {
		t.Errorf("refused with %q", p.Detail)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	var page api.Page[struct {
		Name, Title, Product, Input string
		Exclusive                   bool
		Params                      object
	}]
	s.get("/api/v1/kinds").want(http.StatusOK).into(&page)
	got := make(map[string]string)
	for _, k := range page.Items {
		alone := ""
		if k.Exclusive {
			alone = " alone"
		}
		got[k.Name] = k.Product + " " + k.Input + alone
		if k.Title == "" || k.Params["type"] != "object" || k.Params["additionalProperties"] != false {
			t.Errorf("%s: title %q, params %v", k.Name, k.Title, k.Params)
		}
		if properties, _ := k.Params["properties"].(object); k.Product == "epm" && properties["job"] == nil {
			t.Errorf("%s runs a saved job and takes no job", k.Name)
		}
	}
	want := map[string]string{
		"epm.importMetadata": "epm required alone", "epm.exportMetadata": "epm none", "epm.importData": "epm required", "epm.exportData": "epm none",
		"epm.refreshCube": "epm none alone", "epm.runBusinessRule": "epm none", "epm.runRuleset": "epm none", "epm.clearCube": "epm none",
		"noop": "none optional", "sleep": "none optional",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}
