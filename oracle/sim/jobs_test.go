package sim_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"longhaul/oracle/sim"
)

func TestAJobIsInProgressUntilItsTimeHasPassed(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	id := c.start("Rules", "Calculate Plan", map[string]any{"Scenario": "Forecast", "Unheard of": "x"})
	if id != 100 {
		t.Errorf("first id %d, want FirstJobID", id)
	}
	c.advance(14 * time.Second)
	for range 3 {
		c.wantState(c.poll(id), -1, "")
	}
	c.advance(2 * time.Second)
	got := c.poll(id)
	c.wantState(got, 0, "")
	if got.body["descriptiveStatus"] != "Completed" || got.body["jobName"] != "Calculate Plan" || number(got.body["jobId"]) != id || number(got.body["detailedStatus"]) != 2 {
		t.Errorf("final state: %s", got.raw)
	}
	if path := c.wantLink(got, "self"); path != fmt.Sprintf("%s/jobs/%d", vision, id) {
		t.Errorf("self: %s", path)
	}
	if c.link(got.body, "job-details") != "" {
		t.Error("a rule has no details")
	}
}

func TestTheFirstPollSeesAnyJobInProgress(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	id := c.start("CLEAR_CUBE", "Clear Plan1", nil)
	c.advance(time.Hour)
	c.wantState(c.poll(id), -1, "")
	c.wantState(c.poll(id), 0, "successful")
}

func TestUnknownJobsGive500(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	id := c.start("RULES", "Aggregate VisASO", nil)
	for _, path := range []string{
		vision + "/jobs/7", vision + "/jobs/x", vision + "/jobs/7/details",
		fmt.Sprintf("/HyperionPlanning/rest/v3/applications/Sales/jobs/%d", id),
		fmt.Sprintf("%s/jobs/%d/childjobs/1/details", vision, id),
	} {
		if got := c.get(path); got.status != http.StatusInternalServerError {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if got := c.get(fmt.Sprintf("%s/jobs/%d/details", vision, id)); got.status != http.StatusBadRequest {
		t.Errorf("details of a rule: %d", got.status)
	}
}

func TestRefusedStarts(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	start := func(jobType, name string, parameters map[string]any) answer {
		return c.send(http.MethodPost, vision+"/jobs", map[string]any{"jobType": jobType, "jobName": name, "parameters": parameters})
	}
	for _, each := range []struct {
		jobType, name string
		parameters    map[string]any
		want          string
	}{
		{"IMPORT_METADATA", "importaccount", nil, "Unable to find a job"},
		{"import metadata", "importAccount", nil, "job type"},
		{"RULES", "Refresh Database", nil, "Unable to find a job"},
		{"CUBE_REFRESH", "Refresh Database", map[string]any{"allowedUsersDuringCubeRefresh": "Nobody"}, "Administrators, All Users"},
		{"CUBE_REFRESH", "Refresh Database", map[string]any{"logOffAllUsersBeforeCubeRefresh": "maybe"}, "not true or false"},
		{"IMPORT_METADATA", "importAccount", map[string]any{"importZipFileName": []string{"x"}}, "not a string"},
		{"IMPORT_DATA", "any label", nil, "importFileName"},
		{"EXPORT_DATA", "any label", map[string]any{"cube": "Plan1"}, "rowMembers"},
	} {
		if got := start(each.jobType, each.name, each.parameters); got.status != http.StatusBadRequest || !strings.Contains(string(got.raw), each.want) {
			t.Errorf("%s %s: %d %s", each.jobType, each.name, got.status, got.raw)
		}
	}
	if got := c.do(http.MethodPost, vision+"/jobs", []byte("jobType=RULES"), map[string]string{"Content-Type": "application/x-www-form-urlencoded"}); got.status != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %d", got.status)
	}
	if got := c.do(http.MethodPost, vision+"/jobs", []byte("{"), map[string]string{"Content-Type": "application/json"}); got.status != http.StatusBadRequest {
		t.Errorf("half of JSON: %d", got.status)
	}
	if jobs := c.sim.Jobs(); len(jobs) != 0 {
		t.Errorf("refused starts made jobs: %v", jobs)
	}
}

func TestParametersThatNameNothingEndTheJob(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for _, each := range []struct {
		jobType, name string
		parameters    map[string]any
		want          string
	}{
		{"RULES", "Calculate Plan", map[string]any{"Scenario": "Nope"}, "Nope"},
		{"RULES", "Calculate Plan", map[string]any{"Scenario": "Jan"}, "not a member of the dimension Scenario"},
		{"RULES", "Calculate Plan", map[string]any{"Scenario": "&Nope"}, "substitution variable Nope"},
		{"RULES", "Copy Actual to Forecast", nil, "needs a value"},
		{"CLEAR_CUBE", "Clear Plan1", map[string]any{"cube": "Nope"}, "The cube Nope"},
		{"CLEAR_CUBE", "Clear Plan1", map[string]any{"members": "Nope"}, "The member Nope"},
		{"EXPORT_DATA", "exportActuals", map[string]any{"rowMembers": "Jan"}, "two axes"},
		{"EXPORT_DATA", "exportActuals", map[string]any{"povMembers": "Actual"}, "No members are selected"},
		{"EXPORT_DATA", "exportActuals", map[string]any{"columnMembers": "Oct,FY26", "povMembers": "Actual,Working,E_111,P_110"}, "one dimension"},
		{"EXPORT_DATA", "exportActuals", map[string]any{"cube": "Nope"}, "The cube Nope"},
	} {
		c.wantState(c.run(each.jobType, each.name, each.parameters), 4, each.want)
	}
	c.wantState(c.run("RULES", "Copy Actual to Forecast", map[string]any{"Entity": `E_111,"E_112"`, "Year": "&CurrYear"}), 0, "")
	c.wantState(c.run("RULESET", "Month End", nil), 0, "")
	c.wantState(c.run("Cube Refresh", "Refresh Database", map[string]any{
		"allowedUsersDuringCubeRefresh": "Administrators", "terminateActiveRequestsBeforeCubeRefresh": "true",
	}), 0, "")
}

func TestOnlyOneImportOrRefreshOfAnApplicationAtATime(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	first := c.start("CUBE_REFRESH", "Refresh Database", nil)
	second := c.start("CUBE_REFRESH", "Refresh Database", nil)
	third := c.start("IMPORT_METADATA", "importAccount", nil)
	rule := c.start("RULES", "Aggregate VisASO", nil)
	other := c.send(http.MethodPost, "/HyperionPlanning/rest/v3/applications/Sales/jobs", map[string]any{"jobType": "CUBE_REFRESH", "jobName": "Refresh Database"})
	c.advance(time.Minute)
	for _, id := range []int{first, second, third, rule} {
		c.poll(id)
	}
	c.wantState(c.poll(first), 0, "")
	c.wantState(c.poll(second), 1, fmt.Sprintf("job %d", first))
	c.wantState(c.poll(third), 1, "Only one cube refresh or metadata import")
	c.wantState(c.poll(rule), 0, "")
	path := c.wantLink(other, "self")
	c.get(path)
	c.wantState(c.get(path), 0, "")
	c.wantState(c.run("CUBE_REFRESH", "Refresh Database", nil), 0, "")
}

func TestActionsOfThePersonAtTheConsole(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	act := func(id int, action string) int {
		return c.control(http.MethodPost, fmt.Sprintf("jobs/%d", id), map[string]any{"action": action, "details": "by hand"}).status
	}
	cancelled := c.start("CLEAR_CUBE", "Clear Plan1", nil)
	c.poll(cancelled)
	if got := act(cancelled, "cancel"); got != http.StatusNoContent {
		t.Fatalf("cancel: %d", got)
	}
	c.wantState(c.poll(cancelled), 2, "")
	c.advance(3 * time.Second)
	c.wantState(c.poll(cancelled), 3, "")
	if got := c.run("EXPORT_DATA", "exportActuals", nil); number(got.body["status"]) != 0 || len(unpack(t, c.stored("exportActuals.zip"))["exportActuals.csv"]) < 2 {
		t.Errorf("the cancelled job cleared the cube: %s", got.raw)
	}

	failed := c.start("RULES", "Aggregate VisASO", nil)
	c.poll(failed)
	act(failed, "fail")
	c.wantState(c.poll(failed), 1, "by hand")
	if got := act(failed, "cancel"); got != http.StatusConflict {
		t.Errorf("an ended job: %d", got)
	}

	unknown := c.start("RULES", "Aggregate VisASO", nil)
	c.poll(unknown)
	act(unknown, "unknown")
	c.wantState(c.poll(unknown), 2147483647, "")

	stuck := c.start("RULES", "Aggregate VisASO", nil)
	act(stuck, "stick")
	c.poll(stuck)
	c.advance(48 * time.Hour)
	c.wantState(c.poll(stuck), -1, "")
	act(stuck, "release")
	c.wantState(c.poll(stuck), 0, "")

	if got := act(stuck, "dance"); got != http.StatusBadRequest {
		t.Errorf("unknown action: %d", got)
	}
	if got := act(1, "cancel"); got != http.StatusConflict {
		t.Errorf("unknown job: %d", got)
	}
}

func TestJobsReportWhatWasStarted(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.put("importAccount.zip", sample(t, "importAccount.zip"))
	c.run("IMPORT_METADATA", "importAccount", map[string]any{"errorFile": "err.zip"})
	running := c.start("RULES", "Aggregate VisASO", nil)
	jobs := c.sim.Jobs()
	if len(jobs) != 2 {
		t.Fatalf("%d jobs", len(jobs))
	}
	if j := jobs[0]; j.Type != "IMPORT_METADATA" || j.Name != "importAccount" || j.User != "admin" || j.Application != "Vision" ||
		j.Parameters["errorFile"] != "err.zip" || j.Read != 10_000 || j.Rejected != 412 || j.FinishedAt == nil || j.Polls != 2 {
		t.Errorf("first: %+v", j)
	}
	if j := jobs[1]; j.ID != running || j.Status != -1 || j.FinishedAt != nil || j.Description != "Processing" {
		t.Errorf("second: %+v", j)
	}
	if got := c.control(http.MethodGet, "jobs", nil); len(items(got)) != 2 {
		t.Errorf("control: %s", got.raw)
	}
	if got := c.control(http.MethodGet, fmt.Sprintf("jobs/%d", running), nil); number(got.body["id"]) != running {
		t.Errorf("one: %s", got.raw)
	}
	if got := c.control(http.MethodGet, "jobs/9", nil); got.status != http.StatusNotFound {
		t.Errorf("none: %d", got.status)
	}
}

// TestManyClientsAtOnce is for the race detector: every kind of call at once.
func TestManyClientsAtOnce(t *testing.T) {
	t.Parallel()
	c := newClient(t, odd(3), func(cfg *sim.Config) { cfg.Now, cfg.Speed = time.Now, 200_000 })
	metadata := archive(t, "importEntity.csv", "Entity,Parent\nE_700,Total Entity\nE_701,E_700\nE_702,E_799\n")
	if _, err := c.sim.AddFault(sim.Fault{Kind: sim.FaultLostAnswer, Probability: 0.2}); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for round := range 5 {
				name := fmt.Sprintf("in-%d-%d.zip", worker, round)
				upload := "/interop/rest/11.1.2.3.600/applicationsnapshots/" + name + "/contents"
				_, _ = c.try(http.MethodPost, upload, metadata, map[string]string{"Content-Type": "application/octet-stream"})
				body := fmt.Sprintf(`{"jobType":"IMPORT_METADATA","jobName":"importEntity","parameters":{"importZipFileName":%q,"errorFile":"err-%s"}}`, name, name)
				started, err := c.try(http.MethodPost, vision+"/jobs", []byte(body), map[string]string{"Content-Type": "application/json"})
				if err == nil {
					path := c.wantLink(started, "self")
					for range 3 {
						_, _ = c.try(http.MethodGet, path, nil, nil)
					}
					_, _ = c.try(http.MethodGet, path+"/details", nil, nil)
				}
				for _, path := range []string{"/sim/jobs", "/sim/log", "/sim/files"} {
					_, _ = c.try(http.MethodGet, path, nil, nil)
				}
				_, _ = c.try(http.MethodGet, vision+"/dimensions/Entity/members/E_701", nil, nil)
				_, _ = c.try(http.MethodGet, "/interop/rest/v2/files/list", nil, nil)
				_, _ = c.try(http.MethodDelete, "/interop/rest/11.1.2.3.600/applicationsnapshots/"+name, nil, nil)
			}
		})
	}
	group.Wait()
	if jobs := c.sim.Jobs(); len(jobs) != 40 {
		t.Errorf("%d jobs were started, want 40: answers that were lost count", len(jobs))
	}
}
