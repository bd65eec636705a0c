package sim

import (
	"archive/zip"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// environment is everything that a reset throws away.
type environment struct {
	cfg     Config
	service serviceSeed
	log     *slog.Logger
	odd     oddities
	clock   *clock

	// applications do not change; what is in them does.
	applications []*application
	blobs        *blobStore
	repo         *repository
	console      *console
	transfers    *transfers
	faults       *faultSet
	requests     *requestLog
	maintenance  maintenance

	planning http.Handler
	interop  http.Handler
}

// newEnvironment builds an environment as it is at the beginning.
func newEnvironment(cfg Config, nextJobID func() int) (*environment, error) {
	s, err := loadSeed(cfg.Environment)
	if err != nil {
		return nil, err
	}
	applications, err := s.build()
	if err != nil {
		return nil, err
	}
	e := &environment{
		cfg: cfg, service: s.Service, log: cfg.Logger,
		odd:          oddities{on: !cfg.NoOddities, seed: cfg.Seed},
		clock:        newClock(cfg.Now, cfg.Speed),
		applications: applications,
		blobs:        newBlobStore(cfg.TempDir, cfg.MaxBytes),
		repo:         newRepository(cfg.Now),
		faults:       newFaultSet(cfg.Seed),
		requests:     &requestLog{},
	}
	e.console = newConsole(e.clock, nextJobID)
	e.transfers = newTransfers(e.clock, cfg.Seed)
	for _, fault := range cfg.Faults {
		if _, err := e.faults.add(fault); err != nil {
			return nil, err
		}
	}
	for _, name := range s.Snapshots {
		if err := e.addSnapshot(name); err != nil {
			return nil, err
		}
	}
	e.planning, e.interop = e.planningRoutes(), e.interopRoutes()
	return e, nil
}

// addSnapshot stores a small snapshot, as the daily maintenance leaves one.
func (e *environment) addSnapshot(name string) error {
	spool := e.blobs.newSpool()
	archive := zip.NewWriter(spool)
	for _, entry := range []string{"Export.xml", "Import.xml", "SourceInfo.xml"} {
		w, err := archive.Create(entry)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "<!-- %s of the simulated snapshot %s -->\n", entry, name); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return e.repo.add(name, kindSnapshot, spool.finish())
}

func (e *environment) application(name string) *application {
	for _, a := range e.applications {
		if a.name == name {
			return a
		}
	}
	return nil
}

// maintenance is the daily maintenance: while it is on, everything answers 503.
type maintenance struct {
	mu    sync.Mutex
	on    bool
	until time.Time // simulated; zero means until it is turned off
}

func (m *maintenance) start(until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on, m.until = true, until
}

func (m *maintenance) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on = false
}

func (m *maintenance) running(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.on && !m.until.IsZero() && !now.Before(m.until) {
		m.on = false
	}
	return m.on
}

// sameName tells whether given is the user's name, alone or behind the identity
// domain, as in acme.admin.
func (c Config) sameName(given, name string) bool {
	return given == name || given == c.IdentityDomain+"."+name
}

// signIn returns the user whose credentials the request carries. They have to
// be on every request; there are no sessions.
func (e *environment) signIn(r *http.Request) (User, bool) {
	if token, ok := bearerToken(r); ok {
		return e.bearerUser(token)
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return User{}, false
	}
	for _, user := range e.cfg.Users {
		if e.cfg.sameName(name, user.Name) && password == user.Password {
			return user, true
		}
	}
	return User{}, false
}

// bearerToken is the access token of a request, where it comes with one.
func bearerToken(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return token, strings.EqualFold(scheme, "Bearer")
}

// bearerUser returns the user whose access token it is. A token that is good
// but of somebody without a role in the environment lets nobody in.
func (e *environment) bearerUser(token string) (User, bool) {
	if e.cfg.Bearer == nil {
		return User{}, false
	}
	name, ok := e.cfg.Bearer(token)
	if !ok {
		return User{}, false
	}
	for _, user := range e.cfg.Users {
		if user.Name == name {
			return user, true
		}
	}
	return User{}, false
}

func (u User) administers() bool { return u.Role == "" || u.Role == ServiceAdministrator }

func writeUnauthorized(w http.ResponseWriter, r *http.Request) {
	challenge := `Basic realm="EPM Cloud"`
	if _, ok := bearerToken(r); ok {
		challenge = `Bearer error="invalid_token", error_description="The access token is expired or not accepted"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	writeHTML(w, http.StatusUnauthorized, "Unauthorized", "This request requires HTTP authentication.")
}

func writeMaintenance(w http.ResponseWriter) {
	writeHTML(w, http.StatusServiceUnavailable, "Service Unavailable",
		"The service is temporarily unavailable because of scheduled maintenance. Please try again later.")
}
