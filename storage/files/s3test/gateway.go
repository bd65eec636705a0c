package s3test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	// startTimeout bounds how long a started gateway may take to serve.
	startTimeout = 30 * time.Second
	// startTries is how often another port is tried, when somebody else took the free one.
	startTries = 5
)

// gateway is a process of versitygw and its folder.
type gateway struct {
	endpoint string
	folder   string // of everything
	data     string // of the buckets
	cmd      *exec.Cmd
	output   string // the file with what it says
	ended    chan struct{}

	guard *exec.Cmd
	leash io.Closer // its end lets the guard act, also when this process is killed
}

// guardScript waits for the end of its input, which is the end of the test, and cleans up.
const guardScript = `cat >/dev/null; kill -9 "$1" 2>/dev/null; rm -rf "$2"`

func startGateway(program string, s *Server) (*gateway, error) {
	var errs []error
	for range startTries {
		g, err := tryGateway(program, s)
		if err == nil {
			return g, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func tryGateway(program string, s *Server) (*gateway, error) {
	folder, err := os.MkdirTemp("", "s3test-")
	if err != nil {
		return nil, err
	}
	g := &gateway{folder: folder, data: filepath.Join(folder, "data"), output: filepath.Join(folder, "output"), ended: make(chan struct{})}
	err = g.start(program, s)
	if err == nil {
		err = g.ready()
	}
	if err != nil {
		said, _ := os.ReadFile(g.output)
		g.stop()
		return nil, fmt.Errorf("%w: %s", err, said)
	}
	return g, nil
}

func (g *gateway) start(program string, s *Server) error {
	sidecar := filepath.Join(g.folder, "sidecar")
	if err := errors.Join(os.Mkdir(g.data, 0o700), os.Mkdir(sidecar, 0o700)); err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	output, err := os.Create(g.output)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }() // the process has its own
	g.endpoint = "http://" + address
	//nolint:gosec // G204: the program that was just installed
	g.cmd = exec.CommandContext(context.Background(), program, "--quiet", "--keep-alive", "--port", address, "--region", s.Region,
		"posix", "--sidecar", sidecar, g.data)
	g.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	g.cmd.Stdout, g.cmd.Stderr = output, output
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the keyboard is the guard's to handle
	if err := g.cmd.Start(); err != nil {
		g.cmd = nil
		return err
	}
	go func() {
		defer close(g.ended)
		_ = g.cmd.Wait() // how it ended is in its output
	}()
	return g.startGuard()
}

// startGuard starts the process that outlives this one for a moment, to end the gateway and to
// remove its folder.
func (g *gateway) startGuard() error {
	//nolint:gosec // G204: a constant script and two words of our own
	guard := exec.CommandContext(context.Background(), "sh", "-c", guardScript, "sh", strconv.Itoa(g.cmd.Process.Pid), g.folder)
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	leash, err := guard.StdinPipe()
	if err != nil {
		return err
	}
	if err := guard.Start(); err != nil {
		return err
	}
	g.guard, g.leash = guard, leash
	return nil
}

// freeAddress is a port on the loopback interface that was free just now.
func freeAddress() (string, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// ready waits until the gateway answers, be it that it refuses a request without a signature.
func (g *gateway) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for pause := time.NewTicker(10 * time.Millisecond); ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.endpoint, nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			return resp.Body.Close()
		}
		select {
		case <-g.ended:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return errors.New("it did not answer in time")
		case <-pause.C:
		}
	}
}

// stop ends the gateway, whatever its state, and removes its folder.
func (g *gateway) stop() {
	if g.cmd != nil {
		_ = g.cmd.Process.Kill() // it may have ended by itself
		<-g.ended
	}
	if g.guard != nil {
		_ = g.leash.Close() // what it waits for
		_ = g.guard.Wait()
	}
	_ = os.RemoveAll(g.folder) // the guard has done so, if there was one
}
