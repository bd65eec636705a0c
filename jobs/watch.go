package jobs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"longhaul/storage"
)

const (
	// watchKept is how long a task stays in memory after someone last asked for it.
	watchKept = 10 * time.Second
	// watchTick is how often versions are compared with the database, in one query, for changes
	// whose word was lost: a process may die between its commit and its notification.
	watchTick = 2 * time.Second
	// watchTail is the longest log text that is shared between those who read it at once.
	watchTail = 256 << 10
)

// Snapshot is a task as it stood at one version. It does not change.
type Snapshot struct {
	Task storage.Task

	db  *storage.DB
	mu  sync.Mutex
	log map[int64]string // texts by the offset they begin at

	renderMu   sync.Mutex
	renderedBy string
	rendered   []byte
}

// Log returns the task's log from the byte offset after on. Readers who stand at the same
// offset share one query.
func (s *Snapshot) Log(ctx context.Context, after int64) (string, error) {
	if after >= s.Task.LogSize {
		return "", nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if text, ok := s.log[after]; ok {
		return text, nil
	}
	text, _, err := s.db.Log(ctx, s.Task.ID, after)
	if err == nil && len(text) <= watchTail {
		if s.log == nil {
			s.log = make(map[int64]string)
		}
		s.log[after] = text
	}
	return text, err
}

// Rendered returns what render makes of the task, made once for each key that follows another.
// With thousands waiting for one task, it is encoded once.
func (s *Snapshot) Rendered(key string, render func(*storage.Task) ([]byte, error)) ([]byte, error) {
	s.renderMu.Lock()
	defer s.renderMu.Unlock()
	if s.rendered != nil && s.renderedBy == key {
		return s.rendered, nil
	}
	body, err := render(&s.Task)
	if err == nil {
		s.rendered, s.renderedBy = body, key
	}
	return body, err
}

// Watch holds the tasks that someone looks at or waits for. However many wait for a task, a
// change costs one query; while nothing changes, waiting costs none.
type Watch struct {
	db    *storage.DB
	wakes *storage.Wakes

	mu      sync.Mutex
	entries map[uuid.UUID]*watched
	dirty   chan struct{} // asks the reloader to look
}

type watched struct {
	snap    *Snapshot     // nil: not known, or no longer
	gone    bool          // there is no such task
	gen     int           // rises with each word of a change
	load    *load         // the query that is under way, if one is
	waiters int           // who wait for a change
	next    chan struct{} // closed when snap is replaced
	used    time.Time
}

// load is a query for a task that all share who ask while it is under way.
type load struct {
	gen  int // of the entry when it began
	done chan struct{}
	snap *Snapshot
	err  error
}

func newWatch(db *storage.DB, wakes *storage.Wakes) *Watch {
	return &Watch{db: db, wakes: wakes, entries: make(map[uuid.UUID]*watched), dirty: make(chan struct{}, 1)}
}

// Get returns the task as it is now, or storage.ErrNotFound.
func (w *Watch) Get(ctx context.Context, id uuid.UUID) (*Snapshot, error) {
	w.mu.Lock()
	entry := w.entry(id)
	if entry.snap != nil && w.wakes.Listening() {
		defer w.mu.Unlock()
		return entry.snap, nil
	}
	l := entry.load
	if l == nil || l.gen != entry.gen {
		l = &load{gen: entry.gen, done: make(chan struct{})}
		entry.load = l
		go w.fetch(context.WithoutCancel(ctx), id, entry, l)
	}
	w.mu.Unlock()
	select {
	case <-l.done:
		return l.snap, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetch does a load. It does not end with the one who happened to ask first.
func (w *Watch) fetch(ctx context.Context, id uuid.UUID, entry *watched, l *load) {
	defer close(l.done)
	task, err := w.db.Task(ctx, id)
	if l.err = err; err == nil {
		l.snap = &Snapshot{Task: task, db: w.db}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if entry.load == l {
		entry.load = nil
	}
	// A word that came during the query may tell of a newer row than the one just read.
	if err == nil && entry.gen == l.gen {
		entry.put(l.snap)
	}
}

// Wait returns the task once its version differs from the given one or it is final, or, as it
// then is, when ctx ends. The error is storage.ErrNotFound or one of the database.
func (w *Watch) Wait(ctx context.Context, id uuid.UUID, version int64) (*Snapshot, error) {
	w.mu.Lock()
	entry := w.entry(id)
	entry.waiters++
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		entry.waiters--
		w.mu.Unlock()
	}()
	for {
		w.mu.Lock()
		next, gone := entry.next, entry.gone
		w.mu.Unlock()
		if gone {
			return nil, storage.ErrNotFound
		}
		snap, err := w.Get(context.WithoutCancel(ctx), id)
		if err != nil || snap.Task.Version != version || snap.Task.Final() {
			return snap, err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return snap, nil
		}
	}
}

// entry returns the entry of id, made when it is missing. The caller holds mu.
func (w *Watch) entry(id uuid.UUID) *watched {
	entry, ok := w.entries[id]
	if !ok {
		entry = &watched{next: make(chan struct{})}
		w.entries[id] = entry
	}
	entry.used = time.Now()
	return entry
}

// put makes snap what is known and wakes who waits. The caller holds the watch's mu.
func (e *watched) put(snap *Snapshot) {
	if e.snap != nil && snap != nil && e.snap.Task.Version >= snap.Task.Version {
		return // nothing new to those who wait
	}
	e.snap = snap
	close(e.next)
	e.next = make(chan struct{})
}

// changed takes word that tasks changed: it forgets what it knew of them, and reloads those
// that are waited for.
func (w *Watch) changed(ids []uuid.UUID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if entry, ok := w.entries[id]; ok {
			entry.gen++
			entry.snap = nil
		}
	}
	w.reloadSoon()
}

// refreshAll forgets everything: words may have been missed.
func (w *Watch) refreshAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, entry := range w.entries {
		entry.gen++
		entry.snap = nil
	}
	w.reloadSoon()
}

func (w *Watch) reloadSoon() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

// Run reloads what changes until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.dirty:
			w.reload(ctx)
		case <-tick.C:
			w.compare(ctx)
			w.reload(ctx)
		}
	}
}

// reload loads, in one query, the tasks that are waited for and not known.
func (w *Watch) reload(ctx context.Context) {
	w.mu.Lock()
	gens := make(map[uuid.UUID]int)
	for id, entry := range w.entries {
		if entry.waiters > 0 && entry.snap == nil && !entry.gone {
			gens[id] = entry.gen
		}
	}
	w.mu.Unlock()
	if len(gens) == 0 {
		return
	}
	tasks, err := w.db.Tasks(ctx, slices.Collect(maps.Keys(gens)))
	if err != nil {
		return // the next tick tries again
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, task := range tasks {
		if entry := w.entries[task.ID]; entry != nil && entry.gen == gens[task.ID] {
			entry.put(&Snapshot{Task: task, db: w.db})
		}
		delete(gens, task.ID)
	}
	for id := range gens {
		if entry := w.entries[id]; entry != nil {
			entry.gone = true
			entry.put(nil)
		}
	}
}

// compare forgets what is older than the database's version and what nobody asks for.
func (w *Watch) compare(ctx context.Context) {
	known := w.known()
	if len(known) == 0 {
		return
	}
	versions, err := w.db.Versions(ctx, known)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			w.refreshAll()
		}
		return
	}
	var stale []uuid.UUID
	w.mu.Lock()
	for _, id := range known {
		if entry := w.entries[id]; entry != nil && entry.snap != nil && entry.snap.Task.Version < versions[id] {
			stale = append(stale, id)
		} else if _, exists := versions[id]; !exists {
			stale = append(stale, id)
		}
	}
	w.mu.Unlock()
	w.changed(stale)
}

// known lists the entries in use and drops the others.
func (w *Watch) known() []uuid.UUID {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := make([]uuid.UUID, 0, len(w.entries))
	for id, entry := range w.entries {
		if entry.waiters == 0 && (time.Since(entry.used) > watchKept || entry.gone) {
			delete(w.entries, id)
			continue
		}
		known = append(known, id)
	}
	return known
}
