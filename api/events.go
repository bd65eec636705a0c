package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"longhaul/jobs"
)

const (
	// keepAlive is how often a stream with nothing to tell says so, so that proxies keep it.
	keepAlive = 15 * time.Second
	// eventWrite is how long a client may take to read an event.
	eventWrite = 20 * time.Second
)

func (s *Server) eventRoutes(g *echo.Group) {
	g.GET(tasksPath+"/:id/events", s.events)
	s.document(huma.Operation{
		OperationID: "follow-task", Method: http.MethodGet, Path: taskPath + "/events", Tags: []string{"Tasks"},
		Summary: "Follow a task as Server-Sent Events",
		Description: "Events: task (the task), log ({offset, text}). The stream ends after the final state; " +
			"Last-Event-ID resumes it.",
		Parameters: []*huma.Param{idParam(), headerParam("Last-Event-ID", "The id of the last event that arrived")},
		Responses:  map[string]*huma.Response{"200": bytesResponse("The stream", "text/event-stream")},
	})
	g.GET(tasksPath+"/:id/log", s.taskLog)
	s.document(huma.Operation{
		OperationID: "get-task-log", Method: http.MethodGet, Path: taskPath + "/log", Tags: []string{"Tasks"},
		Summary: "Read a task's log, while it runs too",
		Parameters: []*huma.Param{
			idParam(),
			queryParam("after", "Only what follows this byte offset", &huma.Schema{Type: "integer", Minimum: new(0.0)}),
			headerParam("Range", "Another way to ask for the rest: bytes=1024-"),
		},
		Responses: map[string]*huma.Response{
			"200": bytesResponse("The log", "text/plain"), "206": bytesResponse("A part of the log", "text/plain"),
		},
		Errors: []int{http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable, http.StatusUnprocessableEntity},
	})
}

// position is where a stream stands: the task's version and the log's offset. It is the event id.
type position struct {
	version, offset int64
}

func (p position) String() string { return fmt.Sprintf("%d.%d", p.version, p.offset) }

// parsePosition reads an event id; what is none stands at the beginning.
func parsePosition(id string) position {
	version, offset, _ := strings.Cut(id, ".")
	v, err1 := strconv.ParseInt(version, 10, 64)
	o, err2 := strconv.ParseInt(offset, 10, 64)
	if err1 != nil || err2 != nil || v < 0 || o < 0 {
		return position{}
	}
	return position{v, o}
}

// events handles GET /api/v1/tasks/{id}/events, for the members of its app; the log only for who
// sees data.
func (s *Server) events(c echo.Context) error {
	r := requestOf(c.Request().Context())
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	c.Response().WriteHeader(http.StatusOK)
	stream := &eventStream{
		server: s, c: c, request: r, w: c.Response(), control: http.NewResponseController(c.Response()), base: s.base(c.Request()),
		at: parsePosition(c.Request().Header.Get("Last-Event-ID")),
	}
	// Errors from here on cut the stream; the client resumes with Last-Event-ID.
	_ = stream.follow(c.Request().Context(), r.snap)
	// The connection may serve other requests, long after.
	_ = stream.control.SetWriteDeadline(time.Time{})
	return nil
}

type eventStream struct {
	server  *Server
	c       echo.Context
	request *request
	w       *echo.Response
	control *http.ResponseController
	base    string
	at      position
}

// follow sends what is new until the task is final, the client is gone or may not look any more,
// or the server stops.
func (e *eventStream) follow(ctx context.Context, snap *jobs.Snapshot) error {
	id := snap.Task.ID
	for {
		if err := e.send(ctx, snap); err != nil || snap.Task.Final() {
			return err
		}
		hold, cancel := e.server.untilStop(ctx, keepAlive)
		next, err := e.server.Engine.Watch().Wait(hold, id, snap.Task.Version)
		cancel()
		if err != nil || ctx.Err() != nil || e.server.stopping.Err() != nil {
			return err
		}
		if !e.server.stillMay(e.c, next.Task.App, e.request.identity.rights(next.Task.App)) {
			return nil
		}
		snap = next
	}
}

// send writes the log that is new, then the task if it changed, or a sign of life.
func (e *eventStream) send(ctx context.Context, snap *jobs.Snapshot) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(eventWrite)); err != nil {
		return err
	}
	quiet := true
	var text string
	if e.request.seesData(snap.Task.App) {
		var err error
		if text, err = snap.Log(ctx, e.at.offset); err != nil {
			return err
		}
	}
	if text != "" {
		quiet = false
		data := map[string]any{"offset": e.at.offset, "text": text}
		e.at.offset += int64(len(text))
		if err := e.event("log", data); err != nil {
			return err
		}
	}
	if snap.Task.Version != e.at.version || snap.Task.Final() {
		quiet = false
		e.at.version = snap.Task.Version
		body, err := e.server.rendered(e.request, snap, e.base)
		if err != nil {
			return err
		}
		if err := e.event("task", json.RawMessage(body)); err != nil {
			return err
		}
	}
	if quiet {
		if _, err := e.w.Write([]byte(": nothing new\n\n")); err != nil {
			return err
		}
	}
	return e.control.Flush()
}

func (e *eventStream) event(name string, data any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.w, "event: %s\nid: %s\ndata: %s\n\n", name, e.at, body)
	return err
}

// taskLog handles GET /api/v1/tasks/{id}/log, for who sees data.
func (s *Server) taskLog(c echo.Context) error {
	id, err := parseID(c.Param("id"))
	if err != nil {
		return err
	}
	var after int64
	if text := c.QueryParam("after"); text != "" {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			return &jobs.Invalid{
				Detail: "after is the byte offset up to which the log is known: a number from 0",
				Fields: []jobs.Field{{Location: "query.after", Message: "is not such a number"}},
			}
		}
	}
	text, _, err := s.scope(c.Request().Context()).Log(c.Request().Context(), id, after)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentType, echo.MIMETextPlainCharsetUTF8)
	c.Response().Header().Set("Cache-Control", "private, no-cache")
	return s.serveContent(c, strings.NewReader(text), time.Time{})
}
