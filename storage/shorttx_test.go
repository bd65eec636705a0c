package storage_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/storage"
	"longhaul/storage/storagetest"
)

// A short transaction is all there or not at all, and leaves a connection that can be used.
func TestShortTx(t *testing.T) {
	t.Parallel()
	pool, url := storagetest.DB(t)
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 1 // whatever is left open is met by the next
	one, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(one.Close)
	db := &storage.DB{Pool: one}
	if _, err := pool.Exec(t.Context(), `CREATE TABLE things (name text PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	const insert = `INSERT INTO things (name) VALUES ($1)`
	failed := errors.New("first has failed")
	for _, test := range []struct {
		name       string
		first      func(pgx.Tx) error
		last       string
		stored     int
		committing bool
		fails      bool
	}{
		{"a query", func(tx pgx.Tx) error {
			rows, err := tx.Query(t.Context(), insert+` RETURNING name`, "query")
			if err != nil {
				return err
			}
			names, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if len(names) != 1 {
				t.Errorf("it returned %q", names)
			}
			return err
		}, "last of query", 2, true, false},
		{"a row", func(tx pgx.Tx) error {
			var name string
			return tx.QueryRow(t.Context(), insert+` RETURNING name`, "row").Scan(&name)
		}, "last of row", 2, true, false},
		{"two statements", func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), insert, "one")
			if err == nil {
				_, err = tx.Exec(t.Context(), insert, "two")
			}
			return err
		}, "last of two", 3, true, false},
		{"nothing before", func(pgx.Tx) error { return nil }, "alone", 1, true, false},
		{"an error before anything", func(pgx.Tx) error { return failed }, "never", 0, false, true},
		{"an error of the first", func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), insert, "lost"); err != nil {
				return err
			}
			return failed
		}, "never", 0, false, true},
		{"a refused first", func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), insert, "alone")
			return err
		}, "never", 0, false, true},
		{"a refused last", func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), insert, "lost")
			return err
		}, "alone", 0, false, true},
		{"no rows", func(tx pgx.Tx) error {
			var name string
			return tx.QueryRow(t.Context(), `SELECT name FROM things WHERE name = 'none'`).Scan(&name)
		}, "never", 0, false, true},
	} {
		before := countThings(t, pool)
		committing, err := db.InShortTx(t.Context(), test.first, func(batch *pgx.Batch) { batch.Queue(insert, test.last) })
		if (err != nil) != test.fails || committing != test.committing {
			t.Errorf("%s: committing %t, %v", test.name, committing, err)
		}
		if n := countThings(t, pool) - before; n != test.stored {
			t.Errorf("%s: %d rows were stored", test.name, n)
		}
		var status string
		if err := one.QueryRow(t.Context(), `SELECT state FROM pg_stat_activity WHERE pid = pg_backend_pid()`).Scan(&status); err != nil || status != "active" {
			t.Errorf("%s: the connection is %q, %v", test.name, status, err)
		}
		if s := one.Stat(); s.AcquiredConns() != 0 {
			t.Errorf("%s: a connection is not given back", test.name)
		}
	}
	// A context that ends in the middle leaves nothing and no half of a transaction.
	ctx, cancel := context.WithCancel(t.Context())
	_, err = db.InShortTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, insert, "cut")
		cancel()
		return err
	}, func(batch *pgx.Batch) { batch.Queue(insert, "off") })
	if err == nil {
		t.Error("a transaction whose context ended was committed")
	}
	if _, err := one.Exec(t.Context(), insert, "cut"); err != nil {
		t.Errorf("after a transaction that was cut off: %v", err)
	}
}

func countThings(t *testing.T, pool *pgxpool.Pool) int {
	t.Helper()
	var n int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM things`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
