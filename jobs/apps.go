package jobs

import (
	"context"
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
	d := &appDraft{app: storage.App{Name: name, AuthType: authNone}}
	if err := e.fill(d, set); err != nil {
		return nil, err
	}
	return e.saveApp(ctx, d, by, "app.create", storage.InsertApp)
}

// ReplaceApp changes an app's connection and limits. Credentials that are not given stay, unless
// the address changes: they would be sent to a place they were not meant for.
func (e *Engine) ReplaceApp(ctx context.Context, name string, set AppSettings, by Caller) (*storage.App, error) {
	d, err := e.draftOf(ctx, name, by)
	if err != nil {
		return nil, err
	}
	if set.Auth == nil && d.app.AuthType != authNone && d.app.URL != epm.ServiceURL(set.URL) {
		return nil, invalid("body.auth", "the address changed; give the credentials again")
	}
	if err := e.fill(d, set); err != nil {
		return nil, err
	}
	saved, err := e.saveApp(ctx, d, by, "app.update", e.updateApp)
	if err == nil {
		e.wakes.Due()
	}
	return saved, err
}

// draftOf is an app as it is, to be changed.
func (e *Engine) draftOf(ctx context.Context, name string, by Caller) (*appDraft, error) {
	app, err := e.db.For(by.Reach).App(ctx, name)
	if err != nil {
		return nil, err
	}
	d := &appDraft{app: app}
	if app.AuthType != authOAuth {
		return d, nil
	}
	d.before.url = app.URL
	connection, err := e.db.Connection(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	d.before.connection = &connection
	// What cannot be opened is not carried over: it must be given again.
	if opened, err := e.openSecrets(&app); err == nil {
		d.before.secrets = opened
	}
	return d, nil
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

// saveApp writes an app with its connection and its audit line.
func (e *Engine) saveApp(ctx context.Context, d *appDraft, by Caller, action string,
	write func(context.Context, pgx.Tx, storage.Reach, *storage.App) error,
) (*storage.App, error) {
	name := d.app.Name
	err := e.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := write(ctx, tx, by.Reach, &d.app); err != nil {
			return err
		}
		if err := d.saveConnection(ctx, tx, by); err != nil {
			return err
		}
		return storage.InsertAudit(ctx, tx, by.Audit(action, name, name))
	})
	if err != nil {
		return nil, err
	}
	e.AccessChanged()
	saved, err := e.db.App(ctx, name)
	return &saved, err
}

// saveConnection writes how the app signs in by OAuth 2, where that is another than before.
func (d *appDraft) saveConnection(ctx context.Context, tx pgx.Tx, by Caller) error {
	switch d.connection {
	case nil:
		return storage.DeleteConnection(ctx, tx, d.app.Name)
	case d.before.connection:
		return nil
	}
	if d.connection.RefreshSealed != nil && !d.keep {
		d.connection.ConnectedBy = &by.Name
	}
	return storage.SaveConnection(ctx, tx, d.connection, d.keep)
}

// DeleteApp removes an app without tasks and files. storage.ErrConflict while it has some.
func (e *Engine) DeleteApp(ctx context.Context, name string, by Caller) error {
	err := e.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := storage.ExpireUploadsOf(ctx, tx, name); err != nil {
			return err
		}
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
func (e *Engine) fill(d *appDraft, set AppSettings) error {
	if set.MaintenanceZone != nil {
		if _, err := time.LoadLocation(*set.MaintenanceZone); err != nil || *set.MaintenanceZone == "" {
			return invalid("body.maintenance.time_zone", "%q is not a time zone; write it like Europe/Berlin or UTC", *set.MaintenanceZone)
		}
	}
	app := &d.app
	app.Product, app.MaxRunning = set.Product, set.MaxRunning
	app.MaintenanceStart, app.MaintenanceMinutes, app.MaintenanceZone = set.MaintenanceStart, set.MaintenanceMinutes, set.MaintenanceZone
	app.URL, app.Application = epm.ServiceURL(set.URL), set.Application
	if set.Product == "none" {
		app.URL, app.Application, app.AuthType, app.AuthSealed = "", "", authNone, nil
		return nil
	}
	if err := checkAddress(app); err != nil {
		return err
	}
	return e.fillAuth(d, set.Auth)
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
	// Whoever checks has mostly just put something right: the identity domain is asked at once.
	if err := e.db.EndRest(ctx, name); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	version, err := client.Version(ctx)
	if err != nil {
		return &Found{Message: remoteWords(&app, err)}, nil
	}
	applications, err := client.Applications(ctx)
	if err != nil {
		return &Found{Message: remoteWords(&app, err), Version: version.Build}, nil
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
		return nil, &RemoteError{Message: remoteWords(&record, err), Err: err}
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
func remoteWords(app *storage.App, err error) string {
	if lost, ok := errors.AsType[*ConnectionError](err); ok {
		return lost.Message
	}
	var remote *oracle.Error
	if !errors.As(err, &remote) {
		return err.Error()
	}
	switch remote.Kind {
	case oracle.KindUnauthorized:
		if app.AuthType == authOAuth {
			return "The application does not accept the access token. Check that the scope is this environment's, that the person of " +
				"the token has a role in it, and that the environment is on OCI: the classic platform takes no tokens."
		}
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
