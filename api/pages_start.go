package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"longhaul/api/web"
	"longhaul/jobs"
	"longhaul/storage"
)

// paramJob is the parameter that names a saved job; it is drawn as a list of those there are.
const paramJob = "job"

const (
	// listedFiles is how many of the app's archives the form lists.
	listedFiles = 100
	// searchedFiles is how many of the app's files are looked through for them.
	searchedFiles = 2000
)

// startPage handles GET /start?app=&kind=&file= and GET /start?from=, for operators: the
// form for a task, empty, with a file of the app, or as an earlier task was started.
func (s *Server) startPage(c echo.Context) error {
	form, err := s.startForm(c)
	if err != nil {
		return err
	}
	if partial(c) {
		return s.html(c, http.StatusOK, web.StartFields(form))
	}
	return s.html(c, http.StatusOK, web.StartPage(s.frame(c, "start"), form))
}

func (s *Server) startForm(c echo.Context) (*web.StartForm, error) {
	ctx := c.Request().Context()
	form := &web.StartForm{App: c.QueryParam("app")}
	kind := c.QueryParam("kind")
	var earlier *storage.Task
	if from := c.QueryParam("from"); from != "" {
		id, err := parseID(from)
		if err != nil {
			return nil, err
		}
		task, err := s.scope(ctx).Task(ctx, id, storage.View|storage.Operate)
		if err != nil {
			return nil, err
		}
		earlier, form.App, kind = &task, task.App, task.Kind
		form.Again = &web.Again{ID: from, Name: task.Name, FileGone: task.Input == "deleted"}
	}
	product, err := s.chooseApp(ctx, form)
	if err != nil {
		return nil, err
	}
	for _, k := range s.Engine.Kinds.All() {
		if k.Product != "none" && k.Product != product {
			continue
		}
		form.Kinds = append(form.Kinds, web.KindChoice{Name: k.Name, Title: k.Title})
		if k.Name == kind && form.App != "" {
			if err := fillForm(form, k, earlier); err != nil {
				return nil, err
			}
		}
	}
	return form, s.offerFiles(ctx, form, c.QueryParam("file"))
}

// offerFiles lists the archives that the app has, with the one that was asked for, to those who see
// data. What others upload is not for one app.
func (s *Server) offerFiles(ctx context.Context, form *web.StartForm, asked string) error {
	if form.App == "" || !requestOf(ctx).seesData(form.App) {
		return nil
	}
	form.UploadApp = form.App
	if asked != "" {
		switch file, err := s.scope(ctx).File(ctx, form.App, asked); {
		case err == nil:
			form.File, form.Files = file.Path, append(form.Files, web.AppFile{Path: file.Path, Size: file.Size})
		case !errors.Is(err, storage.ErrNotFound):
			return err
		}
	}
	if form.Kind == nil || form.Kind.Input == string(jobs.InputNone) {
		return nil
	}
	found, err := s.scope(ctx).Files(ctx, storage.FileFilter{App: form.App, Limit: searchedFiles})
	if err != nil {
		return err
	}
	form.MoreFiles = len(found) == searchedFiles
	for i := range found {
		switch {
		case found[i].Path == form.File || !web.IsZip(found[i].Path):
		case len(form.Files) == listedFiles:
			form.MoreFiles = true
			return nil
		default:
			form.Files = append(form.Files, web.AppFile{Path: found[i].Path, Size: found[i].Size})
		}
	}
	return nil
}

// chooseApp lists the apps, takes the only one there is, forgets one that is not there, and
// returns the chosen one's product.
func (s *Server) chooseApp(ctx context.Context, form *web.StartForm) (product string, err error) {
	apps, err := s.scope(ctx).Apps(ctx, storage.View|storage.Operate)
	if err != nil {
		return "", err
	}
	for i := range apps {
		form.Apps = append(form.Apps, web.AppChoice{Name: apps[i].Name, Application: apps[i].Application})
	}
	if len(apps) == 1 {
		form.App = apps[0].Name
	}
	at := slices.IndexFunc(apps, func(a storage.App) bool { return a.Name == form.App })
	if at < 0 {
		form.App = ""
		return "", nil
	}
	return apps[at].Product, nil
}

// fillForm draws what the kind asks for, filled with what an earlier task had.
func fillForm(form *web.StartForm, k *jobs.Kind, earlier *storage.Task) error {
	form.Kind = &web.StartKind{Name: k.Name, Title: k.Title, Input: string(k.Input), Exclusive: k.Exclusive}
	var values map[string]any
	if earlier != nil {
		form.Name = earlier.Name
		if err := json.Unmarshal(earlier.Params, &values); err != nil {
			return fmt.Errorf("params of task %s: %w", earlier.ID, err)
		}
		if earlier.MaxRejected != nil {
			form.MaxRejected = strconv.FormatInt(*earlier.MaxRejected, 10)
		}
	} else if k.JobType == "" {
		form.Name = web.DefaultName(k.Name)
	}
	schema, err := json.Marshal(k.Schema())
	if err != nil {
		return err
	}
	if form.Fields, err = web.Fields(schema, values); err != nil || k.JobType == "" {
		return err
	}
	form.Job = &web.JobField{App: form.App, Kind: k.Name, Value: form.Name}
	if job, ok := values[paramJob].(string); ok {
		form.Job.Value = job
	}
	form.Fields = slices.DeleteFunc(form.Fields, func(f web.Field) bool { return f.Name == paramJob })
	return nil
}

// startJobs handles GET /start/jobs?app=&kind=&job=, for operators: the field for the
// saved job, with those that the application has, or with why it could not be asked.
func (s *Server) startJobs(c echo.Context) error {
	ctx := c.Request().Context()
	field := &web.JobField{App: c.QueryParam("app"), Kind: c.QueryParam("kind"), Value: c.QueryParam(paramJob), Asked: true}
	var err error
	field.Jobs, err = s.Engine.Definitions(ctx, field.App, field.Kind, requestOf(ctx).caller)
	var remote *jobs.RemoteError
	switch {
	case errors.As(err, &remote):
		field.Problem = remote.Message
	case err != nil:
		problem := problemOf(ctx, err)
		s.report(ctx, problem)
		field.Problem = problem.Detail
	}
	return s.html(c, http.StatusOK, web.JobChoice(field))
}
