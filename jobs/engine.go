package jobs

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"longhaul/oracle"
	"longhaul/storage"
	"longhaul/storage/archive"
	"longhaul/storage/content"
	"longhaul/storage/files"
)

// Config is what an Engine needs. Pool, Files, Sealer, Kinds and Logger must be given.
type Config struct {
	Pool   *pgxpool.Pool
	Files  files.Store
	Sealer *storage.Sealer
	Kinds  *Kinds
	Logger *slog.Logger
	// Process names this process among those on the database; it must be new at each start.
	Process string
	// Workers is how many steps run at once; 0 means 100. Steps mostly wait for the network.
	Workers int
	// Limits bound the archives that are taken in; zero means archive.DefaultLimits.
	Limits archive.Limits
	// KeepOutputs is how long outputs are kept after a task's end; 0 means 24 hours.
	KeepOutputs time.Duration
	// KeepFailedInput is how long the input of a task that did not succeed is kept, so that it
	// can be retried; 0 means not at all.
	KeepFailedInput time.Duration
	// KeepUploads is how long an upload is kept after its last byte came, used or not; 0 means a week.
	KeepUploads time.Duration
	// KeepVersions is how long what a file was before is kept, and KeepChanges how long changes stay in
	// the feed of files; 0 means 30 days.
	KeepVersions, KeepChanges time.Duration
	// UploadQuota bounds what is kept of unused uploads.
	UploadQuota storage.Quota
	// KeepAudit is how long lines of the audit trail are kept, in whole months; 0 means for ever.
	KeepAudit time.Duration
	// SignedDownloads has downloads come straight from the bucket, by addresses that work for some
	// minutes. What is read so is not held against its checksums here.
	SignedDownloads bool
	// ReadTime is how long after its start a remote job is left its input file when it may still
	// run while its task ends; 0 means 30 seconds.
	ReadTime time.Duration
	// SweepEvery is how often the sweeps look; 0 means every 5 seconds.
	SweepEvery time.Duration
	// Removed is told what the sweeps removed, for the metrics; it may be nil.
	Removed func(what string, count, bytes int64)
}

// Engine works tasks: it makes them, wakes and works their steps, and tells who waits.
type Engine struct {
	Config
	db       *storage.DB
	files    files.Store
	contents *content.Contents
	logger   *slog.Logger
	river    *river.Client[pgx.Tx]
	wakes    *storage.Wakes
	watch    *Watch
	uploads  *uploadHolds
	feed     feed // of changes of files
	now      func() time.Time

	accessChanged atomic.Pointer[func()]
	changes       atomic.Int64                  // counts changes of access and of apps
	apps          *lru.Cache[string, appMemory] // see app

	transport       http.RoundTripper
	refreshFailures atomic.Int64
	asks            sync.RWMutex // held for reading while a token is asked for
}

// stepArgs are the arguments of a River job: which task to look at. What is to be done is in
// the task's row.
type stepArgs struct {
	TaskID uuid.UUID `json:"task_id"`
}

// Kind names the River job.
func (stepArgs) Kind() string { return "step" }

type worker struct {
	river.WorkerDefaults[stepArgs]
	engine *Engine
}

// Work does one step of a task.
func (w *worker) Work(ctx context.Context, job *river.Job[stepArgs]) error {
	return w.engine.work(ctx, job)
}

// New makes an engine; Run starts it.
func New(config Config) (*Engine, error) {
	config.Workers = cmp.Or(config.Workers, 100)
	config.KeepOutputs = cmp.Or(config.KeepOutputs, 24*time.Hour)
	config.KeepUploads = cmp.Or(config.KeepUploads, 7*24*time.Hour)
	config.KeepVersions = cmp.Or(config.KeepVersions, 30*24*time.Hour)
	config.KeepChanges = cmp.Or(config.KeepChanges, 30*24*time.Hour)
	config.ReadTime = cmp.Or(config.ReadTime, 30*time.Second)
	config.SweepEvery = cmp.Or(config.SweepEvery, 5*time.Second)
	config.Limits = cmp.Or(config.Limits, archive.DefaultLimits())
	if config.Removed == nil {
		config.Removed = func(string, int64, int64) {}
	}
	db := &storage.DB{Pool: config.Pool}
	e := &Engine{
		Config:   config,
		db:       db,
		contents: content.New(db, config.Files, config.Logger),
		files:    config.Files,
		logger:   config.Logger,
		uploads:  newUploadHolds(),
		now:      time.Now,

		transport: oracle.DefaultTransport(),
	}
	e.apps, _ = lru.New[string, appMemory](appsKept) // the size is valid
	e.wakes = storage.NewWakes(config.Pool, config.Process, config.Logger)
	e.watch = newWatch(e.db, e.wakes)
	e.wakes.Changed = func(ids []uuid.UUID) { e.watch.changed(ids); e.uploads.changed(ids) }
	e.wakes.Wanted = e.uploads.wanted
	e.wakes.Files = e.feed.tell
	e.wakes.Lost = func() { e.watch.refreshAll(); e.forgetAccess(); e.feed.tell() }
	e.wakes.Access = e.forgetAccess

	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{engine: e})
	river.AddWorker(workers, &uploadWorker{engine: e})
	var err error
	e.river, err = river.NewClient(riverpgxv5.New(config.Pool), &river.Config{
		ID:      config.Process,
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: config.Workers}},
		Workers: workers,
		Logger:  slog.New(quietHandler{config.Logger.With("part", "river").Handler()}),
		// Picking up within 5 ms. What River's own word does not reach, ours does (Wakes.Due), so
		// the poll is a last resort and idling costs next to nothing.
		FetchCooldown:     5 * time.Millisecond,
		FetchPollInterval: 2 * time.Second,
		JobTimeout:        -1, // a step ends by its own limits; its lease shows that it lives
		MaxAttempts:       1000,
		// The history of work is in our tables; River's rows are of no use once done.
		CompletedJobRetentionPeriod: 10 * time.Minute,
	})
	return e, err
}

// quietHandler lets River's warnings through and makes debug of its news, which comes every few
// seconds.
type quietHandler struct{ slog.Handler }

// Enabled reports whether the level below the record's is shown.
func (h quietHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, quiet(level))
}

// Handle passes the record on at its quieter level.
func (h quietHandler) Handle(ctx context.Context, record slog.Record) error {
	record.Level = quiet(record.Level)
	return h.Handler.Handle(ctx, record)
}

// WithAttrs stays quiet.
func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup stays quiet.
func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.Handler.WithGroup(name)}
}

func quiet(level slog.Level) slog.Level {
	if level == slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}

// DB gives the queries to those above.
func (e *Engine) DB() *storage.DB { return e.db }

// OnAccessChange has forget called whenever who may do what has changed, in this process or in
// another. It must not block.
func (e *Engine) OnAccessChange(forget func()) { e.accessChanged.Store(&forget) }

// AccessChanged tells all processes that who may do what has changed: memberships, people, tokens,
// sessions or apps. Call it after the commit.
func (e *Engine) AccessChanged() {
	e.forgetAccess()
	e.wakes.SendAccess()
}

func (e *Engine) forgetAccess() {
	e.changes.Add(1)
	e.apps.Purge()
	if forget := e.accessChanged.Load(); forget != nil {
		(*forget)()
	}
}

// Watch tells who waits for changes of tasks.
func (e *Engine) Watch() *Watch { return e.watch }

// Run works tasks until ctx ends, then lets the steps in hand finish for as long as grace, and
// hands the rest back to the queue. It returns when all have ended. ready is called when the
// workers run.
func (e *Engine) Run(ctx context.Context, grace time.Duration, ready func()) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	alive := make(chan struct{}, 1)
	var helpers sync.WaitGroup
	helpers.Go(func() { e.watch.Run(background) })
	helpers.Go(func() { e.sealAudit(background) })
	helpers.Go(func() { e.keepConnected(background) })
	helpers.Go(func() {
		e.wakes.Run(background, func() {
			select {
			case alive <- struct{}{}:
			default:
			}
		})
	})
	defer func() { stop(); helpers.Wait(); e.finishAsks() }()
	select {
	case <-alive:
	case <-ctx.Done():
		return nil
	}
	// Once before the first step: what the last process held when it died goes on at once.
	e.sweepDead(ctx)
	if err := e.river.Start(background); err != nil {
		return err
	}
	ready()
	e.sweepAll(ctx) // until ctx ends
	return e.stop(grace)
}

func (e *Engine) stop(grace time.Duration) error {
	soft, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := e.river.Stop(soft); err == nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	hard, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return e.river.StopAndCancel(hard)
}

// schedule inserts the River job that will wake a task at due, and returns its id.
func (e *Engine) schedule(ctx context.Context, tx pgx.Tx, id uuid.UUID, due time.Time) (*int64, error) {
	opts := &river.InsertOpts{}
	wait := due.Sub(e.now())
	if wait > 0 {
		opts.ScheduledAt = due
	}
	inserted, err := e.river.InsertTx(ctx, tx, stepArgs{TaskID: id}, opts)
	if err != nil {
		return nil, err
	}
	if inserted.Job.State == rivertype.JobStateScheduled && wait < riverSchedulerEvery {
		err = storage.WakeSoon(ctx, tx, inserted.Job.ID)
	}
	return &inserted.Job.ID, err
}

// riverSchedulerEvery is how often River's scheduler looks for jobs that have become due.
const riverSchedulerEvery = 6 * time.Second

// comeDue tells the workers when a job that was scheduled for due becomes so. It is called after
// the commit.
func (e *Engine) comeDue(due time.Time) {
	if wait := due.Sub(e.now()); wait > 0 && wait < riverSchedulerEvery {
		time.AfterFunc(wait, e.wakes.Due)
	} else if wait <= 0 {
		e.wakes.Due()
	}
}

// changed tells who waits, here and in other processes, that a task changed. It is called
// after the commit.
func (e *Engine) changed(id uuid.UUID) {
	e.watch.changed([]uuid.UUID{id})
	e.wakes.Send(id)
}
