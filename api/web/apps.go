package web

import (
	"fmt"
	"net/url"
)

// App is one app as its page and the list show it. Credentials are not part of it.
type App struct {
	Name, Product    string
	URL, Application string
	SignsIn          bool // credentials are stored
	MaxRunning       int
	Maintenance      *Maintenance // nil: none
}

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

// TasksURL is the list of the app's tasks.
func (a *App) TasksURL() string { return "/?app=" + url.QueryEscape(a.Name) }

// Check is what signing in to an app came to.
type Check struct {
	App     string
	OK      bool
	Message string
}

// AppForm is the form for an app, with what was typed when it was refused.
type AppForm struct {
	New                      bool
	Name, Product            string
	URL, Application         string
	Username                 string
	HasCredentials           bool // some are stored, and stay when none are typed
	MaxRunning               string
	Maintenance              bool
	Start, Minutes, TimeZone string
	Errors                   []FieldError
}

// FieldError says what is wrong with a field. Field is the id of a control; empty when the
// message belongs to none.
type FieldError struct{ Field, Message string }

// ErrorOf is what is wrong with a field, or nothing.
func (f *AppForm) ErrorOf(field string) string {
	for _, e := range f.Errors {
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
