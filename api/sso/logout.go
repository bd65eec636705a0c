package sso

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// logoutAge is the oldest a logout token may be: they are sent at once. The standard
// recommends two minutes of life.
const logoutAge = 5 * time.Minute

// LogoutURL is where to send a browser to sign out at the provider too, with the ID
// token of the session that ends here (empty when there is none), and the registered
// address to come back to. It is empty when the provider offers none, or does not
// answer. At most providers it ends the session for all applications.
func (p *Provider) LogoutURL(ctx context.Context, idToken, postLogoutRedirect string) string {
	m, err := p.metadata(ctx)
	if err != nil || m.EndSessionURL == "" {
		return ""
	}
	u, err := url.Parse(m.EndSessionURL)
	if err != nil {
		return ""
	}
	query := u.Query()
	query.Set("client_id", p.config.ClientID)
	if idToken != "" {
		query.Set("id_token_hint", idToken)
	}
	if postLogoutRedirect != "" {
		query.Set("post_logout_redirect_uri", postLogoutRedirect)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// Logout is the provider's word that a session ended, or all of a person's sessions.
type Logout struct {
	// Issuer and Subject are the person, as in [Person]; Subject may be empty when
	// SID is not.
	Issuer, Subject string
	// SID is the session, as in [Person]; empty: all sessions of the person end.
	SID string
	// ID names this logout. Refuse one that was seen already.
	ID string
	// ExpiresAt is until when ID must be remembered.
	ExpiresAt time.Time
}

// LogoutToken checks a logout token (OpenID Connect Back-Channel Logout 1.0, section
// 2.6) that somebody posted as logout_token. Errors are a [*Refusal] or
// [ErrUnavailable].
func (p *Provider) LogoutToken(ctx context.Context, raw string) (*Logout, error) {
	m, err := p.metadata(ctx)
	if err != nil {
		return nil, err
	}
	t := trial{
		keys: m.sentKeys, audience: p.config.ClientID,
		distrust: "This is not a logout token that this server takes.",
		clock:    "The logout token is too old, or not valid yet.",
	}
	token, err := p.verifyLogout(ctx, m, t, raw)
	if err != nil {
		return nil, err
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		return nil, refuse(CodeInvalidToken, t.distrust, err)
	}
	if err := errors.Join(p.check(c), isLogoutToken(tokenType(raw), c)); err != nil {
		return nil, refuse(CodeInvalidToken, t.distrust, err)
	}
	if err := errors.Join(p.checkTimes(c), p.checkAge(token.IssuedAt)); err != nil {
		return nil, refuse(CodeInvalidToken, t.clock, err)
	}
	last := token.IssuedAt.Add(logoutAge)
	if token.Expiry.Before(last) {
		last = token.Expiry
	}
	return &Logout{
		Issuer: token.Issuer, Subject: p.subject(m, c), SID: token.SessionID,
		ID: token.TokenID, ExpiresAt: last.Add(Leeway),
	}, nil
}

func (p *Provider) verifyLogout(ctx context.Context, m *metadata, t trial, raw string) (*oidc.LogoutToken, error) {
	if err := checkForm(raw); err != nil {
		return nil, refuse(CodeInvalidToken, t.distrust, err)
	}
	heard := &hearing{KeySet: t.keys}
	token, err := p.verifier(m, heard, t.audience).VerifyLogout(ctx, raw)
	if err != nil {
		return nil, p.distrust(ctx, t, heard.err, err)
	}
	return token, nil
}

// isLogoutToken is what the library leaves open: that the type is right where there
// is one, and that the event is an object.
func isLogoutToken(header string, c claims) error {
	if !slices.Contains([]string{"", "jwt", "logout+jwt"}, header) {
		return fmt.Errorf("the token's type is %q", header)
	}
	if event := c.object("events")["http://schemas.openid.net/event/backchannel-logout"]; !strings.HasPrefix(string(event), "{") {
		return errors.New("the logout event is not an object")
	}
	return nil
}

func (p *Provider) checkAge(issued time.Time) error {
	if age := p.config.Now().Sub(issued); age > logoutAge+Leeway {
		return fmt.Errorf("the token was issued %s ago", age.Round(time.Second))
	}
	return nil
}
