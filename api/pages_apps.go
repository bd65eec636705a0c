package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"longhaul/api/web"
	"longhaul/jobs"
	"longhaul/storage"
)

// appsPage handles GET /apps, for whoever is signed in.
func (s *Server) appsPage(c echo.Context) error {
	return s.showApps(c, &web.AppList{Saved: c.QueryParam("saved")})
}

func (s *Server) showApps(c echo.Context, list *web.AppList) error {
	apps, err := s.scope(c.Request().Context()).Apps(c.Request().Context(), storage.View)
	if err != nil {
		return err
	}
	known := false
	for i := range apps {
		list.Apps = append(list.Apps, appOnPage(&apps[i]))
		known = known || apps[i].Name == list.Saved
	}
	if !known {
		list.Saved = "" // the address was made up
	}
	return s.html(c, http.StatusOK, web.AppsPage(s.frame(c, "apps"), list))
}

// appOnPage is an app as the pages show it.
func appOnPage(a *storage.App) web.App {
	shown := web.App{
		Name: a.Name, Product: a.Product, URL: a.URL, Application: a.Application,
		SignsIn: a.AuthType != "none", MaxRunning: a.MaxRunning,
	}
	if a.MaintenanceStart != nil {
		shown.Maintenance = &web.Maintenance{Start: *a.MaintenanceStart, Minutes: *a.MaintenanceMinutes, TimeZone: *a.MaintenanceZone}
	}
	return shown
}

// newAppPage handles GET /new-app, for whoever is signed in.
func (s *Server) newAppPage(c echo.Context) error {
	form := &web.AppForm{New: true, Product: "epm", MaxRunning: "4", Start: "02:00", Minutes: "60"}
	return s.html(c, http.StatusOK, web.AppPage(s.frame(c, "apps"), form))
}

// appPage handles GET /apps/{app}, for whoever is signed in.
func (s *Server) appPage(c echo.Context) error {
	app, err := s.scope(c.Request().Context()).App(c.Request().Context(), c.Param("app"))
	if err != nil {
		return err
	}
	shown := appOnPage(&app)
	form := &web.AppForm{
		Name: app.Name, Product: app.Product, URL: app.URL, Application: app.Application,
		HasCredentials: shown.SignsIn, MaxRunning: strconv.Itoa(app.MaxRunning), Start: "02:00", Minutes: "60",
	}
	if m := shown.Maintenance; m != nil {
		form.Maintenance, form.Start, form.Minutes, form.TimeZone = true, m.Start, strconv.Itoa(m.Minutes), m.TimeZone
	}
	return s.html(c, http.StatusOK, web.AppPage(s.frame(c, "apps"), form))
}

// createAppFromPage handles POST /new-app, for whoever is signed in.
func (s *Server) createAppFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	form := typedApp(c)
	form.New, form.Name = true, strings.TrimSpace(c.FormValue("name"))
	set := typedSettings(form, c.FormValue("password"))
	return s.storeApp(c, form, "NewApp", NewApp{Name: form.Name, AppSettings: *set}, func() error {
		_, err := s.Engine.CreateApp(ctx, form.Name, set.settings(), requestOf(ctx).caller)
		return err
	})
}

// saveAppFromPage handles POST /apps/{app}, for whoever is signed in.
func (s *Server) saveAppFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	app, err := s.scope(ctx).App(ctx, c.Param("app"))
	if err != nil {
		return err
	}
	form := typedApp(c)
	form.Name, form.HasCredentials = app.Name, app.AuthType != "none"
	set := typedSettings(form, c.FormValue("password"))
	return s.storeApp(c, form, "AppSettings", set, func() error {
		_, err := s.Engine.ReplaceApp(ctx, app.Name, set.settings(), requestOf(ctx).caller)
		return err
	})
}

// typedApp is the form as it was sent, without the password.
func typedApp(c echo.Context) *web.AppForm {
	typed := func(name string) string { return strings.TrimSpace(c.FormValue(name)) }
	return &web.AppForm{
		Product: typed("product"), URL: typed("url"), Application: typed("application"), Username: typed("username"),
		MaxRunning: typed("max_running"), Maintenance: typed("maintenance") != "",
		Start: typed("start"), Minutes: typed("minutes"), TimeZone: typed("time_zone"),
	}
}

// typedSettings is what the form asks for. What is no number becomes one that is refused.
func typedSettings(form *web.AppForm, password string) *AppSettings {
	set := &AppSettings{Product: form.Product, URL: form.URL, Application: form.Application}
	if form.Product == "none" {
		set.URL, set.Application = "", ""
	} else if form.Username != "" || password != "" || !form.HasCredentials {
		set.Auth = &Credentials{Type: "basic", Username: form.Username, Password: password}
	}
	if form.MaxRunning != "" {
		set.MaxRunning = numberOr(form.MaxRunning, -1)
	}
	if form.Maintenance {
		set.Maintenance = &Maintenance{Start: form.Start, Minutes: numberOr(form.Minutes, 0), TimeZone: form.TimeZone}
	}
	return set
}

func numberOr(text string, otherwise int) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return otherwise
	}
	return n
}

// storeApp stores what was typed, or shows it again with what is wrong with it. The schema is
// the API's for body: what a page sends must fit it as well.
func (s *Server) storeApp(c echo.Context, form *web.AppForm, schema string, body any, store func() error) error {
	found, err := s.appProblems(schema, body)
	if err == nil && len(found) == 0 {
		err = store()
	}
	var invalid *jobs.Invalid
	switch {
	case errors.Is(err, storage.ErrConflict):
		found = []jobs.Field{{Location: "body.name", Message: "there is an app of this name; choose another"}}
	case errors.As(err, &invalid):
		found = invalid.Fields
	case err != nil:
		return err
	}
	if len(found) == 0 {
		return c.Redirect(http.StatusSeeOther, "/apps?saved="+url.QueryEscape(form.Name))
	}
	for _, f := range found {
		form.Errors = append(form.Errors, appFields[f.Location].says(f.Message))
	}
	return s.html(c, http.StatusUnprocessableEntity, web.AppPage(s.frame(c, "apps"), form))
}

// appField is the control for a field of an app, with its label and what it takes.
type appField struct{ control, label, takes string }

var appFields = map[string]appField{
	"body.name":                  {"name", "Name", "write lower-case letters, digits and hyphens"},
	"body.url":                   {"url", "Address", ""},
	"body.application":           {"application", "Application", ""},
	"body.auth":                  {"username", "Sign-in", ""},
	"body.max_running":           {"max_running", "Tasks at once", "write a number from 0 to 1000"},
	"body.maintenance.start":     {"start", "Maintenance", "write a time like 02:00"},
	"body.maintenance.minutes":   {"minutes", "Maintenance", "write a number of minutes from 1 to 1439"},
	"body.maintenance.time_zone": {"time_zone", "Time zone", ""},
}

func (f appField) says(message string) web.FieldError {
	if f.label != "" {
		message = f.label + ": " + message
	}
	return web.FieldError{Field: f.control, Message: message}
}

// appProblems holds an app that was typed against the API's schema for it.
func (s *Server) appProblems(schema string, body any) ([]jobs.Field, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, err
	}
	registry := s.huma.OpenAPI().Components.Schemas
	var result huma.ValidateResult
	path := huma.NewPathBuffer(nil, 0)
	path.Push("body")
	huma.Validate(registry, registry.SchemaFromRef("#/components/schemas/"+schema), path, huma.ModeWriteToServer, value, &result)
	var found []jobs.Field
	for _, err := range result.Errors {
		field := jobs.Field{Message: err.Error()}
		if detail, ok := err.(huma.ErrorDetailer); ok {
			field = jobs.Field{Location: detail.ErrorDetail().Location, Message: detail.ErrorDetail().Message}
		}
		field.Message = cmp.Or(appFields[field.Location].takes, field.Message)
		found = append(found, field)
	}
	return found, nil
}

// checkAppFromPage handles POST /apps/{app}/check, for whoever is signed in: it signs in to the
// application and says what came of it, in the list of apps or as a part of it.
func (s *Server) checkAppFromPage(c echo.Context) error {
	name := c.Param("app")
	found, err := s.Engine.CheckApp(c.Request().Context(), name, requestOf(c.Request().Context()).caller)
	if err != nil {
		return err
	}
	check := &web.Check{App: name, OK: found.OK, Message: found.Message}
	if partial(c) {
		return s.html(c, http.StatusOK, web.CheckResult(check))
	}
	return s.showApps(c, &web.AppList{Check: check})
}

// askDeleteApp handles GET /apps/{app}/delete, for whoever is signed in.
func (s *Server) askDeleteApp(c echo.Context) error {
	ctx := c.Request().Context()
	app, err := s.scope(ctx).App(ctx, c.Param("app"))
	if err != nil {
		return err
	}
	tasks, err := s.scope(ctx).Tasks(ctx, storage.TaskFilter{App: app.Name, Limit: 1})
	if err != nil {
		return err
	}
	shown := appOnPage(&app)
	return s.question(c, "apps", web.AskDeleteApp(&shown, len(tasks) > 0))
}

// deleteAppFromPage handles POST /apps/{app}/delete, for whoever is signed in.
func (s *Server) deleteAppFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	err := s.Engine.DeleteApp(ctx, c.Param("app"), requestOf(ctx).caller)
	if errors.Is(err, storage.ErrConflict) {
		return s.askDeleteApp(c) // a task was made meanwhile; the question says so
	}
	if err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/apps")
}
