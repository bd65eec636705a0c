package sso

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Leeway is how far the clocks of the provider and of this server may differ, both
// ways: a token is taken so long after its expiry and before its "not before" and
// "issued at".
const Leeway = time.Minute

// Config is what [New] needs. Issuer and ClientID are required.
type Config struct {
	// Issuer is the address of the provider: its issuer URL, or the URL of an
	// Oracle identity domain. Plain http is taken for loopback hosts only.
	Issuer string
	// ExpectedIssuer is what tokens must name as their issuer, letter by letter.
	// Empty: what the provider's document says, which must be Issuer itself (a
	// slash at the end may differ), or [OracleIssuer] where Issuer is an Oracle
	// identity domain.
	ExpectedIssuer string
	// ClientID is the name of this server at the provider.
	ClientID string
	// ClientSecret is its password there. Empty: a public client, which has PKCE
	// alone.
	ClientSecret string
	// Audience is whom access tokens must be for. Empty: none are accepted.
	Audience string
	// Scopes are asked for at sign-in. Empty: openid, profile and email, and groups
	// and get_groups where the provider's document lists them. The scope openid is
	// always asked for.
	Scopes []string
	// LoginClaim is the claim that is a person's login; default "email". An e-mail
	// address counts unless the provider says that it is not verified. Where the
	// claim is missing or does not count, the login is the claim sub.
	LoginClaim string
	// GroupsClaim is the claim with a person's groups; default "groups".
	GroupsClaim string
	// AllowedDomains are the domains of the accounts let in: those of the e-mail
	// address, unless the provider says that it is not verified, and of the login;
	// at Google that of the Workspace (the claim hd). Subdomains are others. Empty:
	// all.
	AllowedDomains []string
	// AllowedGroups are the groups of which a person must have one, letter by
	// letter. Empty: nobody needs one.
	AllowedGroups []string
	// Transport sends the requests; nil means a new one with time-outs.
	Transport http.RoundTripper
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
	// Logger hears what the provider answers badly, never of tokens or secrets. Nil
	// is silent.
	Logger *slog.Logger
}

// Provider is one OpenID provider. Its methods may be called by many goroutines.
type Provider struct {
	config Config
	base   *url.URL // of discovery, its path ends with a slash
	client *http.Client
	log    *slog.Logger

	discovery singleflight.Group
	mu        sync.Mutex
	known     *metadata // the last one that was read, nil before
	readAt    time.Time
	failure   error // of the last reading, nil when it went well
	failedAt  time.Time
}

// New checks the settings, all of them, and sends nothing.
func New(config Config) (*Provider, error) {
	base, err := parseIssuer(config.Issuer)
	problems := []error{err}
	if config.ClientID == "" {
		problems = append(problems, errors.New("client id: is missing; the provider shows it where this application is registered"))
	}
	for _, domain := range config.AllowedDomains {
		if domain == "" || strings.ContainsAny(domain, "@/: ") {
			problems = append(problems, fmt.Errorf("allowed domains: %q is not a domain; write it like example.com", domain))
		}
	}
	if slices.Contains(config.AllowedGroups, "") {
		problems = append(problems, errors.New("allowed groups: one is empty"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	return &Provider{config: config, base: base, log: config.Logger, client: newClient(config.Transport)}, nil
}

func (c Config) withDefaults() Config {
	if c.LoginClaim == "" {
		c.LoginClaim = claimEmail
	}
	if c.GroupsClaim == "" {
		c.GroupsClaim = "groups"
	}
	if len(c.Scopes) > 0 && !slices.Contains(c.Scopes, "openid") {
		c.Scopes = append([]string{"openid"}, c.Scopes...)
	}
	if c.Transport == nil {
		c.Transport = newTransport()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// parseIssuer checks the address of the provider, which is also what its relative
// endpoints are relative to.
func parseIssuer(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	switch {
	case err != nil || u.Hostname() == "":
		return nil, errors.New("issuer: not an address; write it like https://login.example.com")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("issuer: give only scheme, host and path")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("issuer: plain http to %s can be listened to; use https", u.Hostname())
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("issuer: the scheme %q is not https", u.Scheme)
	}
	u.Path = strings.TrimRight(u.Path, "/") + "/"
	u.RawPath = ""
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
