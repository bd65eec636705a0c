package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The life of a cluster, all of it in one test because each cluster takes a
// second or two to make.
func TestServer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortTempDir(t), "postgres")
	cfg := testConfig(t, dir)

	server := start(t, cfg)
	exec1(t, server, `CREATE TABLE kept AS SELECT 'yes' AS value`)
	for name, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on",
		"server_encoding": "UTF8", "lc_collate": "C", "TimeZone": "UTC",
		"listen_addresses": "", "unix_socket_directories": `"` + dir + `/run"`,
	} {
		checkEqual(t, name, query1(t, server, `SELECT current_setting('`+name+`')`), want)
	}
	checkWrongPassword(t, server)
	checkModes(t, dir)

	stop(t, server)
	stop(t, server) // a second time does nothing
	if alive(server.process.pid()) {
		t.Error("the server lives after Stop")
	}
	if text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid")); err == nil {
		t.Errorf("not an orderly shutdown, postmaster.pid is there:\n%s", text)
	}
	select {
	case err := <-server.Died():
		t.Errorf("Died after Stop: %v", err)
	default:
	}

	server = start(t, cfg)
	checkEqual(t, "kept", query1(t, server, `SELECT value FROM kept`), "yes")
	url := server.URL()
	again := start(t, cfg) // as the next process would find it
	checkEqual(t, "URL of the running server", again.URL(), url)
	if again.process.pid() != server.process.pid() {
		t.Errorf("adopted process %d, want %d", again.process.pid(), server.process.pid())
	}
	stop(t, again)
	if err := <-server.Died(); err == nil {
		t.Error("the owner was not told that the server ended")
	}
}

func checkWrongPassword(t *testing.T, server *Server) {
	t.Helper()
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(userAndDatabase, "guess")
	wrong := &Server{url: u.String()}
	checkMessage(t, tryConnect(t, wrong), "password authentication failed")
}

func checkModes(t *testing.T, dir string) {
	t.Helper()
	for name, want := range map[string]os.FileMode{"password": 0o600, "data": 0o700, "run": 0o700, "postgres.log": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s: %o, want %o", name, got, want)
		}
	}
}

// PostgreSQL refuses to run as root; run by root, these tests show that much.
// Here root also shows that an ordinary user can do it all.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // every other test here shows it
	}
	nobody, err := serviceAccount("nobody")
	if err != nil {
		t.Fatal(err)
	}
	dir := shortTempDir(t)
	if err := nobody.own(dir); err != nil {
		t.Fatal(err)
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The go command keeps the test binary where only root may go.
	program := filepath.Join(dir, "pgserver.test")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^(TestServer|TestParentKilled)$", "-test.v")
	cmd.Dir = dir
	cmd.Env = []string{"TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = nobody.attributes()
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestServer") {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

// The process that started the server is killed; the next one finds it.
func TestParentKilled(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortTempDir(t), "postgres")
	holder, pid := holdUntilReady(t, dir)
	kill9(t, holder)

	server := start(t, testConfig(t, dir))
	if got := server.process.pid(); got != pid {
		t.Errorf("serving process %d, want the running one, %d", got, pid)
	}
	checkEqual(t, "answer", query1(t, server, `SELECT 'yes'`), "yes")
	stop(t, server)
	eventually(t, "the adopted server ends", func() bool { return !serves(pid, server.cluster.dataDir()) })
}

// The adopted server is told to end while it is being adopted.
func TestParentKilledServerStopping(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortTempDir(t), "postgres")
	holder, pid := holdUntilReady(t, dir)
	kill9(t, holder)
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	server := start(t, testConfig(t, dir))
	checkEqual(t, "answer", query1(t, server, `SELECT 'yes'`), "yes")
}

// The server is killed: its owner hears of it, and the next start recovers the
// data, whatever the dead server's process id belongs to by then.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortTempDir(t), "postgres")
	cfg := testConfig(t, dir)
	server := start(t, cfg)
	exec1(t, server, `CREATE TABLE kept AS SELECT 'yes' AS value`)

	other := exec.CommandContext(t.Context(), "sleep", "600")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill9(t, other) })
	reused := strconv.Itoa(other.Process.Pid)

	for name, alter := range map[string]func(pidFile string) string{
		"as it was":                     func(text string) string { return text },
		"another program has the id":    func(text string) string { return withPID(text, reused) },
		"another user has the id":       func(text string) string { return withPID(text, "1") },
		"torn":                          func(text string) string { return text[:3] },
		"empty":                         func(string) string { return "" },
		"our own id":                    func(text string) string { return withPID(text, strconv.Itoa(os.Getpid())) },
		"only just begun, id now other": func(text string) string { return withPID(firstLines(text, 5), reused) },
	} {
		if err := server.process.handle.Kill(); err != nil {
			t.Fatal(err)
		}
		checkMessage(t, <-server.Died(), "ended by itself")
		for _, path := range []string{filepath.Join(dir, "data", "postmaster.pid"), socketFile(filepath.Join(dir, "run")) + ".lock"} {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(alter(string(text))), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Log("postmaster.pid:", name)
		server = start(t, cfg)
		checkEqual(t, name, query1(t, server, `SELECT value FROM kept`), "yes")
	}
}

// A backend of the killed server is still at work; the next server must not
// start beside it, but wait.
func TestServerKilledBackendAlive(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, filepath.Join(shortTempDir(t), "postgres"))
	seen := make(chan struct{})
	cfg.Logger = slog.New(signalHandler{cfg.Logger.Handler(), "postgres: trying again", new(sync.Once), seen})
	server := start(t, cfg)
	backend := childPID(t, server, "client backend")
	if err := syscall.Kill(backend, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := server.process.handle.Kill(); err != nil {
		t.Fatal(err)
	}
	checkMessage(t, <-server.Died(), "ended by itself")
	go func() {
		<-seen
		_ = syscall.Kill(backend, syscall.SIGKILL) // it is there, being stopped
	}()
	server = start(t, cfg)
	select {
	case <-seen:
	default:
		t.Error("the server started beside a backend of the last one")
	}
	checkEqual(t, "answer", query1(t, server, `SELECT 'yes'`), "yes")
}

func childPID(t *testing.T, server *Server, kind string) int {
	t.Helper()
	text := query1(t, server, `SELECT pid::text FROM pg_stat_activity WHERE backend_type = '`+kind+`'`)
	pid, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func withPID(text, pid string) string {
	_, rest, _ := strings.Cut(text, "\n")
	return pid + "\n" + rest
}

func firstLines(text string, n int) string {
	return strings.Join(strings.SplitAfter(text, "\n")[:n], "")
}

// A process killed while it makes the cluster leaves nothing in the way.
func TestKilledInInitdb(t *testing.T) {
	t.Parallel()
	dir := ""
	for dir == "" || len(matches(t, dir, "data")) > 0 { // killed too late
		dir = filepath.Join(shortTempDir(t), "postgres")
		killInInitdb(t, dir)
	}
	server := start(t, testConfig(t, dir))
	checkEqual(t, "answer", query1(t, server, `SELECT 'yes'`), "yes")
	if left := matches(t, dir, "init-*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func killInInitdb(t *testing.T, dir string) {
	t.Helper()
	holder := newHolder(t, dir)
	holder.Env = append(holder.Env, holdFast+"=1") // so that a late kill leaves no server
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "initdb is at work", func() bool { return len(matches(t, dir, "init-*", "data", "base")) > 0 })
	kill9(t, holder)
}

// A path too long for a socket, and one with everything in it that might be
// taken for syntax on the way to the server.
func TestUnusualPaths(t *testing.T) {
	t.Parallel()
	for name, folder := range map[string]struct {
		path   string
		socket bool
	}{
		"long":   {path: strings.Repeat("long/", 25) + "postgres"},
		"comma":  {path: "a,b/postgres"},
		"syntax": {path: `it's "50%" a=b&c\d?[e]/postgres`, socket: true},
		"letter": {path: "größe/postgres", socket: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t, filepath.Join(shortTempDir(t), folder.path))
			cfg.Fast = true
			server := start(t, cfg)
			checkEqual(t, "max_connections", query1(t, server, `SELECT current_setting('max_connections')`), "300")
			if socket := strings.Contains(server.URL(), "host="); socket != folder.socket {
				t.Errorf("by socket: %t, want %t: %s", socket, folder.socket, server.URL())
			}
			again := start(t, cfg)
			checkEqual(t, "URL of the running server", again.URL(), server.URL())
		})
	}
}

func TestStartRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortTempDir(t), "postgres")
	cfg := testConfig(t, dir)
	cfg.Fast = true
	server := start(t, cfg)
	stop(t, server)
	put := func(name, text string) (restore func()) {
		path := filepath.Join(dir, name)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.WriteFile(path, before, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name, file, text string
		want             []string
	}{
		{"other version", "data/PG_VERSION", "9\n", []string{"made by PostgreSQL 9", "installed here", "postgresql-9"}},
		{"no version", "data/PG_VERSION", "x\n", []string{"PG_VERSION", `"x\n"`}},
		{"password of another", "password", "guess\n", []string{"password", "backup"}},
		{"no password", "password", "", []string{"password is missing"}},
		{"broken file", "data/postgresql.conf", "max_connections = many\n", []string{"it ended at once", "postgresql.conf"}},
	} {
		restore := put(tt.file, tt.text)
		_, err := Start(t.Context(), cfg)
		t.Log(err)
		checkMessage(t, err, tt.want...)
		restore()
	}
	start(t, cfg) // nothing of that did harm
}

func TestStartNotACluster(t *testing.T) {
	t.Parallel()
	dir := shortTempDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "postgres", "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		owner, err := serviceAccount("nobody")
		if err != nil {
			t.Fatal(err)
		}
		if err := owner.own(filepath.Join(dir, "postgres", "data")); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Start(t.Context(), testConfig(t, filepath.Join(dir, "postgres")))
	checkMessage(t, err, "is not a PostgreSQL data folder")
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), testConfig(t, filepath.Join(dir, "file")))
	checkMessage(t, err, "is a file", "LONGHAUL_DATA")
}

// Somebody else's folders are not touched: that of another user by a user, and
// one whose PostgreSQL would be root's by root.
func TestForeignFolder(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		dir := shortTempDir(t)
		if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := Start(t.Context(), testConfig(t, dir))
		checkMessage(t, err, "belongs to root", "chown -R postgres "+dir+"/data")
		return
	}
	_, err := Start(t.Context(), testConfig(t, "/"))
	checkMessage(t, err, "the database folder / belongs to user root", "start longhaul as that user", "LONGHAUL_DATA")
}

// A folder under one that is closed to others: root's PostgreSQL cannot get
// there, an ordinary user's own can.
func TestClosedParent(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(shortTempDir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t, filepath.Join(closed, "inner", "postgres"))
	cfg.Fast = true
	server, err := Start(t.Context(), cfg)
	if os.Geteuid() == 0 {
		checkMessage(t, err, "does not run as root", "chmod o+x "+closed+"`", "LONGHAUL_DATA")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	stop(t, server)
}

func TestStartCancelled(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortTempDir(t), "postgres")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		server, err := Start(ctx, testConfig(t, dir))
		if err == nil {
			stop(t, server)
		}
		done <- err
	}()
	eventually(t, "initdb is at work", func() bool { return len(matches(t, dir, "init-*", "data")) > 0 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if left := matches(t, dir, "init-*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A server that does not react to the orderly shutdown is stopped all the same.
func TestStopTooSlow(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, filepath.Join(shortTempDir(t), "postgres"))
	server := start(t, cfg)
	checkpointer := childPID(t, server, "checkpointer")
	// Frozen, it never writes the shutdown's checkpoint.
	if err := syscall.Kill(checkpointer, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := server.Stop(ctx); err != nil {
		t.Error(err)
	}
	eventually(t, "all of the server ends", func() bool { return !alive(checkpointer) })
	start(t, cfg)
}

func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortTempDir(t), "postgres")
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "postgres.log")
	if err := os.WriteFile(log, make([]byte, maxLogSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t, dir)
	cfg.Fast = true
	start(t, cfg)
	for path, want := range map[string]func(int64) bool{
		log:          func(size int64) bool { return 0 < size && size < maxLogSize },
		log + ".old": func(size int64) bool { return size == maxLogSize+1 },
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !want(info.Size()) {
			t.Errorf("%s has %d bytes", path, info.Size())
		}
	}
}

func tryConnect(t *testing.T, server *Server) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return conn.Close(t.Context())
}
