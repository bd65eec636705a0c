package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"longhaul/storage/files/s3test"
)

// TestTwoProcesses has two processes on one bucket and one Postgres: an upload's pieces go to them in
// turn, one starts the task, its steps run on either, and the outputs come from the other.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	first := newCrashWorld(t)
	bucket := s3test.Start(t)
	first.env = append(first.env, bucket.Env()...)
	first.env = append(first.env, "LONGHAUL_STORAGE_URL="+bucket.URL(bucket.NewBucket(t)))
	second := &crashWorld{program: first.program, dir: t.TempDir(), addr: freeAddress(t), token: first.token}
	second.env = append(slices.Clone(first.env), "LONGHAUL_DATA="+second.dir, "LONGHAUL_ADDR="+second.addr, "LONGHAUL_SIGNED_DOWNLOADS=true")
	for _, name := range []string{"admin-token", "secret-key"} { // as one would give them to both
		data, err := os.ReadFile(filepath.Join(first.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(second.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	worlds := []*crashWorld{first, second}
	var servers []*crashServer
	for _, w := range worlds {
		servers = append(servers, w.start(t))
		w.waitReady()
	}
	archive, err := os.ReadFile("docs/samples/importAccount.zip")
	if err != nil {
		t.Fatal(err)
	}
	u := &faultUpload{t: t, base: "http://" + first.addr, token: first.token, data: archive, chunk: 10_000, random: rand.New(rand.NewPCG(1, 1))}
	u.sendInTurn("http://"+first.addr, "http://"+second.addr)

	id := filepath.Base(u.address)
	body := fmt.Sprintf(`{"app": "vision", "name": "importAccount", "kind": "epm.importMetadata", "upload": %q}`, id)
	answer, err := second.do(http.MethodPost, "/api/v1/tasks", "application/json", []byte(body), "")
	if err != nil || answer.status != http.StatusAccepted {
		t.Fatalf("start the task: %d %s, %v", answer.status, answer.body, err)
	}
	var task crashTask
	for deadline := time.Now().Add(20 * time.Second); !task.final(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not final: %+v\n%s\n%s", task, servers[0].logs, servers[1].logs)
		}
		task = crashTask{}
		answer, err := first.do(http.MethodGet, "/api/v1/tasks/"+jsonID(t, answer.body), "", nil, "")
		if err != nil || json.Unmarshal(answer.body, &task) != nil {
			t.Fatalf("%d %s, %v", answer.status, answer.body, err)
		}
	}
	if task.State != "succeeded" || len(task.Outputs) == 0 {
		t.Fatalf("%+v", task)
	}
	for _, w := range worlds {
		for _, output := range task.Outputs {
			body := w.download(t, "/api/v1/tasks/"+task.ID+"/outputs/"+output.Path, w == second)
			if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != output.SHA256 {
				t.Errorf("%s from %s has another digest", output.Path, w.addr)
			}
		}
	}
	for _, s := range servers {
		s.terminate(t)
	}
	if _, err := os.Stat(filepath.Join(second.dir, "uploads")); !os.IsNotExist(err) {
		t.Errorf("files on disk: %v", err)
	}
}

// download gets a file, which a signed address in the bucket may give.
func (w *crashWorld) download(t *testing.T, path string, signed bool) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	client := &http.Client{CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if !signed {
			t.Errorf("sent to %s", req.URL)
		}
		signed = false
		req.Header.Del("Authorization") // the address says who may
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || signed {
		t.Fatalf("%s from %s: %d %s, %v; not sent to the bucket: %v", path, w.addr, resp.StatusCode, body, err, signed)
	}
	return body
}

func jsonID(t *testing.T, body []byte) string {
	t.Helper()
	var what struct{ ID string }
	if err := json.Unmarshal(body, &what); err != nil {
		t.Fatal(err)
	}
	return what.ID
}

// sendInTurn sends the upload in small pieces to several servers in turn.
func (u *faultUpload) sendInTurn(bases ...string) {
	if err := u.create(); err != nil {
		u.t.Fatal(err)
	}
	path := strings.TrimPrefix(u.address, u.base)
	offset := int64(0)
	for i := 0; offset < int64(len(u.data)); i++ {
		u.address = bases[i%len(bases)] + path
		got, err := u.head()
		if err != nil || got != offset {
			u.t.Fatalf("the offset at %s is %d, want %d, %v", u.address, got, offset, err)
		}
		if offset, err = u.patch(offset); err != nil {
			u.t.Fatal(err)
		}
	}
	u.waitFinished(time.Now().Add(time.Minute))
}
