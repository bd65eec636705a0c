package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"longhaul/api/web"
	"longhaul/jobs"
	"longhaul/storage"
)

// pageLines is how many lines of the audit trail a page has.
const pageLines = 50

// auditTrailPage handles GET /audit, for admins of apps and of the instance.
func (s *Server) auditTrailPage(c echo.Context) error {
	trail, err := s.auditTrail(c)
	if err != nil {
		return err
	}
	if partial(c) {
		c.Response().Header().Set("HX-Push-Url", trail.Filter.URL())
		return s.html(c, http.StatusOK, web.AuditLines(trail))
	}
	ctx := c.Request().Context()
	apps, err := s.scope(ctx).Apps(ctx, storage.View|storage.Manage)
	if err != nil {
		return err
	}
	for i := range apps {
		trail.Apps = append(trail.Apps, apps[i].Name)
	}
	if trail.Actors, err = s.knownLogins(ctx); err != nil {
		return err
	}
	return s.html(c, http.StatusOK, web.AuditPage(s.frame(c, "audit"), trail))
}

// auditTrail loads the lines that the request's filter selects.
func (s *Server) auditTrail(c echo.Context) (*web.Audit, error) {
	ctx := c.Request().Context()
	typed := func(name string) string { return strings.TrimSpace(c.QueryParam(name)) }
	trail := &web.Audit{Now: time.Now(), Whole: requestOf(ctx).identity.rules(), Filter: web.AuditFilter{
		App: typed("app"), Actor: typed("actor"), Action: typed("action"), Outcome: typed("outcome"),
		Since: typed("since"), Until: typed("until"), Cursor: typed("cursor"),
	}}
	filter, err := s.typedAuditFilter(c)
	if invalid, ok := errors.AsType[*jobs.Invalid](err); ok {
		trail.Error = web.Sentence(invalid.Detail)
		trail.Filter.Since, trail.Filter.Until = "", "" // a field for days takes nothing else
		return trail, nil
	}
	if err != nil {
		return nil, err
	}
	lines, next, err := s.auditPage(ctx, filter)
	if err != nil {
		return nil, err
	}
	trail.Older = orEmpty(next)
	for _, l := range lines {
		trail.Lines = append(trail.Lines, web.AuditLine(l))
	}
	return trail, nil
}

// typedAuditFilter is the filter of the page's form, which gives days where the API takes times:
// the first and the last one, in UTC.
func (s *Server) typedAuditFilter(c echo.Context) (storage.AuditFilter, error) {
	after := map[string]int{"since": 0, "until": 1}
	var wrong error
	filter, err := s.auditFilter(c.Request().Context(), func(name string) string {
		text := strings.TrimSpace(c.QueryParam(name))
		days, isDay := after[name]
		switch {
		case name == "limit":
			return strconv.Itoa(pageLines)
		case !isDay || text == "":
			return text
		}
		day, err := time.Parse(time.DateOnly, text)
		if err != nil {
			wrong = invalidField("query."+name, "write a day like 2026-11-21")
			return ""
		}
		return day.AddDate(0, 0, days).Format(time.RFC3339)
	})
	return filter, errors.Join(wrong, err)
}

// knownLogins are the logins that are suggested: to instance admins, who may know all people.
func (s *Server) knownLogins(ctx context.Context) ([]string, error) {
	if !requestOf(ctx).identity.rules() {
		return nil, nil
	}
	people, err := s.db.People(ctx, s.callers.issuer())
	var logins []string
	for i := range people {
		logins = append(logins, people[i].Login)
	}
	return logins, err
}

// exportAuditFromPage handles GET /audit/export?format=csv|jsonl, for admins of apps and of the
// instance: all lines of the page's filter.
func (s *Server) exportAuditFromPage(c echo.Context) error {
	format := c.QueryParam("format")
	if !slices.Contains(storage.AuditFormats, format) {
		return invalidField("query.format", "write csv or jsonl")
	}
	filter, err := s.typedAuditFilter(c)
	if err != nil {
		return err
	}
	return s.exportAudit(c, format, filter)
}
