package identity

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Domain is a simulated identity domain: an [http.Handler]. Make one with [New].
// Its methods may be called at any time by several goroutines.
type Domain struct {
	mu  sync.Mutex
	cfg Config

	keys *keyring
	// codes are authorization codes; spent remembers the used ones with the
	// chain of refresh tokens that came of them.
	codes tickets[code]
	spent tickets[*chain]
	// sessions are people signed in at the domain, by cookie.
	sessions tickets[session]
	// assertions are the ids of those used up, revoked of tokens given back.
	assertions, revoked tickets[struct{}]
	refreshes           refreshes
	devices             devices
	faults              faults
	requests            requestLog
	handler             http.Handler
}

// New makes a domain as cfg describes it.
func New(cfg Config) (*Domain, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("identity domain: %w", err)
	}
	keys, err := newKeyring(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("identity domain: %w", err)
	}
	d := &Domain{cfg: cfg.withDefaults(), keys: keys}
	d.handler = d.routes()
	return d, nil
}

// Change changes the configuration while the domain runs, but for its Key. What
// f leaves would have to pass [Config.Validate]; nothing is changed otherwise.
func (d *Domain) Change(f func(*Config)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.cfg.withDefaults() // slices of its own
	f(&next)
	if err := next.Validate(); err != nil {
		return fmt.Errorf("change identity domain: %w", err)
	}
	d.cfg = next.withDefaults()
	return nil
}

// ChangeUser is [Domain.Change] for the user with a login name.
func (d *Domain) ChangeUser(name string, f func(*User)) error {
	found := false
	err := d.Change(func(c *Config) {
		i := slices.IndexFunc(c.Users, func(u User) bool { return u.Name == name })
		if found = i >= 0; found {
			f(&c.Users[i])
		}
	})
	if err == nil && !found {
		return fmt.Errorf("there is no user %q", name)
	}
	return err
}

// RotateKey makes a new signing key under the name of the old one.
func (d *Domain) RotateKey() error { return d.keys.rotate() }

// config is the configuration as it is now.
func (d *Domain) config() Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg
}

func (d *Domain) now() time.Time { return d.config().Now() }

func (d *Domain) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range map[string]http.HandlerFunc{
		"GET /.well-known/openid-configuration":       d.openIDConfiguration,
		"GET /.well-known/oauth-authorization-server": d.authorizationServer,
		"GET /.well-known/idcs-configuration":         d.vendorConfiguration,
		"GET " + pathKeys:                             d.signingKeys,
		"GET " + pathAuthorize:                        d.authorize,
		"POST " + pathAuthorize:                       d.authorize,
		"POST " + pathToken:                           d.token,
		"POST " + pathDevice:                          d.startDevice,
		"GET " + pathDevicePage:                       d.devicePage,
		"POST " + pathDevicePage:                      d.decideDevice,
		"GET " + pathUserinfo:                         d.userinfo,
		"POST " + pathUserinfo:                        d.userinfo,
		"POST " + pathIntrospect:                      d.introspect,
		"POST " + pathRevoke:                          d.revoke,
		"GET " + pathLogout:                           d.logout,
	} {
		mux.HandleFunc(pattern, handler)
	}
	d.controlRoutes(mux)
	return mux
}

// The paths of the endpoints.
const (
	pathAuthorize  = "/oauth2/v1/authorize"
	pathToken      = "/oauth2/v1/token" //nolint:gosec // G101: a path, not a token
	pathDevice     = "/oauth2/v1/device"
	pathDevicePage = "/ui/v1/device"
	pathUserinfo   = "/oauth2/v1/userinfo"
	pathIntrospect = "/oauth2/v1/introspect"
	pathRevoke     = "/oauth2/v1/revoke"
	pathLogout     = "/oauth2/v1/userlogout"
	pathKeys       = "/admin/v1/SigningCert/jwk"
)
