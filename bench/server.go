package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/storage"
)

// benchApp is the app of all tasks. It has no remote application, so its tasks wait for nothing.
const benchApp = "bench"

// command is a program that is asked to end when ctx ends, and made to if it does not.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // names and arguments are ours
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Minute // a Postgres is stopped in that time
	return cmd
}

// server is a running longhaul with its private Postgres.
type server struct {
	cmd   *exec.Cmd
	dir   string
	addr  string // host:port
	token string
	db    *pgxpool.Pool
	http  *http.Client
}

// serve starts longhaul on the data folder of the given name, with default settings but for the
// test kinds, and waits until it works. The caller stops it.
func (b *bench) serve(ctx context.Context, name string) (*server, error) {
	s := &server{dir: filepath.Join(b.dir, name), http: &http.Client{Timeout: time.Minute}}
	s.cmd = command(ctx, b.longhaul, "serve")
	s.cmd.Env = append(os.Environ(), "LONGHAUL_DATA="+s.dir, "LONGHAUL_ADDR=127.0.0.1:0", "LONGHAUL_TEST_KINDS=1",
		"LONGHAUL_DATABASE_URL=", "LONGHAUL_STORAGE_URL=", "LONGHAUL_LOG_LEVEL=info",
		"LONGHAUL_RATE_LIMIT=0", "LONGHAUL_ADDRESS_RATE_LIMIT=0", "LONGHAUL_MAX_WAITING=0")
	log, err := os.OpenFile(b.logFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the process has its own handle
	s.cmd.Stderr = log
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := errors.Join(s.readLink(stdout), ctx.Err()); err != nil {
		return nil, errors.Join(err, s.cmd.Wait())
	}
	go io.Copy(io.Discard, stdout) //nolint:errcheck // nothing more is said there
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (b *bench) logFile(name string) string { return filepath.Join(b.dir, name+".log") }

// lastWords is the end of the log of the server on the data folder of the given name.
func (b *bench) lastWords(name string) []byte {
	text, err := os.ReadFile(b.logFile(name))
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-2000):]
}

// readLink reads the sign-in link that the server prints when it is ready.
func (s *server) readLink(stdout io.Reader) error {
	for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
		text, found := strings.CutPrefix(scanner.Text(), "Sign in: ")
		if !found {
			continue
		}
		link, err := url.Parse(text)
		if err != nil {
			return fmt.Errorf("sign-in link: %w", err)
		}
		s.addr, s.token = link.Host, link.Query().Get("token")
		return nil
	}
	return errors.New("longhaul ended before it was ready")
}

// connect opens the server's database, makes sure that it is durable, and makes the app.
func (s *server) connect(ctx context.Context) error {
	password, err := os.ReadFile(filepath.Join(s.dir, "postgres", "password"))
	if err != nil {
		return err
	}
	address := url.URL{
		Scheme: "postgres", User: url.UserPassword("longhaul", strings.TrimSpace(string(password))), Path: "/longhaul",
		RawQuery: url.Values{"host": {filepath.Join(s.dir, "postgres", "run")}, "sslmode": {"disable"}}.Encode(),
	}
	if s.db, err = storage.Connect(ctx, address.String()); err != nil {
		return err
	}
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		if err := s.db.QueryRow(ctx, "SHOW "+setting).Scan(&value); err != nil {
			return err
		}
		if value != "on" {
			return fmt.Errorf("%s is %s; only a durable Postgres is measured", setting, value)
		}
	}
	return s.makeApp(ctx)
}

func (s *server) makeApp(ctx context.Context) error {
	status, answer, err := s.call(ctx, http.MethodPost, "/api/v1/apps", `{"name":"`+benchApp+`","product":"none"}`)
	if err == nil && status != http.StatusCreated && status != http.StatusConflict { // conflict: started again
		err = fmt.Errorf("make the app: %d %s", status, answer)
	}
	return err
}

// stop ends the server and its Postgres in order.
func (s *server) stop() error {
	if s.db != nil {
		s.db.Close()
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := s.cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("longhaul did not end in order: %w", err)
	}
	return nil
}

// call makes a request to the API.
func (s *server) call(ctx context.Context, method, path, body string) (status int, answer []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// task is what the bench reads of an answer about a task.
type task struct {
	ID    string `json:"id"`
	State string `json:"state"`
}

// noop is the request for a task that does nothing.
const noop = `{"app":"` + benchApp + `","name":"noop","kind":"noop"}`

// start makes a noop task.
func (s *server) start(ctx context.Context) (task, error) {
	var t task
	status, answer, err := s.call(ctx, http.MethodPost, "/api/v1/tasks", noop)
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("start a task: %d %s", status, answer)
	}
	if err != nil {
		return t, err
	}
	err = json.Unmarshal(answer, &t)
	return t, err
}

// raw is a request to the API as it goes over the wire.
func (s *server) raw(method, path, body string, headers ...string) []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", method, path, s.addr, s.token)
	for _, header := range headers {
		text.WriteString(header + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&text, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	text.WriteString("\r\n" + body)
	return text.Bytes()
}

// pause waits for d, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// syncDisk has the file system of dir write out all that it holds.
func syncDisk(ctx context.Context, dir string) error {
	if out, err := command(ctx, "sync", "-f", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("sync -f %s: %w\n%s", dir, err, out)
	}
	return nil
}
