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
	ctx := c.Request().Context()
	r := requestOf(ctx)
	apps, err := s.scope(ctx).Apps(ctx, storage.View)
	if err != nil {
		return err
	}
	connections, err := s.connections(ctx, apps...)
	if err != nil {
		return err
	}
	list.MayAdd, list.Newcomer = r.identity.rules(), s.newcomer(ctx)
	known := false
	for i := range apps {
		list.Apps = append(list.Apps, appOnPage(&apps[i], connections[apps[i].Name]))
		list.Apps[i].May = r.may(apps[i].Name)
		known = known || apps[i].Name == list.Saved
	}
	if !known {
		list.Saved = "" // the address was made up
	}
	return s.html(c, http.StatusOK, web.AppsPage(s.frame(c, "apps"), list))
}

// appOnPage is an app as the pages show it; c is nil where it does not sign in by OAuth 2.
func appOnPage(a *storage.App, c *storage.Connection) web.App {
	shown := web.App{
		Name: a.Name, Product: a.Product, URL: a.URL, Application: a.Application,
		SignsIn: a.AuthType != "none", MaxRunning: a.MaxRunning,
	}
	if c != nil {
		shown.Grant, shown.Connected, shown.ConnectedAs, shown.Problem = c.Grant, c.Connected(), orEmpty(c.ConnectedAs), orEmpty(c.Problem)
	}
	if a.MaintenanceStart != nil {
		shown.Maintenance = &web.Maintenance{Start: *a.MaintenanceStart, Minutes: *a.MaintenanceMinutes, TimeZone: *a.MaintenanceZone}
	}
	return shown
}

// newAppPage handles GET /new-app, for instance admins.
func (s *Server) newAppPage(c echo.Context) error {
	form := &web.AppForm{New: true, Product: "epm", MaxRunning: "4", Start: "02:00", Minutes: "60"}
	return s.html(c, http.StatusOK, web.AppPage(s.frame(c, "apps"), form))
}

// appPage handles GET /apps/{app}, for the app's admins.
func (s *Server) appPage(c echo.Context) error { return s.showAppPage(c, nil) }

// storedFields are the fields of an app, but for how it signs in by OAuth 2.
func storedFields(app *storage.App) *web.AppForm {
	form := &web.AppForm{
		Name: app.Name, Product: app.Product, URL: app.URL, Application: app.Application,
		MaxRunning: strconv.Itoa(app.MaxRunning), Start: "02:00", Minutes: "60",
	}
	if app.AuthType == "basic" {
		form.SignIn, form.Stored = "basic", "basic"
	}
	if m := appOnPage(app, nil).Maintenance; m != nil {
		form.Maintenance, form.Start, form.Minutes, form.TimeZone = true, m.Start, strconv.Itoa(m.Minutes), m.TimeZone
	}
	return form
}

// createAppFromPage handles POST /new-app, for instance admins.
func (s *Server) createAppFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	form := typedApp(c)
	form.New, form.Name = true, strings.TrimSpace(c.FormValue("name"))
	set := typedSettings(form, c)
	return s.storeApp(c, form, "NewApp", NewApp{Name: form.Name, AppSettings: *set}, func() error {
		_, err := s.Engine.CreateApp(ctx, form.Name, set.settings(), requestOf(ctx).caller)
		return err
	})
}

// saveAppFromPage handles POST /apps/{app}, for the app's admins.
func (s *Server) saveAppFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	app, err := s.scope(ctx).App(ctx, c.Param("app"))
	if err != nil {
		return err
	}
	stored, err := s.storedForm(c, &app)
	if err != nil {
		return err
	}
	form := typedApp(c)
	form.Name, form.Stored = app.Name, stored.Stored
	set := typedSettings(form, c)
	return s.storeApp(c, form, "AppSettings", set, func() error {
		_, err := s.Engine.ReplaceApp(ctx, app.Name, set.settings(), requestOf(ctx).caller)
		return err
	})
}

// typedApp is the form as it was sent, without the secrets.
func typedApp(c echo.Context) *web.AppForm {
	typed := func(name string) string { return strings.TrimSpace(c.FormValue(name)) }
	return &web.AppForm{
		Product: typed("product"), URL: typed("url"), Application: typed("application"),
		SignIn: cmp.Or(typed("sign_in"), "basic"), Username: typed("username"),
		DomainURL: typed("domain_url"), ClientID: typed("client_id"), Scope: typed("scope"), Person: typed("person"), KeyID: typed("key_id"),
		MaxRunning: typed("max_running"), Maintenance: typed("maintenance") != "",
		Start: typed("start"), Minutes: typed("minutes"), TimeZone: typed("time_zone"),
	}
}

// typedSettings is what the form asks for. What is no number becomes one that is refused.
func typedSettings(form *web.AppForm, c echo.Context) *AppSettings {
	set := &AppSettings{Product: form.Product, URL: form.URL, Application: form.Application}
	if form.Product == "none" {
		set.URL, set.Application = "", ""
	} else {
		set.Auth = typedCredentials(form, c)
	}
	if form.MaxRunning != "" {
		set.MaxRunning = numberOr(form.MaxRunning, -1)
	}
	if form.Maintenance {
		set.Maintenance = &Maintenance{Start: form.Start, Minutes: numberOr(form.Minutes, 0), TimeZone: form.TimeZone}
	}
	return set
}

// typedCredentials are the credentials of the form; nil when those that are stored are to stay.
func typedCredentials(form *web.AppForm, c echo.Context) *Credentials {
	if form.SignIn == "basic" {
		password := c.FormValue("password")
		if form.Stored == "basic" && form.Username == "" && password == "" {
			return nil
		}
		return &Credentials{Type: "basic", Username: form.Username, Password: password}
	}
	typed := &Credentials{
		Type: "oauth2", Grant: form.SignIn, DomainURL: form.DomainURL, ClientID: form.ClientID, Scope: form.Scope,
		ClientSecret: strings.TrimSpace(c.FormValue("client_secret")),
	}
	switch form.SignIn {
	case "jwt_bearer":
		typed.Username, typed.KeyID, typed.PrivateKey = form.Person, form.KeyID, strings.TrimSpace(c.FormValue("private_key"))
	case "refresh_token":
		typed.RefreshToken = strings.TrimSpace(c.FormValue("refresh_token"))
	}
	return typed
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
		return c.Redirect(http.StatusSeeOther, afterSaving(form))
	}
	for _, f := range found {
		form.Errors = append(form.Errors, appFields[f.Location].says(f.Message))
	}
	return s.html(c, http.StatusUnprocessableEntity, web.AppPage(s.frame(c, "apps"), form))
}

// afterSaving is where a person goes on: who is to consent does so next.
func afterSaving(form *web.AppForm) string {
	if form.Product != "none" && form.SignIn == "device_code" {
		return (&web.App{Name: form.Name}).Page() + "?saved=1#connection"
	}
	return "/apps?saved=" + url.QueryEscape(form.Name)
}

// appField is the control for a field of an app, with its label and what it takes.
type appField struct{ control, label, takes string }

var appFields = map[string]appField{
	"body.name":                  {"name", "Name", "write lower-case letters, digits and hyphens"},
	"body.url":                   {"url", "Address", ""},
	"body.application":           {"application", "Application", ""},
	"body.auth":                  {"username", "Sign-in", ""},
	"body.auth.grant":            {"", "Sign-in", ""},
	"body.auth.domain_url":       {"domain_url", "Identity domain", ""},
	"body.auth.client_id":        {"client_id", "Client id", ""},
	"body.auth.client_secret":    {"client_secret", "Client secret", ""},
	"body.auth.scope":            {"scope", "Scope", ""},
	"body.auth.username":         {"person", "Person", ""},
	"body.auth.key_id":           {"key_id", "Alias of the certificate", ""},
	"body.auth.private_key":      {"private_key", "Private key", ""},
	"body.auth.refresh_token":    {"refresh_token", "Refresh token", ""},
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
	found, err := s.schemaProblems(schema, body)
	for i, field := range found {
		found[i].Message = cmp.Or(appFields[field.Location].takes, field.Message)
	}
	return found, err
}

// schemaProblems holds what was typed on a page against the API's schema for it.
func (s *Server) schemaProblems(schema string, body any) ([]jobs.Field, error) {
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
		found = append(found, field)
	}
	return found, nil
}

// checkAppFromPage handles POST /apps/{app}/check, for the app's operators: it signs in to the
// application and says what came of it, in the list of apps or as a part of it.
func (s *Server) checkAppFromPage(c echo.Context) error {
	name := c.Param("app")
	found, err := s.check(c.Request().Context(), name)
	if err != nil {
		return err
	}
	check := &web.Check{App: name, OK: found.OK, Message: found.Message}
	if partial(c) {
		return s.html(c, http.StatusOK, web.CheckResult(check))
	}
	return s.showApps(c, &web.AppList{Check: check})
}

// askDeleteApp handles GET /apps/{app}/delete, for instance admins.
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
	files, err := s.scope(ctx).Files(ctx, storage.FileFilter{App: app.Name, Limit: 1})
	if err != nil {
		return err
	}
	shown := appOnPage(&app, nil)
	return s.question(c, "apps", web.AskDeleteApp(&shown, len(tasks) > 0, len(files) > 0))
}

// deleteAppFromPage handles POST /apps/{app}/delete, for instance admins.
func (s *Server) deleteAppFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	err := s.Engine.DeleteApp(ctx, c.Param("app"), requestOf(ctx).caller)
	if errors.Is(err, storage.ErrConflict) {
		return s.askDeleteApp(c) // a task or a file was made meanwhile; the question says so
	}
	if err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/apps")
}
