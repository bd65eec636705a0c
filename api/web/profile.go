package web

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// Profile is who somebody is, what they may do, and what they are signed in with.
type Profile struct {
	Login, Name, Email string
	Groups             []string // as the provider last told
	Rules              bool     // an instance admin
	Provider           string   // the host that signs people in; empty in local mode
	Apps               []Access
	Tokens             []Token
	Form               *TokenForm
	Made               *MadeToken // the token that was just made; nil: none
	Sessions           []Session
	Note               string // what was just done; empty: nothing
	Now                time.Time
}

// OtherSessions is how many sessions there are beside the one that asks.
func (p *Profile) OtherSessions() int {
	n := 0
	for i := range p.Sessions {
		if !p.Sessions[i].Current {
			n++
		}
	}
	return n
}

// Access is what somebody may do with an app.
type Access struct {
	App  string
	Role string // viewer, operator or admin
	Data bool
}

// RoleWord is the role for people.
func (a Access) RoleWord() string { return label(a.Role) }

// TasksURL is the list of the app's tasks.
func (a Access) TasksURL() string { return (&App{Name: a.App}).TasksURL() }

// Token is an API token, without the token itself.
type Token struct {
	ID, Name, Hint string
	Scopes         []string
	Apps           []string // nil: all that its owner reaches
	CreatedAt      time.Time
	ExpiresAt      *time.Time // nil: it does not by itself
	UsedAt         *time.Time // nil: never
	UsedFrom       string
}

// Expired reports whether the token's time is over.
func (t *Token) Expired(now time.Time) bool { return t.ExpiresAt != nil && t.ExpiresAt.Before(now) }

// May words the token's scopes, shortly.
func (t *Token) May() string {
	var words []string
	for _, s := range scopes {
		if slices.Contains(t.Scopes, s.name) {
			words = append(words, s.short)
		}
	}
	return label(strings.Join(words, ", "))
}

// Reaches words the token's apps.
func (t *Token) Reaches() string {
	if t.Apps == nil {
		return "All that you reach"
	}
	return strings.Join(t.Apps, ", ")
}

// RevokeURL is where one is asked whether to revoke the token.
func (t *Token) RevokeURL() string { return "/profile/tokens/" + url.PathEscape(t.ID) + "/revoke" }

// scopes are what tokens may be used for, in plain words.
var scopes = []struct{ name, short, words, help string }{
	{"view", "see tasks", "See tasks", "Their state and history, and the apps. Every token may."},
	{"operate", "start and cancel", "Start, cancel, retry and delete tasks", ""},
	{"data", "see data", "See data", "Inputs, outputs, rejected records and logs."},
	{"manage", "manage apps", "Change apps and their members", "The connection of an app, and who may use it."},
	{"instance", "administer this server", "Administer this server", "Make and delete apps, see all people and the whole audit trail."},
}

// MadeToken is a token that was just made. It is shown once.
type MadeToken struct {
	Name, Secret string
	Base         string // the server's address, without a slash at its end
}

// Curl is a line to try the token with.
func (m *MadeToken) Curl() string {
	return "curl -H 'Authorization: Bearer " + m.Secret + "' " + m.Base + "/api/v1/tasks"
}

// TokenForm is the form for a token, with what was typed when it was refused.
type TokenForm struct {
	Name     string
	Scopes   []string // the ticked ones
	Offered  []string // the scopes that the person holds; others would do nothing
	Apps     []AppTick
	OnlySome bool // of the apps
	Days     string
	Errors   []FieldError
}

// AppTick is an app that a token may be for.
type AppTick struct {
	Name   string
	Ticked bool
}

// ScopeChoice is a scope as the form offers it.
type ScopeChoice struct {
	Name, Words, Help string
	Ticked, Always    bool
}

// ScopeChoices are the scopes that the form offers.
func (f *TokenForm) ScopeChoices() []ScopeChoice {
	var list []ScopeChoice
	for _, s := range scopes {
		always := s.name == "view"
		if always || slices.Contains(f.Offered, s.name) {
			list = append(list, ScopeChoice{s.name, s.words, s.help, always || slices.Contains(f.Scopes, s.name), always})
		}
	}
	return list
}

// TokenLife is one answer to the question how long a token lasts.
type TokenLife struct{ Days, Words string }

// Lives are how long a token may last.
func (f *TokenForm) Lives() []TokenLife {
	return []TokenLife{{"7", "7 days"}, {"30", "30 days"}, {"90", "90 days"}, {"365", "1 year"}, {"", "Until I revoke it"}}
}

// ErrorOf is what is wrong with a field, or nothing.
func (f *TokenForm) ErrorOf(field string) string { return errorOf(f.Errors, field) }

// Session is a browser that somebody is signed in with.
type Session struct {
	ID                 string
	Current            bool
	UserAgent, Address string
	CreatedAt, SeenAt  time.Time
}

// Browser words which browser and system it is.
func (s *Session) Browser() string { return BrowserName(s.UserAgent) }

// EndURL is where the session is ended.
func (s *Session) EndURL() string { return "/profile/sessions/" + url.PathEscape(s.ID) + "/end" }

// ProfilePage is one's own page.
func ProfilePage(f Frame, p *Profile) View { return View{file: "profile.html", page: page{f, p}} }

// AskRevoke asks whether a token is to be revoked.
func AskRevoke(t *Token) *Question {
	return &Question{
		Title: "Revoke " + t.Name + "?", Action: t.RevokeURL(), Back: "/profile#tokens", Yes: "Revoke the token", No: "Keep it", Danger: true,
		Paragraphs: []string{
			"Whatever uses the token " + t.Hint + "… is refused from now on. This cannot be undone; a new token is another one.",
			"Tasks that it started go on.",
		},
	}
}
