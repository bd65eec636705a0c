package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/labstack/echo/v4"

	"longhaul/api/sso"
	"longhaul/storage"
)

const (
	// flowSuffix ends the name of the cookie with what a browser must bring back from the provider,
	// sealed.
	flowSuffix = "-sign-in"
	// flowFor is how long a person may take at the provider.
	flowFor = 15 * time.Minute
	// flowSeal is what that cookie's content is bound to.
	flowSeal = "sign-in"
)

// signInRoutes are open to anyone: they are how one comes in.
func (s *Server) signInRoutes() {
	s.echo.GET("/sign-in", s.signIn)
	s.echo.POST("/sign-in", s.signIn)
	s.echo.GET("/sign-in/start", s.startSignIn)
	s.echo.GET("/sign-in/callback", s.finishSignIn)
	s.echo.POST("/sign-in/provider-logout", s.providerLogout)
}

// signIn handles GET and POST /sign-in: in local mode a right token starts a session; without one
// it shows how to sign in. Anyone may ask.
func (s *Server) signIn(c echo.Context) error {
	c.Response().Header().Set("Referrer-Policy", "no-referrer") // the link carries the token
	token := c.FormValue("token")
	if token == "" || s.Provider != nil {
		return s.signInPage(c, http.StatusOK, "")
	}
	if !s.callers.isAdminToken(strings.TrimSpace(token)) {
		s.note(c, "sign-in.refuse", "", "", "admin token")
		return s.signInPage(c, http.StatusUnauthorized, "This token is not right. The server prints a sign-in link when it starts.")
	}
	admin := localAdmin()
	return s.startSession(c, &admin, "", nil, c.FormValue("next"))
}

// startSession signs a browser in as a person and leads it on.
func (s *Server) startSession(c echo.Context, p *storage.Person, sid string, idToken []byte, next string) error {
	ctx := c.Request().Context()
	line := requestOf(ctx).caller.Audit("sign-in", "", p.ID.String())
	line.Actor = p.Login
	value, expires, err := s.sessions.start(ctx, p, sid, idToken, line, c.Request().UserAgent())
	if err != nil {
		return err
	}
	s.endOldSession(c)
	c.SetCookie(s.cookie(c, s.cookieName(c), value, expires))
	return c.Redirect(http.StatusSeeOther, localPath(next))
}

// endOldSession ends the session that a browser brings along when it signs in anew.
func (s *Server) endOldSession(c echo.Context) {
	value, ok := s.sessionCookie(c)
	if !ok {
		return
	}
	ctx, err := s.sessions.Load(c.Request().Context(), value)
	if err == nil {
		err = s.sessions.Destroy(ctx)
	}
	if err != nil {
		s.Logger.WarnContext(c.Request().Context(), "an old session could not be ended", "error", err)
	}
	s.Engine.AccessChanged()
}

// flow is what a browser brings back from the provider.
type flow struct {
	*sso.Flow
	Next string `json:"next"`
}

// startSignIn handles GET /sign-in/start: it sends a browser to the provider. Anyone may ask.
func (s *Server) startSignIn(c echo.Context) error {
	if s.Provider == nil {
		return c.Redirect(http.StatusSeeOther, "/sign-in")
	}
	address, begun, err := s.Provider.Begin(c.Request().Context(), s.callbackURL(c))
	if err != nil {
		return s.signInFailed(c, err)
	}
	plain, err := json.Marshal(flow{Flow: begun, Next: localPath(c.QueryParam("next"))})
	if err != nil {
		return err
	}
	c.SetCookie(s.cookie(c, s.cookieName(c)+flowSuffix, encodeSealed(s.Engine.Sealer.Seal(flowSeal, plain)), time.Now().Add(flowFor)))
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.Redirect(http.StatusSeeOther, address)
}

// finishSignIn handles GET /sign-in/callback: a browser comes back from the provider. Anyone may
// ask.
func (s *Server) finishSignIn(c echo.Context) error {
	if s.Provider == nil {
		return c.Redirect(http.StatusSeeOther, "/sign-in")
	}
	c.Response().Header().Set("Referrer-Policy", "no-referrer") // the address carries the code
	begun, err := s.takeFlow(c)
	if err != nil {
		return s.signInFailed(c, err)
	}
	ctx := c.Request().Context()
	who, err := s.Provider.Finish(ctx, begun.Flow, c.QueryParams())
	if err != nil {
		return s.signInFailed(c, err)
	}
	saved, err := s.savePerson(ctx, s.callers.personOf(who))
	if err != nil {
		return s.signInFailed(c, loginTaken(err))
	}
	return s.startSession(c, &saved, who.SID, s.Engine.Sealer.Seal(idTokenKey, []byte(who.IDToken)), begun.Next)
}

// savePerson stores who signed in. Somebody whom the provider has renamed keeps their memberships,
// and the old login none.
func (s *Server) savePerson(ctx context.Context, p *storage.Person) (saved storage.Person, err error) {
	err = s.db.InTx(ctx, func(tx pgx.Tx) error {
		var was string
		if saved, was, err = storage.SavePerson(ctx, tx, p); err != nil || was == saved.Login {
			return err
		}
		line := requestOf(ctx).caller.Audit("person.rename", "", saved.ID.String())
		line.Actor, line.Detail = saved.Login, "was "+was
		return storage.InsertAudit(ctx, tx, line)
	})
	if err == nil {
		s.Engine.AccessChanged() // groups may have changed too
	}
	return saved, err
}

// takeFlow reads what the browser was given when it left for the provider, and takes it back: it
// serves once.
func (s *Server) takeFlow(c echo.Context) (*flow, error) {
	name := s.cookieName(c) + flowSuffix
	cookie, err := c.Cookie(name)
	if err != nil {
		return nil, errFlowLost
	}
	c.SetCookie(s.cookie(c, name, "", time.Unix(1, 0)))
	sealed, err := decodeSealed(cookie.Value)
	if err != nil {
		return nil, errFlowLost
	}
	plain, err := s.Engine.Sealer.Open(flowSeal, sealed)
	if err != nil {
		return nil, errFlowLost
	}
	var begun flow
	if err := json.Unmarshal(plain, &begun); err != nil || begun.Flow == nil || time.Since(begun.BegunAt) > flowFor {
		return nil, errFlowLost
	}
	return &begun, nil
}

// errFlowLost says that a browser came back from the provider that was not sent there, or too late.
var errFlowLost = &sso.Refusal{
	Code: "flow_lost", Message: "This sign-in was begun too long ago, or in another browser window. Please begin again.",
}

// loginTaken words that two people of the provider have one login.
func loginTaken(err error) error {
	if errors.Is(err, storage.ErrConflict) {
		return &sso.Refusal{
			Code:    "login_taken",
			Message: "Another person signed in here before with this login. An administrator must delete that person first; what they were allowed must not pass to you unseen.",
		}
	}
	return err
}

// signInFailed tells the person, and the audit trail, why a sign-in came to nothing.
func (s *Server) signInFailed(c echo.Context, err error) error {
	var refusal *sso.Refusal
	switch {
	case errors.As(err, &refusal):
		s.note(c, "sign-in.refuse", "", "", refusal.Code)
		s.Logger.WarnContext(c.Request().Context(), "a sign-in was refused", "code", refusal.Code, "error", refusal)
		return s.signInPage(c, http.StatusForbidden, refusal.Message)
	case errors.Is(err, sso.ErrUnavailable):
		s.Logger.WarnContext(c.Request().Context(), "the sign-in provider does not answer", "error", err)
		return s.signInPage(c, http.StatusServiceUnavailable,
			"The sign-in service of your company does not answer at the moment. Who is signed in can go on working; please try again in a minute.")
	}
	return err
}

// callbackURL is where the provider sends browsers back to.
func (s *Server) callbackURL(c echo.Context) string { return s.base(c.Request()) + "/sign-in/callback" }

// signOut handles POST /sign-out, for whoever is signed in: it ends the session, and with
// everywhere=true the one at the provider too.
func (s *Server) signOut(c echo.Context) error {
	ctx := c.Request().Context()
	value, ok := s.sessionCookie(c)
	if !ok {
		return c.Redirect(http.StatusSeeOther, "/sign-in")
	}
	next := "/sign-in?out=1"
	if s.Provider != nil && c.FormValue("everywhere") != "" {
		next = s.logoutURL(c, value)
	}
	if session := requestOf(ctx).identity.session; session != nil {
		err := s.changeAccess(ctx, func(tx pgx.Tx) (storage.Audit, error) {
			_, err := storage.EndSession(ctx, tx, requestOf(ctx).identity.person.ID, session.ID)
			if errors.Is(err, storage.ErrNotFound) {
				err = nil // it ended meanwhile
			}
			return requestOf(ctx).caller.Audit("sign-out", "", session.ID.String()), err
		})
		if err != nil {
			return err
		}
	}
	c.SetCookie(s.cookie(c, s.cookieName(c), "", time.Unix(1, 0)))
	return leave(c, next)
}

// logoutURL is where the provider ends its own session, or the page here when it has no such place.
func (s *Server) logoutURL(c echo.Context, session string) string {
	idToken, err := s.Engine.Sealer.Open(idTokenKey, s.sessions.idToken(c.Request().Context(), session))
	if err != nil {
		idToken = nil // sealed with a key of before; the provider asks the person instead
	}
	if address := s.Provider.LogoutURL(c.Request().Context(), string(idToken), s.base(c.Request())+"/sign-in"); address != "" {
		return address
	}
	return "/sign-in?out=1"
}

// providerLogout handles POST /sign-in/provider-logout: OpenID Connect back-channel logout. Anyone
// may ask; the logout token is signed by the provider.
func (s *Server) providerLogout(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	if s.Provider == nil {
		return c.JSON(http.StatusBadRequest, map[string]string{"error": "invalid_request"})
	}
	ctx := c.Request().Context()
	word, err := s.Provider.LogoutToken(ctx, c.FormValue("logout_token"))
	if errors.Is(err, sso.ErrUnavailable) {
		return err // its keys cannot be read now; it may try again
	}
	if err != nil {
		s.note(c, "sign-out.refuse", "", "", "logout token")
		return c.JSON(http.StatusBadRequest, map[string]string{"error": "invalid_request"})
	}
	err = s.changeAccess(ctx, func(tx pgx.Tx) (storage.Audit, error) {
		line := requestOf(ctx).caller.Audit("sign-out.provider", "", word.Subject)
		line.Actor = "provider"
		if err := storage.TakeLogoutToken(ctx, tx, word.ID, word.ExpiresAt); err != nil {
			return line, err
		}
		_, err := storage.EndSessionsAt(ctx, tx, s.callers.issuer(), word.Subject, word.SID)
		return line, err
	})
	if errors.Is(err, storage.ErrConflict) {
		return c.JSON(http.StatusBadRequest, map[string]string{"error": "invalid_request"})
	}
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusOK)
}

// personOf is a person as the provider describes them, for the table.
func (c *callers) personOf(p *sso.Person) *storage.Person {
	return &storage.Person{Issuer: c.issuer(), Subject: p.Subject, Login: p.Login, Name: p.Name, Email: p.Email, Groups: p.Groups}
}

// localPath returns next when it is an address on this server, and the list of tasks otherwise:
// a link to the sign-in page must not lead elsewhere.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(next, "/") ||
		strings.HasPrefix(next, "//") || strings.Contains(next, `\`) || strings.ContainsFunc(next, unicode.IsControl) {
		return "/"
	}
	return next
}

func encodeSealed(sealed []byte) string { return base64.RawURLEncoding.EncodeToString(sealed) }

func decodeSealed(text string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(text) }
