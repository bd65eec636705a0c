package storage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
)

func auditSecret(t *testing.T) *storage.Sealer {
	t.Helper()
	sealer, err := storage.NewSealer(strings.Repeat("secret", 6))
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

// sealAll seals the lines there are, as a server does that has just started.
func sealAll(t *testing.T, db *storage.DB) *storage.AuditSealer {
	t.Helper()
	sealer := storage.NewAuditSealer(db, auditSecret(t))
	sealMore(t, sealer)
	return sealer
}

// sealMore seals the lines there are, with the sealer of a running server.
func sealMore(t *testing.T, sealer *storage.AuditSealer) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		lines, waiting, err := sealer.Seal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if lines == 0 && !waiting {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the sealer waits for ever")
		}
	}
}

func verify(t *testing.T, db *storage.DB, how storage.AuditVerify) ([]string, storage.AuditCheck) {
	t.Helper()
	var findings []string
	how.Sealer = auditSecret(t)
	how.Found = func(finding string) { findings = append(findings, finding) }
	check, err := db.VerifyAudit(t.Context(), how)
	if err != nil {
		t.Fatal(err)
	}
	if check.Findings != int64(len(findings)) {
		t.Errorf("%d findings counted, %d told", check.Findings, len(findings))
	}
	return findings, check
}

// mustHold verifies the trail: all of it is sealed, so many lines, and nothing is wrong.
func mustHold(t *testing.T, db *storage.DB, lines int64) storage.AuditCheck {
	t.Helper()
	findings, check := verify(t, db, storage.AuditVerify{Keep: time.Hour})
	for _, finding := range findings {
		t.Error(finding)
	}
	if check.Lines != lines || check.Unsealed != 0 {
		t.Errorf("%d lines are checked and %d not sealed, want %d and 0", check.Lines, check.Unsealed, lines)
	}
	return check
}

func TestSealAudit(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	sealer := storage.NewAuditSealer(db, auditSecret(t))
	if n, waiting, err := sealer.Seal(t.Context()); n != 0 || waiting || err != nil {
		t.Errorf("an empty trail: %d lines, waiting %v, error %v", n, waiting, err)
	}
	if diff := cmp.Diff(storage.AuditCheck{Head: storage.AuditHead{Hash: make([]byte, 32)}}, mustHold(t, db, 0)); diff != "" {
		t.Errorf("an empty trail (-want +got):\n%s", diff)
	}
	exec(t, db, `INSERT INTO audit (actor, action, app) SELECT 'anna', 'task.create', 'vision' FROM generate_series(1, 2500)`)
	if n, waiting, err := sealer.Seal(t.Context()); n != 2500 || waiting || err != nil {
		t.Errorf("%d lines, waiting %v, error %v", n, waiting, err)
	}
	writeLines(t, db, 1)
	if _, check := verify(t, db, storage.AuditVerify{}); check.Lines != 2500 || check.Unsealed != 1 || check.UnsealedSince.IsZero() {
		t.Errorf("with a new line: %+v", check)
	}
	sealMore(t, sealer)
	check := mustHold(t, db, 2501)
	if check.Seals != 4 || check.Head.Seq != 4 {
		t.Errorf("%d seals, head %s; want 4", check.Seals, check.Head)
	}
	if diff := cmp.Diff(sealer.Head(), check.Head); diff != "" {
		t.Errorf("head (-sealer +verify):\n%s", diff)
	}
	if n, _, err := sealer.Seal(t.Context()); n != 0 || err != nil {
		t.Errorf("nothing new: %d lines, error %v", n, err)
	}
}

func TestAuditHead(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("0f", 32)
	head, err := storage.ParseAuditHead("12:" + hash)
	if err != nil || head.Seq != 12 || head.String() != "12:"+hash {
		t.Errorf("%v, error %v", head, err)
	}
	for _, text := range []string{"", "12", "12:", "12:0f", "x:" + hash, "12:" + hash[1:] + "g", "-1:" + hash} {
		if head, err := storage.ParseAuditHead(text); err == nil {
			t.Errorf("%q: no error, %v", text, head)
		}
	}
}

// begin opens a transaction that the test ends by itself.
func begin(t *testing.T, db *storage.DB) pgx.Tx {
	t.Helper()
	tx, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// A line that was begun before another and committed after it is sealed before it.
func TestSealWaitsForWriters(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	early := begin(t, db)
	if err := storage.InsertAudit(t.Context(), early, storage.Audit{Actor: "early", Action: "task.create"}); err != nil {
		t.Fatal(err)
	}
	writeLines(t, db, 1)
	sealer := storage.NewAuditSealer(db, auditSecret(t))
	for range 3 {
		if n, waiting, err := sealer.Seal(t.Context()); n != 0 || !waiting || err != nil {
			t.Fatalf("%d lines, waiting %v, error %v while one is under way", n, waiting, err)
		}
	}
	// Who begins after the cut is chosen is not waited for.
	late := begin(t, db)
	if err := storage.InsertAudit(t.Context(), late, storage.Audit{Actor: "late", Action: "task.create"}); err != nil {
		t.Fatal(err)
	}
	if err := early.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, waiting, err := sealer.Seal(t.Context()); n != 2 || waiting || err != nil {
		t.Fatalf("%d lines, waiting %v, error %v; want the two", n, waiting, err)
	}
	if err := late.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustHold(t, db, 2)
}

// Between drawing an id and having a transaction's number, a writer can be held up for long; it is
// waited for all the same.
func TestSealWaitsForWritersWithoutNumber(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	writeLines(t, db, 1) // the first id of 32, or after a checkpoint, gives its writer a number; the next has none
	blocker := begin(t, db)
	month := time.Now().UTC().Format("audit_2006_01")
	if _, err := blocker.Exec(t.Context(), `LOCK TABLE `+month+` IN SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		written <- storage.InsertAudit(context.WithoutCancel(t.Context()), db.Pool, storage.Audit{Actor: "held up", Action: "task.create"})
	}()
	waitFor(t, db, `SELECT last_value = 2 FROM audit_id_seq`)
	exec(t, db, `INSERT INTO audit (at, actor, action) VALUES (now() + interval '1 month', 'next', 'task.create')`)

	sealer := storage.NewAuditSealer(db, auditSecret(t))
	if n, waiting, err := sealer.Seal(t.Context()); n != 0 || !waiting || err != nil {
		t.Errorf("%d lines, waiting %v, error %v while one is under way", n, waiting, err)
	}
	if err := blocker.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	sealMore(t, sealer)
	mustHold(t, db, 3)
}

// waitFor waits until a query says true.
func waitFor(t *testing.T, db *storage.DB, query string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		var yes bool
		if err := db.Pool.QueryRow(t.Context(), query).Scan(&yes); err != nil {
			t.Fatal(err)
		}
		if yes {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", query)
		}
	}
}

// Two processes seal while sixteen writers commit out of order: no line is missed and none is out
// of place, whoever seals.
func TestSealWhileWriting(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	const writers, each = 16, 60
	var writing, sealing sync.WaitGroup
	var written, sealed atomic.Int64
	stop := make(chan struct{})
	for range 2 {
		sealer := storage.NewAuditSealer(db, auditSecret(t))
		sealing.Go(func() {
			for {
				n, _, err := sealer.Seal(t.Context())
				if err != nil {
					t.Error(err)
				}
				sealed.Add(int64(n))
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for w := range writers {
		random := rand.New(rand.NewPCG(uint64(w), 1))
		writing.Go(func() {
			for i := range each {
				if writeSlowly(t, db, random, fmt.Sprint(w, ".", i)) {
					written.Add(1)
				}
			}
		})
	}
	writing.Wait()
	during := sealed.Load()
	close(stop)
	sealing.Wait()
	sealAll(t, db)
	check := mustHold(t, db, written.Load())
	t.Logf("%d lines in %d seals, %d lines while they were written", check.Lines, check.Seals, during)
	if during == 0 {
		t.Error("nothing was sealed while lines were written")
	}
}

// writeSlowly writes a line and commits it some time later, or not at all.
func writeSlowly(t *testing.T, db *storage.DB, random *rand.Rand, object string) (kept bool) {
	errDropped := errors.New("rolled back")
	err := db.InTx(t.Context(), func(tx pgx.Tx) error {
		if err := storage.InsertAudit(t.Context(), tx, storage.Audit{Actor: "anna", Action: "task.create", Object: object}); err != nil {
			return err
		}
		if _, err := tx.Exec(t.Context(), `SELECT pg_sleep($1)`, random.ExpFloat64()*0.01); err != nil {
			return err
		}
		if random.IntN(5) == 0 {
			return errDropped
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDropped) {
		t.Error(err)
	}
	return err == nil
}

// The key is in no clear text in the database, and is not made anew while there are seals.
func TestAuditKey(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	writeLines(t, db, 1)
	sealAll(t, db)
	other, err := storage.NewSealer(strings.Repeat("another", 6))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storage.OpenAuditKey(t.Context(), db.Pool, other); err == nil {
		t.Error("opened with another key")
	}
	key, err := storage.OpenAuditKey(t.Context(), db.Pool, auditSecret(t))
	if text := fmt.Sprintf("%v %+v %s", key, key, key); err != nil || text != "[key] [key] [key]" {
		t.Errorf("printed %q, error %v", text, err)
	}
	exec(t, db, `DELETE FROM secrets`)
	writeLines(t, db, 1)
	_, _, err = storage.NewAuditSealer(db, auditSecret(t)).Seal(t.Context())
	if err == nil || !strings.Contains(err.Error(), "restore that row") {
		t.Errorf("sealed without the key: %v", err)
	}
	findings, _ := verify(t, db, storage.AuditVerify{})
	want := []string{"the key of the seals is gone from the table secrets: none of them can be checked"}
	if diff := cmp.Diff(want, findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// The very first line is sealed too, and one that comes after a while with nothing to do.
func TestSealAfterNothing(t *testing.T) {
	t.Parallel()
	db := auditDB(t)
	sealer := storage.NewAuditSealer(db, auditSecret(t))
	for lines := int64(1); lines <= 3; lines++ {
		for range 3 {
			if n, waiting, err := sealer.Seal(t.Context()); n != 0 || waiting || err != nil {
				t.Fatalf("%d lines, waiting %v, error %v with nothing to do", n, waiting, err)
			}
		}
		writeLines(t, db, 1)
		sealMore(t, sealer)
		mustHold(t, db, lines)
	}
}
