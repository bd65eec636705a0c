package web

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// Audit is a page of the audit trail.
type Audit struct {
	Lines  []AuditLine
	Filter AuditFilter
	Apps   []string // to filter by
	Actors []string // to suggest
	Whole  bool     // all lines, not those of some apps
	Older  string   // the cursor of the next page; empty on the last
	Error  string   // what is wrong with the filter; empty: nothing
	Now    time.Time
}

// AuditFilter selects lines of the audit trail; empty fields select all. Days are in UTC.
type AuditFilter struct {
	App, Actor, Action, Outcome string
	Since, Until                string // days: 2026-11-21; Until is the last one
	Cursor                      string // the page; empty: the newest
}

// Active reports whether anything is filtered.
func (f AuditFilter) Active() bool { return f.From("") != AuditFilter{} }

// From is the filter's page that begins after the cursor.
func (f AuditFilter) From(cursor string) AuditFilter {
	f.Cursor = cursor
	return f
}

// URL is the address of the list with this filter.
func (f AuditFilter) URL() string { return f.at("/audit", "") }

// ExportURL is where all lines of the filter are downloaded, as csv or jsonl.
func (f AuditFilter) ExportURL(format string) string { return f.From("").at("/audit/export", format) }

func (f AuditFilter) at(path, format string) string {
	values := url.Values{}
	for name, value := range map[string]string{
		"app": f.App, "actor": f.Actor, "action": f.Action, "outcome": f.Outcome, "since": f.Since, "until": f.Until,
		"cursor": f.Cursor, "format": format,
	} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if len(values) == 0 {
		return path
	}
	return path + "?" + values.Encode()
}

// ActionChoice is an action that the list can be filtered by.
type ActionChoice struct{ Name, Words string }

// ActionChoices are what the list can be filtered by.
func (AuditFilter) ActionChoices() []ActionChoice { return actions }

// OutcomeChoices are what the list can be filtered by.
func (AuditFilter) OutcomeChoices() []ActionChoice {
	return []ActionChoice{{"ok", "Done"}, {"refused", "Refused"}, {"failed", "Failed"}}
}

// actions are what the trail tells of.
var actions = []ActionChoice{
	{"sign-in", "Signed in"},
	{"sign-in.refuse", "Sign-in"},
	{"sign-out", "Signed out"},
	{"sign-out.provider", "Signed out by the provider"},
	{"sign-out.refuse", "Sign-out by the provider"},
	{"request.refuse", "Request"},
	{"task.create", "Started a task"},
	{"task.cancel", "Cancelled a task"},
	{"task.delete", "Deleted a task"},
	{"output.download", "Downloaded outputs"},
	{"app.create", "Made an app"},
	{"app.update", "Changed an app"},
	{"app.delete", "Deleted an app"},
	{"app.check", "Checked an app’s connection"},
	{"app.consent.start", "Began to connect an app"},
	{"app.connect", "Connected an app"},
	{"app.disconnect", "Disconnected an app"},
	{"app.refresh.fail", "Lost an app’s connection"},
	{"member.put", "Gave or changed a membership"},
	{"member.delete", "Ended a membership"},
	{"token.create", "Made an API token"},
	{"token.revoke", "Revoked an API token"},
	{"session.end", "Signed a browser out"},
	{"person.rename", "Got another login at the provider"},
	{"person.delete", "Forgot a person"},
	{"audit.export", "Exported the audit trail"},
	{"audit.drop", "Dropped an old month of the audit trail"},
	{"audit.broken", "Found the audit trail broken"},
	{"key.rotate", "Rotated the secret key"},
}

// AuditLine is one line: who did what to what, and what came of it.
type AuditLine struct {
	ID                                         int64
	At                                         time.Time
	Actor, Token, Action, App, Object, Outcome string
	Detail, Address, RequestID                 string
}

// What words the action.
func (l *AuditLine) What() string {
	at := slices.IndexFunc(actions, func(a ActionChoice) bool { return a.Name == l.Action })
	if at < 0 {
		return label(strings.ReplaceAll(l.Action, ".", " "))
	}
	return actions[at].Words
}

// Who words who it was.
func (l *AuditLine) Who() string {
	switch l.Actor {
	case "-":
		return "Not signed in"
	case "longhaul":
		return "This server"
	case "provider":
		return "Sign-in provider"
	}
	return l.Actor
}

// Badge is the outcome, unless the thing was simply done.
func (l *AuditLine) Badge() *Badge {
	switch l.Outcome {
	case "ok":
		return nil
	case "refused":
		return &Badge{"Refused", "slash", "warn"}
	}
	return &Badge{label(l.Outcome), "cross", "bad"}
}

// On is what it was done to, in a word, where that is not said by the rest of the line.
func (l *AuditLine) On() string {
	kind, name, ok := strings.Cut(l.Object, ":")
	switch {
	case strings.HasPrefix(l.Action, "member.") && ok && kind == "group":
		return "group " + name
	case strings.HasPrefix(l.Action, "member.") && ok:
		return name
	}
	return ""
}

// ObjectURL is the page of what it was done to; empty when it has none.
func (l *AuditLine) ObjectURL() string {
	if l.Outcome == "ok" && (l.Action == "task.create" || l.Action == "task.cancel" || l.Action == "output.download") {
		return "/tasks/" + url.PathEscape(l.Object)
	}
	return ""
}

// AuditPage is a page of the audit trail with its filters.
func AuditPage(f Frame, a *Audit) View { return View{file: "audit.html", page: page{f, a}} }

// AuditLines is the list alone, for another filter.
func AuditLines(a *Audit) View { return View{file: "audit.html", part: "lines", page: page{Body: a}} }
