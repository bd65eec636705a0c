package api_test

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"longhaul/api"
	"longhaul/storage"
)

// Every call of the API that changes something, and every download, leaves a line of the audit
// trail with who, what, from where and the request's id.
func TestChangesAreAudited(t *testing.T) {
	t.Parallel()
	w := &walker{server: newServer(t, idle), own: target{app: "own", task: uuid.NewString()}}
	admin := &someone{column: "instance", id: storage.LocalAdmin, token: adminToken, everywhere: true}
	for route := range api.RulesForTest() {
		method, path, _ := strings.Cut(route, " ")
		download := strings.HasSuffix(path, "/outputs/*") || strings.HasSuffix(path, "/files/*") || strings.HasSuffix(path, ".zip")
		if !strings.HasPrefix(path, "/api/v1/") || method == http.MethodGet && !download ||
			method == http.MethodHead || method == http.MethodOptions ||
			strings.HasSuffix(path, "/consent") || // which needs an identity domain: see TestConsent
			strings.Contains(path, "/uploads/s3/") { // which needs a bucket: see TestToBucket
			continue
		}
		w.refill(&w.own)
		if path == "/api/v1/tasks/:id/cancel" {
			w.exec(`UPDATE tasks SET state = 'running', finished_at = NULL, percent = 1, log = NULL, step = 'run', due_at = now() + '1 day', deadline_at = now() + '1 day' WHERE id = $1`, w.own.task)
		}
		before := w.count(`SELECT count(*) FROM audit`)
		if route == "DELETE /api/v1/apps/:app" {
			w.do(http.MethodDelete, "/api/v1/apps/plain", nil).want(http.StatusNoContent) // it has no tasks
		} else if got := w.ask(route, admin, &w.own); got != "ok" {
			t.Errorf("%s: %s", route, got)
		}
		if n := w.count(`SELECT count(*) FROM audit`) - before; n < 1 {
			t.Errorf("%s left no line in the audit trail", route)
		}
		w.exec(`DELETE FROM tasks WHERE app = 'own' AND finished_at IS NULL`)
	}
	if n := w.count(`SELECT count(*) FROM audit WHERE actor = 'admin' AND (address IS NULL OR request_id IS NULL)`); n != 0 {
		t.Errorf("%d lines do not say from where and by which request", n)
	}
}

type auditPage struct {
	Items []api.AuditLine `json:"items"`
	Next  *string         `json:"next_cursor"`
}

// The audit trail is read newest first, a page at a time, by filters, and as a whole.
func TestAudit(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	jo := s.person("jo@example.com")
	s.member("plain", "person", jo.login, "admin", true)
	bearer := "Bearer " + jo.token
	task := s.create(noop(nil), nil)
	s.create(noop(object{"app": "vision"}), nil)
	s.do(http.MethodPost, taskPath(task.ID)+"/cancel", nil, "Authorization", bearer).want(http.StatusAccepted)
	s.do(http.MethodPost, "/api/v1/apps", s.appOn(nil), "Authorization", bearer).problem(http.StatusForbidden)

	var all, mine, page auditPage
	s.get("/api/v1/audit").want(http.StatusOK).into(&all)
	s.get("/api/v1/audit", "Authorization", bearer).want(http.StatusOK).into(&mine)
	for _, line := range mine.Items {
		if line.App != "plain" {
			t.Errorf("an app's admin sees a line of %q", line.App)
		}
	}
	if len(mine.Items) < 2 || len(all.Items) <= len(mine.Items) {
		t.Errorf("an app's admin sees %d lines, an instance admin %d", len(mine.Items), len(all.Items))
	}
	var paged []api.AuditLine
	for path := "/api/v1/audit?limit=2"; ; path = "/api/v1/audit?limit=2&cursor=" + *page.Next {
		page = auditPage{}
		s.get(path).want(http.StatusOK).into(&page)
		paged = append(paged, page.Items...)
		if page.Next == nil {
			break
		}
	}
	if len(paged) != len(all.Items) || !slices.IsSortedFunc(paged, func(a, b api.AuditLine) int { return int(b.ID - a.ID) }) {
		t.Errorf("in pages there are %d lines, and at once %d", len(paged), len(all.Items))
	}
	for filter, want := range map[string]string{
		"action=task.cancel":                    "jo@example.com task.cancel plain ok",
		"actor=Jo@example.com&outcome=refused":  "jo@example.com request.refuse  refused",
		"action=task.create&app=vision&limit=1": "admin task.create vision ok",
	} {
		page = auditPage{}
		s.get("/api/v1/audit?" + filter).want(http.StatusOK).into(&page)
		if len(page.Items) != 1 || strings.Join([]string{page.Items[0].Actor, page.Items[0].Action, page.Items[0].App, page.Items[0].Outcome}, " ") != want {
			t.Errorf("%s: %+v", filter, page.Items)
		}
	}
	page = auditPage{}
	s.get("/api/v1/audit?since=" + url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339))).want(http.StatusOK).into(&page)
	if len(page.Items) != 0 {
		t.Errorf("lines of the future: %+v", page.Items)
	}
	for _, wrong := range []string{"since=yesterday", "limit=0", "limit=x", "cursor=x"} {
		s.get("/api/v1/audit?" + wrong).problem(http.StatusUnprocessableEntity)
	}
	table, err := csv.NewReader(strings.NewReader(string(s.get("/api/v1/audit", "Accept", "text/csv").want(http.StatusOK).body))).ReadAll()
	must(t, err)
	if len(table) < len(all.Items)+1 || table[0][2] != "actor" {
		t.Errorf("the table has %d rows; its head: %v", len(table), table[0])
	}
	lines := strings.Count(string(s.get("/api/v1/audit?app=plain", "Accept", "application/jsonl").want(http.StatusOK).body), "\n")
	if lines < 2 {
		t.Errorf("%d lines of JSON", lines)
	}
}

// A session ends when it is not used, and at the latest after its life.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle, func(c *config) { c.api.SessionIdle, c.api.SessionLife = time.Hour, 90*time.Minute })
	b := s.visitor()
	b.ask(http.MethodPost, "/sign-in", url.Values{"token": {adminToken}}).want(http.StatusSeeOther)
	left := func() time.Duration {
		return time.Duration(s.count(`SELECT extract(epoch FROM expiry - now())::int FROM sessions`)) * time.Second
	}
	if d := left(); d > time.Hour || d < 59*time.Minute {
		t.Errorf("a new session lasts %s", d)
	}
	s.exec(`UPDATE sessions SET seen_at = now() - interval '2 minutes', expiry = now() + interval '5 minutes'`)
	s.engine.AccessChanged()
	b.me().want(http.StatusOK)
	if d := left(); d < 59*time.Minute {
		t.Errorf("a session that is used lasts %s more", d)
	}
	if s.count(`SELECT count(*) FROM sessions WHERE seen_at > now() - interval '1 minute'`) != 1 {
		t.Error("that it was used is not noted")
	}
	s.exec(`UPDATE sessions SET expiry = now() - interval '1 second'`)
	s.engine.AccessChanged()
	b.me().want(http.StatusUnauthorized)
}
