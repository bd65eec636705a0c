package pgserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// process is a server's process: a child of ours, or one adopted.
type process struct {
	handle    *os.Process
	gone      <-chan struct{} // closed when it has ended
	child     bool            // started by us, not adopted
	logOffset int64           // where its part of the log begins; 0 if adopted
	forget    chan struct{}   // closed to end the watch over an adopted process
	once      sync.Once
}

func (p *process) pid() int { return p.handle.Pid }

// release ends the watch over an adopted process.
func (p *process) release() { p.once.Do(func() { close(p.forget) }) }

// signalAndWait tells whether the process has ended by the end of ctx.
func (p *process) signalAndWait(ctx context.Context, sig syscall.Signal) bool {
	select {
	case <-p.gone:
		return true
	default:
	}
	// An error means that it ended just now and gone is about to be closed; if it
	// means anything else, the wait below runs out.
	_ = p.handle.Signal(sig)
	select {
	case <-p.gone:
		return true
	case <-ctx.Done():
		return false
	}
}

// adopt takes over a server that is not our child. The handle is taken before
// the check, so that a signal cannot reach another program that got the number.
func adopt(pid int, dataDir string) (*process, error) {
	handle, err := os.FindProcess(pid)
	if err != nil || !serves(pid, dataDir) {
		return nil, &retryError{reason: "the running server ended", cause: fmt.Errorf("process %d is gone", pid)}
	}
	gone := make(chan struct{})
	p := &process{handle: handle, gone: gone, forget: make(chan struct{})}
	go func() {
		defer close(gone)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for serves(pid, dataDir) {
			select {
			case <-ticker.C:
			case <-p.forget:
				return
			}
		}
	}()
	return p, nil
}

// spawn starts the server as our child.
func (c *cluster) spawn(addr address) (*process, error) {
	log, offset, err := c.openLog()
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()                                             // the child has its own
	cmd := exec.Command(c.bin.postgres(), arguments(c.dataDir(), addr, c.fast)...) //nolint:gosec,noctx // the installed server, which outlives any request's context
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = c.account.attributes()
	if c.fast {
		dieWithParent(cmd.SysProcAttr)
	}
	cleanEnvironment(cmd)
	gone, err := startAndReap(cmd)
	if err != nil {
		return nil, err
	}
	return &process{handle: cmd.Process, gone: gone, child: true, logOffset: offset, forget: make(chan struct{})}, nil
}

// startAndReap starts a command and waits for it in the background, on one
// thread: the kernel takes the end of the thread that forked for the parent's
// death, so it must live as long as the child.
func startAndReap(cmd *exec.Cmd) (<-chan struct{}, error) {
	started, gone := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(gone)
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // how it ended is in its log, and an end is an end
	}()
	return gone, <-started
}
