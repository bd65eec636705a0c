package web

import (
	"fmt"
	"net/url"
)

// App is one app as its page and the list show it. Credentials are not part of it.
type App struct {
	Name, Product    string
	URL, Application string
	SignsIn          bool   // credentials are stored
	Grant            string // of OAuth 2; empty: it signs in otherwise
	Connected        bool   // by OAuth 2
	ConnectedAs      string
	Problem          string // what is wrong with the connection; empty: nothing
	MaxRunning       int
	Maintenance      *Maintenance // nil: none
	May              May
}

// May is what who asks may do with an app.
type May struct{ Operate, SeeData, Manage, Rule bool }

// Maintenance is the daily window in which nothing is started.
type Maintenance struct {
	Start    string // HH:MM
	Minutes  int
	TimeZone string
}

// ProductTitle is the product for people.
func (a *App) ProductTitle() string { return productTitle(a.Product) }

func productTitle(product string) string {
	switch product {
	case "epm":
		return "EPM Cloud"
	case "fusion":
		return "Fusion Cloud"
	case "none":
		return "No application"
	}
	return product
}

// SignIn words how the server signs in.
func (a *App) SignIn() string {
	switch {
	case a.Grant == "jwt_bearer":
		return "OAuth 2, signed by a certificate"
	case a.Grant != "" && !a.Connected:
		return "OAuth 2, not connected"
	case a.Grant != "" && a.ConnectedAs != "":
		return "OAuth 2, with the consent of " + a.ConnectedAs
	case a.Grant != "":
		return "OAuth 2, connected"
	case a.SignsIn:
		return "User name and password, stored encrypted"
	}
	return "None"
}

// ConnectURL is where the app is connected.
func (a *App) ConnectURL() string { return a.Page() + "#connection" }

// Limits words how much runs at once.
func (a *App) Limits() string {
	if a.MaxRunning == 0 {
		return "No limit"
	}
	return plural(a.MaxRunning, "task", "tasks") + " at once"
}

// Window words the maintenance window.
func (a *App) Window() string {
	if a.Maintenance == nil {
		return "None"
	}
	return fmt.Sprintf("Daily at %s for %d min (%s)", a.Maintenance.Start, a.Maintenance.Minutes, a.Maintenance.TimeZone)
}

// Page is the app's own page.
func (a *App) Page() string { return "/apps/" + url.PathEscape(a.Name) }

// MembersURL is who may do what with the app.
func (a *App) MembersURL() string { return a.Page() + "/members" }

// FilesURL is where the app's files are.
func (a *App) FilesURL() string { return a.Page() + "/files" }

// TasksURL is the list of the app's tasks.
func (a *App) TasksURL() string { return "/?app=" + url.QueryEscape(a.Name) }

// Check is what signing in to an app came to.
type Check struct {
	App     string
	OK      bool
	Message string
}

// AppForm is the form for an app, with what was typed when it was refused. Secrets are typed anew.
type AppForm struct {
	New                      bool
	Saved                    bool // it just was
	Name, Product            string
	URL, Application         string
	SignIn                   string // basic, or the grant of OAuth 2
	Stored                   string // the same of what is stored, which stays where nothing is typed; empty: nothing is
	Username                 string
	DomainURL, ClientID      string
	Scope                    string
	Person, KeyID            string // of jwt_bearer
	MaxRunning               string
	Maintenance              bool
	Start, Minutes, TimeZone string
	Errors                   []FieldError

	Connection *Connection // how a stored app is connected; nil: not by OAuth 2
}

// SignInChoice is a way to sign in, to choose from.
type SignInChoice struct {
	Name, Word string
	Chosen     bool
}

// SignIns are the ways to choose from.
func (f *AppForm) SignIns() []SignInChoice {
	list := []SignInChoice{
		{Name: "basic", Word: "Password"},
		{Name: "device_code", Word: "Consent"},
		{Name: "jwt_bearer", Word: "Certificate"},
		{Name: "refresh_token", Word: "Refresh token"},
	}
	chosen := 0
	for i := range list {
		if list[i].Name == f.SignIn {
			chosen = i
		}
	}
	list[chosen].Chosen = true
	return list
}

// KeepsPassword reports whether a password is stored, and stays when none is typed.
func (f *AppForm) KeepsPassword() bool { return f.Stored == "basic" }

// KeepsSecret is the same for the secrets of OAuth 2.
func (f *AppForm) KeepsSecret() bool { return f.Stored != "" && f.Stored != "basic" }

// FieldError says what is wrong with a field. Field is the id of a control; empty when the
// message belongs to none.
type FieldError struct{ Field, Message string }

// ErrorOf is what is wrong with a field, or nothing.
func (f *AppForm) ErrorOf(field string) string { return errorOf(f.Errors, field) }

func errorOf(errors []FieldError, field string) string {
	for _, e := range errors {
		if e.Field == field {
			return e.Message
		}
	}
	return ""
}

// Action is where the form is sent.
func (f *AppForm) Action() string {
	if f.New {
		return "/new-app"
	}
	return "/apps/" + url.PathEscape(f.Name)
}
