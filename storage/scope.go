package storage

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Scope runs queries on behalf of a caller: each sees what is within the caller's reach and
// nothing else. The methods of DB see everything and are the engine's own.
type Scope struct {
	db    *DB
	reach Reach
}

// For returns the database as it is for a caller.
func (d *DB) For(r Reach) *Scope { return &Scope{d, r} }

// App returns one app that the caller may view, or ErrNotFound.
func (s *Scope) App(ctx context.Context, name string) (App, error) {
	rows, err := s.db.Pool.Query(ctx, `
		SELECT `+appColumns+` FROM apps WHERE name = $7 AND name IN (SELECT reach($1, $2, $3, $4, $5, $6))`,
		s.reach.values(View, name)...)
	if err != nil {
		return App{}, err
	}
	app, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[App])
	return app, notFound(err, "app", name)
}

// Apps returns, by name, the apps on which the caller has the needed rights.
func (s *Scope) Apps(ctx context.Context, needed Rights) ([]App, error) {
	rows, err := s.db.Pool.Query(ctx, `
		SELECT `+appColumns+` FROM apps WHERE name IN (SELECT reach($1, $2, $3, $4, $5, $6)) ORDER BY name`,
		s.reach.values(needed)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[App])
}

// Task returns one task of an app on which the caller has the needed rights, or ErrNotFound.
func (s *Scope) Task(ctx context.Context, id uuid.UUID, needed Rights) (Task, error) {
	return scopedTask(ctx, s.db.Pool, s.reach, id, needed)
}

func scopedTask(ctx context.Context, q Querier, r Reach, id uuid.UUID, needed Rights) (Task, error) {
	rows, err := q.Query(ctx, `SELECT `+taskColumns+` FROM tasks WHERE `+inReach+` AND id = $7`, r.values(needed, id)...)
	if err != nil {
		return Task{}, err
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanTask)
	return t, notFound(err, "task", id)
}

// Log returns a task's log from the byte offset after on, where the caller may see data. See
// [DB.Log].
func (s *Scope) Log(ctx context.Context, id uuid.UUID, after int64) (text string, final bool, err error) {
	if _, err := s.Task(ctx, id, View|Data); err != nil {
		return "", false, err
	}
	return s.db.Log(ctx, id, after)
}

// TaskFilter selects tasks; empty fields select all.
type TaskFilter struct {
	App, Kind, Name string
	States          []string
	Before          *uuid.UUID // only tasks made before this one
	Limit           int        // at most so many
}

// Tasks returns the tasks that f selects of those the caller may view, newest first.
func (s *Scope) Tasks(ctx context.Context, f TaskFilter) ([]Task, error) {
	where := []string{"true"}
	args := s.reach.values(View, f.Limit)
	add := func(condition string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if f.App != "" {
		add("app = $%d", f.App)
	}
	if f.Kind != "" {
		add("kind = $%d", f.Kind)
	}
	if f.Name != "" {
		add("name = $%d", f.Name)
	}
	if len(f.States) > 0 {
		add("state = ANY($%d)", f.States)
	}
	if f.Before != nil {
		add("id < $%d", *f.Before)
	}
	newest := strings.Join(where, " AND ") + ` ORDER BY id DESC LIMIT $7`
	// For each app the newest, then the newest of these: whoever reaches few of many tasks does
	// not wait until all others' are passed over.
	sql := `SELECT t.* FROM reach($1, $2, $3, $4, $5, $6) AS r (reached) CROSS JOIN LATERAL (
		SELECT ` + taskColumns + ` FROM tasks WHERE app = r.reached AND ` + newest + `) AS t ORDER BY id DESC LIMIT $7`
	rows, err := s.db.Pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanTask)
}
