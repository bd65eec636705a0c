package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/migrations"
	"longhaul/storage"
)

//go:embed post.sql
var postSQL string

// measurePost compares POST /api/v1/tasks with pgbench, which inserts the same rows into another
// database on the same Postgres. They take turns. The workers leave the queue alone, so that
// both sides only insert; a last round, beside it, has them work what is posted.
func measurePost(ctx context.Context, b *bench) (lines []line, err error) {
	if _, err := exec.LookPath("pgbench"); err != nil {
		return nil, errors.New("pgbench is not installed (Debian and Ubuntu: apt-get install postgresql)")
	}
	s, err := b.serve(ctx, "post")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	plain, err := s.plainDatabase(ctx, "plain")
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	script := filepath.Join(b.dir, "post.sql")
	if err := os.WriteFile(script, []byte(postSQL), 0o600); err != nil {
		return nil, err
	}
	d := either(b, 5*time.Second, 2*time.Second)
	if err := s.setWorking(ctx, false); err != nil {
		return nil, err
	}
	var turns rivals
	var p99 []time.Duration
	for range either(b, 7, 1) {
		posted, err := s.postRound(ctx, d)
		if err != nil {
			return nil, err
		}
		if err := s.checkIdle(ctx, len(posted.answers)); err != nil {
			return nil, err
		}
		inserted, err := s.pgbenchRound(ctx, plain, script, d)
		if err != nil {
			return nil, err
		}
		turns.add(posted.perSecond(), inserted)
		p99 = append(p99, percentile(posted.answers, 99))
		if err := comparePost(ctx, s.db, plain); err != nil {
			return nil, err
		}
	}
	b.logf("post: POST/s to pgbench/s: %s", turns.words())
	worked, err := s.postWorked(ctx, d)
	if err != nil {
		return nil, err
	}
	against := fmt.Sprintf("pgbench %.0f/s", median(turns.theirs))
	return []line{
		turns.compared(line{
			name: "post", measured: fmt.Sprintf("%.0f/s, p99 %s", median(turns.ours), ms(percentile(p99, 50))), against: against,
		}, 0.5),
		{
			name: "post, worked meanwhile", against: against, ratio: fmt.Sprintf("%.2f", worked.perSecond()/median(turns.theirs)),
			measured: fmt.Sprintf("%.0f/s, p99 %s", worked.perSecond(), ms(percentile(worked.answers, 99))),
		},
	}, nil
}

// plainDatabase makes a database with the same tables, which no worker looks at.
func (s *server) plainDatabase(ctx context.Context, name string) (*pgxpool.Pool, error) {
	pool, err := s.newDatabase(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := storage.Migrate(ctx, pool, migrations.Files, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	_, err = pool.Exec(ctx, `INSERT INTO apps (name, product) VALUES ($1, 'none')`, benchApp)
	return pool, err
}

// postRound posts tasks for a while into empty tables.
func (s *server) postRound(ctx context.Context, d time.Duration) (*loaded, error) {
	request := s.raw(http.MethodPost, "/api/v1/tasks", noop)
	if _, err := load(ctx, s.addr, request, http.StatusAccepted, time.Second); err != nil { // to warm up
		return nil, err
	}
	if err := truncate(ctx, s.db); err != nil {
		return nil, err
	}
	return load(ctx, s.addr, request, http.StatusAccepted, d)
}

// checkIdle makes sure that every answered request has its rows, and that none was worked.
func (s *server) checkIdle(ctx context.Context, want int) error {
	var tasks, queued, jobs, lines int
	err := s.db.QueryRow(ctx, `
		SELECT count(*), count(*) FILTER (WHERE state = 'queued'),
			(SELECT count(*) FROM river_job), (SELECT count(*) FROM audit)
		FROM tasks`).Scan(&tasks, &queued, &jobs, &lines)
	if err != nil {
		return err
	}
	if tasks != want || jobs != want || lines != want {
		return fmt.Errorf("%d requests were answered, and there are %d tasks, %d jobs and %d audit lines", want, tasks, jobs, lines)
	}
	if queued != want {
		return fmt.Errorf("the workers were to be idle and worked %d tasks", want-queued)
	}
	return nil
}

// pgbenchRound runs pgbench for a while on empty tables and returns its transactions per second.
func (s *server) pgbenchRound(ctx context.Context, db *pgxpool.Pool, script string, d time.Duration) (float64, error) {
	if err := truncate(ctx, db); err != nil {
		return 0, err
	}
	clients := strconv.Itoa(connections)
	cmd := command(ctx, "pgbench", "--no-vacuum", "--protocol=prepared", "--client="+clients, "--jobs=2",
		"--time="+strconv.Itoa(int(d.Seconds())), "--file="+script)
	cmd.Env = s.env(db.Config().ConnConfig.Database)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	if failed := after(out, "number of failed transactions:"); failed != "" && !strings.HasPrefix(failed, "0 ") {
		return 0, fmt.Errorf("pgbench: failed transactions: %s", failed)
	}
	tps, _, _ := strings.Cut(after(out, "tps = "), " ")
	perSecond, err := strconv.ParseFloat(tps, 64)
	if err != nil {
		return 0, fmt.Errorf("pgbench told no speed: %w\n%s", err, out)
	}
	return perSecond, nil
}

// comparePost makes sure that a task posted and one that pgbench or the bench inserted have
// the same rows, but for ids and times.
func comparePost(ctx context.Context, posted, inserted *pgxpool.Pool) error {
	return errors.Join(
		sameRows(ctx, posted, inserted, "river_job", map[string]string{
			"id": "", "created_at": "", "scheduled_at": "", "args": "length(t.args::text)",
		}),
		sameRows(ctx, posted, inserted, "tasks", map[string]string{
			"id": "", "created_at": "", "due_at": "", "job_id": "", "deadline_at": "t.deadline_at - t.created_at",
		}),
		sameRows(ctx, posted, inserted, "audit", map[string]string{
			"id": "", "at": "", "object": "length(t.object)", "request_id": "length(t.request_id)",
		}),
	)
}

// postWorked posts tasks while the workers work them, and waits until all are done.
func (s *server) postWorked(ctx context.Context, d time.Duration) (*loaded, error) {
	if err := truncate(ctx, s.db); err != nil {
		return nil, err
	}
	if err := s.setWorking(ctx, true); err != nil {
		return nil, err
	}
	posted, err := load(ctx, s.addr, s.raw(http.MethodPost, "/api/v1/tasks", noop), http.StatusAccepted, d)
	if err != nil {
		return nil, err
	}
	if err := s.waitDrained(ctx, 5*time.Minute); err != nil {
		return nil, err
	}
	return posted, s.checkDone(ctx, len(posted.answers))
}
