package jobs_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/jobs"
	"longhaul/storage"
	"longhaul/storage/files"
	"longhaul/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// patience bounds every wait for something that must come.
const patience = time.Minute

// startEngine runs an engine; stop ends it, and returns what it logged.
func startEngine(t *testing.T, pool *pgxpool.Pool, sealer *storage.Sealer, change func(*jobs.Config)) (stop func() string) {
	t.Helper()
	folder, err := files.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := jobs.Config{
		Pool: pool, Files: folder, Sealer: sealer, Kinds: jobs.NewKinds(jobs.TestKinds()...),
		Logger: slog.New(slog.NewTextHandler(&log, nil)), Process: t.Name(), SweepEvery: 20 * time.Millisecond,
	}
	change(&c)
	engine, err := jobs.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- engine.Run(ctx, patience, func() { close(ready) }) }()
	stop = sync.OnceValue(func() string {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return log.String()
	})
	t.Cleanup(func() { stop(); folder.Close() })
	select {
	case <-ready:
	case <-time.After(patience):
		t.Fatal("the engine does not get ready")
	}
	return stop
}

func testSealer(t *testing.T) *storage.Sealer {
	t.Helper()
	sealer, err := storage.NewSealer("a secret key for tests, of more than 32 characters")
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

func write(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	if err := storage.InsertAudit(t.Context(), pool, storage.Audit{Actor: "anna", Action: "task.create"}); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until a query says true.
func eventually(t *testing.T, pool *pgxpool.Pool, query string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		var yes bool
		if err := pool.QueryRow(t.Context(), query).Scan(&yes); err != nil {
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

// A running engine seals the lines that there are, its stop seals the last ones, and the log names
// the end of the trail.
func TestEngineSealsAudit(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	sealer := testSealer(t)
	stop := startEngine(t, pool, sealer, func(*jobs.Config) {})
	write(t, pool)
	eventually(t, pool, `SELECT count(*) = 1 FROM audit_seals`)
	write(t, pool)
	log := stop()
	check, err := (&storage.DB{Pool: pool}).VerifyAudit(t.Context(), storage.AuditVerify{
		Sealer: sealer, Found: func(finding string) { t.Error(finding) },
	})
	if err != nil || check.Lines != 2 || check.Unsealed != 0 {
		t.Errorf("%+v, error %v; want both lines sealed", check, err)
	}
	if want := `msg="audit: sealed" head=` + check.Head.String(); !strings.Contains(log, want) {
		t.Errorf("the log does not say %s:\n%s", want, log)
	}
}

// The sweeps put late lines into their months, and drop the months that have had their time.
func TestEngineDropsAudit(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	sealer := testSealer(t)
	old := `INSERT INTO audit (at, actor, action) VALUES (now() - interval '40 months', 'anna', 'task.create')`
	if _, err := pool.Exec(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	startEngine(t, pool, sealer, func(*jobs.Config) {})()

	removed := make(chan string, 10)
	stop := startEngine(t, pool, sealer, func(c *jobs.Config) {
		c.KeepAudit = 24 * 365 * time.Hour
		c.Removed = func(what string, count, _ int64) {
			if what == "audit_lines" && count == 1 {
				removed <- what
			}
		}
	})
	select {
	case <-removed:
	case <-time.After(patience):
		t.Error("the old line is not dropped")
	}
	log := stop()
	eventually(t, pool, `SELECT count(*) = 1 AND bool_and(action = 'audit.drop') FROM audit`)
	if strings.Contains(log, "will be tried again") || strings.Contains(log, "level=ERROR") {
		t.Errorf("complaints:\n%s", log)
	}
}
