package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Task is a row of the table tasks: one run of a kind for an app.
type Task struct {
	ID          uuid.UUID
	App         string
	Name        string
	Kind        string
	Params      json.RawMessage
	MaxRejected *int64 // nil: no limit
	Exclusive   bool
	Gated       bool // waits for a place on its application
	Parent      *uuid.UUID
	Attempt     int
	CreatedBy   string

	State      string
	Version    int64
	CreatedAt  time.Time
	StartedAt  *time.Time
	FinishedAt *time.Time

	Step              string
	Fence             int64
	DueAt             *time.Time
	DeadlineAt        *time.Time
	Tries             int
	Crashes           int // processes that died while they held the step
	JobID             *int64
	LeaseBy           *string
	LeaseUntil        *time.Time
	Work              json.RawMessage
	Verdict           json.RawMessage
	CancelRequestedAt *time.Time
	CancelRequestedBy *string

	Percent int
	Message string
	ETA     *time.Time `db:"eta"`

	RemoteIntentAt *time.Time
	RemoteJobID    *string
	RemoteStatus   *string
	RemoteURL      *string `db:"remote_url"`

	ErrorCode    *string
	ErrorMessage *string
	ErrorDetail  *string
	Result       json.RawMessage

	Input            string // none, archive, inbound or deleted
	InputSize        int64
	Content          *uuid.UUID // the archive, until it is unpacked
	Outputs          []Output
	OutputsExpireAt  *time.Time
	OutputsDeletedAt *time.Time

	LogSize int64
}

// Output is a file that a task leaves in its folder outbound/.
type Output struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // hexadecimal
	// Sums are the checksums of its blocks. Only a step that makes the output has them; later
	// [DB.OutputSums] does.
	Sums []byte `json:"-"`
}

// Final reports whether the task has ended.
func (t *Task) Final() bool { return t.FinishedAt != nil }

// Folder is the task's folder in the file storage: <app>/<name>/<id>.
func (t *Task) Folder() string {
	return t.App + "/" + t.Name + "/" + t.ID.String()
}

// taskColumns is every column of tasks but log, which may be large and is read on its own.
const taskColumns = `id, app, name, kind, params, max_rejected, exclusive, gated, parent, attempt, created_by,
	state, version, created_at, started_at, finished_at,
	step, fence, due_at, deadline_at, tries, crashes, job_id, lease_by, lease_until, work, verdict,
	cancel_requested_at, cancel_requested_by, percent, message, eta,
	remote_intent_at, remote_job_id, remote_status, remote_url,
	error_code, error_message, error_detail, result,
	input, input_size, content, outputs, outputs_expire_at, outputs_deleted_at, log_size`

// scanTask reads the columns of taskColumns, in their order.
func scanTask(row pgx.CollectableRow) (Task, error) {
	var t Task
	err := row.Scan(&t.ID, &t.App, &t.Name, &t.Kind, &t.Params, &t.MaxRejected, &t.Exclusive, &t.Gated, &t.Parent, &t.Attempt, &t.CreatedBy,
		&t.State, &t.Version, &t.CreatedAt, &t.StartedAt, &t.FinishedAt,
		&t.Step, &t.Fence, &t.DueAt, &t.DeadlineAt, &t.Tries, &t.Crashes, &t.JobID, &t.LeaseBy, &t.LeaseUntil, &t.Work, &t.Verdict,
		&t.CancelRequestedAt, &t.CancelRequestedBy, &t.Percent, &t.Message, &t.ETA,
		&t.RemoteIntentAt, &t.RemoteJobID, &t.RemoteStatus, &t.RemoteURL,
		&t.ErrorCode, &t.ErrorMessage, &t.ErrorDetail, &t.Result,
		&t.Input, &t.InputSize, &t.Content, &t.Outputs, &t.OutputsExpireAt, &t.OutputsDeletedAt, &t.LogSize)
	return t, err
}

// QueueTask queues the statements that store a new task, due at once, and the audit line about it.
// Where the task's app is gone, or is not one on which the caller may start tasks, they fail so that
// NotStored tells, and nothing after them is run.
func QueueTask(batch *pgx.Batch, r Reach, t *Task, line Audit) {
	batch.Queue(`
		INSERT INTO tasks (id, app, name, kind, params, max_rejected, exclusive, gated, parent, attempt, created_by,
			created_at, step, due_at, deadline_at, job_id, work, message, input, input_size, content)
		VALUES ($7, CASE WHEN `+everywhere+` OR $8 IN (SELECT reach($1, $2, $3, $4, $5, $6)) THEN $8 END,
			$9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $18, $20, $21, $22, $23, $24, $25, $26)`,
		r.values(View|Operate, t.ID, t.App, t.Name, t.Kind, t.Params, t.MaxRejected, t.Exclusive, t.Gated, t.Parent, t.Attempt, t.CreatedBy,
			t.CreatedAt, t.Step, t.DeadlineAt, t.JobID, t.Work, t.Message, t.Input, t.InputSize, t.Content)...)
	batch.Queue(insertAudit, line.values()...)
}

// NotStored turns the failure of QueueTask's statements for want of an app into ErrNotFound.
func NotStored(err error, t *Task) error {
	if violates(err, codeForeignKeyViolation) || violates(err, codeNotNullViolation) {
		return fmt.Errorf("app %s: %w", t.App, ErrNotFound)
	}
	return err
}

// Task returns one task, or ErrNotFound.
func (d *DB) Task(ctx context.Context, id uuid.UUID) (Task, error) {
	rows, err := d.Pool.Query(ctx, `SELECT `+taskColumns+` FROM tasks WHERE id = $1`, id)
	if err != nil {
		return Task{}, err
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanTask)
	return t, notFound(err, "task", id)
}

// OutputSums returns the checksums of the blocks of a task's output; see package files.
func (d *DB) OutputSums(ctx context.Context, id uuid.UUID, path string) (sums []byte, err error) {
	err = d.Pool.QueryRow(ctx, `SELECT sums FROM output_sums WHERE task_id = $1 AND path = $2`, id, path).Scan(&sums)
	return sums, notFound(err, "output", path)
}

// queueSums queues the statements that keep the checksums of outputs made by this step.
func queueSums(batch *pgx.Batch, t *Task) {
	for _, o := range t.Outputs {
		if o.Sums != nil {
			batch.Queue(`
				INSERT INTO output_sums (task_id, path, sums) VALUES ($1, $2, $3)
				ON CONFLICT (task_id, path) DO UPDATE SET sums = excluded.sums`, t.ID, o.Path, o.Sums)
		}
	}
}

// Tasks returns those of the given tasks that exist, in no order.
func (d *DB) Tasks(ctx context.Context, ids []uuid.UUID) ([]Task, error) {
	rows, err := d.Pool.Query(ctx, `SELECT `+taskColumns+` FROM tasks WHERE id = ANY($1)`, ids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanTask)
}

// DeleteTask removes a final task's row, and with it its log. ErrConflict if it is not final,
// ErrNotFound if there is none that the caller may delete.
func DeleteTask(ctx context.Context, tx pgx.Tx, r Reach, id uuid.UUID) error {
	tag, err := tx.Exec(ctx, `DELETE FROM tasks WHERE `+inReach+` AND id = $7 AND finished_at IS NOT NULL`,
		r.values(View|Operate, id)...)
	if err != nil || tag.RowsAffected() == 1 {
		return err
	}
	if _, err := scopedTask(ctx, tx, r, id, View|Operate); err != nil {
		return err
	}
	return ErrConflict
}

// RequestCancel marks an open task to be cancelled and returns it as it then is. ErrConflict if
// it is final, ErrNotFound if there is none that the caller may cancel. A second request changes
// nothing.
func RequestCancel(ctx context.Context, tx pgx.Tx, r Reach, id uuid.UUID, by string) (Task, error) {
	rows, err := tx.Query(ctx, `
		UPDATE tasks
		SET cancel_requested_at = coalesce(cancel_requested_at, now()),
			cancel_requested_by = coalesce(cancel_requested_by, $8),
			message = CASE WHEN cancel_requested_at IS NULL THEN 'Cancelling' ELSE message END,
			version = version + 1
		WHERE `+inReach+` AND id = $7 AND state IN ('queued', 'running')
		RETURNING `+taskColumns, r.values(View|Operate, id, by)...)
	if err != nil {
		return Task{}, err
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanTask)
	if err == nil {
		return t, nil
	}
	if err := notFound(err, "task", id); err != nil {
		if _, missing := scopedTask(ctx, tx, r, id, View|Operate); missing != nil {
			return Task{}, missing
		}
	}
	return Task{}, ErrConflict
}

// TypicalSeconds returns how long the last twenty successful runs of the same work took: their
// median and the longest, in seconds. ok is false when there were none.
func (d *DB) TypicalSeconds(ctx context.Context, app, kind, name string) (median, longest float64, ok bool, err error) {
	var m, l *float64
	err = d.Pool.QueryRow(ctx, `
		SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s), max(s) FROM (
			SELECT extract(epoch FROM finished_at - started_at) AS s
			FROM tasks
			WHERE app = $1 AND kind = $2 AND name = $3 AND state = 'succeeded'
			ORDER BY id DESC LIMIT 20) AS recent`, app, kind, name).Scan(&m, &l)
	if err != nil || m == nil {
		return 0, 0, false, err
	}
	return *m, *l, true, nil
}

// Versions returns the versions of those of the given tasks that exist.
func (d *DB) Versions(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]int64, error) {
	rows, err := d.Pool.Query(ctx, `SELECT id, version FROM tasks WHERE id = ANY($1)`, ids)
	if err != nil {
		return nil, err
	}
	versions := make(map[uuid.UUID]int64, len(ids))
	var id uuid.UUID
	var version int64
	_, err = pgx.ForEachRow(rows, []any{&id, &version}, func() error {
		versions[id] = version
		return nil
	})
	return versions, err
}
