package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"longhaul/api/web"
	"longhaul/jobs"
	"longhaul/storage"
)

// connectionPage handles GET /apps/{app}/connection, for the app's admins: how the app is connected,
// for the page that follows it.
func (s *Server) connectionPage(c echo.Context) error {
	shown, err := s.connectionOnPage(c)
	if err != nil {
		return err
	}
	if !partial(c) {
		return c.Redirect(http.StatusSeeOther, (&web.App{Name: c.Param("app")}).Page()+"#connection")
	}
	return s.html(c, http.StatusOK, web.ConnectionPart(shown))
}

// connectFromPage handles POST /apps/{app}/connection, for the app's admins: it begins a consent.
func (s *Server) connectFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	_, err := s.Engine.StartConsent(ctx, c.Param("app"), requestOf(ctx).caller)
	refused := ""
	if remote, ok := errors.AsType[*jobs.RemoteError](err); ok {
		refused, err = remote.Message, nil
	}
	if err != nil {
		return consentProblem(ctx, err)
	}
	shown, err := s.connectionOnPage(c)
	if err != nil {
		return err
	}
	shown.Refused = refused
	switch {
	case partial(c):
		return s.html(c, http.StatusOK, web.ConnectionPart(shown))
	case refused != "":
		return s.showAppPage(c, shown)
	}
	return c.Redirect(http.StatusSeeOther, (&web.App{Name: c.Param("app")}).Page()+"#connection")
}

// askDisconnect handles GET /apps/{app}/disconnect, for the app's admins.
func (s *Server) askDisconnect(c echo.Context) error {
	return s.question(c, "apps", web.AskDisconnect(&web.App{Name: c.Param("app")}))
}

// disconnectFromPage handles POST /apps/{app}/disconnect, for the app's admins.
func (s *Server) disconnectFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	if err := s.Engine.Disconnect(ctx, c.Param("app"), requestOf(ctx).caller); err != nil {
		return consentProblem(ctx, err)
	}
	return c.Redirect(http.StatusSeeOther, (&web.App{Name: c.Param("app")}).Page()+"#connection")
}

// connectionOnPage is how the app of a request is connected, as the page shows it.
func (s *Server) connectionOnPage(c echo.Context) (*web.Connection, error) {
	ctx := c.Request().Context()
	found, err := s.Engine.Consent(ctx, c.Param("app"), requestOf(ctx).caller)
	if err != nil {
		return nil, consentProblem(ctx, err)
	}
	of := &found.Connection
	return &web.Connection{
		App: of.App, Grant: of.Grant, State: found.State, Message: found.Message,
		Connected: of.Connected(), As: orEmpty(of.ConnectedAs), At: orZero(of.ConnectedAt), Until: orZero(of.RefreshUntil),
		Problem: orEmpty(of.Problem), ProblemAt: orZero(of.ProblemAt),
		UserCode: found.UserCode, VerificationURI: found.VerificationURI, VerificationURIComplete: found.VerificationURIComplete,
		ExpiresAt: found.ExpiresAt, Now: time.Now(),
	}, nil
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// showAppPage shows an app as it is stored; shown is its connection where that is known already.
func (s *Server) showAppPage(c echo.Context, shown *web.Connection) error {
	ctx := c.Request().Context()
	app, err := s.scope(ctx).App(ctx, c.Param("app"))
	if err != nil {
		return err
	}
	form, err := s.storedForm(c, &app)
	if err != nil {
		return err
	}
	if form.Connection = shown; shown == nil && form.KeepsSecret() {
		if form.Connection, err = s.connectionOnPage(c); err != nil {
			return err
		}
	}
	form.Saved = c.QueryParam("saved") != ""
	return s.html(c, http.StatusOK, web.AppPage(s.frame(c, "apps"), form))
}

// storedForm is the form for an app as it is stored.
func (s *Server) storedForm(c echo.Context, app *storage.App) (*web.AppForm, error) {
	form := storedFields(app)
	if app.AuthType != "oauth2" {
		return form, nil
	}
	ctx := c.Request().Context()
	connection, err := s.scope(ctx).Connection(ctx, app.Name, storage.View|storage.Manage)
	if errors.Is(err, storage.ErrNotFound) {
		return form, nil
	}
	if err != nil {
		return nil, err
	}
	form.SignIn, form.Stored = connection.Grant, connection.Grant
	form.DomainURL, form.ClientID, form.Scope = connection.DomainURL, connection.ClientID, connection.Scope
	form.Person, form.KeyID = connection.Username, connection.KeyID
	return form, nil
}
