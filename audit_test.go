package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"longhaul/storage"
	"longhaul/storage/storagetest"
)

// auditCommands makes a trail of three sealed lines, and returns the flags that lead to it.
func auditCommands(t *testing.T) (db *storage.DB, flags []string) {
	t.Helper()
	pool, url := storagetest.DB(t)
	db = &storage.DB{Pool: pool}
	const secret = "a secret key for tests, of more than 32 characters"
	sealer, err := storage.NewSealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, app := range []string{"vision", "sales", ""} {
		line := storage.Audit{Actor: "=anna", Action: "app.update", App: app, Object: app}
		if err := storage.InsertAudit(t.Context(), pool, line); err != nil {
			t.Fatal(err)
		}
	}
	if n, _, err := storage.NewAuditSealer(db, sealer).Seal(t.Context()); n != 3 || err != nil {
		t.Fatalf("%d lines sealed, error %v", n, err)
	}
	return db, []string{"--data=" + t.TempDir(), "--database-url=" + url, "--secret-key=" + secret}
}

func TestAuditVerifyCommand(t *testing.T) {
	t.Parallel()
	db, flags := auditCommands(t)
	verify := func(more ...string) (string, error) {
		return output(t, append(append([]string{"audit", "verify"}, flags...), more...)...)
	}
	text, err := verify()
	_, head, _ := strings.Cut(text, "head ")
	head = strings.TrimSpace(head)
	if want := fmt.Sprintf("3 lines checked against 1 seal\nhead %s\n", head); err != nil || text != want || !strings.HasPrefix(head, "1:") {
		t.Errorf("printed %q, error %v; want %q", text, err, want)
	}
	if text, err := verify("--head=" + head); err != nil {
		t.Errorf("printed %q, error %v", text, err)
	}
	other := "2" + strings.TrimPrefix(head, "1")
	if text, err := verify("--head=" + other); err == nil || !strings.Contains(text, "was cut off") {
		t.Errorf("a head that is not there: printed %q, error %v", text, err)
	}
	if _, err := verify("--head=x"); err == nil || !strings.Contains(err.Error(), "--head") {
		t.Errorf("a head that is none: error %v", err)
	}
	_, err = db.Pool.Exec(t.Context(), `
		DO $$ DECLARE guarded regclass; BEGIN
			FOR guarded IN SELECT tgrelid FROM pg_trigger WHERE tgname = 'append_only' LOOP
				EXECUTE format('ALTER TABLE %s DISABLE TRIGGER append_only', guarded);
			END LOOP;
		END $$;
		UPDATE audit SET actor = 'mallory' WHERE id = 2; DELETE FROM audit WHERE id = 3`)
	if err != nil {
		t.Fatal(err)
	}
	text, err = verify()
	if err == nil || err.Error() != "the audit trail is not what was sealed: 2 findings" ||
		!strings.Contains(text, "line 2 (") || !strings.Contains(text, ") was changed after it was sealed\nline 3 (") {
		t.Errorf("printed %q, error %v", text, err)
	}
}

func TestAuditExportCommand(t *testing.T) {
	t.Parallel()
	_, flags := auditCommands(t)
	flags = flags[:2] // it needs no key
	for _, c := range []struct {
		flags []string
		lines int
		has   string
	}{
		{nil, 3, `"actor":"=anna"`},
		{[]string{"--format=csv"}, 4, ",'=anna,"},
		{[]string{"--app=vision"}, 1, `"app":"vision"`},
		{[]string{"--app=vision", "--app=sales", "--since=2026-01-01", "--until=2200-01-01T00:00:00Z"}, 2, `"app":"sales"`},
		{[]string{"--since=2200-01-01"}, 0, ""},
	} {
		text, err := output(t, append(append([]string{"audit", "export"}, flags...), c.flags...)...)
		if err != nil || strings.Count(text, "\n") != c.lines || !strings.Contains(text, c.has) {
			t.Errorf("%v: printed %q, error %v; want %d lines with %s", c.flags, text, err, c.lines, c.has)
		}
	}
	_, err := output(t, append([]string{"audit", "export", "--since=yesterday", "--until=later"}, flags...)...)
	if err == nil || !strings.Contains(err.Error(), "--since") || !strings.Contains(err.Error(), "--until") {
		t.Errorf("error %v", err)
	}
}

// A command that only looks makes no database where there is none.
func TestAuditWithoutDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := output(t, "audit", "verify", "--data="+dir); err == nil || !strings.Contains(err.Error(), "there is no database") {
		t.Errorf("error %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, error %v", left, err)
	}
}

func TestMigrateGrantsToRole(t *testing.T) {
	t.Parallel()
	_, url := storagetest.DB(t)
	_, err := output(t, "migrate", "--data="+t.TempDir(), "--database-url="+url, "--grant-to=lh nobody")
	if err == nil || !strings.Contains(err.Error(), `role lh nobody`) || !strings.Contains(err.Error(), "createuser") {
		t.Errorf("error %v", err)
	}
	if _, err := output(t, "migrate", "--data="+t.TempDir(), "--audit-keep=-1h"); err == nil {
		t.Error("a time below 0 is taken")
	}
}
