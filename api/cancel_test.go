package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longhaul/api"
	"longhaul/oracle/sim"
)

func (s *server) act(id, action string) *answer {
	s.t.Helper()
	return s.do(http.MethodPost, taskPath(id)+"/"+action, nil)
}

// audited counts the lines of audit about an action on a task.
func (s *server) audited(action, id string) int {
	s.t.Helper()
	return s.count("SELECT count(*) FROM audit WHERE actor = 'admin' AND action = $1 AND object = $2", action, id)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	queued := s.waiting()
	running := s.list("?name=first").Items[0]
	for _, test := range []struct {
		task  api.Task
		words string
	}{
		{queued, "Cancelled by admin before anything was started"},
		{running, "Cancelled by admin"},
	} {
		id := test.task.ID
		a := s.act(id, "cancel").want(http.StatusAccepted)
		a.wantHeader("Location", taskPath(id))
		a.wantHeader("Retry-After", "2")
		if got := a.task(); got.ID != id || got.Version <= test.task.Version {
			t.Errorf("cancelling answers with version %d of %s", got.Version, got.ID)
		}
		final := s.waitFinal(id, "cancelled")
		if final.Error == nil || final.Error.Code != "cancelled" || !strings.HasPrefix(final.Error.Message, test.words) {
			t.Errorf("error: %+v, want %q", final.Error, test.words)
		}
		if final.FinishedAt == nil || final.Progress.Percent == 100 || final.Progress.Step != "cancelled" {
			t.Errorf("the cancelled task: %+v", final)
		}
		s.act(id, "cancel").problem(http.StatusConflict)
		if n := s.audited("task.cancel", id); n != 1 {
			t.Errorf("%d lines of audit", n)
		}
	}
}

func TestCancelWhileARemoteJobRuns(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task, release := s.stuck()
	s.act(task.ID, "cancel").want(http.StatusAccepted)
	final := s.waitFinal(task.ID, "cancelled")
	if !strings.Contains(final.Error.Message, "job "+task.Remote.JobID+" goes on in the application") ||
		!strings.Contains(final.Error.Detail, "no call that stops a job") {
		t.Errorf("the verdict: %+v", final.Error)
	}
	if final.Remote == nil || final.Remote.JobID != task.Remote.JobID {
		t.Errorf("remote: %+v", final.Remote)
	}
	release()
	if jobs := s.sim.Jobs(); len(jobs) != 1 {
		t.Errorf("%d jobs were started", len(jobs))
	}
}

// A cancelled import leaves no file behind, here or in the application.
func TestCancelImport(t *testing.T) {
	t.Parallel()
	const readTime = 2 * time.Second
	s := newServer(t, func(c *config) { c.jobs.ReadTime = readTime })
	s.control("clock", object{"speed": 0})
	task := s.create(object{"app": "vision", "name": "importAccount", "kind": "epm.importMetadata"}, accounts(t, 20, 0))
	task = s.waitUntil(task.ID, "running in the application", func(t *api.Task) bool { return t.Remote != nil })
	s.act(task.ID, "cancel").want(http.StatusAccepted)
	asked := s.act(task.ID, "cancel").want(http.StatusAccepted).task().Version // asking twice does no harm
	final := s.waitFinal(task.ID, "cancelled")
	// The job is left its input until it has read it; that is waited for, and not asked all the time.
	if took := final.FinishedAt.Sub(*task.StartedAt); took < readTime {
		t.Errorf("the input was taken from the job after %s", took)
	}
	if steps := final.Version - asked; steps > 10 {
		t.Errorf("%d changes to cancel", steps)
	}
	if !strings.Contains(final.Error.Message, "goes on in the application") {
		t.Errorf("the verdict: %+v", final.Error)
	}
	s.eventually("nothing is stored any more", func() bool { return len(s.stored()) == 0 })
	if names := s.repository(); slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, task.ID) }) {
		t.Errorf("files were left in the application: %q", names)
	}
	s.act(task.ID, "retry").problem(http.StatusConflict)
}

// What was never let onto its application is cancelled without a word to it, be it reachable or not.
func TestCancelBeforeTheApplicationIsAsked(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	set := s.onSim("Vision")
	now := window(-10 * time.Minute)
	set.MaintenanceStart, set.MaintenanceMinutes, set.MaintenanceZone = now.MaintenanceStart, now.MaintenanceMinutes, now.MaintenanceZone
	s.addApp("closed", set)
	s.fault(sim.Fault{Kind: sim.FaultStatus})
	task := s.create(object{"app": "closed", "name": "importAccount", "kind": "epm.importMetadata"}, accounts(t, 20, 0))
	s.waitUntil(task.ID, "held", func(t *api.Task) bool { return t.Progress.Message != "" })
	began := time.Now()
	s.act(task.ID, "cancel").want(http.StatusAccepted)
	s.waitFinal(task.ID, "cancelled")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	if asked := s.sim.Requests(); len(asked) > 0 {
		t.Errorf("the application was asked: %+v", asked)
	}
	s.eventually("its archive is removed", func() bool { return len(s.stored()) == 0 })
}

// repository lists the files in the simulated environment.
func (s *server) repository() []string {
	s.t.Helper()
	resp, err := http.Get(s.simURL + "/sim/files")
	must(s.t, err)
	defer resp.Body.Close()
	var list struct{ Items []struct{ Name string } }
	must(s.t, decodeJSON(resp.Body, &list))
	var names []string
	for _, item := range list.Items {
		names = append(names, item.Name)
	}
	return names
}

func TestRetry(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	first := s.waitFinal(s.create(noop(object{"max_rejected": 3}), nil).ID, "succeeded")
	a := s.act(first.ID, "retry").want(http.StatusAccepted)
	second := a.task()
	a.wantHeader("Location", taskPath(second.ID))
	a.wantHeader("Retry-After", "2")
	if second.ID == first.ID || second.Parent == nil || *second.Parent != first.ID || second.Attempt != 2 || second.State != "queued" {
		t.Errorf("the retry: %+v", second)
	}
	if second.Name != first.Name || second.Kind != first.Kind || *second.MaxRejected != 3 || string(second.Params) != string(first.Params) {
		t.Errorf("the retry does other work: %+v", second)
	}
	s.waitFinal(second.ID, "succeeded")
	third := s.act(second.ID, "retry").want(http.StatusAccepted).task()
	if third.Attempt != 3 || *third.Parent != second.ID {
		t.Errorf("the retry's retry: %+v", third)
	}
	if diff := cmp.Diff(first, s.getTask(first.ID)); diff != "" {
		t.Errorf("retrying changed the first task:\n%s", diff)
	}

	// Without its input there is nothing to retry, and the answer says so.
	gone := s.waitFinal(s.create(noop(), zipOf(t, entry{"a", "b"})).ID, "succeeded")
	if p := s.act(gone.ID, "retry").problem(http.StatusConflict); !strings.Contains(p.Detail, "input was deleted") {
		t.Errorf("refused with %q", p.Detail)
	}
	running := s.create(noop(object{"kind": "sleep", "params": object{"ms": 3_600_000}}), nil)
	s.act(running.ID, "retry").problem(http.StatusConflict)
	s.eventually("nothing is stored any more", func() bool { return len(s.stored()) == 0 })
}

func TestRetryWithKeptInput(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *config) { c.jobs.KeepFailedInput = time.Hour })
	task := s.create(object{"app": "vision", "name": "importAccount", "kind": "epm.importMetadata", "max_rejected": 0}, accounts(t, 20, 1))
	failed := s.waitFinal(task.ID, "failed")
	s.engine.SweepFiles(t.Context()) // leaves what is to be kept
	second := s.act(failed.ID, "retry").want(http.StatusAccepted).task()
	again := s.waitFinal(second.ID, "failed")
	if diff := cmp.Diff(string(failed.Result), string(again.Result)); diff != "" {
		t.Errorf("the same input gave another result:\n%s", diff)
	}
	// When its time is over the input goes, and with it the retry.
	s.exec("UPDATE tasks SET finished_at = finished_at - interval '2 hours'")
	s.engine.SweepFiles(t.Context())
	s.act(second.ID, "retry").problem(http.StatusConflict)
	if found := slices.DeleteFunc(s.stored(), func(name string) bool { return strings.Contains(name, "/outbound/") }); len(found) > 0 {
		t.Errorf("files were left: %q", found)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	running := s.create(noop(object{"kind": "sleep", "params": object{"ms": 3_600_000}}), nil)
	s.do(http.MethodDelete, taskPath(running.ID), nil).problem(http.StatusConflict)

	task := s.exported("exportAll")
	if len(s.stored()) == 0 {
		t.Fatal("the export stored nothing")
	}
	a := s.do(http.MethodDelete, taskPath(task.ID), nil).want(http.StatusNoContent)
	if len(a.body) > 0 {
		t.Errorf("204 with a body: %s", a.body)
	}
	for _, path := range []string{"", "/log", "/events", "/outputs", "/outputs.zip", "/outputs/exportAll.zip"} {
		s.get(taskPath(task.ID) + path).problem(http.StatusNotFound)
	}
	s.do(http.MethodDelete, taskPath(task.ID), nil).problem(http.StatusNotFound)
	s.eventually("nothing is stored any more", func() bool { return len(s.stored()) == 0 })
	if n := s.count("SELECT count(*) FROM tasks WHERE id = $1", task.ID) + s.count("SELECT count(*) FROM task_logs WHERE task_id = $1", task.ID); n != 0 {
		t.Errorf("%d rows were left", n)
	}
	if n := s.audited("task.delete", task.ID); n != 1 {
		t.Errorf("%d lines of audit", n)
	}
}

// Who waits for a task learns that it was deleted.
func TestDeleteEndsWaiting(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.waiting()
	came := s.hold(task.ID, etag(&task))
	// As another process would: without a word to this one.
	s.exec("DELETE FROM tasks WHERE id = $1", task.ID)
	if h := s.came(came); h.answer.StatusCode != http.StatusNotFound {
		t.Errorf("%d", h.answer.StatusCode)
	}
}
