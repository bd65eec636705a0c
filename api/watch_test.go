package api_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"longhaul/jobs"
	"longhaul/storage"
	"longhaul/storage/storagetest"
)

func newPool(t testing.TB, url string, tracer pgx.QueryTracer) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	must(t, err)
	config.ConnConfig.Tracer = tracer
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// twoProcesses starts two servers on one database and one storage folder.
func twoProcesses(t *testing.T) (one, other *server) {
	t.Helper()
	url, dir := storagetest.URL(t), t.TempDir()
	one = startServer(t, newPool(t, url, nil), dir)
	other = startServer(t, newPool(t, url, nil), dir)
	one.addApp("plain", jobs.AppSettings{Product: "none"})
	return one, other
}

// A change made by one process reaches who waits at another.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	one, other := twoProcesses(t)
	task := one.waiting()
	came := other.hold(task.ID, etag(&task))
	began := time.Now()
	one.act(task.ID, "cancel").want(http.StatusAccepted)
	h := other.came(came)
	t.Logf("the change was there after %s", h.at.Sub(began))
	if h.answer.StatusCode != http.StatusOK || h.at.Sub(began) > time.Second {
		t.Errorf("%d after %s", h.answer.StatusCode, h.at.Sub(began))
	}
	other.waitFinal(task.ID, "cancelled")

	// Work is shared, and what one has done the other shows.
	var ids []string
	for range 20 {
		ids = append(ids, one.create(noop(), nil).ID, other.create(noop(), nil).ID)
	}
	for i, id := range ids {
		[]*server{other, one}[i%2].waitFinal(id, "succeeded")
	}
	// An archive taken in by one is unpacked by whichever works the step.
	withFile := other.create(noop(), zipOf(t, entry{"a", "b"}))
	one.waitFinal(withFile.ID, "succeeded")
	if found := one.stored(); len(found) > 0 {
		t.Errorf("files were left: %q", found)
	}
}

const listeners = `FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN longhaul_tasks%'`

// A process that loses its listening connection, and with it words of changes, finds out what it
// has missed, and listens again.
func TestLostListener(t *testing.T) {
	t.Parallel()
	one, other := twoProcesses(t)
	task := one.waiting()
	came := other.hold(task.ID, etag(&task))
	one.exec("SELECT pg_terminate_backend(pid) " + listeners)
	began := time.Now()
	one.act(task.ID, "cancel").want(http.StatusAccepted)
	h := other.came(came)
	t.Logf("without a listener the change was there after %s", h.at.Sub(began))
	if h.answer.StatusCode != http.StatusOK || h.at.Sub(began) > 15*time.Second {
		t.Errorf("%d after %s", h.answer.StatusCode, h.at.Sub(began))
	}
	other.waitFinal(task.ID, "cancelled")

	one.eventually("both listen again", func() bool { return one.count("SELECT count(*) "+listeners) == 2 })
	first := one.list("?name=first").Items[0]
	came = other.hold(first.ID, etag(&first))
	began = time.Now()
	one.act(first.ID, "cancel").want(http.StatusAccepted)
	if h := other.came(came); h.answer.StatusCode != http.StatusOK || h.at.Sub(began) > time.Second {
		t.Errorf("with a new listener: %d after %s", h.answer.StatusCode, h.at.Sub(began))
	}
	one.waitFinal(first.ID, "cancelled")
}

// taskQueries counts the queries that read tasks.
type taskQueries struct{ n atomic.Int64 }

func (q *taskQueries) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, "FROM tasks") || strings.Contains(data.SQL, "FROM task_logs") {
		q.n.Add(1)
	}
	return ctx
}

func (q *taskQueries) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// pipes is a listener whose connections need no file descriptors, of which many systems give a
// process only 1,024.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// overPipes serves s on pipes too and gives a client for them.
func (s *server) overPipes() *http.Client {
	s.t.Helper()
	listener := newPipes()
	web := &http.Server{Handler: s.api.Handler(), ReadHeaderTimeout: patience}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	transport := &http.Transport{DialContext: listener.dial}
	s.t.Cleanup(func() {
		transport.CloseIdleConnections()
		must(s.t, web.Close())
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			s.t.Error(err)
		}
	})
	return &http.Client{Transport: transport}
}

// Thousands wait for one task, held GETs and streams, and a change reaches them all at once
// without a query for each. It runs alone: it measures time.
func TestManyWaiters(t *testing.T) { //nolint:paralleltest // see above
	queries := &taskQueries{}
	s := startServer(t, newPool(t, storagetest.URL(t), queries), t.TempDir())
	s.addApp("plain", jobs.AppSettings{Product: "none"})
	task := s.waiting()
	client := s.overPipes()
	streams := manyWaiters / 10

	before := queries.n.Load()
	var waiting sync.WaitGroup // done by each once it is held
	var all errgroup.Group
	late := &lateness{}
	for i := range manyWaiters {
		path := fmt.Sprintf("%s?wait=60", taskPath(task.ID))
		if i < streams {
			path = taskPath(task.ID) + "/events"
		}
		r := s.request(http.MethodGet, path, nil, "If-None-Match", etag(&task))
		waiting.Add(1)
		all.Go(func() error {
			defer late.note()
			if i < streams {
				return followUntilCancelled(client, r, waiting.Done)
			}
			return heldUntilChanged(client, r, waiting.Done)
		})
	}
	waiting.Wait()
	// Whoever was sent is held: what is asked now was asked after them.
	for range 10 {
		s.get(taskPath(task.ID)).want(http.StatusOK)
	}
	if n := queries.n.Load() - before; n > 60 {
		t.Errorf("%d queries for %d who wait", n, manyWaiters)
	}
	before = queries.n.Load()
	late.began = time.Now()
	_, err := s.engine.Cancel(t.Context(), uuid.MustParse(task.ID), jobs.Caller{Name: "test", Reach: storage.Everywhere})
	must(t, err)
	must(t, all.Wait())
	t.Logf("%d were reached: the last after %s", manyWaiters, late.last.Sub(late.began))
	if n := queries.n.Load() - before; n > 60 {
		t.Errorf("%d queries to tell %d of a change", n, manyWaiters)
	}
	if took := late.last.Sub(late.began); took > 5*time.Second {
		t.Errorf("the last was reached after %s", took)
	}
}

// lateness is when the last of many was reached.
type lateness struct {
	mu          sync.Mutex
	began, last time.Time
}

func (l *lateness) note() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = time.Now()
}

// heldUntilChanged sends a held GET and checks that it brings the change. sent is called when the
// server has the request.
func heldUntilChanged(client *http.Client, r *http.Request, sent func()) error {
	told := sync.OnceFunc(sent)
	defer told()
	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { told() }}
	resp, err := client.Do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("held: %d", resp.StatusCode)
	}
	return nil
}

// followUntilCancelled reads a stream up to the task's cancellation. sent is called when the first
// event is there.
func followUntilCancelled(client *http.Client, r *http.Request, sent func()) error {
	told := sync.OnceFunc(sent)
	defer told()
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	reached := false
	err = eachEvent(resp.Body, func(e event) bool {
		told()
		reached = e.name == "task" && strings.Contains(e.data, "ancel") && !strings.Contains(e.data, `"message":"Waiting`)
		return !reached
	})
	if err == nil && !reached {
		err = errors.New("the stream ended without the change")
	}
	return err
}

// Five thousand wait in one process, whatever carries their requests.
func TestWaitingCostsNoQuery(t *testing.T) { //nolint:paralleltest // it measures time
	const waiters = 5000
	queries := &taskQueries{}
	s := startServer(t, newPool(t, storagetest.URL(t), queries), t.TempDir())
	s.addApp("plain", jobs.AppSettings{Product: "none"})
	task := s.waiting()
	id := uuid.MustParse(task.ID)
	before := queries.n.Load()
	var all errgroup.Group
	late := &lateness{}
	var held atomic.Int64
	for range waiters {
		all.Go(func() error {
			held.Add(1)
			snap, err := s.engine.Watch().Wait(t.Context(), id, task.Version)
			late.note()
			if err == nil && snap.Task.Version == task.Version {
				err = errors.New("woken without a change")
			}
			return err
		})
	}
	s.eventually("all wait", func() bool { return held.Load() == waiters })
	// Waiting alone costs one query now and then for all: the versions are compared.
	s.eventually("versions are compared", func() bool { return queries.n.Load() >= before+3 })
	if n := queries.n.Load() - before; n > 60 {
		t.Errorf("%d queries for %d who wait", n, waiters)
	}
	before = queries.n.Load()
	late.began = time.Now()
	_, err := s.engine.Cancel(t.Context(), id, jobs.Caller{Name: "test", Reach: storage.Everywhere})
	must(t, err)
	must(t, all.Wait())
	t.Logf("%d were reached: the last after %s", waiters, late.last.Sub(late.began))
	if n := queries.n.Load() - before; n > 60 {
		t.Errorf("%d queries to tell %d of a change", n, waiters)
	}
	if took := late.last.Sub(late.began); took > time.Second {
		t.Errorf("the last was reached after %s", took)
	}
	s.waitFinal(task.ID, "cancelled")
}
