package oracle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// timeoutError is the cause with which a watchdog ends a request. It is no
// context error on purpose: the caller's context did not end.
type timeoutError struct{ text string }

func (e timeoutError) Error() string { return e.text }

// watchdog ends a request that takes too long: a short call after a fixed
// time, a transfer once no byte has moved for a while.
type watchdog struct {
	cancel context.CancelCauseFunc
	timer  *time.Timer
	idle   time.Duration // 0: a fixed time, not moved by bytes
}

// watch returns ctx under a watchdog that fits the call.
func (c *Client) watch(ctx context.Context, call Call) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{cancel: cancel}
	after := c.cfg.Timeout
	cause := timeoutError{fmt.Sprintf("no answer within %s", after)}
	if call.Transfer {
		after = c.cfg.IdleTimeout
		w.idle = after
		cause.text = fmt.Sprintf("no byte moved for %s", after)
	}
	w.timer = time.AfterFunc(after, func() { cancel(cause) })
	return ctx, w
}

// moved says that bytes went one way or the other.
func (w *watchdog) moved() {
	if w.idle > 0 {
		w.timer.Reset(w.idle)
	}
}

// stop ends the watch and frees the request's context.
func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// timedOut returns the timeout that ended ctx, or nil.
func timedOut(ctx context.Context) error {
	if t, ok := errors.AsType[timeoutError](context.Cause(ctx)); ok {
		return t
	}
	return nil
}

// source is a request body under watch. It keeps the error of the reader it
// wraps, since a transport that fails on it reports something else; too few
// bytes are such an error.
type source struct {
	r      io.Reader
	left   int64
	failed error
	dog    *watchdog
	closed chan struct{}
	once   sync.Once
}

func newSource(r io.Reader, size int64, dog *watchdog) *source {
	return &source{r: io.LimitReader(r, size), left: size, dog: dog, closed: make(chan struct{})}
}

// Read implements [io.Reader].
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.left -= int64(n)
	s.dog.moved()
	if errors.Is(err, io.EOF) && s.left > 0 {
		err = fmt.Errorf("ended %d bytes early: %w", s.left, io.ErrUnexpectedEOF)
	}
	if err != nil && !errors.Is(err, io.EOF) && s.failed == nil {
		s.failed = err
	}
	return n, err
}

// Close implements [io.Closer]; the transport calls it when it will read no more.
func (s *source) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// end waits until the transport has let go of the body, then returns what made
// its reader fail and how many bytes were never asked for. A server may answer
// before it has read everything, so this is not known when the answer comes.
func (s *source) end() (left int64, failed error) {
	if s == nil {
		return 0, nil
	}
	<-s.closed
	return s.left, s.failed
}

// body is an answer's body under watch, whose errors are [Error]s.
type body struct {
	io.ReadCloser
	dog  *watchdog
	fail func(error) error
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.dog.moved()
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.fail(err)
	}
	return n, err
}

// Close implements [io.Closer].
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.dog.stop()
	return err
}
