package sim

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Sim is a simulated environment: an [http.Handler] for the Planning and
// interop APIs, and for the control calls under /sim/. Make one with [New] and
// end it with [Sim.Close]. Its methods may be called at any time by several
// goroutines.
type Sim struct {
	cfg     Config
	lastJob atomic.Int64
	control http.Handler
	current atomic.Pointer[environment]
}

// New makes an environment as cfg describes it.
func New(cfg Config) (*Sim, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	cfg = cfg.withDefaults()
	s := &Sim{cfg: cfg}
	s.lastJob.Store(int64(cfg.FirstJobID) - 1)
	s.control = s.controlRoutes()
	if err := s.Reset(); err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	return s, nil
}

// Close gives up the stored files. The Sim must not be asked anything more.
func (s *Sim) Close() error {
	if err := s.current.Load().blobs.close(); err != nil {
		return fmt.Errorf("close stored files: %w", err)
	}
	return nil
}

// Reset puts the environment back to its beginning: applications, files, jobs,
// log, faults and clock. Job ids go on counting.
func (s *Sim) Reset() error {
	next, err := newEnvironment(s.cfg, func() int { return int(s.lastJob.Add(1)) })
	if err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	if old := s.current.Swap(next); old != nil {
		return old.blobs.close()
	}
	return nil
}

// AddFault puts a fault rule in force and returns its id.
func (s *Sim) AddFault(f Fault) (int, error) { return s.current.Load().faults.add(f) }

// ClearFaults takes all fault rules out of force.
func (s *Sim) ClearFaults() { s.current.Load().faults.clear() }

// Jobs returns every Planning job that was started, the oldest first, whether
// or not its caller ever got the answer.
func (s *Sim) Jobs() []Job {
	e := s.current.Load()
	e.console.settle()
	return e.console.report()
}

// Requests returns what the environment was asked since the last reset, the
// oldest first; only the newest 100,000 requests are kept.
func (s *Sim) Requests() []Request { return s.current.Load().requests.after(0, 0) }

// ServeHTTP answers one request.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := s.current.Load()
	e.console.settle()
	if strings.HasPrefix(r.URL.Path, "/sim/") || r.URL.Path == "/sim" {
		s.control.ServeHTTP(w, r)
		return
	}
	e.serve(w, r)
}

// serve answers a request to the environment, with faults, and logs it.
func (e *environment) serve(w http.ResponseWriter, r *http.Request) {
	entry := &Request{At: e.cfg.Now().UTC(), Method: r.Method, Path: r.URL.EscapedPath(), Query: scrubQuery(r.URL.RawQuery)}
	body := &countingBody{ReadCloser: r.Body}
	r.Body = body
	answer := &recorder{ResponseWriter: w}
	started := time.Now()
	reset := false
	// In a deferred call, because a fault may end the handler by a panic. The
	// log is complete before a reset tells the client that all is over.
	defer func() {
		entry.Status, entry.BytesIn, entry.BytesOut = answer.status, body.read, answer.written
		entry.Milliseconds = time.Since(started).Milliseconds()
		e.requests.add(*entry)
		e.log.InfoContext(r.Context(), "sim: request", "method", entry.Method, "path", entry.Path,
			"status", entry.Status, "fault", entry.Fault, "job_id", entry.JobID)
		if reset {
			resetConnection(w)
		}
	}()
	reset = e.faults.serve(answer, r.WithContext(withEntry(r.Context(), entry)), entry, e.route)
}

// route answers a request that no fault has answered.
func (e *environment) route(w http.ResponseWriter, r *http.Request) {
	if e.maintenance.running(e.clock.now()) {
		writeMaintenance(w)
		return
	}
	r, ok := e.withoutPrefix(r)
	if !ok {
		writeNotFound(w)
		return
	}
	user, ok := e.signIn(r)
	if !ok {
		writeUnauthorized(w, r)
		return
	}
	entryOf(r).User = user.Name
	switch {
	case strings.HasPrefix(r.URL.Path, "/HyperionPlanning/rest"):
		e.planning.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/interop/rest"):
		e.interop.ServeHTTP(w, r)
	default:
		writeNotFound(w)
	}
}

// withoutPrefix takes the proxy's prefix off the path.
func (e *environment) withoutPrefix(r *http.Request) (*http.Request, bool) {
	if e.cfg.Prefix == "" {
		return r, true
	}
	path, ok := strings.CutPrefix(r.URL.Path, e.cfg.Prefix)
	raw, _ := strings.CutPrefix(r.URL.RawPath, e.cfg.Prefix)
	if !ok || !strings.HasPrefix(path, "/") {
		return nil, false
	}
	short := r.Clone(r.Context())
	short.URL = &url.URL{Path: path, RawPath: raw, RawQuery: r.URL.RawQuery}
	return short, true
}

// administrator refuses a handler to users without the role.
func (e *environment) administrator(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if user, ok := e.signIn(r); !ok || !user.administers() {
			writePlanningError(w, http.StatusForbidden, "HspAccessException", "You do not have the role Service Administrator.")
			return
		}
		next(w, r)
	}
}
