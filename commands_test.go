package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// output runs a command line and returns what it printed.
func output(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, logs bytes.Buffer
	err := run(t.Context(), args, &out, &logs)
	return out.String() + logs.String(), err
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if text, err := output(t, "version"); err != nil || text != "longhaul dev\n" {
		t.Errorf("printed %q, error %v", text, err)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	text, err := output(t, "--help")
	if !errors.Is(err, errDone) {
		t.Errorf("error %v", err)
	}
	for _, command := range []string{"serve", "sim", "migrate", "health", "doctor", "rotate-key", "openapi", "version"} {
		if !strings.Contains(text, "\n  "+command+" ") {
			t.Errorf("the help does not list %s:\n%s", command, text)
		}
	}
}

func TestUnknownFlag(t *testing.T) {
	t.Parallel()
	if _, err := output(t, "serve", "--prot=1"); err == nil || !strings.Contains(err.Error(), "longhaul --help") {
		t.Errorf("error %v does not say where to look", err)
	}
}

// TestSettingsAreDescribed holds the README's table against the flags: each is in it with its
// variable, and each has a sentence of help.
func TestSettingsAreDescribed(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	parser, err := kong.New(&cli{})
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range parser.Model.Children {
		if command.Name != "serve" {
			continue
		}
		for _, flag := range command.Flags {
			if len(flag.Envs) != 1 || flag.Help == "" {
				t.Errorf("--%s has variables %q and help %q", flag.Name, flag.Envs, flag.Help)
				continue
			}
			if row := "| `--" + flag.Name + "` | `" + flag.Envs[0] + "` |"; !bytes.Contains(readme, []byte(row)) {
				t.Errorf("the README has no row %s", row)
			}
		}
	}
}

// TestSettingsRefused wants everything that is wrong told at once, before anything starts.
func TestSettingsRefused(t *testing.T) {
	t.Parallel()
	_, err := output(t, "serve", "--addr=0.0.0.0:8080", "--storage-url=s3://bucket?secret=abc", "--workers=0", "--data="+t.TempDir())
	if err == nil {
		t.Fatal("no error")
	}
	for _, word := range []string{"LONGHAUL_ADDR", "--allow-remote", "LONGHAUL_STORAGE_URL", "LONGHAUL_WORKERS"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not name %s: %v", word, err)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	var status atomic.Int32
	status.Store(http.StatusOK)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(int(status.Load()))
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	if _, err := output(t, "health", "--addr="+address); err != nil {
		t.Errorf("ready: %v", err)
	}
	status.Store(http.StatusServiceUnavailable)
	if _, err := output(t, "health", "--addr="+address); err == nil {
		t.Error("not ready: no error")
	}
	server.Close()
	if _, err := output(t, "health", "--addr="+address); err == nil {
		t.Error("nobody there: no error")
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"127.0.0.1:8080": "127.0.0.1:8080",
		"0.0.0.0:8080":   "localhost:8080",
		"[::]:8080":      "localhost:8080",
		":8080":          "localhost:8080",
		"[::1]:8080":     "[::1]:8080",
		"example.com:80": "example.com:80",
	}
	got := make(map[string]string)
	for addr := range want {
		got[addr] = reachable(addr)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	text, err := output(t, "openapi")
	if err != nil {
		t.Fatal(err)
	}
	var description struct {
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(text), &description); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(description.OpenAPI, "3.1") || description.Paths["/api/v1/tasks"] == nil {
		t.Errorf("OpenAPI %q with %d paths", description.OpenAPI, len(description.Paths))
	}
}
