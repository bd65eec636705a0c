package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"longhaul/storage"
	"longhaul/storage/storagetest"
)

func auditDB(t *testing.T) *storage.DB {
	t.Helper()
	pool, _ := storagetest.DB(t)
	return &storage.DB{Pool: pool}
}

// writeLine writes a line as the server does.
func writeLine(t *testing.T, db *storage.DB, a storage.Audit) {
	t.Helper()
	if err := storage.InsertAudit(t.Context(), db.Pool, a); err != nil {
		t.Fatal(err)
	}
}

// writeLines writes n lines that differ, of the app vision.
func writeLines(t *testing.T, db *storage.DB, n int) {
	t.Helper()
	for i := range n {
		writeLine(t, db, storage.Audit{Actor: "anna", Action: "task.create", App: "vision", Object: fmt.Sprint("task ", i)})
	}
}

func exec(t *testing.T, db *storage.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestAuditLines(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	writeLine(t, db, storage.Audit{Actor: "anna", Action: "app.create", App: "vision", Object: "vision"})
	writeLine(t, db, storage.Audit{
		Actor: "bert", Token: "nightly", Action: "task.create", App: "sales", Object: "t1", Address: "192.0.2.1", RequestID: "r1",
	})
	writeLine(t, db, storage.Audit{Actor: "carl", Action: "session.create", Outcome: "refused", Detail: "not in an allowed group"})
	writeLine(t, db, storage.Audit{Actor: "anna", Action: "task.cancel", App: "vision", Object: "t2", Outcome: "failed"})

	lines, err := db.AuditLines(t.Context(), storage.AuditFilter{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range lines {
		if age := time.Since(lines[i].At); age < 0 || age > time.Minute {
			t.Errorf("line %d is of %v", lines[i].ID, lines[i].At)
		}
		lines[i].At = time.Time{}
	}
	want := []storage.AuditLine{
		{ID: 4, Actor: "anna", Action: "task.cancel", App: "vision", Object: "t2", Outcome: "failed"},
		{ID: 3, Actor: "carl", Action: "session.create", Outcome: "refused", Detail: "not in an allowed group"},
		{ID: 2, Actor: "bert", Token: "nightly", Action: "task.create", App: "sales", Object: "t1", Outcome: "ok", Address: "192.0.2.1", RequestID: "r1"},
		{ID: 1, Actor: "anna", Action: "app.create", App: "vision", Object: "vision", Outcome: "ok"},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("all lines (-want +got):\n%s", diff)
	}
	for name, c := range map[string]struct {
		filter storage.AuditFilter
		want   []int64
	}{
		"limit":            {storage.AuditFilter{Limit: 2}, []int64{4, 3}},
		"next page":        {storage.AuditFilter{Limit: 2, Before: 3}, []int64{2, 1}},
		"app":              {storage.AuditFilter{App: "vision"}, []int64{4, 1}},
		"actor":            {storage.AuditFilter{Actor: "bert"}, []int64{2}},
		"action":           {storage.AuditFilter{Action: "session.create"}, []int64{3}},
		"frequent action":  {storage.AuditFilter{Action: "task.create"}, []int64{2}},
		"since":            {storage.AuditFilter{Since: time.Now().Add(time.Hour)}, nil},
		"until":            {storage.AuditFilter{Until: time.Now().Add(time.Hour), Actor: "anna"}, []int64{4, 1}},
		"seen apps":        {storage.AuditFilter{Apps: []string{"vision", "sales", "vision"}}, []int64{4, 2, 1}},
		"seen apps, paged": {storage.AuditFilter{Apps: []string{"vision", "sales"}, Before: 4, Limit: 1}, []int64{2}},
		"another's app":    {storage.AuditFilter{Apps: []string{"vision"}, App: "sales"}, nil},
		"no app":           {storage.AuditFilter{Apps: []string{}}, nil},
	} {
		if c.filter.Limit == 0 {
			c.filter.Limit = 10
		}
		lines, err := db.AuditLines(t.Context(), c.filter)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []int64
		for _, line := range lines {
			got = append(got, line.ID)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAllAuditLines(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	const lines = 2500 // more than two pages
	exec(t, db, `INSERT INTO audit (actor, action, app) SELECT 'anna', 'task.create', 'vision' FROM generate_series(1, $1)`, lines)
	writeLine(t, db, storage.Audit{Actor: "anna", Action: "app.update", App: "sales"})
	for _, apps := range [][]string{nil, {"vision", "sales"}} {
		var last int64
		for line, err := range db.AllAuditLines(t.Context(), storage.AuditFilter{Apps: apps}) {
			if err != nil {
				t.Fatal(err)
			}
			if line.ID != last+1 {
				t.Fatalf("line %d after line %d", line.ID, last)
			}
			last = line.ID
		}
		if last != lines+1 {
			t.Errorf("apps %v: ended after line %d", apps, last)
		}
	}
	for line, err := range db.AllAuditLines(t.Context(), storage.AuditFilter{}) {
		if err != nil || line.ID == 3 {
			break
		}
	}
}

// A line can be added, and nothing else can be done to one, not even by the superuser that the
// private Postgres connects as, nor to a part of the trail, nor to its seals.
func TestAuditOnlyGrows(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	writeLines(t, db, 3)
	sealAll(t, db)
	month := time.Now().UTC().Format("audit_2006_01")
	for _, table := range []string{"audit", month, "audit_default", "audit_seals"} {
		column := "actor = 'nobody'"
		if table == "audit_seals" {
			column = "lines = 1"
		}
		for _, sql := range []string{
			"UPDATE " + table + " SET " + column, "DELETE FROM " + table, "TRUNCATE " + table, "TRUNCATE " + table + " CASCADE",
		} {
			_, err := db.Pool.Exec(t.Context(), sql)
			if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" || !strings.Contains(pg.Message, "the audit trail only grows") {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
	_, err := db.Pool.Exec(t.Context(), `
		SET session_replication_role = replica;
		UPDATE audit SET actor = 'nobody'`)
	if err == nil {
		t.Error("changed as a replica")
	}
	mustHold(t, db, 3)
}

// Every month made later is guarded as the first ones are.
func TestAuditMonthsAreGuarded(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	exec(t, db, `INSERT INTO audit (at, actor, action) VALUES ('2031-05-15', 'anna', 'task.create')`)
	if _, err := db.AddAuditMonths(t.Context()); err != nil {
		t.Fatal(err)
	}
	var open []string
	err := db.Pool.QueryRow(t.Context(), `
		SELECT coalesce(array_agg(i.inhrelid::regclass::text), '{}') FROM pg_inherits i
		WHERE i.inhparent = 'audit'::regclass AND NOT EXISTS (
			SELECT FROM pg_trigger t WHERE t.tgrelid = i.inhrelid AND t.tgname = 'append_only' AND t.tgenabled = 'A')`).Scan(&open)
	if err != nil || len(open) > 0 {
		t.Errorf("without the trigger: %v, %v", open, err)
	}
	err = db.Pool.QueryRow(t.Context(), `
		SELECT coalesce(array_agg(c.oid::regclass || ' ' || a.privilege_type), '{}')
		FROM pg_class c CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS a
		WHERE c.relname ~ '^audit(_seals|_default|_\d{4}_\d\d)?$' AND c.relkind IN ('r', 'p')
			AND a.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE')`).Scan(&open)
	if err != nil || len(open) > 0 {
		t.Errorf("granted: %v, %v", open, err)
	}
}

func TestWriteAudit(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 16, 20, 0, 5000, time.UTC)
	lines := []storage.AuditLine{
		{ID: 7, At: at, Actor: "=HYPERLINK(\"http://evil\")", Action: "task.create", App: "-1", Object: "@x", Outcome: "ok", Detail: "\tone, \"two\"\nthree", Token: "+2"},
		{ID: 8, At: at, Actor: "änne <b>", Action: "task.cancel", App: "a=b", Outcome: "refused", Detail: "\r"},
	}
	for format, want := range map[string]string{
		"jsonl": `{"id":7,"at":"2026-11-21T16:20:00.000005Z","actor":"=HYPERLINK(\"http://evil\")","token":"+2","action":"task.create","app":"-1","object":"@x","outcome":"ok","detail":"\tone, \"two\"\nthree","address":"","request_id":""}` + "\n" +
			`{"id":8,"at":"2026-11-21T16:20:00.000005Z","actor":"änne <b>","token":"","action":"task.cancel","app":"a=b","object":"","outcome":"refused","detail":"\r","address":"","request_id":""}` + "\n",
		"csv": "id,at,actor,token,action,app,object,outcome,detail,address,request_id\r\n" +
			"7,2026-11-21T16:20:00.000005Z,\"'=HYPERLINK(\"\"http://evil\"\")\",'+2,task.create,'-1,'@x,ok,\"'\tone, \"\"two\"\"\r\nthree\",,\r\n" +
			"8,2026-11-21T16:20:00.000005Z,änne <b>,,task.cancel,a=b,,refused,\"'\",,\r\n",
	} {
		var out bytes.Buffer
		if err := storage.WriteAudit(&out, format, given(lines, nil)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
		broken := errors.New("connection lost")
		if err := storage.WriteAudit(&out, format, given(lines, broken)); !errors.Is(err, broken) {
			t.Errorf("%s: error %v, want that of the lines", format, err)
		}
	}
	if err := storage.WriteAudit(new(bytes.Buffer), "xml", given(lines, nil)); err == nil {
		t.Error("no error for an unknown format")
	}
}

// given yields lines, and then the error if there is one.
func given(lines []storage.AuditLine, err error) iter.Seq2[storage.AuditLine, error] {
	return func(yield func(storage.AuditLine, error) bool) {
		for _, line := range lines {
			if !yield(line, nil) {
				return
			}
		}
		if err != nil {
			yield(storage.AuditLine{}, err)
		}
	}
}
