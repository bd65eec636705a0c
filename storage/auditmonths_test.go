package storage_test

import (
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"longhaul/migrations"
	"longhaul/storage"
	"longhaul/storage/storagetest"
)

// places says, for each line by its id, which partition it is in.
func places(t *testing.T, db *storage.DB) map[int64]string {
	t.Helper()
	rows, err := db.Pool.Query(t.Context(), `SELECT id, tableoid::regclass::text FROM audit`)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[int64]string)
	var id int64
	var partition string
	_, err = pgx.ForEachRow(rows, []any{&id, &partition}, func() error {
		all[id] = partition
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func addMonths(t *testing.T, db *storage.DB) (moved int64) {
	t.Helper()
	moved, err := db.AddAuditMonths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return moved
}

// Lines lie in their month, by UTC to the microsecond; those of a month that nobody made are taken
// in all the same, and moved later with what vouches for them.
func TestAuditMonths(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	now := time.Now().UTC()
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	far := time.Date(2031, 5, 1, 0, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{
		month, month.AddDate(0, 1, 0).Add(-time.Microsecond), month.AddDate(0, 1, 0), month.AddDate(0, 3, 0).Add(-time.Microsecond),
		month.AddDate(0, 3, 0), far.Add(-time.Microsecond), far,
	} {
		exec(t, db, `SET LOCAL timezone = 'Pacific/Auckland'`)
		exec(t, db, `INSERT INTO audit (at, actor, action) VALUES ($1, 'anna', 'task.create')`, at)
	}
	name := func(months int) string { return month.AddDate(0, months, 0).Format("audit_2006_01") }
	want := map[int64]string{
		1: name(0), 2: name(0), 3: name(1), 4: name(2), 5: "audit_default", 6: "audit_default", 7: "audit_default",
	}
	if diff := cmp.Diff(want, places(t, db)); diff != "" {
		t.Errorf("as they were written (-want +got):\n%s", diff)
	}
	sealAll(t, db)
	if moved := addMonths(t, db); moved != 3 {
		t.Errorf("%d lines moved, want 3", moved)
	}
	want[5], want[6], want[7] = name(3), "audit_2031_04", "audit_2031_05"
	if diff := cmp.Diff(want, places(t, db)); diff != "" {
		t.Errorf("as they were moved (-want +got):\n%s", diff)
	}
	writeLines(t, db, 1)
	if moved := addMonths(t, db); moved != 0 {
		t.Errorf("%d lines moved again", moved)
	}
	sealAll(t, db)
	mustHold(t, db, 8)
}

// Making months does not wait behind somebody who reads for long, and stops nobody from writing.
func TestAuditMonthsDoNotWait(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	exec(t, db, `INSERT INTO audit (at, actor, action) VALUES ('2031-05-15', 'anna', 'task.create')`)
	reader := begin(t, db)
	var n int
	if err := reader.QueryRow(t.Context(), `SELECT count(*) FROM audit`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if _, err := db.AddAuditMonths(t.Context()); err == nil {
		t.Error("months were made under a reader's lock")
	}
	writeLines(t, db, 1)
	if err := reader.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if moved := addMonths(t, db); moved != 1 {
		t.Errorf("%d lines moved, want 1", moved)
	}
}

// Whole months are dropped, once their time is over and their lines are sealed; the trail can be
// verified as before, and tells what it lost and when.
func TestDropAuditMonths(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	now := time.Now().UTC()
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	// Old and new ones mixed, as no server would write them: seals that lose some of their lines.
	for i := range 30 {
		exec(t, db, `INSERT INTO audit (at, actor, action, object) VALUES ($1, 'anna', 'task.create', $2)`,
			month.AddDate(0, -(i%3)*15, 5), fmt.Sprint(i))
	}
	addMonths(t, db)
	const keep = 20 * 31 * 24 * time.Hour
	drop := func() int64 {
		t.Helper()
		lines, err := db.DropAuditMonths(t.Context(), keep)
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
	if lines := drop(); lines != 0 {
		t.Errorf("%d lines dropped before they were sealed", lines)
	}
	sealAll(t, db)
	if lines := drop(); lines != 10 {
		t.Errorf("%d lines dropped, want the 10 of 30 months ago", lines)
	}
	if lines := drop(); lines != 0 {
		t.Errorf("%d lines dropped again", lines)
	}
	writeLines(t, db, 1)
	sealAll(t, db)

	findings, check := verify(t, db, storage.AuditVerify{Keep: keep})
	end := month.AddDate(0, -29, 0)
	if len(findings) > 0 || check.Lines != 22 || check.Dropped != 10 || !check.DroppedBefore.Equal(end) || now.Sub(check.DroppedAt) > time.Hour {
		t.Errorf("%+v, findings %v; want 22 lines, and 10 dropped from before %v", check, findings, end)
	}
	lines, err := db.AuditLines(t.Context(), storage.AuditFilter{Action: "audit.drop", Limit: 10})
	if err != nil || len(lines) != 1 || lines[0].Actor != "longhaul" || lines[0].Object != month.AddDate(0, -30, 0).Format("2006-01") ||
		lines[0].Detail != "10 lines, ids 3 to 30" {
		t.Errorf("told as %+v, error %v", lines, err)
	}

	// What is dropped sooner than it should be is found, as is what is gone without a word.
	for name, c := range map[string]struct{ how, want string }{
		"for ever": {"0s", "although lines are to be kept for ever"},
		"longer":   {"87600h", "although they were to be kept until TIME"},
	} {
		keep, err := time.ParseDuration(c.how)
		if err != nil {
			t.Fatal(err)
		}
		findings, _ := verify(t, db, storage.AuditVerify{Keep: keep})
		want := []string{"the lines of " + month.AddDate(0, -30, 0).Format("2006-01") + " were dropped on TIME, " + c.want}
		if diff := cmp.Diff(want, timeless(findings)); diff != "" {
			t.Errorf("kept %s (-want +got):\n%s", name, diff)
		}
	}
	tamper(t, db, `DROP TABLE `+month.AddDate(0, -15, 0).Format("audit_2006_01"))
	findings, _ = verify(t, db, storage.AuditVerify{Keep: keep})
	if len(findings) != 10 {
		t.Errorf("findings %v, want 10 missing lines", findings)
	}
}

// The lines of a database from before the trail was sealed keep their ids and lie in their months.
func TestAuditMigration(t *testing.T) {
	t.Parallel()
	before := fstest.MapFS{}
	for _, name := range []string{"0001_tasks.sql", "0002_access.sql"} {
		text, err := migrations.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		before[name] = &fstest.MapFile{Data: text}
	}
	pool := emptyPool(t, storagetest.EmptyURL(t))
	db := &storage.DB{Pool: pool}
	if err := storage.Migrate(t.Context(), pool, before, testLogger(t)); err != nil {
		t.Fatal(err)
	}
	exec(t, db, `
		INSERT INTO audit (at, actor, action, app, object, address, request_id) VALUES
			('2026-02-03T04:05:06.000007Z', 'anna', 'app.create', 'vision', 'vision', '192.0.2.1', 'r1');
		INSERT INTO audit (at, actor, action) VALUES ('2026-03-01T00:00:00Z', 'anna', 'task.create')`)
	if err := storage.Migrate(t.Context(), pool, migrations.Files, testLogger(t)); err != nil {
		t.Fatal(err)
	}
	writeLines(t, db, 1)
	lines, err := db.AuditLines(t.Context(), storage.AuditFilter{Until: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC), Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	want := []storage.AuditLine{
		{ID: 2, At: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Actor: "anna", Action: "task.create", Outcome: "ok"},
		{
			ID: 1, At: time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC), Actor: "anna", Action: "app.create", App: "vision",
			Object: "vision", Outcome: "ok", Address: "192.0.2.1", RequestID: "r1",
		},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("lines from before (-want +got):\n%s", diff)
	}
	wantPlaces := map[int64]string{1: "audit_2026_02", 2: "audit_2026_03", 3: time.Now().UTC().Format("audit_2006_01")}
	if diff := cmp.Diff(wantPlaces, places(t, db)); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
	sealAll(t, db)
	mustHold(t, db, 3)
}
