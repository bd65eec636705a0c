package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"longhaul/api/web"
	"longhaul/jobs"
	"longhaul/storage"
)

// tokenDays is how long a token lasts that is made on the page, unless something else is chosen.
const tokenDays = "90"

// profilePage handles GET /profile, for people: who they are, and what they hold.
func (s *Server) profilePage(c echo.Context) error {
	return s.showProfile(c, http.StatusOK, &web.Profile{Note: profileNotes[c.QueryParam("done")]})
}

// profileNotes are what the page says was just done, by the word in its address.
var profileNotes = map[string]string{
	"revoked": "The token is revoked. Whatever used it is refused from now on.",
	"ended":   "The browser is signed out.",
	"others":  "All other browsers are signed out.",
}

func (s *Server) showProfile(c echo.Context, status int, p *web.Profile) error {
	ctx := c.Request().Context()
	r := requestOf(ctx)
	p.Login, p.Name, p.Email, p.Groups = r.identity.person.Login, r.identity.person.Name, r.identity.person.Email, r.identity.person.Groups
	p.Rules, p.Provider, p.Now = r.identity.rules(), s.providerHost(), time.Now()
	apps, err := s.scope(ctx).Apps(ctx, storage.View)
	if err != nil {
		return err
	}
	for i := range apps {
		p.Apps = append(p.Apps, accessTo(apps[i].Name, r.identity.rights(apps[i].Name)))
	}
	if p.Form == nil {
		p.Form = &web.TokenForm{Days: tokenDays}
	}
	p.Form.Offered = offeredScopes(r.identity)
	p.Form.Apps = ticks(apps, p.Form.Apps)
	if err := s.loadHeld(ctx, p); err != nil {
		return err
	}
	return s.html(c, status, web.ProfilePage(s.frame(c, "profile"), p))
}

// loadHeld loads the tokens and sessions of who asks.
func (s *Server) loadHeld(ctx context.Context, p *web.Profile) error {
	caller := requestOf(ctx).identity
	tokens, err := s.db.Tokens(ctx, caller.person.ID)
	if err != nil {
		return err
	}
	for i := range tokens {
		p.Tokens = append(p.Tokens, tokenOnPage(&tokens[i]))
	}
	sessions, err := s.db.Sessions(ctx, caller.person.ID)
	if err != nil {
		return err
	}
	for i := range sessions {
		shown := sessionBody(&sessions[i], caller)
		p.Sessions = append(p.Sessions, web.Session{
			ID: shown.ID, Current: shown.Current, UserAgent: shown.UserAgent, Address: shown.Address,
			CreatedAt: shown.CreatedAt, SeenAt: shown.SeenAt,
		})
	}
	return nil
}

// accessTo words the rights on an app as the role that gives them.
func accessTo(app string, rights storage.Rights) web.Access {
	access := web.Access{App: app, Role: "viewer", Data: rights.Has(storage.Data)}
	switch {
	case rights.Has(storage.Manage):
		access.Role = "admin"
	case rights.Has(storage.Operate):
		access.Role = "operator"
	}
	return access
}

func tokenOnPage(t *storage.Token) web.Token {
	return web.Token{
		ID: t.ID.String(), Name: t.Name, Hint: t.Hint, Scopes: t.Scopes.Words(), Apps: t.Apps,
		CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, UsedAt: t.UsedAt, UsedFrom: orEmpty(t.UsedAddress),
	}
}

// offeredScopes are the scopes that do something in the hands of the caller.
func offeredScopes(caller *identity) []string {
	held := storage.View
	for _, right := range []storage.Rights{storage.Operate, storage.Data, storage.Manage} {
		if caller.anywhere(right) {
			held |= right
		}
	}
	if caller.rules() {
		held |= storage.Instance
	}
	return held.Words()
}

// ticks are the apps to choose from, with those ticked that were.
func ticks(apps []storage.App, typed []web.AppTick) []web.AppTick {
	var list []web.AppTick
	for i := range apps {
		was := slices.Contains(typed, web.AppTick{Name: apps[i].Name, Ticked: true})
		list = append(list, web.AppTick{Name: apps[i].Name, Ticked: was})
	}
	return list
}

// createTokenFromPage handles POST /profile/tokens, for people. Its answer is the one page that
// shows the token.
func (s *Server) createTokenFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	form, asked, err := typedToken(c)
	if err != nil {
		return err
	}
	var found []jobs.Field
	if form.OnlySome && len(asked.Apps) == 0 {
		found = []jobs.Field{{Location: "body.apps", Message: "choose at least one"}} // none would mean all
	} else if found, err = s.schemaProblems("NewToken", asked); err != nil {
		return err
	}
	if len(found) == 0 {
		made, secret, err := s.makeToken(ctx, asked)
		var invalid *jobs.Invalid
		switch {
		case err == nil:
			return s.showProfile(c, http.StatusCreated, &web.Profile{Made: &web.MadeToken{Name: made.Name, Secret: secret, Base: s.base(c.Request())}})
		case !errors.As(err, &invalid):
			return err
		}
		found = invalid.Fields
	}
	for _, f := range found {
		form.Errors = append(form.Errors, tokenField(f.Location).says(f.Message))
	}
	return s.showProfile(c, http.StatusUnprocessableEntity, &web.Profile{Form: form})
}

// typedToken is the form as it was sent, and what it asks for.
func typedToken(c echo.Context) (*web.TokenForm, *NewToken, error) {
	sent, err := c.FormParams()
	if err != nil {
		return nil, nil, errBadRequest
	}
	form := &web.TokenForm{
		Name: strings.TrimSpace(sent.Get("name")), Scopes: sent["scopes"], OnlySome: sent.Get("which") == "some", Days: sent.Get("days"),
	}
	asked := &NewToken{Name: form.Name, Scopes: []string{"view"}}
	for _, scope := range form.Scopes {
		if !slices.Contains(asked.Scopes, scope) {
			asked.Scopes = append(asked.Scopes, scope)
		}
	}
	if form.Days != "" {
		asked.Days = numberOr(form.Days, -1)
	}
	for _, app := range sent["apps"] {
		form.Apps = append(form.Apps, web.AppTick{Name: app, Ticked: true})
		if form.OnlySome && !slices.Contains(asked.Apps, app) {
			asked.Apps = append(asked.Apps, app)
		}
	}
	return form, asked, nil
}

// tokenField is the control for a field of a token.
func tokenField(location string) appField {
	switch {
	case location == "body.name":
		return appField{"token-name", "What it is for", ""}
	case strings.HasPrefix(location, "body.apps"):
		return appField{"some-apps", "Apps", ""}
	case location == "body.days":
		return appField{"token-days", "How long", ""}
	}
	return appField{}
}

// askRevokeToken handles GET /profile/tokens/{id}/revoke, for the token's owner.
func (s *Server) askRevokeToken(c echo.Context) error {
	ctx := c.Request().Context()
	id, err := parseID(c.Param("id"))
	if err != nil {
		return err
	}
	token, err := s.db.Token(ctx, requestOf(ctx).caller.Person, id)
	if err != nil {
		return err
	}
	shown := tokenOnPage(&token)
	return s.question(c, "profile", web.AskRevoke(&shown))
}

// revokeTokenFromPage handles POST /profile/tokens/{id}/revoke, for the token's owner.
func (s *Server) revokeTokenFromPage(c echo.Context) error {
	id, err := parseID(c.Param("id"))
	if err != nil {
		return err
	}
	if err := s.dropToken(c.Request().Context(), id); err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/profile?done=revoked")
}

// endSessionFromPage handles POST /profile/sessions/{id}/end, for its owner and instance admins.
func (s *Server) endSessionFromPage(c echo.Context) error {
	id, err := parseID(c.Param("id"))
	if err != nil {
		return err
	}
	if err := s.revokeSession(c.Request().Context(), id); err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/profile?done=ended")
}

// endOtherSessions handles POST /profile/sessions/end-others, for people: it ends all sessions of
// theirs but the one that asks.
func (s *Server) endOtherSessions(c echo.Context) error {
	ctx := c.Request().Context()
	caller := requestOf(ctx).identity
	sessions, err := s.db.Sessions(ctx, caller.person.ID)
	if err != nil {
		return err
	}
	for i := range sessions {
		if caller.session != nil && sessions[i].ID == caller.session.ID {
			continue
		}
		if err := s.revokeSession(ctx, sessions[i].ID); err != nil && !errors.Is(err, storage.ErrNotFound) { // it ended by itself
			return err
		}
	}
	return c.Redirect(http.StatusSeeOther, "/profile?done=others")
}

// providerHost is the host that signs people in; empty in local mode.
func (s *Server) providerHost() string {
	if s.Provider == nil {
		return ""
	}
	u, err := url.Parse(s.Issuer)
	if err != nil || u.Host == "" {
		return s.Issuer
	}
	if port := u.Port(); port != "" && port != strconv.Itoa(standardPort[u.Scheme]) {
		return u.Host
	}
	return u.Hostname()
}

var standardPort = map[string]int{"http": 80, "https": 443}
