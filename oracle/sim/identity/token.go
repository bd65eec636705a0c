package identity

import (
	"net/http"
	"net/url"
)

// grantHandler finds what a grant entitles a client to, or refuses it.
type grantHandler func(d *Domain, cfg Config, app App, form url.Values) (issue, *oauthError)

func grantHandlers(grant string) (grantHandler, bool) {
	handler, known := map[string]grantHandler{
		GrantClientCredentials: (*Domain).grantClientCredentials,
		GrantAuthorizationCode: (*Domain).grantAuthorizationCode,
		GrantRefreshToken:      (*Domain).grantRefreshToken,
		GrantPassword:          (*Domain).grantPassword,
		GrantJWTBearer:         (*Domain).grantAssertion,
		GrantDeviceCode:        (*Domain).grantDevice,
	}[grant]
	return handler, known
}

// token is POST /oauth2/v1/token.
func (d *Domain) token(w http.ResponseWriter, r *http.Request) {
	app, refusal := d.clientRequest(w, r)
	if refusal != nil {
		writeError(w, refusal)
		return
	}
	cfg := d.config()
	grant := r.PostForm.Get("grant_type")
	entryOf(r).Grant = grant
	handler, known := grantHandlers(grant)
	switch {
	case !known:
		writeError(w, refuse("unsupported_grant_type", "The grant type is unknown: "+grant))
		return
	case !app.allows(grant):
		writeError(w, refuse("unauthorized_client", "The client is not allowed the grant type "+grant))
		return
	}
	i, refusal := handler(d, cfg, app, r.PostForm)
	if refusal != nil {
		writeError(w, refusal)
		return
	}
	i.app = app
	if i.user != nil {
		entryOf(r).User = i.user.Name
	}
	writeSecret(w, d.issue(cfg, i))
}

func (d *Domain) grantClientCredentials(cfg Config, app App, form url.Values) (issue, *oauthError) {
	if app.public() {
		return issue{}, refuse("unauthorized_client", "A public client has no credentials.")
	}
	s, refusal := cfg.readScope(app, form.Get("scope"))
	return issue{scopes: s}, refusal
}

func (d *Domain) grantAuthorizationCode(cfg Config, app App, form url.Values) (issue, *oauthError) {
	name := form.Get("code")
	found, ok := d.codes.take(name, cfg.Now())
	if !ok {
		// A code that comes twice was seen by somebody else, so that what
		// came of it is taken back.
		if c, used := d.spent.get(name, cfg.Now()); used {
			d.refreshes.revoke(c)
		}
		return issue{}, refuse("invalid_grant", "The authorization code is invalid, expired or already used.")
	}
	user, known := cfg.userByID(found.userID)
	switch {
	case !known:
		return issue{}, refuse("invalid_grant", "The user is gone.")
	case found.clientID != app.ID:
		return issue{}, refuse("invalid_grant", "The authorization code was issued to another client.")
	case found.redirect != form.Get("redirect_uri"):
		return issue{}, refuse("invalid_grant", "The redirect_uri is not that of the authorization request.")
	case !proves(form.Get("code_verifier"), found.challenge):
		return issue{}, refuse("invalid_grant", "The code_verifier does not match the code_challenge.")
	}
	return issue{user: &user, scopes: found.scopes, nonce: found.nonce, session: &found.session, code: name}, nil
}

func (d *Domain) grantRefreshToken(cfg Config, app App, form url.Values) (issue, *oauthError) {
	token := form.Get("refresh_token")
	c := d.refreshes.chainOf(token)
	if c == nil || c.clientID != app.ID {
		return issue{}, refuse("invalid_grant", "The refresh token is invalid.")
	}
	asked := form.Get("scope")
	if asked == "" {
		asked = c.scope
	}
	s, refusal := cfg.readScope(app, asked)
	if refusal != nil {
		return issue{}, refusal
	}
	if !s.within(c.scope) {
		return issue{}, refuse("invalid_scope", "The scope was not granted at first.")
	}
	user, known := cfg.userByID(c.userID)
	if !known {
		return issue{}, refuse("invalid_grant", "The user is gone.")
	}
	if refusal := d.refreshes.spend(token, cfg.Now()); refusal != nil {
		return issue{}, refusal
	}
	// A new refresh token comes back even when only less was asked for.
	if !s.has(scopeOffline) {
		s.names = append(s.names, scopeOffline)
	}
	return issue{user: &user, scopes: s, chain: c, session: c.session}, nil
}

func (d *Domain) grantPassword(cfg Config, app App, form url.Values) (issue, *oauthError) {
	user, ok := cfg.signIn(form.Get("username"), form.Get("password"))
	if !ok {
		return issue{}, refuse("invalid_grant", "You entered an incorrect user name or password.")
	}
	s, refusal := cfg.readScope(app, form.Get("scope"))
	return issue{user: &user, scopes: s}, refusal
}

func (d *Domain) grantAssertion(cfg Config, app App, form url.Values) (issue, *oauthError) {
	if app.public() {
		return issue{}, refuse("unauthorized_client", "A public client cannot use an assertion.")
	}
	name, err := d.checkAssertion(cfg, app, form.Get("assertion"))
	if err != nil {
		return issue{}, refuse("invalid_grant", "The assertion is invalid: "+err.Error())
	}
	user, ok := cfg.userByName(name)
	if !ok {
		return issue{}, refuse("invalid_grant", "The assertion is invalid: the subject is not a user of the domain")
	}
	s, refusal := cfg.readScope(app, form.Get("scope"))
	return issue{user: &user, scopes: s}, refusal
}

func (d *Domain) grantDevice(cfg Config, app App, form url.Values) (issue, *oauthError) {
	found, refusal := d.devices.poll(form.Get("device_code"), app.ID, cfg.Now())
	if refusal != nil {
		return issue{}, refusal
	}
	user, known := cfg.userByID(found.userID)
	if !known {
		return issue{}, refuse("invalid_grant", "The user is gone.")
	}
	return issue{user: &user, scopes: found.scopes}, nil
}
