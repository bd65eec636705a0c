package api_test

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"longhaul/api"
	"longhaul/jobs"
	"longhaul/oracle/sim"
)

// TestPages goes through the pages as people do, in Chromium, on a whole server with a simulated
// application.
func TestPages(t *testing.T) {
	t.Parallel()
	chrome := startBrowser(t)
	for name, c := range map[string]struct {
		test    func(*site)
		changes func(*config)
	}{
		"sign in and out":           {signInAndOut, nil},
		"import with rejects":       {importWithRejects, nil},
		"refused archives":          {refusedArchives, nil},
		"keyboard alone":            {keyboardAlone, nil},
		"cancel, retry and delete":  {cancelRetryDelete, nil},
		"start again":               {startAgain, nil},
		"list":                      {listRefreshesItself, nil},
		"double click":              {doubleClick, nil},
		"apps":                      {appsByPage, nil},
		"application does not tell": {jobsUnknown, nil},
		"docs":                      {docsWork, nil},
		"without scripts":           {withoutScripts, nil},
		"session ends":              {sessionEnds, nil},
		"look and accessibility":    {looksAndAccessibility, nil},
		"errors":                    {errorPages, nil},
		"log":                       {logFollows, slowSim},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var changes []func(*config)
			if c.changes != nil {
				changes = append(changes, c.changes)
			}
			c.test(newSite(chrome, t, changes...))
		})
	}
}

// slowSim lets an import take some seconds, so that there is something to watch.
func slowSim(c *config) { c.sim.Speed = 4 }

func sample(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile("../docs/samples/" + name)
	must(t, err)
	return content
}

func signInAndOut(s *site) {
	s.visit("/apps?x=1")
	s.untilAt("/sign-in?next=")
	s.untilSays("main", "link that the server prints when it starts")
	s.fill("#token", "wrong")
	s.keys(kb.Enter)
	s.untilSays("#token-error", "This token is not right")
	s.until("document.activeElement.id === 'token'")
	s.fill("#token", adminToken)
	s.keys(kb.Enter)
	s.untilAt("/apps?x=1") // where the person wanted to go
	s.untilSays(".who", "Signed in as admin")
	s.click(".who summary")
	s.click(".who button")
	s.untilAt("/sign-in?out=1")
	s.untilSays("main", "You are signed out.")
	s.visit("/")
	s.untilAt("/sign-in")

	s.visit("/sign-in?next=https://example.com/&token=" + adminToken)
	s.untilAt("/")
	s.untilSays("h1", "Tasks")
}

// importWithRejects does the main job: from a zip to the rejected records, watching it live.
func importWithRejects(s *site) {
	s.signIn()
	s.untilSays("main", "Nothing has run yet")
	s.click("main a.primary")
	s.untilAt("/start")
	s.choose("#app", "vision")
	s.choose("#kind", "epm.importMetadata")
	s.choose("#params-job", "importAccount")
	if got := js[string](s, "document.getElementById('name').value"); got != "importAccount" {
		s.t.Errorf("the task's name is %q, not the job's", got)
	}
	s.setFile("importAccount.zip", sample(s.t, "importAccount.zip"))
	s.untilSays("#file-chosen", "importAccount.zip, ")
	s.run("window.unchanged = true")
	s.click("#go")
	s.until("location.pathname.startsWith('/tasks/') && document.querySelector('#live')")
	s.run("window.unchanged = true")
	s.untilSays("#state-title ~ .state-line", "Succeeded with rejects")
	s.untilSays("#log", "Ended as succeeded")
	if !js[bool](s, "window.unchanged === true") {
		s.t.Error("the page was loaded anew instead of following the task")
	}
	s.untilSays("#say", `412 of 10,000 rows rejected; see outbound/rejected/Account_errors.csv; first: row 17, parent "E_99" unknown`)
	s.untilSays("#announce", "Succeeded with rejects. 412 of 10,000 rows rejected")
	if got := s.text(".figures"); got != "Read 10,000 Processed 9,588 Rejected 412" {
		s.t.Errorf("counts: %s", got)
	}
	if got := s.text(".plain tbody"); got != "Account 10,000 9,588 412" {
		s.t.Errorf("per dimension: %s", got)
	}
	if got := js[string](s, "document.title"); got != "importAccount: Succeeded with rejects · Longhaul" {
		s.t.Errorf("title: %s", got)
	}
	s.download("a.path")
	s.visit("/")
	s.untilSays("tbody", "Succeeded with rejects importAccount")
}

// download clicks a link and compares the file with what the API gives.
func (s *site) download(link string) {
	s.t.Helper()
	dir := s.t.TempDir()
	s.steps(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
			Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir,
			BrowserContextID: chromedp.FromContext(ctx).BrowserContextID,
		})
		return err
	}))
	href := js[string](s, "document.querySelector("+quote(link)+").getAttribute('href')")
	s.click(link)
	want := s.get(href).want(http.StatusOK).body
	s.eventually("the download of "+href, func() bool {
		got, err := os.ReadFile(filepath.Join(dir, filepath.Base(href)))
		return err == nil && bytes.Equal(got, want)
	})
}

// startForm opens the form for a kind of the app vision, or of plain.
func (s *site) startForm(app, kind string) {
	s.t.Helper()
	s.visit("/start?app=" + app + "&kind=" + kind)
	s.until("document.querySelector('#go') && !document.querySelector('[aria-busy=true]')")
}

func refusedArchives(s *site) {
	s.signIn()
	s.startForm("vision", "epm.importMetadata")
	s.click("#go")
	s.untilSays("#problems", "The task was not started Job: choose one Zip archive: choose a file Name: write one")
	s.choose("#params-job", "importAccount")
	s.setFile("wrong.zip", zipOf(s.t, entry{"accounts.txt", "x"}))
	s.click("#go")
	wrong := "The archive holds no file that the job reads. Found: accounts.txt. Expected: importAccount.csv"
	s.untilSays("[data-location=file] .error", wrong)
	if got := js[string](s, "document.activeElement.id"); got != "problems" {
		s.t.Errorf("after a refusal, %q has the focus", got)
	}
	if !js[bool](s, "document.getElementById('file').getAttribute('aria-describedby').includes('file-error')") {
		s.t.Error("the file's field does not say what is wrong with it")
	}
	s.click("#problems a")
	if got := js[string](s, "document.activeElement.id"); got != "file" {
		s.t.Errorf("the summary leads to %q", got)
	}
	s.setFile("letter.zip", []byte("Dear reader"))
	s.until("!document.querySelector('[data-location=file] .error')") // another file, another try
	s.click("#go")
	s.untilSays("[data-location=file] .error", "(rule not_a_zip)")
	s.drop("importAccount.zip", accounts(s.t, 3, 0))
	s.untilSays("#file-chosen", "importAccount.zip, ")
	s.click("#go")
	s.untilSays("#state-title ~ .state-line", "Succeeded")
	s.untilSays("#say", "All 3 rows imported")
	if n := s.count("SELECT count(*) FROM tasks"); n != 1 {
		s.t.Errorf("%d tasks were made", n)
	}
}

// drop drops a file on the form's zone.
func (s *site) drop(name string, content []byte) {
	s.t.Helper()
	s.run(`const bytes = Uint8Array.from(` + string(jsonText(s.t, toInts(content))) + `), transfer = new DataTransfer();
		transfer.items.add(new File([bytes], ` + quote(name) + `, {type: "application/zip"}));
		for (const kind of ["dragover", "drop"])
			document.getElementById("drop").dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: transfer}))`)
}

func toInts(content []byte) []int {
	numbers := make([]int, len(content))
	for i, b := range content {
		numbers[i] = int(b)
	}
	return numbers
}

// keyboardAlone starts a task without touching the mouse.
func keyboardAlone(s *site) {
	s.signIn()
	s.visit("/")
	s.keys(kb.Tab)
	if got := s.text(":focus"); got != "Skip to the content" {
		s.t.Errorf("the first stop is %q", got)
	}
	s.keys(kb.Enter + kb.Tab) // to the content, and its first link
	if got := s.text(":focus"); got != "Start a task" {
		s.t.Errorf("after skipping, the first stop is %q", got)
	}
	s.keys(kb.Enter)
	s.untilAt("/start")
	s.tabTo("app")
	s.keys("plain")
	s.until("document.querySelector('#kind')")
	s.tabTo("kind")
	s.keys("Sleep")
	s.until("document.querySelector('#params-ms')")
	if got := js[string](s, "document.activeElement.id"); got != "kind" {
		s.t.Errorf("drawing the form moved the focus to %q", got)
	}
	s.tabTo("params-ms")
	s.keys("-5")
	s.tabTo("go")
	s.keys(" ")
	s.untilSays("[data-location='body.params.ms'] .error", "0")
	s.tabTo("params-ms")
	s.keys(kb.Backspace + kb.Backspace + "1" + kb.Enter)
	s.until("location.pathname.startsWith('/tasks/')")
	s.untilSays("#state-title ~ .state-line", "Succeeded")
}

// tabTo presses Tab until the element has the focus.
func (s *site) tabTo(id string) {
	s.t.Helper()
	var stops []string
	for range 40 {
		s.keys(kb.Tab)
		stop := js[string](s, "document.activeElement.id")
		if stop == id {
			return
		}
		stops = append(stops, stop)
	}
	s.t.Fatalf("at %s, Tab never comes to %s, only to %q", s.where(), id, stops)
}

func cancelRetryDelete(s *site) {
	task := s.create(object{"app": "plain", "name": "nap", "kind": "sleep", "params": object{"ms": 3_600_000}}, nil)
	s.signIn()
	s.visit("/tasks/" + task.ID)
	s.untilSays("#state-title ~ .state-line", "Running sleeping")
	s.click("#cancel")
	s.untilSays("dialog[open]", "Cancel nap? The task ends at its next step.")
	s.accessible()
	s.keys(kb.Escape)
	s.until("!document.querySelector('dialog[open]') && document.activeElement.id === 'cancel'")
	s.keys(kb.Enter)
	s.until("document.querySelector('dialog[open]')")
	s.click("dialog .danger")
	s.untilSays("#state-title ~ .state-line", "Cancelled")
	s.untilSays("#say", "Cancelled by admin")
	s.click("#retry")
	s.until("location.pathname.startsWith('/tasks/') && !location.pathname.endsWith(" + quote(task.ID) + ")")
	s.untilSays("#state-title ~ .state-line", "Running sleeping")
	if got := js[string](s, "document.querySelector('#details a').getAttribute('href')"); got != "/tasks/"+task.ID {
		s.t.Errorf("the retried task is %s", got)
	}

	s.visit("/tasks/" + task.ID)
	s.click("#delete")
	s.untilSays("dialog[open]", "deleted for good")
	s.click("dialog .danger")
	s.untilAt("/?deleted=1")
	s.untilSays("main", "The task was deleted.")
	s.get(taskPath(task.ID)).want(http.StatusNotFound)
}

// startAgain repeats a task whose file is gone: all that is asked for again is the file.
func startAgain(s *site) {
	old := s.create(importTask(object{"name": "Accounts, nightly", "params": object{"job": "importAccount", "refresh_cube": false}, "max_rejected": 0}), accounts(s.t, 5, 2))
	s.waitFinal(old.ID, jobs.Failed)
	s.signIn()
	s.visit("/tasks/" + old.ID)
	s.untilSays("#state-title ~ .state-line", "Failed")
	s.untilSays(".state", "The file was deleted when the task ended.")
	s.untilSays(".figures", "Rejected 2")
	s.click("#again")
	s.untilAt("/start?from=")
	s.untilSays(".note", "again with the same settings. Its file was deleted when it ended: choose it once more.")
	s.until("!document.querySelector('[aria-busy=true]')")
	filled := js[string](s, `[...["kind", "params-job", "name", "max_rejected"].map((id) => document.getElementById(id).value),
		document.querySelector("[name=params-refresh_cube]:checked").value].join("|")`)
	if filled != "epm.importMetadata|importAccount|Accounts, nightly|0|false" {
		s.t.Errorf("the form is filled with %s", filled)
	}
	s.setFile("importAccount.zip", accounts(s.t, 5, 0))
	s.click("#go")
	s.untilSays("#say", "All 5 rows imported")
	var tasks struct{ Items []api.Task }
	s.get("/api/v1/tasks?name=Accounts%2C%20nightly").want(http.StatusOK).into(&tasks)
	if len(tasks.Items) != 2 || string(tasks.Items[0].Params) != string(tasks.Items[1].Params) {
		s.t.Errorf("the settings were not kept: %+v", tasks.Items)
	}
}

// listRefreshesItself watches a task end in the list, without losing the place.
func listRefreshesItself(s *site) {
	done := s.create(object{"app": "plain", "name": "done", "kind": "noop"}, nil)
	s.waitFinal(done.ID, jobs.Succeeded)
	nap := s.create(object{"app": "plain", "name": "nap", "kind": "sleep", "params": object{"ms": 3_600_000}}, nil)
	s.signIn()
	s.untilSays("#row-"+nap.ID, "Running")
	s.run("window.unchanged = true; document.getElementById('link-" + nap.ID + "').focus()")
	s.do(http.MethodPost, taskPath(nap.ID)+"/cancel", nil).want(http.StatusAccepted)
	s.untilSays("#row-"+nap.ID, "Cancelled")
	if !js[bool](s, "window.unchanged && document.activeElement.id === "+quote("link-"+nap.ID)) {
		s.t.Error("the refresh lost the focus")
	}
	s.until("document.getElementById('tasks').getAttribute('hx-trigger') === 'refresh'") // all ended: it rests

	s.choose("#f-state", "succeeded")
	s.until("document.querySelectorAll('tbody tr').length === 1")
	if got := s.where(); got != "/?state=succeeded" {
		s.t.Errorf("the filter's address is %s", got)
	}
	if got := js[string](s, "document.activeElement.id"); got != "link-"+nap.ID && got != "" {
		s.t.Errorf("filtering moved the focus to %q", got)
	}
	s.visit("/?name=nap")
	s.untilSays("tbody", "nap")
	s.fill("#f-name", "nothing")
	s.keys(kb.Enter)
	s.untilSays("#tasks", "No task fits this filter")
	s.steps(chromedp.NavigateBack())
	s.untilSays("tbody", "nap")
}

func doubleClick(s *site) {
	s.signIn()
	s.startForm("plain", "noop")
	s.run("for (const time of [1, 2]) document.getElementById('go').click(); document.getElementById('start').requestSubmit()")
	s.until("location.pathname.startsWith('/tasks/')")
	s.untilSays("#state-title ~ .state-line", "Succeeded")
	if n := s.count("SELECT count(*) FROM tasks"); n != 1 {
		s.t.Errorf("a double click made %d tasks", n)
	}
	if n := s.count("SELECT count(*) FROM idempotency_keys"); n != 1 {
		s.t.Errorf("%d keys were used", n)
	}
}

func appsByPage(s *site) {
	s.signIn()
	s.visit("/new-app")
	s.fill("#name", "sales")
	s.fill("#url", "http://example.com")
	s.fill("#application", "Sales")
	s.fill("#username", "admin")
	s.fill("#password", simPass)
	s.click("#maintenance")
	s.fill("#time_zone", "Mars/Olympus")
	s.click("#app-form .primary")
	s.untilSays("#time_zone-error", `"Mars/Olympus" is not a time zone`)
	s.accessible()
	s.fill("#time_zone", "Europe/Berlin")
	s.fill("#username", "admin")
	s.fill("#password", simPass)
	s.click("#app-form .primary")
	s.untilSays("#url-error", "Address:")
	s.fill("#url", s.simURL)
	s.fill("#username", "admin")
	s.fill("#password", "wrong")
	s.click("#app-form .primary")
	s.untilAt("/apps?saved=sales")
	s.untilSays("main", "sales is saved")
	s.untilSays("section:has(#app-sales)", "Daily at 02:00 for 60 min (Europe/Berlin)")
	s.click("section:has(#app-sales) form button")
	s.untilSays("#check-sales", "refuses the user name or password")

	s.click("section:has(#app-sales) a[href='/apps/sales']")
	s.untilAt("/apps/sales")
	s.fill("#username", "admin")
	s.fill("#password", simPass)
	s.fill("#max_running", "2")
	s.click("#app-form .primary")
	s.untilAt("/apps?saved=sales")
	s.untilSays("section:has(#app-sales)", "2 tasks at once")
	s.click("section:has(#app-sales) form button")
	s.untilSays("#check-sales", "Signed in. Sales")
	if page := js[string](s, "document.documentElement.outerHTML"); strings.Contains(page, simPass) {
		s.t.Error("the password is on the page")
	}
	s.click("section:has(#app-sales) a[data-dialog]")
	s.untilSays("dialog[open]", "Delete the app sales?")
	s.click("dialog .danger")
	s.untilAt("/apps")
	s.until("!document.querySelector('#app-sales')")

	task := s.create(object{"app": "plain", "name": "n", "kind": "noop"}, nil)
	s.waitFinal(task.ID, jobs.Succeeded)
	s.click("section:has(#app-plain) a[data-dialog]")
	s.untilSays("dialog[open]", "The app has tasks.")
	s.until("!document.querySelector('dialog .danger')")
}

// jobsUnknown starts a task although the application does not tell its jobs.
func jobsUnknown(s *site) {
	s.fault(sim.Fault{Kind: sim.FaultStatus, Path: "jobdefinitions", Status: http.StatusForbidden})
	s.signIn()
	s.startForm("vision", "epm.runBusinessRule")
	s.untilSays("#job-field", "The list of jobs could not be read. The user may not do this.")
	s.accessible()
	s.fill("#params-job", "Calculate Plan")
	if got := js[string](s, "document.getElementById('name').value"); got != "Calculate Plan" {
		s.t.Errorf("the task's name is %q, not the job's", got)
	}
	s.run("document.querySelector('details.options').open = true")
	s.click("[data-add]")
	s.keys("Scenario" + kb.Tab + "Forecast")
	s.click("[data-add]")
	s.click(".pair:nth-of-type(2) [data-remove]")
	s.click("#go")
	s.untilSays("#state-title ~ .state-line", "Succeeded")
	s.untilSays("#announce", "Succeeded")
	s.run("document.getElementById('details').open = true")
	s.untilSays("#details", "Prompts Scenario: Forecast")
}

func docsWork(s *site) {
	s.signIn()
	s.visit("/docs")
	s.untilSays("#docs", "/api/v1/tasks/{id}/cancel")
	s.click("#operations-Kinds-list-kinds button.opblock-summary-control")
	s.click("#operations-Kinds-list-kinds .try-out__btn")
	s.click("#operations-Kinds-list-kinds .execute")
	s.untilSays("#operations-Kinds-list-kinds .live-responses-table", "epm.importMetadata")
	s.fits()
}

// withoutScripts reads, cancels and deletes in a browser that runs no scripts.
func withoutScripts(s *site) {
	task := s.create(object{"app": "vision", "name": "nap", "kind": "sleep", "params": object{"ms": 3_600_000}}, nil)
	s.waitUntil(task.ID, "running", func(t *api.Task) bool { return t.State == jobs.Running })
	s.steps(command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	s.signIn()
	s.untilSays("tbody", "Running nap")
	s.click("tbody a")
	s.untilSays("#live", "Running sleeping")
	s.untilSays("#log", "Started")
	s.click("#cancel")
	s.untilSays("h1", "Cancel nap?")
	s.click("main .danger")
	s.until("location.pathname === '/tasks/" + task.ID + "'")
	s.waitFinal(task.ID, jobs.Cancelled)
	s.steps(chromedp.Reload())
	s.untilSays("#live", "Cancelled by admin")
	s.visit("/apps")
	s.click("section:has(#app-vision) form button")
	s.untilSays("#check-vision", "Signed in. Vision")
}

// sessionEnds leads a page that follows a task to the sign-in once its session is over.
func sessionEnds(s *site) {
	task := s.create(object{"app": "plain", "name": "nap", "kind": "sleep", "params": object{"ms": 3_600_000}}, nil)
	s.signIn()
	s.visit("/tasks/" + task.ID)
	s.untilSays("#state-title ~ .state-line", "Running")
	s.exec("DELETE FROM sessions")
	s.untilAt("/sign-in")
}

func errorPages(s *site) {
	s.signIn()
	for _, path := range []string{"/nothing", "/tasks/nothing", "/apps/nothing", "/?cursor=nothing"} {
		s.visit(path)
		s.untilSays("main", "404 Not Found There is nothing at this address.")
		s.untilSays(".who", "Signed in as admin")
	}
	a := s.get("/nothing", "Accept", "application/json")
	a.problem(http.StatusNotFound)
	cross := s.open(http.MethodPost, "/new-app", strings.NewReader("name=x"), "Authorization", "", "Origin", "https://example.com",
		"Sec-Fetch-Site", "cross-site", "Accept", "text/html", "Cookie", "longhaul=stolen")
	must(s.t, cross.Body.Close())
	if cross.StatusCode != http.StatusForbidden {
		s.t.Errorf("a form of another origin: %d", cross.StatusCode)
	}
}

// looksAndAccessibility looks at every page in both widths and both lights.
func looksAndAccessibility(s *site) {
	rejects := s.create(importTask(nil), accounts(s.t, 20, 3))
	s.waitFinal(rejects.ID, jobs.Succeeded)
	failure := s.create(object{"app": "vision", "name": "No such ruleset", "kind": "epm.runRuleset"}, nil)
	s.waitFinal(failure.ID, jobs.Failed)
	nap := s.create(object{"app": "plain", "name": "a-long-name-without-any-place-to-break-it-" + strings.Repeat("x", 50), "kind": "sleep", "params": object{"ms": 3_600_000}}, nil)
	s.waitUntil(nap.ID, "running", func(t *api.Task) bool { return t.State == jobs.Running })
	s.signIn()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{360, 1280} {
			s.look(width, scheme)
			for _, path := range []string{
				"/", "/?name=nothing", "/tasks/" + rejects.ID, "/tasks/" + failure.ID, "/tasks/" + nap.ID, "/tasks/" + nap.ID + "/cancel",
				"/start", "/start?app=vision&kind=epm.importData", "/start?app=vision&kind=epm.runRuleset", "/start?app=plain&kind=sleep",
				"/apps", "/new-app", "/apps/vision", "/sign-in", "/nothing",
			} {
				s.visit(path)
				s.until("!document.querySelector('[aria-busy=true]')")
				s.run("for (const d of document.querySelectorAll('details')) d.open = true")
				s.fits()
				s.accessible()
			}
		}
	}
	background := "getComputedStyle(document.body).backgroundColor"
	dark := js[string](s, background)
	s.look(1280, "light")
	if light := js[string](s, background); light == dark {
		s.t.Errorf("light and dark have the same background %s", light)
	}
}

// logFollows checks that the log grows with the task, stays where it is read, and is not doubled
// when the stream begins anew.
func logFollows(s *site) {
	task := s.create(importTask(nil), accounts(s.t, 3000, 1000))
	s.signIn()
	s.visit("/tasks/" + task.ID)
	s.untilSays("#log", "Started IMPORT_METADATA")
	// A tab out of sight gives up its stream; back in sight it goes on.
	s.run(`for (const state of ["hidden", "visible"]) {
		Object.defineProperty(document, "visibilityState", {value: state, configurable: true});
		document.dispatchEvent(new Event("visibilitychange"));
	}`)
	s.untilSays("#log", "Ended as succeeded")
	want := s.log(task.ID)
	s.until("document.getElementById('log').textContent.length >= " + string(jsonText(s.t, len(want))))
	if got := js[string](s, "document.getElementById('log').textContent"); got != want {
		s.t.Errorf("the page's log is not the task's:\n%s\n---\n%s", got, want)
	}
	if !js[bool](s, "(() => { const l = document.getElementById('log'); return l.scrollHeight > l.clientHeight && l.scrollHeight - l.scrollTop - l.clientHeight < 30 })()") {
		s.t.Error("the log does not follow its end")
	}
	s.run("document.getElementById('log').scrollTop = 0")
	s.until("!document.getElementById('log-end').hidden")
	s.click("#log-end")
	s.until("document.getElementById('log-end').hidden")
}

// A link to the sign-in page must not lead a person to another server.
func TestSignInLeadsOnlyToThisServer(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *config) { c.idle = true })
	for next, want := range map[string]string{
		"": "/", "/apps?x=1&y=2": "/apps?x=1&y=2", "/tasks/1#log": "/tasks/1#log", "apps": "/", "https://example.com/": "/",
		"//example.com": "/", `/\example.com`: "/", "///example.com": "/", "/\t/example.com": "/", "javascript:alert(1)": "/",
	} {
		path := "/sign-in?" + url.Values{"token": {adminToken}, "next": {next}}.Encode()
		resp := s.open(http.MethodGet, path, nil, "Authorization", "")
		must(t, resp.Body.Close())
		if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || got != want {
			t.Errorf("next %q leads to %q (%d), want %q", next, got, resp.StatusCode, want)
		}
	}
}

// What a page needs is given to anyone; the pages themselves are not.
func TestPagesAskForASignIn(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *config) { c.idle = true })
	for _, path := range []string{"/", "/tasks/1", "/start", "/start/jobs", "/apps", "/new-app", "/apps/vision", "/apps/vision/files", "/docs"} {
		page := s.open(http.MethodGet, path, nil, "Authorization", "", "Accept", "text/html")
		must(t, page.Body.Close())
		if got := page.Header.Get("Location"); page.StatusCode != http.StatusSeeOther || !strings.HasPrefix(got, "/sign-in") {
			t.Errorf("%s: %d, to %q", path, page.StatusCode, got)
		}
		part := s.open(http.MethodGet, path, nil, "Authorization", "", "HX-Request", "true")
		must(t, part.Body.Close())
		if part.StatusCode != http.StatusUnauthorized || part.Header.Get("HX-Redirect") != "/sign-in" {
			t.Errorf("a part of %s: %d", path, part.StatusCode)
		}
	}
	page := s.open(http.MethodGet, "/", nil)
	must(t, page.Body.Close())
	policy := page.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || page.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the page's headers: %v", page.Header)
	}
}
