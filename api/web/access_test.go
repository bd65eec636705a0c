package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longhaul/api/web"
)

var (
	profile = web.Profile{
		Login: "jo@example.com", Name: "Jo Doe", Groups: []string{"finance", "planning users"}, Provider: "login.example.com", Now: now,
		Apps: []web.Access{{App: "plain", Role: "operator", Data: true}, {App: "vision", Role: "viewer"}},
		Tokens: []web.Token{
			{ID: "1", Name: "Nightly load", Hint: "lh_abcde", Scopes: []string{"view", "operate"}, Apps: []string{"plain", "vision"}, ExpiresAt: at(-48 * time.Hour), UsedAt: at(time.Hour), UsedFrom: "10.0.0.7"},
			{ID: "2", Name: "Old", Hint: "lh_fghij", Scopes: []string{"view"}, ExpiresAt: at(time.Hour)},
			{ID: "3", Name: "Report", Hint: "lh_klmno", Scopes: []string{"view", "data", "manage", "instance"}},
		},
		Form: &web.TokenForm{Offered: []string{"view", "operate"}, Apps: []web.AppTick{{Name: "plain"}, {Name: "vision", Ticked: true}}, Days: "90"},
		Sessions: []web.Session{
			{ID: "1", Current: true, UserAgent: firefox, Address: "10.0.0.7", CreatedAt: *at(time.Hour), SeenAt: *at(time.Minute)},
			{ID: "2", UserAgent: "curl/8.14", CreatedAt: *at(time.Hour), SeenAt: *at(time.Hour)},
		},
	}
	members = web.Members{
		App: "vision", Now: now, SeesData: true, Known: []string{"finance", "kim@example.com"}, Form: web.MemberForm{Kind: "person", Role: "operator", SeeData: true},
		List: []web.Member{
			{App: "vision", Kind: "group", Name: "Planning / Users", Role: "viewer", AddedBy: "ann", ChangedAt: *at(time.Hour)},
			{App: "vision", Kind: "person", Name: "jo@example.com", Role: "operator", SeeData: true, AddedBy: "ann", ChangedAt: *at(time.Hour)},
			{App: "vision", Kind: "person", Name: "kim@example.com", Role: "admin", SeeData: true, Fixed: true, AddedBy: "ann", ChangedAt: *at(time.Hour)},
		},
	}
	people = web.People{Now: now, List: []web.Person{
		{ID: "1", Login: "ann@example.com", Rules: true, Fixed: true, Sessions: 2, SignedInAt: *at(time.Hour)},
		{ID: "2", Login: "jo@example.com", Name: "Jo Doe", Email: "jo.doe@example.com", Groups: strings.Split("a b c d e f", " "), Sessions: 1, SignedInAt: *at(90 * 24 * time.Hour)},
	}}
	trail = web.Audit{
		Now: now, Whole: true, Apps: []string{"plain", "vision"}, Actors: []string{"jo@example.com"}, Older: "7",
		Filter: web.AuditFilter{Actor: "jo@example.com", Since: "2026-11-01", Cursor: "90"},
		Lines: []web.AuditLine{
			{ID: 9, At: *at(time.Minute), Actor: "jo@example.com", Token: "Nightly load", Action: "task.create", App: "vision", Object: "0199", Outcome: "ok", Address: "10.0.0.7", RequestID: "r-9"},
			{ID: 8, At: *at(time.Minute), Actor: "-", Action: "sign-in.refuse", Outcome: "refused", Detail: "flow_lost"},
			{ID: 7, At: *at(time.Minute), Actor: "longhaul", Action: "audit.broken", Outcome: "failed"},
			{ID: 6, At: *at(time.Minute), Actor: "ann@example.com", Action: "member.put", App: "vision", Object: "group:finance", Outcome: "ok", Detail: "operator"},
		},
	}
	newcomer = web.Newcomer{Login: "new@example.com", Groups: []string{"finance"}, Admins: []string{"ann@example.com"}}
)

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

// peoplesPages is one of each page about who may do what.
func peoplesPages() map[string]web.View {
	made, wrong := profile, profile
	made.Made = &web.MadeToken{Name: "Nightly load", Secret: "lh_secret", Base: "https://longhaul.example.com"}
	form := *profile.Form
	form.OnlySome, form.Errors = true, []web.FieldError{{Field: "token-name", Message: "What it is for: too long"}, {Field: "some-apps", Message: "Apps: choose"}, {Message: "No"}}
	wrong.Form = &form
	refused := members
	refused.Error, refused.Local = "Nobody can change their own membership.", true
	filtered := trail
	filtered.Error = "Write a day"
	return map[string]web.View{
		"profile": web.ProfilePage(whole, &profile), "profile, token made": web.ProfilePage(whole, &made), "profile, token refused": web.ProfilePage(whole, &wrong),
		"profile, nothing": web.ProfilePage(whole, &web.Profile{Login: "admin", Rules: true, Form: &web.TokenForm{}}),
		"members":          web.MembersPage(whole, &members), "members, refused": web.MembersPage(whole, &refused), "no members": web.MembersPage(whole, &web.Members{App: "x"}),
		"people": web.PeoplePage(whole, &people), "audit": web.AuditPage(whole, &trail), "audit, nothing": web.AuditPage(whole, &web.Audit{}), "audit, wrong": web.AuditPage(whole, &filtered),
		"tasks of a newcomer": web.TasksPage(whole, &web.TaskList{Newcomer: &newcomer}), "apps of a newcomer": web.AppsPage(whole, &web.AppList{Newcomer: &newcomer}),
		"apps of a viewer":       web.AppsPage(whole, &web.AppList{Apps: []web.App{{Name: "vision", Product: "epm"}}}),
		"sign-in by a provider":  web.SignInPage(web.Frame{}, &web.SignIn{Provider: "login.example.com", Next: "/apps?x=1"}),
		"sign-in that failed":    web.SignInPage(web.Frame{}, &web.SignIn{Provider: "login.example.com", Problem: "Wrong"}),
		"sign-in after sign-out": web.SignInPage(web.Frame{}, &web.SignIn{Out: true}),
	}
}

func TestBrowserName(t *testing.T) {
	t.Parallel()
	const webkit = "AppleWebKit/537.36 (KHTML, like Gecko) "
	for agent, want := range map[string]string{
		firefox: "Firefox 140 on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + webkit + "Chrome/142.0.0.0 Safari/537.36":                                                     "Chrome 142 on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + webkit + "Chrome/142.0.0.0 Safari/537.36 Edg/142.0.3595.65":                                   "Edge 142 on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15":                      "Safari 26 on macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/142.0.0.0 Mobile/15E148 Safari/604.1": "Chrome 142 on iPhone",
		"Mozilla/5.0 (Linux; Android 10; K) " + webkit + "Chrome/142.0.0.0 Mobile Safari/537.36":                                                     "Chrome 142 on Android",
		"curl/8.14.1":                "Unknown browser",
		"":                           "Unknown browser",
		"Firefox/123456789 <script>": "Firefox",
	} {
		if got := web.BrowserName(agent); got != want {
			t.Errorf("%q is %q, want %q", agent, got, want)
		}
	}
}

func TestProfileTellsOfTokensInWords(t *testing.T) {
	t.Parallel()
	d := render(t, web.ProfilePage(whole, &profile))
	d.says("finance, planning users", "plain Operator Sees data", "vision Viewer State and history only",
		"See tasks, start and cancel", "plain, vision", "in 2 days", "1 h ago from 10.0.0.7", "Ended 1 h ago", "All that you reach", "When revoked", "Never",
		"Firefox 140 on Linux This one", "Unknown browser")
	d.silent("lh_secret")
	if n := len(d.tags("details")); n != 2 { // the menu, and the form
		t.Errorf("%d boxes", n)
	}
	made := profile
	made.Made = &web.MadeToken{Name: "x", Secret: "lh_secret", Base: "https://longhaul.example.com"}
	d = render(t, web.ProfilePage(whole, &made))
	d.says("cannot be shown again", "curl -H 'Authorization: Bearer lh_secret' https://longhaul.example.com/api/v1/tasks")
}

func TestTokenFormOffersWhatOneHolds(t *testing.T) {
	t.Parallel()
	var got []string
	for _, c := range (&web.TokenForm{Offered: []string{"view", "operate", "data"}, Scopes: []string{"data"}}).ScopeChoices() {
		ticked := ""
		if c.Ticked {
			ticked = " ticked"
		}
		got = append(got, c.Name+ticked)
	}
	if diff := cmp.Diff([]string{"view ticked", "operate", "data ticked"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestMembersPage(t *testing.T) {
	t.Parallel()
	d := render(t, web.MembersPage(whole, &members))
	d.says("Planning / Users", "jo@example.com", "Another admin can change this", "A person’s own membership counts alone")
	if got := members.List[0].RemoveURL(); got != "/apps/vision/members/group:Planning%20%2F%20Users/remove" {
		t.Errorf("a group is removed at %s", got)
	}
	if n := len(d.tags("form")); n != 5 { // two of the menu, two members, one to add
		t.Errorf("%d forms", n)
	}
}

func TestAuditLinesInWords(t *testing.T) {
	t.Parallel()
	d := render(t, web.AuditPage(whole, &trail))
	d.says("Started a task", "by the token Nightly load", "Not signed in", "Sign-in Refused flow_lost", "This server", "Found the audit trail broken Failed",
		"Gave or changed a membership group finance operator")
	if got := d.link("0199"); got != "/tasks/0199" {
		t.Errorf("the task is at %s", got)
	}
	if got := d.link("CSV"); got != "/audit/export?actor=jo%40example.com&format=csv&since=2026-11-01" {
		t.Errorf("the export is at %s", got)
	}
	if got := d.link("Older"); got != "/audit?actor=jo%40example.com&cursor=7&since=2026-11-01" {
		t.Errorf("older lines are at %s", got)
	}
	unknown := web.AuditLine{Action: "invoice.send", Outcome: "ok"}
	if unknown.What() != "Invoice send" || unknown.Badge() != nil {
		t.Errorf("an action that the page does not know: %q", unknown.What())
	}
}

func TestNewcomersLearnWhatToDo(t *testing.T) {
	t.Parallel()
	for _, view := range []web.View{web.TaskRows(&web.TaskList{Newcomer: &newcomer}), web.AppsPage(whole, &web.AppList{Newcomer: &newcomer})} {
		d := render(t, view)
		d.says("have no app yet", "new@example.com", "finance", "ann@example.com")
		d.silent("Add an app")
	}
}

func TestNavigationShowsWhatOneMayReach(t *testing.T) {
	t.Parallel()
	d := render(t, web.DocsPage(web.Frame{User: "ann"}))
	if got := text(d.tags("nav")[0]); got != "Tasks API docs" {
		t.Errorf("somebody without an app is led to %s", got)
	}
	d.silent("Sign out everywhere")
	render(t, web.DocsPage(whole)).says("Sign out everywhere", "also at login.example.com")
}

func TestViewersSeeNoButtons(t *testing.T) {
	t.Parallel()
	for _, task := range []web.Task{running, rejects, failed} {
		d := render(t, web.TaskPage(whole, &web.TaskView{Task: task, Now: now}))
		d.says("You see state and history of this app’s tasks, not their data.")
		for _, id := range []string{"cancel", "again", "retry", "delete", "log"} {
			if d.id(id) != nil {
				t.Errorf("%s: there is #%s", task.Name, id)
			}
		}
	}
	d := render(t, web.AppsPage(whole, &web.AppList{Apps: []web.App{{Name: "vision", Product: "epm"}}}))
	d.silent("Check", "Edit", "Members", "Delete", "Start a task", "Add an app")
	d.says("Its tasks")
}

func TestSignInByAProvider(t *testing.T) {
	t.Parallel()
	d := render(t, web.SignInPage(web.Frame{}, &web.SignIn{Provider: "login.example.com", Next: "/apps?x=1"}))
	d.says("login.example.com")
	d.silent("admin-token")
	if got := d.link("Sign in"); got != "/sign-in/start?next=%2Fapps%3Fx%3D1" {
		t.Errorf("signing in leads to %s", got)
	}
	render(t, web.SignInPage(web.Frame{}, &web.SignIn{Out: true})).says("You are signed out.")
}
