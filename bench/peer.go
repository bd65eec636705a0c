package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"longhaul/storage"
	"longhaul/storage/archive"
	"longhaul/storage/files"
)

// peerCommand, as the first argument, makes this program one of the peers.
const peerCommand = "peer"

// runPeer is what a peer does. One that serves prints a line when it is ready, and serves until
// its input ends, as it does when the bench dies.
func runPeer(ctx context.Context, args []string, stdout io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "echo":
		return peerEcho(ctx, args[1], stdout)
	case len(args) == 1 && args[0] == "river":
		return peerRiver(ctx, stdout)
	case len(args) == 3 && args[0] == "extract":
		return peerExtract(ctx, args[1], args[2])
	case len(args) == 5 && args[0] == "transfers":
		return peerTransfers(ctx, args[1:], stdout)
	}
	return fmt.Errorf("there is no peer %q", args)
}

// peerEcho serves the bytes of a file at /bytes, and 304 at /unchanged.
func peerEcho(ctx context.Context, file string, stdout io.Writer) error {
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	e := echo.New()
	e.GET("/bytes", func(c echo.Context) error { return c.JSONBlob(http.StatusOK, body) })
	e.GET("/unchanged", func(c echo.Context) error { return c.NoContent(http.StatusNotModified) })
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	web := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	if _, err := fmt.Fprintln(stdout, listener.Addr()); err != nil {
		return err
	}
	untilClosed(ctx)
	return errors.Join(web.Close(), unlessClosed(<-served))
}

func unlessClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// nothing are the arguments of River's job that does nothing.
type nothing struct{}

// Kind names the job.
func (nothing) Kind() string { return "nothing" }

type nothingWorker struct{ river.WorkerDefaults[nothing] }

// Work does nothing.
func (nothingWorker) Work(context.Context, *river.Job[nothing]) error { return nil }

// peerRiver works jobs that do nothing, with the pool and the settings that jobs.New gives River.
func peerRiver(ctx context.Context, stdout io.Writer) error {
	pool, err := storage.Connect(ctx, "") // PGHOST and so on
	if err != nil {
		return err
	}
	defer pool.Close()
	workers := river.NewWorkers()
	river.AddWorker(workers, nothingWorker{})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 100}},
		Workers:           workers,
		Logger:            slog.New(slog.DiscardHandler),
		FetchCooldown:     5 * time.Millisecond,
		FetchPollInterval: 100 * time.Millisecond,
		JobTimeout:        -1,
		MaxAttempts:       1000,
	})
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, "ready"); err != nil {
		return err
	}
	untilClosed(ctx)
	return client.Stop(context.WithoutCancel(ctx))
}

// peerExtract checks and unpacks an archive the way a task's step does.
func peerExtract(ctx context.Context, zip, dir string) error {
	file, err := os.Open(zip)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	info, err := file.Stat()
	if err != nil {
		return err
	}
	listing, err := archive.Check(file, info.Size(), archive.DefaultLimits())
	if err != nil {
		return err
	}
	folder, err := files.OpenFolder(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer folder.Close() //nolint:errcheck // nothing is open any more
	batch, err := folder.Batch(ctx, filepath.Base(dir), len(listing.Files))
	if err != nil {
		return err
	}
	defer batch.Close() //nolint:errcheck // a handle of a folder
	return archive.Extract(ctx, file, listing, batch, archive.ExtractOptions{})
}

// untilClosed returns when the peer is to end.
func untilClosed(ctx context.Context) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the bench
	}()
	select {
	case <-closed:
	case <-ctx.Done():
	}
}

// peer is a running peer.
type peer struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
	said  string // its first line
}

// peer starts a peer and waits until it is ready. The caller stops it.
func (b *bench) peer(ctx context.Context, env []string, args ...string) (*peer, error) {
	return b.startPeer(command(ctx, b.self, append([]string{peerCommand}, args...)...), env, args[0])
}

// meekPeer starts a peer that takes only the time that others leave: one whose work is to be done on
// another machine, in earnest.
func (b *bench) meekPeer(ctx context.Context, env []string, args ...string) (*peer, error) {
	meek := append([]string{"--idle", "0", b.self, peerCommand}, args...)
	return b.startPeer(command(ctx, "chrt", meek...), env, args[0])
}

func (b *bench) startPeer(cmd *exec.Cmd, env []string, name string) (*peer, error) {
	p := &peer{cmd: cmd}
	p.cmd.Env, p.cmd.Stderr = env, b.log
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.stdin, p.out = stdin, bufio.NewReader(stdout)
	if p.said, err = p.out.ReadString('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("the peer %s ended: %w", name, err), p.stop())
	}
	p.said = strings.TrimSpace(p.said)
	return p, nil
}

func (p *peer) stop() error {
	_, err := p.end()
	return err
}

// end stops the peer and returns what it said after its first line.
func (p *peer) end() (string, error) {
	err := p.stdin.Close()
	rest, readErr := io.ReadAll(p.out)
	return string(rest), errors.Join(err, readErr, p.cmd.Wait())
}
