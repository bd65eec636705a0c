package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/oracle/sim"
	"longhaul/storage"
	"longhaul/storage/storagetest"
)

// asServer makes the test binary behave as the program itself.
const asServer = "LONGHAUL_TEST_AS_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		if err := beforeServing(); err != nil {
			panic(err)
		}
		main()
		return
	}
	storagetest.Main(m)
}

const (
	crashKills = 200
	crashSeed  = 20261121
	// crashOpen is how many tasks are kept under way while the server is being killed.
	crashOpen = 12
)

// TestCrash kills the server at seeded random instants while tasks of many kinds run, starts it
// again each time, and then checks that nothing was lost, doubled or left behind. The simulated
// environment lives on; its list of started jobs is the proof.
func TestCrash(t *testing.T) {
	t.Parallel()
	w := newCrashWorld(t)
	w.program = buildProgram(t)
	stop := make(chan struct{})
	var client sync.WaitGroup
	client.Go(func() { w.keepStarting(t, stop) })
	random := rand.New(rand.NewPCG(crashSeed, 0))
	for range crashKills {
		server := w.start(t)
		// Mostly in the work, soon after it began, and now and then in the start-up.
		if random.IntN(5) > 0 {
			w.waitReady()
		}
		time.Sleep(min(time.Duration(random.ExpFloat64()*float64(300*time.Millisecond)), 2*time.Second))
		server.kill(t)
	}
	close(stop)
	w.ageLeftovers(t)
	server := w.start(t)
	client.Wait()
	tasks := w.waitAllFinal(t)
	w.checkTasks(t, tasks)
	w.checkStartedOnce(t, tasks)
	w.checkNothingLeft(t)
	server.terminate(t)
}

// crashWorld is what outlives the server: database, files, the simulated environment, and a
// client that repeats its requests until they are answered.
type crashWorld struct {
	program   string // what is started; the test binary, unless a test says otherwise
	dir, addr string
	pool      *pgxpool.Pool
	env       []string
	attr      *syscall.SysProcAttr // of the server's process
	sim       *sim.Sim
	simURL    string
	token     string

	mu   sync.Mutex
	keys map[string]string // task id by idempotency key
	seen map[string]crashTask
}

type crashTask struct {
	ID       string `json:"id"`
	Kind     string `json:"kind"`
	App      string `json:"app"`
	Name     string `json:"name"`
	State    string `json:"state"`
	Version  int64  `json:"version"`
	Progress struct {
		Percent int `json:"percent"`
	} `json:"progress"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Outputs []struct {
		Path   string `json:"path"`
		SHA256 string `json:"sha256"`
	} `json:"outputs"`
}

func newCrashWorld(t *testing.T) *crashWorld {
	t.Helper()
	pool, url := storagetest.DB(t)
	environment, err := sim.New(sim.Config{Speed: 100, Seed: crashSeed})
	if err != nil {
		t.Fatal(err)
	}
	oracle := httptest.NewServer(environment)
	t.Cleanup(func() {
		oracle.Close()
		if err := environment.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &crashWorld{
		program: os.Args[0], dir: t.TempDir(), addr: freeAddress(t), pool: pool, sim: environment, simURL: oracle.URL, token: "lh_crash-test-token-of-enough-length",
		keys: make(map[string]string), seen: make(map[string]crashTask),
	}
	if err := os.WriteFile(filepath.Join(w.dir, "admin-token"), []byte(w.token), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env = append(os.Environ(), asServer+"=1", "LONGHAUL_DATA="+w.dir, "LONGHAUL_DATABASE_URL="+url,
		"LONGHAUL_ADDR="+w.addr, "LONGHAUL_TEST_KINDS=true", "LONGHAUL_LOG_LEVEL=warn")
	server := w.start(t)
	w.makeApps(t, oracle.URL)
	server.terminate(t)
	return w
}

// buildProgram builds the program as its users have it: with the race detector, which the test binary
// may have, it takes many times the memory and is slow to start.
func buildProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "longhaul")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return program
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (w *crashWorld) makeApps(t *testing.T, url string) {
	t.Helper()
	for name, application := range map[string]string{"vision": "Vision", "sales": "Sales", "none": ""} {
		app := map[string]any{"name": name, "product": "none"}
		if application != "" {
			app = map[string]any{
				"name": name, "product": "epm", "url": url, "application": application, "max_running": 4,
				"auth": map[string]string{"type": "basic", "username": "admin", "password": "welcome1"},
			}
		}
		body, err := json.Marshal(app)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := w.do(http.MethodPost, "/api/v1/apps", "application/json", body, "")
		for err != nil {
			answer, err = w.do(http.MethodPost, "/api/v1/apps", "application/json", body, "")
		}
		if answer.status != http.StatusCreated {
			t.Fatalf("make app %s: %d %s", name, answer.status, answer.body)
		}
	}
}

// waitReady waits until the server works, or for a while: a server that cannot start is found by
// what does not get done.
func (w *crashWorld) waitReady() {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if answer, err := w.do(http.MethodGet, "/readyz", "", nil, ""); err == nil && answer.status == http.StatusOK {
			return
		}
	}
}

type crashServer struct {
	cmd  *exec.Cmd
	logs *bytes.Buffer
}

func (w *crashWorld) start(t *testing.T) *crashServer {
	t.Helper()
	s := &crashServer{cmd: exec.CommandContext(context.Background(), w.program), logs: &bytes.Buffer{}}
	s.cmd.Env, s.cmd.SysProcAttr = w.env, w.attr
	s.cmd.Stderr = s.logs
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() }) // long gone, unless the test failed
	return s
}

func (s *crashServer) kill(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatalf("the server ended by itself: %v\n%s", err, s.logs)
	}
	var exit *exec.ExitError
	if err := s.cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the server ended by itself: %v\n%s", err, s.logs)
	}
}

func (s *crashServer) terminate(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the server did not stop in order: %v\n%s", err, s.logs)
	}
}

type crashAnswer struct {
	status int
	body   []byte
}

var crashClient = &http.Client{Timeout: 10 * time.Second}

func (w *crashWorld) do(method, path, contentType string, body []byte, key string) (crashAnswer, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+w.addr+path, bytes.NewReader(body))
	if err != nil {
		return crashAnswer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	req.Header.Set("Content-Type", contentType)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := crashClient.Do(req)
	if err != nil {
		return crashAnswer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return crashAnswer{resp.StatusCode, text}, err
}

// keepStarting starts tasks of all kinds, as long as not too many are open, and repeats each
// request under its key until it is answered, however often the server dies meanwhile.
func (w *crashWorld) keepStarting(t *testing.T, stop <-chan struct{}) {
	for n := 0; ; n++ {
		for w.countOpen() >= crashOpen {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
		key := fmt.Sprintf("task-%03d", n)
		contentType, body := crashRequest(t, n, key)
		for {
			answer, err := w.do(http.MethodPost, "/api/v1/tasks", contentType, body, key)
			if err == nil && answer.status == http.StatusAccepted {
				w.record(t, key, answer.body)
				break
			}
			if err == nil && answer.status < 500 {
				t.Errorf("start %s: %d %s", key, answer.status, answer.body)
				return
			}
			select {
			case <-stop:
				// The request may or may not have been heard; a last try tells once the server runs.
				stop = nil
			case <-time.After(20 * time.Millisecond):
			}
		}
		if stop == nil {
			return
		}
	}
}

func (w *crashWorld) record(t *testing.T, key string, body []byte) {
	var task crashTask
	if err := json.Unmarshal(body, &task); err != nil {
		t.Error(err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys[key] = task.ID
	w.seen[task.ID] = task
}

// countOpen asks for every task that is not known to be final, and checks on the way that
// version and percent never fall.
func (w *crashWorld) countOpen() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	open := 0
	for id, old := range w.seen {
		if old.final() {
			continue
		}
		open++
		answer, err := w.do(http.MethodGet, "/api/v1/tasks/"+id, "", nil, "")
		if err != nil || answer.status != http.StatusOK {
			return crashOpen // the server is down; nothing can be started anyway
		}
		var task crashTask
		if json.Unmarshal(answer.body, &task) == nil {
			if task.Version < old.Version || task.Progress.Percent < old.Progress.Percent {
				task.Error = &struct {
					Code    string `json:"code"`
					Message string `json:"message"`
				}{"went_back", fmt.Sprintf("from %+v to %+v", old, task)}
			}
			w.seen[id] = task
		}
	}
	return open
}

func (c crashTask) final() bool {
	return c.State == "succeeded" || c.State == "failed" || c.State == "cancelled"
}

// crashRequest is the n-th request: imports with files, exports, rules, and work without Oracle.
func crashRequest(t *testing.T, n int, key string) (contentType string, body []byte) {
	task := map[string]any{"app": "vision", "name": key}
	file := ""
	switch n % 8 {
	case 0:
		task["kind"], task["params"], file = "epm.importMetadata", map[string]any{"job": "importEntity"}, "docs/samples/importEntity.zip"
	case 1:
		task["kind"], task["params"] = "epm.runBusinessRule", map[string]any{"job": "Calculate Plan", "prompts": map[string]string{"key": key}}
	case 2:
		task["kind"], task["params"] = "epm.exportMetadata", map[string]any{"job": "exportAccount"}
	case 3:
		task["app"], task["kind"] = "none", "noop"
	case 4:
		task["kind"], task["params"], file = "epm.importMetadata", map[string]any{"job": "importAccount"}, "docs/samples/importAccount.zip"
	case 5:
		task["app"], task["kind"], task["params"] = "none", "sleep", map[string]any{"ms": 300}
	case 6:
		task["app"], task["kind"], task["params"] = "sales", "epm.runBusinessRule", map[string]any{"job": "Spread Quota", "prompts": map[string]string{"key": key}}
	case 7:
		task["kind"], task["params"] = "epm.exportData", map[string]any{"job": "exportActuals"}
	}
	raw, err := json.Marshal(task)
	if err != nil {
		t.Error(err)
	}
	if file == "" {
		return "application/json", raw
	}
	return multipartTask(t, raw, file)
}

func multipartTask(t *testing.T, task []byte, file string) (contentType string, body []byte) {
	var buffer bytes.Buffer
	form := multipart.NewWriter(&buffer)
	part, err := form.CreateFormField("task")
	if err == nil {
		_, err = part.Write(task)
	}
	if err == nil {
		part, err = form.CreateFormFile("file", filepath.Base(file))
	}
	content, readErr := os.ReadFile(file)
	if err == nil {
		_, err = part.Write(content)
	}
	if err := errors.Join(err, readErr, form.Close()); err != nil {
		t.Error(err)
	}
	return form.FormDataContentType(), buffer.Bytes()
}

// ageLeftovers makes the remains of broken uploads look old enough for the sweep.
func (w *crashWorld) ageLeftovers(t *testing.T) {
	t.Helper()
	old := time.Now().Add(-2 * time.Hour)
	err := filepath.WalkDir(filepath.Join(w.dir, "uploads"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chtimes(path, old, old)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.pool.Exec(t.Context(), `UPDATE contents SET loose_since = loose_since - interval '2 hours'`); err != nil {
		t.Fatal(err)
	}
}

func (w *crashWorld) waitAllFinal(t *testing.T) map[string]crashTask {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for w.countOpen() > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("tasks are still open:\n%s", w.openTasks(t))
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

func (w *crashWorld) openTasks(t *testing.T) string {
	t.Helper()
	var text string
	err := w.pool.QueryRow(t.Context(), `
		SELECT coalesce(string_agg(format('%s %s %s step=%s due=%s lease=%s job=%s %s', id, kind, state, step, due_at - now(), lease_by,
			(SELECT j.state FROM river_job j WHERE j.id = job_id), message), E'\n'), '')
		FROM tasks WHERE finished_at IS NULL`).Scan(&text)
	if err != nil {
		t.Error(err)
	}
	return text
}

// checkTasks: one task for each key, each ended well or as outcome_unknown, its outputs whole.
func (w *crashWorld) checkTasks(t *testing.T, tasks map[string]crashTask) {
	t.Helper()
	ids := make(map[string]bool)
	for key, id := range w.keys {
		if ids[id] {
			t.Errorf("key %s shares its task with another", key)
		}
		ids[id] = true
	}
	var rows int
	if err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM tasks`).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if rows != len(w.keys) {
		t.Errorf("%d keys made %d tasks", len(w.keys), rows)
	}
	states := make(map[string]int)
	for _, task := range tasks {
		what := task.State
		if task.Error != nil {
			what += " " + task.Error.Code
		}
		states[what]++
		if what != "succeeded" && what != "failed outcome_unknown" {
			t.Errorf("task %s (%s) ended as %s: %+v", task.ID, task.Kind, what, task.Error)
		}
		w.checkOutputs(t, task)
	}
	t.Logf("%d tasks: %v", len(tasks), states)
	if states["succeeded"] < len(tasks)/2 {
		t.Errorf("too few tasks succeeded: %v", states)
	}
}

func (w *crashWorld) checkOutputs(t *testing.T, task crashTask) {
	t.Helper()
	for _, output := range task.Outputs {
		path := filepath.Join(w.dir, "uploads", task.App, task.Name, task.ID, "outbound", filepath.FromSlash(output.Path))
		content, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != output.SHA256 {
			t.Errorf("%s: not the bytes that are listed", path)
		}
	}
}

// checkStartedOnce: no task started two remote jobs, and one that succeeded started one.
func (w *crashWorld) checkStartedOnce(t *testing.T, tasks map[string]crashTask) {
	t.Helper()
	started := make(map[string]int)
	jobs := w.sim.Jobs()
	for _, job := range jobs {
		parameters, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		owner := ""
		for id, task := range tasks {
			if bytes.Contains(parameters, []byte(id)) || bytes.Contains(parameters, []byte(`"`+task.Name+`"`)) {
				owner = id
			}
		}
		if owner == "" {
			t.Errorf("a job was started for no task: %s", parameters)
		}
		started[owner]++
	}
	for id, task := range tasks {
		remote := strings.HasPrefix(task.Kind, "epm.")
		switch {
		case started[id] > 1:
			t.Errorf("task %s (%s) started %d jobs", id, task.Kind, started[id])
		case remote && task.State == "succeeded" && started[id] != 1:
			t.Errorf("task %s (%s) succeeded with %d jobs", id, task.Kind, started[id])
		}
	}
	t.Logf("%d remote jobs were started", len(jobs))
}

// isOrphan reports whether a file is a content that was written when the server died before it had a
// row. Such a file is removed a day later.
func (w *crashWorld) isOrphan(t *testing.T, path string) bool {
	t.Helper()
	folder, id := filepath.Split(path)
	if filepath.Base(folder) != storage.ContentFolder {
		return false
	}
	var known bool
	if err := w.pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM contents WHERE id = $1)`, id).Scan(&known); err != nil {
		t.Fatal(err)
	}
	return !known
}

// checkNothingLeft: no inputs, archives, partial files, log rows, leases; no files of ours in
// the remote application.
func (w *crashWorld) checkNothingLeft(t *testing.T) {
	t.Helper()
	left := func() (found []string) {
		_ = filepath.WalkDir(filepath.Join(w.dir, "uploads"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.Contains(path, "/outbound/") && !w.isOrphan(t, path) {
				found = append(found, path)
			}
			return nil // what vanishes meanwhile is gone
		})
		for _, name := range w.remoteFiles(t) {
			if strings.HasPrefix(name, "longhaul-") {
				found = append(found, "remote "+name)
			}
		}
		return found
	}
	// The sweep of files runs a few seconds after the start.
	for deadline := time.Now().Add(20 * time.Second); len(left()) > 0 && time.Now().Before(deadline); {
		time.Sleep(200 * time.Millisecond)
	}
	for _, path := range left() {
		t.Errorf("left behind: %s", path)
	}
	var logs, leases, broken int
	err := w.pool.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM task_logs), (SELECT count(*) FROM tasks WHERE lease_by IS NOT NULL),
			(SELECT count(*) FROM tasks WHERE octet_length(log) <> log_size)`).Scan(&logs, &leases, &broken)
	if err != nil {
		t.Fatal(err)
	}
	if logs+leases+broken > 0 {
		t.Errorf("left in the tables: %d log rows, %d leases, %d logs of the wrong size", logs, leases, broken)
	}
}

// remoteFiles lists what lies in the simulated environment, by its control call.
func (w *crashWorld) remoteFiles(t *testing.T) []string {
	t.Helper()
	resp, err := crashClient.Get(w.simURL + "/sim/files")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var files struct {
		Items []struct {
			Name string `json:"name"`
		} `json:"items"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&files); err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, len(files.Items))
	for _, f := range files.Items {
		names = append(names, f.Name)
	}
	return names
}
