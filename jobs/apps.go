package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"

	"longhaul/oracle"
	"longhaul/oracle/epm"
	"longhaul/storage"
)

// AppSettings is what an app is made of.
type AppSettings struct {
	Product     string
	URL         string
	Application string
	Auth        *Credentials // nil: keep what there is
	MaxRunning  int

	MaintenanceStart   *string
	MaintenanceMinutes *int
	MaintenanceZone    *string
}

// Credentials sign in to an app. They are sealed as soon as they are taken.
type Credentials struct {
	Type     string `json:"type"` // basic or none
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// String keeps credentials out of logs.
func (Credentials) String() string { return "[credentials]" }

// RemoteError says in words why an application could not be asked.
type RemoteError struct {
	Message string
	Err     error
}

func (e *RemoteError) Error() string { return e.Message + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *RemoteError) Unwrap() error { return e.Err }

// CreateApp stores a new app. The error is an Invalid, or storage.ErrConflict when the name is taken.
func (e *Engine) CreateApp(ctx context.Context, name string, set AppSettings, by Caller) (*storage.App, error) {
	app := &storage.App{Name: name, AuthType: "none"}
	if err := e.fill(app, set); err != nil {
		return nil, err
	}
	return e.saveApp(ctx, app, by, "app.create", storage.InsertApp)
}

// ReplaceApp changes an app's connection and limits. Credentials that are not given stay, unless
// the address changes: they would be sent to a place they were not meant for.
func (e *Engine) ReplaceApp(ctx context.Context, name string, set AppSettings, by Caller) (*storage.App, error) {
	app, err := e.db.For(by.Reach).App(ctx, name)
	if err != nil {
		return nil, err
	}
	if set.Auth == nil && app.AuthType != "none" && app.URL != epm.ServiceURL(set.URL) {
		return nil, invalid("body.auth", "the address changed; give the credentials again")
	}
	if err := e.fill(&app, set); err != nil {
		return nil, err
	}
	saved, err := e.saveApp(ctx, &app, by, "app.update", e.updateApp)
	if err == nil {
		e.wakes.Due()
	}
	return saved, err
}

// updateApp writes an app and wakes the tasks that wait by its old limits.
func (e *Engine) updateApp(ctx context.Context, tx pgx.Tx, r storage.Reach, app *storage.App) error {
	if err := storage.UpdateApp(ctx, tx, r, app); err != nil {
		return err
	}
	waiting, err := storage.QueuedTasks(ctx, tx, app.Name)
	if err != nil {
		return err
	}
	for _, id := range waiting {
		if err := e.wake(ctx, tx, id); err != nil {
			return err
		}
	}
	return nil
}

// saveApp writes an app with its audit line.
func (e *Engine) saveApp(ctx context.Context, app *storage.App, by Caller, action string,
	write func(context.Context, pgx.Tx, storage.Reach, *storage.App) error,
) (*storage.App, error) {
	err := e.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := write(ctx, tx, by.Reach, app); err != nil {
			return err
		}
		return storage.InsertAudit(ctx, tx, by.Audit(action, app.Name, app.Name))
	})
	if err != nil {
		return nil, err
	}
	e.AccessChanged()
	saved, err := e.db.App(ctx, app.Name)
	return &saved, err
}

// DeleteApp removes an app without tasks. storage.ErrConflict while it has some.
func (e *Engine) DeleteApp(ctx context.Context, name string, by Caller) error {
	err := e.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := storage.DeleteApp(ctx, tx, by.Reach, name); err != nil {
			return err
		}
		return storage.InsertAudit(ctx, tx, by.Audit("app.delete", name, name))
	})
	if err == nil {
		e.AccessChanged()
	}
	return err
}

// fill puts checked settings into an app.
func (e *Engine) fill(app *storage.App, set AppSettings) error {
	if set.MaintenanceZone != nil {
		if _, err := time.LoadLocation(*set.MaintenanceZone); err != nil || *set.MaintenanceZone == "" {
			return invalid("body.maintenance.time_zone", "%q is not a time zone; write it like Europe/Berlin or UTC", *set.MaintenanceZone)
		}
	}
	app.Product, app.MaxRunning = set.Product, set.MaxRunning
	app.MaintenanceStart, app.MaintenanceMinutes, app.MaintenanceZone = set.MaintenanceStart, set.MaintenanceMinutes, set.MaintenanceZone
	app.URL, app.Application = epm.ServiceURL(set.URL), set.Application
	if set.Product == "none" {
		app.URL, app.Application, app.AuthType, app.AuthSealed = "", "", "none", nil
		return nil
	}
	if err := checkAddress(app); err != nil {
		return err
	}
	if set.Auth == nil {
		return nil
	}
	app.AuthType, app.AuthSealed = set.Auth.Type, nil
	if set.Auth.Type == "none" {
		return nil
	}
	if set.Auth.Username == "" || set.Auth.Password == "" {
		return invalid("body.auth", "give the user name and the password")
	}
	plain, err := json.Marshal(set.Auth) //nolint:gosec // G117: sealed in the next line
	app.AuthSealed = e.Sealer.Seal(sealID(app.Name), plain)
	return err
}

// checkAddress holds an app's address against what its client takes.
func checkAddress(app *storage.App) error {
	if app.Application == "" {
		return invalid("body.application", "give the application's name as it is in the environment; its case counts")
	}
	if u, err := url.Parse(app.URL); err != nil || u.Host == "" {
		return invalid("body.url", "is not an address; write it like https://epm-acme.epm.us-phoenix-1.ocs.oraclecloud.com")
	}
	if _, err := oracle.New(oracle.Config{URL: app.URL}); err != nil {
		return invalid("body.url", "%v", err)
	}
	return nil
}

// sealID is what an app's sealed credentials are bound to.
func sealID(app string) string { return "app/" + app }

func (e *Engine) openAuth(app *storage.App) (*Credentials, error) {
	plain, err := e.Sealer.Open(sealID(app.Name), app.AuthSealed)
	if err != nil {
		return nil, err
	}
	var credentials Credentials
	err = json.Unmarshal(plain, &credentials)
	return &credentials, err
}

// connect makes a client for an app.
func (e *Engine) connect(app *storage.App) (*epm.Client, error) {
	config := oracle.Config{URL: app.URL, Transport: e.transport, Logger: e.logger.With("app", app.Name)}
	if app.AuthType == "basic" {
		credentials, err := e.openAuth(app)
		if err != nil {
			return nil, err
		}
		config.Auth = oracle.Basic(credentials.Username, credentials.Password)
	}
	client, err := oracle.New(config)
	if err != nil {
		return nil, fmt.Errorf("connect to app %s: %w", app.Name, err)
	}
	return epm.New(client, app.Application, epm.Options{}), nil
}

// Found is what signing in to an app came to.
type Found struct {
	OK      bool
	Message string
	Version string
}

// CheckApp signs in to an app, reads its version, and says in words what is wrong if it fails.
func (e *Engine) CheckApp(ctx context.Context, name string, by Caller) (*Found, error) {
	app, err := e.db.For(by.Reach).App(ctx, name)
	if err != nil {
		return nil, err
	}
	if app.Product == "none" {
		return &Found{OK: true, Message: "This app needs no application; there is nothing to sign in to."}, nil
	}
	client, err := e.connect(&app)
	if err != nil {
		return &Found{Message: err.Error()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	version, err := client.Version(ctx)
	if err != nil {
		return &Found{Message: remoteWords(err)}, nil
	}
	applications, err := client.Applications(ctx)
	if err != nil {
		return &Found{Message: remoteWords(err), Version: version.Build}, nil
	}
	names := make([]string, 0, len(applications))
	for _, a := range applications {
		if a.Name == app.Application {
			return &Found{
				OK: true, Version: version.Build,
				Message: fmt.Sprintf("Signed in. %s (%s), release %s.", a.Name, a.AppType, version.Build),
			}, nil
		}
		names = append(names, a.Name)
	}
	return &Found{
		Version: version.Build,
		Message: fmt.Sprintf("Signed in, but there is no application %q there; this user sees %q. Its case counts.", app.Application, names),
	}, nil
}

// Definitions lists the names of the jobs saved in an app's application that a kind can run. The
// error is a RemoteError when the application could not be asked.
func (e *Engine) Definitions(ctx context.Context, app, kindName string, by Caller) ([]string, error) {
	kind, err := e.Kinds.Get(kindName)
	if err != nil {
		return nil, invalid("query.kind", "%q is not offered; GET /api/v1/kinds lists what is", kindName)
	}
	record, err := e.db.For(by.Reach).App(ctx, app)
	if err != nil || kind.JobType == "" || record.Product != kind.Product {
		return nil, err
	}
	client, err := e.connect(&record)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	definitions, err := client.JobDefinitions(ctx, kind.JobType)
	if err != nil {
		return nil, &RemoteError{Message: remoteWords(err), Err: err}
	}
	names := make([]string, 0, len(definitions))
	for _, d := range definitions {
		if d.Type == kind.JobType || d.Type == "" {
			names = append(names, d.Name)
		}
	}
	return names, nil
}

// remoteWords says what an application's error means and what to do about it.
func remoteWords(err error) string {
	var remote *oracle.Error
	if !errors.As(err, &remote) {
		return err.Error()
	}
	switch remote.Kind {
	case oracle.KindUnauthorized:
		return "The application refuses the user name or password. Users with multi-factor sign-in cannot use basic authentication; " +
			"on older environments the name is identitydomain.username."
	case oracle.KindForbidden:
		return "The user may not do this. The Service Administrator role is needed to run jobs."
	case oracle.KindUnavailable:
		why := remote.Message
		if why == "" && remote.Err != nil {
			why = remote.Err.Error()
		}
		return "The application does not answer (" + why + "). Check the address; during the daily maintenance, wait for its end."
	case oracle.KindNotFound:
		return "Nothing answers at this address as an EPM environment does. Give the address up to the host, without /HyperionPlanning."
	}
	return "The application said: " + remote.Message
}
