package storage

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// LockAddress makes the calling transaction the only one that admits or ends tasks of the
// remote application at this address, until it ends.
func LockAddress(ctx context.Context, tx pgx.Tx, address string) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('longhaul address ' || $1, 0))`, address)
	return err
}

// Queue is what stands before a task that waits for its application.
type Queue struct {
	RunningApp   int     // tasks of its app that run
	Running      int     // tasks of its application that run, whatever the app
	RunningName  *string // the oldest of these
	Alone        *string // one of these that needs the application alone
	WaitingAlone *string // an older waiting task that needs it alone
	Waiting      int     // older waiting tasks of its app
}

// QueueBefore tells what stands before the task t of the app a. Waiting tasks are those at the
// step named gate.
func QueueBefore(ctx context.Context, tx pgx.Tx, t *Task, a *App, gate string) (Queue, error) {
	rows, err := tx.Query(ctx, `
		WITH open AS (
			SELECT t.id, t.app, t.name, t.state, t.exclusive, t.step
			FROM tasks AS t JOIN apps AS a ON a.name = t.app
			WHERE t.finished_at IS NULL AND t.id <> $1 AND a.url = $2 AND a.application = $3
				AND (a.product <> 'none' OR a.name = $4)),
		ahead AS (SELECT * FROM open WHERE state = 'queued' AND step = $5 AND id < $1)
		SELECT
			(SELECT count(*) FROM open WHERE state = 'running' AND app = $4) AS running_app,
			(SELECT count(*) FROM open WHERE state = 'running') AS running,
			(SELECT name FROM open WHERE state = 'running' ORDER BY id LIMIT 1) AS running_name,
			(SELECT name FROM open WHERE state = 'running' AND exclusive ORDER BY id LIMIT 1) AS alone,
			(SELECT name FROM ahead WHERE exclusive ORDER BY id LIMIT 1) AS waiting_alone,
			(SELECT count(*) FROM ahead WHERE app = $4) AS waiting`,
		t.ID, a.URL, a.Application, a.Name, gate)
	if err != nil {
		return Queue{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Queue])
}

// QueuedTasks returns the tasks of an app that have not been let onto its application yet.
func QueuedTasks(ctx context.Context, tx pgx.Tx, app string) ([]uuid.UUID, error) {
	rows, err := tx.Query(ctx, `
		SELECT id FROM tasks WHERE finished_at IS NULL AND state = 'queued' AND app = $1 ORDER BY id`, app)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// NextWaiting returns the oldest waiting tasks of the application at the app's address.
func NextWaiting(ctx context.Context, tx pgx.Tx, a *App, gate string, limit int) ([]uuid.UUID, error) {
	rows, err := tx.Query(ctx, `
		SELECT t.id FROM tasks AS t JOIN apps AS a ON a.name = t.app
		WHERE t.finished_at IS NULL AND t.state = 'queued' AND t.step = $3 AND a.url = $1 AND a.application = $2
			AND (a.product <> 'none' OR a.name = $5)
		ORDER BY t.id LIMIT $4`, a.URL, a.Application, gate, limit, a.Name)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}
