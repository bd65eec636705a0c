package pgserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// cluster is a PostgreSQL data folder ready to be served, and by what.
type cluster struct {
	dir      string // Config.Dir with links resolved, as the server will report it
	account  account
	bin      binaries
	password string
	fast     bool
	logger   *slog.Logger
}

func (c *cluster) dataDir() string      { return filepath.Join(c.dir, "data") }
func (c *cluster) socketDir() string    { return filepath.Join(c.dir, "run") }
func (c *cluster) passwordFile() string { return filepath.Join(c.dir, "password") }

// openCluster finds the cluster in cfg.Dir, or makes one.
func openCluster(ctx context.Context, cfg Config) (*cluster, error) {
	c := &cluster{fast: cfg.Fast, logger: cfg.Logger}
	if err := c.openDir(cfg.Dir); err != nil {
		return nil, err
	}
	var err error
	if c.account, err = accountFor(c.dataDir()); err != nil {
		return nil, err
	}
	major, err := c.major()
	if err != nil {
		return nil, err
	}
	if c.bin, err = choose(installed(ctx, candidateDirs(binDirs)), major, c.dir); err != nil {
		return nil, err
	}
	if err := c.account.checkReach(ctx, c.dir, c.bin.postgres()); err != nil {
		return nil, err
	}
	if c.password, err = c.loadPassword(major != 0); err != nil {
		return nil, err
	}
	c.removeUnfinished()
	if major == 0 {
		if err := c.initialize(ctx); err != nil {
			return nil, fmt.Errorf("make database in %s: %w", c.dir, err)
		}
	}
	return c, c.ownedDir(c.socketDir())
}

// openDir makes the folder, with its parents, and checks that it is ours.
func (c *cluster) openDir(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("database folder %s: %w", dir, err)
	}
	// Root's folder is passed through by the user who runs PostgreSQL; nothing
	// in it is readable by others.
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.MkdirAll(filepath.Dir(dir), mode); err != nil {
		return fmt.Errorf("make database folder: %w", err)
	}
	if err := makeDir(dir, mode); err != nil {
		return fmt.Errorf("make database folder: %w", err)
	}
	if c.dir, err = filepath.EvalSymlinks(dir); err != nil {
		return fmt.Errorf("database folder: %w", err)
	}
	return checkOwner(c.dir)
}

// makeDir makes a folder with exactly this mode, or leaves the one there is.
func makeDir(dir string, mode fs.FileMode) error {
	err := os.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, mode) // whatever the umask took
}

func checkOwner(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("database folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("database folder %s: is a file: move it away, or choose another folder with LONGHAUL_DATA", dir)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && os.Geteuid() != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("the database folder %s belongs to user %s and this is user %s: start longhaul as that user, or choose another folder with LONGHAUL_DATA",
			dir, userName(int(stat.Uid)), userName(os.Geteuid()))
	}
	return nil
}

// major is the version that made the cluster; 0 when there is none yet.
func (c *cluster) major() (int, error) {
	path := filepath.Join(c.dataDir(), "PG_VERSION")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(c.dataDir()); err == nil {
			return 0, fmt.Errorf("%s is not a PostgreSQL data folder (it has no PG_VERSION): restore it from a backup, or move it away to begin with an empty database", c.dataDir())
		}
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read version of cluster: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read version of cluster: %s says %q, which is no version of PostgreSQL since 10", path, text)
	}
	return major, nil
}

// loadPassword reads the superuser's password, or makes it when there is no
// cluster yet that has another.
func (c *cluster) loadPassword(clusterExists bool) (string, error) {
	path := c.passwordFile()
	text, err := os.ReadFile(path)
	if password := strings.TrimSpace(string(text)); err == nil && password != "" {
		return password, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read database password: %w", err)
	}
	if clusterExists {
		return "", fmt.Errorf("the database's password is missing: restore %s from a backup", path)
	}
	password := rand.Text()
	if err := writeSynced(path, password+"\n"); err != nil {
		return "", fmt.Errorf("keep database password: %w", err)
	}
	return password, nil
}

// writeSynced writes a file of mode 0600 that is whole after a crash, or absent.
func writeSynced(path, text string) error {
	file, err := os.CreateTemp(filepath.Dir(path), "init-*")
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// removeUnfinished clears what a start left that was killed on the way. What
// cannot be removed does no harm, so it is only reported.
func (c *cluster) removeUnfinished() {
	for _, pattern := range []string{"init-*", "pid-*"} {
		leftovers, err := filepath.Glob(filepath.Join(c.dir, pattern))
		if err != nil {
			leftovers = nil // a folder's name that is no pattern
		}
		for _, path := range leftovers {
			if err := os.RemoveAll(path); err != nil {
				c.logger.Warn("postgres: remove unfinished start", "path", path, "error", err)
			}
		}
	}
}

// initialize makes the cluster beside its place and moves it there when it is
// complete, so that a crash leaves either all of it or nothing that counts.
func (c *cluster) initialize(ctx context.Context) error {
	c.logger.InfoContext(ctx, "postgres: making a new database", "dir", c.dir, "version", c.bin.major, "user", c.account.name)
	temp, err := os.MkdirTemp(c.dir, "init-*")
	if err != nil {
		return err
	}
	defer c.removeUnfinished()
	passwordFile := filepath.Join(temp, "password")
	err = errors.Join(
		os.WriteFile(passwordFile, []byte(c.password+"\n"), 0o600),
		c.account.own(passwordFile), // initdb reads it as that user
		c.account.own(temp),
	)
	if err != nil {
		return err
	}
	made := filepath.Join(temp, "data")
	if err := c.initdb(ctx, made, passwordFile); err != nil {
		return err
	}
	if err := os.Rename(made, c.dataDir()); err != nil {
		return err
	}
	return syncDir(c.dir)
}

func (c *cluster) initdb(ctx context.Context, dataDir, passwordFile string) error {
	args := []string{
		"-D", dataDir, "--username=" + userAndDatabase, "--pwfile=" + passwordFile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions",
	}
	if c.fast {
		args = append(args, "--no-sync")
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, c.bin.initdb(), args...) //nolint:gosec // the installed server
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = c.account.attributes()
	// The group, for initdb has the server running as its child.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cleanEnvironment(cmd)
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("initdb: %w:\n%s", err, lastLines(output.String(), logTailLines))
	}
	return nil
}

// ownedDir makes a folder only the account may use.
func (c *cluster) ownedDir(dir string) error {
	if err := makeDir(dir, 0o700); err != nil {
		return fmt.Errorf("make socket folder: %w", err)
	}
	if err := c.account.own(dir); err != nil {
		return fmt.Errorf("make socket folder: %w", err)
	}
	return nil
}
