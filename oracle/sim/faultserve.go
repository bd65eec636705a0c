package sim

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// serve answers a request through next, with the faults that strike it. It
// reports whether the connection has to be reset in place of an answer.
func (s *faultSet) serve(w http.ResponseWriter, r *http.Request, entry *Request, next http.HandlerFunc) (reset bool) {
	for _, fault := range s.strikeRequest(r) {
		entry.Fault = fault.Kind
		switch fault.Kind {
		case FaultSlow:
			sleep(r.Context(), fault.wait)
			continue
		case FaultStatus:
			fault.writeStatus(w)
		case FaultExpiredSession:
			writeUnauthorized(w, r)
		case FaultMaintenance:
			fault.setRetryAfter(w)
			writeMaintenance(w)
		case FaultReset:
			_, _ = io.CopyN(io.Discard, r.Body, fault.Bytes) // however much there is
			return true
		case FaultLostAnswer:
			next(&discardedAnswer{header: http.Header{}}, r)
			return true
		case FaultSlowBody:
			next(&slowAnswer{ResponseWriter: w, ctx: r.Context(), perSecond: fault.BytesPerSecond}, r)
		case FaultTruncate:
			next(&truncatedAnswer{ResponseWriter: w, limit: fault.Bytes}, r)
		}
		return false
	}
	next(w, r)
	return false
}

func (f Fault) setRetryAfter(w http.ResponseWriter) {
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
}

func (f Fault) writeStatus(w http.ResponseWriter) {
	status := f.Status
	if status == 0 {
		status = http.StatusInternalServerError
	}
	f.setRetryAfter(w)
	switch f.Body {
	case "html":
		writeHTML(w, status, http.StatusText(status), "The server could not answer the request.")
	case "empty":
		w.WriteHeader(status)
	default:
		writePlanningError(w, status, "HspRuntimeException", "The server could not answer the request.")
	}
}

// sleep waits for d of real time, or until the client goes away.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// resetConnection ends the connection without an answer: with a TCP reset
// where that is possible, else by closing it.
func resetConnection(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the client sees an end of file, which will do
	}
	_ = conn.Close()
}

// discardedAnswer takes an answer that nobody will see.
type discardedAnswer struct{ header http.Header }

func (d *discardedAnswer) Header() http.Header         { return d.header }
func (d *discardedAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (d *discardedAnswer) WriteHeader(int)             {}

// slowAnswer sends its body a little at a time.
type slowAnswer struct {
	http.ResponseWriter
	ctx       context.Context
	perSecond int64
}

func (s *slowAnswer) Write(p []byte) (int, error) {
	const pieces = 10 // a second
	perSecond := s.perSecond
	if perSecond == 0 {
		perSecond = 1000
	}
	size := max(1, int(perSecond/pieces))
	sent := 0
	for sent < len(p) {
		sleep(s.ctx, time.Second/pieces)
		n, err := s.ResponseWriter.Write(p[sent:min(len(p), sent+size)])
		sent += n
		if err != nil {
			return sent, err
		}
		// A writer that cannot flush sends when it likes.
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		if s.ctx.Err() != nil {
			return sent, s.ctx.Err()
		}
	}
	return sent, nil
}

// truncatedAnswer announces the whole length and sends only limit bytes, half
// of them if limit is 0.
type truncatedAnswer struct {
	http.ResponseWriter
	limit   int64
	started bool
	sent    int64
}

func (t *truncatedAnswer) WriteHeader(status int) {
	t.started = true
	if length, err := strconv.ParseInt(t.Header().Get("Content-Length"), 10, 64); err == nil && t.limit == 0 {
		t.limit = length / 2
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *truncatedAnswer) Write(p []byte) (int, error) {
	if !t.started {
		t.WriteHeader(http.StatusOK)
	}
	part := p[:min(int64(len(p)), t.limit-t.sent)]
	n, err := t.ResponseWriter.Write(part)
	t.sent += int64(n)
	if err != nil {
		return n, err
	}
	if n == len(p) {
		return n, nil
	}
	_ = http.NewResponseController(t.ResponseWriter).Flush() // the connection ends next
	panic(http.ErrAbortHandler)
}
