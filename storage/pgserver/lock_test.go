package pgserver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(dir)
	var locked *LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("second lock: %v, want a LockedError", err)
	}
	if diff := cmp.Diff(&LockedError{Dir: dir, PID: os.Getpid()}, locked); diff != "" {
		t.Errorf("second lock (-want +got):\n%s", diff)
	}
	for _, part := range []string{"another longhaul (process ", dir, "stop it", "LONGHAUL_DATA"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("message lacks %q: %v", part, err)
		}
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	lock, err = Lock(dir)
	if err != nil {
		t.Fatalf("after Unlock: %v", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Error(err)
	}
	if _, err := Lock(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
}

// The holder's lock ends when it is killed, even though its PostgreSQL goes on.
func TestLockOfKilledProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortTempDir(t), "postgres")
	holder, _ := holdUntilReady(t, dir)
	var locked *LockedError
	if _, err := Lock(dir); !errors.As(err, &locked) {
		t.Fatalf("lock: %v, want a LockedError", err)
	}
	if locked.PID != holder.Process.Pid {
		t.Errorf("held by %d, want %d", locked.PID, holder.Process.Pid)
	}
	kill9(t, holder)
	lock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	start(t, testConfig(t, dir)) // to stop it
	if err := lock.Unlock(); err != nil {
		t.Error(err)
	}
}
