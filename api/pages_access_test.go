package api_test

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/uuid"

	"longhaul/api"
	"longhaul/api/sso/ssotest"
	"longhaul/jobs"
	"longhaul/storage"
)

// TestAccessPages goes through the pages about who may do what, in Chromium.
func TestAccessPages(t *testing.T) {
	t.Parallel()
	chrome := startBrowser(t)
	for name, test := range map[string]func(*site){
		"token": tokenByPage, "token refused": tokenRefused, "sessions": sessionsByPage, "members": membersByPage,
		"members of an app's admin": membersByAppAdmin, "viewer": viewerSeesNoButtons, "follow without data": followWithoutData, "newcomer": newcomerIsTold,
		"people": peopleByPage, "audit": auditByPage, "menu": menuCloses, "without scripts": accessWithoutScripts,
		"look and accessibility": accessLooks,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newSite(chrome, t))
		})
	}
}

// signInAs gives the tab a session of a person.
func (s *site) signInAs(id uuid.UUID) {
	s.t.Helper()
	s.steps(command(network.SetCookie, network.SetCookieParams{
		Name: "longhaul", Value: s.sessionOf(id), URL: s.url, HTTPOnly: new(true),
	}))
}

// tokenByPage makes a token, uses it, and revokes it.
func tokenByPage(s *site) {
	s.signIn()
	s.visit("/profile")
	s.run("document.getElementById('new-token').open = true")
	s.fill("#token-name", "Nightly load")
	s.click("[name=scopes][value=operate]")
	s.click("#some-apps")
	s.click("[name=apps][value=plain]")
	s.click("#new-token .primary")
	s.untilSays(".made", "The token Nightly load is made Copy it now: it cannot be shown again.")
	s.until("document.activeElement.classList.contains('made')")
	secret := s.text("#made-token")
	bearer := "Bearer " + secret
	if want := "curl -H 'Authorization: Bearer " + secret + "' " + s.url + "/api/v1/tasks"; s.text("#made-curl") != want {
		s.t.Errorf("the line to try is %s", s.text("#made-curl"))
	}
	s.until("!document.querySelector('[data-copy=made-token]').hidden")
	s.untilSays("#tokens tbody", "Nightly load "+secret[:8]+"… See tasks, start and cancel plain in 90 days Never")
	s.do(http.MethodPost, "/api/v1/tasks", noop(nil), "Authorization", bearer).want(http.StatusAccepted)
	s.get("/api/v1/apps/vision", "Authorization", bearer).problem(http.StatusNotFound)
	s.visit("/profile")
	s.untilSays("#tokens tbody", "just now from 127.0.0.1")
	if strings.Contains(js[string](s, "document.documentElement.outerHTML"), secret) {
		s.t.Error("the token is shown again")
	}
	s.click("#tokens .act a")
	s.untilSays("dialog[open]", "Revoke Nightly load? Whatever uses the token "+secret[:8]+"… is refused from now on.")
	s.accessible()
	s.click("dialog .danger")
	s.untilAt("/profile?done=revoked")
	s.untilSays("main", "The token is revoked.")
	s.get("/api/v1/me", "Authorization", bearer).problem(http.StatusUnauthorized)
	if n := s.count(`SELECT count(*) FROM audit WHERE action IN ('token.create', 'token.revoke') AND actor = 'admin'`); n != 2 {
		s.t.Errorf("%d lines of the audit trail tell of it", n)
	}
}

func tokenRefused(s *site) {
	s.signIn()
	s.visit("/profile")
	s.run("document.getElementById('new-token').open = true")
	s.fill("#token-name", "Report")
	s.click("[name=scopes][value=data]")
	s.click("#some-apps")
	s.click("#new-token .primary")
	s.untilSays("#some-apps-error", "Apps: choose at least one")
	s.until("document.activeElement.classList.contains('problems')")
	if !js[bool](s, "document.querySelector('[value=data]').checked && document.getElementById('token-name').value === 'Report' && document.getElementById('some-apps').checked") {
		s.t.Error("what was typed is gone")
	}
	s.accessible()
	s.run("document.getElementById('token-name').removeAttribute('maxlength')")
	s.fill("#token-name", strings.Repeat("x", 101))
	s.click("[name=apps][value=vision]")
	s.click("#new-token .primary")
	s.untilSays("#token-name-error", "What it is for:")
	if n := s.count("SELECT count(*) FROM tokens"); n != 0 {
		s.t.Errorf("%d tokens were made", n)
	}
}

// sessionsByPage ends other browsers' sessions, one and then the rest.
func sessionsByPage(s *site) {
	jo := s.person("jo@example.com")
	other := s.sessionOf(jo.id)
	for range 2 {
		s.sessionOf(jo.id)
	}
	alive := func() int {
		return s.open(http.MethodGet, "/api/v1/me", nil, "Authorization", "", "Cookie", "longhaul="+other).StatusCode
	}
	s.signInAs(jo.id)
	s.visit("/profile")
	s.untilSays("#sessions tbody", "This one")
	if n := js[int](s, "document.querySelectorAll('#sessions .act button').length"); n != 3 {
		s.t.Errorf("%d browsers can be signed out", n)
	}
	s.click("#sessions .act button")
	s.untilSays("main", "The browser is signed out.")
	s.click("#sessions .card-head button")
	s.untilSays("main", "All other browsers are signed out.")
	if n := s.count(`SELECT count(*) FROM sessions WHERE person_id = $1`, jo.id); n != 1 {
		s.t.Errorf("%d sessions are left", n)
	}
	if got := alive(); got != http.StatusUnauthorized {
		s.t.Errorf("an ended session is answered with %d", got)
	}
}

// membersByPage adds, changes and removes members as an instance admin.
func membersByPage(s *site) {
	jo := s.person("jo@example.com")
	s.signIn()
	s.visit("/apps")
	s.click("section:has(#app-vision) a[href='/apps/vision/members']")
	s.untilSays("main", "No members yet")
	s.fill("#add-name", "Jo@Example.com ")
	s.click("#add .primary")
	s.untilAt("/apps/vision/members?saved=jo%40example.com")
	s.untilSays("main", "jo@example.com is saved, and counts from now on.")
	s.get("/api/v1/apps/vision", "Authorization", "Bearer "+jo.token).want(http.StatusOK)

	row := "tr:has([name=name][value='jo@example.com'])"
	s.until("getComputedStyle(document.querySelector(" + quote(row+" .save") + ")).visibility === 'hidden'")
	row = "form[id='person-jo%40example.com']"
	s.choose("select[form='person-jo%40example.com']", "viewer")
	s.untilSays("table .sees", "No data")
	s.click(row + " .save")
	s.eventually("the change of the role", func() bool {
		return s.count(`SELECT count(*) FROM members WHERE member = 'jo@example.com' AND role = 'viewer' AND NOT see_data`) == 1
	})
	s.until("document.querySelector(\"select[form='person-jo%40example.com'] [selected]\").value === 'viewer'")

	s.click("#add .choice3 label:nth-child(2)")
	s.untilSays("#add-help", "Letter by letter")
	s.fill("#add-name", "Planning / Users & more")
	s.choose("#add-role", "admin")
	s.click("#add .sees input")
	s.click("#add .primary")
	s.untilSays("main", "Planning / Users & more is saved")
	if n := s.count(`SELECT count(*) FROM members WHERE kind = 'group' AND member = 'Planning / Users & more' AND role = 'admin' AND NOT see_data`); n != 1 {
		s.t.Error("the group is not a member")
	}
	s.click("tr:has([value^=Planning]) .act a")
	s.untilSays("dialog[open]", "Remove Planning / Users & more? Whoever may use vision only by the group")
	s.accessible()
	s.click("dialog .danger")
	s.untilSays("main", "Planning / Users & more is removed.")
	if n := s.count(`SELECT count(*) FROM members`); n != 1 {
		s.t.Errorf("%d members are left", n)
	}
}

// membersByAppAdmin meets what an app's admin may not do.
func membersByAppAdmin(s *site) {
	kim := s.person("kim@example.com")
	s.member("vision", "person", kim.login, "admin", false)
	s.signInAs(kim.id)
	s.visit("/apps/vision/members")
	s.untilSays("tbody", "kim@example.com Person, you Admin No data")
	s.untilSays("tbody", "Another admin can change this")
	if js[bool](s, "document.querySelector('tbody form') || document.getElementById('known') || document.querySelector('#add .sees input').checked") {
		s.t.Error("the page offers what an app's admin may not do, or names people")
	}
	s.fill("#add-name", kim.login)
	s.click("#add .primary")
	s.untilSays(".problems", "Nothing was changed Nobody can change their own membership.")
	s.fill("#add-name", "jo@example.com")
	s.click("#add .sees input")
	s.click("#add .primary")
	s.untilSays(".problems", "You do not see this app's data yourself")
	if got := js[string](s, "document.getElementById('add-name').value"); got != "jo@example.com" {
		s.t.Errorf("what was typed is gone: %q", got)
	}
	s.accessible()
	s.visit("/audit")
	s.untilSays("h1", "Audit trail")
	if strings.Contains(s.text(".top"), "People") {
		s.t.Error("the navigation leads an app's admin to all people")
	}
}

// viewerSeesNoButtons signs in as somebody who may only look.
func viewerSeesNoButtons(s *site) {
	task := s.waitFinal(s.create(importTask(nil), accounts(s.t, 20, 3)).ID, jobs.Succeeded)
	jo := s.person("jo@example.com")
	s.member("vision", "person", jo.login, "viewer", false)
	s.signInAs(jo.id)
	s.visit("/")
	s.untilSays("tbody", "Succeeded with rejects")
	if got := s.text(".top nav"); got != "Tasks Apps API docs" {
		s.t.Errorf("the navigation shows a viewer %s", got)
	}
	nothing := func(selector string) {
		s.t.Helper()
		if js[bool](s, "Boolean(document.querySelector("+quote(selector)+"))") {
			s.t.Errorf("%s shows a viewer %s", s.where(), selector)
		}
	}
	nothing("main a[href^='/start']")
	s.click("tbody a")
	s.untilSays("#no-data", "You see state and history of this app’s tasks, not their data. An admin of the app can change that.")
	s.untilSays(".figures", "Read 20 Processed 17 Rejected 3")
	nothing("main form, main a[data-dialog], #log, .files, #again")
	if strings.Contains(js[string](s, "document.documentElement.outerHTML"), "E_99") {
		s.t.Error("the page quotes a record")
	}
	s.accessible()
	s.visit("/apps")
	s.untilSays("main", "Vision")
	nothing("main form, main a.button, main a[href^='/start']")
	s.visit("/tasks/" + task.ID + "/delete")
	s.untilSays("main", "Your role does not allow this.")
}

// followWithoutData watches a task end for somebody who does not see its log.
func followWithoutData(s *site) {
	task := s.create(object{"app": "plain", "name": "nap", "kind": "sleep", "params": object{"ms": 3_600_000}}, nil)
	jo := s.person("jo@example.com")
	s.member("plain", "person", jo.login, "operator", false)
	s.signInAs(jo.id)
	s.visit("/tasks/" + task.ID)
	s.untilSays("#state-title ~ .state-line", "Running sleeping")
	s.untilSays("#no-data", "not their data")
	s.run("window.unchanged = true")
	s.do(http.MethodPost, taskPath(task.ID)+"/cancel", nil).want(http.StatusAccepted)
	s.untilSays("#state-title ~ .state-line", "Cancelled")
	s.until("window.unchanged && document.getElementById('retry')")
}

func newcomerIsTold(s *site) {
	s.exec("DELETE FROM members")
	jo := s.person("jo@example.com", "finance", "planning users")
	s.signInAs(jo.id)
	for _, path := range []string{"/", "/apps"} {
		s.visit(path)
		s.untilSays("main", "You are signed in, and have no app yet")
		s.untilSays("main", "Or one of your groups: finance, planning users.")
		if got := s.text("#own-login"); got != "jo@example.com" {
			s.t.Errorf("the login to copy is %q", got)
		}
		s.accessible()
	}
	if got := s.text(".top nav"); got != "Tasks API docs" {
		s.t.Errorf("the navigation shows %s", got)
	}
}

func peopleByPage(s *site) {
	jo := s.person("jo@example.com", "finance")
	s.member("vision", "person", jo.login, "operator", true)
	s.sessionOf(jo.id)
	s.signIn()
	s.visit("/people")
	s.untilSays("tbody", "admin Administrator")
	s.untilSays("tbody", "jo@example.com finance just now 1")
	if n := js[int](s, "document.querySelectorAll('a[data-dialog]').length"); n != 1 {
		s.t.Errorf("%d people can be forgotten", n)
	}
	s.click("a[data-dialog]")
	s.untilSays("dialog[open]", "Forget jo@example.com? They are signed out (1 browser), and their API tokens")
	s.accessible()
	s.click("dialog .danger")
	s.untilAt("/people?done=forgotten")
	s.until("!document.querySelector('tbody').innerText.includes('jo@example.com')")
	if n := s.count(`SELECT (SELECT count(*) FROM members) + (SELECT count(*) FROM sessions WHERE person_id = $1) + (SELECT count(*) FROM tokens)`, jo.id); n != 0 {
		s.t.Errorf("%d things are left of them", n)
	}
}

func auditByPage(s *site) {
	jo := s.person("jo@example.com")
	s.member("vision", "person", jo.login, "viewer", false)
	task := s.create(noop(nil), nil)
	s.do(http.MethodPost, "/api/v1/tasks", noop(object{"app": "vision"}), "Authorization", "Bearer "+jo.token).problem(http.StatusForbidden)
	s.signIn()
	s.visit("/audit")
	s.untilSays("tbody", "admin Started a task")
	s.untilSays(".o-refused", "jo@example.com by the token test Request Refused POST /api/v1/tasks")
	s.click("tr:has(.did:not(:empty)):not(.o-refused) summary")
	s.untilSays("tr details[open]", "Action")
	s.choose("#f-action", "task.create")
	s.until("document.querySelectorAll('tbody tr').length === 1")
	if got := s.where(); got != "/audit?action=task.create" {
		s.t.Errorf("the filter's address is %s", got)
	}
	s.click("tbody summary")
	s.until("document.querySelector('tbody a').getAttribute('href') === '/tasks/" + task.ID + "'")
	s.visit("/audit?outcome=refused&actor=Jo@example.com")
	s.untilSays("tbody", "Refused")
	if n := js[int](s, "document.querySelectorAll('tbody tr').length"); n != 1 {
		s.t.Errorf("%d refusals", n)
	}
	s.visit("/audit?since=nonsense")
	s.untilSays("[role=alert]", "Write a day like 2026-11-21")
	s.visit("/audit?until=2001-01-01")
	s.untilSays("main", "No line fits this filter")

	rows, err := csv.NewReader(bytes.NewReader(s.get("/audit/export?format=csv&actor=jo@example.com").want(http.StatusOK).body)).ReadAll()
	must(s.t, err)
	if len(rows) != 2 || rows[1][4] != "request.refuse" {
		s.t.Errorf("the export: %q", rows)
	}
	lines := s.get("/audit/export?format=jsonl&action=task.create&since=2001-01-01").want(http.StatusOK)
	if strings.Count(string(lines.body), "\n") != 1 || !strings.Contains(lines.header.Get("Content-Disposition"), "audit.jsonl") {
		s.t.Errorf("the export: %s", lines.body)
	}
	s.get("/audit/export?format=xml", "Accept", "application/json").problem(http.StatusUnprocessableEntity)

	s.exec(`INSERT INTO audit (actor, action) SELECT 'many@example.com', 'sign-in' FROM generate_series(1, 60)`)
	s.visit("/audit?actor=many@example.com")
	s.click(".pages a")
	s.until("document.querySelectorAll('tbody tr').length === 10")
	s.click(".pages a")
	s.until("document.querySelectorAll('tbody tr').length === 50")
}

// menuCloses opens and closes the menu by keyboard.
func menuCloses(s *site) {
	s.signIn()
	s.run("document.querySelector('.menu summary').focus()")
	s.keys(kb.Enter)
	s.until("document.querySelector('.menu').open")
	s.accessible()
	s.keys(kb.Tab)
	if got := s.text(":focus"); got != "Profile and API tokens" {
		s.t.Errorf("the menu begins with %q", got)
	}
	s.keys(kb.Escape)
	s.until("!document.querySelector('.menu').open && document.activeElement.tagName === 'SUMMARY'")
	s.keys(kb.Enter)
	s.until("document.querySelector('.menu').open")
	s.click("h1")
	s.until("!document.querySelector('.menu').open")
}

// accessWithoutScripts adds a member and makes a token in a browser that runs no scripts.
func accessWithoutScripts(s *site) {
	s.steps(command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	s.signIn()
	s.visit("/apps/plain/members")
	s.fill("#add-name", "jo@example.com")
	s.click("#add .primary")
	s.untilSays("main", "jo@example.com is saved")
	s.click("table .save")
	s.untilSays("main", "jo@example.com is saved")
	s.click("table .act a")
	s.untilSays("h1", "Remove jo@example.com?")
	s.click("main .danger")
	s.untilSays("main", "jo@example.com is removed.")
	s.visit("/profile")
	s.click("#new-token summary")
	s.fill("#token-name", "Report")
	s.click("#new-token .primary")
	s.untilSays(".made", "The token Report is made")
	s.visit("/audit?action=token.create")
	s.untilSays("tbody", "Made an API token Report: view")
}

// accessLooks looks at the pages in both widths and both lights.
func accessLooks(s *site) {
	s.fillWithPeople()
	s.signIn()
	pages := []string{
		"/profile", "/apps", "/apps/vision/members", "/apps/plain/members", "/apps/vision/members/person:jo@example.com/remove",
		"/people", "/audit", "/audit?actor=nobody", "/sign-in?out=1",
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{360, 1280} {
			s.look(width, scheme)
			for _, path := range pages {
				s.visit(path)
				s.run("for (const d of document.querySelectorAll('main details')) d.open = true")
				s.fits()
				s.accessible()
			}
			s.run("document.querySelector('.menu')?.setAttribute('open', '')")
			s.fits()
		}
	}
}

// fillWithPeople makes enough of everything to be looked at.
func (s *site) fillWithPeople() {
	s.t.Helper()
	long := strings.Repeat("long-", 12) + "login@planning.example.com"
	for login, groups := range map[string][]string{
		"jo@example.com": {"finance", "planning users", "EPM Service Administrators", "emea", "close", "consolidation"}, long: nil,
	} {
		p := s.person(login, groups...)
		s.member("vision", "person", login, "operator", login == long)
		s.exec(`INSERT INTO sessions (token, data, expiry, person_id, user_agent, address) VALUES ($1, '', now() + '1 hour', $2, $3, '10.20.30.40')`,
			uuid.NewString(), p.id, "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0")
	}
	s.member("vision", "group", "Planning / Users", "viewer", false)
	s.member("vision", "person", "kim@example.com", "admin", true)
	s.tokenOf(storage.LocalAdmin, storage.AllRights)
	s.tokenOf(storage.LocalAdmin, storage.View|storage.Operate, "plain", "vision")
	s.exec(`UPDATE tokens SET expires_at = now() + '30 days', used_at = now() - interval '2 hours', used_address = '2001:db8:85a3:8d3:1319:8a2e:370:7348' WHERE apps IS NOT NULL`)
	s.exec(`INSERT INTO sessions (token, data, expiry, person_id, user_agent, address) VALUES ($1, '', now() + '1 hour', $2, 'Mozilla/5.0 (iPhone) Version/26.1 Safari/605', '10.0.0.9')`,
		uuid.NewString(), storage.LocalAdmin)
	s.create(noop(nil), nil)
	s.exec(`INSERT INTO audit (actor, token, action, app, object, outcome, detail, address, request_id) VALUES
		('-', NULL, 'sign-in.refuse', NULL, '', 'refused', 'domain_not_allowed', '203.0.113.9', 'r-1'),
		($1, 'Nightly load', 'member.put', 'vision', 'person:jo@example.com', 'ok', 'operator, without data', '10.0.0.7', 'r-2'),
		('jo@example.com', NULL, 'request.refuse', 'vision', NULL, 'refused', 'DELETE /api/v1/apps/:app/members/:member', '10.0.0.7', 'r-3'),
		('longhaul', NULL, 'audit.broken', NULL, '12 0199', 'failed', NULL, '', NULL)`, long)
}

// The pages that list tokens and sessions are for people, not for tokens of theirs; and what one
// may not know is not there.
func TestAccessPagesKeepTheRules(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	jo := s.person("jo@example.com")
	s.member("plain", "person", jo.login, "operator", true)
	bearer := "Bearer " + jo.token
	for path, want := range map[string]int{
		"/profile": http.StatusForbidden, "/people": http.StatusForbidden, "/audit": http.StatusForbidden, "/audit/export?format=csv": http.StatusForbidden,
		"/apps/plain/members": http.StatusForbidden, "/apps/vision/members": http.StatusNotFound,
		"/apps/vision/members/person:jo@example.com/remove": http.StatusNotFound,
	} {
		s.get(path, "Authorization", bearer).problem(want)
	}
	// A token of another cannot be asked about, nor revoked.
	var made api.MadeToken
	s.do(http.MethodPost, "/api/v1/tokens", object{"name": "n", "scopes": []string{"view"}}).want(http.StatusCreated).into(&made)
	v := s.visitor()
	at, err := url.Parse(s.url)
	must(t, err)
	v.client.Jar.SetCookies(at, []*http.Cookie{{Name: "longhaul", Value: s.sessionOf(jo.id)}})
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		v.ask(method, "/profile/tokens/"+made.ID+"/revoke", nil).want(http.StatusNotFound)
	}
	s.get("/api/v1/me", "Authorization", "Bearer "+made.Secret).want(http.StatusOK)
	// Nobody can give a token a scope on the page that they do not hold.
	v.ask(http.MethodPost, "/profile/tokens", url.Values{"name": {"n"}, "scopes": {"instance"}, "which": {"all"}}).want(http.StatusUnprocessableEntity)
	v.ask(http.MethodPost, "/profile/tokens", url.Values{"name": {"n"}, "which": {"some"}, "apps": {"vision"}}).want(http.StatusUnprocessableEntity)
	v.ask(http.MethodPost, "/profile/tokens", url.Values{"name": {"n"}, "scopes": {"nonsense"}}).want(http.StatusUnprocessableEntity)
}

// Signing out everywhere ends the session here and the one at the provider, in a browser that
// holds the page's policy against where its forms lead.
func TestSignOutEverywhere(t *testing.T) {
	t.Parallel()
	p := ssotest.Node(t)
	s := newSite(startBrowser(t), t, withProvider(t, p))
	s.register(p)
	s.visit("/sign-in")
	s.click(`main a[href^="/sign-in/start"]`)
	s.atProvider(p)
	s.untilSays("main", "have no app yet")
	s.click(".menu summary")
	s.untilSays(".menu-box", "Sign out everywhere also at localhost:")
	s.click(".menu-box form:last-child button")
	s.until("location.origin === " + quote(p.Issuer))
	s.click("button[value=yes], button[autofocus], button[type=submit]")
	s.until("location.origin === " + quote(s.url) + " && location.pathname === '/sign-in'")
	s.visit("/")
	s.untilAt("/sign-in")
	s.click(`main a[href^="/sign-in/start"]`)
	s.until("location.origin === " + quote(p.Issuer) + " && document.querySelector('input[type=password]')") // it asks again
}
