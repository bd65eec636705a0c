package api

import (
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"longhaul/api/web"
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
	g.GET("/apps/:app/delete", s.askDeleteApp)
	g.POST("/apps/:app/delete", s.deleteAppFromPage)
}

// Nothing on a page is inline, and nothing comes from elsewhere.
const (
	pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

// html answers with a page, or a part of one.
func (s *Server) html(c echo.Context, status int, v web.View) error {
	body, err := v.Render()
	if err != nil {
		return err
	}
	h := c.Response().Header()
	if h.Get("Content-Security-Policy") == "" {
		h.Set("Content-Security-Policy", pagePolicy)
	}
	if h.Get("Referrer-Policy") == "" {
		h.Set("Referrer-Policy", "same-origin")
	}
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "HX-Request")
	return c.HTMLBlob(status, body)
}

// frame is what the page shows around its content.
func (s *Server) frame(c echo.Context, section string) web.Frame {
	return web.Frame{User: requestOf(c.Request().Context()).caller.Name, Section: section, Version: s.Version}
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

// signInPage shows where to type the token.
func (s *Server) signInPage(c echo.Context, status int, problem string) error {
	next := c.FormValue("next")
	if localPath(next) != next {
		next = ""
	}
	return s.html(c, status, web.SignInPage(web.Frame{}, &web.SignIn{Problem: problem, Next: next}))
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
	frame := s.frame(c, "")
	if found, err := s.identify(c); err == nil {
		frame.User = found.person.Login // addresses that do not exist are asked for before anyone is known
	}
	return s.html(c, p.Status, web.ProblemPage(frame, shown))
}
