package pgserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// RunningURL is the connection string, password included, of the server that runs on the cluster
// in dir: for a command that works beside the process that started it. It starts nothing.
func RunningURL(dir string) (string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("find the running PostgreSQL: %w", err)
	}
	c := &cluster{dir: dir}
	text, err := os.ReadFile(c.pidFile())
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no PostgreSQL runs in %s; if the server uses another, give its LONGHAUL_DATABASE_URL", dir)
	}
	if err != nil {
		return "", fmt.Errorf("find the running PostgreSQL: %w", err)
	}
	running, err := parsePIDFile(text)
	if err != nil {
		return "", fmt.Errorf("the PostgreSQL in %s is just starting or stopping; try again: %w", dir, err)
	}
	password, err := os.ReadFile(c.passwordFile())
	if err != nil {
		return "", fmt.Errorf("read database password: %w", err)
	}
	return running.addr.url(strings.TrimSpace(string(password)), userAndDatabase), nil
}
