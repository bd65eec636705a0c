package identity

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Fault is something that goes wrong with the next requests.
type Fault struct {
	// Path is that of the endpoint; empty means every endpoint.
	Path string
	// Times is how many requests it strikes; 0 means one.
	Times int
	// Status is answered and nothing is done, as 429 or 503.
	Status int
	// RetryAfter is written as a header in whole seconds; 0 writes none.
	RetryAfter time.Duration
	// Lost, in place of Status, does what is asked, and closes the connection
	// where the answer should come.
	Lost bool
}

// faults are those in force.
type faults struct {
	mu   sync.Mutex
	list []Fault
}

// AddFault puts a fault in force until it has struck so many times.
func (d *Domain) AddFault(f Fault) error {
	if f.Lost == (f.Status != 0) || f.Times < 0 || f.Status != 0 && (f.Status < 400 || f.Status > 599) {
		return fmt.Errorf("fault: needs either a status from 400 to 599 or a lost answer, got %+v", f)
	}
	f.Times = max(1, f.Times)
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	d.faults.list = append(d.faults.list, f)
	return nil
}

// ClearFaults takes all faults out of force.
func (d *Domain) ClearFaults() {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	d.faults.list = nil
}

// strike returns the fault that the next request to a path meets.
func (s *faults) strike(path string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.list {
		if f.Path != "" && f.Path != path {
			continue
		}
		if s.list[i].Times--; s.list[i].Times == 0 {
			s.list = append(s.list[:i:i], s.list[i+1:]...)
		}
		return f, true
	}
	return Fault{}, false
}

// serve answers a request, by a fault where one is due.
func (s *faults) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	f, struck := s.strike(r.URL.Path)
	switch {
	case !struck:
		next.ServeHTTP(w, r)
	case f.Lost:
		next.ServeHTTP(&discard{header: http.Header{}}, r)
		panic(http.ErrAbortHandler) // net/http's way to close the connection
	default:
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(f.RetryAfter/time.Second)))
		}
		writeJSON(w, f.Status, map[string]any{"status": strconv.Itoa(f.Status), "detail": http.StatusText(f.Status)})
	}
}

// discard is an answer that nobody gets.
type discard struct{ header http.Header }

// Header implements [http.ResponseWriter].
func (d *discard) Header() http.Header { return d.header }

// Write implements [http.ResponseWriter].
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader implements [http.ResponseWriter].
func (d *discard) WriteHeader(int) {}
