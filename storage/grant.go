package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// forEver is a retention that no month outlives; an interval has no infinity before PostgreSQL 17.
const forEver = "10000 years"

// GrantServer grants a database role what a serving process needs and no more, so that it can run
// without owning the tables: the role adds lines to the audit trail and seals them, and can neither
// change nor remove one. It is called by the owner, after the migrations and again after each
// upgrade. keepAudit is how long the role must keep the trail, whatever the server's setting says;
// 0: for ever.
func GrantServer(ctx context.Context, pool *pgxpool.Pool, role string, keepAudit time.Duration) error {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := checkServerRole(ctx, tx, role); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, serverGrants, pgx.Identifier{role}.Sanitize(), schemaTable)
		if err != nil {
			return err
		}
		grants, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, grant := range grants {
			if _, err := tx.Exec(ctx, grant); err != nil {
				return fmt.Errorf("%s: %w", grant, err)
			}
		}
		_, err = tx.Exec(ctx, `
			UPDATE audit_retention SET at_least = CASE WHEN $1::interval = '0' THEN $2 ELSE $1 END`, keepAudit, forEver)
		return err
	})
	if err != nil {
		return fmt.Errorf("grant to the role %s what a server needs: %w", role, err)
	}
	return nil
}

// checkServerRole refuses roles that no grant would bind.
func checkServerRole(ctx context.Context, tx pgx.Tx, role string) error {
	var super, owner bool
	err := tx.QueryRow(ctx, `
		SELECT rolsuper, pg_has_role(oid, (SELECT relowner FROM pg_class WHERE oid = 'audit'::regclass), 'MEMBER')
		FROM pg_roles WHERE rolname = $1`, role).Scan(&super, &owner)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return errors.New("there is no such role; make it first, with: createuser --pwprompt")
	case err != nil:
		return err
	case super:
		return errors.New("it is a superuser, whom nothing binds; use another role")
	case owner:
		return errors.New("it owns the tables, or may act as who does; use another role")
	}
	return nil
}

// serverGrants makes the statements for the role $1. Of the tables of this schema it takes those
// that belong to the owner of the audit trail: ours and River's. The number of the schema ($2 for
// ours) is there to be read. Lines of the trail come without a time and an id of the role's own.
const serverGrants = `
	WITH ours AS (
		SELECT c.oid, c.oid::regclass AS name, c.relname, c.relkind,
			c.relname IN ('audit', 'audit_seals', 'audit_retention') OR EXISTS (
				SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent = 'audit'::regclass) AS trail,
			c.relname IN ($2, 'river_migration') AS version
		FROM pg_class c
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'S')
			AND c.relowner = (SELECT relowner FROM pg_class WHERE oid = 'audit'::regclass))
	SELECT format('GRANT USAGE ON SCHEMA %I TO %s', current_schema(), $1::text)
	UNION ALL
	SELECT format('REVOKE ALL ON %s FROM %s', name, $1) FROM ours WHERE relkind <> 'S' AND (trail OR version)
	UNION ALL
	SELECT format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s', name, $1) FROM ours
	WHERE relkind <> 'S' AND NOT trail AND NOT version
	UNION ALL
	SELECT format('GRANT SELECT ON %s TO %s', name, $1) FROM ours
	WHERE version OR relname IN ('audit', 'audit_seals', 'audit_retention')
	UNION ALL
	SELECT format('GRANT INSERT (actor, token, action, app, object, outcome, detail, address, request_id) ON audit TO %s', $1)
	UNION ALL
	SELECT format('GRANT INSERT ON audit_seals TO %s', $1)
	UNION ALL
	SELECT format('GRANT SELECT ON SEQUENCE audit_id_seq TO %s', $1)
	UNION ALL
	SELECT format('GRANT USAGE, SELECT ON SEQUENCE %s TO %s', name, $1) FROM ours
	WHERE relkind = 'S' AND oid <> pg_get_serial_sequence('audit', 'id')::regclass
	UNION ALL
	SELECT format('GRANT EXECUTE ON FUNCTION %s TO %s', f, $1)
	FROM unnest('{audit_add_months(), audit_drop_months(interval)}'::regprocedure[]) AS f`
