package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Config says which cluster to serve.
type Config struct {
	// Dir is the folder for the cluster and what belongs to it; it is made if it
	// is not there. The caller holds a [Lock] on it or on a folder above it.
	Dir string
	// Logger gets a line for each thing a person may wonder about.
	Logger *slog.Logger
	// Fast gives up durability: a crash may lose or break all data. It also makes
	// the server stop when this process dies, where the system can do that. For
	// tests' throw-away clusters only, never for users' data.
	Fast bool
}

const (
	// stopTimeout bounds an orderly shutdown: it writes out all of shared_buffers.
	stopTimeout = time.Minute
	// quitTimeout bounds the immediate shutdown after that. The server kills its
	// own children after five seconds (SIGKILL_CHILDREN_AFTER_SECS).
	quitTimeout = 15 * time.Second
	// retryTimeout bounds the attempts after what passes by itself: a port taken
	// in between, a server that ends or appears while we look at it, a backend of
	// a dead server that is still at its last query.
	retryTimeout = time.Minute
	retryPause   = 250 * time.Millisecond
)

// Server is a running PostgreSQL.
type Server struct {
	cluster  *cluster
	process  *process
	url      string
	died     chan error
	stopping atomic.Bool
}

// Start makes sure the cluster in cfg.Dir exists and is served, and waits until
// it takes connections, through its crash recovery if need be. A server left
// running by an earlier process is taken over.
//
// Its errors are for the person who runs the program: what is missing or in the
// way, and what to do; with the end of PostgreSQL's log where it has one.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	c, err := openCluster(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for begin := time.Now(); ; {
		s, err := c.adoptOrStart(ctx)
		if err == nil {
			return s, nil
		}
		again, ok := errors.AsType[*retryError](err)
		if !ok || time.Since(begin) > retryTimeout {
			return nil, fmt.Errorf("start PostgreSQL in %s: %w", c.dir, err)
		}
		c.logger.InfoContext(ctx, "postgres: trying again", "reason", again.reason)
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// retryError says that a start failed by something that passes.
type retryError struct {
	reason string
	cause  error
}

func (e *retryError) Error() string { return e.reason + ": " + e.cause.Error() }
func (e *retryError) Unwrap() error { return e.cause }

// adoptOrStart makes one attempt.
func (c *cluster) adoptOrStart(ctx context.Context) (*Server, error) {
	running, err := c.findRunning(ctx)
	if err != nil {
		return nil, err
	}
	addr, start := running.addr, func() (*process, error) { return adopt(running.pid, c.dataDir()) }
	if running.pid == 0 {
		if addr, err = newAddress(ctx, c.socketDir()); err != nil {
			return nil, err
		}
		start = func() (*process, error) { return c.spawn(addr) }
	}
	p, err := start()
	if err != nil {
		return nil, err
	}
	s := &Server{cluster: c, process: p, url: addr.url(c.password, userAndDatabase), died: make(chan error, 1)}
	if err := c.waitReady(ctx, p, addr); err != nil {
		// The caller's context may be what ended; the server must stop even so.
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	go s.watch()
	c.logger.InfoContext(ctx, "postgres: ready", "pid", p.pid(), "version", c.bin.major, "adopted", running.pid != 0, "user", c.account.name)
	return s, nil
}

// findRunning finds the server that already serves the cluster; its pid is 0 if
// there is none.
func (c *cluster) findRunning(ctx context.Context) (postmaster, error) {
	deadline := time.Now().Add(2 * time.Second)
	for {
		text, err := os.ReadFile(c.pidFile())
		if errors.Is(err, fs.ErrNotExist) {
			return postmaster{}, nil
		}
		if err != nil {
			return postmaster{}, err
		}
		if pid := firstLinePID(text); pid != 0 && !serves(pid, c.dataDir()) {
			c.logger.InfoContext(ctx, "postgres: the last server was not stopped; its lock is stale", "pid", pid)
			return postmaster{}, c.disown(text)
		}
		running, err := parsePIDFile(text)
		if err == nil {
			return running, nil
		}
		if time.Now().After(deadline) {
			return postmaster{}, c.giveUpOn(text, err)
		}
		// A server that starts at this moment has not written all of it.
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return postmaster{}, ctx.Err()
		}
	}
}

// giveUpOn handles a lock file that stays incomplete.
func (c *cluster) giveUpOn(text []byte, cause error) error {
	if pid := firstLinePID(text); pid != 0 {
		return &retryError{reason: fmt.Sprintf("the server in process %d does not get ready", pid), cause: cause}
	}
	return c.disown(text)
}

// URL is the connection string of the database, password included.
func (s *Server) URL() string { return s.url }

// Died receives one error if the server ends without Stop having been called.
func (s *Server) Died() <-chan error { return s.died }

func (s *Server) watch() {
	<-s.process.gone
	if s.stopping.Load() {
		return
	}
	s.died <- fmt.Errorf("PostgreSQL (process %d) ended by itself: start longhaul again and it will recover; what it said:\n%s",
		s.process.pid(), s.cluster.logTail(s.process.logOffset))
}

// Stop shuts the server down in order: connections are cut, data is written
// out. When that takes longer than a minute or than ctx allows, it is shut down
// at once and recovers at its next start. Stop returns when the server has ended, and
// may be called again.
func (s *Server) Stop(ctx context.Context) error {
	s.stopping.Store(true)
	defer s.process.release()
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	// PostgreSQL's fast shutdown.
	if s.process.signalAndWait(ctx, syscall.SIGINT) {
		return nil
	}
	s.cluster.logger.WarnContext(ctx, "postgres: does not stop in time, stopping it at once", "pid", s.process.pid())
	quitCtx, cancelQuit := context.WithTimeout(context.WithoutCancel(ctx), quitTimeout)
	defer cancelQuit()
	// Its immediate shutdown.
	if s.process.signalAndWait(quitCtx, syscall.SIGQUIT) {
		return nil
	}
	return fmt.Errorf("stop PostgreSQL: process %d goes on after SIGINT and SIGQUIT: see %s", s.process.pid(), s.cluster.logPath())
}
