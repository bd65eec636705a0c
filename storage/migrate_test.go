package storage_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/migrations"
	"longhaul/storage"
	"longhaul/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// fruit is a schema of two steps; the second refers to River's table, and has
// what a template would stumble over.
func fruit() fstest.MapFS {
	return fstest.MapFS{
		"0001_fruit.sql": {Data: []byte("CREATE TABLE fruit (name text PRIMARY KEY);\nINSERT INTO fruit VALUES ('{{quince}}');")},
		"0002_job.sql":   {Data: []byte("ALTER TABLE fruit ADD job bigint REFERENCES river_job (id);")},
	}
}

func emptyPool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func testLogger(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func pendingNames(t *testing.T, pool *pgxpool.Pool, files fs.FS) []string {
	t.Helper()
	pending, err := storage.PendingMigrations(t.Context(), pool, files)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, m := range pending {
		if strings.TrimSpace(m.SQL) == "" {
			t.Errorf("migration %q has no SQL", m.Name)
		}
		names = append(names, m.Name)
	}
	return names
}

func count(t *testing.T, pool *pgxpool.Pool, query string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	pool, logger, files := emptyPool(t, storagetest.EmptyURL(t)), testLogger(t), fruit()

	before := pendingNames(t, pool, files)
	if len(before) < 3 || before[0] != "river 001 create river migration" {
		t.Errorf("pending before: %v: want River's first", before)
	}
	if diff := cmp.Diff([]string{"0001_fruit.sql", "0002_job.sql"}, before[len(before)-2:]); diff != "" {
		t.Errorf("pending before, ours (-want +got):\n%s", diff)
	}
	if n := count(t, pool, `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`); n != 0 {
		t.Errorf("listing made %d tables", n)
	}

	for range 2 { // the second has nothing to do
		if err := storage.Migrate(t.Context(), pool, files, logger); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{}, pendingNames(t, pool, files)); diff != "" {
		t.Errorf("pending after (-want +got):\n%s", diff)
	}
	if n := count(t, pool, `SELECT count(*) FROM fruit WHERE name = '{{quince}}' AND job IS NULL`); n != 1 {
		t.Errorf("%d rows of fruit, want 1", n)
	}

	files["0003_more.sql"] = &fstest.MapFile{Data: []byte("INSERT INTO fruit VALUES ('medlar');")}
	if diff := cmp.Diff([]string{"0003_more.sql"}, pendingNames(t, pool, files)); diff != "" {
		t.Errorf("pending after an upgrade (-want +got):\n%s", diff)
	}
	if err := storage.Migrate(t.Context(), pool, files, logger); err != nil {
		t.Fatal(err)
	}
	if n := count(t, pool, `SELECT count(*) FROM fruit`); n != 2 {
		t.Errorf("%d rows of fruit, want 2", n)
	}
}

// A pool of one connection is enough: nothing waits for a second.
func TestMigrateOneConnection(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig(storagetest.EmptyURL(t))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := storage.Migrate(t.Context(), pool, fruit(), testLogger(t)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{}, pendingNames(t, pool, fruit())); diff != "" {
		t.Errorf("pending after (-want +got):\n%s", diff)
	}
}

func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	url, files := storagetest.EmptyURL(t), fruit()
	files["0003_slow.sql"] = &fstest.MapFile{Data: []byte("INSERT INTO fruit SELECT 'slow' FROM pg_sleep(0.3);")}
	const processes = 4
	var wg sync.WaitGroup
	errs := make([]error, processes)
	for i := range processes {
		pool := emptyPool(t, url)
		wg.Go(func() { errs[i] = storage.Migrate(t.Context(), pool, files, testLogger(t)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if n := count(t, emptyPool(t, url), `SELECT count(*) FROM fruit`); n != 2 {
		t.Errorf("%d rows of fruit, want 2: a migration ran twice", n)
	}
}

func TestMigrateNewerDatabase(t *testing.T) {
	t.Parallel()
	pool, logger := emptyPool(t, storagetest.EmptyURL(t)), testLogger(t)
	if err := storage.Migrate(t.Context(), pool, fruit(), logger); err != nil {
		t.Fatal(err)
	}
	older := fruit()
	delete(older, "0002_job.sql")
	want := &storage.NewerSchemaError{Part: "schema", Database: 2, Known: 1}
	checkNewer(t, storage.Migrate(t.Context(), pool, older, logger), want)
	_, err := storage.PendingMigrations(t.Context(), pool, older)
	checkNewer(t, err, want)
	if !strings.Contains(err.Error(), "newer longhaul (schema 2, this binary knows 1)") {
		t.Errorf("message: %v", err)
	}

	if _, err := pool.Exec(t.Context(), `INSERT INTO river_migration (line, version) VALUES ('main', 99)`); err != nil {
		t.Fatal(err)
	}
	err = storage.Migrate(t.Context(), pool, fruit(), logger)
	known := count(t, pool, `SELECT max(version) FROM river_migration WHERE version < 99`)
	checkNewer(t, err, &storage.NewerSchemaError{Part: "River schema", Database: 99, Known: known})
}

func checkNewer(t *testing.T, err error, want *storage.NewerSchemaError) {
	t.Helper()
	var got *storage.NewerSchemaError
	if !errors.As(err, &got) {
		t.Fatalf("error %v, want %v", err, want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("newer schema (-want +got):\n%s", diff)
	}
}

func TestMigrateBrokenFile(t *testing.T) {
	t.Parallel()
	pool, logger, files := emptyPool(t, storagetest.EmptyURL(t)), testLogger(t), fruit()
	files["0003_broken.sql"] = &fstest.MapFile{Data: []byte("INSERT INTO fruit VALUES ('plum');\nSELECT colour\nFROM fruit;")}
	err := storage.Migrate(t.Context(), pool, files, logger)
	if err == nil || !strings.Contains(err.Error(), "0003_broken.sql") || !strings.Contains(err.Error(), "line 2: SELECT colour") {
		t.Fatalf("error %v, want it to name the file and the line", err)
	}
	if n := count(t, pool, `SELECT count(*) FROM fruit`); n != 1 {
		t.Errorf("%d rows of fruit, want 1: half a migration stayed", n)
	}
	files["0003_broken.sql"] = &fstest.MapFile{Data: []byte("INSERT INTO fruit VALUES ('plum');")}
	if err := storage.Migrate(t.Context(), pool, files, logger); err != nil {
		t.Fatalf("after mending the file: %v", err)
	}
}

func TestMigrateGivesUpWithContext(t *testing.T) {
	t.Parallel()
	url := storagetest.EmptyURL(t)
	files := fstest.MapFS{"0001_slow.sql": {Data: []byte("SELECT pg_sleep(60);")}}
	ctx, cancel := context.WithCancel(t.Context())
	first, second := emptyPool(t, url), emptyPool(t, url)
	done := make(chan error, 2)
	started := make(chan struct{})
	go func() { done <- storage.Migrate(ctx, first, files, signalOn(t, "migrate: applying", started)) }()
	<-started
	waiting := make(chan struct{})
	go func() {
		done <- storage.Migrate(ctx, second, files, signalOn(t, "migrate: waiting for another process to finish migrating", waiting))
	}()
	<-waiting
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
	}
	// The lock went with the connection.
	if err := storage.Migrate(t.Context(), second, fruit(), testLogger(t)); err != nil {
		t.Error(err)
	}
}

// signalOn is a logger that closes seen when the message is logged.
func signalOn(t *testing.T, message string, seen chan struct{}) *slog.Logger {
	t.Helper()
	return slog.New(&signalHandler{Handler: testLogger(t).Handler(), message: message, seen: seen})
}

type signalHandler struct {
	slog.Handler
	message string
	seen    chan struct{}
}

func (h *signalHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == h.message {
		close(h.seen)
	}
	return h.Handler.Handle(ctx, r)
}

func TestMigrationsGap(t *testing.T) {
	t.Parallel()
	pool := emptyPool(t, storagetest.EmptyURL(t))
	files := fruit()
	delete(files, "0001_fruit.sql")
	if err := storage.Migrate(t.Context(), pool, files, testLogger(t)); err == nil || !strings.Contains(err.Error(), "Missing migration 1") {
		t.Errorf("error %v, want it to name the missing number", err)
	}
}

// The program's own files, as a test's database has them.
func TestOwnMigrations(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	if diff := cmp.Diff([]string{}, pendingNames(t, pool, migrations.Files)); diff != "" {
		t.Errorf("pending in a template's clone (-want +got):\n%s", diff)
	}
}
