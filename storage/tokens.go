package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Token is a row of the table tokens: an API token, without the token itself.
type Token struct {
	ID          uuid.UUID
	PersonID    uuid.UUID // whose it is
	Name        string
	SHA256      []byte `db:"sha256"` // of the whole token
	Hint        string // how the token begins
	Scopes      Rights
	Apps        []string // nil: all that its owner reaches
	CreatedAt   time.Time
	ExpiresAt   *time.Time
	UsedAt      *time.Time // to the minute
	UsedAddress *string
}

const tokenColumns = `t.id, t.person_id, t.name, t.sha256, t.hint, t.scopes, t.apps, t.created_at, t.expires_at, t.used_at, t.used_address` //nolint:gosec // G101: names of columns

// InsertToken stores a new token.
func InsertToken(ctx context.Context, tx pgx.Tx, t *Token) error {
	return tx.QueryRow(ctx, `
		INSERT INTO tokens (person_id, name, sha256, hint, scopes, apps, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id, created_at`,
		t.PersonID, t.Name, t.SHA256, t.Hint, t.Scopes, t.Apps, t.ExpiresAt).Scan(&t.ID, &t.CreatedAt)
}

// Tokens returns a person's tokens, newest first.
func (d *DB) Tokens(ctx context.Context, person uuid.UUID) ([]Token, error) {
	rows, err := d.Pool.Query(ctx, `
		SELECT `+tokenColumns+` FROM tokens t WHERE t.person_id = $1 ORDER BY t.created_at DESC, t.id`, person)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Token])
}

// Token returns a person's token, or ErrNotFound: others' tokens are not to be known.
func (d *DB) Token(ctx context.Context, person, id uuid.UUID) (Token, error) {
	rows, err := d.Pool.Query(ctx, `SELECT `+tokenColumns+` FROM tokens t WHERE t.person_id = $1 AND t.id = $2`, person, id)
	if err != nil {
		return Token{}, err
	}
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Token])
	return t, notFound(err, "token", id)
}

// DeleteToken revokes a person's token and returns its name. ErrNotFound if the person has none
// of this id.
func DeleteToken(ctx context.Context, tx pgx.Tx, person, id uuid.UUID) (name string, err error) {
	err = tx.QueryRow(ctx, `DELETE FROM tokens WHERE person_id = $1 AND id = $2 RETURNING name`, person, id).Scan(&name)
	return name, notFound(err, "token", id)
}

// TokenOwner returns the token that a caller sent, when it has not expired, with its owner.
// ErrNotFound otherwise. It is found by its digest: the database compares digests of what a
// stranger chose, whose order tells nothing of the tokens.
func (d *DB) TokenOwner(ctx context.Context, token string) (Token, Person, error) {
	digest := sha256.Sum256([]byte(token))
	var t Token
	var p Person
	err := d.Pool.QueryRow(ctx, `
		SELECT `+tokenColumns+`, `+personColumns+`
		FROM tokens t JOIN people p ON p.id = t.person_id
		WHERE t.sha256 = $1 AND (t.expires_at IS NULL OR t.expires_at > now())`, digest[:]).Scan(
		&t.ID, &t.PersonID, &t.Name, &t.SHA256, &t.Hint, &t.Scopes, &t.Apps, &t.CreatedAt, &t.ExpiresAt, &t.UsedAt, &t.UsedAddress,
		&p.ID, &p.Issuer, &p.Subject, &p.Login, &p.Name, &p.Email, &p.Groups, &p.CreatedAt, &p.SignedInAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return Token{}, Person{}, fmt.Errorf("API token: %w", ErrNotFound)
	}
	return t, p, err
}

// TokenUsed notes when and from where a token was used last. Call it at most once a minute.
func (d *DB) TokenUsed(ctx context.Context, id uuid.UUID, address string) error {
	_, err := d.Pool.Exec(ctx, `UPDATE tokens SET used_at = now(), used_address = $2 WHERE id = $1`, id, address)
	return err
}
