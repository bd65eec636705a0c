package sso

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// maxToken is the most that a token may have. Oracle identity domains can be set to
// make tokens of up to 128,000 characters.
const maxToken = 256 << 10

// trial is how one kind of token is checked, and what is said when it fails.
type trial struct {
	keys     oidc.KeySet
	audience string
	distrust string // the message for a token that is not to be trusted
	clock    string // the message for one that is too old, or not valid yet
}

// verify checks what all tokens have in common.
func (p *Provider) verify(ctx context.Context, m *metadata, t trial, raw string) (*oidc.IDToken, claims, error) {
	if err := checkForm(raw); err != nil {
		return nil, nil, refuse(CodeInvalidToken, t.distrust, err)
	}
	heard := &hearing{KeySet: t.keys}
	token, err := p.verifier(m, heard, t.audience).Verify(ctx, raw)
	if err != nil {
		return nil, nil, p.distrust(ctx, t, heard.err, err)
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		return nil, nil, refuse(CodeInvalidToken, t.distrust, err)
	}
	if err := p.check(c); err != nil {
		return nil, nil, refuse(CodeInvalidToken, t.distrust, err)
	}
	if err := p.checkTimes(c); err != nil {
		return nil, nil, refuse(CodeInvalidToken, t.clock, err)
	}
	return token, c, nil
}

var compact = regexp.MustCompile(`^[\w-]+\.[\w-]+\.[\w-]+$`)

// checkForm takes the compact form alone. The library also reads signatures in JSON,
// in which no token comes and a header could hide.
func checkForm(raw string) error {
	if len(raw) > maxToken {
		return errors.New("the token is too long")
	}
	if !compact.MatchString(raw) {
		return errors.New("the token is not a signed JWT")
	}
	return nil
}

// verifier is the library's. It knows no leeway for the expiry: its clock is set
// back.
func (p *Provider) verifier(m *metadata, keys oidc.KeySet, audience string) *oidc.IDTokenVerifier {
	return oidc.NewVerifier(m.issuer, keys, &oidc.Config{
		ClientID:             audience,
		SupportedSigningAlgs: m.algorithms,
		Now:                  func() time.Time { return p.config.Now().Add(-Leeway) },
	})
}

// hearing remembers the key set's own error, of which the library makes text.
type hearing struct {
	oidc.KeySet

	err error
}

// VerifySignature asks the key set.
func (h *hearing) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := h.KeySet.VerifySignature(ctx, jwt)
	h.err = err
	return payload, err
}

// distrust says why a token was not verified: its own fault, or the fault of the
// keys.
func (p *Provider) distrust(ctx context.Context, t trial, keys, cause error) error {
	// The key set wraps only what happened while it read keys.
	if reading := errors.Unwrap(keys); reading != nil {
		return p.keysFailed(ctx, reading)
	}
	if _, expired := errors.AsType[*oidc.TokenExpiredError](cause); expired {
		return refuse(CodeInvalidToken, t.clock, cause)
	}
	return refuse(CodeInvalidToken, t.distrust, brief(cause))
}

func (p *Provider) keysFailed(ctx context.Context, cause error) error {
	status, answered := errors.AsType[*statusError](cause)
	switch {
	case !answered || status.temporary():
		return unavailable(ctx, "read the provider's keys", brief(cause))
	case status.status == http.StatusUnauthorized && (p.config.ExpectedIssuer == OracleIssuer || identityDomain(p.base.Hostname())):
		return refuse(CodeSetup, keysHidden, status)
	default:
		return refuse(CodeSetup, "The sign-in provider does not show its signing keys, so nobody can sign in. "+
			"Ask the administrator to check the provider's settings.", status)
	}
}

// brief cuts texts of the library that quote what the provider answered.
func brief(err error) error {
	const most = 300
	if text := err.Error(); len(text) > most {
		return errors.New(strings.ToValidUTF8(text[:most], "") + "…")
	}
	return err
}

// check is what the library leaves open and all tokens share.
func (p *Provider) check(c claims) error {
	if c.text(claimSubject) == "" && c.text("sid") == "" {
		return errors.New("the token names nobody")
	}
	return checkTenant(tenant(p.base), c)
}

// checkTimes holds "not before" and "issued at" against the clock.
func (p *Provider) checkTimes(c claims) error {
	latest := p.config.Now().Add(Leeway)
	for _, name := range []string{"nbf", "iat"} {
		if at, ok := c.at(name); ok && at.After(latest) {
			return fmt.Errorf("the token's %s is %s, %s ahead of this server's clock",
				name, at.UTC().Format(time.RFC3339), at.Sub(p.config.Now()).Round(time.Second))
		}
	}
	return nil
}

// tokenType is the type in a token's header, in lower case and without the prefix
// that may be left out (RFC 7515, section 4.1.9).
func tokenType(raw string) string {
	first, _, _ := strings.Cut(raw, ".")
	header, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return ""
	}
	var c claims
	if json.Unmarshal(header, &c) != nil {
		return ""
	}
	return strings.TrimPrefix(strings.ToLower(c.text("typ")), "application/")
}

// missing reports whether a token leaves open what userinfo may tell.
func (p *Provider) missing(c claims) bool {
	return !c.has(p.config.GroupsClaim) || !c.has(p.config.LoginClaim) || !c.has(claimEmail)
}

// userinfo asks the provider for what a token leaves open. A provider that refuses
// (as many do for access tokens that are for another audience) has told nothing.
func (p *Provider) userinfo(ctx context.Context, m *metadata, accessToken string, token claims) (claims, error) {
	if m.UserInfoURL == "" || accessToken == "" || !p.missing(token) {
		return nil, nil
	}
	info, err := m.userinfo.UserInfo(p.withClient(ctx), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: accessToken}))
	if err != nil {
		return nil, p.userinfoFailed(ctx, err)
	}
	if info.Subject != token.text(claimSubject) {
		return nil, refuse(CodeInvalidToken, "The sign-in provider told of somebody else, so you are not signed in. Tell the administrator.",
			errors.New("userinfo has another sub than the token"))
	}
	var c claims
	return c, info.Claims(&c)
}

func (p *Provider) userinfoFailed(ctx context.Context, err error) error {
	status, answered := errors.AsType[*statusError](err)
	_, sending := errors.AsType[net.Error](err)
	if answered && status.temporary() || !answered && sending || ctx.Err() != nil {
		return unavailable(ctx, "read userinfo", err)
	}
	p.log.WarnContext(ctx, "OpenID userinfo: no usable answer", slog.Any("error", brief(err)))
	return nil
}
