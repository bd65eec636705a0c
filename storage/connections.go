package storage

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Connection is a row of the table app_connections: how an app signs in by OAuth 2, and the tokens
// that it holds.
type Connection struct {
	App       string
	Grant     string `db:"grant_type"` // device_code, refresh_token or jwt_bearer
	DomainURL string `db:"domain_url"` // of the identity domain
	ClientID  string
	Scope     string
	Username  string // jwt_bearer: who the tokens are for
	KeyID     string // jwt_bearer: the alias of the certificate

	AccessSealed          []byte // see AccessTokenID
	AccessAt, AccessUntil *time.Time
	RefreshSealed         []byte // see RefreshTokenID
	// RefreshedAt is when the refresh token was given out, nil for one that a person told.
	RefreshedAt, RefreshUntil *time.Time

	ConnectedBy *string // who connected the app here
	ConnectedAs *string // whose consent it is in the identity domain
	ConnectedAt *time.Time

	// Version is another after each change of the tokens.
	Version string
	// UnclearAt is since when nobody knows whether the refresh token was spent.
	UnclearAt *time.Time
	Failures  int // requests that failed since one went well
	Problem   *string
	ProblemAt *time.Time
	Broken    bool // a person must do something

	Asking  bool // somebody asks for a token at this moment
	Resting bool // none is to be asked for before a time
}

// Connected reports whether there is what it takes to get access tokens.
func (c *Connection) Connected() bool {
	if c.Grant == "jwt_bearer" {
		return !c.Broken
	}
	return c.RefreshSealed != nil
}

// Renewable reports whether the domain can be asked for an access token, as far as is known here.
func (c *Connection) Renewable() bool { return c.Grant == "jwt_bearer" || c.RefreshSealed != nil }

// AccessTokenID is the record id, for a Sealer, of an app's access token.
func AccessTokenID(app string) string { return "access-token/" + app }

// RefreshTokenID is the record id, for a Sealer, of an app's refresh token.
func RefreshTokenID(app string) string { return "refresh-token/" + app }

const (
	// claimLife is how long a claim counts whose holder does not come back: longer than the
	// request, with time to write down what came of it.
	claimLife = `interval '90 seconds'`
	// refreshLife is how long a refresh token is taken to live, counted from when it was given out:
	// a domain keeps it for seven days unless told otherwise, and does not say.
	refreshLife = `interval '7 days'`
)

const connectionColumns = `app, grant_type, domain_url, client_id, scope, username, key_id,
	access_sealed, access_at, access_until, refresh_sealed, refreshed_at, refresh_until,
	connected_by, connected_as, connected_at, version::text AS version, unclear_at,
	failures, problem, problem_at, broken,
	coalesce(asked_at > now() - ` + claimLife + `, false) AS asking, coalesce(retry_at > now(), false) AS resting`

// Connection returns the connection of an app that signs in by OAuth 2, or ErrNotFound.
func (d *DB) Connection(ctx context.Context, app string) (Connection, error) {
	return connection(ctx, d.Pool, `app = $1`, app, app)
}

// Connection returns the connection of an app on which the caller has the needed rights, or
// ErrNotFound.
func (s *Scope) Connection(ctx context.Context, app string, needed Rights) (Connection, error) {
	return connection(ctx, s.db.Pool, inReach+` AND app = $7`, app, s.reach.values(needed, app)...)
}

func connection(ctx context.Context, q Querier, where, app string, args ...any) (Connection, error) {
	rows, err := q.Query(ctx, `SELECT `+connectionColumns+` FROM app_connections WHERE `+where, args...)
	if err != nil {
		return Connection{}, err
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Connection])
	return c, notFound(err, "connection", app)
}

// Connections returns the connections of the apps that the caller may view.
func (s *Scope) Connections(ctx context.Context) ([]Connection, error) {
	rows, err := s.db.Pool.Query(ctx, `SELECT `+connectionColumns+` FROM app_connections WHERE `+inReach+` ORDER BY app`,
		s.reach.values(View)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Connection])
}

// SaveConnection stores how an app signs in. With keep, the tokens stay and what went wrong is
// forgotten; without, those of c take their place, of which only a refresh token can be there.
func SaveConnection(ctx context.Context, tx pgx.Tx, c *Connection, keep bool) error {
	if keep {
		_, err := tx.Exec(ctx, `
			UPDATE app_connections SET key_id = $2, failures = 0, retry_at = NULL, problem = NULL, problem_at = NULL, broken = false
			WHERE app = $1`, c.App, c.KeyID)
		return err
	}
	if err := DeleteConnection(ctx, tx, c.App); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO app_connections (app, grant_type, domain_url, client_id, scope, username, key_id,
			refresh_sealed, refresh_until, connected_by, connected_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $8::bytea IS NOT NULL THEN now() + `+refreshLife+` END,
			$9, CASE WHEN $8::bytea IS NOT NULL THEN now() END)`,
		c.App, c.Grant, c.DomainURL, c.ClientID, c.Scope, c.Username, c.KeyID, c.RefreshSealed, c.ConnectedBy)
	return err
}

// DeleteConnection forgets an app's connection, and a consent under way.
func DeleteConnection(ctx context.Context, tx pgx.Tx, app string) error {
	_, err := tx.Exec(ctx, `DELETE FROM app_connections WHERE app = $1`, app)
	return err
}

// Disconnect forgets an app's tokens, and a consent under way. ErrNotFound if there is no
// connection that the caller may manage.
func Disconnect(ctx context.Context, tx pgx.Tx, r Reach, app string) error {
	tag, err := tx.Exec(ctx, `
		UPDATE app_connections SET version = gen_random_uuid(), asked_by = NULL, asked_at = NULL, unclear_at = NULL,
			access_sealed = NULL, access_at = NULL, access_until = NULL,
			refresh_sealed = NULL, refreshed_at = NULL, refresh_until = NULL,
			connected_by = NULL, connected_as = NULL, connected_at = NULL,
			failures = 0, retry_at = NULL, problem = NULL, problem_at = NULL, broken = false
		WHERE `+inReach+` AND app = $7`, r.values(View|Manage, app)...)
	if err == nil && tag.RowsAffected() == 0 {
		return fmt.Errorf("connection %s: %w", app, ErrNotFound)
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM app_consents WHERE app = $1`, app)
	}
	return err
}

// ClaimConnection writes that a process is about to ask for a token, and reports whether it may: not when
// the connection has changed since c was read, nor while somebody else asks. The claim is a
// commit of its own: should the process die before its end is written, the next one finds in
// c.UnclearAt that the refresh token may have been spent.
func (d *DB) ClaimConnection(ctx context.Context, c *Connection, process string) (bool, error) {
	rows, err := d.Pool.Query(ctx, `
		UPDATE app_connections SET version = gen_random_uuid(), asked_by = $3, asked_at = now(),
			unclear_at = coalesce(unclear_at, asked_at)
		WHERE app = $1 AND version = $2::text::uuid AND (asked_at IS NULL OR asked_at <= now() - `+claimLife+`)
		RETURNING `+connectionColumns, c.App, c.Version, process)
	if err != nil {
		return false, fmt.Errorf("claim the connection of %s: %w", c.App, err)
	}
	claimed, err := pgx.CollectRows(rows, pgx.RowToStructByName[Connection])
	if err != nil || len(claimed) == 0 {
		return false, err
	}
	*c = claimed[0]
	return true, nil
}

// Tokens are what an identity domain gave for a connection.
type Tokens struct {
	AccessSealed  []byte
	AccessUntil   time.Time
	RefreshSealed []byte // nil: the old one stays
	As            string // whose tokens they are, where they tell
}

const takeTokens = `version = gen_random_uuid(), asked_by = NULL, asked_at = NULL, unclear_at = NULL,
	access_sealed = @access, access_at = now(), access_until = @until,
	refresh_sealed = coalesce(@refresh, refresh_sealed),
	refreshed_at = CASE WHEN @refresh::bytea IS NOT NULL THEN now() ELSE refreshed_at END,
	refresh_until = CASE WHEN @refresh::bytea IS NOT NULL THEN now() + ` + refreshLife + ` ELSE refresh_until END,
	failures = 0, retry_at = NULL, problem = NULL, problem_at = NULL, broken = false`

func (t *Tokens) args(c *Connection) pgx.NamedArgs {
	return pgx.NamedArgs{
		"app": c.App, "version": c.Version, "access": t.AccessSealed, "until": t.AccessUntil, "refresh": t.RefreshSealed, "as": t.As,
	}
}

// SaveTokens ends a claim with what it got. ErrStale when the connection is another's by now, or
// was changed: the tokens are worth nothing to it.
func (d *DB) SaveTokens(ctx context.Context, c *Connection, t *Tokens) error {
	tag, err := d.Pool.Exec(ctx, `
		UPDATE app_connections SET `+takeTokens+`, connected_as = coalesce(nullif(@as, ''), connected_as)
		WHERE app = @app AND version = @version::text::uuid`, t.args(c))
	if err == nil && tag.RowsAffected() == 0 {
		return fmt.Errorf("connection %s: %w", c.App, ErrStale)
	}
	return err
}

// Refusal is why no token was got.
type Refusal struct {
	Problem string
	Broken  bool          // a person must do something
	Spent   bool          // the refresh token is worth nothing any more
	Unclear bool          // nobody knows whether it was spent
	Rest    time.Duration // how long to leave the domain alone
}

// SaveRefusal ends a claim that got no token, with a line of the audit trail where line is not nil.
// ErrStale as for SaveTokens.
func (d *DB) SaveRefusal(ctx context.Context, c *Connection, r *Refusal, line *Audit) error {
	return d.InTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE app_connections SET version = gen_random_uuid(), asked_by = NULL, asked_at = NULL,
				unclear_at = CASE WHEN $3 THEN coalesce(unclear_at, now()) WHEN $4 THEN NULL ELSE unclear_at END,
				refresh_sealed = CASE WHEN $4 THEN NULL ELSE refresh_sealed END,
				refresh_until = CASE WHEN $4 THEN NULL ELSE refresh_until END,
				failures = failures + 1, retry_at = now() + $5::interval,
				problem = $6, problem_at = coalesce(problem_at, now()), broken = $7
			WHERE app = $1 AND version = $2::text::uuid`, c.App, c.Version, r.Unclear, r.Spent, r.Rest, r.Problem, r.Broken)
		if err == nil && tag.RowsAffected() == 0 {
			return fmt.Errorf("connection %s: %w", c.App, ErrStale)
		}
		if err != nil || line == nil {
			return err
		}
		return InsertAudit(ctx, tx, *line)
	})
}

// DropAccess forgets an access token that the application did not take, so that the next who
// needs one asks for another; not while somebody asks already, or when c is out of date.
func (d *DB) DropAccess(ctx context.Context, app, version string) error {
	_, err := d.Pool.Exec(ctx, `
		UPDATE app_connections SET version = gen_random_uuid(), access_sealed = NULL, access_at = NULL, access_until = NULL
		WHERE app = $1 AND version = $2::text::uuid AND (asked_at IS NULL OR asked_at <= now() - `+claimLife+`)`, app, version)
	return err
}

// EndRest lets the domain be asked again before its time.
func (d *DB) EndRest(ctx context.Context, app string) error {
	_, err := d.Pool.Exec(ctx, `UPDATE app_connections SET retry_at = NULL WHERE app = $1 AND retry_at IS NOT NULL`, app)
	return err
}

// RefreshesDue returns up to limit apps whose refresh token is older than age and a part of
// spread, which is each app's own, so that those that were connected on one day do not come
// together; those first that wait longest.
func (d *DB) RefreshesDue(ctx context.Context, age, spread time.Duration, limit int) ([]string, error) {
	rows, err := d.Pool.Query(ctx, `
		SELECT app FROM app_connections
		WHERE refresh_sealed IS NOT NULL
			AND (refreshed_at IS NULL OR refreshed_at < now() - $1::interval - $2::interval * ((hashtext(app)::bigint & 1023) / 1024.0))
			AND (asked_at IS NULL OR asked_at <= now() - `+claimLife+`) AND (retry_at IS NULL OR retry_at <= now())
		ORDER BY refreshed_at NULLS FIRST LIMIT $3`, age, spread, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
