package ssotest

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

//go:embed testdata/oidc-provider/package.json testdata/oidc-provider/package-lock.json
var packageFiles embed.FS

// installTimeout bounds the first installation, some hundred megabytes.
const installTimeout = 8 * time.Minute

// install is done once in a test binary; others wait for each other by a lock file.
var install = sync.OnceValues(installModules)

// installed is the folder with the node_modules that the lock file names.
func installed(t testing.TB) string {
	t.Helper()
	folder, err := install()
	if err != nil {
		t.Fatalf("ssotest: install oidc-provider: %v", err)
	}
	return folder
}

func installModules() (folder string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	files, sum, err := readPackage()
	if err != nil {
		return "", err
	}
	folder = filepath.Join(cache, "longhaul", "oidc-provider-"+sum)
	if complete(folder) {
		return folder, nil
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o750); err != nil {
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
	if complete(folder) {
		return folder, nil
	}
	return folder, runInstall(folder, files)
}

// complete reports whether the installation ended well: the folder gets its name then.
func complete(folder string) bool {
	_, err := os.Stat(folder)
	return err == nil
}

func readPackage() (files map[string][]byte, sum string, err error) {
	files = make(map[string][]byte)
	hash := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := packageFiles.ReadFile("testdata/oidc-provider/" + name)
		if err != nil {
			return nil, "", err
		}
		files[name] = content
		hash.Write(content)
	}
	return files, hex.EncodeToString(hash.Sum(nil))[:12], nil
}

func runInstall(folder string, files map[string][]byte) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return errors.New("npm is missing; make test installs it (Debian's package: npm)")
	}
	work := folder + ".new"
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o750)); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(work, name), content, 0o600); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	//nolint:gosec // G204: the npm of this machine
	cmd := exec.CommandContext(ctx, npm, "ci", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = work
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w: %s", err, out)
	}
	if out, err := exec.CommandContext(ctx, filepath.Join(work, "node_modules", ".bin", "node"), "--version").CombinedOutput(); err != nil { //nolint:gosec // G204: what was just installed
		return fmt.Errorf("the installed node does not run: %w: %s", err, out)
	}
	return os.Rename(work, folder)
}
