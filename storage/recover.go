package storage

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// The queries here take work back from processes that died. They read and change River's
// table, which is a waker to us and no more; what they need of it is small and checked by
// tests: id, state, attempted_by.

// deadProcesses names the processes that hold a lease or a running River job and whose
// advisory lock is free, so that they are no more.
const deadProcesses = `
	WITH holders AS (
		SELECT lease_by AS process FROM tasks WHERE finished_at IS NULL AND lease_by IS NOT NULL
		UNION
		SELECT attempted_by[array_length(attempted_by, 1)] FROM river_job WHERE state = 'running')
	SELECT coalesce(array_agg(process), '{}') FROM holders
	WHERE process IS NOT NULL AND process <> $1
		AND pg_try_advisory_xact_lock(hashtextextended('longhaul process ' || process, 0))`

// ReleaseDead frees what dead processes held: their River jobs become available again, with
// their count of attempts, and their leases end, so that what they still send is stale. self
// names the calling process, which lives. It returns how many jobs and leases were freed.
func (d *DB) ReleaseDead(ctx context.Context, self string) (jobs, leases int64, err error) {
	err = d.InTx(ctx, func(tx pgx.Tx) error {
		// One process at a time, and the rest need not wait: the one will do it for all.
		var mine bool
		err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended('longhaul release dead', 0))`).Scan(&mine)
		if err != nil || !mine {
			return err
		}
		var dead []string
		if err := tx.QueryRow(ctx, deadProcesses, self).Scan(&dead); err != nil || len(dead) == 0 {
			return err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE tasks SET lease_by = NULL, lease_until = NULL, fence = fence + 1, due_at = now(), crashes = crashes + 1
			WHERE finished_at IS NULL AND lease_by = ANY($1)`, dead)
		if err != nil {
			return err
		}
		leases = tag.RowsAffected()
		tag, err = tx.Exec(ctx, `
			UPDATE river_job SET state = 'available', scheduled_at = now()
			WHERE state = 'running' AND attempted_by[array_length(attempted_by, 1)] = ANY($1)`, dead)
		jobs = tag.RowsAffected()
		return err
	})
	return jobs, leases, err
}

// Unwoken returns up to limit open tasks that have been due for longer than grace and that no
// live River job will wake.
func (d *DB) Unwoken(ctx context.Context, grace time.Duration, limit int) ([]uuid.UUID, error) {
	rows, err := d.Pool.Query(ctx, `
		SELECT t.id FROM tasks AS t
		WHERE t.finished_at IS NULL AND t.due_at < now() - $1::interval
			AND (t.lease_until IS NULL OR t.lease_until < now())
			AND NOT EXISTS (
				SELECT FROM river_job AS j
				WHERE j.id = t.job_id AND j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled'))
		ORDER BY t.due_at LIMIT $2`, grace, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// SetWaker records that the River job will wake an open task, which becomes due. A task that
// has ended meanwhile stays as it is.
func SetWaker(ctx context.Context, tx pgx.Tx, id uuid.UUID, job int64) error {
	_, err := tx.Exec(ctx, `
		UPDATE tasks SET job_id = $2, due_at = least(due_at, now())
		WHERE id = $1 AND state IN ('queued', 'running')`, id, job)
	return err
}

// WakeSoon makes a River job available now instead of when River's scheduler next looks, which
// is every five seconds. The job still waits for its scheduled_at.
func WakeSoon(ctx context.Context, tx pgx.Tx, job int64) error {
	_, err := tx.Exec(ctx, `UPDATE river_job SET state = 'available' WHERE id = $1 AND state = 'scheduled'`, job)
	return err
}
