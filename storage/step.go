package storage

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Claim gives the step of a task to one worker: nobody else may write until the lease runs out,
// and the task's fence, which Claim renews, is worth nothing to others. With intent it also
// records that a remote job is about to be started; that is refused where an intent stands
// already, and where cancellation was asked for. The task runs from then on, unless it has come
// to its verdict and is only cleaned up after. ErrStale if the task has moved on, or another
// worker holds it.
func (d *DB) Claim(ctx context.Context, t *Task, by string, lease time.Duration, intent bool) error {
	err := d.Pool.QueryRow(ctx, `
		UPDATE tasks
		SET fence = fence + 1, version = version + 1, lease_by = $3, lease_until = now() + $4::interval,
			state = CASE WHEN verdict IS NULL THEN 'running' ELSE state END,
			started_at = CASE WHEN verdict IS NULL THEN coalesce(started_at, now()) ELSE started_at END,
			percent = greatest(percent, $6),
			remote_intent_at = CASE WHEN $5 THEN now() ELSE remote_intent_at END
		WHERE id = $1 AND fence = $2
			AND (lease_until IS NULL OR lease_until < now())
			AND NOT ($5 AND (remote_intent_at IS NOT NULL OR cancel_requested_at IS NOT NULL))
		RETURNING fence, version, state, started_at, remote_intent_at`,
		t.ID, t.Fence, by, lease, intent, t.Percent,
	).Scan(&t.Fence, &t.Version, &t.State, &t.StartedAt, &t.RemoteIntentAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrStale
	}
	return err
}

// ExtendLease keeps a claimed step for longer and reports whether the task is to be cancelled.
// ErrStale if the claim was lost.
func (d *DB) ExtendLease(ctx context.Context, id uuid.UUID, fence int64, lease time.Duration) (cancel bool, err error) {
	err = d.Pool.QueryRow(ctx, `
		UPDATE tasks SET lease_until = now() + $3::interval
		WHERE id = $1 AND fence = $2
		RETURNING cancel_requested_at IS NOT NULL`, id, fence, lease).Scan(&cancel)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, ErrStale
	}
	return cancel, err
}

// SaveProgress writes a claimed step's progress and new log text while it goes on. The percent
// never falls. ErrStale if the claim was lost.
func (d *DB) SaveProgress(ctx context.Context, t *Task, log string) error {
	return d.InTx(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			UPDATE tasks
			SET percent = greatest(percent, $3), message = $4, eta = $5, log_size = log_size + $6, version = version + 1
			WHERE id = $1 AND fence = $2
			RETURNING log_size`, t.ID, t.Fence, t.Percent, t.Message, t.ETA, len(log)).Scan(&t.LogSize)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrStale
		}
		if err != nil || log == "" {
			return err
		}
		_, err = tx.Exec(ctx, insertLog, t.ID, t.LogSize-int64(len(log)), log)
		return err
	})
}

// SaveStep writes what a step changed, ends its lease, appends log, and removes the River job
// that woke it. The task must carry the fence that the worker holds; ErrStale if another has
// moved the task on, and the transaction must then be rolled back. A task whose cancellation
// was asked for meanwhile becomes due at once, and t.CancelRequestedAt tells.
func SaveStep(ctx context.Context, tx pgx.Tx, t *Task, log string, done int64) error {
	var batch pgx.Batch
	batch.Queue(`
		UPDATE tasks SET
			fence = fence + 1, version = version + 1, lease_by = NULL, lease_until = NULL, crashes = 0,
			state = $3, started_at = $4, step = $5,
			due_at = CASE WHEN cancel_requested_at IS NOT NULL AND $10::jsonb IS NULL THEN now() ELSE $6 END,
			tries = $7, job_id = $8, work = $9, verdict = $10,
			percent = greatest(percent, $11), message = $12, eta = $13,
			remote_intent_at = $14, remote_job_id = $15, remote_status = $16, remote_url = $17,
			input = $18, content = CASE WHEN $18 = 'archive' THEN content END, outputs = $19, log_size = log_size + $20, deadline_at = $21
		WHERE id = $1 AND fence = $2
		RETURNING fence, version, log_size, cancel_requested_at, due_at`,
		t.ID, t.Fence, t.State, t.StartedAt, t.Step, t.DueAt, t.Tries, t.JobID, t.Work, t.Verdict,
		t.Percent, t.Message, t.ETA, t.RemoteIntentAt, t.RemoteJobID, t.RemoteStatus, t.RemoteURL,
		t.Input, t.Outputs, len(log), t.DeadlineAt,
	).QueryRow(func(row pgx.Row) error {
		return stale(row.Scan(&t.Fence, &t.Version, &t.LogSize, &t.CancelRequestedAt, &t.DueAt))
	})
	if log != "" {
		batch.Queue(insertLog, t.ID, t.LogSize, log)
	}
	queueSums(&batch, t)
	batch.Queue(removeJob, done)
	return tx.SendBatch(ctx, &batch).Close()
}

// Sender is a pool or a transaction. A batch that a pool sends is one transaction of its own.
type Sender interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// FinishTask writes a task's final state, joins its log into the row, gives its outputs their
// expiry, and removes the River job that woke it. ErrStale if another worker has moved the task
// on; then nothing of the task was written.
func FinishTask(ctx context.Context, to Sender, t *Task, log string, keepOutputs time.Duration, done int64) error {
	var batch pgx.Batch
	hadLog := t.LogSize > 0
	joined := `$19`
	if hadLog {
		joined = `coalesce((SELECT string_agg(l.text, '' ORDER BY l.at) FROM task_logs AS l WHERE l.task_id = $1), '') || $19`
	}
	batch.Queue(`
		UPDATE tasks SET
			fence = fence + 1, version = version + 1, lease_by = NULL, lease_until = NULL,
			due_at = NULL, step = '', verdict = NULL, job_id = NULL, tries = 0,
			state = $3, started_at = $4, finished_at = now(), percent = $5, message = $6, eta = NULL,
			error_code = $7, error_message = $8, error_detail = $9, result = $10,
			remote_intent_at = $11, remote_job_id = $12, remote_status = $13, remote_url = $14, work = $15,
			input = $16, content = NULL, outputs = $17,
			outputs_expire_at = CASE WHEN jsonb_array_length($17) > 0 THEN now() + $18::interval END,
			log = `+joined+`, log_size = log_size + octet_length($19)
		WHERE id = $1 AND fence = $2
		RETURNING fence, version, finished_at, log_size`,
		t.ID, t.Fence, t.State, t.StartedAt, t.Percent, t.Message,
		t.ErrorCode, t.ErrorMessage, t.ErrorDetail, t.Result,
		t.RemoteIntentAt, t.RemoteJobID, t.RemoteStatus, t.RemoteURL, t.Work, t.Input, t.Outputs, keepOutputs, log,
	).QueryRow(func(row pgx.Row) error {
		return stale(row.Scan(&t.Fence, &t.Version, &t.FinishedAt, &t.LogSize))
	})
	if hadLog {
		// The condition is for a worker that came too late: the log is not its own to delete.
		batch.Queue(`
			DELETE FROM task_logs WHERE task_id = $1
				AND EXISTS (SELECT FROM tasks WHERE id = $1 AND finished_at IS NOT NULL)`, t.ID)
	}
	queueSums(&batch, t)
	batch.Queue(removeJob, done)
	return to.SendBatch(ctx, &batch).Close()
}

// removeJob ends a River job in the transaction that writes what it did. River allows that a
// job's row is gone when the job ends, and a row less is cheaper than one more change to it:
// the history of work is in our own table.
const removeJob = `DELETE FROM river_job WHERE id = $1`

const insertLog = `INSERT INTO task_logs (task_id, at, text) VALUES ($1, $2, $3)`

// stale words an update that found no row under its fence.
func stale(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrStale
	}
	return err
}

// Log returns a task's log text from the byte offset after on, and whether the task is final.
// An offset past the end gives no text. ErrNotFound if there is no such task.
func (d *DB) Log(ctx context.Context, id uuid.UUID, after int64) (text string, final bool, err error) {
	// The running log is read by whole rows; the one that after falls into is cut below.
	var chunks *string
	var first *int64
	err = d.Pool.QueryRow(ctx, `
		SELECT t.finished_at IS NOT NULL,
			CASE WHEN t.finished_at IS NOT NULL THEN t.log ELSE (
				SELECT string_agg(l.text, '' ORDER BY l.at) FROM task_logs AS l
				WHERE l.task_id = t.id AND l.at + octet_length(l.text) > $2) END,
			CASE WHEN t.finished_at IS NOT NULL THEN 0 ELSE (
				SELECT min(l.at) FROM task_logs AS l
				WHERE l.task_id = t.id AND l.at + octet_length(l.text) > $2) END
		FROM tasks AS t WHERE t.id = $1`, id, after).Scan(&final, &chunks, &first)
	if err != nil {
		return "", false, notFound(err, "task", id)
	}
	if chunks == nil || first == nil {
		return "", final, nil
	}
	skip := min(max(after-*first, 0), int64(len(*chunks)))
	return (*chunks)[skip:], final, nil
}
