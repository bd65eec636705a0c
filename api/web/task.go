package web

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Task is one task as its page and the list show it.
type Task struct {
	ID, Name        string
	App             string
	Kind, KindTitle string
	State           string // queued, running, succeeded, failed or cancelled
	Cancelling      bool   // was asked to end and has not yet
	Step            string // what is being done, in a word or two
	Message         string // the same in a sentence; while it waits: why
	Percent         int
	Version         int64
	ETA             *time.Time
	CreatedBy       string
	CreatedAt       time.Time
	StartedAt       *time.Time
	FinishedAt      *time.Time
	Attempt         int
	Parent          string // id of the task that this one retries; empty for none
	Params          json.RawMessage
	MaxRejected     *int64

	Remote        *Remote // nil while nothing runs in the application
	RemoteUnknown bool    // a start was tried, and its answer has not come
	Error         *TaskError
	Result        json.RawMessage
	InputDeleted  bool // a retry needs the file again

	Outputs         []Output
	OutputsExpireAt *time.Time
	OutputsDeleted  bool
}

// Remote is the job that runs in the application.
type Remote struct{ JobID, Status string }

// TaskError says why a task did not succeed.
type TaskError struct{ Code, Message, Detail string }

// Output is a file that a task left.
type Output struct {
	Path   string
	Size   int64 // bytes
	SHA256 string
}

// Open reports whether the task has not ended.
func (t *Task) Open() bool { return t.State == "queued" || t.State == "running" }

// Badge is how a state is shown: never by its colour alone.
type Badge struct {
	Word string
	Icon string
	Tone string // ok, warn, bad, live, idle: a class of the style sheet
}

// Badge is the task's state for people. A task whose records were partly rejected is not a plain
// success.
func (t *Task) Badge() Badge {
	switch {
	case t.Open() && t.Cancelling:
		return Badge{"Cancelling", "slash", "idle"}
	case t.State == "queued":
		return Badge{"Queued", "clock", "idle"}
	case t.State == "running":
		return Badge{"Running", "spinner", "live"}
	case t.State == "succeeded" && t.Rejected() > 0:
		return Badge{"Succeeded with rejects", "warning", "warn"}
	case t.State == "succeeded" && t.result().Warnings:
		return Badge{"Succeeded with warnings", "warning", "warn"}
	case t.State == "succeeded":
		return Badge{"Succeeded", "check", "ok"}
	case t.State == "cancelled":
		return Badge{"Cancelled", "slash", "idle"}
	}
	return Badge{"Failed", "cross", "bad"}
}

// taskResult is what is known of the results of kinds; other kinds leave it empty.
type taskResult struct {
	Records    *Records           `json:"records"`
	Dimensions map[string]Records `json:"dimensions"`
	Warnings   bool               `json:"warnings"`
	Message    string             `json:"message"`
}

// Records counts what an import did with what it read.
type Records struct {
	Read      int64 `json:"read"`
	Processed int64 `json:"processed"`
	Rejected  int64 `json:"rejected"`
}

func (t *Task) result() taskResult {
	var r taskResult
	if err := json.Unmarshal(t.Result, &r); err != nil {
		return taskResult{} // another kind's result; shown as it is
	}
	return r
}

// Records returns the counts of an import, or nil.
func (t *Task) Records() *Records { return t.result().Records }

// Rejected is how many records the application refused.
func (t *Task) Rejected() int64 {
	if r := t.result().Records; r != nil {
		return r.Rejected
	}
	return 0
}

// Dimension is the counts of one dimension.
type Dimension struct {
	Name string
	Records
}

// Dimensions returns the counts per dimension, those with rejects first, then by name.
func (t *Task) Dimensions() []Dimension {
	var list []Dimension
	for name, records := range t.result().Dimensions {
		list = append(list, Dimension{name, records})
	}
	slices.SortFunc(list, func(a, b Dimension) int {
		if (a.Rejected > 0) != (b.Rejected > 0) {
			if a.Rejected > 0 {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}

// OtherResult is the result of a kind whose results this page knows nothing of, as JSON.
func (t *Task) OtherResult() string {
	r := t.result()
	if len(t.Result) == 0 || r.Records != nil || r.Message != "" {
		return ""
	}
	return indented(t.Result)
}

// Headline is the sentence under the state: what happened, or why it waits.
func (t *Task) Headline() string {
	switch {
	case t.Error != nil:
		return t.Error.Message
	case t.State == "succeeded" && t.result().Message != "":
		return t.result().Message
	case t.State == "succeeded" && (t.Message == "" || t.Message == "Done"):
		return "The task has done its work."
	case t.State == "queued" && t.Message == "":
		return "Waiting for a worker."
	}
	return t.Message
}

// Doing is what an open task is at, in a word or two.
func (t *Task) Doing() string {
	switch {
	case t.Cancelling:
		return "cancelling"
	case t.Step == t.State:
		return "" // the badge says it
	}
	return t.Step
}

// RemoteNote names the job in the application; empty when there is none, or when the headline
// is about it.
func (t *Task) RemoteNote() string {
	if t.Remote == nil || strings.Contains(t.Headline(), "Job "+t.Remote.JobID) {
		return ""
	}
	return strings.TrimSuffix("Job "+t.Remote.JobID+" in the application: "+t.Remote.Status, ": ")
}

// Left words how long the task may take still; empty when nobody knows.
func (t *Task) Left(now time.Time) string {
	if t.ETA == nil || !t.Open() || t.Cancelling {
		return ""
	}
	if t.ETA.Before(now) {
		return "taking longer than usual"
	}
	return "about " + span(t.ETA.Sub(now)) + " left"
}

// Lasted words how long the task ran, or has run so far; empty before its start.
func (t *Task) Lasted(now time.Time) string {
	if t.StartedAt == nil {
		return ""
	}
	if t.FinishedAt != nil {
		now = *t.FinishedAt
	}
	return Took(now.Sub(*t.StartedAt))
}

// Advice says what a person can do about a failure, beside what the failure itself says.
func (t *Task) Advice() string {
	if t.Error == nil {
		return ""
	}
	return advice[t.Error.Code]
}

var advice = map[string]string{
	"rejected_records":   "The rejected records are in the files below, with the reason for each.",
	"invalid_input":      "Correct the file, then start again.",
	"remote_unreachable": "Check the app’s connection on the Apps page. Once it answers, start the task again.",
	"unauthorized":       "Open the app on the Apps page, type the user name and password again, and check the connection.",
	"timed_out":          "Look in the application whether the job still runs before you start it again.",
	"outcome_unknown":    "Look in the application first: starting again at once could run the same job twice.",
}

// OutputURL is where an output is downloaded.
func (t *Task) OutputURL(o Output) string {
	return t.api() + "/outputs/" + escaped(o.Path)
}

// ZipURL is where all outputs are downloaded as one archive.
func (t *Task) ZipURL() string { return t.api() + "/outputs.zip" }

// LogURL is where the log is read as plain text.
func (t *Task) LogURL() string { return t.api() + "/log" }

// EventsURL is where the task is followed.
func (t *Task) EventsURL() string { return t.api() + "/events" }

// URL is the task's page.
func (t *Task) URL() string { return "/tasks/" + t.ID }

func (t *Task) api() string { return "/api/v1/tasks/" + t.ID }

// StartAgainURL is the form for a new task, filled with what this one was started with.
func (t *Task) StartAgainURL() string { return "/start?from=" + t.ID }

// Gone reports whether the bytes of the outputs are not there any more.
func (t *Task) Gone(now time.Time) bool {
	return t.OutputsDeleted || t.OutputsExpireAt != nil && t.OutputsExpireAt.Before(now)
}

// Param is one parameter as the page shows it.
type Param struct{ Label, Value string }

// ParamList is the task's parameters, by name.
func (t *Task) ParamList() []Param {
	var params map[string]any
	if err := json.Unmarshal(t.Params, &params); err != nil {
		return nil
	}
	list := make([]Param, 0, len(params))
	for name, value := range params {
		list = append(list, Param{label(name), paramText(value)})
	}
	slices.SortFunc(list, func(a, b Param) int { return strings.Compare(a.Label, b.Label) })
	return list
}

func paramText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case bool:
		if v {
			return "Yes"
		}
		return "No"
	case map[string]any:
		names := make([]string, 0, len(v))
		for name, value := range v {
			names = append(names, name+": "+paramText(value))
		}
		slices.Sort(names)
		return strings.Join(names, ", ")
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(raw)
}

func indented(raw []byte) string {
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return string(raw)
	}
	return out.String()
}
