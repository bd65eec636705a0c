package sso

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// documentAge is how old the provider's document may be before it is read again.
	documentAge = time.Hour
	// failurePause is how long a provider that did not answer is left alone.
	failurePause = 5 * time.Second
)

// document is the part of the discovery document that is used (OpenID Connect
// Discovery 1.0, section 3; RP-Initiated Logout 1.0; RFC 9207).
type document struct {
	oidc.ProviderConfig

	EndSessionURL string   `json:"end_session_endpoint"`
	Scopes        []string `json:"scopes_supported"`
	TokenAuth     []string `json:"token_endpoint_auth_methods_supported"`
	// NamesIssuer: the redirect back carries the issuer.
	NamesIssuer bool `json:"authorization_response_iss_parameter_supported"`
}

// metadata is what is known of the provider.
type metadata struct {
	document

	issuer     string // what tokens must name
	algorithms []string
	authStyle  oauth2.AuthStyle
	scopes     []string
	userinfo   *oidc.Provider

	// Keys of the ID tokens that the provider hands over itself, and of tokens that
	// anybody may send; they differ in how often they may be read again.
	ownKeys, sentKeys oidc.KeySet
}

// metadata returns what is known of the provider, asking it when that is nothing or
// too old. One asks at a time; the others wait for its answer.
func (p *Provider) metadata(ctx context.Context) (*metadata, error) {
	if m, err := p.remembered(); m != nil || err != nil {
		return m, err
	}
	answer := p.discovery.DoChan("", func() (any, error) {
		if m, err := p.remembered(); m != nil || err != nil {
			return m, err // it came while this call was on its way
		}
		return p.discover(context.WithoutCancel(ctx)) // the others wait for it too
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-answer:
		m, _ := a.Val.(*metadata)
		return m, a.Err
	}
}

// remembered returns neither when the provider is to be asked.
func (p *Provider) remembered() (*metadata, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.config.Now()
	if p.known != nil && within(now, p.readAt, documentAge) {
		return p.known, nil
	}
	if p.failure == nil || !within(now, p.failedAt, failurePause) {
		return nil, nil
	}
	if p.known != nil {
		return p.known, nil
	}
	return nil, p.failure
}

// within reports whether now is less than d after then. A clock that was set back
// counts as one that moved on.
func within(now, then time.Time, d time.Duration) bool {
	age := now.Sub(then)
	return age >= 0 && age < d
}

func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	m, err := p.readMetadata(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.config.Now()
	if p.failure = err; err != nil {
		p.failedAt = now
		if p.known == nil {
			return nil, err
		}
		p.log.WarnContext(ctx, "OpenID discovery: the old document is used on", slog.Any("error", err))
		return p.known, nil
	}
	if p.known != nil && p.known.JWKSURL == m.JWKSURL {
		m.ownKeys, m.sentKeys = p.known.ownKeys, p.known.sentKeys
	}
	p.known, p.readAt = m, now
	return m, nil
}

func (p *Provider) readMetadata(ctx context.Context) (*metadata, error) {
	doc, err := p.readDocument(ctx)
	if err != nil {
		return nil, err
	}
	m := &metadata{document: *doc, algorithms: algorithms(doc.Algorithms), scopes: p.scopes(doc)}
	if m.issuer, err = p.expectedIssuer(doc.IssuerURL); err != nil {
		return nil, refuse(CodeSetup, "Nobody can sign in: the sign-in provider's address in the settings is not the one it has itself. "+
			"Ask the administrator to correct it.", err)
	}
	if err := p.resolveEndpoints(m); err != nil {
		return nil, refuse(CodeSetup, "Nobody can sign in: the sign-in provider describes itself in a way that cannot be trusted. "+
			"Ask the administrator to check its address.", err)
	}
	m.authStyle = p.authStyle(doc.TokenAuth)
	m.userinfo = m.NewProvider(p.withClient(ctx))
	m.ownKeys = p.newKeySet(ctx, m.JWKSURL, ownKeysEvery)
	m.sentKeys = p.newKeySet(ctx, m.JWKSURL, sentKeysEvery)
	return m, nil
}

func (p *Provider) readDocument(ctx context.Context) (*document, error) {
	const op = "read the provider's discovery document"
	address := p.base.JoinPath("/.well-known/openid-configuration").String()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	resp, err := p.client.Do(req)
	if status, ok := errors.AsType[*statusError](err); ok && !status.temporary() {
		return nil, refuse(CodeSetup, "Nobody can sign in: there is no OpenID provider at the address in the settings. "+
			"Ask the administrator to correct it.", err)
	}
	if err != nil {
		return nil, unavailable(ctx, op, err)
	}
	defer func() { _ = resp.Body.Close() }() // its reads told all there is
	var doc document
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		return nil, unavailable(ctx, op, err) // as in a maintenance, which answers with a page
	}
	return &doc, nil
}

// expectedIssuer is what tokens must name, given what the document says.
func (p *Provider) expectedIssuer(said string) (string, error) {
	if p.config.ExpectedIssuer != "" {
		return p.config.ExpectedIssuer, nil
	}
	if said == OracleIssuer && identityDomain(p.base.Hostname()) {
		return said, nil
	}
	u, err := url.Parse(said)
	if err == nil && sameHost(u, p.base) && u.RawQuery == "" && strings.TrimRight(u.Path, "/")+"/" == p.base.Path {
		return said, nil
	}
	return "", fmt.Errorf("the document at %s names the issuer %q; if that is right, set it as the expected issuer", p.base, said)
}

// resolveEndpoints makes the addresses absolute (an older document of Oracle's has
// relative ones) and checks them.
func (p *Provider) resolveEndpoints(m *metadata) error {
	for _, e := range []struct {
		name     string
		address  *string
		required bool
	}{
		{"authorization_endpoint", &m.AuthURL, true},
		{"token_endpoint", &m.TokenURL, true},
		{"jwks_uri", &m.JWKSURL, true},
		{"userinfo_endpoint", &m.UserInfoURL, false},
		{"end_session_endpoint", &m.EndSessionURL, false},
	} {
		if *e.address == "" {
			if e.required {
				return fmt.Errorf("the document has no %s", e.name)
			}
			continue
		}
		u, err := p.base.Parse(*e.address)
		if err != nil || u.Hostname() == "" {
			return fmt.Errorf("the %s is not an address", e.name)
		}
		if u.Scheme != "https" && (u.Scheme != "http" || p.base.Scheme != "http" || !loopback(u.Hostname())) {
			return fmt.Errorf("the %s %s is not https", e.name, u.Redacted())
		}
		if e.address == &m.JWKSURL && p.oracle(m.issuer) && !sameHost(u, p.base) {
			return fmt.Errorf("the jwks_uri is at %s, not at our identity domain", u.Host)
		}
		*e.address = u.String()
	}
	return nil
}

// algorithms are those offered that need no shared secret; the standard's own where
// there are none.
func algorithms(offered []string) []string {
	asymmetric := []string{
		oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512,
		oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
	}
	taken := slices.DeleteFunc(slices.Clone(offered), func(a string) bool { return !slices.Contains(asymmetric, a) })
	if len(taken) == 0 {
		return []string{oidc.RS256}
	}
	return taken
}

func (p *Provider) scopes(doc *document) []string {
	if len(p.config.Scopes) > 0 {
		return p.config.Scopes
	}
	scopes := []string{"openid", "profile", "email"}
	for _, groups := range []string{"groups", "get_groups"} {
		if slices.Contains(doc.Scopes, groups) {
			scopes = append(scopes, groups)
		}
	}
	return scopes
}

// authStyle is how this server shows its secret. The library would find out by
// trying, which uses up the code. HTTP Basic is the standard's default.
func (p *Provider) authStyle(methods []string) oauth2.AuthStyle {
	basic := len(methods) == 0 || slices.Contains(methods, "client_secret_basic")
	if p.config.ClientSecret != "" && basic {
		return oauth2.AuthStyleInHeader
	}
	return oauth2.AuthStyleInParams
}
