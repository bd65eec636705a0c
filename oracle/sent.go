package oracle

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
)

// trace notes how far a request got on its way out.
type trace struct {
	asked, connected, written atomic.Bool
}

// attach returns a context under which a request reports to t.
func (t *trace) attach(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { t.asked.Store(true) },
		GotConn:      func(httptrace.GotConnInfo) { t.connected.Store(true) },
		WroteHeaders: func() { t.written.Store(true) },
	})
}

// mayHaveReached reports whether the server may have seen the whole head of a
// request that failed under ctx.
//
// Go's HTTP/1 transport returns an error only once its writer has stopped, so
// that "not written" is final; its HTTP/2 transport does so too, except when
// the context ends, where having a connection must count as having written. A
// transport that reports nothing (not Go's own) leaves everything possible.
func (t *trace) mayHaveReached(ctx context.Context) bool {
	if !t.asked.Load() || t.written.Load() {
		return true
	}
	return t.connected.Load() && ctx.Err() != nil
}
