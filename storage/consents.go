package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Consent is a row of the table app_consents: a consent that was asked for by device code.
type Consent struct {
	App       string
	ID        string
	StartedBy string
	ExpiresAt time.Time
	// Waiting, denied, expired or failed; one that was given has no row.
	State   string
	Problem *string

	UserCode                string
	VerificationURI         string `db:"verification_uri"`
	VerificationURIComplete string `db:"verification_uri_complete"`
	DeviceSealed            []byte // see DeviceCodeID
	IntervalSeconds         int    // between two questions to the domain
}

// DeviceCodeID is the record id, for a Sealer, of the device code of an app's consent.
func DeviceCodeID(app string) string { return "device-code/" + app }

const consentColumns = `app, id::text AS id, started_by, expires_at,
	CASE WHEN state = 'waiting' AND expires_at <= now() THEN 'expired' ELSE state END AS state, problem,
	user_code, verification_uri, verification_uri_complete, device_sealed, interval_seconds`

// Consent returns the consent that was asked for last for an app that the caller may manage, or
// ErrNotFound.
func (s *Scope) Consent(ctx context.Context, app string) (Consent, error) {
	rows, err := s.db.Pool.Query(ctx, `SELECT `+consentColumns+` FROM app_consents WHERE `+inReach+` AND app = $7`,
		s.reach.values(View|Manage, app)...)
	if err != nil {
		return Consent{}, err
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Consent])
	return c, notFound(err, "consent", app)
}

// StartConsent stores a consent that waits for a person, in the place of an older one. It ends
// after life, by the clock of the database. ErrNotFound when there is no connection that the caller
// may manage, or it is not the one that was read: the code would be another application's.
func StartConsent(ctx context.Context, tx pgx.Tx, r Reach, c *Consent, of *Connection, life time.Duration) error {
	tag, err := tx.Exec(ctx, `
		INSERT INTO app_consents (app, started_by, expires_at, user_code, verification_uri, verification_uri_complete,
			device_sealed, interval_seconds, next_at)
		SELECT app, $8, now() + $9::interval, $10, $11, $12, $13, $14::int, now() + $14::int * interval '1 second'
		FROM app_connections WHERE `+inReach+` AND app = $7 AND domain_url = $15 AND client_id = $16
		ON CONFLICT (app) DO UPDATE SET id = excluded.id, started_by = excluded.started_by, started_at = excluded.started_at,
			expires_at = excluded.expires_at, user_code = excluded.user_code, verification_uri = excluded.verification_uri,
			verification_uri_complete = excluded.verification_uri_complete, device_sealed = excluded.device_sealed,
			interval_seconds = excluded.interval_seconds, next_at = excluded.next_at, state = excluded.state, problem = NULL`,
		r.values(View|Manage, c.App, c.StartedBy, life, c.UserCode, c.VerificationURI, c.VerificationURIComplete,
			c.DeviceSealed, c.IntervalSeconds, of.DomainURL, of.ClientID)...)
	if err == nil && tag.RowsAffected() == 0 {
		return fmt.Errorf("connection %s: %w", c.App, ErrNotFound)
	}
	return err
}

// ClaimPoll returns the consent of an app when the domain may be asked about it now, and keeps
// others from asking until PollAgain, or until the request must have ended. ErrNotFound when it is
// not to be asked.
func (d *DB) ClaimPoll(ctx context.Context, app string) (Consent, error) {
	rows, err := d.Pool.Query(ctx, `
		UPDATE app_consents SET next_at = now() + interval '40 seconds'
		WHERE app = $1 AND state = 'waiting' AND next_at <= now() AND expires_at > now()
		RETURNING `+consentColumns, app)
	if err != nil {
		return Consent{}, err
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Consent])
	return c, notFound(err, "consent", app)
}

// PollAgain lets the domain be asked again after the consent's interval, which grows by slower
// seconds, or after rest if that is longer. problem is what people should know meanwhile.
func (d *DB) PollAgain(ctx context.Context, c *Consent, slower int, rest time.Duration, problem string) error {
	_, err := d.Pool.Exec(ctx, `
		UPDATE app_consents SET interval_seconds = interval_seconds + $3::int, problem = nullif($5, ''),
			next_at = now() + greatest((interval_seconds + $3::int) * interval '1 second', $4::interval)
		WHERE app = $1 AND id = $2::text::uuid AND state = 'waiting'`, c.App, c.ID, slower, rest, problem)
	return err
}

// FailConsent ends a consent that will not be given, unless another took its place.
func FailConsent(ctx context.Context, q Querier, c *Consent, state, problem string) error {
	_, err := q.Exec(ctx, `
		UPDATE app_consents SET state = $3, problem = $4
		WHERE app = $1 AND id = $2::text::uuid AND state = 'waiting'`, c.App, c.ID, state, problem)
	return err
}

// GiveConsent ends a consent that was given: its tokens become the app's. ErrStale when the consent is
// not the app's any more, because the app was changed, disconnected or deleted meanwhile.
func GiveConsent(ctx context.Context, tx pgx.Tx, c *Consent, t *Tokens) error {
	tag, err := tx.Exec(ctx, `DELETE FROM app_consents WHERE app = $1 AND id = $2::text::uuid`, c.App, c.ID)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrStale
	}
	if err != nil {
		return fmt.Errorf("connect %s: %w", c.App, err)
	}
	args := t.args(&Connection{App: c.App})
	args["by"] = c.StartedBy
	tag, err = tx.Exec(ctx, `
		UPDATE app_connections SET `+takeTokens+`, connected_by = @by, connected_as = nullif(@as, ''), connected_at = now()
		WHERE app = @app`, args)
	if err == nil && tag.RowsAffected() == 0 {
		err = errors.New("the connection is gone")
	}
	return err
}
