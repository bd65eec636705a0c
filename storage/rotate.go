package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// sealedColumns are all places of sealed values. A new one is added here, or its values are lost
// when the key is replaced.
var sealedColumns = []sealedColumn{
	{table: "apps", key: "name", sealed: "auth_sealed", id: "app/"},
	{table: "app_connections", key: "app", sealed: "access_sealed", id: "access-token/"},
	{table: "app_connections", key: "app", sealed: "refresh_sealed", id: "refresh-token/"},
	{table: "app_consents", key: "app", sealed: "device_sealed", id: "device-code/"},
	{table: "secrets", key: "name", sealed: "sealed", id: "secret/"},
}

// sealedColumn is a column of sealed values. A value's record id is id with the key's text behind.
type sealedColumn struct{ table, key, sealed, id string }

// SecretID is the record id, for a Sealer, of the secret of that name in the table secrets.
func SecretID(name string) string { return "secret/" + name }

// keyCheck is the secret that is sealed at the first start, and must open at each later one.
const keyCheck = "key-check"

// WrongKeyError says that the database's secrets were sealed with another key than the one at hand.
type WrongKeyError struct {
	Record string // id of a secret that does not open
	Why    string // what is known about it
	Source string // where the key at hand comes from
	KeyID  KeyID  // of the key at hand
}

// Error says what to do as well.
func (e *WrongKeyError) Error() string {
	return fmt.Sprintf("this is not the key of this database: %s has key %s, but %s %s. "+
		"Give the server the key that it had before: as LONGHAUL_SECRET_KEY, or in the key file, from its backup; "+
		"a key that is being replaced goes into LONGHAUL_SECRET_KEY_OLD, or below the new one in the file. "+
		"If it is lost, docs/operations.md says how to begin with a new one", e.Source, e.KeyID, e.Record, e.Why)
}

// AnySealed reports whether the database holds a sealed value, which a new key would not open.
func AnySealed(ctx context.Context, q Querier) (bool, error) {
	for _, c := range sealedColumns {
		var found bool
		if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM `+c.table+` WHERE `+c.sealed+` IS NOT NULL)`).Scan(&found); err != nil {
			return false, fmt.Errorf("look for secrets in %s: %w", c.table, err)
		}
		if found {
			return true, nil
		}
	}
	return false, nil
}

// CheckKey holds the keys of s against the database's check value, which it makes at the first
// start. The error is a WrongKeyError when they are others.
func CheckKey(ctx context.Context, q Querier, s *Sealer) error {
	sealed, err := secret(ctx, q, keyCheck)
	if errors.Is(err, ErrNotFound) {
		if err := s.opensOne(ctx, q); err != nil {
			return err
		}
		// Of processes that start together, one makes it.
		_, err := q.Exec(ctx, `INSERT INTO secrets (name, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING`,
			keyCheck, s.Seal(SecretID(keyCheck), []byte(keyCheck)))
		if err != nil {
			return fmt.Errorf("store the key's check value: %w", err)
		}
		sealed, err = secret(ctx, q, keyCheck)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return s.check(SecretID(keyCheck), sealed)
}

// check turns the failure to open into a WrongKeyError.
func (s *Sealer) check(id string, sealed []byte) error {
	if _, err := s.Open(id, sealed); err != nil {
		return &WrongKeyError{Record: id, Why: s.mismatch(sealed), Source: s.source, KeyID: s.KeyID()}
	}
	return nil
}

// opensOne is for a database from before there was a check value: one of its sealed values must open.
func (s *Sealer) opensOne(ctx context.Context, q Querier) error {
	var wrong error
	for _, c := range sealedColumns {
		values, err := c.after(ctx, q, "", nil)
		if err != nil {
			return err
		}
		for _, v := range values {
			if wrong = s.check(c.id+v.Key, v.Sealed); wrong == nil {
				return nil
			}
		}
	}
	return wrong
}

// secret returns a sealed value of the table secrets, or ErrNotFound.
func secret(ctx context.Context, q Querier, name string) (sealed []byte, err error) {
	err = q.QueryRow(ctx, `SELECT sealed FROM secrets WHERE name = $1`, name).Scan(&sealed)
	return sealed, notFound(err, "secret", name)
}

// Resealed is what Reseal came to.
type Resealed struct {
	Count int // values that were encrypted anew
	// Stuck are the record ids of values that no key opens: of the apps to be told their
	// credentials again.
	Stuck []string
}

// Reseal encrypts every stored secret anew that is not under the key that s seals with, and
// returns when there is none left but those that no key opens. Values that are changed meanwhile
// are not overwritten. It may be broken off at any moment and called again.
//
// The check value is left to EndRotation: until then servers that have only the new key refuse to
// start, rather than meet secrets that they cannot open.
func Reseal(ctx context.Context, pool *pgxpool.Pool, s *Sealer) (Resealed, error) {
	var all Resealed
	for {
		found, written, stuck, err := s.resealAll(ctx, pool)
		all.Count, all.Stuck = all.Count+written, stuck
		if err != nil || found == 0 {
			return all, err
		}
	}
}

// resealAll goes over all values once: found are those that could be opened, written those of
// them that nobody else changed meanwhile.
func (s *Sealer) resealAll(ctx context.Context, pool *pgxpool.Pool) (found, written int, stuck []string, err error) {
	for _, c := range sealedColumns {
		for last := ""; ; {
			values, err := c.after(ctx, pool, last, s.current()[0].header())
			if err != nil {
				return found, written, stuck, err
			}
			if len(values) == 0 {
				break
			}
			last = values[len(values)-1].Key
			changes, unopened := s.anew(c, values)
			swapped, err := c.swap(ctx, pool, changes)
			if err != nil {
				return found, written, stuck, err
			}
			found, written, stuck = found+len(changes), written+swapped, append(stuck, unopened...)
		}
	}
	return found, written, stuck, nil
}

// resealBatch bounds how many values are changed in one transaction, and so locked at once.
const resealBatch = 100

// sealedValue is one value of a sealedColumn.
type sealedValue struct {
	Key    string
	Sealed []byte
	anew   []byte // Sealed under the sealing key
}

// after returns the next batch of values behind a key, in the order of keys; those that begin
// with the header left out, and the check value.
func (c sealedColumn) after(ctx context.Context, q Querier, last string, header []byte) ([]sealedValue, error) {
	rows, err := q.Query(ctx, `
		SELECT `+c.key+`::text AS key, `+c.sealed+` AS sealed FROM `+c.table+`
		WHERE `+c.sealed+` IS NOT NULL AND `+c.key+`::text > $1 AND `+c.key+`::text <> $2
			AND ($3::bytea IS NULL OR substring(`+c.sealed+` FROM 1 FOR length($3)) <> $3)
		ORDER BY `+c.key+`::text LIMIT $4`, last, keyCheck, header, resealBatch)
	if err != nil {
		return nil, fmt.Errorf("read the secrets in %s: %w", c.table, err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowToStructByName[sealedValue])
	if err != nil {
		return nil, fmt.Errorf("read the secrets in %s: %w", c.table, err)
	}
	return values, nil
}

// anew seals each of the values with the sealing key.
func (s *Sealer) anew(c sealedColumn, values []sealedValue) (changes []sealedValue, stuck []string) {
	for _, v := range values {
		id := c.id + v.Key
		plain, err := s.Open(id, v.Sealed)
		if err != nil {
			stuck = append(stuck, id)
			continue
		}
		v.anew = s.Seal(id, plain)
		changes = append(changes, v)
	}
	return changes, stuck
}

// swap writes the values that are still what they were, and returns how many.
func (c sealedColumn) swap(ctx context.Context, pool *pgxpool.Pool, changes []sealedValue) (written int, err error) {
	var batch pgx.Batch
	for _, v := range changes {
		batch.Queue(`UPDATE `+c.table+` SET `+c.sealed+` = $1 WHERE `+c.key+`::text = $2 AND `+c.sealed+` = $3`, v.anew, v.Key, v.Sealed).
			Exec(func(tag pgconn.CommandTag) error {
				written += int(tag.RowsAffected())
				return nil
			})
	}
	if err := pool.SendBatch(ctx, &batch).Close(); err != nil {
		return 0, fmt.Errorf("write the secrets in %s: %w", c.table, err)
	}
	return written, nil
}

// EndRotation puts the check value under the sealing key, with a line of audit, once all other
// secrets are. It reports whether that was still to do.
func EndRotation(ctx context.Context, pool *pgxpool.Pool, s *Sealer, audit Audit) (ended bool, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var sealed []byte
		if err := tx.QueryRow(ctx, `SELECT sealed FROM secrets WHERE name = $1 FOR UPDATE`, keyCheck).Scan(&sealed); err != nil {
			return err
		}
		if bytes.HasPrefix(sealed, s.current()[0].header()) {
			return nil
		}
		ended = true
		_, err := tx.Exec(ctx, `UPDATE secrets SET sealed = $2 WHERE name = $1`, keyCheck, s.Seal(SecretID(keyCheck), []byte(keyCheck)))
		if err != nil {
			return err
		}
		return InsertAudit(ctx, tx, audit)
	})
	if err != nil {
		return false, fmt.Errorf("write the key's check value: %w", err)
	}
	return ended, nil
}

// ErrRotating says that another process replaces the key at this moment.
var ErrRotating = errors.New("another process replaces the key; wait for its end")

// LockRotation makes sure that one process replaces the key at a time, until unlock is called or
// the process ends. The error is ErrRotating when another does.
func LockRotation(ctx context.Context, pool *pgxpool.Pool) (unlock func(), err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	const name = `hashtextextended('longhaul rotate key', 0)`
	var mine bool
	err = conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(`+name+`)`).Scan(&mine)
	if err == nil && !mine {
		err = ErrRotating
	}
	if err != nil {
		conn.Release()
		return nil, err
	}
	return func() {
		end := context.WithoutCancel(ctx)
		if _, err := conn.Exec(end, `SELECT pg_advisory_unlock(`+name+`)`); err != nil {
			_ = conn.Conn().Close(end) // the lock ends with its connection
		}
		conn.Release()
	}, nil
}
