package storage

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	wakeChannel = "longhaul_tasks"
	// wakeEvery is how long changes are collected before one notification carries them all. A
	// NOTIFY takes a lock that all others wait for, so it is sent after the commit and rarely.
	wakeEvery = 20 * time.Millisecond
	// wakeBatch words make a payload of 7.7 kB at most; Postgres takes less than 8,000 bytes.
	wakeBatch = 200
)

// Wakes carries word of changed tasks and uploads between the processes on one database, and shows the
// other processes that this one lives: its connection holds an advisory lock named after the
// process, which Postgres frees the moment the process dies.
type Wakes struct {
	// Changed is called with the ids of tasks and uploads that other processes changed. It must not block.
	Changed func(ids []uuid.UUID)
	// Access is called when another process changed who may do what. It must not block.
	Access func()
	// Files is called when another process changed an app's files. It must not block.
	Files func()
	// Wanted is called when another process wants an upload that this one may hold. It must not block.
	Wanted func(id uuid.UUID)
	// Lost is called when notifications may have been missed: at every new connection.
	Lost func()

	process string
	pool    *pgxpool.Pool
	logger  *slog.Logger
	since   atomic.Pointer[time.Time] // of the present listening connection; nil without one

	mu      sync.Mutex
	pending map[string]struct{} // words: see receive
	due     bool                // a River job is due that River may not have been told of
	kick    chan struct{}
}

// NewWakes makes the carrier for the process with the given id. Run starts it.
func NewWakes(pool *pgxpool.Pool, process string, logger *slog.Logger) *Wakes {
	return &Wakes{
		Changed: func([]uuid.UUID) {},
		Access:  func() {},
		Files:   func() {},
		Wanted:  func(uuid.UUID) {},
		Lost:    func() {},
		process: process,
		pool:    pool,
		logger:  logger,
		pending: make(map[string]struct{}),
		kick:    make(chan struct{}, 1),
	}
}

// Listening reports whether changes made by other processes arrive at present.
func (w *Wakes) Listening() bool { return w.since.Load() != nil }

// Settled reports whether this process has been listening for at least d. After a restart of
// Postgres the locks of all processes are free until each is back; none should be taken for dead
// before that.
func (w *Wakes) Settled(d time.Duration) bool {
	since := w.since.Load()
	return since != nil && time.Since(*since) >= d
}

// Send tells the other processes that a task, or an upload, changed, within some 20 ms. Call it after the
// commit: a reader woken earlier would see the old row.
func (w *Wakes) Send(id uuid.UUID) { w.say(id.String()) }

// Want asks the process that holds an upload to let go of it.
func (w *Wakes) Want(id uuid.UUID) { w.say(wantMark + id.String()) }

func (w *Wakes) say(word string) {
	w.mu.Lock()
	w.pending[word] = struct{}{}
	w.mu.Unlock()
	w.soon()
}

// Due tells the workers of all processes that a River job has become due. River itself sends
// one word for all jobs that are inserted within a few milliseconds, before the last of them may
// be committed, and none when a job's time comes: without this they would wait for its poll.
func (w *Wakes) Due() {
	w.mu.Lock()
	w.due = true
	w.mu.Unlock()
	w.soon()
}

// SendAccess tells the other processes that who may do what has changed. Call it after the commit.
func (w *Wakes) SendAccess() { w.say(accessWord) }

// SendFiles tells the other processes that an app's files have changed. Call it after the commit.
func (w *Wakes) SendFiles() { w.say(filesWord) }

func (w *Wakes) soon() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// Run listens and sends until ctx ends. Lost connections are made anew. ready is called each
// time the process is known to the others as alive.
func (w *Wakes) Run(ctx context.Context, ready func()) {
	var both sync.WaitGroup
	both.Go(func() { w.sendAll(ctx) })
	both.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			if err := w.listen(ctx, ready); err != nil && ctx.Err() == nil {
				w.logger.WarnContext(ctx, "wakes: lost the listening connection", "error", err)
			}
			// At once after a connection that held: until it is back, others take this process for dead.
			if time.Since(began) < time.Second {
				sleep(ctx, time.Second/4)
			}
		}
	})
	both.Wait()
}

// listen holds one connection until it fails or ctx ends.
func (w *Wakes) listen(ctx context.Context, ready func()) error {
	conn, err := pgx.ConnectConfig(ctx, w.pool.Config().ConnConfig.Copy())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is left to lose on this connection
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(hashtextextended($1, 0))`, processLock(w.process)); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `LISTEN `+wakeChannel); err != nil {
		return err
	}
	now := time.Now()
	w.since.Store(&now)
	defer w.since.Store(nil)
	ready()
	w.Lost()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		w.receive(n.Payload)
	}
}

const (
	// accessWord stands in a payload for a change of who may do what.
	accessWord = "access"
	// filesWord stands in a payload for a change of an app's files.
	filesWord = "files"
	// wantMark stands before the id of an upload that the sender wants.
	wantMark = "!"
)

// receive reads a payload: the sender's process id, and then words, parted by spaces: the id of what
// changed, accessWord, filesWord, or an upload that is wanted.
func (w *Wakes) receive(payload string) {
	words := strings.Fields(payload)
	if len(words) < 2 || words[0] == w.process {
		return
	}
	ids := make([]uuid.UUID, 0, len(words)-1)
	for _, word := range words[1:] {
		id, err := uuid.Parse(strings.TrimPrefix(word, wantMark))
		switch {
		case word == accessWord:
			w.Access()
		case word == filesWord:
			w.Files()
		case err != nil:
		case strings.HasPrefix(word, wantMark):
			w.Wanted(id)
		default:
			ids = append(ids, id)
		}
	}
	w.Changed(ids)
}

// sendAll sends what is pending, at most once in wakeEvery.
func (w *Wakes) sendAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.kick:
		}
		for {
			batch, due := w.take()
			if len(batch) == 0 && !due {
				break
			}
			if err := w.notify(ctx, batch, due); err != nil && !errors.Is(err, context.Canceled) {
				// The others look for themselves every few seconds, so a lost word is late, not lost.
				w.logger.WarnContext(ctx, "wakes: notify", "error", err)
			}
		}
		sleep(ctx, wakeEvery)
	}
}

// take removes up to wakeBatch pending words.
func (w *Wakes) take() (batch []string, due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	due, w.due = w.due, false
	batch = make([]string, 0, min(len(w.pending), wakeBatch))
	for word := range w.pending {
		if len(batch) == wakeBatch {
			break
		}
		batch = append(batch, word)
		delete(w.pending, word)
	}
	return batch, due
}

func (w *Wakes) notify(ctx context.Context, words []string, due bool) error {
	var batch pgx.Batch
	// Nothing is written that must survive, so the commit need not wait for the disk.
	batch.Queue(`SELECT set_config('synchronous_commit', 'off', true)`)
	if len(words) > 0 {
		batch.Queue(`SELECT pg_notify($1, $2)`, wakeChannel, w.process+" "+strings.Join(words, " "))
	}
	if due {
		// River's own channel and payload for "there is work in this queue".
		batch.Queue(`SELECT pg_notify(current_schema() || '.river_insert', '{"queue": "default"}')`)
	}
	return w.pool.SendBatch(ctx, &batch).Close()
}

// processLock names the advisory lock that a living process holds.
func processLock(process string) string { return "longhaul process " + process }

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
