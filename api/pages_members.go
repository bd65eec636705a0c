package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"longhaul/api/web"
	"longhaul/jobs"
	"longhaul/storage"
)

// membersPage handles GET /apps/{app}/members, for the app's admins.
func (s *Server) membersPage(c echo.Context) error {
	return s.showMembers(c, http.StatusOK, &web.Members{Saved: c.QueryParam("saved"), Removed: c.QueryParam("removed")})
}

func (s *Server) showMembers(c echo.Context, status int, m *web.Members) error {
	ctx := c.Request().Context()
	r := requestOf(ctx)
	app, err := s.scope(ctx).App(ctx, c.Param("app"))
	if err != nil {
		return err
	}
	members, err := s.scope(ctx).Members(ctx, app.Name)
	if err != nil {
		return err
	}
	m.App, m.Local, m.Now = app.Name, s.Provider == nil, time.Now()
	m.SeesData = r.identity.rules() || r.seesData(app.Name)
	for i := range members {
		m.List = append(m.List, r.memberOnPage(&members[i]))
	}
	named := func(name string) bool {
		return slices.ContainsFunc(m.List, func(one web.Member) bool { return one.Name == name })
	}
	if !named(m.Saved) { // the address was made up
		m.Saved = ""
	}
	if named(m.Removed) {
		m.Removed = ""
	}
	if m.Form.Role == "" {
		m.Form = web.MemberForm{Kind: "person", Role: "operator", SeeData: m.SeesData}
	}
	if m.Known, err = s.knownNames(ctx); err != nil {
		return err
	}
	return s.html(c, status, web.MembersPage(s.frame(c, "apps"), m))
}

// memberOnPage is a member as the page shows it to the caller.
func (r *request) memberOnPage(m *storage.Member) web.Member {
	return web.Member{
		App: m.App, Kind: m.Kind, Name: m.Member, Role: m.Role, SeeData: m.SeeData, AddedBy: m.AddedBy, ChangedAt: m.ChangedAt,
		Fixed: m.Kind == "person" && m.Member == r.caller.Name && !r.identity.rules(),
	}
}

// knownNames are the logins and groups that are suggested: to instance admins, who may know all
// people.
func (s *Server) knownNames(ctx context.Context) ([]string, error) {
	if !requestOf(ctx).identity.rules() {
		return nil, nil
	}
	people, err := s.db.People(ctx, s.callers.issuer())
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range people {
		names = append(append(names, people[i].Login), people[i].Groups...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// saveMemberFromPage handles POST /apps/{app}/members, for the app's admins: it adds a member, or
// changes one.
func (s *Server) saveMemberFromPage(c echo.Context) error {
	app := c.Param("app")
	form := web.MemberForm{
		Kind: c.FormValue("kind"), Name: strings.TrimSpace(c.FormValue("name")), Role: c.FormValue("role"), SeeData: c.FormValue("data") != "",
	}
	set := &MemberSettings{Role: form.Role}
	if form.Role != "viewer" {
		set.SeeData = &form.SeeData
	}
	found, err := s.schemaProblems("MemberSettings", set)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return s.refuseMember(c, form, &jobs.Invalid{Detail: "choose a role"})
	}
	if _, err := s.saveMember(c.Request().Context(), app, form.Kind+":"+form.Name, set); err != nil {
		return s.refuseMember(c, form, err)
	}
	_, name, _ := parseMember(form.Kind + ":" + form.Name) // it was right a moment ago
	return c.Redirect(http.StatusSeeOther, (&web.App{Name: app}).MembersURL()+"?saved="+url.QueryEscape(name))
}

// refuseMember shows the page again with why nothing was changed, where a person can do something
// about it.
func (s *Server) refuseMember(c echo.Context, form web.MemberForm, err error) error {
	var invalid *jobs.Invalid
	if !errors.As(err, &invalid) && !errors.Is(err, errOwnMembership) {
		return err
	}
	p := problemOf(c.Request().Context(), err)
	return s.showMembers(c, p.Status, &web.Members{Error: web.Sentence(p.Detail), Form: form})
}

// askRemoveMember handles GET /apps/{app}/members/{member}/remove, for the app's admins.
func (s *Server) askRemoveMember(c echo.Context) error {
	ctx := c.Request().Context()
	kind, name, err := memberParam(c)
	if err != nil {
		return err
	}
	member, err := s.scope(ctx).Member(ctx, c.Param("app"), kind, name)
	if err != nil {
		return err
	}
	shown := requestOf(ctx).memberOnPage(&member)
	return s.question(c, "apps", web.AskRemove(&shown))
}

// removeMemberFromPage handles POST /apps/{app}/members/{member}/remove, for the app's admins.
func (s *Server) removeMemberFromPage(c echo.Context) error {
	kind, name, err := memberParam(c)
	if err != nil {
		return err
	}
	if err := s.dropMember(c.Request().Context(), c.Param("app"), kind+":"+name); err != nil {
		return s.refuseMember(c, web.MemberForm{}, err)
	}
	return c.Redirect(http.StatusSeeOther, (&web.App{Name: c.Param("app")}).MembersURL()+"?removed="+url.QueryEscape(name))
}

// memberParam is the member that the page's address names. The router leaves escaped what has an
// escaped slash in it.
func memberParam(c echo.Context) (kind, name string, err error) {
	text := c.Param("member")
	if c.Request().URL.RawPath != "" {
		if text, err = url.PathUnescape(text); err != nil {
			return "", "", storage.ErrNotFound
		}
	}
	if kind, name, err = parseMember(text); err != nil {
		return "", "", storage.ErrNotFound
	}
	return kind, name, nil
}
