package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// figure is one thing that is measured; it may give several lines of the table. Its server has
// the data folder of its name.
type figure struct {
	name    string
	measure func(context.Context, *bench) ([]line, error)
}

var figures = []figure{
	{"post", measurePost},
	{"pickup", measurePickup},
	{"idle", measureIdle},
	{"drain", measureDrain},
	{"get", measureGet},
	{"access", measureAccess},
	{"upload", measureUpload},
	{"tus", measureTus},
	{"download", measureDownload},
	{"polling", measurePolling},
	{"extract", measureExtract},
	{"memory", measureMemory},
}

// bench is what the figures share.
type bench struct {
	quick    bool
	dir      string // on disk, removed at the end
	longhaul string // the program under test
	self     string // this program, for its peers
	log      io.Writer
}

// logf tells what goes on; the table comes at the end.
func (b *bench) logf(format string, args ...any) {
	_, _ = fmt.Fprintf(b.log, time.Now().Format("15:04:05 ")+format+"\n", args...) // nowhere else to tell
}

// either returns full, or less for a quick run.
func either[T any](b *bench, full, less T) T {
	if b.quick {
		return less
	}
	return full
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == peerCommand {
		return runPeer(ctx, args[1:], stdout)
	}
	names := make([]string, 0, len(figures))
	for _, f := range figures {
		names = append(names, f.name)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", "", "measure only these, separated by commas: "+strings.Join(names, ", "))
	quick := flags.Bool("quick", false, "measure little, to see that everything works; the figures mean less")
	dir := flags.String("dir", "/var/tmp", "a folder on the disk to measure")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	b := &bench{quick: *quick, log: stderr}
	remove, err := b.prepare(ctx, *dir)
	if err != nil {
		return err
	}
	lines, err := b.measureAll(ctx, chosen)
	err = errors.Join(err, remove())
	printTable(stdout, lines, about(*dir, *quick))
	return err
}

// choose returns the figures that are named, or all.
func choose(only string) ([]figure, error) {
	if only == "" {
		return figures, nil
	}
	var chosen []figure
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(figures, func(f figure) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no figure %q; --help lists them", name)
		}
		chosen = append(chosen, figures[i])
	}
	return chosen, nil
}

// prepare makes the folder and builds the program. The caller calls remove.
func (b *bench) prepare(ctx context.Context, parent string) (remove func() error, err error) {
	if err := onDisk(parent); err != nil {
		return nil, err
	}
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp(parent, "longhaul-bench-"); err != nil {
		return nil, err
	}
	remove = func() error { return os.RemoveAll(b.dir) }
	// Root's Postgres runs as another user, who passes through.
	if err := os.Chmod(b.dir, 0o711); err != nil { //nolint:gosec // what lies in it is closed to others
		return nil, errors.Join(err, remove())
	}
	b.longhaul = filepath.Join(b.dir, "longhaul")
	b.logf("building longhaul")
	build := command(ctx, "go", "build", "-trimpath", "-o", b.longhaul, "longhaul")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("go build: %w\n%s", err, out), remove())
	}
	return remove, nil
}

// measureAll goes on after a figure that could not be measured; the error names those.
func (b *bench) measureAll(ctx context.Context, chosen []figure) ([]line, error) {
	var lines []line
	var failed []string
	for _, f := range chosen {
		b.logf("%s: begins", f.name)
		others, err := watchOthers()
		if err != nil {
			return lines, err
		}
		more, err := f.measure(ctx, b)
		if ctx.Err() != nil {
			return append(lines, more...), context.Cause(ctx)
		}
		if err != nil {
			b.logf("%s: %v\nthe end of longhaul's log:\n%s", f.name, err, b.lastWords(f.name))
			failed = append(failed, f.name)
			more = append(more, line{name: f.name, verdict: "could not be measured"})
		}
		busy, err := others()
		if err != nil {
			return lines, err
		}
		for _, l := range more {
			l.others = fmt.Sprintf("%.1f", busy)
			lines = append(lines, l)
		}
	}
	if len(failed) > 0 {
		return lines, fmt.Errorf("could not be measured: %s; what went wrong stands above", strings.Join(failed, ", "))
	}
	return lines, nil
}
