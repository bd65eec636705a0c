package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"longhaul/api/web"
	"longhaul/storage"
)

// pageRoutes serves the pages to people who are signed in, and what pages are made of to anyone.
func (s *Server) pageRoutes(g *echo.Group) {
	s.echo.GET(web.StaticPrefix+"*", echo.WrapHandler(http.HandlerFunc(web.Static)))
	g.GET("/", s.tasksPage)
	g.GET("/tasks/:id", s.taskPage)
	g.GET("/tasks/:id/cancel", s.askCancel)
	g.POST("/tasks/:id/cancel", s.cancelFromPage)
	g.POST("/tasks/:id/retry", s.retryFromPage)
	g.GET("/tasks/:id/delete", s.askDelete)
	g.POST("/tasks/:id/delete", s.deleteFromPage)
	g.GET("/start", s.startPage)
	g.GET("/start/jobs", s.startJobs)
	g.GET("/apps", s.appsPage)
	g.GET("/new-app", s.newAppPage)
	g.POST("/new-app", s.createAppFromPage)
	g.GET("/apps/:app", s.appPage)
	g.POST("/apps/:app", s.saveAppFromPage)
	g.POST("/apps/:app/check", s.checkAppFromPage)
	g.GET("/apps/:app/connection", s.connectionPage)
	g.POST("/apps/:app/connection", s.connectFromPage)
	g.GET("/apps/:app/disconnect", s.askDisconnect)
	g.POST("/apps/:app/disconnect", s.disconnectFromPage)
	g.GET("/apps/:app/delete", s.askDeleteApp)
	g.POST("/apps/:app/delete", s.deleteAppFromPage)
	g.GET("/apps/:app/members", s.membersPage)
	g.POST("/apps/:app/members", s.saveMemberFromPage)
	g.GET("/apps/:app/members/:member/remove", s.askRemoveMember)
	g.POST("/apps/:app/members/:member/remove", s.removeMemberFromPage)
	s.filePageRoutes(g)
	g.GET("/profile", s.profilePage)
	g.POST("/profile/tokens", s.createTokenFromPage)
	g.GET("/profile/tokens/:id/revoke", s.askRevokeToken)
	g.POST("/profile/tokens/:id/revoke", s.revokeTokenFromPage)
	g.POST("/profile/sessions/:id/end", s.endSessionFromPage)
	g.POST("/profile/sessions/end-others", s.endOtherSessions)
	g.GET("/people", s.peoplePage)
	g.GET("/people/:id/forget", s.askForgetPerson)
	g.POST("/people/:id/forget", s.forgetPersonFromPage)
	g.GET("/audit", s.auditTrailPage)
	g.GET("/audit/export", s.exportAuditFromPage)
}

// html answers with a page, or a part of one.
func (s *Server) html(c echo.Context, status int, v web.View) error {
	body, err := v.Render()
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "HX-Request")
	return c.HTMLBlob(status, body)
}

// frame is what the page shows around its content: of the navigation, what is of use to the caller.
func (s *Server) frame(c echo.Context, section string) web.Frame {
	caller := requestOf(c.Request().Context()).identity
	if caller == nil { // refused before anyone was asked for
		found, err := s.identify(c)
		if err != nil {
			return web.Frame{Version: s.Version}
		}
		caller = found
	}
	return web.Frame{
		User: caller.person.Login, Section: section, Version: s.Version,
		Start: caller.anywhere(storage.View | storage.Operate), Apps: caller.anywhere(storage.View),
		People: caller.rules(), Audit: caller.anywhere(storage.View | storage.Manage),
		Provider: s.providerHost(),
	}
}

// may is what the caller may do with an app.
func (r *request) may(app string) web.May {
	rights := r.identity.rights(app)
	return web.May{
		Operate: rights.Has(storage.Operate), SeeData: rights.Has(storage.Data), Manage: rights.Has(storage.Manage),
		Rule: r.identity.rules(),
	}
}

// newcomer is the caller as somebody who has no app, with what they need to ask for one.
func (s *Server) newcomer(ctx context.Context) *web.Newcomer {
	caller := requestOf(ctx).identity
	if caller.rules() || caller.anywhere(storage.View) {
		return nil
	}
	return &web.Newcomer{Login: caller.person.Login, Groups: caller.person.Groups, Admins: s.Admins}
}

// partial reports whether a script asks for a part of the page, to put it into the one shown.
func partial(c echo.Context) bool {
	h := c.Request().Header
	return h.Get("HX-Request") == "true" && h.Get("HX-History-Restore-Request") != "true"
}

// question asks on the page shown, or on one of its own.
func (s *Server) question(c echo.Context, section string, q *web.Question) error {
	if partial(c) {
		return s.html(c, http.StatusOK, web.QuestionDialog(q))
	}
	return s.html(c, http.StatusOK, web.QuestionPage(s.frame(c, section), q))
}

// signInPage shows how to come in.
func (s *Server) signInPage(c echo.Context, status int, problem string) error {
	next := c.FormValue("next")
	if localPath(next) != next {
		next = ""
	}
	return s.html(c, status, web.SignInPage(web.Frame{}, &web.SignIn{
		Problem: problem, Next: next, Provider: s.providerHost(), Out: problem == "" && c.QueryParam("out") != "",
	}))
}

// signInURL is where a person signs in who asked for a page.
func signInURL(r *http.Request) string {
	if r.Method != http.MethodGet || r.URL.Path == "/" {
		return "/sign-in"
	}
	return "/sign-in?next=" + url.QueryEscape(r.URL.RequestURI())
}

// problemPage tells a person what went wrong.
func (s *Server) problemPage(c echo.Context, p *Problem) error {
	shown := &web.Problem{Status: p.Status, Title: p.Title, Detail: p.Detail, RequestID: p.RequestID}
	if p.Status == http.StatusNotFound {
		shown.Detail = "There is nothing at this address. It may have been deleted."
	}
	if p.Status == http.StatusTooManyRequests || p.Status == http.StatusMisdirectedRequest {
		return s.html(c, p.Status, web.ProblemPage(web.Frame{Version: s.Version}, shown)) // who asks is not looked at
	}
	return s.html(c, p.Status, web.ProblemPage(s.frame(c, ""), shown))
}
