package storage_test

import (
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
)

// unguarded takes the triggers off, as only the tables' owner and a superuser can.
const unguarded = `
	DO $$ DECLARE guarded regclass; BEGIN
		FOR guarded IN SELECT tgrelid FROM pg_trigger WHERE tgname = 'append_only' LOOP
			EXECUTE format('ALTER TABLE %s DISABLE TRIGGER append_only', guarded);
		END LOOP;
	END $$`

// tamper changes the trail behind the server's back.
func tamper(t *testing.T, db *storage.DB, sql string) {
	t.Helper()
	err := db.InTx(t.Context(), func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), unguarded+`;`+sql)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

var times = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)

// timeless puts TIME in the place of every time.
func timeless(findings []string) []string {
	for i := range findings {
		findings[i] = times.ReplaceAllString(findings[i], "TIME")
	}
	return findings
}

// sealedTrail makes a trail of ten lines in two seals: ids 1 to 5, and 7 to 11, since a
// transaction that was rolled back has drawn the sixth.
func sealedTrail(t *testing.T) (*storage.DB, *storage.AuditSealer) {
	t.Helper()
	db := auditDB(t)
	writeLines(t, db, 5)
	sealer := sealAll(t, db)
	tx := begin(t, db)
	if err := storage.InsertAudit(t.Context(), tx, storage.Audit{Actor: "nobody", Action: "task.create"}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	writeLines(t, db, 5)
	sealMore(t, sealer)
	mustHold(t, db, 10)
	return db, sealer
}

// Each change of the trail is found and told.
func TestVerifyAudit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql  string
		want []string
	}{
		"a line changed": {
			`UPDATE audit SET actor = 'mallory' WHERE id = 3`,
			[]string{"line 3 (TIME) was changed after it was sealed"},
		},
		"a time changed": {
			`UPDATE audit SET at = at + interval '1 microsecond' WHERE id = 5`,
			[]string{"line 5 (TIME) was changed after it was sealed"},
		},
		"a month changed": {
			`UPDATE audit SET at = at - interval '400 days' WHERE id = 7`,
			[]string{"line 7 (TIME) was changed after it was sealed"},
		},
		"a null made empty": {
			`UPDATE audit SET token = '' WHERE id = 11`,
			[]string{"line 11 (TIME) was changed after it was sealed"},
		},
		"text moved between columns": {
			`UPDATE audit SET object = detail, detail = object WHERE id = 2`,
			[]string{"line 2 (TIME) was changed after it was sealed"},
		},
		"a line missing":      {`DELETE FROM audit WHERE id = 7`, []string{"line 7 (TIME) is missing"}},
		"the last missing":    {`DELETE FROM audit WHERE id = 11`, []string{"line 11 (TIME) is missing"}},
		"lines missing":       {`DELETE FROM audit WHERE id IN (1, 3, 4)`, []string{"line 1 (TIME) is missing", "2 lines, from 3 (TIME) to 4 (TIME), are missing"}},
		"all missing":         {`TRUNCATE audit`, []string{"5 lines, from 1 (TIME) to 5 (TIME), are missing", "5 lines, from 7 (TIME) to 11 (TIME), are missing"}},
		"a line in a gap":     {insertLine(6), []string{"line 6 (TIME) was added after the lines around it were sealed"}},
		"a line before all":   {insertLine(0), []string{"line 0 (TIME) was added after the lines around it were sealed"}},
		"an id twice":         {insertLine(3), []string{"line 3 (TIME) was added after the lines around it were sealed"}},
		"the last id twice":   {insertLine(11), []string{"line 11 (TIME) was added after the lines around it were sealed"}},
		"neighbours swapped":  {swap(3, 4), []string{"line 3 (TIME) was line 4 when it was sealed: lines were reordered", "line 4 (TIME) was line 3 when it was sealed: lines were reordered"}},
		"swapped across":      {swap(3, 9), []string{"line 3 (TIME) was changed after it was sealed", "line 9 (TIME) was changed after it was sealed"}},
		"the first seal gone": {`DELETE FROM audit_seals WHERE seq = 1`, []string{"the seals after 0 and before 2 are missing: nothing vouches for the lines between 0 and 7"}},
		"a seal changed": {
			`UPDATE audit_seals SET sealed_at = sealed_at - interval '1 day' WHERE seq = 1`,
			[]string{"seal 1 (lines 1 to 5, TIME) was changed: nothing vouches for its lines"},
		},
		"a line and its digest changed": {
			`UPDATE audit SET actor = 'mallory' WHERE id = 9;
			UPDATE audit_seals SET digests = overlay(digests PLACING sha256('x') FROM 65) WHERE seq = 2`,
			[]string{"seal 2 (lines 7 to 11, TIME) was changed: nothing vouches for its lines"},
		},
		"a seal's hash changed": {
			`UPDATE audit_seals SET hash = sha256('x') WHERE seq = 1`,
			[]string{"seal 1 (lines 1 to 5, TIME) was changed: nothing vouches for its lines"},
		},
		"seals numbered anew": {
			`DELETE FROM audit_seals WHERE seq = 1; UPDATE audit_seals SET seq = 1 WHERE seq = 2`,
			[]string{"seal 1 (lines 7 to 11, TIME) was changed: nothing vouches for its lines"},
		},
		"a seal made up": {
			`INSERT INTO audit_seals SELECT 3, 12, 12, 1, from_at, to_at, sealed_at, digests, hash, sha256('x') FROM audit_seals WHERE seq = 2`,
			[]string{"seal 3 (lines 12 to 12, TIME) was changed: nothing vouches for its lines"},
		},
		"a month dropped by hand": {
			`DO $$ BEGIN EXECUTE format('DROP TABLE %I', to_char(now() AT TIME ZONE 'UTC', '"audit_"YYYY_MM')); END $$`,
			[]string{"5 lines, from 1 (TIME) to 5 (TIME), are missing", "5 lines, from 7 (TIME) to 11 (TIME), are missing"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, _ := sealedTrail(t)
			tamper(t, db, c.sql)
			findings, _ := verify(t, db, storage.AuditVerify{Keep: time.Hour})
			if diff := cmp.Diff(c.want, timeless(findings)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// insertLine adds a line with the given id.
func insertLine(id int) string {
	return fmt.Sprintf(`INSERT INTO audit (id, actor, action) OVERRIDING SYSTEM VALUE VALUES (%d, 'mallory', 'task.create')`, id)
}

// swap lets two lines change places.
func swap(one, other int) string {
	return fmt.Sprintf(`
		UPDATE audit AS a SET at = b.at, actor = b.actor, object = b.object
		FROM audit AS b WHERE (a.id, b.id) IN ((%d, %d), (%[2]d, %[1]d))`, one, other)
}

// The chain protects all but its end; a head that is known from elsewhere protects that.
func TestVerifyAuditHead(t *testing.T) {
	t.Parallel()
	db, sealer := sealedTrail(t)
	head := sealer.Head()
	tamper(t, db, `DELETE FROM audit_seals WHERE seq = 2; DELETE FROM audit WHERE id > 5`)
	if findings, check := verify(t, db, storage.AuditVerify{Keep: time.Hour}); len(findings) > 0 || check.Head.Seq != 1 {
		t.Errorf("without the head: %v, %+v", findings, check)
	}
	findings, _ := verify(t, db, storage.AuditVerify{Keep: time.Hour, Head: head})
	want := []string{"seal 2, which was given as the head, is gone: the trail was cut off, and now ends with seal 1"}
	if diff := cmp.Diff(want, findings); diff != "" {
		t.Errorf("cut off (-want +got):\n%s", diff)
	}
	// Grown again, with the right key, by a server that was started after it.
	writeLines(t, db, 5)
	sealAll(t, db)
	findings, _ = verify(t, db, storage.AuditVerify{Keep: time.Hour, Head: head})
	want = []string{"seal 2 is not the one that was given as the head: it and what follows were made anew"}
	if diff := cmp.Diff(want, findings); diff != "" {
		t.Errorf("grown again (-want +got):\n%s", diff)
	}
}

// A server that runs while the last seals are cut off says so: in what it returns, for the log,
// and in the trail itself, from where it cannot be removed again.
func TestSealerMissesItsHead(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"the last seal": `DELETE FROM audit_seals WHERE seq = 2; UPDATE audit SET actor = 'mallory' WHERE id = 9`,
		"every seal":    `DELETE FROM audit_seals`,
		"made anew":     `UPDATE audit_seals SET hash = sha256('x') WHERE seq = 2`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, sealer := sealedTrail(t)
			head := sealer.Head()
			tamper(t, db, sql)
			writeLines(t, db, 1)
			_, _, err := sealer.Seal(t.Context())
			broken, ok := errors.AsType[*storage.AuditBrokenError](err)
			if !ok || broken.Head.String() != head.String() {
				t.Fatalf("error %v, want that %s is gone", err, head)
			}
			sealMore(t, sealer)
			findings, check := verify(t, db, storage.AuditVerify{Keep: time.Hour})
			want := "on TIME the server found that the seal " + head.String() + ", which it had seen, was gone or changed"
			if len(findings) == 0 || timeless(findings)[0] != want || check.Unsealed != 0 {
				t.Errorf("findings %q, %d lines not sealed", findings, check.Unsealed)
			}
		})
	}
}

// The trail is checked as it was at one moment, while it grows and is sealed.
func TestVerifyAuditWhileWriting(t *testing.T) {
	t.Parallel()
	db, sealer := sealedTrail(t)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if err := storage.InsertAudit(t.Context(), db.Pool, storage.Audit{Actor: "anna", Action: "task.create"}); err != nil {
				t.Error(err)
			}
			if _, _, err := sealer.Seal(t.Context()); err != nil {
				t.Error(err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 50 {
		findings, _ := verify(t, db, storage.AuditVerify{Keep: time.Hour})
		if len(findings) > 0 {
			t.Fatal(findings)
		}
	}
	close(stop)
	<-done
	for range 65 {
		writeLines(t, db, 1)
		sealMore(t, sealer)
	}
	if findings, check := verify(t, db, storage.AuditVerify{Keep: time.Hour}); len(findings) > 0 || check.Seals < 65 {
		t.Errorf("%d seals, want more than are read at once; findings %v", check.Seals, findings)
	}
}
