package web

import (
	"fmt"
	"time"
)

// Question asks before something is done that cannot be undone.
type Question struct {
	Title      string
	Paragraphs []string
	Action     string // where the answer yes is sent
	Yes        string // the word for it; empty: it cannot be done
	No         string
	Back       string // where the answer no leads
	Danger     bool   // yes destroys something
}

// AskCancel asks whether a task is to be cancelled, and says what that can do and what it
// cannot. Remote tells that the task's work is done by an application.
func AskCancel(t *Task, remote bool) *Question {
	q := &Question{
		Title: fmt.Sprintf("Cancel %s?", t.Name), Action: t.URL() + "/cancel", Back: t.URL(),
		Yes: "Cancel the task", No: "Let it run", Danger: true,
	}
	switch {
	case !remote:
		q.Paragraphs = []string{"The task ends at its next step. What it did until then stays."}
	case t.Remote != nil:
		q.Paragraphs = []string{
			fmt.Sprintf("Job %s was already started in the application. Oracle offers no way to stop it from here: it goes on to its end, unless someone cancels it in the application, under Jobs.", t.Remote.JobID),
			"What ends is the task: nobody follows the job any more, and its rejected records and files are not fetched.",
		}
	case t.RemoteUnknown:
		q.Paragraphs = []string{
			"The job is being started in the application right now. If it has been, Oracle offers no way to stop it from here: look under Jobs in the application.",
		}
	default:
		q.Paragraphs = []string{"Nothing was started in the application yet. The task ends, and nothing changes there."}
	}
	return q
}

// AskDelete asks whether a final task is to be deleted.
func AskDelete(t *Task, now time.Time) *Question {
	what := "Its log and its result are deleted for good."
	if len(t.Outputs) > 0 && !t.Gone(now) {
		what = fmt.Sprintf("Its log, its result and %s are deleted for good.", plural(len(t.Outputs), "file", "files"))
	}
	return &Question{
		Title: fmt.Sprintf("Delete %s?", t.Name), Action: t.URL() + "/delete", Back: t.URL(),
		Yes: "Delete the task", No: "Keep it", Danger: true,
		Paragraphs: []string{what, "What it did in the application stays as it is."},
	}
}

// AskDeleteApp asks whether an app is to be deleted. One that has tasks or files cannot be.
func AskDeleteApp(a *App, hasTasks, hasFiles bool) *Question {
	q := &Question{
		Title: fmt.Sprintf("Delete the app %s?", a.Name), Action: a.Page() + "/delete", Back: "/apps",
		Yes: "Delete the app", No: "Keep it", Danger: true,
		Paragraphs: []string{"Its address, limits and stored credentials are deleted. Nothing changes in the application itself."},
	}
	if hasTasks || hasFiles {
		q.Title, q.Yes, q.No, q.Paragraphs = fmt.Sprintf("%s cannot be deleted", a.Name), "", "Back", nil
	}
	if hasTasks {
		q.Paragraphs = append(q.Paragraphs, "The app has tasks. They are the record of what ran there: delete them first, each on its page.")
	}
	if hasFiles {
		q.Paragraphs = append(q.Paragraphs, "The app has files. Delete them first, on the page of its files.")
	}
	return q
}
