package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"longhaul/api/web"
	"longhaul/jobs"
	"longhaul/storage"
)

const (
	// pageTasks is how many tasks a page of the list has.
	pageTasks = 25
	// suggestFrom is how many tasks back names are looked for that the list may be filtered by.
	suggestFrom = 200
	// pageLog is how much of a log's end a page shows, in bytes.
	pageLog = 128 << 10
)

// tasksPage handles GET /, for whoever is signed in: the tasks within their reach.
func (s *Server) tasksPage(c echo.Context) error {
	list, err := s.taskList(c)
	if err != nil {
		return err
	}
	if partial(c) {
		if asked := c.Request().Header; asked.Get("HX-Trigger") != "tasks" && !strings.HasSuffix(asked.Get("HX-Current-URL"), list.Filter.URL()) {
			c.Response().Header().Set("HX-Push-Url", list.Filter.URL()) // the filter changed; else the list refreshed itself
		}
		return s.html(c, http.StatusOK, web.TaskRows(list))
	}
	for _, kind := range s.Engine.Kinds.All() {
		list.Kinds = append(list.Kinds, web.KindChoice{Name: kind.Name, Title: kind.Title})
	}
	recent, err := s.scope(c.Request().Context()).Tasks(c.Request().Context(), storage.TaskFilter{Limit: suggestFrom})
	if err != nil {
		return err
	}
	for i := range recent {
		list.Names = append(list.Names, recent[i].Name)
	}
	slices.Sort(list.Names)
	list.Names = slices.Compact(list.Names)
	list.Deleted = c.QueryParam("deleted") != ""
	if list.Broken, err = s.brokenApps(c.Request().Context()); err != nil {
		return err
	}
	return s.html(c, http.StatusOK, web.TasksPage(s.frame(c, "tasks"), list))
}

// brokenApps are those that the caller manages and whose connection needs somebody.
func (s *Server) brokenApps(ctx context.Context) ([]web.App, error) {
	connections, err := s.scope(ctx).Connections(ctx)
	if err != nil {
		return nil, err
	}
	var broken []web.App
	for i := range connections {
		c := &connections[i]
		if (c.Broken || !c.Connected()) && requestOf(ctx).identity.rights(c.App).Has(storage.Manage) {
			broken = append(broken, web.App{Name: c.App, Problem: orEmpty(c.Problem)})
		}
	}
	return broken, nil
}

// taskList loads the tasks that the request's filter selects.
func (s *Server) taskList(c echo.Context) (*web.TaskList, error) {
	ctx := c.Request().Context()
	caller := requestOf(ctx).identity
	list := &web.TaskList{Now: time.Now(), MayStart: caller.anywhere(storage.View | storage.Operate), MayAdd: caller.rules(), Newcomer: s.newcomer(ctx), Filter: web.Filter{
		App: c.QueryParam("app"), Kind: c.QueryParam("kind"), State: c.QueryParam("state"),
		Name: strings.TrimSpace(c.QueryParam("name")), Cursor: c.QueryParam("cursor"),
	}}
	filter := storage.TaskFilter{App: list.Filter.App, Kind: list.Filter.Kind, Name: list.Filter.Name, Limit: pageTasks + 1}
	switch state := list.Filter.State; {
	case state == web.OpenStates:
		filter.States = []string{jobs.Queued, jobs.Running}
	case slices.Contains(jobs.States, state):
		filter.States = []string{state}
	}
	if list.Filter.Cursor != "" {
		before, err := uuid.Parse(list.Filter.Cursor)
		if err != nil {
			return nil, storage.ErrNotFound
		}
		filter.Before = &before
	}
	apps, err := s.scope(ctx).Apps(ctx, storage.View)
	if err != nil {
		return nil, err
	}
	for i := range apps {
		list.Apps = append(list.Apps, apps[i].Name)
	}
	tasks, err := s.scope(ctx).Tasks(ctx, filter)
	if err != nil {
		return nil, err
	}
	if len(tasks) > pageTasks {
		tasks = tasks[:pageTasks]
		list.Older = tasks[pageTasks-1].ID.String()
	}
	for i := range tasks {
		list.Tasks = append(list.Tasks, s.taskOnPage(requestOf(ctx).shown(&tasks[i])))
	}
	return list, nil
}

// taskOnPage is a task as the pages show it.
func (s *Server) taskOnPage(t *storage.Task) web.Task {
	shown := web.Task{
		ID: t.ID.String(), Name: t.Name, App: t.App, Kind: t.Kind, KindTitle: t.Kind,
		State: t.State, Cancelling: t.CancelRequestedAt != nil, Step: s.Engine.Kinds.Shows(t), Message: t.Message,
		Percent: t.Percent, Version: t.Version, ETA: t.ETA,
		CreatedBy: t.CreatedBy, CreatedAt: t.CreatedAt, StartedAt: t.StartedAt, FinishedAt: t.FinishedAt,
		Attempt: t.Attempt, Params: t.Params, MaxRejected: t.MaxRejected,
		Result: t.Result, InputDeleted: t.Input == "deleted", RemoteUnknown: t.RemoteIntentAt != nil && t.RemoteJobID == nil,
		OutputsExpireAt: t.OutputsExpireAt, OutputsDeleted: t.OutputsDeletedAt != nil,
	}
	if kind, err := s.Engine.Kinds.Get(t.Kind); err == nil {
		shown.KindTitle = kind.Title
	}
	if t.Parent != nil {
		shown.Parent = t.Parent.String()
	}
	if t.RemoteJobID != nil {
		shown.Remote = &web.Remote{JobID: *t.RemoteJobID, Status: orEmpty(t.RemoteStatus)}
	}
	if t.ErrorCode != nil {
		shown.Error = &web.TaskError{Code: *t.ErrorCode, Message: orEmpty(t.ErrorMessage), Detail: orEmpty(t.ErrorDetail)}
	}
	for _, o := range t.Outputs {
		shown.Outputs = append(shown.Outputs, web.Output{Path: o.Path, Size: o.Size, SHA256: o.SHA256})
	}
	return shown
}

// taskPage handles GET /tasks/{id}, for the members of its app.
func (s *Server) taskPage(c echo.Context) error {
	r := requestOf(c.Request().Context())
	view := &web.TaskView{Task: s.taskOnPage(r.shown(&r.snap.Task)), Now: time.Now(), May: r.may(r.snap.Task.App)}
	var err error
	if view.Kept, err = s.keptOutputs(c.Request().Context(), &r.snap.Task); err != nil {
		return err
	}
	if partial(c) {
		return s.html(c, http.StatusOK, web.TaskState(view))
	}
	if !view.May.SeeData {
		return s.html(c, http.StatusOK, web.TaskPage(s.frame(c, "tasks"), view))
	}
	after := max(0, r.snap.Task.LogSize-pageLog)
	text, err := r.snap.Log(c.Request().Context(), after)
	if err != nil {
		return err
	}
	view.LogSize = after + int64(len(text))
	if after > 0 {
		_, text, _ = strings.Cut(text, "\n") // the cut may have hit the middle of a line
		view.LogCut = true
	}
	view.Log = text
	return s.html(c, http.StatusOK, web.TaskPage(s.frame(c, "tasks"), view))
}

// askCancel handles GET /tasks/{id}/cancel, for the operators of its app.
func (s *Server) askCancel(c echo.Context) error {
	task, err := s.taskOfPage(c)
	if err != nil {
		return err
	}
	if task.Final() {
		return c.Redirect(http.StatusSeeOther, "/tasks/"+task.ID.String())
	}
	shown := s.taskOnPage(task)
	kind, err := s.Engine.Kinds.Get(task.Kind)
	return s.question(c, "tasks", web.AskCancel(&shown, err != nil || kind.Product != "none"))
}

// cancelFromPage handles POST /tasks/{id}/cancel, for the operators of its app.
func (s *Server) cancelFromPage(c echo.Context) error {
	task, err := s.taskOfPage(c)
	if err != nil {
		return err
	}
	_, err = s.Engine.Cancel(c.Request().Context(), task.ID, requestOf(c.Request().Context()).caller)
	if err != nil && !errors.Is(err, jobs.ErrFinal) { // it ended by itself meanwhile: its page says how
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/tasks/"+task.ID.String())
}

// retryFromPage handles POST /tasks/{id}/retry, for the operators of its app.
func (s *Server) retryFromPage(c echo.Context) error {
	task, err := s.taskOfPage(c)
	if err != nil {
		return err
	}
	again, err := s.Engine.Retry(c.Request().Context(), task.ID, requestOf(c.Request().Context()).caller)
	switch {
	case errors.Is(err, jobs.ErrInputGone):
		return c.Redirect(http.StatusSeeOther, "/start?from="+task.ID.String())
	case errors.Is(err, jobs.ErrNotFinal):
		return c.Redirect(http.StatusSeeOther, "/tasks/"+task.ID.String())
	case err != nil:
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/tasks/"+again.ID.String())
}

// askDelete handles GET /tasks/{id}/delete, for the operators of its app.
func (s *Server) askDelete(c echo.Context) error {
	task, err := s.taskOfPage(c)
	if err != nil {
		return err
	}
	shown := s.taskOnPage(task)
	return s.question(c, "tasks", web.AskDelete(&shown, time.Now()))
}

// deleteFromPage handles POST /tasks/{id}/delete, for the operators of its app.
func (s *Server) deleteFromPage(c echo.Context) error {
	task, err := s.taskOfPage(c)
	if err != nil {
		return err
	}
	if err := s.Engine.Delete(c.Request().Context(), task.ID, requestOf(c.Request().Context()).caller); err != nil {
		return fmt.Errorf("delete task %s: %w", task.ID, err)
	}
	return c.Redirect(http.StatusSeeOther, "/?deleted=1")
}

// taskOfPage is the task that the page's address names.
func (s *Server) taskOfPage(c echo.Context) (*storage.Task, error) {
	id, err := parseID(c.Param("id"))
	if err != nil {
		return nil, err
	}
	task, err := s.scope(c.Request().Context()).Task(c.Request().Context(), id, storage.View|storage.Operate)
	return requestOf(c.Request().Context()).shown(&task), err
}
