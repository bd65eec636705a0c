package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// pickupRate is how many tasks are started in a second, at random instants.
const pickupRate = 20

// measurePickup measures how long after its commit a task's first step runs.
//
// The commit's time is Postgres's own (track_commit_timestamp), of the transaction that wrote the
// audit line, which is the one that made the task. Postgres takes it just before it forces the
// commit to disk, so the figure has that in it, and is an upper bound. The step's time is the
// task's started_at, which the worker takes as it enters the step.
func measurePickup(ctx context.Context, b *bench) (lines []line, err error) {
	s, err := b.serveWithCommitTimes(ctx, "pickup")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	// Some first, so that connections are open and statements prepared.
	if _, err := s.startAtRandom(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	if err := s.waitDrained(ctx, time.Minute); err != nil {
		return nil, err
	}
	if err := truncate(ctx, s.db); err != nil {
		return nil, err
	}
	started, err := s.startAtRandom(ctx, either(b, 60*time.Second, 10*time.Second))
	if err != nil {
		return nil, err
	}
	if err := s.waitDrained(ctx, time.Minute); err != nil {
		return nil, err
	}
	if err := s.checkDone(ctx, started); err != nil {
		return nil, err
	}
	took, err := s.pickups(ctx, `pg_xact_commit_timestamp(a.xmin)`)
	if err != nil {
		return nil, err
	}
	fromRequest, err := s.pickups(ctx, `t.created_at`)
	if err != nil {
		return nil, err
	}
	if len(took) != started {
		return nil, fmt.Errorf("%d tasks were started, and %d have a commit time", started, len(took))
	}
	p50, p99 := percentile(took, 50), percentile(took, 99)
	b.logf("pickup: %d tasks; from their commit p50 %s, p99 %s, longest %s; from their request p50 %s, p99 %s", started,
		ms(p50), ms(p99), ms(percentile(took, 100)), ms(percentile(fromRequest, 50)), ms(percentile(fromRequest, 99)))
	return []line{
		limited(line{name: "pickup, p50", measured: ms(p50)}, "≤ 5 ms", p50 <= 5*time.Millisecond),
		limited(line{name: "pickup, p99", measured: ms(p99)}, "≤ 50 ms", p99 <= 50*time.Millisecond),
	}, nil
}

// serveWithCommitTimes starts longhaul on a Postgres that keeps the times of commits, which
// takes a second start.
func (b *bench) serveWithCommitTimes(ctx context.Context, name string) (*server, error) {
	s, err := b.serve(ctx, name)
	if err != nil {
		return nil, err
	}
	_, err = s.db.Exec(ctx, `ALTER SYSTEM SET track_commit_timestamp = on`)
	if err := errors.Join(err, s.stop()); err != nil {
		return nil, err
	}
	return b.serve(ctx, name)
}

// startAtRandom starts tasks for a while, independently of how fast they are answered, and
// returns how many.
func (s *server) startAtRandom(ctx context.Context, d time.Duration) (int, error) {
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time, not secret
	count := 0
	for began, next := time.Now(), time.Duration(0); next < d; count++ {
		if err := pause(ctx, time.Until(began.Add(next))); err != nil {
			return count, err
		}
		all.Go(func() {
			if _, err := s.start(ctx); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
		next += time.Duration(random.ExpFloat64() / pickupRate * float64(time.Second))
	}
	all.Wait()
	return count, failed
}

// pickups returns how long after from, an SQL expression, each task's first step ran.
func (s *server) pickups(ctx context.Context, from string) ([]time.Duration, error) {
	rows, err := s.db.Query(ctx, `
		SELECT t.started_at - `+from+`
		FROM tasks AS t JOIN audit AS a ON a.object = t.id::text AND a.action = 'task.create'`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[time.Duration])
}
