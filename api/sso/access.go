package sso

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// AccessToken checks a bearer token that the provider made for [Config.Audience],
// and tells whose it is and when it expires. It must be a signed JWT with the mark
// of an access token and a person behind it; one of a program alone is refused.
//
// The signature is checked here. What the token leaves open (groups, login, e-mail)
// is asked of userinfo, one request for each call: keep the answer for a while,
// by a hash of the token, not longer than it is valid.
//
// Errors are a [*Refusal] or [ErrUnavailable].
func (p *Provider) AccessToken(ctx context.Context, raw string) (*Person, time.Time, error) {
	if p.config.Audience == "" {
		return nil, time.Time{}, refuse(CodeInvalidToken, "This server does not take access tokens of the sign-in provider. Use an API token.", nil)
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	token, c, err := p.verify(ctx, m, trial{
		keys: m.sentKeys, audience: p.config.Audience,
		distrust: "The access token is not one that this server takes. Check that it is of the right provider and asked for with the right audience.",
		clock:    "The access token has expired, or is not valid yet. Get a new one.",
	}, raw)
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := isAccessToken(tokenType(raw), c); err != nil {
		return nil, time.Time{}, refuse(CodeInvalidToken, "This is not an access token. Send the access token, not the ID token.", err)
	}
	if isProgram(c) {
		return nil, time.Time{}, refuse(CodeInvalidToken, "The access token is of a program, with no person behind it. Use an API token for programs.",
			errors.New("the token has no user"))
	}
	info, err := p.userinfo(ctx, m, raw, c)
	if err != nil {
		return nil, time.Time{}, err
	}
	who := p.person(m, c, info)
	return who, token.Expiry, p.allowed(who)
}

// isAccessToken wants a mark that a token is for calling with, and none that it is
// not: an ID token has the same issuer, keys and person, and where the audience is a
// client, even the same audience. The marks are those of RFC 9068 (typ, client_id,
// scope), Oracle (tok_type), Keycloak (a claim typ), Cognito (token_use), Entra ID
// (scp) and Okta (cid).
func isAccessToken(header string, c claims) error {
	if !slices.Contains([]string{"", "jwt", "at+jwt"}, header) {
		return fmt.Errorf("the token's type is %q", header)
	}
	for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash", "events"} {
		if c.has(name) {
			return fmt.Errorf("the token has the claim %s", name)
		}
	}
	marked := header == "at+jwt"
	for name, value := range map[string]string{"tok_type": "AT", "typ": "Bearer", "token_use": "access"} {
		switch got := c.text(name); got {
		case "":
		case value:
			marked = true
		default:
			return fmt.Errorf("the token's %s is %q", name, got)
		}
	}
	if marked || c.has("scope") || c.has("scp") || c.has("client_id") || c.has("cid") {
		return nil
	}
	return errors.New("the token has no mark of an access token")
}

// isProgram reports whether a client got the token for itself. Its subject is then
// the client (RFC 9068, section 2.2), or the provider marks it.
func isProgram(c claims) bool {
	sub := c.text(claimSubject)
	switch {
	case sub == "":
		return true
	case c.text("idtyp") == "app", c.text("gty") == "client-credentials", c.text("sub_type") == "client":
		return true // Entra ID, Auth0, Oracle
	case c.first("user_id", claimEmail, "preferred_username", "name") != "":
		return false
	}
	return slices.Contains([]string{c.text("client_id"), c.text("azp"), c.text("cid"), c.text("appid")}, sub)
}
