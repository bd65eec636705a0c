package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// connections is how many connections load uses.
const connections = 16

// loaded is what a server did under load.
type loaded struct {
	took    time.Duration
	answers []time.Duration // how long each request took
}

func (l *loaded) perSecond() float64 { return float64(len(l.answers)) / l.took.Seconds() }

// load repeats a request on keep-alive connections for a while; each sends the next one when it
// has read the last answer. Every answer must have the status; the error is that of one
// connection. The client does as little as one can, since it runs on the processors of what it
// measures.
func load(ctx context.Context, addr string, request []byte, status int, d time.Duration) (*loaded, error) {
	var all sync.WaitGroup
	parts := make([][]time.Duration, connections)
	failed := make([]error, connections)
	began := time.Now()
	for i := range connections {
		all.Go(func() { parts[i], failed[i] = repeat(ctx, addr, request, status, began.Add(d)) })
	}
	all.Wait()
	return &loaded{took: time.Since(began), answers: slices.Concat(parts...)}, cmp.Or(failed...)
}

// repeat sends the request on one connection until the time is up.
func repeat(ctx context.Context, addr string, request []byte, status int, until time.Time) ([]time.Duration, error) {
	conn, answers, err := dialUntil(ctx, addr, until)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is under way
	var took []time.Duration
	for began := time.Now(); began.Before(until) && ctx.Err() == nil; {
		if _, err := conn.Write(request); err != nil {
			return took, err
		}
		if err := readAnswer(answers, status); err != nil {
			return took, err
		}
		now := time.Now()
		took = append(took, now.Sub(began))
		began = now
	}
	return took, ctx.Err()
}

// dialUntil connects for requests that are made until then, and for the last answer.
func dialUntil(ctx context.Context, addr string, until time.Time) (net.Conn, *bufio.Reader, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	if err := conn.SetDeadline(until.Add(time.Minute)); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, bufio.NewReader(conn), nil
}

// readAnswer reads an answer to its end and checks its status.
func readAnswer(r *bufio.Reader, status int) error {
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != status {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000)) // as much as there is
		return fmt.Errorf("%s, expected %d: %s", answer.Status, status, text)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return errors.Join(err, answer.Body.Close())
}
