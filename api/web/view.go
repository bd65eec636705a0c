package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"
)

//go:embed templates
var templateFiles embed.FS

// Frame is what every page shows around its content.
type Frame struct {
	User    string // who is signed in; empty: nobody
	Section string // tasks, start, apps, people, audit, docs or profile: what is lit in the navigation
	Version string
	// What the navigation leads to, beside what is there for everybody.
	Start, Apps, People, Audit bool
	Provider                   string // the host to sign out at too; empty: none
}

// View is a page, or a part of one, with what it shows.
type View struct {
	file string // of the template
	part string // the template in it; empty: the whole page
	page page
}

// page is what the layout is given.
type page struct {
	Frame Frame
	Body  any
}

// Render writes the view as HTML.
func (v View) Render() ([]byte, error) {
	t, ok := templates()[v.file]
	if !ok {
		return nil, fmt.Errorf("no template %q", v.file)
	}
	var out bytes.Buffer
	var err error
	if v.part == "" {
		err = t.ExecuteTemplate(&out, "layout", v.page)
	} else {
		err = t.ExecuteTemplate(&out, v.part, v.page.Body)
	}
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", v.file, err)
	}
	return out.Bytes(), nil
}

var templates = sync.OnceValue(parseTemplates)

// parseTemplates makes, of every page's file, a set with the layout and the shared parts. It
// panics when one is wrong: they are part of the binary.
func parseTemplates() map[string]*template.Template {
	shared := template.Must(template.New("").Funcs(template.FuncMap{
		"asset": assetURL, "icon": icon, "ago": Ago, "until": Until, "exact": Exact,
		"bytes": Bytes, "count": Count, "stamp": stamp, "join": strings.Join,
	}).ParseFS(templateFiles, "templates/shared/*.html"))
	sets := make(map[string]*template.Template)
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err)
	}
	for _, file := range files {
		set := template.Must(template.Must(shared.Clone()).ParseFS(templateFiles, file))
		sets[path.Base(file)] = set
	}
	return sets
}

// stamp is a point in time as the attribute datetime has it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// TaskList is the list of tasks.
type TaskList struct {
	Tasks  []Task
	Filter Filter
	Apps   []string // to filter by; with one, nothing is offered
	Kinds  []KindChoice
	Names  []string // suggestions
	Older  string   // the cursor of the next page; empty on the last
	Now    time.Time
	// Deleted says that a task was just deleted.
	Deleted bool
	// MayStart and MayAdd say whether who asks may start tasks, and add apps.
	MayStart, MayAdd bool
	Newcomer         *Newcomer // who asks has no app at all; nil: they have
	// Broken are the apps, of those that who asks manages, whose connection needs them.
	Broken []App
}

// Newcomer is somebody who may not use any app yet, with what they need to ask for it.
type Newcomer struct {
	Login  string
	Groups []string
	Admins []string // whom to ask
}

// TasksPage is the list of tasks with its filters.
func TasksPage(f Frame, list *TaskList) View {
	return View{file: "tasks.html", page: page{f, list}}
}

// TaskRows is the list alone, for a page that refreshes itself.
func TaskRows(list *TaskList) View {
	return View{file: "tasks.html", part: "list", page: page{Body: list}}
}

// TaskView is one task's page.
type TaskView struct {
	Task
	Log     string // the end of it
	LogSize int64  // of all of it, in bytes
	LogCut  bool   // its beginning is left out
	Now     time.Time
	May     May
	Kept    map[string]string // the files that were made of outputs, by the outputs' paths
}

// MayKeep reports whether who asks may make files of outputs.
func (v *TaskView) MayKeep() bool { return v.May.Operate && v.May.SeeData && !v.Gone(v.Now) }

// Unkept is how many outputs were not made files of.
func (v *TaskView) Unkept() int { return len(v.Outputs) - len(v.Kept) }

// KeptURL is where a file that was made of an output is listed.
func (v *TaskView) KeptURL(path string) string { return FolderURL(v.App, path) }

// TaskPage is one task's page.
func TaskPage(f Frame, v *TaskView) View { return View{file: "task.html", page: page{f, v}} }

// TaskState is what changes on a task's page while it runs, without the log.
func TaskState(v *TaskView) View { return View{file: "task.html", part: "state", page: page{Body: v}} }

// StartPage is the form that starts a task.
func StartPage(f Frame, form *StartForm) View { return View{file: "start.html", page: page{f, form}} }

// StartFields is the form alone, for another app or kind.
func StartFields(form *StartForm) View {
	return View{file: "start.html", part: "form", page: page{Body: form}}
}

// JobChoice is the field for the saved job, once the application was asked.
func JobChoice(f *JobField) View { return View{file: "start.html", part: "job", page: page{Body: f}} }

// AppList is the list of apps.
type AppList struct {
	Apps  []App
	Check *Check // what a check came to, when the page is its answer; nil: none
	Saved string // the app that was just saved

	MayAdd   bool
	Newcomer *Newcomer // who asks has no app at all; nil: they have
}

// AppsPage is the list of apps.
func AppsPage(f Frame, list *AppList) View { return View{file: "apps.html", page: page{f, list}} }

// CheckResult is what a check came to, in words.
func CheckResult(c *Check) View { return View{file: "apps.html", part: "check", page: page{Body: c}} }

// AppPage is the form for a new or an old app.
func AppPage(f Frame, form *AppForm) View { return View{file: "app.html", page: page{f, form}} }

// QuestionPage asks on a page of its own.
func QuestionPage(f Frame, q *Question) View { return View{file: "question.html", page: page{f, q}} }

// QuestionDialog asks on the page that is shown.
func QuestionDialog(q *Question) View {
	return View{file: "question.html", part: "dialog", page: page{Body: q}}
}

// SignIn is the page where a person comes in.
type SignIn struct {
	Problem  string // why the last try failed; empty at first
	Next     string // where to go afterwards; empty: the list of tasks
	Provider string // the host that signs people in; empty: a token is typed
	Out      bool   // who was here has just signed out
}

// StartURL is where the provider is asked.
func (s *SignIn) StartURL() string {
	if s.Next == "" {
		return "/sign-in/start"
	}
	return "/sign-in/start?next=" + url.QueryEscape(s.Next)
}

// SignInPage is where a person comes in.
func SignInPage(f Frame, v *SignIn) View { return View{file: "signin.html", page: page{f, v}} }

// Problem is what went wrong, for a person.
type Problem struct {
	Status    int
	Title     string
	Detail    string
	RequestID string
}

// ProblemPage tells what went wrong.
func ProblemPage(f Frame, p *Problem) View { return View{file: "problem.html", page: page{f, p}} }

// DocsPage is where the API is read and tried.
func DocsPage(f Frame) View { return View{file: "docs.html", page: page{Frame: f}} }
