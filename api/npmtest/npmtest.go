// Package npmtest installs packages of npm for tests, and runs them in the Node.js that they bring
// along.
//
// What is installed is named by a package.json, with the package "node" in it, and its lock file.
// It is put into the user's cache folder once for each lock file; npm must be there (Debian: npm),
// and must reach its registry the first time.
//
// Only tests may import this package.
package npmtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// installTimeout bounds the first installation, some hundred megabytes.
const installTimeout = 8 * time.Minute

// Modules is a folder with installed packages.
type Modules struct{ folder string }

// Install returns the packages that the package.json and package-lock.json in the folder name. They
// are installed if this user does not have them yet; others who want them wait meanwhile.
func Install(t testing.TB, files fs.FS, folder string) *Modules {
	t.Helper()
	m, err := install(files, folder)
	if err != nil {
		t.Fatalf("npmtest: install %s: %v", path.Base(folder), err)
	}
	return m
}

// Path is that of a file of a package: its name, and the way to the file in it.
func (m *Modules) Path(elem ...string) string {
	return filepath.Join(append([]string{m.folder, "node_modules"}, elem...)...)
}

// Node is a command that runs the installed Node.js.
func (m *Modules) Node(ctx context.Context, args ...string) *exec.Cmd {
	return m.Program(ctx, "node", args...)
}

// Program is a command that runs a program of a package, in the folder that has the packages.
func (m *Modules) Program(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, m.Path(".bin", name), args...) //nolint:gosec // G204: the program that was just installed
	cmd.Dir = m.folder
	return cmd
}

func install(files fs.FS, from string) (*Modules, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	manifest, sum, err := readManifest(files, from)
	if err != nil {
		return nil, err
	}
	m := &Modules{filepath.Join(cache, "longhaul", path.Base(from)+"-"+sum)}
	if m.complete() {
		return m, nil
	}
	if err := os.MkdirAll(filepath.Dir(m.folder), 0o750); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(m.folder+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Close() }() // and so unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if m.complete() {
		return m, nil
	}
	return m, m.install(manifest)
}

// complete reports whether the installation ended well: the folder gets its name then.
func (m *Modules) complete() bool {
	_, err := os.Stat(m.folder)
	return err == nil
}

// readManifest returns the contents of the two files by name, and a digest of both.
func readManifest(files fs.FS, folder string) (manifest map[string][]byte, sum string, err error) {
	manifest = make(map[string][]byte)
	hash := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := fs.ReadFile(files, path.Join(folder, name))
		if err != nil {
			return nil, "", err
		}
		manifest[name] = content
		hash.Write(content)
	}
	return manifest, hex.EncodeToString(hash.Sum(nil))[:12], nil
}

func (m *Modules) install(manifest map[string][]byte) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return errors.New("npm is missing; make test installs it (Debian's package: npm)")
	}
	work := &Modules{m.folder + ".new"}
	if err := errors.Join(os.RemoveAll(work.folder), os.MkdirAll(work.folder, 0o750)); err != nil {
		return err
	}
	for name, content := range manifest {
		if err := os.WriteFile(filepath.Join(work.folder, name), content, 0o600); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	//nolint:gosec // G204: the npm of this machine
	cmd := exec.CommandContext(ctx, npm, "ci", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = work.folder
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w: %s", err, out)
	}
	if out, err := work.Node(ctx, "--version").CombinedOutput(); err != nil {
		return fmt.Errorf("the installed node does not run: %w: %s", err, out)
	}
	return os.Rename(work.folder, m.folder)
}
