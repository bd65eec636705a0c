package api_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"longhaul/api"
	"longhaul/oracle/sim"
)

// importTask asks for an import of accounts.
func importTask(changes object) object {
	task := object{"app": "vision", "name": "importAccount", "kind": "epm.importMetadata"}
	maps.Copy(task, changes)
	return task
}

type counts struct{ Read, Processed, Rejected int }

type importResult struct {
	Records    counts
	Dimensions map[string]counts
	Message    string
}

func resultOf(t testing.TB, task api.Task) importResult {
	t.Helper()
	var result importResult
	must(t, json.Unmarshal(task.Result, &result))
	return result
}

func paths(outputs []api.Output) []string {
	var list []string
	for _, output := range outputs {
		list = append(list, output.Path)
	}
	return list
}

// The main job: rejected records are counted, told and kept, and whether they fail the task is
// for max_rejected to say.
func TestImportWithRejects(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	type outcome struct {
		id    string
		state string
	}
	var started []outcome
	for limit, state := range map[int]string{3: "succeeded", 2: "failed"} {
		task := s.create(importTask(object{"max_rejected": limit}), accounts(t, 100, 3))
		started = append(started, outcome{task.ID, state})
	}
	// Started at the same time, they need the application alone and run one after the other.
	const sentence = `3 of 100 rows rejected; see outbound/rejected/Account_errors.csv; first: row 99, parent "E_99" unknown`
	for _, o := range started {
		final := s.waitFinal(o.id, o.state)
		want := importResult{
			Records: counts{100, 97, 3}, Dimensions: map[string]counts{"Account": {100, 97, 3}}, Message: sentence,
		}
		if diff := cmp.Diff(want, resultOf(t, final)); diff != "" {
			t.Errorf("result of the %s task (-want +got):\n%s", o.state, diff)
		}
		if diff := cmp.Diff([]string{"rejected/Account_errors.csv", "messages.txt"}, paths(final.Outputs)); diff != "" {
			t.Errorf("outputs (-want +got):\n%s", diff)
		}
		if final.Progress.Message != sentence {
			t.Errorf("the page would say %q", final.Progress.Message)
		}
		if o.state == "failed" {
			if final.Error == nil || final.Error.Code != "rejected_records" || final.Error.Message != sentence || !strings.Contains(final.Error.Detail, "At most 2") {
				t.Errorf("error: %+v", final.Error)
			}
		} else if final.Error != nil {
			t.Errorf("error of a task that succeeded: %+v", final.Error)
		}
	}
	for _, name := range s.repository() {
		if strings.HasPrefix(name, "longhaul-") {
			t.Errorf("left in the application: %s", name)
		}
	}
	s.eventually("only outputs are stored", func() bool {
		return !slices.ContainsFunc(s.stored(), func(name string) bool { return !strings.Contains(name, "/outbound/") })
	})
}

func TestImportWithoutRejects(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.create(importTask(object{"name": "nightly", "params": object{"job": "importAccount", "refresh_cube": true}, "max_rejected": 0}), accounts(t, 1500, 0))
	final := s.waitFinal(task.ID, "succeeded")
	want := importResult{
		Records: counts{1500, 1500, 0}, Dimensions: map[string]counts{"Account": {1500, 1500, 0}}, Message: "All 1,500 rows imported",
	}
	if diff := cmp.Diff(want, resultOf(t, final)); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	jobs := s.sim.Jobs()
	if len(jobs) != 1 || jobs[0].Name != "importAccount" || jobs[0].Parameters["refreshCube"] != true {
		t.Errorf("started in the application: %+v", jobs)
	}
	if final.Remote == nil || final.Remote.JobID == "" || !strings.HasPrefix(final.Remote.URL, s.simURL) {
		t.Errorf("remote: %+v", final.Remote)
	}
}

func TestBadPassword(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	set := s.onSim("Vision")
	set.Auth.Password = "wrong password"
	s.addApp("locked", set)
	final := s.waitFinal(s.create(importTask(object{"app": "locked"}), accounts(t, 5, 0)).ID, "failed")
	if final.Error.Code != "unauthorized" || !strings.Contains(final.Error.Message, "user name or password") || !strings.Contains(final.Error.Detail, "locked") {
		t.Errorf("error: %+v", final.Error)
	}
	if strings.Contains(s.log(final.ID)+s.logs.String(), "wrong password") {
		t.Error("the password is in a log")
	}
	s.eventually("nothing is stored any more", func() bool { return len(s.stored()) == 0 })
}

func TestUnknownJobName(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.create(importTask(object{"name": "importNothing"}), zipOf(t, entry{"importNothing.csv", accountCSV(3, 0)}))
	final := s.waitFinal(task.ID, "failed")
	if final.Error.Code != "remote_failed" || !strings.Contains(final.Error.Message, `refused to start "importNothing"`) || !strings.Contains(final.Error.Detail, "upper and lower case") {
		t.Errorf("error: %+v", final.Error)
	}
	if jobs := s.sim.Jobs(); len(jobs) != 0 {
		t.Errorf("jobs were started: %+v", jobs)
	}
}

// When the answer to the start is lost nobody can know, and nothing is started twice.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.fault(sim.Fault{Kind: sim.FaultLostAnswer, Count: 1})
	final := s.waitFinal(s.create(importTask(nil), accounts(t, 5, 0)).ID, "failed")
	if final.Error.Code != "outcome_unknown" || !strings.Contains(final.Error.Detail, `look for "importAccount" started about`) {
		t.Errorf("error: %+v", final.Error)
	}
	if jobs := s.sim.Jobs(); len(jobs) != 1 {
		t.Errorf("%d jobs were started", len(jobs))
	}
}

// A job that the application has forgotten, as after a restore, is asked for so often and no more.
func TestForgottenJob(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task, release := s.stuck()
	defer release()
	s.exec(`UPDATE tasks SET remote_job_id = '999999', tries = 60, fence = fence + 1, due_at = now() WHERE id = $1`, task.ID)
	final := s.waitFinal(task.ID, "failed")
	if final.Error.Code != "outcome_unknown" || !strings.Contains(final.Error.Message, "does not know job 999999 any more") {
		t.Errorf("error: %+v", final.Error)
	}
}

// Maintenance of the application holds a task up, says so, and does not end it.
func TestMaintenanceOfTheApplication(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.fault(sim.Fault{Kind: sim.FaultMaintenance})
	task := s.create(importTask(nil), accounts(t, 5, 0))
	s.waitUntil(task.ID, "told that the application does not answer", func(t *api.Task) bool {
		return t.State == "running" && strings.Contains(t.Progress.Message, "The application does not answer (maintenance or network); try 2 in ")
	})
	s.sim.ClearFaults()
	s.waitFinal(task.ID, "succeeded")
	if jobs := s.sim.Jobs(); len(jobs) != 1 {
		t.Errorf("%d jobs were started", len(jobs))
	}
}

// A download that is cut short is gone on with, and the bytes are right.
func TestTruncatedDownload(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	whole := s.exported("exportAll")
	want := unzip(t, s.get(outputPath(whole.ID, whole.Outputs[0].Path)).body)
	s.fault(sim.Fault{Kind: sim.FaultTruncate, Count: 2})
	task := s.exported("exportAll")
	output := task.Outputs[0]
	a := s.get(outputPath(task.ID, output.Path))
	s.checkOutput(a, output)
	if diff := cmp.Diff(want, unzip(t, a.body)); diff != "" || len(want) != 3 {
		t.Errorf("the export of %d files (-whole +truncated):\n%s", len(want), diff)
	}
	struck := 0
	for _, r := range s.sim.Requests() {
		if r.Fault == sim.FaultTruncate {
			struck++
		}
	}
	if struck != 2 {
		t.Errorf("%d downloads were truncated", struck)
	}
}

// Progress only rises, stays below 100 until the task is final, and names the step.
func TestProgress(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.create(importTask(nil), accounts(t, 50, 1))
	a := s.get(taskPath(task.ID) + "/events")
	percent, steps := 0, []string{}
	for _, e := range readEvents(t, strings.NewReader(string(a.body))) {
		if e.name != "task" {
			continue
		}
		var seen api.Task
		must(t, json.Unmarshal([]byte(e.data), &seen))
		p := seen.Progress
		if p.Percent < percent || (p.Percent == 100) != (seen.State == "succeeded") {
			t.Errorf("%d %% after %d %% in the state %s", p.Percent, percent, seen.State)
		}
		percent = p.Percent
		if p.Step == "" {
			t.Errorf("no step: %+v", seen)
		}
		if len(steps) == 0 || steps[len(steps)-1] != p.Step {
			steps = append(steps, p.Step)
		}
	}
	// Some steps may be too short to be seen.
	want := []string{"waiting", "unpacking", "uploading", "starting", "importing", "fetching results", "cleaning up", "succeeded"}
	for _, step := range steps {
		for len(want) > 0 && want[0] != step {
			want = want[1:]
		}
	}
	if len(want) == 0 || percent != 100 {
		t.Errorf("steps out of order: %q, up to %d %%", steps, percent)
	}
}
