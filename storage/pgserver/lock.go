package pgserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// lockFile is the name of the lock in a locked folder. It is never removed: a
// removed file could be locked by one process while another makes it anew.
const lockFile = "longhaul.lock"

// DirLock is a held lock on a folder. It ends with Unlock or with the process,
// however that ends. Keep it referenced for as long as it must hold.
type DirLock struct{ file *os.File }

// LockedError says that another process holds the lock on a folder.
type LockedError struct {
	Dir string // the folder, as an absolute path
	PID int    // the process that holds it; 0 if that could not be read
}

// Error names the folder and the process, and says what to do about it.
func (e *LockedError) Error() string {
	who := "another longhaul"
	if e.PID != 0 {
		who = fmt.Sprintf("another longhaul (process %d)", e.PID)
	}
	return fmt.Sprintf("%s uses the folder %s: stop it, or choose another folder with LONGHAUL_DATA", who, e.Dir)
}

// Lock takes the folder dir, which must exist, for this process alone. It does
// not wait: when another process holds it the error is a [*LockedError].
func Lock(dir string) (*DirLock, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("lock folder %s: %w", dir, err)
	}
	path := filepath.Join(dir, lockFile)
	// Go opens files close-on-exec, so a PostgreSQL that outlives this process
	// does not keep the lock.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock folder: %w", err)
	}
	if err := flock(file); err != nil {
		defer func() { _ = file.Close() }() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &LockedError{Dir: dir, PID: readPID(file)}
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := writePID(file); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", path, err), file.Close())
	}
	return &DirLock{file: file}, nil
}

// Unlock gives the folder back.
func (l *DirLock) Unlock() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("unlock %s: %w", l.file.Name(), err)
	}
	return nil
}

func flock(file *os.File) error {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// writePID records who holds the lock, for the message of the next process.
func writePID(file *os.File) error {
	line := strconv.Itoa(os.Getpid()) + "\n"
	if _, err := file.WriteAt([]byte(line), 0); err != nil {
		return err
	}
	return file.Truncate(int64(len(line)))
}

func readPID(file *os.File) int {
	text, err := io.ReadAll(io.LimitReader(file, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}
