package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"longhaul/api"
	"longhaul/api/sso"
	"longhaul/storage"
)

// accessSettings say who may come in, and how.
type accessSettings struct {
	OIDCIssuer         string     `name:"oidc-issuer" env:"LONGHAUL_OIDC_ISSUER" placeholder:"URL" help:"Sign people in with the OpenID Connect provider at this address; for an Oracle identity domain, its domain URL. Default: local mode, with an admin token. See docs/sign-in.md."`
	OIDCClientID       string     `name:"oidc-client-id" env:"LONGHAUL_OIDC_CLIENT_ID" placeholder:"ID" help:"This server's client id at the provider."`
	OIDCClientSecret   secretText `name:"oidc-client-secret" env:"LONGHAUL_OIDC_CLIENT_SECRET" placeholder:"SECRET" help:"Its secret there; a public client has none."`
	OIDCExpectedIssuer string     `name:"oidc-expected-issuer" env:"LONGHAUL_OIDC_EXPECTED_ISSUER" placeholder:"URL" help:"The issuer that tokens name, where it is not the one that the provider's document names."`
	OIDCAudience       string     `name:"oidc-audience" env:"LONGHAUL_OIDC_AUDIENCE" placeholder:"NAME" help:"Take the provider's access tokens for this audience, from web apps that sign their people in themselves. Default: none are taken."`
	OIDCScopes         []string   `name:"oidc-scopes" env:"LONGHAUL_OIDC_SCOPES" placeholder:"SCOPE" help:"What to ask the provider for, separated by commas. Default: openid, profile, email, and groups where it offers them."`
	OIDCLoginClaim     string     `name:"oidc-login-claim" env:"LONGHAUL_OIDC_LOGIN_CLAIM" default:"email" placeholder:"CLAIM" help:"The claim that names people in memberships and the audit trail."`
	OIDCGroupsClaim    string     `name:"oidc-groups-claim" env:"LONGHAUL_OIDC_GROUPS_CLAIM" default:"groups" placeholder:"CLAIM" help:"The claim with a person's groups."`
	AllowedDomains     []string   `env:"LONGHAUL_ALLOWED_DOMAINS" placeholder:"DOMAIN" help:"Let in only people whose login or e-mail address is of these domains."`
	AllowedGroups      []string   `env:"LONGHAUL_ALLOWED_GROUPS" placeholder:"GROUP" help:"Let in only people who are in one of these groups."`
	Admins             []string   `env:"LONGHAUL_ADMINS" placeholder:"LOGIN" help:"The logins of the instance admins, separated by commas."`
	AdminGroups        []string   `env:"LONGHAUL_ADMIN_GROUPS" placeholder:"GROUP" help:"The groups whose people are instance admins."`

	SessionIdle time.Duration `env:"LONGHAUL_SESSION_IDLE" default:"12h" help:"How long a browser stays signed in unused."`
	SessionLife time.Duration `env:"LONGHAUL_SESSION_LIFE" default:"168h" help:"How long a browser stays signed in at most."`
	TokensFor   time.Duration `env:"LONGHAUL_TOKENS_FOR" default:"2160h" help:"How long after its owner's last sign-in an API token works; 0: for ever. Not in local mode."`

	CORSOrigins      []string `name:"cors-origins" env:"LONGHAUL_CORS_ORIGINS" placeholder:"ORIGIN" help:"Origins of web apps that may call the API from browsers with bearer tokens, such as https://finance.example.com, separated by commas."`
	TrustedProxies   []string `env:"LONGHAUL_TRUSTED_PROXIES" placeholder:"ADDR" help:"Addresses or networks (10.0.0.0/8) of the proxies in front, whose X-Forwarded-For names the client; separated by commas. Default: none is believed."`
	RateLimit        int      `env:"LONGHAUL_RATE_LIMIT" default:"100" help:"How many requests a second a person or token may make, and five times as many at once; 0: no limit."`
	AddressRateLimit int      `env:"LONGHAUL_ADDRESS_RATE_LIMIT" default:"300" help:"The same for an address, before it is known who asks; 0: no limit, not for wrong tokens and sign-ins either."`
	MaxWaiting       int      `env:"LONGHAUL_MAX_WAITING" default:"1000" help:"How many requests of a person or token may wait for changes at once; 0: no limit."`
}

// local reports whether this is local mode: no provider signs people in.
func (s *accessSettings) local() bool { return s.OIDCIssuer == "" }

// validateAccess reports everything that is wrong with the settings at once.
func (s *serveSettings) validateAccess() error {
	if s.local() {
		if s.OIDCClientID != "" || s.OIDCClientSecret != "" {
			return errors.New("LONGHAUL_OIDC_CLIENT_ID is set and LONGHAUL_OIDC_ISSUER is not: give the provider's address too")
		}
		return s.validateLocalURL()
	}
	var problems []error
	if _, err := s.provider(slog.New(slog.DiscardHandler)); err != nil {
		problems = append(problems, err)
	}
	problems = append(problems, s.validatePublicURL())
	if len(s.Admins) == 0 && len(s.AdminGroups) == 0 {
		problems = append(problems, errors.New("LONGHAUL_ADMINS or LONGHAUL_ADMIN_GROUPS must name who rules this server: nobody else can make apps"))
	}
	for name, value := range map[string]time.Duration{"LONGHAUL_SESSION_IDLE": s.SessionIdle, "LONGHAUL_SESSION_LIFE": s.SessionLife} {
		if value <= 0 {
			problems = append(problems, fmt.Errorf("%s must be greater than 0", name))
		}
	}
	return errors.Join(problems...)
}

// validatePublicURL wants the address that the provider sends people back to. It must not come
// from a request, which a stranger can make.
func (s *serveSettings) validatePublicURL() error {
	host, _, err := net.SplitHostPort(s.Addr)
	if s.PublicURL == "" {
		if err == nil && loopback(host) {
			return nil
		}
		return errors.New("LONGHAUL_PUBLIC_URL must be set where people sign in with a provider: it is where the provider sends them back to, such as https://longhaul.example.com")
	}
	u, err := url.Parse(s.PublicURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return fmt.Errorf("LONGHAUL_PUBLIC_URL %q: write it like https://longhaul.example.com; http is for loopback only", s.PublicURL)
	}
	return nil
}

// validateLocalURL wants an address whose host can be compared with what requests name.
func (s *serveSettings) validateLocalURL() error {
	if s.PublicURL == "" {
		return nil
	}
	u, err := url.Parse(s.PublicURL)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("LONGHAUL_PUBLIC_URL %q: write it like https://longhaul.example.com", s.PublicURL)
	}
	return nil
}

// hosts are what requests may name, besides loopback, where this server's address comes from them: a
// page of a stranger could otherwise point its own name here. nil: any, where LONGHAUL_PUBLIC_URL
// says the address, or something in front is to keep strangers out.
func (s *serveSettings) hosts() []string {
	if s.local() && s.AllowRemote && s.PublicURL == "" || !s.local() && s.PublicURL != "" {
		return nil
	}
	names := []string{}
	if host, _, err := net.SplitHostPort(s.Addr); err == nil && host != "" && !unspecified(host) {
		names = append(names, strings.ToLower(host))
	}
	if u, err := url.Parse(s.PublicURL); err == nil && u.Hostname() != "" {
		names = append(names, strings.ToLower(u.Hostname()))
	}
	return names
}

// unspecified reports whether a listen address means every address of the machine. As a name it is
// one that browsers take for loopback.
func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}

// validateEdges reports everything that is wrong with the settings of what strangers meet first.
func (s *accessSettings) validateEdges() error {
	var problems []error
	for _, origin := range s.CORSOrigins {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || origin != strings.ToLower(u.Scheme+"://"+u.Host) || strings.ContainsAny(u.Host, "*@") ||
			u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
			problems = append(problems, fmt.Errorf("LONGHAUL_CORS_ORIGINS %q: write each origin as browsers do, like https://finance.example.com, "+
				"in lower case and without a path; http is for loopback only, and there is no wildcard", origin))
		}
	}
	if _, err := s.proxies(); err != nil {
		problems = append(problems, err)
	}
	for name, value := range map[string]int{
		"LONGHAUL_RATE_LIMIT": s.RateLimit, "LONGHAUL_ADDRESS_RATE_LIMIT": s.AddressRateLimit, "LONGHAUL_MAX_WAITING": s.MaxWaiting,
	} {
		if value < 0 {
			problems = append(problems, fmt.Errorf("%s must not be less than 0", name))
		}
	}
	return errors.Join(problems...)
}

// proxies are the networks of the proxies in front.
func (s *accessSettings) proxies() ([]netip.Prefix, error) {
	var found []netip.Prefix
	for _, text := range s.TrustedProxies {
		network, err := netip.ParsePrefix(text)
		if address, single := netip.ParseAddr(text); single == nil && address.Zone() == "" {
			network, err = address.Unmap().Prefix(address.Unmap().BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("LONGHAUL_TRUSTED_PROXIES %q: write an address or a network, like 10.1.2.3 or 10.0.0.0/8", text)
		}
		found = append(found, network.Masked())
	}
	return found, nil
}

// provider is who signs people in; nil in local mode.
func (s *accessSettings) provider(logger *slog.Logger) (*sso.Provider, error) {
	if s.local() {
		return nil, nil //nolint:nilnil // local mode has none
	}
	p, err := sso.New(sso.Config{
		Issuer: s.OIDCIssuer, ExpectedIssuer: s.OIDCExpectedIssuer, ClientID: s.OIDCClientID, ClientSecret: string(s.OIDCClientSecret),
		Audience: s.OIDCAudience, Scopes: s.OIDCScopes, LoginClaim: s.OIDCLoginClaim, GroupsClaim: s.OIDCGroupsClaim,
		AllowedDomains: s.AllowedDomains, AllowedGroups: s.AllowedGroups, Logger: logger.With("part", "sign-in"),
	})
	if err != nil {
		return nil, fmt.Errorf("the LONGHAUL_OIDC_… settings: %w", err)
	}
	return p, nil
}

// adminToken is what signs in to local mode, made at the first start; where a provider signs people
// in there is none.
func (s *accessSettings) adminToken(dir string) (string, error) {
	if !s.local() {
		return "", nil
	}
	token, err := storage.ReadOrMakeSecret(filepath.Join(dir, "admin-token"), "lh_")
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	return token, nil
}

// applyTo fills in what the server must know of who may come in.
func (s *serveSettings) applyTo(config *api.Config) (err error) {
	if config.Provider, err = s.provider(config.Logger); err != nil {
		return err
	}
	if config.Proxies, err = s.proxies(); err != nil {
		return err
	}
	config.Hosts, config.Issuer = s.hosts(), strings.TrimRight(s.OIDCIssuer, "/")
	config.AdminGroups = s.AdminGroups
	for _, login := range s.Admins {
		config.Admins = append(config.Admins, strings.ToLower(strings.TrimSpace(login)))
	}
	config.SessionIdle, config.SessionLife, config.TokensFor = s.SessionIdle, s.SessionLife, s.TokensFor
	config.Origins = s.CORSOrigins
	config.CallerRate, config.AddressRate, config.MaxWaiting = s.RateLimit, s.AddressRateLimit, s.MaxWaiting
	return nil
}
