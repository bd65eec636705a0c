package storage

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Kept names a task's folder whose files have had their time.
type Kept struct {
	ID     uuid.UUID
	Folder string
}

func collectKept(rows pgx.Rows, err error) ([]Kept, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Kept, error) {
		var k Kept
		var app, name string
		err := row.Scan(&k.ID, &app, &name)
		k.Folder = app + "/" + name + "/" + k.ID.String()
		return k, err
	})
}

// KeptInputs returns up to limit final tasks that still have their input and ended more than
// age ago.
func (d *DB) KeptInputs(ctx context.Context, age time.Duration, limit int) ([]Kept, error) {
	return collectKept(d.Pool.Query(ctx, `
		SELECT id, app, name FROM tasks
		WHERE finished_at IS NOT NULL AND input = 'inbound' AND finished_at <= now() - $1::interval
		ORDER BY finished_at LIMIT $2`, age, limit))
}

// InputDeleted records that a final task's input is gone.
func (d *DB) InputDeleted(ctx context.Context, id uuid.UUID) error {
	_, err := d.Pool.Exec(ctx, `
		UPDATE tasks SET input = 'deleted', version = version + 1
		WHERE id = $1 AND finished_at IS NOT NULL`, id)
	return err
}

// ExpiredOutputs returns up to limit final tasks whose outputs have had their time.
func (d *DB) ExpiredOutputs(ctx context.Context, limit int) ([]Kept, error) {
	return collectKept(d.Pool.Query(ctx, `
		SELECT id, app, name FROM tasks
		WHERE outputs_expire_at <= now() AND outputs_deleted_at IS NULL
		ORDER BY outputs_expire_at LIMIT $1`, limit))
}

// OutputsDeleted records that the bytes of a task's outputs are gone; their list stays.
func (d *DB) OutputsDeleted(ctx context.Context, id uuid.UUID) error {
	_, err := d.Pool.Exec(ctx, `
		UPDATE tasks SET outputs_deleted_at = now(), version = version + 1
		WHERE id = $1 AND finished_at IS NOT NULL AND outputs_deleted_at IS NULL`, id)
	return err
}

// OldIdempotencyKeys deletes up to limit keys older than age and returns how many.
func (d *DB) OldIdempotencyKeys(ctx context.Context, age time.Duration, limit int) (int64, error) {
	tag, err := d.Pool.Exec(ctx, `
		DELETE FROM idempotency_keys WHERE (created_by, key) IN (
			SELECT created_by, key FROM idempotency_keys WHERE created_at < now() - $1::interval LIMIT $2)`, age, limit)
	return tag.RowsAffected(), err
}

// ExpiredSessions deletes up to limit browser sessions that have run out and returns how many.
func (d *DB) ExpiredSessions(ctx context.Context, limit int) (int64, error) {
	tag, err := d.Pool.Exec(ctx, `
		DELETE FROM sessions WHERE token IN (SELECT token FROM sessions WHERE expiry < now() LIMIT $1)`, limit)
	return tag.RowsAffected(), err
}

// OldLogoutTokens deletes up to limit logout tokens that could not be used any more anyway and
// returns how many.
func (d *DB) OldLogoutTokens(ctx context.Context, limit int) (int64, error) {
	tag, err := d.Pool.Exec(ctx, `
		DELETE FROM logout_tokens WHERE jti IN (SELECT jti FROM logout_tokens WHERE expires_at < now() LIMIT $1)`, limit)
	return tag.RowsAffected(), err
}

// KnownTasks returns those of ids that are tasks.
func (d *DB) KnownTasks(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]bool, error) {
	return d.idSet(ctx, `SELECT id FROM tasks WHERE id = ANY($1)`, ids)
}

func (d *DB) idSet(ctx context.Context, sql string, ids []uuid.UUID) (map[uuid.UUID]bool, error) {
	rows, err := d.Pool.Query(ctx, sql, ids)
	if err != nil {
		return nil, err
	}
	set := make(map[uuid.UUID]bool)
	var id uuid.UUID
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error {
		set[id] = true
		return nil
	})
	return set, err
}
