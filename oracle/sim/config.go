package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
)

// ServiceAdministrator is the role that may call everything. Users with any
// other role may only read versions and applications.
const ServiceAdministrator = "Service Administrator"

// User is somebody who may sign in with basic authentication.
type User struct {
	Name     string
	Password string
	// Role is one of the predefined roles; empty means ServiceAdministrator.
	Role string
}

// Config says what kind of environment to simulate. The zero value is a usable
// environment: two applications, the user admin with the password welcome1,
// oddities on, no faults, durations as in real life but short.
type Config struct {
	// Speed is how many simulated seconds pass in a real second; 0 means 1.
	// A metadata import takes about 10 simulated seconds.
	Speed float64
	// Now is the real clock; nil means time.Now.
	Now func() time.Time
	// Users may sign in; empty means admin/welcome1 (Service Administrator)
	// and viewer/welcome1 (Viewer).
	Users []User
	// Bearer says whose access token a request carries: the name of one of
	// Users, or false for a token that is expired, made out to another service,
	// an application's own, or no token at all. Nil takes no access tokens, as
	// the classic platform does.
	Bearer func(accessToken string) (user string, ok bool)
	// IdentityDomain is accepted in front of a user name, as in acme.admin;
	// empty means acme.
	IdentityDomain string
	// Prefix is a path in front of every address, as a reverse proxy adds,
	// for example /gateway. The control calls under /sim/ do not have it.
	Prefix string
	// Logger is told about every request and job; nil discards.
	Logger *slog.Logger
	// Seed decides which answers carry which oddity and when faults with a
	// probability strike.
	Seed uint64
	// NoOddities makes every answer tidy: numbers are numbers, absent is null,
	// links point where they should.
	NoOddities bool
	// Faults are in force from the start and again after a reset.
	Faults []Fault
	// Environment is a JSON file to use in place of the embedded
	// environment.json.
	Environment string
	// TempDir is where files too large for memory go; empty means the system's
	// folder. They are unlinked as soon as they are open, so that nothing is
	// left of them however the process ends.
	TempDir string
	// MaxBytes limits all stored files together; 0 means 20 GiB. Past it an
	// upload fails as on an environment that is out of space.
	MaxBytes int64
	// FirstJobID is the id of the first Planning job. 0 takes it from the
	// time, so that a simulator started again does not hand out an id that a
	// client still holds from before.
	FirstJobID int
	// RejectStatus is the job status of an import that finished but rejected
	// records: 0 (the default) or 1. Oracle does not document which; the
	// descriptive status is "Completed with errors" either way.
	RejectStatus int
}

const (
	defaultMaxBytes = 20 << 30
	// memoryFileBytes is the largest file kept in memory, memoryBytes the
	// most that all of them take together; others go to the temporary folder.
	memoryFileBytes = 1 << 20
	memoryBytes     = 64 << 20
)

// idEpoch is what FirstJobID counts seconds from when it is taken from the time.
var idEpoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// Validate reports everything that is wrong with c, one problem per line.
func (c Config) Validate() error {
	var problems []error
	complain := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf(format, args...))
	}
	if c.Speed < 0 {
		complain("speed %g: must not be negative", c.Speed)
	}
	if c.MaxBytes < 0 {
		complain("max bytes %d: must not be negative", c.MaxBytes)
	}
	if c.FirstJobID < 0 {
		complain("first job id %d: must not be negative", c.FirstJobID)
	}
	if c.RejectStatus != statusSuccess && c.RejectStatus != statusError {
		complain("reject status %d: must be 0 or 1", c.RejectStatus)
	}
	if c.Prefix != "" && (!strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/")) {
		complain("prefix %q: must begin with a slash and not end with one", c.Prefix)
	}
	for i, user := range c.Users {
		if user.Name == "" || user.Password == "" {
			complain("user %d: needs a name and a password", i+1)
		}
	}
	for i, fault := range c.Faults {
		if err := fault.Validate(); err != nil {
			complain("fault %d: %w", i+1, err)
		}
	}
	if _, err := loadSeed(c.Environment); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

func (c Config) withDefaults() Config {
	if c.Speed == 0 {
		c.Speed = 1
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if len(c.Users) == 0 {
		c.Users = []User{{Name: "admin", Password: "welcome1"}, {Name: "viewer", Password: "welcome1", Role: "Viewer"}}
	}
	if c.IdentityDomain == "" {
		c.IdentityDomain = "acme"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.FirstJobID == 0 {
		c.FirstJobID = max(1, int(c.Now().Sub(idEpoch)/time.Second))
	}
	if c.TempDir == "" {
		c.TempDir = os.TempDir()
	}
	return c
}
