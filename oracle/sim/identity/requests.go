package identity

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

// keptRequests is how many requests the log keeps.
const keptRequests = 10_000

// Request is one request to the domain, as the log keeps it: no header, query or
// body, so no secrets.
type Request struct {
	// Number counts requests from 1.
	Number int       `json:"number"`
	At     time.Time `json:"at"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	// Client is the id of an application, Grant the grant type it asked by,
	// User who tokens were given out for.
	Client string `json:"client,omitempty"`
	Grant  string `json:"grant,omitempty"`
	User   string `json:"user,omitempty"`
	// Status is 0 when the answer was lost.
	Status int `json:"status"`
}

// requestLog keeps the newest requests.
type requestLog struct {
	mu    sync.Mutex
	total int
	kept  []Request
}

func (l *requestLog) add(r Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	r.Number = l.total
	if len(l.kept) == keptRequests {
		l.kept = append(l.kept[:0:0], l.kept[1:]...)
	}
	l.kept = append(l.kept, r)
}

// Requests returns what the domain was asked, the oldest first; only the newest
// 10,000 requests are kept.
func (d *Domain) Requests() []Request {
	d.requests.mu.Lock()
	defer d.requests.mu.Unlock()
	return append([]Request{}, d.requests.kept...)
}

type entryKey struct{}

// entryOf returns the log entry of a request, for a handler to add to.
func entryOf(r *http.Request) *Request {
	if entry, ok := r.Context().Value(entryKey{}).(*Request); ok {
		return entry
	}
	return &Request{}
}

// ServeHTTP answers one request. Control calls are not logged and meet no faults.
func (d *Domain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/sim/") {
		d.handler.ServeHTTP(w, r)
		return
	}
	cfg := d.config()
	entry := &Request{At: cfg.Now().UTC(), Method: r.Method, Path: r.URL.Path}
	answer := &recorder{ResponseWriter: w}
	// In a deferred call, because a lost answer ends the handler by a panic.
	defer func() {
		entry.Status = answer.status
		d.requests.add(*entry)
		cfg.Logger.InfoContext(r.Context(), "identity: request", "method", entry.Method, "path", entry.Path,
			"client", entry.Client, "grant", entry.Grant, "status", entry.Status)
	}()
	r = r.WithContext(context.WithValue(r.Context(), entryKey{}, entry))
	d.faults.serve(answer, r, d.handler)
}

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}
