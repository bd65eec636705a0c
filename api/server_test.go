package api_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"

	"longhaul/api"
	"longhaul/jobs"
	"longhaul/oracle/sim"
	"longhaul/storage"
	"longhaul/storage/files"
	"longhaul/storage/storagetest"
)

// The credentials that the tests use; none may ever show in an answer, a log or a table.
const (
	adminToken = "lh_test-token-of-the-administrator"
	secretKey  = "a secret key for tests, of more than 32 characters"
	simPass    = "welcome1"
)

// patience bounds every wait of a test for something that must come.
const patience = 60 * time.Second

// server is the whole of Longhaul but its command line: API, engine and Postgres, with an
// application on the simulator. Its methods fail the test by themselves.
type server struct {
	t      testing.TB
	url    string
	api    *api.Server
	engine *jobs.Engine
	pool   *pgxpool.Pool
	dir    string // of the stored files
	sim    *sim.Sim
	simURL string
	logs   *logBuffer
	http   *http.Client
	active *atomic.Int64 // requests that are being answered
	closed *closedConns
}

// config is what a test may change about its server.
type config struct {
	jobs jobs.Config
	api  api.Config
	sim  sim.Config
	// idle leaves the workers unstarted: tasks stay as they were made.
	idle bool
}

// newServer starts a server with the apps vision, on the application Vision of a simulator, and
// plain, which needs no application. It stops in order at the end of the test.
func newServer(t testing.TB, changes ...func(*config)) *server {
	t.Helper()
	pool, _ := storagetest.DB(t)
	s := startServer(t, pool, t.TempDir(), changes...)
	s.addApp("plain", jobs.AppSettings{Product: "none"})
	s.addApp("vision", s.onSim("Vision"))
	return s
}

// startServer starts a server process on a database and a storage folder that others may use too.
func startServer(t testing.TB, pool *pgxpool.Pool, dir string, changes ...func(*config)) *server {
	t.Helper()
	logs := &logBuffer{}
	logger := slog.New(slog.NewJSONHandler(logs, nil))
	folder, err := files.OpenFolder(dir)
	must(t, err)
	sealer, err := storage.NewSealer(secretKey)
	must(t, err)
	c := config{
		jobs: jobs.Config{
			Pool: pool, Files: folder, Sealer: sealer, Kinds: jobs.NewKinds(append(jobs.EPMKinds(), jobs.TestKinds()...)...),
			Logger: logger, Process: uuid.NewString(), SweepEvery: 200 * time.Millisecond, ReadTime: time.Millisecond,
		},
		api: api.Config{Files: folder, AdminToken: adminToken, Logger: logger, Version: "test"},
		sim: sim.Config{Speed: 200},
	}
	for _, change := range changes {
		change(&c)
	}
	s := &server{t: t, pool: pool, dir: dir, logs: logs}
	t.Cleanup(func() { must(t, folder.Close()) })
	s.startSim(c.sim)
	s.engine, err = jobs.New(c.jobs)
	must(t, err)
	if !c.idle {
		s.startEngine()
	}
	c.api.Engine = s.engine
	s.api = api.New(c.api)
	s.serve()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log:\n%s", strings.Join(append(logs.lines(`"WARN"`), logs.lines(`"ERROR"`)...), ""))
		}
	})
	return s
}

func (s *server) startSim(config sim.Config) {
	s.t.Helper()
	environment, err := sim.New(config)
	must(s.t, err)
	web := httptest.NewServer(environment)
	s.sim, s.simURL = environment, web.URL
	s.t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
		must(s.t, environment.Close())
	})
}

// startEngine runs the workers until the end of the test.
func (s *server) startEngine() {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.engine.Run(ctx, 5*time.Second, func() { close(ready) }) }()
	s.t.Cleanup(func() {
		stop()
		must(s.t, <-ended)
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		s.t.Fatalf("the engine did not start: %v", err)
	case <-time.After(patience):
		s.t.Fatal("the engine is not ready")
	}
}

func (s *server) serve() {
	s.active, s.closed = new(atomic.Int64), &closedConns{addresses: make(map[string]bool)}
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.active.Add(1)
		defer s.active.Add(-1)
		s.api.Handler().ServeHTTP(w, r)
	}))
	web.Config.ConnState = s.closed.note
	web.Config.ErrorLog = slog.NewLogLogger(slog.NewJSONHandler(s.logs, nil), slog.LevelWarn)
	web.Start()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	s.url, s.http = web.URL, &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	s.t.Cleanup(func() {
		s.api.Stop()
		transport.CloseIdleConnections()
		web.Close()
	})
}

// closedConns are the connections that the server has done with, by their client's address.
type closedConns struct {
	mu        sync.Mutex
	addresses map[string]bool
}

func (c *closedConns) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew: // the address may have been another's
		delete(c.addresses, conn.RemoteAddr().String())
	case http.StateClosed:
		c.addresses[conn.RemoteAddr().String()] = true
	case http.StateActive, http.StateIdle, http.StateHijacked:
	}
}

// wait returns when the server has done with all that came over a connection.
func (c *closedConns) wait(t testing.TB, address string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		closed := c.addresses[address]
		delete(c.addresses, address)
		c.mu.Unlock()
		if closed {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the server holds on to a connection that was closed")
		}
	}
}

// onSim are the settings of an app on an application of the simulator.
func (s *server) onSim(application string) jobs.AppSettings {
	return jobs.AppSettings{
		Product: "epm", URL: s.simURL, Application: application,
		Auth: &jobs.Credentials{Type: "basic", Username: "admin", Password: simPass},
	}
}

func (s *server) addApp(name string, set jobs.AppSettings) {
	s.t.Helper()
	_, err := s.engine.CreateApp(s.t.Context(), name, set, jobs.Caller{Name: "test", Reach: storage.Everywhere})
	must(s.t, err)
}

// in is the server for a subtest, which fails by itself.
func (s *server) in(t *testing.T) *server {
	t.Helper()
	sub := *s
	sub.t = t
	return &sub
}

// fault puts a fault of the simulator in force.
func (s *server) fault(f sim.Fault) {
	s.t.Helper()
	_, err := s.sim.AddFault(f)
	must(s.t, err)
}

// count runs a query that gives one number.
func (s *server) count(sql string, args ...any) int {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), sql, args...)
	must(s.t, err)
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
	must(s.t, err)
	return n
}

func (s *server) exec(sql string, args ...any) {
	s.t.Helper()
	_, err := s.pool.Exec(s.t.Context(), sql, args...)
	must(s.t, err)
}

// stored lists the files in the storage folder.
func (s *server) stored() []string {
	s.t.Helper()
	var found []string
	must(s.t, filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // removed meanwhile
		}
		if err == nil && !d.IsDir() {
			found = append(found, strings.TrimPrefix(path, s.dir+"/"))
		}
		return err
	}))
	return found
}

// wantNothing checks that no trace of a request is left: no file, no row, no River job.
func (s *server) wantNothing() {
	s.t.Helper()
	if found := s.stored(); len(found) > 0 {
		s.t.Errorf("files were left: %q", found)
	}
	for _, table := range []string{"tasks", "idempotency_keys", "river_job", "task_logs"} {
		if n := s.count("SELECT count(*) FROM " + table); n != 0 {
			s.t.Errorf("%d rows were left in %s", n, table)
		}
	}
	if n := s.count("SELECT count(*) FROM audit WHERE action = 'task.create'"); n != 0 {
		s.t.Errorf("%d lines of audit were left", n)
	}
}

// eventually polls until done reports true.
func (s *server) eventually(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not in time: %s", what)
		}
	}
}

// echo is the router behind the API, to look at and to add routes to.
func (s *server) echo() *echo.Echo { return s.api.Router() }

// entry is a file in an archive.
type entry struct{ name, text string }

// zipOf makes an archive.
func zipOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		one, err := w.Create(e.name)
		must(t, err)
		_, err = io.WriteString(one, e.text)
		must(t, err)
	}
	must(t, w.Close())
	return buf.Bytes()
}

// accountCSV makes a file of accounts that an import takes, but for the last rejected ones, whose
// parent is unknown.
func accountCSV(rows, rejected int) string {
	var b strings.Builder
	b.WriteString("Account,Parent,Alias: Default,Data Storage\n")
	for i := range rows {
		parent := "4000"
		if i >= rows-rejected {
			parent = "E_99"
		}
		fmt.Fprintf(&b, "A_%d,%s,Account %d,store\n", i, parent, i)
	}
	return b.String()
}

// accounts is an archive that the saved job importAccount takes.
func accounts(t testing.TB, rows, rejected int) []byte {
	t.Helper()
	return zipOf(t, entry{"importAccount.csv", accountCSV(rows, rejected)})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logBuffer keeps a server's log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// lines returns the lines that hold all the words.
func (l *logBuffer) lines(words ...string) []string {
	var found []string
	for line := range strings.Lines(l.String()) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			found = append(found, line)
		}
	}
	return found
}

func decodeJSON(r io.Reader, value any) error { return json.NewDecoder(r).Decode(value) }
