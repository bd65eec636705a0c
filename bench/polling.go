package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	pollers   = 8                     // connections
	pollEvery = 40 * time.Millisecond // on each: 200 a second in total
	transfers = 4                     // uploads or downloads at a time
	gigabit   = 125_000_000           // of a line, in bytes a second
)

// measurePolling compares how long those who poll a task wait for their 304 at worst while nothing
// else goes on, and while there are four uploads by tus, or four downloads: as fast as a line of a
// gigabit a second lets them, and as fast as they can. A peer makes those, on the same processors.
// How much of it is that they are busy is seen when the same uploads go to tusd instead.
func measurePolling(ctx context.Context, b *bench) (lines []line, err error) {
	if err := needSpace(b.dir, 10<<30); err != nil {
		return nil, err
	}
	s, err := b.serve(ctx, "polling")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	d, err := b.tusd(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	size := either(b, int64(256<<20), 64<<20)
	if err := s.putFile(ctx, newPayload(randomBlock(8<<20).packed, size)); err != nil {
		return nil, err
	}
	poll, err := s.poll(ctx)
	if err != nil {
		return nil, err
	}
	transfer := func(kind, addr string, rate int) []string {
		return []string{"transfers", kind, addr, strconv.FormatInt(size, 10), strconv.Itoa(rate)}
	}
	meanwhile := []busy{
		{name: "four uploads, 1 Gbit/s", limited: true, peer: transfer("uploads", s.addr, gigabit)},
		{name: "four downloads, 1 Gbit/s", limited: true, peer: transfer("downloads", s.addr, gigabit)},
		{name: "four uploads", peer: transfer("uploads", s.addr, 0)},
		{name: "four downloads", peer: transfer("downloads", s.addr, 0)},
		{name: "four uploads to tusd", peer: transfer("uploads-to-tusd", d.addr, 0)},
	}
	for range either(b, 5, 1) {
		for i := range meanwhile {
			if err := b.comparePolls(ctx, s, poll, &meanwhile[i]); err != nil {
				return nil, fmt.Errorf("%s: %w", meanwhile[i].name, err)
			}
		}
	}
	for i := range meanwhile {
		lines = append(lines, meanwhile[i].line())
	}
	return lines, nil
}

// busy is what goes on while a task is polled.
type busy struct {
	name    string
	limited bool
	peer    []string
	turns   rivals // the 99th percentiles in ms, while it goes on and while nothing does
}

// comparePolls polls while nothing else goes on, and then while the peer is at work.
func (b *bench) comparePolls(ctx context.Context, s *server, poll []byte, what *busy) error {
	d := either(b, 15*time.Second, 3*time.Second)
	if err := syncDisk(ctx, b.dir); err != nil {
		return err
	}
	alone, err := pollAll(ctx, s.addr, poll, d)
	if err != nil {
		return err
	}
	p, err := b.meekPeer(ctx, append(os.Environ(), tokenVariable+"="+s.token), what.peer...)
	if err != nil {
		return err
	}
	together, err := pollAll(ctx, s.addr, poll, d)
	rate, endErr := p.end()
	if err := errors.Join(err, endErr); err != nil {
		return err
	}
	what.turns.add(percentile(together, 99).Seconds()*1000, percentile(alone, 99).Seconds()*1000)
	b.logf("polling, %s (%s): p50 %s, p99 %s, worst %s; alone p50 %s, p99 %s, worst %s", what.name, rate,
		ms(percentile(together, 50)), ms(percentile(together, 99)), ms(percentile(together, 100)),
		ms(percentile(alone, 50)), ms(percentile(alone, 99)), ms(percentile(alone, 100)))
	return nil
}

func (what *busy) line() line {
	l := line{
		name:     "polling, " + what.name,
		measured: fmt.Sprintf("p99 %.1f ms", median(what.turns.ours)),
		against:  fmt.Sprintf("alone p99 %.1f ms", median(what.turns.theirs)),
		ratio:    fmt.Sprintf("%.2f", what.turns.ratio()),
	}
	if !what.limited {
		return l
	}
	return limited(l, "≤ 2", what.turns.ratio() <= 2)
}

// poll makes a task and waits until it is done. It returns the request of those who wait for it to
// change.
func (s *server) poll(ctx context.Context) ([]byte, error) {
	t, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.waitDrained(ctx, time.Minute); err != nil {
		return nil, err
	}
	path := "/api/v1/tasks/" + t.ID
	_, body, err := s.call(ctx, http.MethodGet, path, "")
	if err != nil {
		return nil, err
	}
	var done struct{ Version int64 }
	if err := json.Unmarshal(body, &done); err != nil {
		return nil, err
	}
	return s.raw(http.MethodGet, path, "", fmt.Sprintf(`If-None-Match: "%d"`, done.Version)), nil
}

// pollAll polls on all connections for a while, each in its turn, and returns how long each answer,
// a 304, took.
func pollAll(ctx context.Context, addr string, request []byte, d time.Duration) ([]time.Duration, error) {
	var all sync.WaitGroup
	var parts [pollers][]time.Duration
	var failed [pollers]error
	began := time.Now()
	for i := range pollers {
		first := began.Add(pollEvery * time.Duration(i) / pollers)
		all.Go(func() { parts[i], failed[i] = pollOne(ctx, addr, request, first, began.Add(d)) })
	}
	all.Wait()
	return slices.Concat(parts[:]...), cmp.Or(failed[:]...)
}

// pollOne polls on one connection. A poll that could not begin when it was due, since the last answer
// had not come, counts from when it was due.
func pollOne(ctx context.Context, addr string, request []byte, due, until time.Time) ([]time.Duration, error) {
	conn, answers, err := dialUntil(ctx, addr, until)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is under way
	var took []time.Duration
	for ; due.Before(until); due = due.Add(pollEvery) {
		began := due
		if early := time.Until(due); early > 0 {
			if err := pause(ctx, early); err != nil {
				return took, err
			}
			began = time.Now()
		}
		if _, err := conn.Write(request); err != nil {
			return took, err
		}
		if err := readAnswer(answers, http.StatusNotModified); err != nil {
			return took, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// tokenVariable hands a peer the token of the server.
const tokenVariable = "BENCH_TOKEN"

// peerTransfers makes transfers of a kind to a server, of so many bytes, several at a time, until the
// peer is to end. They share a line of so many bytes a second; 0 means as fast as they can. It lets
// those in hand finish, and tells what all came to.
func peerTransfers(ctx context.Context, args []string, stdout io.Writer) error {
	bytes, sizeErr := strconv.ParseInt(args[2], 10, 64)
	rate, rateErr := strconv.ParseInt(args[3], 10, 64)
	if err := errors.Join(sizeErr, rateErr); err != nil {
		return err
	}
	transfer, err := transferOf(ctx, args[0], args[1], bytes, rate/transfers)
	if err != nil {
		return err
	}
	ending, end := context.WithCancel(ctx)
	go func() {
		defer end()
		untilClosed(ctx)
	}()
	began := time.Now()
	if _, err := fmt.Fprintln(stdout, "begins"); err != nil {
		return err
	}
	var all sync.WaitGroup
	var failed [transfers]error
	var done atomic.Int64
	for i := range failed {
		all.Go(func() {
			for ending.Err() == nil && failed[i] == nil {
				if failed[i] = transfer(); failed[i] == nil {
					done.Add(bytes)
				}
			}
		})
	}
	all.Wait()
	_, err = fmt.Fprintf(stdout, "%.0f MB/s", float64(done.Load())/1e6/time.Since(began).Seconds())
	return errors.Join(append(failed[:], err)...)
}

// transferOf returns what makes one transfer, of so many bytes a second; 0 means as fast as it can.
func transferOf(ctx context.Context, kind, addr string, bytes, rate int64) (func() error, error) {
	s := &server{addr: addr, token: os.Getenv(tokenVariable), http: &http.Client{Timeout: time.Minute}}
	block := randomBlock(8 << 20).packed
	newBytes := func() *payload {
		p := newPayload(block, bytes)
		p.rate = rate
		return p
	}
	switch kind {
	case "uploads":
		return func() error {
			_, at, err := s.tus().send(ctx, newBytes())
			if err == nil {
				_, err = s.finishUpload(ctx, at)
			}
			return err
		}, nil
	case "uploads-to-tusd":
		return func() error {
			_, at, err := tusdAt(addr).send(ctx, newBytes())
			if err == nil {
				err = tusdAt(addr).remove(ctx, at)
			}
			return err
		}, nil
	case "downloads":
		return func() error {
			_, err := fetch(ctx, s.getFile(), bytes, atRate(io.Discard, rate))
			return err
		}, nil
	}
	return nil, fmt.Errorf("there are no transfers %q", kind)
}

// atRate lets so many bytes a second through to w; 0 means all.
func atRate(w io.Writer, rate int64) io.Writer {
	if rate == 0 {
		return w
	}
	return &paced{w: w, rate: rate, began: time.Now()}
}

// paced is a line of limited speed.
type paced struct {
	w       io.Writer
	rate    int64 // bytes a second
	began   time.Time
	written int64
}

// pacedBytes is how many bytes come at once over a paced line.
const pacedBytes = 64 << 10

// Write lets the bytes through when it is time for them.
func (p *paced) Write(data []byte) (n int, err error) {
	for err == nil && n < len(data) {
		due := p.began.Add(time.Duration(float64(p.written) / float64(p.rate) * float64(time.Second)))
		time.Sleep(time.Until(due))
		var m int
		m, err = p.w.Write(data[n:min(len(data), n+pacedBytes)])
		n += m
		p.written += int64(m)
	}
	return n, err
}
