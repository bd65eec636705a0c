package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed drain.sql
var drainSQL string

// measureDrain measures how fast a backlog of tasks that do nothing is worked. Beside it River
// alone, with the same settings, works as many jobs that do nothing in another database on the
// same Postgres. They take turns, while the other side has nothing to do.
//
// On both sides the backlog is made in one transaction while the workers run, with plain SQL:
// they see all of it at once, and find it with their next look, within 100 milliseconds. The
// clock runs from the commit until no task is open, no job unworked.
func measureDrain(ctx context.Context, b *bench) (lines []line, err error) {
	s, err := b.serve(ctx, "drain")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	alone, err := s.riverDatabase(ctx)
	if err != nil {
		return nil, err
	}
	defer alone.Close()
	p, err := b.peer(ctx, s.env(alone.Config().ConnConfig.Database), "river")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := s.compareDrain(ctx); err != nil {
		return nil, err
	}
	count := either(b, 20_000, 2_000)
	var turns rivals
	for range either(b, 3, 1) {
		tasks, err := s.drainTasks(ctx, count)
		if err != nil {
			return nil, err
		}
		jobs, err := drainRiver(ctx, alone, count)
		if err != nil {
			return nil, err
		}
		turns.add(float64(count)/tasks.Seconds(), float64(count)/jobs.Seconds())
	}
	b.logf("drain: tasks/s to River alone's jobs/s: %s", turns.words())
	tasks := median(turns.ours)
	l := line{
		name: "drain", measured: fmt.Sprintf("%.0f tasks/s", tasks), against: fmt.Sprintf("River alone %.0f jobs/s", median(turns.theirs)),
		ratio: fmt.Sprintf("%.2f", turns.ratio()),
	}
	return []line{limited(l, "≥ 1500 tasks/s", tasks >= 1500)}, nil
}

// riverDatabase makes a database with River's tables only.
func (s *server) riverDatabase(ctx context.Context) (*pgxpool.Pool, error) {
	pool, err := s.newDatabase(ctx, "river")
	if err != nil {
		return nil, err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return nil, err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return pool, err
}

// compareDrain makes sure that drain.sql makes what POST makes, in a database of its own.
func (s *server) compareDrain(ctx context.Context) error {
	plain, err := s.plainDatabase(ctx, "plain")
	if err != nil {
		return err
	}
	defer plain.Close()
	if err := s.setWorking(ctx, false); err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil { // until the workers have heard
		return err
	}
	if _, err := s.start(ctx); err != nil {
		return err
	}
	if err := insertTasks(ctx, plain, 1); err != nil {
		return err
	}
	if err := comparePost(ctx, s.db, plain); err != nil {
		return err
	}
	return errors.Join(s.setWorking(ctx, true), s.waitDrained(ctx, time.Minute))
}

func insertTasks(ctx context.Context, db *pgxpool.Pool, count int) error {
	ids := make([]uuid.UUID, count)
	for i := range ids {
		ids[i] = uuid.Must(uuid.NewV7())
	}
	_, err := db.Exec(ctx, drainSQL, ids)
	return err
}

// drainTasks makes tasks, waits until all are worked, checks each, and returns how long it took.
func (s *server) drainTasks(ctx context.Context, count int) (time.Duration, error) {
	if err := truncate(ctx, s.db); err != nil {
		return 0, err
	}
	if err := insertTasks(ctx, s.db, count); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := s.waitDrained(ctx, 5*time.Minute); err != nil {
		return 0, err
	}
	return time.Since(began), s.checkDone(ctx, count)
}

// drainRiver makes jobs, waits until all are completed, and returns how long it took.
func drainRiver(ctx context.Context, db *pgxpool.Pool, count int) (time.Duration, error) {
	if _, err := db.Exec(ctx, `TRUNCATE river_job`); err != nil {
		return 0, err
	}
	if _, err := db.Exec(ctx, `CHECKPOINT`); err != nil {
		return 0, err
	}
	_, err := db.Exec(ctx, `
		INSERT INTO river_job (args, kind, max_attempts)
		SELECT '{}', 'nothing', 1000 FROM generate_series(1, $1)`, count)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := waitNone(ctx, db, `SELECT FROM river_job WHERE state IN ('available', 'running')`, 5*time.Minute); err != nil {
		return 0, err
	}
	took := time.Since(began)
	var done int
	if err := db.QueryRow(ctx, `SELECT count(*) FROM river_job WHERE state = 'completed'`).Scan(&done); err != nil {
		return 0, err
	}
	if done != count {
		return 0, fmt.Errorf("alone, River completed %d of %d jobs", done, count)
	}
	return took, nil
}
