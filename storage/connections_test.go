package storage_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"longhaul/storage"
	"longhaul/storage/storagetest"
)

// connections is a database with the apps a, b and c, each with a connection.
func connections(t *testing.T) *storage.DB {
	t.Helper()
	pool, _ := storagetest.DB(t)
	db := &storage.DB{Pool: pool}
	for _, name := range []string{"a", "b", "c"} {
		exec(t, db, `INSERT INTO apps (name, product, url, auth_type, auth_sealed) VALUES ($1, 'epm', 'https://x', 'oauth2', '\x00')`, name)
		save(t, db, &storage.Connection{App: name, Grant: "device_code", DomainURL: "https://d", ClientID: "web", Scope: "s"}, false)
	}
	return db
}

func save(t *testing.T, db *storage.DB, c *storage.Connection, keep bool) {
	t.Helper()
	if err := db.InTx(t.Context(), func(tx pgx.Tx) error { return storage.SaveConnection(t.Context(), tx, c, keep) }); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, db *storage.DB, app string) *storage.Connection {
	t.Helper()
	c, err := db.Connection(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

func claim(t *testing.T, db *storage.DB, c *storage.Connection, want bool) {
	t.Helper()
	if got, err := db.ClaimConnection(t.Context(), c, t.Name()); err != nil || got != want {
		t.Fatalf("claim: %v %v", got, err)
	}
}

func tokens(refresh string) *storage.Tokens {
	return &storage.Tokens{AccessSealed: []byte("access"), AccessUntil: time.Now().Add(time.Hour), RefreshSealed: []byte(refresh), As: "jo"}
}

func TestClaimConnection(t *testing.T) {
	t.Parallel()
	db := connections(t)
	var won atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		c := read(t, db, "a")
		all.Go(func() {
			if mine, err := db.ClaimConnection(t.Context(), c, "p"); err == nil && mine {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d have the claim", won.Load())
	}
	c := read(t, db, "a")
	if !c.Asking {
		t.Error("nobody is seen to ask")
	}
	claim(t, db, c, false) // it is another's
	exec(t, db, `UPDATE app_connections SET asked_at = now() - interval '1 hour' WHERE app = 'a'`)
	old, next := *c, *c
	claim(t, db, &next, true) // who died, as it seems
	if next.UnclearAt == nil {
		t.Error("nobody knows that the token may be spent")
	}
	for _, err := range []error{
		db.SaveTokens(t.Context(), &old, tokens("old")),
		db.SaveRefusal(t.Context(), &old, &storage.Refusal{Problem: "x", Spent: true, Broken: true}, &storage.Audit{Actor: "x", Action: "x"}),
	} {
		if !errors.Is(err, storage.ErrStale) {
			t.Errorf("who lost the claim is heard: %v", err)
		}
	}
	if err := db.SaveTokens(t.Context(), &next, tokens("new")); err != nil {
		t.Fatal(err)
	}
	saved := read(t, db, "a")
	if string(saved.RefreshSealed) != "new" || saved.Asking || saved.UnclearAt != nil || !saved.Connected() || saved.RefreshUntil == nil {
		t.Errorf("saved: %+v", saved)
	}
	claim(t, db, &next, false) // what was read before is out of date
	claim(t, db, saved, true)
	// Settings that leave the tokens their meaning do not get in the way; others do.
	save(t, db, saved, true)
	if err := db.SaveRefusal(t.Context(), saved, &storage.Refusal{Problem: "down", Unclear: true, Rest: time.Minute}, nil); err != nil {
		t.Error(err)
	}
	if c := read(t, db, "a"); !c.Resting || c.Broken || c.UnclearAt == nil || c.Failures != 1 || *c.Problem != "down" || !c.Connected() {
		t.Errorf("refused: %+v", c)
	}
	if err := db.EndRest(t.Context(), "a"); err != nil || read(t, db, "a").Resting {
		t.Errorf("it rests on: %v", err)
	}
	c = read(t, db, "a")
	claim(t, db, c, true)
	save(t, db, c, false)
	if err := db.SaveTokens(t.Context(), c, tokens("late")); !errors.Is(err, storage.ErrStale) {
		t.Errorf("tokens of another client were saved: %v", err)
	}
}

func TestRefreshesDue(t *testing.T) {
	t.Parallel()
	db := connections(t)
	due := func(limit int) int {
		t.Helper()
		found, err := db.RefreshesDue(t.Context(), 24*time.Hour, 6*time.Hour, limit)
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if n := due(10); n != 0 {
		t.Errorf("%d are due that have no token", n)
	}
	for name, hours := range map[string]int{"a": 23, "b": 31, "c": 31} {
		c := read(t, db, name)
		claim(t, db, c, true)
		if err := db.SaveTokens(t.Context(), c, tokens("r")); err != nil {
			t.Fatal(err)
		}
		exec(t, db, `UPDATE app_connections SET refreshed_at = now() - $2 * interval '1 hour' WHERE app = $1`, name, hours)
	}
	if n, one := due(10), due(1); n != 2 || one != 1 {
		t.Errorf("%d are due, and %d of one", n, one)
	}
	claim(t, db, read(t, db, "b"), true)
	if n := due(10); n != 1 {
		t.Errorf("%d are due while one is asked for", n)
	}
	exec(t, db, `UPDATE app_connections SET refreshed_at = now() - interval '27 hours', asked_by = NULL, asked_at = NULL`)
	exec(t, db, `INSERT INTO apps (name, product, url, auth_type, auth_sealed) SELECT 'n' || i, 'epm', 'https://x', 'oauth2', '\x00' FROM generate_series(1, 200) i`)
	exec(t, db, `INSERT INTO app_connections (app, grant_type, domain_url, client_id, scope, refresh_sealed, refreshed_at)
		SELECT 'n' || i, 'device_code', 'd', 'c', 's', '\x00', now() - interval '27 hours' FROM generate_series(1, 200) i`)
	if n := due(1000); n < 70 || n > 130 { // half of the spread has passed
		t.Errorf("of 203 of one day %d are due at once", n)
	}
}
