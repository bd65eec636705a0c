package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
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

// AppAuth tells how the server signs in to an app. All but the type is of oauth2.
type AppAuth struct {
	Type        string     `json:"type" enum:"basic,oauth2,none"`
	Grant       string     `json:"grant,omitempty" enum:"device_code,refresh_token,jwt_bearer" doc:"How it gets its tokens"`
	DomainURL   string     `json:"domain_url,omitempty" doc:"The identity domain's address"`
	ClientID    string     `json:"client_id,omitempty" doc:"The integrated application's in the domain"`
	Scope       string     `json:"scope,omitempty"`
	Username    string     `json:"username,omitempty" doc:"jwt_bearer: who the tokens are for"`
	KeyID       string     `json:"key_id,omitempty" doc:"jwt_bearer: the alias of the certificate"`
	Connected   *bool      `json:"connected,omitempty" doc:"Whether there is what it takes to get access tokens"`
	ConnectedAs string     `json:"connected_as,omitempty" doc:"Whose consent it is, in the identity domain"`
	ConnectedAt *time.Time `json:"connected_at,omitempty" doc:"When the consent was given"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty" doc:"Until when the consent lasts unused, as far as is known; it is renewed every day"`
	Problem     string     `json:"problem,omitempty" doc:"What is wrong with the connection, and who has to do what"`
	ProblemAt   *time.Time `json:"problem_at,omitempty" doc:"Since when"`
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
	Type     string `json:"type" enum:"basic,oauth2,none"`
	Username string `json:"username,omitempty" doc:"basic; and jwt_bearer: the login name, in the identity domain, of the person whom the tokens are for"`
	Password string `json:"password,omitempty" format:"password" doc:"basic"`

	Grant        string `json:"grant,omitempty" enum:"device_code,refresh_token,jwt_bearer,client_credentials" doc:"oauth2: device_code: a person consents, see /consent; refresh_token: the same, with a consent given elsewhere; jwt_bearer: the server signs for a person. client_credentials is refused for EPM, which takes a person's tokens only"`
	DomainURL    string `json:"domain_url,omitempty" doc:"oauth2: the identity domain's address, https; http for loopback only"`
	ClientID     string `json:"client_id,omitempty" doc:"oauth2: of the integrated application in the domain"`
	ClientSecret string `json:"client_secret,omitempty" format:"password" doc:"oauth2: left out for a public application. When an app is replaced, left out: it stays, if the addresses and the client id do; private_key and the tokens likewise"`
	Scope        string `json:"scope,omitempty" doc:"oauth2: of the service, as the domain's console shows it"`
	RefreshToken string `json:"refresh_token,omitempty" format:"password" doc:"refresh_token: it is used up by its first use"`
	PrivateKey   string `json:"private_key,omitempty" format:"password" doc:"jwt_bearer: RSA, in PEM, not encrypted"`
	KeyID        string `json:"key_id,omitempty" doc:"jwt_bearer: the alias under which the certificate was uploaded to the application"`
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
		OperationID: "delete-app", Method: http.MethodDelete, Path: path + "/{app}", Tags: tags, Summary: "Delete an app without tasks and files",
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
	return s.showApp(ctx, app, "/api/v1/apps/"+app.Name)
}

// listApps handles GET /api/v1/apps, for whoever is signed in: the apps within their reach.
func (s *Server) listApps(ctx context.Context, _ *struct{}) (*listAppsOutput, error) {
	apps, err := s.scope(ctx).Apps(ctx, storage.View)
	if err != nil {
		return nil, err
	}
	connections, err := s.connections(ctx, apps...)
	if err != nil {
		return nil, err
	}
	out := &listAppsOutput{Body: Page[App]{Items: []App{}}}
	for i := range apps {
		out.Body.Items = append(out.Body.Items, appBody(&apps[i], connections[apps[i].Name]))
	}
	return out, nil
}

// connections are, by app, how those apps sign in that do so by OAuth 2, of those within the
// caller's reach.
func (s *Server) connections(ctx context.Context, apps ...storage.App) (map[string]*storage.Connection, error) {
	if !slices.ContainsFunc(apps, func(a storage.App) bool { return a.AuthType == "oauth2" }) {
		return nil, nil
	}
	found, err := s.scope(ctx).Connections(ctx)
	if err != nil {
		return nil, err
	}
	connections := make(map[string]*storage.Connection, len(found))
	for i := range found {
		connections[found[i].App] = &found[i]
	}
	return connections, nil
}

func (s *Server) showApp(ctx context.Context, app *storage.App, location string) (*appOutput, error) {
	connections, err := s.connections(ctx, *app)
	if err != nil {
		return nil, err
	}
	return &appOutput{Location: location, Body: appBody(app, connections[app.Name])}, nil
}

// getApp handles GET /api/v1/apps/{app}, for its members.
func (s *Server) getApp(ctx context.Context, in *appInput) (*appOutput, error) {
	app, err := s.scope(ctx).App(ctx, in.App)
	if err != nil {
		return nil, err
	}
	return s.showApp(ctx, &app, "")
}

// putApp handles PUT /api/v1/apps/{app}, for its admins.
func (s *Server) putApp(ctx context.Context, in *putAppInput) (*appOutput, error) {
	app, err := s.Engine.ReplaceApp(ctx, in.App, in.Body.settings(), requestOf(ctx).caller)
	if err != nil {
		return nil, err
	}
	return s.showApp(ctx, app, "")
}

// deleteApp handles DELETE /api/v1/apps/{app}, for instance admins.
func (s *Server) deleteApp(ctx context.Context, in *appInput) (*struct{}, error) {
	err := s.Engine.DeleteApp(ctx, in.App, requestOf(ctx).caller)
	if errors.Is(err, storage.ErrConflict) {
		return nil, refuse(ctx, http.StatusConflict, "The app has tasks or files. Delete them first.")
	}
	return nil, err
}

// checkApp handles POST /api/v1/apps/{app}/check, for its operators.
func (s *Server) checkApp(ctx context.Context, in *appInput) (*checkOutput, error) {
	found, err := s.check(ctx, in.App)
	if err != nil {
		return nil, err
	}
	return &checkOutput{Body: Check{OK: found.OK, Message: found.Message, Version: found.Version}}, nil
}

// check signs in to an app. That uses its credentials, so it leaves a line of the audit trail.
func (s *Server) check(ctx context.Context, app string) (*jobs.Found, error) {
	r := requestOf(ctx)
	found, err := s.Engine.CheckApp(ctx, app, r.caller)
	if err != nil {
		return nil, err
	}
	line := r.caller.Audit("app.check", app, app)
	if !found.OK {
		line.Outcome = "failed"
	}
	return found, storage.InsertAudit(context.WithoutCancel(ctx), s.db.Pool, line)
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
		set.Auth = (*jobs.Credentials)(a.Auth)
	}
	if a.Maintenance != nil {
		set.MaintenanceStart, set.MaintenanceMinutes, set.MaintenanceZone = &a.Maintenance.Start, &a.Maintenance.Minutes, &a.Maintenance.TimeZone
	}
	return set
}

func appBody(a *storage.App, c *storage.Connection) App {
	body := App{
		Name: a.Name, Product: a.Product, URL: a.URL, Application: a.Application, Auth: authBody(a.AuthType, c),
		MaxRunning: a.MaxRunning, CreatedAt: a.CreatedAt.UTC(), UpdatedAt: a.UpdatedAt.UTC(),
	}
	if a.MaintenanceStart != nil {
		body.Maintenance = &Maintenance{Start: *a.MaintenanceStart, Minutes: *a.MaintenanceMinutes, TimeZone: *a.MaintenanceZone}
	}
	return body
}

func authBody(authType string, c *storage.Connection) AppAuth {
	body := AppAuth{Type: authType}
	if c == nil {
		return body
	}
	connected := c.Connected()
	body.Grant, body.DomainURL, body.ClientID, body.Scope = c.Grant, c.DomainURL, c.ClientID, c.Scope
	body.Username, body.KeyID = c.Username, c.KeyID
	body.Connected, body.ConnectedAs, body.ConnectedAt, body.ExpiresAt = &connected, orEmpty(c.ConnectedAs), inUTC(c.ConnectedAt), inUTC(c.RefreshUntil)
	body.Problem, body.ProblemAt = orEmpty(c.Problem), inUTC(c.ProblemAt)
	return body
}
