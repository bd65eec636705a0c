package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stranger is a running server that others made.
type stranger struct {
	cmd   *exec.Cmd
	addr  string // host:port
	ended chan error
}

// freeAddress is an address on loopback that nobody listens on. Strangers cannot be relied on to say
// which one they chose.
func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// stranger starts a program that is to listen on addr, and waits until it does. What it says goes to
// the log of the given name. The caller stops it.
func (b *bench) stranger(ctx context.Context, cmd *exec.Cmd, name, addr string) (*stranger, error) {
	log, err := os.OpenFile(b.logFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the process has its own handle
	s := &stranger{cmd: cmd, addr: addr, ended: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.ended <- cmd.Wait() }()
	for range 200 {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return s, conn.Close()
		}
		select {
		case err := <-s.ended:
			return nil, fmt.Errorf("%s ended: %w\n%s", name, err, b.lastWords(name))
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil, errors.Join(fmt.Errorf("%s does not listen on %s\n%s", name, addr, b.lastWords(name)), s.stop())
}

// stop ends it in order.
func (s *stranger) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := <-s.ended; err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s did not end in order: %w", s.cmd.Path, err)
	}
	return nil
}

// tusd is tusd's own program at work, with its store of files.
type tusd struct {
	*stranger
	dir string
}

// buildTusd builds tusd's program, which is a module of its own, so that what it needs is not needed
// by Longhaul.
func (b *bench) buildTusd(ctx context.Context, program string) error {
	if _, err := os.Stat(program); err == nil {
		return nil // another figure has built it
	}
	root, err := command(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	b.logf("building tusd")
	build := command(ctx, "go", "build", "-trimpath", "-o", program, "github.com/tus/tusd/v2/cmd/tusd")
	build.Dir = filepath.Join(strings.TrimSpace(string(root)), "bench", "tusd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build tusd: %w\n%s", err, out)
	}
	return nil
}

// tusd starts tusd's program with default settings. The caller stops it.
func (b *bench) tusd(ctx context.Context) (*tusd, error) {
	program := filepath.Join(b.dir, "tusd")
	if err := b.buildTusd(ctx, program); err != nil {
		return nil, err
	}
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	d := &tusd{dir: filepath.Join(b.dir, "tusd-files")}
	d.stranger, err = b.stranger(ctx, command(ctx, program,
		"-upload-dir", d.dir, "-host", host, "-port", port, "-base-path", tusdPath), "tusd", addr)
	return d, err
}

// nginxConf has nginx serve a folder as it is made to serve files: from the file to the socket
// within the kernel, one worker for each processor, and no log to write. The first words are for
// root alone, whose workers would be another user.
const nginxConf = `%[1]s
daemon off;
worker_processes auto;
error_log stderr;
pid %[2]s/nginx.pid;
events {}
http {
  sendfile on;
  tcp_nopush on;
  access_log off;
  default_type application/octet-stream;
  client_body_temp_path %[2]s/body;
  proxy_temp_path %[2]s/proxy;
  fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi;
  scgi_temp_path %[2]s/scgi;
  server {
    listen %[3]s;
    root %[2]s/files;
  }
}
`

// nginx starts nginx on the folder files in dir. The caller stops it.
func (b *bench) nginx(ctx context.Context, dir string) (*stranger, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // not on everybody's path
	}
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, user, dir, addr), 0o600); err != nil {
		return nil, err
	}
	return b.stranger(ctx, command(ctx, program, "-p", dir, "-c", conf, "-e", "stderr"), "nginx", addr)
}
