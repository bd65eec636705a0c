package oracle

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Retry says how often and how fast a read is tried again. Only GET and HEAD
// are, and only after an error of [KindUnavailable]; what starts, uploads or
// deletes something is sent once.
type Retry struct {
	// Attempts counts the first one too; 1 means never again. Default 4.
	Attempts int
	// Base is the longest first wait; it doubles with every attempt up to
	// Max, and the real wait is drawn evenly from zero to that (full jitter).
	// Default 500 ms.
	Base time.Duration
	// Max bounds one wait. A server that asks for more by Retry-After is
	// given up at once, with the wish in [Error.RetryAfter], for the caller
	// to come back later. Default 15 s.
	Max time.Duration
}

func (r Retry) withDefaults() Retry {
	if r.Attempts <= 0 {
		r.Attempts = 4
	}
	if r.Base <= 0 {
		r.Base = 500 * time.Millisecond
	}
	if r.Max <= 0 {
		r.Max = 15 * time.Second
	}
	return r
}

// delay returns how long to wait after failed attempt number n (from 1), and
// whether to try again at all.
func (r Retry) delay(n int, err *Error) (time.Duration, bool) {
	if n >= r.Attempts || !repeatable(err.Method) || !err.passing() || err.RetryAfter > r.Max {
		return 0, false
	}
	ceiling := r.Max
	if shift := n - 1; shift < 16 && r.Base<<shift < r.Max {
		ceiling = r.Base << shift
	}
	//nolint:gosec // G404: jitter needs spread, not secrecy.
	return max(rand.N(ceiling+1), err.RetryAfter), true
}

// run makes attempts until one succeeds, the error is not worth another, or
// the context would end before the next.
func (r Retry) run(ctx context.Context, attempt func() error) error {
	for n := 1; ; n++ {
		err := attempt()
		var e *Error
		if err == nil || !errors.As(err, &e) {
			return err
		}
		wait, again := r.delay(n, e)
		if deadline, ok := ctx.Deadline(); !again || ok && time.Until(deadline) <= wait {
			return err
		}
		if Sleep(ctx, wait) != nil {
			return e.cancelled(ctx)
		}
	}
}

// repeatable reports whether sending the method twice does no harm.
func repeatable(method string) bool {
	return method == http.MethodGet || method == http.MethodHead
}

// Sleep waits for d, or returns the context's error when that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// parseRetryAfter reads a Retry-After header in either of its forms, seconds
// or a date; 0 when it is missing, past or not understood.
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
