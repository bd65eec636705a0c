package api

import (
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"longhaul/jobs"
	"longhaul/storage"
)

// Task is one run of a kind of work for an app, as the API shows it.
type Task struct {
	ID          string          `json:"id" format:"uuid" doc:"UUIDv7; sorts by time"`
	App         string          `json:"app"`
	Name        string          `json:"name" doc:"The recurring job's name, as in importAccount"`
	Kind        string          `json:"kind"`
	Params      json.RawMessage `json:"params" doc:"As the kind's JSON Schema describes"`
	MaxRejected *int64          `json:"max_rejected" doc:"More rejected records than this make the task fail; null: no limit"`
	State       string          `json:"state" enum:"queued,running,succeeded,failed,cancelled"`
	Progress    Progress        `json:"progress"`
	Attempt     int             `json:"attempt" doc:"1, and one more for each retry"`
	Parent      *string         `json:"parent" format:"uuid" doc:"The task that this one retries"`
	Version     int64           `json:"version" doc:"Rises with every change; the ETag"`
	CreatedBy   string          `json:"created_by"`
	CreatedAt   time.Time       `json:"created_at"`
	StartedAt   *time.Time      `json:"started_at"`
	FinishedAt  *time.Time      `json:"finished_at"`
	Remote      *Remote         `json:"remote" doc:"The job that Oracle runs, once it is started"`
	Error       *TaskError      `json:"error"`
	Result      json.RawMessage `json:"result"`
	Outputs     []Output        `json:"outputs"`
	Links       Links           `json:"links"`
}

// TransformSchema completes the description.
func (*Task) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return orNull(s, "remote", "error")
}

// Progress tells how far a task is and why it waits.
type Progress struct {
	Percent int        `json:"percent" minimum:"0" maximum:"100" doc:"Only rises; 100 when succeeded"`
	Step    string     `json:"step" doc:"What is being done, in a word or two"`
	Message string     `json:"message" doc:"The same in a sentence; while it waits: why"`
	ETA     *time.Time `json:"eta" doc:"When earlier runs suggest that it ends"`
}

// Remote is the job that runs in the remote application.
type Remote struct {
	JobID  string `json:"job_id"`
	Status string `json:"status"`
	URL    string `json:"url"`
}

// TaskError says why a task did not succeed.
type TaskError struct {
	Code    string `json:"code" enum:"invalid_input,rejected_records,remote_failed,remote_unreachable,outcome_unknown,unauthorized,timed_out,cancelled,internal"`
	Message string `json:"message" doc:"What happened"`
	Detail  string `json:"detail" doc:"What to do, or what the application said"`
}

// Output is a file that a task left.
type Output struct {
	Path      string     `json:"path"`
	Size      int64      `json:"size" doc:"Bytes"`
	SHA256    string     `json:"sha256" doc:"Hexadecimal"`
	ExpiresAt *time.Time `json:"expires_at" doc:"When its bytes are deleted; the entry stays"`
}

// Links lead on from a task.
type Links struct {
	Self    string `json:"self"`
	Events  string `json:"events"`
	Log     string `json:"log"`
	Outputs string `json:"outputs"`
	Cancel  string `json:"cancel"`
	Retry   string `json:"retry"`
}

// taskBody shows a task to those who reached the server at base.
func taskBody(kinds *jobs.Kinds, t *storage.Task, base string) *Task {
	self := base + "/api/v1/tasks/" + t.ID.String()
	body := &Task{
		ID: t.ID.String(), App: t.App, Name: t.Name, Kind: t.Kind, Params: t.Params, MaxRejected: t.MaxRejected,
		State:    t.State,
		Progress: Progress{Percent: t.Percent, Step: kinds.Shows(t), Message: t.Message, ETA: inUTC(t.ETA)},
		Attempt:  t.Attempt, Version: t.Version, CreatedBy: t.CreatedBy,
		CreatedAt: t.CreatedAt.UTC(), StartedAt: inUTC(t.StartedAt), FinishedAt: inUTC(t.FinishedAt),
		Result: t.Result, Outputs: outputs(t),
		Links: Links{
			Self: self, Events: self + "/events", Log: self + "/log",
			Outputs: self + "/outputs", Cancel: self + "/cancel", Retry: self + "/retry",
		},
	}
	if t.Parent != nil {
		parent := t.Parent.String()
		body.Parent = &parent
	}
	if t.RemoteJobID != nil {
		body.Remote = &Remote{JobID: *t.RemoteJobID, Status: orEmpty(t.RemoteStatus), URL: orEmpty(t.RemoteURL)}
	}
	if t.ErrorCode != nil {
		body.Error = &TaskError{Code: *t.ErrorCode, Message: orEmpty(t.ErrorMessage), Detail: orEmpty(t.ErrorDetail)}
	}
	return body
}

// shown is a task as the caller may see it.
func (r *request) shown(t *storage.Task) *storage.Task {
	if r.seesData(t.App) {
		return t
	}
	return withoutData(t)
}

// withoutData is a task for those who may know its state and history, but not what it is about:
// without outputs, log and the texts that can quote records.
func withoutData(t *storage.Task) *storage.Task {
	hidden := *t
	hidden.Outputs, hidden.LogSize, hidden.Result = nil, 0, onlyCounts(t.Result)
	if t.ErrorCode != nil {
		words := "You may not see what this says, because it can quote data. The code says what happened."
		none := ""
		hidden.ErrorMessage, hidden.ErrorDetail, hidden.Message = &words, &none, words
	} else if t.Final() {
		hidden.Message = ""
	}
	return &hidden
}

// onlyCounts keeps the numbers of a result.
func onlyCounts(result json.RawMessage) json.RawMessage {
	var counts struct {
		Records json.RawMessage `json:"records,omitempty"`
	}
	if len(result) == 0 || json.Unmarshal(result, &counts) != nil || counts.Records == nil {
		return nil
	}
	kept, err := json.Marshal(counts)
	if err != nil {
		return nil
	}
	return kept
}

func outputs(t *storage.Task) []Output {
	list := make([]Output, 0, len(t.Outputs))
	for _, o := range t.Outputs {
		list = append(list, Output{Path: o.Path, Size: o.Size, SHA256: o.SHA256, ExpiresAt: inUTC(t.OutputsExpireAt)})
	}
	return list
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	utc := t.UTC()
	return &utc
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
