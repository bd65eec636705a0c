package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"longhaul/jobs"
	"longhaul/storage"
)

const (
	tasksPath = "/api/v1/tasks"
	taskPath  = tasksPath + "/{id}"
	// maxWait bounds ?wait=, in seconds.
	maxWait = 60
	// retryAfter is how many seconds a client that polls should let pass.
	retryAfter = 2
)

func (s *Server) taskRoutes(g *echo.Group) {
	g.POST(tasksPath, s.createTask)
	s.describeCreate()
	g.GET(tasksPath+"/:id", s.getTask)
	s.document(huma.Operation{
		OperationID: "get-task", Method: http.MethodGet, Path: taskPath, Tags: []string{"Tasks"},
		Summary: "Get a task",
		Description: "Answers 304 when the task still is as If-None-Match names it. With wait, holds the answer " +
			"until the task differs from that, or is final.",
		Parameters: []*huma.Param{
			idParam(),
			waitParam(),
			headerParam("If-None-Match", "The ETag of an earlier answer"),
		},
		Responses: map[string]*huma.Response{"200": s.taskResponse("The task"), "304": {Description: "Not changed"}},
		Errors:    []int{http.StatusUnprocessableEntity},
	})
	huma.Register(s.huma, huma.Operation{
		OperationID: "list-tasks", Method: http.MethodGet, Path: tasksPath, Tags: []string{"Tasks"},
		Summary: "List tasks, newest first", Errors: []int{http.StatusUnauthorized},
	}, s.listTasks)
	huma.Register(s.huma, huma.Operation{
		OperationID: "cancel-task", Method: http.MethodPost, Path: taskPath + "/cancel", Tags: []string{"Tasks"},
		Summary: "Cancel a task", Parameters: []*huma.Param{idParam()},
		Description:   "What cancelling came to, and what goes on in the remote application all the same, is the task's error once it is final.",
		DefaultStatus: http.StatusAccepted, Errors: []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict},
	}, s.cancelTask)
	huma.Register(s.huma, huma.Operation{
		OperationID: "retry-task", Method: http.MethodPost, Path: taskPath + "/retry", Tags: []string{"Tasks"},
		Summary: "Do the work of a final task again", Parameters: []*huma.Param{idParam()},
		Description:   "Makes a new task that names this one as its parent. 409 when its input was deleted.",
		DefaultStatus: http.StatusAccepted, Errors: []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict},
	}, s.retryTask)
	huma.Register(s.huma, huma.Operation{
		OperationID: "delete-task", Method: http.MethodDelete, Path: taskPath, Tags: []string{"Tasks"},
		Summary: "Delete a final task with its log and outputs", Parameters: []*huma.Param{idParam()},
		DefaultStatus: http.StatusNoContent,
		Errors:        []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict},
	}, s.deleteTask)
}

// getTask handles GET /api/v1/tasks/{id}, for the members of its app. It is the call that clients
// make most, so it takes no detour.
func (s *Server) getTask(c echo.Context) error {
	r := requestOf(c.Request().Context())
	known := c.Request().Header.Get("If-None-Match")
	snap, err := s.waitTask(c, r.snap, known)
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("ETag", etag(snap.Task.Version))
	h.Set("Cache-Control", "private, no-cache")
	if !snap.Task.Final() {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	if matches(known, snap.Task.Version) {
		return c.NoContent(http.StatusNotModified)
	}
	body, err := s.rendered(r, snap, s.base(c.Request()))
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, body)
}

// rendered is a task as JSON for a caller who reached the server at base; those who see the same
// share it.
func (s *Server) rendered(r *request, snap *jobs.Snapshot, base string) ([]byte, error) {
	key := base
	if !r.seesData(snap.Task.App) {
		key += " without data"
	}
	return snap.Rendered(key, func(t *storage.Task) ([]byte, error) {
		return encode(taskBody(s.Engine.Kinds, r.shown(t), base))
	})
}

// waitTask holds as long as ?wait asks, while the task is as known names it and not final.
func (s *Server) waitTask(c echo.Context, snap *jobs.Snapshot, known string) (*jobs.Snapshot, error) {
	if c.QueryParam("wait") == "" {
		return snap, nil
	}
	wait, err := waitOf(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.untilStop(c.Request().Context(), wait)
	defer cancel()
	for ctx.Err() == nil && !snap.Task.Final() && matches(known, snap.Task.Version) {
		if snap, err = s.Engine.Watch().Wait(ctx, snap.Task.ID, snap.Task.Version); err != nil {
			return nil, err
		}
	}
	if !s.stillMay(c, snap.Task.App, storage.View) {
		return nil, storage.ErrNotFound
	}
	return snap, nil
}

// waitOf reads how long ?wait asks to be held.
func waitOf(c echo.Context) (time.Duration, error) {
	text := c.QueryParam("wait")
	if text == "" {
		return 0, nil
	}
	wait, err := strconv.Atoi(text)
	if err != nil || wait < 0 || wait > maxWait {
		return 0, &jobs.Invalid{
			Detail: fmt.Sprintf("wait is a number of seconds from 0 to %d", maxWait),
			Fields: []jobs.Field{{Location: "query.wait", Message: "is not such a number"}},
		}
	}
	return time.Duration(wait) * time.Second, nil
}

// untilStop returns a context that ends after d, with ctx, or when the server is to stop.
func (s *Server) untilStop(ctx context.Context, d time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(ctx, d)
	stop := context.AfterFunc(s.stopping, cancel)
	return ctx, func() { stop(); cancel() }
}

type listTasksInput struct {
	App    string   `query:"app" doc:"Only tasks of this app"`
	Kind   string   `query:"kind" doc:"Only tasks of this kind"`
	State  []string `query:"state" enum:"queued,running,succeeded,failed,cancelled" doc:"Only tasks in one of these states, separated by commas"`
	Name   string   `query:"name" doc:"Only tasks of this name"`
	Limit  int      `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"At most so many"`
	Cursor string   `query:"cursor" doc:"The next_cursor of the page before"`
}

// Page is a part of a list.
type Page[T any] struct {
	Items      []T     `json:"items" nullable:"false"`
	NextCursor *string `json:"next_cursor" doc:"For the next page; null on the last"`
}

// cursorID reads a cursor that is the id of the last record of the page before; nil: there is none.
func cursorID(text string) (*uuid.UUID, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // documented
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return nil, &jobs.Invalid{
			Detail: "This cursor is not one that this server gave. Start again without one.",
			Fields: []jobs.Field{{Location: "query.cursor", Message: "unknown cursor"}},
		}
	}
	return &id, nil
}

type listTasksOutput struct{ Body Page[*Task] }

// listTasks handles GET /api/v1/tasks, for whoever is signed in: the tasks within their reach.
func (s *Server) listTasks(ctx context.Context, in *listTasksInput) (*listTasksOutput, error) {
	filter := storage.TaskFilter{App: in.App, Kind: in.Kind, Name: in.Name, States: in.State, Limit: in.Limit + 1}
	var err error
	if filter.Before, err = cursorID(in.Cursor); err != nil {
		return nil, err
	}
	tasks, err := s.scope(ctx).Tasks(ctx, filter)
	if err != nil {
		return nil, err
	}
	out := &listTasksOutput{Body: Page[*Task]{Items: []*Task{}}}
	if len(tasks) > in.Limit {
		tasks = tasks[:in.Limit]
		cursor := tasks[in.Limit-1].ID.String()
		out.Body.NextCursor = &cursor
	}
	base := s.base(requestOf(ctx).http)
	for i := range tasks {
		out.Body.Items = append(out.Body.Items, taskBody(s.Engine.Kinds, requestOf(ctx).shown(&tasks[i]), base))
	}
	return out, nil
}

type taskInput struct {
	ID string `path:"id" doc:"The task's id"` // idParam describes it; what is no id is not found
}

type taskOutput struct {
	Location   string `header:"Location" doc:"The task's address"`
	RetryAfter int    `header:"Retry-After" doc:"Seconds to let pass before asking"`
	Body       *Task
}

func (s *Server) accepted(ctx context.Context, t *storage.Task) *taskOutput {
	return &taskOutput{
		Location:   tasksPath + "/" + t.ID.String(),
		RetryAfter: retryAfter,
		Body:       taskBody(s.Engine.Kinds, requestOf(ctx).shown(t), s.base(requestOf(ctx).http)),
	}
}

// cancelTask handles POST /api/v1/tasks/{id}/cancel, for the operators of its app.
func (s *Server) cancelTask(ctx context.Context, in *taskInput) (*taskOutput, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	task, err := s.Engine.Cancel(ctx, id, requestOf(ctx).caller)
	if err != nil {
		return nil, err
	}
	return s.accepted(ctx, task), nil
}

// retryTask handles POST /api/v1/tasks/{id}/retry, for the operators of its app.
func (s *Server) retryTask(ctx context.Context, in *taskInput) (*taskOutput, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	task, err := s.Engine.Retry(ctx, id, requestOf(ctx).caller)
	if err != nil {
		return nil, err
	}
	return s.accepted(ctx, task), nil
}

// deleteTask handles DELETE /api/v1/tasks/{id}, for the operators of its app.
func (s *Server) deleteTask(ctx context.Context, in *taskInput) (*struct{}, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, s.Engine.Delete(ctx, id, requestOf(ctx).caller)
}

// etag is the entity tag of a version of a task.
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// matches reports whether an If-None-Match header names the version.
func matches(header string, version int64) bool {
	if header == "" {
		return false
	}
	tag := etag(version)
	return header == tag || slices.ContainsFunc(strings.Split(header, ","), func(one string) bool {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		return one == tag || one == "*"
	})
}
