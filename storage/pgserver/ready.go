package pgserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// startTimeout bounds the time until a server answers at all.
	startTimeout = time.Minute
	// recoveryTimeout bounds crash recovery and the end of a shutdown. With 1 GB of log
	// (max_wal_size) recovery takes seconds to a few minutes.
	recoveryTimeout = 15 * time.Minute
	// noticeEvery is how often a long wait is mentioned.
	noticeEvery = 5 * time.Second
)

// SQLSTATEs of a connection that was refused.
const (
	cannotConnectNow = "57P03" // starting, recovering or shutting down
	invalidPassword  = "28P01"
)

// waitReady waits until the server takes connections, and makes the database
// if it is not there.
func (c *cluster) waitReady(ctx context.Context, p *process, addr address) error {
	begin, notice, pause := time.Now(), time.Now().Add(noticeEvery), 5*time.Millisecond
	for {
		err := c.prepareDatabase(ctx, addr)
		if err == nil {
			return nil
		}
		if sqlState(err) == invalidPassword {
			return fmt.Errorf("it does not accept the password in %s: restore that file from a backup: %w", c.passwordFile(), err)
		}
		if waited := time.Since(begin); waited > patience(err) {
			return fmt.Errorf("it does not serve us after %s: %w; its log ends:\n%s", waited.Round(time.Second), err, c.logTail(p.logOffset))
		}
		if time.Now().After(notice) {
			c.logger.InfoContext(ctx, "postgres: waiting for it to get ready, after a crash it recovers first", "seconds", int(time.Since(begin).Seconds()))
			notice = time.Now().Add(noticeEvery)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 100*time.Millisecond)
		case <-p.gone:
			return c.explainEnd(p)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// patience is how long in all to put up with a server that answers so.
func patience(err error) time.Duration {
	if sqlState(err) == cannotConnectNow {
		return recoveryTimeout
	}
	return startTimeout
}

func sqlState(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// passing are the log lines of starts that fail by something that passes.
var passing = []struct{ text, reason string }{
	{`lock file "postmaster.pid" already exists`, "another server started at the same time"},
	{"could not bind", "the port was taken in between"},
	{"could not create any", "the port was taken in between"},
	{"is still in use", "processes of the last server have not ended yet"},
	{"already in use", "processes of the last server have not ended yet"},
}

// explainEnd is the error for a server that ended while it was waited for.
func (c *cluster) explainEnd(p *process) error {
	if !p.child {
		return &retryError{reason: "the running server ended", cause: fmt.Errorf("process %d is gone", p.pid())}
	}
	tail := c.logTail(p.logOffset)
	err := fmt.Errorf("it ended at once, saying:\n%s", tail)
	for _, known := range passing {
		if strings.Contains(tail, known.text) {
			return &retryError{reason: known.reason, cause: err}
		}
	}
	return err
}

// prepareDatabase makes sure of the database, over a connection to the one that
// is always there.
func (c *cluster) prepareDatabase(ctx context.Context, addr address) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, addr.url(c.password, "postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }() // nothing is pending on it
	var dataDir string
	var exists bool
	err = conn.QueryRow(ctx, `SELECT current_setting('data_directory'), EXISTS (SELECT FROM pg_database WHERE datname = $1)`,
		userAndDatabase).Scan(&dataDir, &exists)
	if err != nil {
		return err
	}
	if dataDir != c.dataDir() {
		return fmt.Errorf("the server there serves %s", dataDir)
	}
	if exists {
		return nil
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+userAndDatabase)
	return err
}
