package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/api"
	"longhaul/jobs"
	"longhaul/migrations"
	"longhaul/storage"
	"longhaul/storage/files"
	"longhaul/storage/pgserver"
)

// threadsPerProcessor is how many threads run Go for each processor.
const threadsPerProcessor = 4

type serveCmd struct {
	serveSettings `embed:""`
}

// Run serves until ctx ends, and stops in order: no new requests, then the steps in hand, then
// the database.
func (c *serveCmd) Run(ctx context.Context, s *streams) error {
	if err := c.validate(); err != nil {
		return err
	}
	logger := c.logger(s.err)
	// Transfers keep the processors busy for as long as they last. With more threads than processors
	// the system shares these out, and a thread is left for who only asks how a task stands: Go alone
	// would let them wait for some ten milliseconds each time. See polling in bench/README.md.
	runtime.GOMAXPROCS(threadsPerProcessor * runtime.GOMAXPROCS(0))
	dir, err := c.dir()
	if err != nil {
		return err
	}
	// Opened first: a taken port is told at once, before anything is started.
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w; choose another address with --addr or LONGHAUL_ADDR", err)
	}
	defer listener.Close() //nolint:errcheck // the server closes it before
	db, err := openDatabase(ctx, &c.dataSettings, dir, logger)
	if err != nil {
		return err
	}
	defer db.close()
	if err := storage.Migrate(ctx, db.pool, migrations.Files, logger); err != nil {
		return err
	}
	store, err := c.openStorage(ctx, dir)
	if err != nil {
		return err
	}
	defer store.Close() //nolint:errcheck // nothing is open any more
	return c.serve(ctx, s, &parts{dir: dir, logger: logger, listener: listener, db: db, files: store})
}

// parts are what a serving process is put together from.
type parts struct {
	dir      string
	logger   *slog.Logger
	listener net.Listener
	db       *database
	files    files.Store
}

func (c *serveCmd) serve(ctx context.Context, s *streams, p *parts) error {
	metrics := api.NewMetrics(p.db.pool)
	engine, err := c.engine(ctx, p, metrics)
	if err != nil {
		return err
	}
	token, err := c.adminToken(p.dir)
	if err != nil {
		return err
	}
	var working atomic.Bool
	stored := &storageCheck{store: p.files}
	config := api.Config{
		Engine: engine, Files: p.files, AdminToken: token, PublicURL: c.PublicURL, MaxUpload: c.MaxUpload,
		Version: version, Logger: p.logger, Metrics: metrics.Registry, MetricsElsewhere: c.MetricsAddr != "",
		Ready: func(ctx context.Context) (string, error) {
			if !working.Load() {
				return "", errors.New("the workers do not run yet")
			}
			return stored.ask(ctx)
		},
	}
	if err := c.applyTo(&config); err != nil {
		return err
	}
	server := api.New(config)
	if c.Demo {
		stop, err := startDemo(ctx, engine, c.DemoSpeed, p.logger)
		if err != nil {
			return err
		}
		defer stop()
	}
	if c.MetricsAddr != "" {
		stop, err := serveMetrics(ctx, c.MetricsAddr, server.MetricsHandler(), p.logger)
		if err != nil {
			return err
		}
		defer stop()
	}
	web := webServer(server.Handler(), p.logger)
	ready := func() {
		working.Store(true)
		base := cmp.Or(strings.TrimSuffix(c.PublicURL, "/"), "http://"+reachable(p.listener.Addr().String()))
		link := base
		if c.local() {
			link += "/sign-in?token=" + url.QueryEscape(token)
		}
		_, _ = fmt.Fprintf(s.out, "\nLonghaul %s is ready.\nSign in: %s\n\n", version, link) // nowhere else to tell
		p.logger.InfoContext(ctx, "ready", "addr", p.listener.Addr().String(), "data", p.dir)
	}
	return c.runAll(ctx, p, engine, server, web, ready)
}

// webServer is an HTTP server that lets nobody keep a connection for nothing. How long a body and an
// answer may take is the handler's to say.
func webServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// runAll runs the workers and the web server until ctx ends or one of them, or Postgres, fails.
func (c *serveCmd) runAll(ctx context.Context, p *parts, engine *jobs.Engine, server *api.Server, web *http.Server, ready func()) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	worked, served := make(chan error, 1), make(chan error, 1)
	go func() { worked <- engine.Run(work, c.StopTimeout, ready) }()
	go func() { served <- web.Serve(p.listener) }()

	var failed error
	select {
	case <-ctx.Done():
		p.logger.InfoContext(ctx, "stopping")
	case failed = <-served:
	case failed = <-p.db.died:
		failed = fmt.Errorf("the private Postgres ended by itself: %w", failed)
	case failed = <-worked:
		worked <- failed
	}
	server.Stop()
	quiet, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := web.Shutdown(quiet); err != nil {
		p.logger.WarnContext(ctx, "requests were cut short", "error", err)
		_ = web.Close() // what is left has had its time
	}
	stopWork()
	return errors.Join(failed, <-worked)
}

// engine builds the engine.
func (c *serveCmd) engine(ctx context.Context, p *parts, metrics *api.Metrics) (*jobs.Engine, error) {
	sealer, err := c.sealer(ctx, p.dir, p.db.pool)
	if err != nil {
		return nil, err
	}
	kinds := jobs.EPMKinds()
	if c.TestKinds {
		kinds = append(kinds, jobs.TestKinds()...)
	}
	return jobs.New(jobs.Config{
		Pool: p.db.pool, Files: p.files, Sealer: sealer, Kinds: jobs.NewKinds(kinds...), Logger: p.logger,
		Process: uuid.NewString(), Workers: c.Workers, Limits: c.limits(),
		KeepOutputs: c.KeepOutputs, KeepFailedInput: c.KeepFailedInput, KeepAudit: c.AuditKeep, Removed: metrics.Removed,
		SignedDownloads: c.SignedDownloads, KeepVersions: c.KeepVersions, KeepChanges: c.KeepChanges, KeepUploads: c.KeepUploads, UploadQuota: storage.Quota{Person: c.PersonQuota, App: c.AppQuota},
	})
}

// serveMetrics serves /metrics on its own address.
func serveMetrics(ctx context.Context, addr string, handler http.Handler, logger *slog.Logger) (stop func(), err error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("LONGHAUL_METRICS_ADDR: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handler)
	server := webServer(mux, logger)
	go func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			logger.ErrorContext(ctx, "metrics listener", "error", err)
		}
	}()
	return func() { _ = server.Close() }, nil // nothing to lose
}

// database is the pool, and the private Postgres when there is one.
type database struct {
	pool  *pgxpool.Pool
	died  <-chan error // never, for a Postgres that is not ours
	close func()
}

// openDatabase locks the data folder and connects, starting the private Postgres when no other
// is configured.
func openDatabase(ctx context.Context, c *dataSettings, dir string, logger *slog.Logger) (*database, error) {
	if err := makeDataDir(dir); err != nil {
		return nil, err
	}
	lock, err := pgserver.Lock(dir)
	if err != nil {
		return nil, err
	}
	unlock := func() {
		if err := lock.Unlock(); err != nil {
			logger.WarnContext(ctx, "unlock the data folder", "error", err)
		}
	}
	address := c.DatabaseURL
	db := &database{close: unlock}
	if address == "" {
		private, err := pgserver.Start(ctx, pgserver.Config{Dir: filepath.Join(dir, "postgres"), Logger: logger})
		if err != nil {
			unlock()
			return nil, err
		}
		address, db.died = private.URL(), private.Died()
		db.close = func() {
			if err := private.Stop(context.Background()); err != nil {
				logger.WarnContext(ctx, "stop the private Postgres", "error", err)
			}
			unlock()
		}
	}
	if db.pool, err = storage.Connect(ctx, address); err != nil {
		db.close()
		return nil, err
	}
	closeRest := db.close
	db.close = func() {
		db.pool.Close()
		closeRest()
	}
	return db, nil
}

// makeDataDir makes the data folder for its owner alone. Root's can be passed through by others,
// because its Postgres runs as another user; what lies in it is closed to them all the same.
func makeDataDir(dir string) error {
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf("make the data folder: %w; choose another with LONGHAUL_DATA", err)
	}
	return nil
}
