package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"longhaul/jobs"
	"longhaul/storage"
)

// App is one Oracle Cloud application, or none, with its connection and limits.
type App struct {
	Name        string       `json:"name"`
	Product     string       `json:"product" enum:"epm,fusion,none"`
	URL         string       `json:"url" doc:"The environment's address"`
	Application string       `json:"application" doc:"The application's name in the environment"`
	Auth        AppAuth      `json:"auth" doc:"How the server signs in; credentials are never shown"`
	MaxRunning  int          `json:"max_running" doc:"Tasks at once; 0: no limit"`
	Maintenance *Maintenance `json:"maintenance" doc:"The daily window in which nothing is started"`
	CreatedAt   time.Time    `json:"created_at"`
	UpdatedAt   time.Time    `json:"updated_at"`
}

// TransformSchema completes the description.
func (*App) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return orNull(s, "maintenance")
}

// AppAuth tells how the server signs in to an app.
type AppAuth struct {
	Type string `json:"type" enum:"basic,oauth2,none"`
}

// Maintenance is a daily window.
type Maintenance struct {
	Start    string `json:"start" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" doc:"HH:MM"`
	Minutes  int    `json:"minutes" minimum:"1" maximum:"1439"`
	TimeZone string `json:"time_zone" doc:"An IANA name, as in Europe/Berlin"`
}

// AppSettings is what an app is made of.
type AppSettings struct {
	Product     string       `json:"product" enum:"epm,none" doc:"Which client talks to it; none: work that needs no application"`
	URL         string       `json:"url,omitempty" doc:"The environment's address, https; http for loopback only"`
	Application string       `json:"application,omitempty" doc:"The application's name in the environment"`
	Auth        *Credentials `json:"auth,omitempty" doc:"Left out when an app is replaced: the credentials stay, if the address does"`
	MaxRunning  int          `json:"max_running,omitempty" minimum:"0" maximum:"1000" doc:"Tasks at once; 0: no limit"`
	Maintenance *Maintenance `json:"maintenance,omitempty"`
}

// Credentials are taken and never given.
type Credentials struct {
	Type     string `json:"type" enum:"basic,none"`
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty" format:"password"`
}

// NewApp is a request for an app.
type NewApp struct {
	Name string `json:"name" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" patternDescription:"lower-case letters, digits and hyphens"`
	AppSettings
}

type (
	appInput struct {
		App string `path:"app" doc:"The app's name"`
	}
	createAppInput struct{ Body NewApp }
	putAppInput    struct {
		App  string `path:"app" doc:"The app's name"`
		Body AppSettings
	}
	appOutput struct {
		Location string `header:"Location"`
		Body     App
	}
	listAppsOutput struct{ Body Page[App] }
	checkOutput    struct{ Body Check }
)

// Check is what signing in to an app came to.
type Check struct {
	OK      bool   `json:"ok"`
	Message string `json:"message" doc:"What was found, or what is wrong and what to do"`
	Version string `json:"version" doc:"The environment's release, where it tells"`
}

func (s *Server) appRoutes() {
	tags, path := []string{"Apps"}, "/api/v1/apps"
	huma.Register(s.huma, huma.Operation{
		OperationID: "create-app", Method: http.MethodPost, Path: path, Tags: tags, Summary: "Add an app",
		DefaultStatus: http.StatusCreated,
		Errors: []int{
			http.StatusBadRequest, http.StatusUnauthorized, http.StatusConflict,
			http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		},
	}, s.createApp)
	huma.Register(s.huma, huma.Operation{
		OperationID: "list-apps", Method: http.MethodGet, Path: path, Tags: tags, Summary: "List apps",
		Errors: []int{http.StatusUnauthorized},
	}, s.listApps)
	huma.Register(s.huma, huma.Operation{
		OperationID: "get-app", Method: http.MethodGet, Path: path + "/{app}", Tags: tags, Summary: "Get an app",
		Errors: []int{http.StatusUnauthorized, http.StatusNotFound},
	}, s.getApp)
	huma.Register(s.huma, huma.Operation{
		OperationID: "replace-app", Method: http.MethodPut, Path: path + "/{app}", Tags: tags, Summary: "Replace an app's connection and limits",
		Errors: []int{
			http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound,
			http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		},
	}, s.putApp)
	huma.Register(s.huma, huma.Operation{
		OperationID: "delete-app", Method: http.MethodDelete, Path: path + "/{app}", Tags: tags, Summary: "Delete an app without tasks",
		DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict},
	}, s.deleteApp)
	huma.Register(s.huma, huma.Operation{
		OperationID: "check-app", Method: http.MethodPost, Path: path + "/{app}/check", Tags: tags, Summary: "Sign in to an app and read its version",
		Errors: []int{http.StatusUnauthorized, http.StatusNotFound},
	}, s.checkApp)
	huma.Register(s.huma, huma.Operation{
		OperationID: "list-job-definitions", Method: http.MethodGet, Path: path + "/{app}/job-definitions", Tags: tags,
		Summary: "List the jobs saved in the application that a kind can run",
		Errors:  []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusBadGateway},
	}, s.listDefinitions)
}

// createApp handles POST /api/v1/apps, for instance admins.
func (s *Server) createApp(ctx context.Context, in *createAppInput) (*appOutput, error) {
	app, err := s.Engine.CreateApp(ctx, in.Body.Name, in.Body.settings(), requestOf(ctx).caller)
	if errors.Is(err, storage.ErrConflict) {
		return nil, refuse(ctx, http.StatusConflict, "There is an app of this name. Choose another, or replace it with PUT.")
	}
	if err != nil {
		return nil, err
	}
	return &appOutput{Location: "/api/v1/apps/" + app.Name, Body: appBody(app)}, nil
}

// listApps handles GET /api/v1/apps, for whoever is signed in: the apps within their reach.
func (s *Server) listApps(ctx context.Context, _ *struct{}) (*listAppsOutput, error) {
	apps, err := s.scope(ctx).Apps(ctx, storage.View)
	if err != nil {
		return nil, err
	}
	out := &listAppsOutput{Body: Page[App]{Items: []App{}}}
	for i := range apps {
		out.Body.Items = append(out.Body.Items, appBody(&apps[i]))
	}
	return out, nil
}

// getApp handles GET /api/v1/apps/{app}, for its members.
func (s *Server) getApp(ctx context.Context, in *appInput) (*appOutput, error) {
	app, err := s.scope(ctx).App(ctx, in.App)
	if err != nil {
		return nil, err
	}
	return &appOutput{Body: appBody(&app)}, nil
}

// putApp handles PUT /api/v1/apps/{app}, for its admins.
func (s *Server) putApp(ctx context.Context, in *putAppInput) (*appOutput, error) {
	app, err := s.Engine.ReplaceApp(ctx, in.App, in.Body.settings(), requestOf(ctx).caller)
	if err != nil {
		return nil, err
	}
	return &appOutput{Body: appBody(app)}, nil
}

// deleteApp handles DELETE /api/v1/apps/{app}, for instance admins.
func (s *Server) deleteApp(ctx context.Context, in *appInput) (*struct{}, error) {
	err := s.Engine.DeleteApp(ctx, in.App, requestOf(ctx).caller)
	if errors.Is(err, storage.ErrConflict) {
		return nil, refuse(ctx, http.StatusConflict, "The app has tasks. Delete them first; the record of what ran outlives its files.")
	}
	return nil, err
}

// checkApp handles POST /api/v1/apps/{app}/check, for its operators.
func (s *Server) checkApp(ctx context.Context, in *appInput) (*checkOutput, error) {
	found, err := s.Engine.CheckApp(ctx, in.App, requestOf(ctx).caller)
	if err != nil {
		return nil, err
	}
	return &checkOutput{Body: Check{OK: found.OK, Message: found.Message, Version: found.Version}}, nil
}

type definitionsInput struct {
	App  string `path:"app" doc:"The app's name"`
	Kind string `query:"kind" required:"true" doc:"The kind that is to run one"`
}

// Definition is a job saved in the remote application.
type Definition struct {
	Name string `json:"name"`
}

type definitionsOutput struct{ Body Page[Definition] }

// listDefinitions handles GET /api/v1/apps/{app}/job-definitions, for its operators.
func (s *Server) listDefinitions(ctx context.Context, in *definitionsInput) (*definitionsOutput, error) {
	names, err := s.Engine.Definitions(ctx, in.App, in.Kind, requestOf(ctx).caller)
	if remote, ok := errors.AsType[*jobs.RemoteError](err); ok {
		return nil, refuse(ctx, http.StatusBadGateway, remote.Message)
	}
	if err != nil {
		return nil, err
	}
	out := &definitionsOutput{Body: Page[Definition]{Items: []Definition{}}}
	for _, name := range names {
		out.Body.Items = append(out.Body.Items, Definition{Name: name})
	}
	return out, nil
}

func (a *AppSettings) settings() jobs.AppSettings {
	set := jobs.AppSettings{Product: a.Product, URL: a.URL, Application: a.Application, MaxRunning: a.MaxRunning}
	if a.Auth != nil {
		set.Auth = &jobs.Credentials{Type: a.Auth.Type, Username: a.Auth.Username, Password: a.Auth.Password}
	}
	if a.Maintenance != nil {
		set.MaintenanceStart, set.MaintenanceMinutes, set.MaintenanceZone = &a.Maintenance.Start, &a.Maintenance.Minutes, &a.Maintenance.TimeZone
	}
	return set
}

func appBody(a *storage.App) App {
	body := App{
		Name: a.Name, Product: a.Product, URL: a.URL, Application: a.Application, Auth: AppAuth{Type: a.AuthType},
		MaxRunning: a.MaxRunning, CreatedAt: a.CreatedAt.UTC(), UpdatedAt: a.UpdatedAt.UTC(),
	}
	if a.MaintenanceStart != nil {
		body.Maintenance = &Maintenance{Start: *a.MaintenanceStart, Minutes: *a.MaintenanceMinutes, TimeZone: *a.MaintenanceZone}
	}
	return body
}
