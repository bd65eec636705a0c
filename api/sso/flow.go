package sso

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// flowLife is how long a person may take at the provider: second factors and
// forgotten passwords take a while.
const flowLife = time.Hour

// Flow is a sign-in that was begun, for [Provider.Finish]. It is kept in the browser
// that began it, sealed so that nobody reads or changes it, and used once.
type Flow struct {
	State       string    `json:"state"`
	Nonce       string    `json:"nonce"`
	Verifier    string    `json:"verifier"` // of PKCE; a secret
	RedirectURL string    `json:"redirect_url"`
	BegunAt     time.Time `json:"begun_at"`
}

// Begin starts a sign-in. It returns the address to send the browser to, and what
// must be kept in that browser until it comes back to redirectURL, which must be
// registered at the provider. Errors are a [*Refusal] or [ErrUnavailable].
func (p *Provider) Begin(ctx context.Context, redirectURL string) (address string, flow *Flow, err error) {
	m, err := p.metadata(ctx)
	if err != nil {
		return "", nil, err
	}
	flow = &Flow{
		State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		RedirectURL: redirectURL, BegunAt: p.config.Now().UTC(),
	}
	address = p.oauth(m, redirectURL).AuthCodeURL(flow.State, oidc.Nonce(flow.Nonce), oauth2.S256ChallengeOption(flow.Verifier))
	return address, flow, nil
}

func (p *Provider) oauth(m *metadata, redirectURL string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.config.ClientID, ClientSecret: p.config.ClientSecret,
		Endpoint:    oauth2.Endpoint{AuthURL: m.AuthURL, TokenURL: m.TokenURL, AuthStyle: m.authStyle},
		RedirectURL: redirectURL,
		Scopes:      m.scopes,
	}
}

// Finish takes a person back from the provider: query is what the browser brought to
// the redirect address, flow what [Provider.Begin] gave to that browser, nil when it
// brought none. Errors are a [*Refusal] or [ErrUnavailable].
func (p *Provider) Finish(ctx context.Context, flow *Flow, query url.Values) (*Person, error) {
	if err := p.checkFlow(flow, query); err != nil {
		return nil, err
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return nil, err
	}
	if iss := query.Get("iss"); iss != m.issuer && (iss != "" || m.NamesIssuer) {
		return nil, refuse(CodeStartAgain, "The answer came from another sign-in provider. "+startAgain, fmt.Errorf("the redirect's iss is %q", iss))
	}
	if code := query.Get("error"); code != "" {
		return nil, providerError(code, query.Get("error_description"))
	}
	token, raw, err := p.exchange(ctx, m, flow, query.Get("code"))
	if err != nil {
		return nil, err
	}
	c, err := p.idToken(ctx, m, flow, token, raw)
	if err != nil {
		return nil, err
	}
	info, err := p.userinfo(ctx, m, token.AccessToken, c)
	if err != nil {
		return nil, err
	}
	who := p.person(m, c, info)
	who.IDToken = raw
	if err := p.allowed(who); err != nil {
		return nil, err
	}
	return who, nil
}

const startAgain = "Start the sign-in again, and finish it in the same browser."

func (p *Provider) checkFlow(flow *Flow, query url.Values) error {
	if flow == nil || flow.State == "" || flow.Nonce == "" || flow.Verifier == "" {
		return refuse(CodeStartAgain, "This browser has not begun a sign-in, or has finished it. "+startAgain, errors.New("no flow"))
	}
	if subtle.ConstantTimeCompare([]byte(flow.State), []byte(query.Get("state"))) != 1 {
		return refuse(CodeStartAgain, "This is the answer to another sign-in. "+startAgain, errors.New("the state differs"))
	}
	if !within(p.config.Now().Add(Leeway), flow.BegunAt, flowLife) {
		return refuse(CodeStartAgain, "The sign-in took too long. "+startAgain, errors.New("the flow is too old"))
	}
	return nil
}

// exchange gets the tokens for the code.
func (p *Provider) exchange(ctx context.Context, m *metadata, flow *Flow, code string) (token *oauth2.Token, idToken string, err error) {
	if code == "" {
		return nil, "", refuse(CodeStartAgain, "The sign-in provider's answer is not complete. "+startAgain, errors.New("no code in the redirect"))
	}
	token, err = p.oauth(m, flow.RedirectURL).Exchange(p.withClient(ctx), code, oauth2.VerifierOption(flow.Verifier))
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return nil, "", exchangeRefused(refused)
	}
	if err != nil {
		return nil, "", unavailable(ctx, "exchange the code", brief(err))
	}
	idToken, _ = token.Extra("id_token").(string)
	if idToken == "" {
		return nil, "", refuse(CodeSetup, "The sign-in provider tells nobody's identity. "+
			"Ask the administrator to allow the scope openid for this server there.", errors.New("no id_token in the answer to the code"))
	}
	return token, idToken, nil
}

// exchangeRefused says what a refused code means (RFC 6749, section 5.2).
func exchangeRefused(refused *oauth2.RetrieveError) error {
	cause := reported(refused.ErrorCode, refused.ErrorDescription)
	switch refused.ErrorCode {
	case "invalid_grant":
		return refuse(CodeStartAgain, "This sign-in was used already, or is too old. "+startAgain, cause)
	case "invalid_client", "unauthorized_client":
		return refuse(CodeSetup, "The sign-in provider does not accept this server's client ID or secret. "+
			"Ask the administrator to compare them with the provider's.", cause)
	default:
		return refuse(CodeProvider, "The sign-in provider refused to finish the sign-in. "+startAgain+" If it fails again, tell the administrator.", cause)
	}
}

// idToken checks the ID token that came for the code.
func (p *Provider) idToken(ctx context.Context, m *metadata, flow *Flow, token *oauth2.Token, raw string) (claims, error) {
	t := trial{
		keys: m.ownKeys, audience: p.config.ClientID,
		distrust: "The sign-in provider's answer cannot be trusted, so you are not signed in. Try again; if it fails again, tell the administrator.",
		clock:    "The sign-in provider's answer is out of date. Its clock or this server's is wrong: tell the administrator.",
	}
	id, c, err := p.verify(ctx, m, t, raw)
	if err != nil {
		return nil, err
	}
	var wrong error
	switch {
	case c.text(claimSubject) == "":
		wrong = errors.New("the ID token names nobody")
	case c.has("azp") && c.text("azp") != p.config.ClientID:
		wrong = fmt.Errorf("the ID token was made for the client %q", c.text("azp"))
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(flow.Nonce)) != 1:
		wrong = errors.New("the ID token has another nonce")
	case id.AccessTokenHash != "":
		wrong = id.VerifyAccessToken(token.AccessToken)
	}
	if wrong != nil {
		return nil, refuse(CodeInvalidToken, t.distrust, wrong)
	}
	return c, nil
}

// providerError says what an error in the redirect means (RFC 6749, section 4.1.2.1;
// OpenID Connect Core, section 3.1.2.6).
func providerError(code, description string) error {
	cause := reported(code, description)
	switch code {
	case "access_denied":
		return refuse(CodeDenied, "The sign-in provider did not let you in: the sign-in was cancelled, or your account may not use this server. "+
			"Try again, or ask the administrator to give your account access at the provider.", cause)
	case "login_required", "interaction_required", "account_selection_required", "consent_required":
		return refuse(CodeStartAgain, "The sign-in provider needs you to sign in there, and to agree. "+startAgain, cause)
	case "server_error", "temporarily_unavailable":
		return refuse(CodeProvider, "The sign-in provider has trouble of its own. Try again in a few minutes.", cause)
	case "invalid_request", "invalid_scope", "unauthorized_client", "unsupported_response_type", "invalid_client":
		return refuse(CodeSetup, "The sign-in provider does not accept how this server asks. "+
			"Ask the administrator to compare client ID, redirect address and scopes with the provider's.", cause)
	default:
		return refuse(CodeProvider, "The sign-in provider reports an error. Try again; if it fails again, tell the administrator.", cause)
	}
}

// reported quotes the provider for the log.
func reported(code, description string) error {
	return brief(fmt.Errorf("the provider reports %q: %q", code, description))
}
