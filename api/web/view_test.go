package web_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"longhaul/api/web"
)

var now = time.Date(2026, 11, 21, 19, 30, 0, 0, time.UTC)

func at(before time.Duration) *time.Time {
	t := now.Add(-before)
	return &t
}

// Tasks in the states that differ on the page.
var (
	waiting = web.Task{
		ID: "1", Name: "importEntity", App: "vision", Kind: "epm.importMetadata", KindTitle: "Import metadata", State: "queued",
		Step: "waiting", Message: "Waiting for importAccount, which needs the application alone", CreatedBy: "ann", CreatedAt: *at(time.Minute),
	}
	running = web.Task{
		ID: "2", Name: "importAccount", App: "vision", Kind: "epm.importMetadata", KindTitle: "Import metadata", State: "running",
		Step: "importing", Message: "Job 224 in the application: processing", Percent: 46, CreatedBy: "ann",
		CreatedAt: *at(3 * time.Minute), StartedAt: at(2 * time.Minute), ETA: at(-4 * time.Minute),
		Remote: &web.Remote{JobID: "224", Status: "Processing"},
	}
	rejects = web.Task{
		ID: "3", Name: "importAccount", App: "vision", KindTitle: "Import metadata", State: "succeeded", Percent: 100, CreatedBy: "ann",
		CreatedAt: *at(time.Hour), StartedAt: at(time.Hour), FinishedAt: at(59 * time.Minute), InputDeleted: true,
		Result: json.RawMessage(`{"records":{"read":10000,"processed":9588,"rejected":412},"message":"412 of 10,000 rows rejected",
			"dimensions":{"Account":{"read":9000,"processed":9000,"rejected":0},"Entity":{"read":1000,"processed":588,"rejected":412}}}`),
		Outputs: []web.Output{{Path: "rejected/Account errors.csv", Size: 69200}}, OutputsExpireAt: at(-23 * time.Hour),
	}
	failed = web.Task{
		ID: "4", Name: "Nightly close", App: "vision", KindTitle: "Run a ruleset", State: "failed", CreatedBy: "ann", CreatedAt: *at(time.Hour),
		FinishedAt: at(time.Hour), Params: json.RawMessage(`{"job":"No such"}`), Parent: "1", Attempt: 2,
		Error: &web.TaskError{Code: "unauthorized", Message: "The application refuses the password", Detail: "Correct it."},
	}
	plain = web.Task{ID: "5", Name: "export", State: "succeeded", Message: "Done", CreatedAt: *at(time.Hour), FinishedAt: at(time.Hour)}
)

func taskPage(t *testing.T, task web.Task) *doc {
	t.Helper()
	return render(t, web.TaskPage(web.Frame{User: "ann", Section: "tasks"}, &web.TaskView{Task: task, Now: now, Log: "one\ntwo\n", LogSize: 8, May: all}))
}

// all is what an admin of an app may, and whole what the navigation shows an instance admin.
var (
	all   = web.May{Operate: true, SeeData: true, Manage: true}
	whole = web.Frame{User: "ann", Section: "tasks", Start: true, Apps: true, People: true, Audit: true, Provider: "login.example.com"}
)

func startForm(t *testing.T, schema string, values map[string]any) *web.StartForm {
	t.Helper()
	fields, err := web.Fields([]byte(schema), values)
	if err != nil {
		t.Fatal(err)
	}
	return &web.StartForm{
		Apps: []web.AppChoice{{Name: "vision"}}, App: "vision", Kinds: []web.KindChoice{{Name: "k", Title: "Kind"}},
		Kind: &web.StartKind{Name: "k", Title: "Kind", Input: "required"}, Fields: fields,
	}
}

const everyControl = `{"type":"object","required":["count","sure"],"properties":{
	"count":{"type":"integer","minimum":1,"maximum":9,"description":"How many"},
	"ratio":{"type":"number"},"sure":{"type":"boolean"},"refresh_cube":{"type":"boolean","description":"Refresh"},
	"delimiter":{"type":"string","enum":["comma","tab"]},"text":{"type":["string","null"],"maxLength":5},
	"prompts":{"type":"object","additionalProperties":{"type":"string"}},"list":{"type":"array"}}}`

// everyPage is one of each.
func everyPage(t *testing.T) map[string]web.View {
	frame := whole
	list := &web.TaskList{
		MayStart: true, MayAdd: true,

		Tasks: []web.Task{waiting, running, rejects, failed, plain}, Apps: []string{"a", "b"}, Kinds: []web.KindChoice{{Name: "k", Title: "K"}},
		Names: []string{"importAccount"}, Older: "5", Filter: web.Filter{Cursor: "9", State: "open"}, Now: now, Deleted: true,
	}
	form := startForm(t, everyControl, map[string]any{"prompts": map[string]any{"Year": "FY26"}})
	form.Job = &web.JobField{App: "vision", Kind: "k"}
	form.Again = &web.Again{ID: "3", Name: "importAccount", FileGone: true}
	app := web.App{Name: "vision", Product: "epm", URL: "https://x", Application: "Vision", SignsIn: true, Maintenance: &web.Maintenance{Start: "02:00", Minutes: 60, TimeZone: "UTC"}, May: all}
	views := map[string]web.View{
		"tasks": web.TasksPage(frame, list), "no tasks": web.TasksPage(frame, &web.TaskList{Now: now}),
		"start": web.StartPage(frame, form), "start, empty": web.StartPage(frame, &web.StartForm{}),
		"apps":     web.AppsPage(frame, &web.AppList{Apps: []web.App{app}, Check: &web.Check{App: "vision", OK: true, Message: "Signed in."}, Saved: "vision"}),
		"app":      web.AppPage(frame, &web.AppForm{New: true, Errors: []web.FieldError{{Field: "url", Message: "Address: no"}}}),
		"question": web.QuestionPage(frame, web.AskCancel(&running, true)),
		"sign-in":  web.SignInPage(web.Frame{}, &web.SignIn{Problem: "Wrong", Next: "/apps"}),
		"problem":  web.ProblemPage(frame, &web.Problem{Status: 500, Title: "Internal Server Error", Detail: "Try again", RequestID: "r-1"}),
		"docs":     web.DocsPage(frame),
	}
	for _, task := range []web.Task{waiting, running, rejects, failed, plain} {
		views["task "+task.ID] = web.TaskPage(frame, &web.TaskView{Task: task, Now: now, May: all})
		views["task, without data "+task.ID] = web.TaskPage(frame, &web.TaskView{Task: task, Now: now})
	}
	maps.Copy(views, peoplesPages())
	return views
}

func TestEveryPageKeepsTheRules(t *testing.T) {
	t.Parallel()
	for name, view := range everyPage(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := render(t, view)
			if lang := attr(d.tags("html")[0], "lang"); lang != "en" {
				t.Errorf("lang is %q", lang)
			}
			if title := d.tags("title"); len(title) != 1 || !strings.HasSuffix(title[0].FirstChild.Data, "· Longhaul") || len(title[0].FirstChild.Data) < 15 {
				t.Errorf("the title says nothing of the page")
			}
			if n := len(d.tags("h1")); n != 1 {
				t.Errorf("%d h1", n)
			}
			if len(d.tags("main")) != 1 || attr(d.all(func(n *html.Node) bool { return attr(n, "class") == "skip" })[0], "href") != "#main" {
				t.Errorf("no way to skip to the content")
			}
			nothingInline(t, d)
			everythingLabelled(t, d)
			idsAreUnique(t, d)
		})
	}
}

// nothingInline checks what the Content-Security-Policy of the pages forbids.
func nothingInline(t *testing.T, d *doc) {
	t.Helper()
	for _, n := range d.all(func(*html.Node) bool { return true }) {
		if n.Data == "style" || n.Data == "script" && !has(n, "src") || has(n, "style") {
			t.Errorf("inline %s", n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "hx-on") || strings.HasPrefix(a.Val, "javascript:") {
				t.Errorf("inline script in %s of %s", a.Key, n.Data)
			}
			if (a.Key == "src" || n.Data == "link" && a.Key == "href") && !strings.HasPrefix(a.Val, web.StaticPrefix) {
				t.Errorf("%s loads %s", n.Data, a.Val)
			}
		}
	}
}

// everythingLabelled checks that each control says what it is for.
func everythingLabelled(t *testing.T, d *doc) {
	t.Helper()
	labelled := make(map[string]bool)
	for _, label := range d.tags("label") {
		labelled[attr(label, "for")] = true
	}
	for _, n := range d.all(func(n *html.Node) bool { return n.Data == "input" || n.Data == "select" || n.Data == "textarea" }) {
		within := false
		for parent := range n.Ancestors() {
			within = within || parent.Data == "label"
		}
		if attr(n, "type") != "hidden" && !has(n, "hidden") && !within && !has(n, "aria-label") && !has(n, "aria-labelledby") && !labelled[attr(n, "id")] {
			t.Errorf("%s %s has no label", n.Data, attr(n, "id"))
		}
	}
	for _, n := range d.all(func(n *html.Node) bool { return has(n, "aria-describedby") }) {
		for id := range strings.FieldsSeq(attr(n, "aria-describedby")) {
			if d.id(id) == nil {
				t.Errorf("%s %s is described by %s, which is not there", n.Data, attr(n, "id"), id)
			}
		}
	}
	for _, n := range d.all(func(n *html.Node) bool { return n.Data == "button" || n.Data == "a" && has(n, "href") }) {
		if text(n) == "" && !has(n, "aria-label") {
			t.Errorf("a %s without words", n.Data)
		}
	}
}

func idsAreUnique(t *testing.T, d *doc) {
	t.Helper()
	seen := make(map[string]bool)
	for _, n := range d.all(func(n *html.Node) bool { return has(n, "id") }) {
		if id := attr(n, "id"); seen[id] {
			t.Errorf("two elements have the id %s", id)
		}
		seen[attr(n, "id")] = true
	}
}

func TestTasksPageTellsStatesInWords(t *testing.T) {
	t.Parallel()
	list := &web.TaskList{Tasks: []web.Task{waiting, running, rejects, failed}, Apps: []string{"vision"}, Now: now}
	d := render(t, web.TasksPage(web.Frame{User: "ann"}, list))
	d.says("Queued", "Waiting for importAccount, which needs the application alone", "Running", "46 %", "Succeeded with rejects",
		"412 of 10,000 rows rejected", "Failed", "The application refuses the password", "3 min ago", "try 2")
	if poll := attr(d.id("tasks"), "hx-trigger"); !strings.Contains(poll, "every") {
		t.Errorf("a list with open tasks does not refresh itself: %q", poll)
	}
	if d.id("f-app") != nil {
		t.Error("one app is offered to choose from")
	}
}

func TestTasksPageRestsWhenAllEnded(t *testing.T) {
	t.Parallel()
	d := render(t, web.TaskRows(&web.TaskList{Tasks: []web.Task{rejects, failed}, Now: now}))
	if poll := attr(d.id("tasks"), "hx-trigger"); strings.Contains(poll, "every") {
		t.Errorf("a list of ended tasks goes on asking: %q", poll)
	}
}

func TestEmptyListSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		list web.TaskList
		says string
		link string
	}{
		"no app":   {web.TaskList{}, "First, add your application", "/new-app"},
		"no task":  {web.TaskList{Apps: []string{"vision"}, MayStart: true}, "Nothing has run yet", "/start"},
		"filtered": {web.TaskList{Apps: []string{"vision"}, Filter: web.Filter{Name: "x"}}, "No task fits this filter", "/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := render(t, web.TaskRows(&c.list))
			d.says(c.says)
			if links := d.tags("a"); len(links) != 1 || attr(links[0], "href") != c.link {
				t.Errorf("does not lead to %s", c.link)
			}
		})
	}
}

func TestPagesOfTheListKeepTheFilter(t *testing.T) {
	t.Parallel()
	d := render(t, web.TaskRows(&web.TaskList{
		Tasks: []web.Task{plain}, Filter: web.Filter{App: "a b", Cursor: "7"}, Older: "3", Now: now,
	}))
	if got := d.link("Older"); got != "/?app=a+b&cursor=3" {
		t.Errorf("older tasks are at %s", got)
	}
	if got := d.link("Newest"); got != "/?app=a+b" {
		t.Errorf("the newest tasks are at %s", got)
	}
}

func TestTaskPageOfARunningTask(t *testing.T) {
	t.Parallel()
	d := taskPage(t, running)
	d.says("Running", "importing", "Job 224 in the application: processing", "46 %", "about 4 min left", "Running for 2 min 0 s", "one two")
	if d.link("Cancel…") != "/tasks/2/cancel" || d.id("retry") != nil || d.id("delete") != nil {
		t.Error("a running task can be cancelled, and nothing else")
	}
	if attr(d.id("live"), "data-events") != "/api/v1/tasks/2/events" || attr(d.id("log"), "data-size") != "8" {
		t.Error("the log does not say where it goes on")
	}
	if attr(d.id("announce"), "aria-live") != "polite" || text(d.id("announce")) != "Running: importing" {
		t.Errorf("a screen reader hears %q", text(d.id("announce")))
	}
}

func TestTaskPageOfATaskWithRejects(t *testing.T) {
	t.Parallel()
	d := taskPage(t, rejects)
	d.says("Succeeded with rejects", "412 of 10,000 rows rejected", "Read 10,000", "Processed 9,588", "Rejected 412", "in 23 h", "69.2 kB")
	rows := d.tags("tr")
	if len(rows) != 3 || !strings.HasPrefix(text(rows[1]), "Entity") || !strings.HasSuffix(text(rows[1]), "412") {
		t.Error("the dimension with rejects does not come first")
	}
	if got := d.link("rejected/Account errors.csv"); got != "/api/v1/tasks/3/outputs/rejected/Account%20errors.csv" {
		t.Errorf("the file is at %s", got)
	}
	if d.link("All as one zip") != "/api/v1/tasks/3/outputs.zip" || d.link("Start again…") != "/start?from=3" {
		t.Error("the ways on are missing")
	}
	if attr(d.id("live"), "data-events") != "" {
		t.Error("an ended task is followed")
	}
}

func TestTaskPageAfterItsFilesExpired(t *testing.T) {
	t.Parallel()
	task := rejects
	task.OutputsExpireAt = at(time.Second)
	d := taskPage(t, task)
	d.says("rejected/Account errors.csv", "These files were deleted")
	if d.link("rejected/Account errors.csv") != "" || d.link("All as one zip") != "" {
		t.Error("deleted files are offered")
	}
}

func TestTaskPageOfAFailure(t *testing.T) {
	t.Parallel()
	d := taskPage(t, failed)
	d.says("Failed", "The application refuses the password", "Correct it.", "type the user name and password again", "No such", "unauthorized")
	if d.id("retry") == nil || d.link("an earlier task") != "/tasks/1" {
		t.Error("the ways on are missing")
	}
}

func TestNamesOfStrangersStayText(t *testing.T) {
	t.Parallel()
	task := rejects
	task.Name, task.Message = `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`
	task.Outputs = []web.Output{{Path: `../"><script>x</script>/a?b#c`}}
	d := taskPage(t, task)
	d.says(`<script>alert(1)</script>`)
	nothingInline(t, d)
	if got := d.link(`../"><script>x</script>/a?b#c`); got != "/api/v1/tasks/3/outputs/../%22%3E%3Cscript%3Ex%3C/script%3E/a%3Fb%23c" {
		t.Errorf("the file is at %s", got)
	}
}

func TestQuestionsSayWhatTheAnswerDoes(t *testing.T) {
	t.Parallel()
	fresh, unknown := waiting, running
	unknown.Remote, unknown.RemoteUnknown = nil, true
	app := web.App{Name: "vision"}
	for name, c := range map[string]struct {
		question *web.Question
		says     string
	}{
		"cancel before the start": {web.AskCancel(&fresh, true), "Nothing was started in the application yet"},
		"cancel a remote job":     {web.AskCancel(&running, true), "Job 224 was already started"},
		"cancel while it starts":  {web.AskCancel(&unknown, true), "is being started in the application right now"},
		"cancel local work":       {web.AskCancel(&running, false), "ends at its next step"},
		"delete":                  {web.AskDelete(&rejects, now), "its result and 1 file are deleted"},
		"delete after expiry":     {web.AskDelete(&rejects, now.Add(48*time.Hour)), "Its log and its result are deleted"},
		"delete an app":           {web.AskDeleteApp(&app, false, false), "stored credentials are deleted"},
		"delete an app in use":    {web.AskDeleteApp(&app, true, false), "The app has tasks"},
		"delete an app of files":  {web.AskDeleteApp(&app, false, true), "The app has files"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := render(t, web.QuestionDialog(c.question))
			d.says(c.says, c.question.Title)
			if got := len(d.tags("button")); (got == 1) != (c.question.Yes != "") {
				t.Errorf("%d buttons", got)
			}
		})
	}
}

func TestStartFormDrawsEachControl(t *testing.T) {
	t.Parallel()
	form := startForm(t, everyControl, map[string]any{"count": 3.0, "refresh_cube": false, "prompts": map[string]any{"Year": "FY26"}})
	d := render(t, web.StartFields(form))
	for id, want := range map[string]string{
		"params-count": `type=number min=1 max=9 step=1 value=3 required`, "params-ratio": `type=number step=any`,
		"params-sure": `type=checkbox`, "params-text": `maxlength=5`, "params-list": `data-control=json`,
	} {
		n := d.id(id)
		for pair := range strings.FieldsSeq(want) {
			name, value, _ := strings.Cut(pair, "=")
			if !has(n, name) || attr(n, name) != value {
				t.Errorf("%s: %s is %q, want %q", id, name, attr(n, name), value)
			}
		}
	}
	if options := text(d.id("params-delimiter")); options != "Not set comma tab" {
		t.Errorf("choices: %s", options)
	}
	checked := d.all(func(n *html.Node) bool { return attr(n, "name") == "params-refresh_cube" && has(n, "checked") })
	if len(checked) != 1 || attr(checked[0], "value") != "false" {
		t.Error("a boolean that may be left out is not yes, no or neither")
	}
	if pairs := d.all(func(n *html.Node) bool { return attr(n, "class") == "pair" }); len(pairs) != 2 { // one, and the template
		t.Errorf("%d pairs", len(pairs))
	}
	d.says("Refresh cube", "How many From 1 to 9.")
	if attr(d.id("file"), "type") != "file" || !has(d.id("file"), "required") {
		t.Error("the archive is not asked for")
	}
}

func TestStartFormHidesTheFileWhereNoneIsTaken(t *testing.T) {
	t.Parallel()
	form := startForm(t, `{"properties":{}}`, nil)
	form.Kind.Input = "none"
	d := render(t, web.StartFields(form))
	if d.id("file") != nil || d.id("max_rejected") != nil || len(d.tags("details")) != 0 {
		t.Error("the form asks for what the kind does not take")
	}
}

func TestJobChoice(t *testing.T) {
	t.Parallel()
	asked := &web.JobField{App: "vision", Kind: "k", Value: "old", Asked: true, Jobs: []string{"importAccount", "importEntity"}}
	d := render(t, web.JobChoice(asked))
	if got := text(d.id("params-job")); got != "Choose a job old (not in the application’s list) importAccount importEntity" {
		t.Errorf("choices: %s", got)
	}
	d = render(t, web.JobChoice(&web.JobField{Asked: true, Problem: "The application does not answer."}))
	d.says("The list of jobs could not be read. The application does not answer.")
	if n := d.id("params-job"); n == nil || n.Data != "input" {
		t.Error("without a list, the name cannot be typed")
	}
	d = render(t, web.JobChoice(&web.JobField{App: "a&b", Kind: "k", Value: "x"}))
	if got := attr(d.id("job-field"), "hx-get"); got != "/start/jobs?app=a%26b&job=x&kind=k" {
		t.Errorf("asks %s", got)
	}
}

func TestAppPageNeverShowsCredentials(t *testing.T) {
	t.Parallel()
	d := render(t, web.AppPage(web.Frame{User: "ann"}, &web.AppForm{Name: "vision", Stored: "basic"}))
	if attr(d.id("password"), "value") != "" || attr(d.id("username"), "value") != "" || attr(d.id("password"), "type") != "password" {
		t.Error("credentials are filled in")
	}
	d.says("Leave both empty to keep them")
}

func TestAppPageShowsWhatIsWrongAtItsField(t *testing.T) {
	t.Parallel()
	d := render(t, web.AppPage(web.Frame{User: "ann"}, &web.AppForm{
		New: true, URL: "nonsense", Errors: []web.FieldError{{Field: "url", Message: "Address: is no address"}},
	}))
	if attr(d.id("url"), "aria-invalid") != "true" || text(d.id("url-error")) != "Address: is no address" || attr(d.id("url"), "value") != "nonsense" {
		t.Error("the field does not say what is wrong")
	}
	if d.link("Address: is no address") != "#url" {
		t.Error("the summary does not lead to the field")
	}
}

func TestSignedOutPagesShowNoNavigation(t *testing.T) {
	t.Parallel()
	d := render(t, web.SignInPage(web.Frame{}, &web.SignIn{}))
	if len(d.tags("nav")) != 0 {
		t.Error("the sign-in page leads to pages that need a sign-in")
	}
	d.says("link that the server prints when it starts", "admin-token")
	d.silent("Sign out")
}

func TestNavigationShowsWhereOneIs(t *testing.T) {
	t.Parallel()
	for section, words := range map[string]string{
		"tasks": "Tasks", "start": "Start", "apps": "Apps", "people": "People", "audit": "Audit", "docs": "API docs", "profile": "Profile and API tokens",
	} {
		frame := whole
		frame.Section = section
		d := render(t, web.DocsPage(frame))
		current := d.all(func(n *html.Node) bool { return attr(n, "aria-current") == "page" })
		if len(current) != 1 || text(current[0]) != words {
			t.Errorf("in %s, %d links are lit", section, len(current))
		}
	}
}
