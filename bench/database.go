package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// env lets libpq and pgx connect to the given database of the server's Postgres.
func (s *server) env(database string) []string {
	c := s.db.Config().ConnConfig
	return append(os.Environ(), "PGHOST="+c.Host, fmt.Sprintf("PGPORT=%d", c.Port), "PGUSER="+c.User,
		"PGPASSWORD="+c.Password, "PGDATABASE="+database, "PGSSLMODE=disable")
}

// newDatabase makes an empty database on the server's Postgres.
func (s *server) newDatabase(ctx context.Context, name string) (*pgxpool.Pool, error) {
	if _, err := s.db.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return nil, err
	}
	config := s.db.Config()
	config.ConnConfig.Database = name
	return pgxpool.NewWithConfig(ctx, config)
}

// setWorking lets the workers go on, or has them leave the queue alone: a feature of River's. A
// step that has begun goes on.
func (s *server) setWorking(ctx context.Context, working bool) error {
	client, err := river.NewClient(riverpgxv5.New(s.db), &river.Config{})
	if err != nil {
		return err
	}
	if working {
		err = client.QueueResume(ctx, river.QueueDefault, nil)
	} else {
		err = client.QueuePause(ctx, river.QueueDefault, nil)
	}
	if err != nil {
		return fmt.Errorf("pause or resume the queue: %w", err)
	}
	return nil
}

// waitDrained waits until no task is open.
func (s *server) waitDrained(ctx context.Context, limit time.Duration) error {
	return waitNone(ctx, s.db, `SELECT FROM tasks WHERE finished_at IS NULL`, limit)
}

// waitNone waits until the query has no rows, looking every 20 milliseconds.
func waitNone(ctx context.Context, db *pgxpool.Pool, query string, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("after %s there still were rows: %s", limit, query))
	defer cancel()
	for {
		var some bool
		if err := db.QueryRow(ctx, `SELECT EXISTS (`+query+`)`).Scan(&some); err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if !some {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// checkDone makes sure that all tasks there are, so many, have succeeded with a log.
func (s *server) checkDone(ctx context.Context, want int) error {
	var all, done int
	err := s.db.QueryRow(ctx, `
		SELECT count(*), count(*) FILTER (WHERE state = 'succeeded' AND log <> '' AND octet_length(log) = log_size)
		FROM tasks`).Scan(&all, &done)
	if err != nil {
		return err
	}
	if all != want || done != want {
		return fmt.Errorf("of %d tasks, %d are there and %d have succeeded with their log", want, all, done)
	}
	return nil
}

// emptyTables takes the tables' rows away. The server's own sweeps look at the tables in another order
// now and then, so that one of the two has to try again.
func emptyTables(ctx context.Context, db *pgxpool.Pool) error {
	for tries := 1; ; tries++ {
		// The audit trail only grows, but for who owns its tables and takes their triggers off.
		_, err := db.Exec(ctx, `
			DO $$ DECLARE guarded regclass; BEGIN
				FOR guarded IN SELECT tgrelid FROM pg_trigger WHERE tgname = 'append_only' LOOP
					EXECUTE format('ALTER TABLE %s DISABLE TRIGGER append_only', guarded);
				END LOOP;
			END $$;
			TRUNCATE tasks, task_logs, output_sums, idempotency_keys, audit, river_job`)
		refused, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || refused.Code != deadlock || tries == 5 {
			return err
		}
	}
}

// deadlock is Postgres's code for it.
const deadlock = "40P01"

// truncate empties the tables of a database, and has Postgres write out what it holds, so that
// rounds begin alike.
func truncate(ctx context.Context, db *pgxpool.Pool) error {
	if err := emptyTables(ctx, db); err != nil {
		return err
	}
	_, err := db.Exec(ctx, `CHECKPOINT`)
	return err
}

// sameRows makes sure that the newest row of a table is alike in two databases, but for some
// columns. Each comes with an expression that is compared instead of it, or with none.
func sameRows(ctx context.Context, a, b *pgxpool.Pool, table string, instead map[string]string) error {
	row, more := `to_jsonb(t)`, ``
	for column, expression := range instead {
		row += ` - '` + column + `'`
		if expression != "" {
			more += ` || jsonb_build_object('` + column + `', ` + expression + `)`
		}
	}
	row = `(` + row + `)` + more
	query := `SELECT (` + row + `)::text FROM ` + pgx.Identifier{table}.Sanitize() + ` AS t ORDER BY id DESC LIMIT 1`
	var one, other string
	if err := errors.Join(a.QueryRow(ctx, query).Scan(&one), b.QueryRow(ctx, query).Scan(&other)); err != nil {
		return fmt.Errorf("compare rows of %s: %w", table, err)
	}
	if one != other {
		return fmt.Errorf("the two sides write different rows to %s:\n%s\n%s", table, one, other)
	}
	return nil
}
