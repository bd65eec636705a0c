package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

const sessionUser = "user"

// localAdmin is who signs in with the admin token of local mode.
const localAdmin = "admin"

// authenticate lets signed-in callers through: by the session cookie of the page, whose unsafe
// requests must come from this origin, or by a bearer token.
func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		name, err := s.caller(c)
		if err != nil {
			return err
		}
		requestOf(c.Request().Context()).caller.Name = name
		return next(c)
	}
}

func (s *Server) caller(c echo.Context) (string, error) {
	r := c.Request()
	if scheme, token, _ := strings.Cut(r.Header.Get(echo.HeaderAuthorization), " "); strings.EqualFold(scheme, "Bearer") {
		if s.isAdminToken(token) {
			return localAdmin, nil
		}
		return "", errUnauthorized
	}
	cookie, err := c.Cookie(s.sessions.Cookie.Name)
	if err != nil {
		return "", errUnauthorized
	}
	if err := s.origins.Check(r); err != nil {
		return "", errCrossOrigin
	}
	ctx, err := s.sessions.Load(r.Context(), cookie.Value)
	if err != nil {
		return "", err
	}
	if name := s.sessions.GetString(ctx, sessionUser); name != "" {
		return name, nil
	}
	return "", errUnauthorized
}

// isAdminToken compares digests, so that neither length nor content shows in the time it takes.
func (s *Server) isAdminToken(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
}

// signIn handles GET and POST /sign-in: a right token starts a session; without one it shows
// where to type it. Anyone may ask.
func (s *Server) signIn(c echo.Context) error {
	c.Response().Header().Set("Referrer-Policy", "no-referrer") // the link carries the token
	token := c.FormValue("token")
	if token == "" {
		return s.signInPage(c, http.StatusOK, "")
	}
	if !s.isAdminToken(strings.TrimSpace(token)) {
		return s.signInPage(c, http.StatusUnauthorized, "This token is not right. The server prints a sign-in link when it starts.")
	}
	ctx, err := s.sessions.Load(c.Request().Context(), "")
	if err != nil {
		return err
	}
	s.sessions.Put(ctx, sessionUser, localAdmin)
	value, expires, err := s.sessions.Commit(ctx)
	if err != nil {
		return err
	}
	c.SetCookie(s.cookie(c, value, expires))
	return c.Redirect(http.StatusSeeOther, localPath(c.FormValue("next")))
}

// signOut handles POST /sign-out: it ends the session.
func (s *Server) signOut(c echo.Context) error {
	if cookie, err := c.Cookie(s.sessions.Cookie.Name); err == nil {
		ctx, err := s.sessions.Load(c.Request().Context(), cookie.Value)
		if err != nil {
			return err
		}
		if err := s.sessions.Destroy(ctx); err != nil {
			return err
		}
	}
	c.SetCookie(s.cookie(c, "", time.Unix(1, 0)))
	return c.Redirect(http.StatusSeeOther, "/sign-in")
}

func (s *Server) cookie(c echo.Context, value string, expires time.Time) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // G124: on plain http, which is for loopback, Secure would lose the session
		Name: s.sessions.Cookie.Name, Value: value, Path: "/", Expires: expires,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(s.base(c.Request()), "https:"),
	}
}

// wantsPage reports whether a person's browser asks for a page.
func (s *Server) wantsPage(c echo.Context) bool {
	r := c.Request()
	return strings.Contains(r.Header.Get(echo.HeaderAccept), "text/html") &&
		!strings.HasPrefix(r.URL.Path, "/api/")
}
