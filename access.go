package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
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
}

// local reports whether this is local mode: no provider signs people in.
func (s *accessSettings) local() bool { return s.OIDCIssuer == "" }

// validateAccess reports everything that is wrong with the settings at once.
func (s *serveSettings) validateAccess() error {
	if s.local() {
		if s.OIDCClientID != "" || s.OIDCClientSecret != "" {
			return errors.New("LONGHAUL_OIDC_CLIENT_ID is set and LONGHAUL_OIDC_ISSUER is not: give the provider's address too")
		}
		return nil
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
func (s *accessSettings) applyTo(config *api.Config, provider *sso.Provider) {
	config.Provider, config.Issuer = provider, s.OIDCIssuer
	config.AdminGroups = s.AdminGroups
	for _, login := range s.Admins {
		config.Admins = append(config.Admins, strings.ToLower(strings.TrimSpace(login)))
	}
	config.SessionIdle, config.SessionLife, config.TokensFor = s.SessionIdle, s.SessionLife, s.TokensFor
}
