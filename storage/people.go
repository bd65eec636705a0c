package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// LocalIssuer is the issuer of the one person of local mode.
const LocalIssuer = "local"

// LocalAdmin is the id of the person who signs in with the admin token of local mode.
var LocalAdmin = uuid.MustParse("00000000-0000-4000-8000-000000000001")

// Person is a row of the table people: somebody as the identity provider knows them.
type Person struct {
	ID         uuid.UUID
	Issuer     string
	Subject    string // what stays when the person is renamed at the issuer
	Login      string // lower case; memberships name people by it
	Name       string
	Email      string
	Groups     []string // as the provider last told
	CreatedAt  time.Time
	SignedInAt time.Time
}

const personColumns = `p.id, p.issuer, p.subject, p.login, p.name, p.email, p.groups, p.created_at, p.signed_in_at`

// SavePerson stores who signed in, as the provider now describes them, and returns the row, and the
// login they had before, or have. Their memberships follow a new login. ErrConflict when another
// person of this issuer has the login: it would bring them that one's memberships.
func SavePerson(ctx context.Context, tx pgx.Tx, p *Person) (saved Person, was string, err error) {
	err = tx.QueryRow(ctx, `SELECT login FROM people WHERE issuer = $1 AND subject = $2 FOR UPDATE`, p.Issuer, p.Subject).Scan(&was)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Person{}, "", err
	}
	if saved, err = upsertPerson(ctx, tx, p); err != nil || was == "" || was == saved.Login {
		return saved, saved.Login, err
	}
	_, err = tx.Exec(ctx, `
		UPDATE members m SET member = $2, changed_at = now()
		WHERE m.kind = 'person' AND m.member = $1
			AND NOT EXISTS (SELECT FROM members o WHERE o.app = m.app AND o.kind = 'person' AND o.member = $2)`, was, saved.Login)
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM members WHERE kind = 'person' AND member = $1`, was)
	}
	return saved, was, err
}

func upsertPerson(ctx context.Context, q Querier, p *Person) (Person, error) {
	rows, err := q.Query(ctx, `
		INSERT INTO people AS p (issuer, subject, login, name, email, groups)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (issuer, subject) DO UPDATE
		SET login = excluded.login, name = excluded.name, email = excluded.email, groups = excluded.groups, signed_in_at = now()
		RETURNING `+personColumns, p.Issuer, p.Subject, p.Login, p.Name, p.Email, noneNil(p.Groups))
	if err != nil {
		return Person{}, err
	}
	saved, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Person])
	if violates(err, codeUniqueViolation) {
		return Person{}, fmt.Errorf("person %s: the login %s is another's: %w", p.Subject, p.Login, ErrConflict)
	}
	return saved, err
}

// MeetPerson stores who came with an access token of the provider, which may tell little of them:
// of somebody who is known it changes no more than the groups, and those only when they are told.
// The error is as SavePerson's.
func MeetPerson(ctx context.Context, q Querier, p *Person, groupsKnown bool) (Person, error) {
	rows, err := q.Query(ctx, `
		UPDATE people AS p SET groups = CASE WHEN $4 THEN $3 ELSE p.groups END, signed_in_at = now()
		WHERE p.issuer = $1 AND p.subject = $2
		RETURNING `+personColumns, p.Issuer, p.Subject, noneNil(p.Groups), groupsKnown)
	if err != nil {
		return Person{}, err
	}
	met, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Person])
	if errors.Is(err, pgx.ErrNoRows) {
		return upsertPerson(ctx, q, p)
	}
	return met, err
}

// noneNil is the list as Postgres is to store it.
func noneNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Person returns one person, or ErrNotFound.
func (d *DB) Person(ctx context.Context, id uuid.UUID) (Person, error) {
	rows, err := d.Pool.Query(ctx, `SELECT `+personColumns+` FROM people p WHERE p.id = $1`, id)
	if err != nil {
		return Person{}, err
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Person])
	return p, notFound(err, "person", id)
}

// People returns all people of an issuer by login.
func (d *DB) People(ctx context.Context, issuer string) ([]Person, error) {
	rows, err := d.Pool.Query(ctx, `SELECT `+personColumns+` FROM people p WHERE p.issuer = $1 ORDER BY p.login`, issuer)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Person])
}

// DeletePerson forgets a person: their sessions, their tokens and their memberships with them.
// What they did stays in the audit trail. ErrNotFound if there is none.
func DeletePerson(ctx context.Context, tx pgx.Tx, id uuid.UUID) (Person, error) {
	rows, err := tx.Query(ctx, `DELETE FROM people p WHERE p.id = $1 RETURNING `+personColumns, id)
	if err != nil {
		return Person{}, err
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Person])
	if err != nil {
		return Person{}, notFound(err, "person", id)
	}
	_, err = tx.Exec(ctx, `DELETE FROM members WHERE kind = 'person' AND member = $1`, p.Login)
	return p, err
}
