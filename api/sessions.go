package api

import (
	"context"
	"net/http"
	"time"

	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/v2"
	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/labstack/echo/v4"

	"longhaul/storage"
)

// sessions keeps the sessions of the page.
type sessions struct {
	*scs.SessionManager
	db *storage.DB
}

const (
	cookieName = "longhaul"
	// hostCookieName is the cookie's on https: no other host, nor a page on plain http, can set one
	// of this name.
	hostCookieName = "__Host-" + cookieName
	// idTokenKey is where a session keeps the provider's ID token, sealed, for the sign-out there.
	idTokenKey = "id_token"
)

func newSessions(db *storage.DB, idle, lifetime time.Duration) *sessions {
	manager := scs.New()
	// Without the store's own cleanup, which cannot be stopped safely; the engine sweeps.
	manager.Store = pgxstore.NewWithCleanupInterval(db.Pool, 0)
	manager.HashTokenInStore = true
	manager.IdleTimeout, manager.Lifetime = idle, lifetime
	return &sessions{manager, db}
}

// start makes a session for a person, with the line of the audit trail. It always is a new one:
// what a browser brought from before it signed in is worth nothing after.
func (s *sessions) start(ctx context.Context, p *storage.Person, sid string, idToken []byte, line storage.Audit, userAgent string) (token string, expires time.Time, err error) {
	loaded, err := s.Load(ctx, "")
	if err != nil {
		return "", time.Time{}, err
	}
	s.Put(loaded, idTokenKey, idToken)
	if token, _, err = s.Commit(loaded); err != nil {
		return "", time.Time{}, err
	}
	err = s.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := storage.StartSession(ctx, tx, token, p.ID, sid, line.Address, userAgent); err != nil {
			return err
		}
		return storage.InsertAudit(ctx, tx, line)
	})
	return token, time.Now().Add(s.Lifetime), err
}

// seen notes that a session is in use, and puts off its idle end.
func (s *sessions) seen(ctx context.Context, session *storage.Session, token, address string) error {
	loaded, err := s.Load(ctx, token)
	if err != nil || s.Token(loaded) == "" { // it has just ended
		return err
	}
	if _, _, err := s.Commit(loaded); err != nil {
		return err
	}
	return s.db.SessionSeen(ctx, session.ID, address)
}

// idToken returns the sealed ID token that a session came with; nil without one.
func (s *sessions) idToken(ctx context.Context, token string) []byte {
	loaded, err := s.Load(ctx, token)
	if err != nil {
		return nil
	}
	return s.GetBytes(loaded, idTokenKey)
}

// sessionCookie returns the token of the session that a request comes with.
func (s *Server) sessionCookie(c echo.Context) (string, bool) {
	cookie, err := c.Cookie(s.cookieName(c))
	if err != nil {
		return "", false
	}
	return cookie.Value, true
}

func (s *Server) cookieName(c echo.Context) string {
	if s.secure(c) {
		return hostCookieName
	}
	return cookieName
}

// secure reports whether browsers reach this server by https.
func (s *Server) secure(c echo.Context) bool { return isHTTPS(s.base(c.Request())) }

func (s *Server) cookie(c echo.Context, name, value string, expires time.Time) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // G124: on plain http, which is for loopback, Secure would lose the session
		Name: name, Value: value, Path: "/", Expires: expires,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.secure(c),
	}
}

// Session is a browser that somebody is signed in with.
type Session struct {
	ID        string    `json:"id" format:"uuid"`
	Person    string    `json:"person" doc:"The login of whose it is"`
	Current   bool      `json:"current" doc:"The one that asks"`
	CreatedAt time.Time `json:"created_at"`
	SeenAt    time.Time `json:"seen_at" doc:"To the minute"`
	ExpiresAt time.Time `json:"expires_at" doc:"When it ends if it is not used"`
	Address   string    `json:"address" doc:"From where it was used last"`
	UserAgent string    `json:"user_agent"`
}

type (
	listSessionsInput struct {
		All bool `query:"all" doc:"Those of all people; for instance admins"`
	}
	listSessionsOutput struct{ Body Page[Session] }
	sessionInput       struct {
		ID string `path:"id" doc:"The session's id"`
	}
	sessionOutput struct{ Body Session }
)

func (s *Server) sessionRoutes() {
	tags, path := []string{"People"}, "/api/v1/sessions"
	huma.Register(s.huma, huma.Operation{
		OperationID: "list-sessions", Method: http.MethodGet, Path: path, Tags: tags, Summary: "List the browsers you are signed in with",
		Errors: []int{http.StatusUnauthorized},
	}, s.listSessions)
	huma.Register(s.huma, huma.Operation{
		OperationID: "get-session", Method: http.MethodGet, Path: path + "/{id}", Tags: tags, Summary: "Get a session",
		Errors: []int{http.StatusUnauthorized, http.StatusNotFound},
	}, s.getSession)
	huma.Register(s.huma, huma.Operation{
		OperationID: "end-session", Method: http.MethodDelete, Path: path + "/{id}", Tags: tags, Summary: "Sign a browser out",
		DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusUnauthorized, http.StatusNotFound},
	}, s.endSession)
}

// listSessions handles GET /api/v1/sessions, for people; all=true for instance admins.
func (s *Server) listSessions(ctx context.Context, in *listSessionsInput) (*listSessionsOutput, error) {
	caller := requestOf(ctx).identity
	of := caller.person.ID
	if in.All {
		if !caller.rules() {
			return nil, errForbidden
		}
		of = uuid.Nil
	}
	found, err := s.db.Sessions(ctx, of)
	if err != nil {
		return nil, err
	}
	out := &listSessionsOutput{Body: Page[Session]{Items: []Session{}}}
	for i := range found {
		out.Body.Items = append(out.Body.Items, sessionBody(&found[i], caller))
	}
	return out, nil
}

// getSession handles GET /api/v1/sessions/{id}, for its owner and instance admins.
func (s *Server) getSession(ctx context.Context, in *sessionInput) (*sessionOutput, error) {
	caller := requestOf(ctx).identity
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	found, err := s.db.Sessions(ctx, sessionsOf(caller))
	if err != nil {
		return nil, err
	}
	for i := range found {
		if found[i].ID == id {
			return &sessionOutput{Body: sessionBody(&found[i], caller)}, nil
		}
	}
	return nil, storage.ErrNotFound
}

// endSession handles DELETE /api/v1/sessions/{id}, for its owner and instance admins.
func (s *Server) endSession(ctx context.Context, in *sessionInput) (*struct{}, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, s.revokeSession(ctx, id)
}

func (s *Server) revokeSession(ctx context.Context, id uuid.UUID) error {
	r := requestOf(ctx)
	return s.changeAccess(ctx, func(tx pgx.Tx) (storage.Audit, error) {
		login, err := storage.EndSession(ctx, tx, sessionsOf(r.identity), id)
		line := r.caller.Audit("session.end", "", id.String())
		line.Detail = "of " + login
		return line, err
	})
}

// sessionsOf is whose sessions a caller may see and end: all for an instance admin.
func sessionsOf(caller *identity) uuid.UUID {
	if caller.rules() {
		return uuid.Nil
	}
	return caller.person.ID
}

func sessionBody(s *storage.Session, caller *identity) Session {
	return Session{
		ID: s.ID.String(), Person: s.Login, Current: caller.session != nil && caller.session.ID == s.ID,
		CreatedAt: s.CreatedAt.UTC(), SeenAt: s.SeenAt.UTC(), ExpiresAt: s.Expiry.UTC(), Address: s.Address, UserAgent: s.UserAgent,
	}
}
