package pgserver

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// postmaster is what a running server wrote into postmaster.pid. The lines are
// in PostgreSQL's src/include/utils/pidfile.h.
type postmaster struct {
	pid  int
	addr address
}

// The line numbers of postmaster.pid, from 0.
const (
	linePID       = 0
	linePort      = 3
	lineSocketDir = 4
	lineListen    = 5
)

// parsePIDFile reads postmaster.pid. The server writes the first lines at once
// and the rest while it starts, so text without a socket or a listen address
// is not complete yet; it is then an error, as is a pid that is not one.
func parsePIDFile(text []byte) (postmaster, error) {
	lines := strings.Split(string(text), "\n")
	if len(lines) <= lineListen {
		return postmaster{}, errors.New("postmaster.pid is not complete")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(lines[linePID]))
	if err != nil || pid < 1 {
		return postmaster{}, fmt.Errorf("postmaster.pid: %q is not a process id", lines[linePID])
	}
	port, err := strconv.Atoi(strings.TrimSpace(lines[linePort]))
	if err != nil || port < 1 || port > 65535 {
		return postmaster{}, fmt.Errorf("postmaster.pid: %q is not a port", lines[linePort])
	}
	addr := address{socketDir: lines[lineSocketDir], port: port}
	if addr.socketDir == "" && lines[lineListen] == "" {
		return postmaster{}, errors.New("postmaster.pid is not complete")
	}
	return postmaster{pid: pid, addr: addr}, nil
}

// firstLinePID is the process named by a postmaster.pid that may be incomplete;
// 0 if there is none.
func firstLinePID(text []byte) int {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line)))
	if err != nil || pid < 1 {
		return 0
	}
	return pid
}

// disown makes a postmaster.pid whose process is not a PostgreSQL of this
// folder harmless. A dead process needs nothing, PostgreSQL sees that itself; but
// an id that has gone to another program stops it for ever. The file is not
// removed, because PostgreSQL also finds there the shared memory that backends
// of the dead server may still use, and refuses to start beside them. Instead
// its first line is made to name this process: PostgreSQL takes its own
// parent's id as proof of a stale file (CreateLockFile in miscinit.c). The lock of
// the socket names the same process and is found nothing in, so it goes.
func (c *cluster) disown(text []byte) error {
	path := c.pidFile()
	if err := os.Remove(socketFile(c.socketDir()) + ".lock"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale lock of the socket: %w", err)
	}
	_, rest, complete := bytes.Cut(text, []byte("\n"))
	if firstLinePID(text) == 0 || !complete {
		// Empty or torn: what a power cut leaves of a server that had only begun.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove torn lock file: %w", err)
		}
		return nil
	}
	// Renamed into place, so that a link planted by the account is not followed.
	file, err := os.CreateTemp(c.dir, "pid-*")
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", path, err)
	}
	_, err = fmt.Fprintf(file, "%d\n%s", os.Getpid(), rest)
	err = errors.Join(err, file.Close(), c.account.own(file.Name()))
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("rewrite %s: %w", path, err), os.Remove(file.Name()))
	}
	return nil
}

func (c *cluster) pidFile() string { return filepath.Join(c.dataDir(), "postmaster.pid") }
