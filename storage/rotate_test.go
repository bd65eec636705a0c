package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/storage"
	"longhaul/storage/storagetest"
)

// putSecret stores sealed credentials of an app.
func putSecret(t *testing.T, pool *pgxpool.Pool, app string, sealed []byte) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `
		INSERT INTO apps (name, product, url, auth_type, auth_sealed) VALUES ($1, 'epm', 'https://example.com', 'basic', $2)
		ON CONFLICT (name) DO UPDATE SET auth_sealed = $2`, app, sealed)
	if err != nil {
		t.Fatal(err)
	}
}

// opened returns what the key of s alone makes of all apps' credentials; of those that it does
// not open, nothing.
func opened(t *testing.T, pool *pgxpool.Pool, s *storage.Sealer) map[string]string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT name, auth_sealed FROM apps WHERE auth_sealed IS NOT NULL`)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	var name string
	var sealed []byte
	_, err = pgx.ForEachRow(rows, []any{&name, &sealed}, func() error {
		plain, _ := s.Open("app/"+name, sealed)
		found[name] = string(plain)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestCheckKey(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	one, two := newSealer(t, keyOne), newSealer(t, keyTwo)
	if found, err := storage.AnySealed(t.Context(), pool); err != nil || found {
		t.Errorf("a new database: sealed %v, %v", found, err)
	}
	for range 2 {
		if err := storage.CheckKey(t.Context(), pool, one); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := storage.AnySealed(t.Context(), pool); err != nil || !found {
		t.Errorf("after the first start: sealed %v, %v", found, err)
	}
	err := storage.CheckKey(t.Context(), pool, two)
	if _, wrong := errors.AsType[*storage.WrongKeyError](err); !wrong {
		t.Fatalf("another key: %v", err)
	}
	for _, word := range []string{one.KeyID().String(), two.KeyID().String(), "LONGHAUL_SECRET_KEY", "docs/operations.md"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not say %q: %v", word, err)
		}
	}
	if err := storage.CheckKey(t.Context(), pool, newSealer(t, keyTwo, keyOne)); err != nil {
		t.Errorf("the right key as an old one: %v", err)
	}
}

// A database from before there was a check value gets none from a wrong key.
func TestCheckKeyOfOldDatabase(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	putSecret(t, pool, "vision", sealedBefore(t, keyOne, "app/vision", "credentials"))
	err := storage.CheckKey(t.Context(), pool, newSealer(t, keyTwo))
	if wrong, ok := errors.AsType[*storage.WrongKeyError](err); !ok || wrong.Record != "app/vision" {
		t.Fatalf("another key: %v", err)
	}
	if err := storage.CheckKey(t.Context(), pool, newSealer(t, keyOne)); err != nil {
		t.Fatal(err)
	}
}

// TestReseal replaces a key while a server changes credentials, some of it still with the old
// key, and is broken off on the way: what was stored last is what is there in the end.
func TestReseal(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	one, both, two := newSealer(t, keyOne), newSealer(t, keyTwo, keyOne), newSealer(t, keyTwo)
	if err := storage.CheckKey(t.Context(), pool, one); err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for i := range 250 { // more than two batches
		name, text := fmt.Sprintf("app-%03d", i), fmt.Sprintf("credentials %d", i)
		sealed := one.Seal("app/"+name, []byte(text))
		if i%3 == 0 {
			sealed = sealedBefore(t, keyOne, "app/"+name, text)
		}
		putSecret(t, pool, name, sealed)
		want[name] = text
	}
	if _, err := pool.Exec(t.Context(), `INSERT INTO apps (name, product) VALUES ('plain', 'none')`); err != nil {
		t.Fatal(err)
	}

	var server sync.WaitGroup
	server.Go(func() {
		for i := range 100 {
			name, text := fmt.Sprintf("app-%03d", i*7%250), fmt.Sprintf("changed %d", i)
			putSecret(t, pool, name, []*storage.Sealer{one, both}[i%2].Seal("app/"+name, []byte(text)))
			want[name] = text
		}
	})
	for range 3 {
		ctx, stop := context.WithCancel(t.Context())
		go stop()
		if _, err := storage.Reseal(ctx, pool, both); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		stop()
	}
	server.Wait()
	done, err := storage.Reseal(t.Context(), pool, both)
	if err != nil || len(done.Stuck) > 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	if diff := cmp.Diff(want, opened(t, pool, two)); diff != "" {
		t.Error(diff)
	}
	if done, err = storage.Reseal(t.Context(), pool, both); err != nil || done.Count != 0 {
		t.Errorf("again: %+v, %v", done, err)
	}
	var updated int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM apps WHERE updated_at <> created_at`).Scan(&updated); err != nil || updated > 0 {
		t.Errorf("%d apps look as if somebody had changed them, %v", updated, err)
	}
}

// What no key opens is told, and stops neither the others nor the end.
func TestResealStuck(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	one, both, two := newSealer(t, keyOne), newSealer(t, keyTwo, keyOne), newSealer(t, keyTwo)
	putSecret(t, pool, "good", one.Seal("app/good", []byte("credentials")))
	putSecret(t, pool, "lost", newSealer(t, keyThree).Seal("app/lost", []byte("credentials")))
	putSecret(t, pool, "moved", one.Seal("app/good", []byte("credentials")))
	done, err := storage.Reseal(t.Context(), pool, both)
	want := storage.Resealed{Count: 1, Stuck: []string{"app/lost", "app/moved"}}
	if diff := cmp.Diff(want, done); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if got := opened(t, pool, two)["good"]; got != "credentials" {
		t.Errorf("the good one holds %q", got)
	}
}

// The end of a rotation is told once, however often it is asked for.
func TestEndRotation(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	one, both, two := newSealer(t, keyOne), newSealer(t, keyTwo, keyOne), newSealer(t, keyTwo)
	if err := storage.CheckKey(t.Context(), pool, one); err != nil {
		t.Fatal(err)
	}
	var ended []bool
	for range 3 {
		now, err := storage.EndRotation(t.Context(), pool, both, storage.Audit{Actor: "root", Action: "key.rotate", Object: both.KeyID().String()})
		if err != nil {
			t.Fatal(err)
		}
		ended = append(ended, now)
	}
	if !slices.Equal(ended, []bool{true, false, false}) {
		t.Errorf("ended: %v", ended)
	}
	var lines int
	err := pool.QueryRow(t.Context(), `SELECT count(*) FROM audit WHERE action = 'key.rotate' AND actor = 'root' AND object = $1`, two.KeyID().String()).Scan(&lines)
	if err != nil || lines != 1 {
		t.Errorf("%d lines of audit, %v", lines, err)
	}
	if err := storage.CheckKey(t.Context(), pool, two); err != nil {
		t.Error(err)
	}
	if err := storage.CheckKey(t.Context(), pool, one); err == nil {
		t.Error("the old key is taken")
	}
}

func TestLockRotation(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	unlock, err := storage.LockRotation(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storage.LockRotation(t.Context(), pool); !errors.Is(err, storage.ErrRotating) {
		t.Errorf("a second one: %v", err)
	}
	unlock()
	if unlock, err = storage.LockRotation(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	unlock()
}

// TestSealedColumnsAreComplete finds columns of sealed values that rotation does not know: by
// their name, which ends in sealed.
func TestSealedColumnsAreComplete(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	rows, err := pool.Query(t.Context(), `
		SELECT table_name || '.' || column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND column_name LIKE '%sealed' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(columns, storage.SealedColumns()); diff != "" {
		t.Errorf("sealed columns that are not in the list, or the other way round:\n%s", diff)
	}
}
