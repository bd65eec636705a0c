package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"longhaul/api"
	"longhaul/storage"
)

// someone is a person of a test with an API token that holds all scopes.
type someone struct {
	column        string
	login         string
	id            uuid.UUID
	token, cookie string         // one of them, or none
	rights        storage.Rights // on the app own
	everywhere    bool
}

// person makes somebody in the given groups.
func (s *server) person(login string, groups ...string) *someone {
	s.t.Helper()
	p, err := storage.MeetPerson(s.t.Context(), s.pool, &storage.Person{
		Issuer: storage.LocalIssuer, Subject: login, Login: login, Name: login, Groups: groups,
	}, true)
	must(s.t, err)
	return &someone{login: login, id: p.ID, token: s.tokenOf(p.ID, storage.AllRights)}
}

// tokenOf makes an API token of a person.
func (s *server) tokenOf(person uuid.UUID, scopes storage.Rights, apps ...string) string {
	s.t.Helper()
	secret := api.NewTokenForTest()
	s.exec(`INSERT INTO tokens (person_id, name, sha256, hint, scopes, apps) VALUES ($1, 'test', sha256($2), 'lh_test', $3, $4)`,
		person, []byte(secret), scopes, apps)
	return secret
}

// sessionOf makes a session of a person and returns what its cookie holds.
func (s *server) sessionOf(person uuid.UUID) string {
	s.t.Helper()
	value := uuid.NewString()
	s.exec(`INSERT INTO sessions (token, data, expiry, person_id) VALUES ($1, '', now() + '1 hour', $2)`, storage.SessionKey(value), person)
	return value
}

// member lets a person or a group use an app.
func (s *server) member(app, kind, name, role string, seeData bool) {
	s.t.Helper()
	s.exec(`INSERT INTO members (app, kind, member, role, see_data, added_by) VALUES ($1, $2, $3, $4, $5, 'test')`, app, kind, name, role, seeData)
	s.engine.AccessChanged()
}

// walker asks for every route as every caller.
type walker struct {
	*server
	own, other target
	inBrowser  uuid.UUID // whose session the caller "in browser" has
	static     string    // an address of a file that pages are made of
}

// target is an app with a task that has ended, and left an output.
type target struct {
	app  string
	task string
}

// callers are the columns of the table. Each has rights on the app own, and none on other.
func (w *walker) callers() []*someone {
	const (
		viewer   = storage.View
		operator = storage.View | storage.Operate
		admin    = operator | storage.Manage
	)
	member := func(column, role string, seeData bool, rights storage.Rights) *someone {
		who := w.person(strings.ReplaceAll(column, " ", "-") + "@example.com")
		w.member("own", "person", who.login, role, seeData)
		who.column, who.rights = column, rights
		return who
	}
	grouped := w.person("grouped@example.com", "Finance")
	w.member("own", "group", "Finance", "operator", true)
	grouped.column, grouped.rights = "by group", operator|storage.Data
	appAdmin := member("app admin", "admin", true, admin|storage.Data)
	w.inBrowser = appAdmin.id
	stranger := w.person("stranger@example.com")
	stranger.column = "stranger"
	return []*someone{
		{column: "nobody"},
		stranger,
		member("viewer", "viewer", false, viewer),
		member("operator", "operator", true, operator|storage.Data),
		grouped,
		member("no data", "operator", false, operator),
		appAdmin,
		{column: "its token", id: appAdmin.id, token: w.tokenOf(appAdmin.id, operator), rights: operator},
		{column: "elsewhere", id: appAdmin.id, token: w.tokenOf(appAdmin.id, storage.AllRights, "plain")},
		{column: "in browser", id: appAdmin.id, cookie: "some", rights: admin | storage.Data},
		member("admin, no data", "admin", false, admin),
		{column: "instance", id: storage.LocalAdmin, token: adminToken, rights: storage.AllRights, everywhere: true},
	}
}

// outcome is what the rule says of a caller.
func (who *someone) outcome(rule api.Rule, route, app string) string {
	rights := who.rights
	if app == "other" && !who.everywhere {
		rights = 0
	}
	allowed := map[bool]string{true: "ok", false: "403"}
	switch {
	case rule.Who == "everybody":
		return "ok"
	case who.token == "" && who.cookie == "":
		return "401"
	case rule.Who == "signed in":
		return "ok"
	case rule.Who == "person":
		return allowed[who.cookie != "" || who.everywhere]
	case rule.Who == "owner":
		return allowed[who.rights.Has(rule.Right)]
	case rule.Who == "instance" || !strings.Contains(route, "/:"):
		return allowed[(rule.Who != "instance" || who.everywhere) && who.rights.Has(rule.Right)]
	case !rights.Has(storage.View):
		return "404"
	}
	return allowed[rights.Has(rule.Right)]
}

// refill makes the app of a target with its task anew, as far as a request before took them away.
func (w *walker) refill(t *target) {
	w.t.Helper()
	w.exec(`INSERT INTO apps (name, product) VALUES ($1, 'none') ON CONFLICT DO NOTHING`, t.app)
	if w.count(`SELECT count(*) FROM tasks WHERE id = $1`, t.task) == 1 {
		return
	}
	id := uuid.Must(uuid.NewV7())
	t.task = id.String()
	w.exec(`INSERT INTO tasks (id, app, name, kind, created_by, state, started_at, percent, finished_at, log, outputs)
		VALUES ($1, $2, 'walk', 'noop', 'test', 'succeeded', now(), 100, now(), 'a log', '[{"path": "x", "size": 1, "sha256": "00"}]')`, id, t.app)
	must(w.t, os.MkdirAll(fmt.Sprintf("%s/%s/walk/%s/outbound", w.dir, t.app, id), 0o700))
	must(w.t, os.WriteFile(fmt.Sprintf("%s/%s/walk/%s/outbound/x", w.dir, t.app, id), []byte("x"), 0o600))
}

// bodies are what routes are sent that need one.
var bodies = map[string]string{
	"POST /api/v1/tasks":                    `{"app": "%s", "name": "walk", "kind": "noop"}`,
	"POST /api/v1/apps":                     `{"name": "made", "product": "none"}`,
	"PUT /api/v1/apps/:app":                 `{"product": "none"}`,
	"PUT /api/v1/apps/:app/members/:member": `{"role": "viewer"}`,
	"POST /api/v1/apps/:app/files":          `{"path": "copy", "copy_of": "x"}`,
	"POST /api/v1/tokens":                   `{"name": "walk", "scopes": ["view"]}`,
	"PATCH /api/v1/uploads/:id":             "x",
}

// ask makes the request of a route for a target and tells its outcome in a word.
func (w *walker) ask(route string, who *someone, t *target) string {
	w.t.Helper()
	w.refill(t)
	if strings.Contains(route, "/files") {
		w.put(t.app, "x", "x")
	}
	w.exec(`DELETE FROM apps WHERE name IN ('made')`)
	w.exec(`INSERT INTO members (app, kind, member, role, see_data, added_by) VALUES ($1, 'person', 'walked@example.com', 'viewer', false, 'test')
		ON CONFLICT DO NOTHING`, t.app)
	method, path, _ := strings.Cut(route, " ")
	path = strings.NewReplacer(":app", t.app, ":member", "person:walked@example.com", "outputs/*", "outputs/x", "files/*", "files/x", "versions/*", "versions/x", "files/move", "files/move?path=x", "files/delete", "files/delete?path=x", "/static/*", w.static).Replace(path)
	switch {
	case strings.Contains(path, "tasks/:id"):
		path = strings.Replace(path, ":id", t.task, 1)
	case strings.Contains(path, ":id"):
		path = strings.Replace(path, ":id", w.ownRecord(path, who), 1)
	}
	body, ok := bodies[route]
	if strings.Contains(body, "%s") {
		body = fmt.Sprintf(body, t.app)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	must(w.t, err)
	if ok {
		req.Header.Set("Content-Type", "application/json")
	} else if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if strings.Contains(route, "/uploads") {
		req.Header.Set("Tus-Resumable", "1.0.0")
		req.Header.Set("Content-Type", "application/offset+octet-stream")
		if method == http.MethodPost {
			req.Header.Set("Upload-Length", "0")
		} else {
			req.Header.Set("Upload-Offset", "0")
		}
	}
	if who.token != "" {
		req.Header.Set("Authorization", "Bearer "+who.token)
	}
	if who.cookie != "" { // a new one each time, since one route signs out
		req.AddCookie(&http.Cookie{Name: "longhaul", Value: w.sessionOf(w.inBrowser)})
	}
	resp, err := w.http.Do(req)
	must(w.t, err)
	must(w.t, resp.Body.Close())
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return fmt.Sprint(resp.StatusCode)
	case http.StatusInternalServerError:
		w.t.Errorf("%s as %s: %s", route, who.column, resp.Status)
	}
	return "ok"
}

// ownRecord makes a token, session or person for the route to name: the caller's own, where it
// has an owner.
func (w *walker) ownRecord(path string, who *someone) string {
	w.t.Helper()
	owner := storage.LocalAdmin
	if who.cookie != "" {
		owner = w.inBrowser
	}
	switch {
	case strings.Contains(path, "/uploads/"):
		return w.uploadRow(who.id).String()
	case strings.Contains(path, "/people/"):
		return w.person("gone-" + uuid.NewString() + "@example.com").id.String()
	case strings.Contains(path, "/sessions/"):
		return w.sessionRow(owner).String()
	}
	return w.tokenRow(owner).String()
}

// uploadRow makes an upload of a person, else of the administrator, that is to have one byte, and
// returns its id.
func (s *server) uploadRow(of ...uuid.UUID) uuid.UUID {
	s.t.Helper()
	id := uuid.Must(uuid.NewV7())
	s.exec(`INSERT INTO uploads (id, owner, created_by, protocol, size, growth, expires_at)
		VALUES ($1, $2, 'test', 'tus', 1, json_build_object('key', $3::text, 'digest', '{}'::json), now() + interval '1 hour')`,
		id, append(of, storage.LocalAdmin)[0], storage.ContentKey(id))
	return id
}

// tokenRow makes an API token of a person, else of the administrator, and returns its id.
func (s *server) tokenRow(of ...uuid.UUID) uuid.UUID {
	s.t.Helper()
	return one[uuid.UUID](s, `INSERT INTO tokens (person_id, name, sha256, hint, scopes) VALUES ($1, 'made', sha256($2), '', 1) RETURNING id`,
		append(of, storage.LocalAdmin)[0], []byte(uuid.NewString()))
}

// sessionRow makes a session of a person, else of the administrator, and returns its id.
func (s *server) sessionRow(of ...uuid.UUID) uuid.UUID {
	s.t.Helper()
	return one[uuid.UUID](s, `INSERT INTO sessions (token, data, expiry, person_id) VALUES ($1, '', now() + '1 hour', $2) RETURNING id`,
		uuid.NewString(), append(of, storage.LocalAdmin)[0])
}

// routes lists what the router knows.
func (w *walker) routes() []string {
	var routes []string
	for _, r := range w.echo().Routes() {
		if r.Method != "echo_route_not_found" {
			routes = append(routes, r.Method+" "+r.Path)
		}
	}
	slices.Sort(routes)
	return slices.Compact(routes)
}

// TestAccess asks for every route as every caller, of an app of theirs and of another, and holds
// what comes of it against the rules and against testdata/access.txt, which people read.
func TestAccess(t *testing.T) {
	t.Parallel()
	w := &walker{server: newServer(t, func(c *config) { c.idle = true }), own: target{app: "own"}, other: target{app: "other"}}
	w.static = regexp.MustCompile(`/static/[^"]+\.css`).FindString(string(w.get("/sign-in").body))
	w.own.task, w.other.task = uuid.NewString(), uuid.NewString()
	w.refill(&w.own)
	w.refill(&w.other)
	callers := w.callers()
	rules := api.RulesForTest()
	routes := w.routes()
	for route := range rules {
		if !slices.Contains(routes, route) {
			t.Errorf("there is a rule for %s, and no such route", route)
		}
	}
	var table bytes.Buffer
	columns := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	line := []string{"route", "app"}
	for _, who := range callers {
		line = append(line, who.column)
	}
	_, err := fmt.Fprintln(columns, strings.Join(line, "\t"))
	must(t, err)
	for _, route := range routes {
		rule, ok := rules[route]
		if !ok {
			t.Errorf("%s has no rule in api/rules.go", route)
			continue
		}
		for _, of := range []*target{&w.own, &w.other} {
			if of == &w.other && !strings.Contains(route, "/:") && route != "POST /api/v1/tasks" {
				continue // it names no app
			}
			line := []string{route, of.app}
			for _, who := range callers {
				got := w.ask(route, who, of)
				if want := who.outcome(rule, route, of.app); got != want {
					t.Errorf("%s of %s as %s: %s, and the rule says %s", route, of.app, who.column, got, want)
				}
				line = append(line, got)
			}
			_, err := fmt.Fprintln(columns, strings.Join(line, "\t"))
			must(t, err)
		}
	}
	must(t, columns.Flush())
	golden(t, "testdata/access.txt", table.Bytes())
}

// one runs a query that gives one value.
func one[T any](s *server, sql string, args ...any) T {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), sql, args...)
	must(s.t, err)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	must(s.t, err)
	return value
}

// golden holds text against a file, or writes the file with -update.
func golden(t *testing.T, path string, text []byte) {
	t.Helper()
	if *update {
		must(t, os.WriteFile(path, text, 0o600))
	}
	kept, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(kept), string(text)); diff != "" {
		t.Errorf("%s is not what it was; look at it, and run this test with -update (-kept +now):\n%s", path, diff)
	}
}
