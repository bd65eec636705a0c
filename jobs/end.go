package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"longhaul/oracle"
	"longhaul/storage"
)

// maxTidyTries is how often cleaning up in the remote application is tried; it must not keep
// a task from its end.
const maxTidyTries = 6

// verdict is what a task comes to. It is stored before cleaning up, so that a crash changes
// nothing about it.
type verdict struct {
	State   string          `json:"state"`
	Code    Code            `json:"code,omitempty"`
	Message string          `json:"message,omitempty"`
	Detail  string          `json:"detail,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
}

// failureOf turns a Failure into a verdict. Other errors do not come here.
func failureOf(err error) *verdict {
	var f *Failure
	if !errors.As(err, &f) {
		f = &Failure{Code: CodeInternal, Message: "An internal error ended this task"}
	}
	state := Failed
	if f.Code == CodeCancelled {
		state = Cancelled
	}
	return &verdict{State: state, Code: f.Code, Message: f.Message, Detail: f.Detail, Result: marshal(f.Result)}
}

// cancelVerdict says what cancelling came to, and what goes on all the same.
func cancelVerdict(t *storage.Task) *Failure {
	f := &Failure{Code: CodeCancelled, Message: "Cancelled by " + deref(t.CancelRequestedBy)}
	switch {
	case t.RemoteIntentAt == nil:
		f.Message += " before anything was started in the application"
	case t.RemoteJobID == nil:
		f.Message += "; whether the job was started in the application is not known"
		f.Detail = checkJobs(t)
	case deref(t.RemoteStatus) == "" || deref(t.RemoteStatus) == remoteProcessing:
		f.Message += fmt.Sprintf("; job %s goes on in the application", *t.RemoteJobID)
		f.Detail = "Oracle's REST API has no call that stops a job. To stop it, cancel it in the application, under Jobs. " +
			"Until it ends, starting the same work again may disturb it."
	default:
		f.Message += fmt.Sprintf("; job %s had already ended in the application, and what it did stays", *t.RemoteJobID)
	}
	return f
}

// remoteProcessing is how the remote application words a job that is not finished.
const remoteProcessing = "Processing"

// overdue is the end of a task that has had its time.
func overdue(t *storage.Task) *Failure {
	f := &Failure{Code: CodeTimedOut, Message: "The task did not end in its time", Detail: "It was given until " + clock(*t.DeadlineAt) + "."}
	if t.Tries > 0 {
		f.Code, f.Message = CodeRemoteUnreachable, "The application did not answer for too long"
	}
	switch {
	case t.RemoteJobID != nil:
		f.Detail += fmt.Sprintf(" Job %s may still run in the application; look under Jobs there.", *t.RemoteJobID)
	case t.StartedAt == nil:
		f.Detail += " It never got a place on its application: " + t.Message
	}
	return f
}

// unknownOutcome is the end of a task of which nobody can say whether its remote job runs.
func unknownOutcome(t *storage.Task) *Failure {
	return &Failure{
		Code:    CodeOutcomeUnknown,
		Message: "Whether the job was started in the application is not known: the answer to the start call was lost",
		Detail:  checkJobs(t),
	}
}

func checkJobs(t *storage.Task) string {
	return fmt.Sprintf("Open Jobs in the application and look for %q started about %s. "+
		"If it is there, it ran or runs: do not start it again before it ends. If it is not, start this task again.",
		jobName(t), clock(*t.RemoteIntentAt))
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// end brings a task to its verdict: by way of cleaning up where there is something to clean.
func (e *Engine) end(ctx context.Context, job *river.Job[stepArgs], r *Run, v *verdict) error {
	task := r.Task
	if task.Verdict != nil {
		var err error
		if v, err = storedVerdict(task); err != nil {
			return err
		}
		return e.finish(ctx, job, r, v)
	}
	if task.Input == "none" && !r.reachedOut() {
		return e.finish(ctx, job, r, v)
	}
	task.Verdict = marshal(v)
	task.Message = v.says()
	return e.advance(ctx, job, r, Go(stepTidy))
}

// reachedOut reports whether the task may have put something into the remote application: it has
// started a job there, or was let onto it with an input to upload.
func (r *Run) reachedOut() bool {
	t := r.Task
	return r.kind.Tidy != nil && (t.RemoteIntentAt != nil || t.StartedAt != nil && t.Input == "inbound")
}

func storedVerdict(t *storage.Task) (*verdict, error) {
	var v verdict
	err := json.Unmarshal(t.Verdict, &v)
	return &v, err
}

// says is the sentence that the page shows for the verdict.
func (v *verdict) says() string {
	if v.Message != "" {
		return v.Message
	}
	var result struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(v.Result, &result) == nil && result.Message != "" {
		return result.Message
	}
	return "Done"
}

// tidy removes what the task put into the remote application, and its own input.
func (e *Engine) tidy(ctx context.Context, r *Run) (Next, error) {
	if rest := e.stillReading(r); rest > 0 {
		next := Again(rest)
		next.keepTries = true
		return next, nil
	}
	if err := e.tidyAll(ctx, r); err != nil {
		if ctx.Err() != nil {
			return Next{}, err
		}
		r.Task.Tries++
		r.Logger().WarnContext(ctx, "tidy", "tries", r.Task.Tries, "error", err)
		if r.Task.Tries < maxTidyTries && !refusesAll(err) {
			next := Again(backoff(r.Task.Tries))
			next.keepTries = true
			return next, nil
		}
		r.Logf("Not everything could be cleaned up: %v", err)
	}
	return Done(nil), nil
}

// stillReading is how long to leave the files alone of a job that may run on although its task
// has come to its end: such a job may not have read its input yet.
func (e *Engine) stillReading(r *Run) time.Duration {
	task := r.Task
	ended := task.RemoteStatus != nil && *task.RemoteStatus != remoteProcessing
	if r.kind.Tidy == nil || task.RemoteIntentAt == nil || ended {
		return 0
	}
	return task.RemoteIntentAt.Add(e.ReadTime).Sub(e.now())
}

// refusesAll reports whether the application takes nothing from this user: asking again in a
// moment is of no use.
func refusesAll(err error) bool {
	if lost, ok := errors.AsType[*ConnectionError](err); ok {
		return !lost.Passing
	}
	kind := oracle.KindOf(err)
	return kind == oracle.KindUnauthorized || kind == oracle.KindForbidden
}

// tidyAll cleans up here and there; trouble with one does not keep it from the other.
func (e *Engine) tidyAll(ctx context.Context, r *Run) error {
	var remote error
	if r.reachedOut() {
		remote = r.kind.Tidy(ctx, r)
	}
	if remote != nil && r.Task.Tries+1 < maxTidyTries && !refusesAll(remote) {
		return remote // tried again; the input shows until then that something may be there
	}
	return errors.Join(remote, e.tidyInput(ctx, r))
}

// tidyInput removes the task's input, unless it is to be kept.
func (e *Engine) tidyInput(ctx context.Context, r *Run) error {
	if r.Task.Input == "none" {
		return nil
	}
	v, err := storedVerdict(r.Task)
	if err != nil {
		return err
	}
	if v.State != Succeeded && e.KeepFailedInput > 0 && r.Task.Input == "inbound" {
		r.Logf("The input is kept for %s, so that this task can be retried", e.KeepFailedInput)
		return nil
	}
	if r.Task.Input == "archive" {
		return nil // it goes with the task's end
	}
	for _, folder := range []string{inboundFolder, workFolder} {
		if err := e.files.RemoveAll(ctx, r.Task.Folder()+"/"+folder); err != nil {
			return err
		}
	}
	r.Task.Input = "deleted"
	return nil
}

// finish writes the final state and wakes those who waited for the task's place.
func (e *Engine) finish(ctx context.Context, job *river.Job[stepArgs], r *Run, v *verdict) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	task := r.Task
	task.State = v.State
	task.Message = v.says()
	task.Result = v.Result
	task.ErrorCode, task.ErrorMessage, task.ErrorDetail = text(string(v.Code)), text(v.Message), text(v.Detail)
	task.Percent = min(task.Percent, 99)
	if v.State == Succeeded {
		task.Percent = 100
	}
	r.Logf("Ended as %s: %s", v.State, task.Message)
	unused := task.Content
	if unused != nil {
		task.Input, task.Content = "deleted", nil
	}
	if err := e.commitEnd(ctx, r, job.ID); err != nil {
		return err
	}
	if unused != nil {
		e.release(ctx, task.ID, *unused)
	}
	e.changed(task.ID)
	if task.Gated {
		e.wakes.Due() // for those that were let in
	}
	return nil
}

// commitEnd writes the end in one transaction; one that frees a place wakes who waits for it.
func (e *Engine) commitEnd(ctx context.Context, r *Run, done int64) error {
	if !r.Task.Gated {
		return storage.FinishTask(ctx, e.db.Pool, r.Task, r.log.String(), e.KeepOutputs, done)
	}
	// Before the transaction: one that waits for a second connection while it holds the first, and
	// the lock on the address, would wait for ever where all do so.
	app, err := r.App(ctx)
	if err != nil {
		return err
	}
	return e.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := e.letIn(ctx, tx, r.Task.ID, app); err != nil {
			return err
		}
		return storage.FinishTask(ctx, tx, r.Task, r.log.String(), e.KeepOutputs, done)
	})
}
