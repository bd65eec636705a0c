package storage

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Session is what people see of a row of the table sessions; the library that keeps the sessions
// owns the rest of it.
type Session struct {
	ID        uuid.UUID
	PersonID  uuid.UUID
	Login     string // of the person
	CreatedAt time.Time
	SeenAt    time.Time // to the minute
	Expiry    time.Time
	Address   string
	UserAgent string
}

// SessionKey is how a session's token stands in the table: alexedwards/scs keeps its digest.
func SessionKey(token string) string {
	digest := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// StartSession gives a session to a person. Before that it is nobody's, and worth nothing.
func StartSession(ctx context.Context, tx pgx.Tx, token string, person uuid.UUID, providerSID, address, userAgent string) error {
	_, err := tx.Exec(ctx, `
		UPDATE sessions SET person_id = $2, provider_sid = nullif($3, ''), address = $4, user_agent = left($5, 500)
		WHERE token = $1`, SessionKey(token), person, providerSID, address, userAgent)
	return err
}

// SessionOwner returns whose session a token is, and since when. ErrNotFound when it is nobody's
// or its time is over.
func (d *DB) SessionOwner(ctx context.Context, token string) (Session, Person, error) {
	var s Session
	var p Person
	err := d.Pool.QueryRow(ctx, `
		SELECT s.id, s.person_id, p.login, s.created_at, s.seen_at, s.expiry, s.address, s.user_agent, `+personColumns+`
		FROM sessions s JOIN people p ON p.id = s.person_id
		WHERE s.token = $1 AND s.expiry > now()`, SessionKey(token)).Scan(
		&s.ID, &s.PersonID, &s.Login, &s.CreatedAt, &s.SeenAt, &s.Expiry, &s.Address, &s.UserAgent,
		&p.ID, &p.Issuer, &p.Subject, &p.Login, &p.Name, &p.Email, &p.Groups, &p.CreatedAt, &p.SignedInAt)
	return s, p, notFound(err, "session", "")
}

// SessionSeen notes that a session was used just now. Call it at most once a minute.
func (d *DB) SessionSeen(ctx context.Context, id uuid.UUID, address string) error {
	_, err := d.Pool.Exec(ctx, `UPDATE sessions SET seen_at = now(), address = $2 WHERE id = $1`, id, address)
	return err
}

// Sessions returns the sessions that have not ended, of one person, or of all with uuid.Nil; the
// last used first.
func (d *DB) Sessions(ctx context.Context, person uuid.UUID) ([]Session, error) {
	rows, err := d.Pool.Query(ctx, `
		SELECT s.id, s.person_id, p.login, s.created_at, s.seen_at, s.expiry, s.address, s.user_agent
		FROM sessions s JOIN people p ON p.id = s.person_id
		WHERE s.expiry > now() AND (s.person_id = $1 OR $1 = '00000000-0000-0000-0000-000000000000')
		ORDER BY s.seen_at DESC, s.id`, person)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Session])
}

// EndSession ends a session of a person, or of anybody with uuid.Nil, and returns whose it was.
// ErrNotFound if there is none.
func EndSession(ctx context.Context, tx pgx.Tx, person, id uuid.UUID) (login string, err error) {
	err = tx.QueryRow(ctx, `
		DELETE FROM sessions s USING people p
		WHERE p.id = s.person_id AND s.id = $2 AND (s.person_id = $1 OR $1 = '00000000-0000-0000-0000-000000000000')
		RETURNING p.login`, person, id).Scan(&login)
	return login, notFound(err, "session", id)
}

// EndSessionsAt ends sessions on the word of the provider: those of its session sid, or without
// one, all of its subject. A session of the subject that came without a sid may be the one that is
// meant, so it ends too. It returns how many.
func EndSessionsAt(ctx context.Context, tx pgx.Tx, issuer, subject, sid string) (int64, error) {
	tag, err := tx.Exec(ctx, `
		DELETE FROM sessions s USING people p
		WHERE p.id = s.person_id AND p.issuer = $1
			AND ($3 = '' OR s.provider_sid = $3 OR (s.provider_sid IS NULL AND $2 <> '')) AND ($2 = '' OR p.subject = $2) AND ($2 <> '' OR $3 <> '')`,
		issuer, subject, sid)
	return tag.RowsAffected(), err
}

// TakeLogoutToken notes that a logout token of the provider was taken. ErrConflict when it was
// before.
func TakeLogoutToken(ctx context.Context, tx pgx.Tx, jti string, expires time.Time) error {
	tag, err := tx.Exec(ctx, `INSERT INTO logout_tokens (jti, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING`, jti, expires)
	if err == nil && tag.RowsAffected() == 0 {
		return ErrConflict
	}
	return err
}
