package s3test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	gatewayModule  = "github.com/versity/versitygw/cmd/versitygw"
	gatewayVersion = "v1.8.0"
	// installTimeout bounds the first installation, which compiles for some minutes.
	installTimeout = 15 * time.Minute
)

// install is done once in a test binary; others wait for each other by a lock file.
var install = sync.OnceValues(installGateway)

// installed is the path of the gateway's program.
func installed(t testing.TB) string {
	t.Helper()
	program, err := install()
	if err != nil {
		t.Fatalf("s3test: install versitygw %s: %v", gatewayVersion, err)
	}
	return program
}

func installGateway() (program string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "longhaul", "bin", "versitygw-"+gatewayVersion)
	program = filepath.Join(folder, "versitygw")
	if complete(program) {
		return program, nil
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(folder+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }() // and so unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if complete(program) {
		return program, nil
	}
	return program, runInstall(folder)
}

// complete reports whether the program was installed: go install gives it its name last.
func complete(program string) bool {
	_, err := os.Stat(program)
	return err == nil
}

func runInstall(folder string) error {
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "install", gatewayModule+"@"+gatewayVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+folder, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go install: %w: %s", err, out)
	}
	return nil
}
