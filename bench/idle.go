package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// measureIdle measures the processor time of longhaul and its Postgres, all processes of both,
// while there is nothing to do.
func measureIdle(ctx context.Context, b *bench) (lines []line, err error) {
	s, err := b.serve(ctx, "idle")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	// A server that has worked, and has come to rest.
	for range 100 {
		if _, err := s.start(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.waitDrained(ctx, time.Minute); err != nil {
		return nil, err
	}
	s.http.CloseIdleConnections()
	if err := pause(ctx, either(b, 20*time.Second, 5*time.Second)); err != nil {
		return nil, err
	}
	before, names, err := treeCPU(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	if names["postgres"] == 0 {
		return nil, fmt.Errorf("no Postgres among the processes below longhaul: %v", names)
	}
	began := time.Now()
	if err := pause(ctx, either(b, time.Minute, 10*time.Second)); err != nil {
		return nil, err
	}
	now, _, err := treeCPU(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	percent := 100 * (now - before).Seconds() / took.Seconds()
	b.logf("idle: %s of processor time in %s, in %v", now-before, took.Round(time.Second), names)
	return []line{limited(line{name: "idle", measured: fmt.Sprintf("%.2f %% of a core", percent)}, "< 1 %", percent < 1)}, nil
}
