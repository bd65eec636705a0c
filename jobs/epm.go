package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"longhaul/oracle"
	"longhaul/oracle/epm"
	"longhaul/storage"
)

// epmWork is what the steps of an EPM task remember.
type epmWork struct {
	State   epm.State `json:"state,omitempty"`
	Details string    `json:"details,omitempty"`
}

// client is the task's app's client.
func (r *Run) client(ctx context.Context) (*epm.Client, error) {
	app, err := r.App(ctx)
	if err != nil {
		return nil, err
	}
	client, err := r.engine.connect(app)
	if err != nil {
		return nil, &Failure{Code: CodeUnauthorized, Message: "The connection of the app " + app.Name + " cannot be used", Detail: err.Error()}
	}
	return client, nil
}

// again makes the refusal of a repeatable step worth another try.
func again(err error) error {
	var remote *oracle.Error
	if errors.As(err, &remote) && remote.MayHaveHappened && remote.Kind == oracle.KindRefused {
		return fmt.Errorf("%w", errors.New(remote.Error()))
	}
	return err
}

// submitEPM starts the saved job. Execute is sent once; whether it may have been heard is for
// the engine to act on.
func submitEPM(jobType string, more func(*Run, map[string]any)) func(context.Context, *Run) (Next, error) {
	return func(ctx context.Context, r *Run) (Next, error) {
		client, err := r.client(ctx)
		if err != nil {
			return Next{}, err
		}
		parameters, err := vendorParams(r.Task)
		if err != nil {
			return Next{}, err
		}
		more(r, parameters)
		name := jobName(r.Task)
		job, err := client.Execute(ctx, jobType, name, parameters)
		if err != nil {
			return Next{}, refusedStart(name, err)
		}
		r.Task.RemoteJobID, r.Task.RemoteStatus, r.Task.RemoteURL = &job.ID, text(job.DescriptiveStatus), text(job.URL)
		r.Task.Message = fmt.Sprintf("Job %s runs in the application", job.ID)
		r.Logf("Started %s %q in the application as job %s", jobType, name, job.ID)
		next := Go("follow")
		next.after = time.Second
		return next, r.Remember(epmWork{})
	}
}

// refusedStart words the refusal of a start.
func refusedStart(name string, err error) error {
	var remote *oracle.Error
	if !errors.As(err, &remote) || remote.Kind != oracle.KindRefused || remote.MayHaveHappened {
		return err
	}
	return &Failure{
		Code:    CodeRemoteFailed,
		Message: fmt.Sprintf("The application refused to start %q: %s", name, remote.Message),
		Detail:  "Names of saved jobs count upper and lower case; the app's job definitions list those there are.",
	}
}

// vendorNames are the start call's names for our params (prest/import_metadata and the pages of
// the other types); prompts and job are handled apart.
var vendorNames = map[string]string{
	"refresh_cube": "refreshCube", "delimiter": "delimiter", "date_format": "dateFormat", "include_metadata": "includeMetaData",
	"export_smart_list_as": "exportSmartListAs", "include_dynamic_members": "includeDynamicMembers",
	"export_data_decimal_scale":                     "exportDataDecimalScale",
	"allowed_users_during_cube_refresh":             "allowedUsersDuringCubeRefresh",
	"allowed_users_after_cube_refresh":              "allowedUsersAfterCubeRefresh",
	"terminate_active_requests_before_cube_refresh": "terminateActiveRequestsBeforeCubeRefresh",
	"log_off_all_users_before_cube_refresh":         "logOffAllUsersBeforeCubeRefresh",
	"members":                                       "members", "mdx_query": "mdxQuery",
}

// vendorParams translates a task's params into the start call's.
func vendorParams(t *storage.Task) (map[string]any, error) {
	var params map[string]any
	if err := json.Unmarshal(t.Params, &params); err != nil {
		return nil, err
	}
	out := make(map[string]any, len(params)+2)
	for name, value := range params {
		switch {
		case name == "prompts":
			if prompts, ok := value.(map[string]any); ok {
				maps.Copy(out, prompts)
			}
		case vendorNames[name] != "":
			out[vendorNames[name]] = value
		}
	}
	return out, nil
}

// maxUnknown is how often an application is asked for a job that it says it does not know: about
// an hour. Right after a start, and after its own restart, it may learn of it again.
const maxUnknown = 60

// forgottenJob is the end of a task whose remote job the application does not know any more, as
// after it was restored from a backup.
func forgottenJob(t *storage.Task) *Failure {
	return &Failure{
		Code:    CodeOutcomeUnknown,
		Message: fmt.Sprintf("The application does not know job %s any more; what it did cannot be asked", *t.RemoteJobID),
		Detail:  checkJobs(t),
	}
}

// followEPM looks at the job until it has ended, and goes on with the step named next, or ends.
func followEPM(next string) func(context.Context, *Run) (Next, error) {
	return func(ctx context.Context, r *Run) (Next, error) {
		client, err := r.client(ctx)
		if err != nil {
			return Next{}, err
		}
		job, err := client.Job(ctx, *r.Task.RemoteJobID)
		if errors.Is(err, epm.ErrUnknownJob) && r.Task.Tries >= maxUnknown {
			return Next{}, forgottenJob(r.Task)
		}
		if err != nil {
			return Next{}, err
		}
		if deref(r.Task.RemoteStatus) != job.DescriptiveStatus {
			r.Logf("Job %s: %s", job.ID, strings.TrimSpace(job.DescriptiveStatus+" "+job.Details))
		}
		r.Task.RemoteStatus = text(job.DescriptiveStatus)
		if !job.State.Terminal() {
			r.showRunning(job)
			return Again(r.lookAgain()), nil
		}
		if next == "" {
			return endRun(job)
		}
		r.Task.Message = "Job " + job.ID + " has ended: " + job.DescriptiveStatus
		return Go(next), r.Remember(epmWork{State: job.State, Details: job.Details})
	}
}

// endRun is the end of a job that brings no files.
func endRun(job epm.Job) (Next, error) {
	if !job.State.Done() {
		return Next{}, remoteFailure(job.ID, job.State, job.Details, nil)
	}
	message := "Done"
	if job.Details != "" {
		message = job.Details
	}
	if job.State != epm.StateSucceeded {
		message = job.DescriptiveStatus + ": " + message
	}
	return Done(map[string]any{"message": message, "warnings": job.State != epm.StateSucceeded}), nil
}

// remoteFailure words the failure of a remote job.
func remoteFailure(id string, state epm.State, details string, result any) *Failure {
	f := &Failure{Code: CodeRemoteFailed, Result: result, Message: fmt.Sprintf("Job %s failed in the application", id), Detail: details}
	if state == epm.StateCancelled {
		f.Message = fmt.Sprintf("Job %s was cancelled in the application by someone", id)
	}
	if details != "" {
		f.Message += ": " + details
		f.Detail = "Correct what the application names and start the task again."
	}
	return f
}

// showRunning tells how far a running job may be, from how long earlier runs took.
func (r *Run) showRunning(job epm.Job) {
	from := r.kind.Steps[r.Task.Step].Percent
	elapsed := r.Now().Sub(*r.Task.RemoteIntentAt)
	whole := 4 * elapsed // without history: slower and slower, never there
	if r.Task.ETA != nil {
		whole = max(r.Task.ETA.Sub(*r.Task.RemoteIntentAt), time.Second)
	}
	share := min(float64(elapsed)/float64(max(whole, 1)), 0.97)
	if r.Task.ETA == nil {
		share = 1 - 1/(1+elapsed.Minutes())
	}
	r.Task.Percent = max(r.Task.Percent, from+int(float64(88-from)*share))
	r.Task.Message = fmt.Sprintf("Job %s in the application: %s", job.ID, strings.ToLower(job.DescriptiveStatus))
	if job.State == epm.StateCancelPending {
		r.Task.Message = fmt.Sprintf("Job %s is being cancelled in the application by someone", job.ID)
	}
}

// lookAgain is how long to wait before the next look: a second at first, a tenth of the time
// passed later, fifteen seconds at most.
func (r *Run) lookAgain() time.Duration {
	elapsed := r.Now().Sub(*r.Task.RemoteIntentAt)
	return min(max(elapsed/10, time.Second), 15*time.Second)
}

// tidyEPM removes the task's files from the remote application.
func tidyEPM(ctx context.Context, r *Run) error {
	client, err := r.client(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{inboxName(r.Task), errorName(r.Task), exportName(r.Task)} {
		if err := client.DeleteFile(ctx, name); err != nil && !oracle.IsNotFound(err) {
			return fmt.Errorf("remove %s from the application: %w", name, err)
		}
	}
	return nil
}
