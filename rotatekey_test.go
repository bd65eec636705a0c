package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"longhaul/storage"
	"longhaul/storage/storagetest"
)

const rotateKills = 8

// TestRotateKey replaces the key again and again while a server signs in to applications and is
// told credentials, and kills the command at seeded random instants. The server must not notice.
func TestRotateKey(t *testing.T) {
	t.Parallel()
	w := newCrashWorld(t)
	server := w.start(t)
	w.waitReady()
	path := filepath.Join(w.dir, "secret-key")
	before, err := storage.ReadKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var client sync.WaitGroup
	client.Go(func() { w.keepSigningIn(t, stop) })
	random := rand.New(rand.NewPCG(crashSeed, 1))
	for range rotateKills {
		cmd := w.command(t.Context(), "rotate-key")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(settleTime + 300*time.Millisecond))))
		_ = cmd.Process.Kill() // or it has just ended
		_ = cmd.Wait()
	}
	out, err := w.command(t.Context(), "rotate-key").CombinedOutput()
	close(stop)
	client.Wait()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	w.checkUnderOneKey(t, path, before)
	server.terminate(t)
	server = w.start(t)
	w.waitReady()
	w.wantSignedIn(t, "vision")
	server.terminate(t)
}

// command is the program with other arguments, in the server's environment.
func (w *crashWorld) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = w.env
	return cmd
}

// keepSigningIn signs in to one app, and tells another its credentials anew.
func (w *crashWorld) keepSigningIn(t *testing.T, stop <-chan struct{}) {
	sales, err := json.Marshal(map[string]any{
		"product": "epm", "url": w.simURL, "application": "Sales",
		"auth": map[string]string{"type": "basic", "username": "admin", "password": "welcome1"},
	})
	if err != nil {
		t.Error(err)
	}
	for {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		answer, err := w.do(http.MethodPut, "/api/v1/apps/sales", "application/json", sales, "")
		if err != nil || answer.status != http.StatusOK {
			t.Errorf("%d %s, %v", answer.status, answer.body, err)
			return
		}
		w.wantSignedIn(t, "vision")
		w.wantSignedIn(t, "sales")
	}
}

func (w *crashWorld) wantSignedIn(t *testing.T, app string) {
	t.Helper()
	answer, err := w.do(http.MethodPost, "/api/v1/apps/"+app+"/check", "", nil, "")
	if err != nil || !strings.Contains(string(answer.body), `"ok":true`) {
		t.Errorf("check %s: %d %s, %v", app, answer.status, answer.body, err)
	}
}

// checkUnderOneKey wants one key in the file, another than before, which opens all.
func (w *crashWorld) checkUnderOneKey(t *testing.T, path string, before *storage.Sealer) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(text), "\n") {
		t.Errorf("the key file has %d lines, %v", strings.Count(string(text), "\n")+1, err)
	}
	after, err := storage.ReadKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if after.KeyID() == before.KeyID() {
		t.Error("the key is the same")
	}
	if err := storage.CheckKey(t.Context(), w.pool, after); err != nil {
		t.Error(err)
	}
	if err := storage.CheckKey(t.Context(), w.pool, before); err == nil {
		t.Error("the old key is taken")
	}
	rows, err := w.pool.Query(t.Context(), `SELECT name, auth_sealed FROM apps WHERE auth_sealed IS NOT NULL`)
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var sealed []byte
	_, err = pgx.ForEachRow(rows, []any{&name, &sealed}, func() error {
		_, err := after.Open("app/"+name, sealed)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	var lines int
	err = w.pool.QueryRow(t.Context(), `SELECT count(*) FROM audit WHERE action = 'key.rotate' AND object = $1`, after.KeyID().String()).Scan(&lines)
	if err != nil || lines != 1 {
		t.Errorf("%d lines of audit about the last key, %v", lines, err)
	}
}

// TestRotateGivenKey goes through the documented order for a key that the environment holds.
func TestRotateGivenKey(t *testing.T) {
	t.Parallel()
	pool, address := storagetest.DB(t)
	dir := t.TempDir()
	const one, two = "the first key, of more than 32 characters", "the second key, of more than 32 characters"
	old, err := storage.NewSealer(one)
	if err != nil {
		t.Fatal(err)
	}
	if err := storage.CheckKey(t.Context(), pool, old); err != nil {
		t.Fatal(err)
	}
	_, err = pool.Exec(t.Context(), `INSERT INTO apps (name, product, url, auth_type, auth_sealed) VALUES ('vision', 'epm', 'https://example.com', 'basic', $1)`,
		old.Seal("app/vision", []byte("credentials")))
	if err != nil {
		t.Fatal(err)
	}
	rotate := func(args ...string) (string, error) {
		return output(t, append([]string{"rotate-key", "--data=" + dir, "--database-url=" + address}, args...)...)
	}
	for _, c := range []struct{ args, says string }{
		{"--secret-key=" + two, "LONGHAUL_SECRET_KEY_OLD"},
		{"--secret-key-old=" + one, "LONGHAUL_SECRET_KEY"},
		{"--secret-key-file=" + filepath.Join(dir, "nowhere"), "nowhere"},
	} {
		if _, err := rotate(c.args); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
	if _, err := rotate("--secret-key="+two, "--secret-key-old="+two); err == nil || !strings.Contains(err.Error(), old.KeyID().String()) {
		t.Errorf("without the key in use: %v", err)
	}
	for _, says := range []string{"Encrypted 1 stored secrets", "Encrypted 0 stored secrets"} {
		text, err := rotate("--secret-key="+two, "--secret-key-old="+one)
		if err != nil || !strings.Contains(text, says) {
			t.Errorf("printed %q, error %v", text, err)
		}
	}
	if err := storage.CheckKey(t.Context(), pool, old); err == nil {
		t.Error("the old key is taken")
	}
}

// A server whose key is wrong or missing says so, and makes it no worse.
func TestWrongKeyAtStart(t *testing.T) {
	t.Parallel()
	pool, address := storagetest.DB(t)
	right, err := storage.NewSealer("the right key, of more than 32 characters")
	if err != nil {
		t.Fatal(err)
	}
	if err := storage.CheckKey(t.Context(), pool, right); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "secret-key")
	serve := func(args ...string) error {
		_, err := output(t, append([]string{"serve", "--addr=127.0.0.1:0", "--data=" + dir, "--database-url=" + address}, args...)...)
		return err
	}
	if err := serve(); err == nil || !strings.Contains(err.Error(), path+" is missing") {
		t.Errorf("no key file: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key file was made: %v", err)
	}
	if err := storage.MakeKeyFile(path); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--secret-key=a wrong key, of more than 32 characters"}, {"--secret-key-file=" + path}} {
		err := serve(args...)
		if _, wrong := errors.AsType[*storage.WrongKeyError](err); !wrong {
			t.Errorf("%s: %v", args, err)
		}
		t.Log(err)
	}
	if err := serve("--secret-key=short"); err == nil || !strings.Contains(err.Error(), "32 characters") {
		t.Errorf("a short key: %v", err)
	}
}

func TestSecretTextIsHidden(t *testing.T) {
	t.Parallel()
	settings := keySettings{SecretKey: "planted", SecretKeyOld: "planted"}
	inJSON, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	var logs bytes.Buffer
	slog.New(slog.NewJSONHandler(&logs, nil)).Info("settings", "all", settings, "key", settings.SecretKey)
	slog.New(slog.NewTextHandler(&logs, nil)).Info("settings", "all", settings, "key", settings.SecretKey)
	for _, text := range []string{string(inJSON), logs.String(), fmt.Sprintf("%v %+v %#v %s %q", settings, settings, settings, settings.SecretKey, settings.SecretKey)} {
		if strings.Contains(text, "planted") {
			t.Error(text)
		}
	}
}
