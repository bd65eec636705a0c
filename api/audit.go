package api

import (
	"context"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"longhaul/jobs"
	"longhaul/storage"
)

const (
	auditPath = "/api/v1/audit"
	// auditPage is how many lines a page has when the request does not say.
	auditPage = 100
	// maxAuditPage bounds that.
	maxAuditPage = 1000
)

// AuditLine is one line of the audit trail: who did what to what, and what came of it.
type AuditLine struct {
	ID        int64     `json:"id"`
	At        time.Time `json:"at"`
	Actor     string    `json:"actor" doc:"The login; - for who was not known"`
	Token     string    `json:"token" doc:"The name of the API token they came with"`
	Action    string    `json:"action" doc:"noun.verb, as in task.create"`
	App       string    `json:"app"`
	Object    string    `json:"object" doc:"The id or name of what it was done to"`
	Outcome   string    `json:"outcome" enum:"ok,refused,failed"`
	Detail    string    `json:"detail"`
	Address   string    `json:"address"`
	RequestID string    `json:"request_id"`
}

func (s *Server) auditRoutes(g *echo.Group) {
	g.GET(auditPath, s.getAudit)
	text := func(name, doc string) *huma.Param { return queryParam(name, doc, &huma.Schema{Type: "string"}) }
	moment := func(name, doc string) *huma.Param {
		return queryParam(name, doc, &huma.Schema{Type: "string", Format: "date-time"})
	}
	s.document(huma.Operation{
		OperationID: "list-audit", Method: http.MethodGet, Path: auditPath, Tags: []string{"Audit"}, Summary: "Read the audit trail",
		Description: "Newest first, a page at a time. With Accept: text/csv or application/jsonl, all lines that the " +
			"filters select, oldest first, as a stream. Admins of apps see the lines of their apps, instance admins all.",
		Parameters: []*huma.Param{
			text("app", "Only lines of this app"), text("actor", "Only lines of who has this login"),
			text("action", "Only lines of this action, as in task.create"), text("outcome", "Only lines with this outcome: ok, refused or failed"),
			moment("since", "Only lines at this time and later"), moment("until", "Only lines before this time"),
			queryParam("limit", "At most so many on a page", &huma.Schema{Type: "integer", Minimum: new(1.0), Maximum: new(float64(maxAuditPage)), Default: auditPage}),
			text("cursor", "The next_cursor of the page before"),
		},
		Responses: map[string]*huma.Response{"200": {
			Description: "The lines",
			Content: map[string]*huma.MediaType{
				"application/json":  {Schema: s.schemaOf(Page[AuditLine]{})},
				"application/jsonl": {Schema: &huma.Schema{Type: "string"}},
				"text/csv":          {Schema: &huma.Schema{Type: "string"}},
			},
		}},
		Errors: []int{http.StatusForbidden, http.StatusUnprocessableEntity},
	})
}

// getAudit handles GET /api/v1/audit, for admins of apps and of the instance.
func (s *Server) getAudit(c echo.Context) error {
	ctx := c.Request().Context()
	filter, err := s.auditFilter(ctx, c.QueryParam)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Vary", "Accept")
	switch accept := c.Request().Header.Get(echo.HeaderAccept); {
	case strings.Contains(accept, "text/csv"):
		return s.exportAudit(c, "csv", filter)
	case strings.Contains(accept, "application/jsonl"):
		return s.exportAudit(c, "jsonl", filter)
	}
	lines, next, err := s.auditPage(ctx, filter)
	if err != nil {
		return err
	}
	page := Page[AuditLine]{Items: make([]AuditLine, 0, len(lines)), NextCursor: next}
	for _, l := range lines {
		page.Items = append(page.Items, AuditLine(l))
	}
	body, err := encode(page)
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, body)
}

// auditFilter reads which lines a request asks for, and bounds it to those the caller may see.
func (s *Server) auditFilter(ctx context.Context, query func(string) string) (storage.AuditFilter, error) {
	f := storage.AuditFilter{
		App: query("app"), Actor: strings.ToLower(query("actor")), Action: query("action"), Outcome: query("outcome"), Limit: auditPage,
	}
	for name, into := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if text := query(name); text != "" {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return f, invalidField("query."+name, "write a time like 2026-11-21T16:20:00Z")
			}
			*into = at
		}
	}
	if text := query("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxAuditPage {
			return f, invalidField("query.limit", "write a number from 1 to "+strconv.Itoa(maxAuditPage))
		}
		f.Limit = n
	}
	if text := query("cursor"); text != "" {
		before, err := strconv.ParseInt(text, 10, 64)
		if err != nil || before < 1 {
			return f, &jobs.Invalid{
				Detail: "This cursor is not one that this server gave. Start again without one.",
				Fields: []jobs.Field{{Location: "query.cursor", Message: "unknown cursor"}},
			}
		}
		f.Before = before
	}
	return f, s.boundAudit(ctx, &f)
}

// boundAudit leaves of a filter what the caller may see: an instance admin all, others the lines
// of the apps that they manage.
func (s *Server) boundAudit(ctx context.Context, f *storage.AuditFilter) error {
	if requestOf(ctx).identity.rules() {
		return nil
	}
	apps, err := s.scope(ctx).Apps(ctx, storage.View|storage.Manage)
	if err != nil {
		return err
	}
	f.Apps = []string{}
	for i := range apps {
		f.Apps = append(f.Apps, apps[i].Name)
	}
	return nil
}

// auditPage reads a page of lines, and the cursor of the next; nil on the last.
func (s *Server) auditPage(ctx context.Context, f storage.AuditFilter) (lines []storage.AuditLine, next *string, err error) {
	limit := f.Limit
	f.Limit++
	if lines, err = s.db.AuditLines(ctx, f); err != nil || len(lines) <= limit {
		return lines, nil, err
	}
	lines = lines[:limit]
	cursor := strconv.FormatInt(lines[limit-1].ID, 10)
	return lines, &cursor, nil
}

// exportAudit streams all lines of a filter, and notes that in the trail.
func (s *Server) exportAudit(c echo.Context, format string, f storage.AuditFilter) error {
	ctx := c.Request().Context()
	line := requestOf(ctx).caller.Audit("audit.export", f.App, "")
	line.Detail = format
	if err := storage.InsertAudit(ctx, s.db.Pool, line); err != nil {
		return err
	}
	next, stop := iter.Pull2(s.db.AllAuditLines(ctx, f))
	defer stop()
	first, err, ok := next()
	if err != nil {
		return err // before anything was sent, so that it is an answer
	}
	attachment(c, "audit."+format, map[string]string{"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}[format])
	c.Response().WriteHeader(http.StatusOK)
	err = storage.WriteAudit(c.Response(), format, func(yield func(storage.AuditLine, error) bool) {
		for ; ok; first, err, ok = next() {
			if !yield(first, err) {
				return
			}
		}
	})
	if err != nil {
		s.Logger.WarnContext(ctx, "an export of the audit trail broke off", "error", err)
		panic(http.ErrAbortHandler) // the client must not take half of it for all
	}
	return nil
}
