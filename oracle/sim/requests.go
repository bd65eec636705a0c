package sim

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"
)

// keptRequests is how many requests the log keeps.
const keptRequests = 100_000

// Request is one request to the environment, as the log keeps it. It holds no
// header and no body, so no credentials.
type Request struct {
	// Number counts requests from 1.
	Number int       `json:"number"`
	At     time.Time `json:"at"`
	User   string    `json:"user,omitempty"`
	Method string    `json:"method"`
	// Path is as sent, percent-encoded; values of password parameters are
	// left out of Query.
	Path  string `json:"path"`
	Query string `json:"query,omitempty"`
	// Status is 0 when the connection was reset before an answer.
	Status       int   `json:"status"`
	BytesIn      int64 `json:"bytes_in"`
	BytesOut     int64 `json:"bytes_out"`
	Milliseconds int64 `json:"milliseconds"`
	// Fault is the kind of fault that struck the request or the job it started.
	Fault string `json:"fault,omitempty"`
	// JobID is the Planning job the request started.
	JobID int `json:"job_id,omitempty"`
}

// requestLog keeps the newest requests.
type requestLog struct {
	mu    sync.Mutex
	total int
	kept  []Request // a ring once it is full
}

func (l *requestLog) add(r Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	r.Number = l.total
	if len(l.kept) < keptRequests {
		l.kept = append(l.kept, r)
		return
	}
	l.kept[(l.total-1)%keptRequests] = r
}

// after returns the requests with numbers above number, the oldest first, at
// most limit of them unless it is 0.
func (l *requestLog) after(number, limit int) []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := max(number, l.total-len(l.kept))
	count := max(0, l.total-first)
	if limit > 0 {
		count = min(count, limit)
	}
	requests := make([]Request, 0, count)
	for n := first; n < first+count; n++ {
		requests = append(requests, l.kept[n%keptRequests])
	}
	return requests
}

// clear forgets the requests; numbers begin again.
func (l *requestLog) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept, l.total = nil, 0
}

type entryKey struct{}

func withEntry(ctx context.Context, entry *Request) context.Context {
	return context.WithValue(ctx, entryKey{}, entry)
}

// entryOf returns the log entry of a request, for a handler to add to.
func entryOf(r *http.Request) *Request {
	if entry, ok := r.Context().Value(entryKey{}).(*Request); ok {
		return entry
	}
	return &Request{}
}

var secretParameter = regexp.MustCompile(`(?i)((?:password|pwd|key|secret|token|assertion|code)"?\s*[:=]\s*)("[^"]*"|[^,}&]*)`)

// scrubQuery returns a query for the log: decoded where possible, without the
// values of password parameters, which the migration calls take in q.
func scrubQuery(raw string) string {
	text, err := url.QueryUnescape(raw)
	if err != nil {
		text = raw
	}
	return secretParameter.ReplaceAllString(text, "${1}...")
}

// countingBody counts the bytes of a request body.
type countingBody struct {
	io.ReadCloser
	read int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	return n, err
}

// recorder notes the status and size of an answer.
type recorder struct {
	http.ResponseWriter
	status  int
	written int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.written += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
