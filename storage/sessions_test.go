package storage_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
	"longhaul/storage/storagetest"
)

// The provider's word ends the sessions that it may mean, and nobody else's.
func TestEndSessionsAt(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	db := &storage.DB{Pool: pool}
	for _, test := range []struct {
		name, subject, sid string
		left               []string
	}{
		{"a session", "jo", "one", []string{"jo two", "kim one"}},
		{"a session without its person", "", "one", []string{"jo none", "jo two"}},
		{"all of a person", "jo", "", []string{"kim one"}},
		{"one that is not here", "kim", "three", []string{"jo none", "jo one", "jo two", "kim one"}},
		{"nothing named", "", "", []string{"jo none", "jo one", "jo two", "kim one"}},
	} {
		exec(t, db, `DELETE FROM sessions`)
		exec(t, db, `INSERT INTO people (issuer, subject, login) VALUES ('p', 'jo', 'jo'), ('p', 'kim', 'kim') ON CONFLICT DO NOTHING`)
		exec(t, db, `
			INSERT INTO sessions (token, data, expiry, person_id, provider_sid)
			SELECT p.login || ' ' || v.name, '', now() + interval '1 hour', p.id, v.sid
			FROM (VALUES ('jo', 'one', 'one'), ('jo', 'two', 'two'), ('jo', 'none', NULL), ('kim', 'one', 'one')) AS v (login, name, sid)
			JOIN people p ON p.login = v.login AND p.issuer = 'p'`)
		err := db.InTx(t.Context(), func(tx pgx.Tx) error {
			_, err := storage.EndSessionsAt(t.Context(), tx, "p", test.subject, test.sid)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := pool.Query(t.Context(), `SELECT token FROM sessions ORDER BY token`)
		if err != nil {
			t.Fatal(err)
		}
		left, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.left, left); diff != "" {
			t.Errorf("%s (-want +left):\n%s", test.name, diff)
		}
	}
}
