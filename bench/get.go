package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// measureGet compares GET /api/v1/tasks/{id} with a handler that does nothing but answer, on a
// bare Echo in a process of its own: with the same bytes, and, when If-None-Match names the
// task's version, with a bare 304. The task waits in the queue, as one that is polled does.
func measureGet(ctx context.Context, b *bench) (lines []line, err error) {
	s, err := b.serve(ctx, "get")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.setWorking(ctx, false); err != nil {
		return nil, err
	}
	if err := pause(ctx, time.Second); err != nil { // until the workers have heard
		return nil, err
	}
	t, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	path := "/api/v1/tasks/" + t.ID
	body, err := s.queued(ctx, path)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, "task.json")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		return nil, err
	}
	echo, err := b.peer(ctx, os.Environ(), "echo", file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, echo.stop()) }()
	bare := func(path string) []byte {
		return []byte("GET " + path + " HTTP/1.1\r\nHost: " + echo.said + "\r\n\r\n")
	}

	whole, err := b.compareGets(ctx, "get", http.StatusOK,
		target{s.addr, s.raw(http.MethodGet, path, "")}, target{echo.said, bare("/bytes")})
	if err != nil {
		return nil, err
	}
	unchanged, err := b.compareGets(ctx, "get, 304", http.StatusNotModified,
		target{s.addr, s.raw(http.MethodGet, path, "", `If-None-Match: "1"`)}, target{echo.said, bare("/unchanged")})
	if err != nil {
		return nil, err
	}
	after, err := s.queued(ctx, path)
	if err == nil && string(after) != string(body) {
		err = fmt.Errorf("the task changed meanwhile: %s", after)
	}
	return []line{whole, unchanged}, err
}

// queued returns the bytes of a task that nobody works.
func (s *server) queued(ctx context.Context, path string) ([]byte, error) {
	status, body, err := s.call(ctx, http.MethodGet, path, "")
	if err != nil {
		return nil, err
	}
	var t task
	if err := json.Unmarshal(body, &t); err != nil {
		return nil, err
	}
	if status != http.StatusOK || t.State != "queued" {
		return nil, fmt.Errorf("the task was to be queued: %d %s", status, body)
	}
	return body, nil
}

// target is where a request goes.
type target struct {
	addr    string
	request []byte
}

// compareGets has the two answer in turns.
func (b *bench) compareGets(ctx context.Context, name string, status int, ours, bare target) (line, error) {
	d := either(b, 3*time.Second, time.Second)
	var turns rivals
	var p99 []time.Duration
	for range either(b, 7, 1) {
		mine, err := load(ctx, ours.addr, ours.request, status, d)
		if err != nil {
			return line{}, err
		}
		other, err := load(ctx, bare.addr, bare.request, status, d)
		if err != nil {
			return line{}, fmt.Errorf("bare Echo: %w", err)
		}
		turns.add(mine.perSecond(), other.perSecond())
		p99 = append(p99, percentile(mine.answers, 99))
	}
	b.logf("%s: GET/s to bare Echo's: %s", name, turns.words())
	return turns.compared(line{
		name: name, measured: fmt.Sprintf("%.0f/s, p99 %s", median(turns.ours), ms(percentile(p99, 50))),
		against: fmt.Sprintf("bare Echo %.0f/s", median(turns.theirs)),
	}, 0.5), nil
}
