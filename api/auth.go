package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/labstack/echo/v4"

	"longhaul/api/sso"
	"longhaul/storage"
)

// authenticate finds out who asks, and lets them through to what the rule of the route allows
// them. A route without a rule answers nobody.
func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := requestOf(c.Request().Context())
		found, err := s.identify(c)
		if err != nil {
			return s.refusedSignIn(c, err)
		}
		r.identify(found)
		if c.Path() == anyPath {
			return next(c) // an address without a route, which notFound answers
		}
		rule, ok := rules[c.Request().Method+" "+c.Path()]
		if !ok {
			return echo.ErrNotFound
		}
		if err := s.authorize(c, r, rule); err != nil {
			return err
		}
		return next(c)
	}
}

// anyPath is what the router calls the addresses that have no route.
const anyPath = "/*"

// identify makes the caller of a request known.
func (r *request) identify(i *identity) {
	r.identity = i
	r.caller.Name, r.caller.Person, r.caller.Reach = i.person.Login, i.person.ID, i.reach
	if i.token != nil {
		r.caller.Token = i.token.Name
	}
}

// identify finds out who asks: by a bearer token, or by the session cookie of the page, whose
// unsafe requests must come from this origin.
func (s *Server) identify(c echo.Context) (*identity, error) {
	r := c.Request()
	if scheme, token, _ := strings.Cut(r.Header.Get(echo.HeaderAuthorization), " "); strings.EqualFold(scheme, "Bearer") {
		return s.callers.bearer(r.Context(), token, c.RealIP())
	}
	value, ok := s.sessionCookie(c)
	if !ok {
		return nil, errUnauthorized
	}
	if err := s.origins.Check(r); err != nil {
		return nil, errCrossOrigin
	}
	return s.callers.cookie(r.Context(), value, c.RealIP())
}

// authorize holds the caller against the rule of the route.
func (s *Server) authorize(c echo.Context, r *request, rule needs) error {
	switch rule.who {
	case everybody, signedIn:
		return nil
	case inPerson:
		if r.identity.token != nil {
			return errTokenLimits
		}
		return nil
	case instance:
		if !r.identity.rules() {
			return errForbidden
		}
		return nil
	case owner:
		if !r.identity.anywhere(rule.right) {
			return errForbidden
		}
		return nil
	case withRight:
		return s.authorizeOn(c, r, rule.right)
	case nobody:
	}
	return echo.ErrNotFound
}

// authorizeOn holds the caller's rights on the app or the task that the route names against what
// is needed. What the caller may not view does not exist for them.
func (s *Server) authorizeOn(c echo.Context, r *request, needed storage.Rights) error {
	var rights storage.Rights
	switch {
	case c.Param("app") != "":
		rights = r.identity.rights(c.Param("app"))
	case c.Param("id") != "":
		id, err := parseID(c.Param("id"))
		if err != nil {
			return err
		}
		snap, err := s.Engine.Watch().Get(c.Request().Context(), id)
		if err != nil {
			return err
		}
		rights = r.identity.rights(snap.Task.App)
		r.snap = snap
	default:
		if !r.identity.anywhere(needed) {
			return errForbidden
		}
		return nil
	}
	if !rights.Has(storage.View) {
		return storage.ErrNotFound
	}
	if !rights.Has(needed) {
		return errForbidden
	}
	return nil
}

// seesData reports whether the caller may see the data of an app's tasks.
func (r *request) seesData(app string) bool { return r.identity.rights(app).Has(storage.Data) }

// stillMay reports whether the caller of a request that goes on for long may still do what it
// needs: a session may have ended, or a membership.
func (s *Server) stillMay(c echo.Context, app string, needed storage.Rights) bool {
	found, err := s.identify(c)
	if err != nil {
		// What the database cannot be asked now, it could a moment ago.
		return !errors.Is(err, errUnauthorized)
	}
	return found.rights(app).Has(needed)
}

// changeAccess makes a change of who may do what, with its line of the audit trail, in one
// transaction; then all processes forget what they knew of callers.
func (s *Server) changeAccess(ctx context.Context, change func(tx pgx.Tx) (storage.Audit, error)) error {
	err := s.db.InTx(ctx, func(tx pgx.Tx) error {
		line, err := change(tx)
		if err != nil {
			return err
		}
		return storage.InsertAudit(ctx, tx, line)
	})
	if err == nil {
		s.Engine.AccessChanged()
	}
	return err
}

// refusedSignIn notes a credential that was not taken, when there was one.
func (s *Server) refusedSignIn(c echo.Context, err error) error {
	sent := c.Request().Header.Get(echo.HeaderAuthorization) != ""
	var refusal *sso.Refusal
	switch {
	case errors.As(err, &refusal):
		s.note(c, "sign-in.refuse", "", "", "access token: "+refusal.Code)
		s.Logger.WarnContext(c.Request().Context(), "an access token was refused", "code", refusal.Code, "error", refusal)
	case sent && (errors.Is(err, errUnauthorized) || errors.Is(err, errTokenDormant)):
		s.note(c, "sign-in.refuse", "", "", "bearer token")
	}
	if errors.Is(err, errCrossOrigin) {
		s.note(c, "request.refuse", "", c.Path(), "another origin")
	}
	return err
}

// noteRefusal notes what a caller who is known was refused: by the rule of the route, or by the
// handler, which may know more.
func (s *Server) noteRefusal(c echo.Context, r *request) {
	if r.identity == nil || c.Response().Status != http.StatusForbidden {
		return
	}
	app := cmp.Or(c.Param("app"), r.app)
	if r.snap != nil {
		app = r.snap.Task.App
	}
	s.note(c, "request.refuse", app, c.Param("id"), c.Request().Method+" "+c.Path())
}

// note writes a line of the audit trail about something that was refused. That it cannot be
// written must not turn the refusal into something else, so it is only logged.
func (s *Server) note(c echo.Context, action, app, object, detail string) {
	ctx := c.Request().Context()
	line := requestOf(ctx).caller.Audit(action, app, object)
	line.Outcome, line.Detail = "refused", detail
	if line.Actor == "" {
		line.Actor = "-"
	}
	if err := storage.InsertAudit(context.WithoutCancel(ctx), s.db.Pool, line); err != nil {
		s.Logger.ErrorContext(ctx, "a refusal could not be noted in the audit trail", "action", action, "error", err)
	}
}

// parseID reads the id of a record; what is none is not found.
func parseID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		return uuid.Nil, storage.ErrNotFound
	}
	return id, nil
}

// wantsPage reports whether a person's browser asks for a page.
func (s *Server) wantsPage(c echo.Context) bool {
	r := c.Request()
	return strings.Contains(r.Header.Get(echo.HeaderAccept), "text/html") &&
		!strings.HasPrefix(r.URL.Path, "/api/")
}
