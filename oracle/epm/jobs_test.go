package epm_test

import (
	"errors"
	"net/http"
	"testing"

	"longhaul/oracle"
	"longhaul/oracle/epm"
)

const jobsPath = "/HyperionPlanning/rest/v3/applications/Vision%201/jobs"

func TestExecute(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, `{"status":-1,"details":null,"jobId":95,"jobName":"importAccount","descriptiveStatus":"Processing\n",
			"links":[{"rel":"self","href":" http://inner:443/HyperionPlanning/rest/v3/applications/Vision%201/jobs/95","action":"GET"},
			         {"rel":"job-details","href":"http://inner/HyperionPlanning/rest/v3/applications/Vision%201/jobs/95/details","action":"GET"}]}`)
	})
	c := newClient(t, s)
	got, err := c.Execute(t.Context(), "IMPORT_METADATA", "importAccount", map[string]any{"importZipFileName": "a.zip", "refreshCube": true})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "job", epm.Job{
		ID: "95", Name: "importAccount", Status: -1, State: epm.StateProcessing, DescriptiveStatus: "Processing", URL: s.base() + jobsPath + "/95",
	}, got)
	if _, err := c.Execute(t.Context(), "Compact Cube", "", nil); err != nil {
		t.Fatal(err)
	}
	diff(t, "requests", []request{
		{
			Method: "POST", Path: jobsPath, Type: "application/json",
			Body: `{"jobType":"IMPORT_METADATA","jobName":"importAccount","parameters":{"importZipFileName":"a.zip","refreshCube":true}}`,
		},
		{Method: "POST", Path: jobsPath, Type: "application/json", Body: `{"jobType":"Compact Cube"}`},
	}, s.requests())
}

// TestExecuteAnswers holds which answers to a start give a job, and what the
// others say about whether one may run.
func TestExecuteAnswers(t *testing.T) {
	t.Parallel()
	const launchRefused = `{"descriptiveStatus":"Error","jobId":-1,"status":1,"details":null,"jobName":null,"links":null}`
	const noReason = "the job was not started, and no reason was given; check its name, type and parameters"
	tests := []struct {
		name    string
		status  int
		body    string
		id      string
		state   epm.State
		kind    oracle.Kind
		happen  bool
		message string
	}{
		{"jobID, numeric string", 200, `{"status":"-1","jobID":"7","links":null}`, "7", epm.StateProcessing, "", false, ""},
		{"id in the link only", 200, `{"status":-1,"links":[{"rel":"Self ","href":"http://x/HyperionPlanning/rest/v3/applications/V/jobs/8"}]}`, "8", epm.StateProcessing, "", false, ""},
		{"ended already", 200, `{"status":0,"jobId":9,"descriptiveStatus":"Completed"}`, "9", epm.StateSucceeded, "", false, ""},
		{"failed already", 200, `{"status":1,"jobId":9,"descriptiveStatus":"Error","details":"no file"}`, "9", epm.StateFailed, "", false, ""},
		{"invalid parameter", 200, `{"status":4,"jobId":9}`, "9", epm.StateFailed, "", false, ""},
		{"launch refused, 200", 200, launchRefused, "", "", oracle.KindRefused, false, noReason},
		{"launch refused, 400", 400, launchRefused, "", "", oracle.KindRefused, false, noReason},
		{"launch refused, 500", 500, launchRefused, "", "", oracle.KindRefused, false, noReason},
		{"general error, 400", 400, `{"detail":"Job definition not found: x","status":400}`, "", "", oracle.KindRefused, false, "Job definition not found: x"},
		{"general error, 200", 200, `{"detail":"bad","status":400}`, "", "", oracle.KindRefused, false, "bad"},
		{"general error, 500", 500, `{"detail":"broken","status":500}`, "", "", oracle.KindServer, true, "broken"},
		{"no job, in progress", 200, `{"status":-1,"jobId":-1}`, "", "", oracle.KindProtocol, true, "answer names no job."},
		{"empty object", 200, `{}`, "", "", oracle.KindProtocol, true, "answer names no job."},
		{"no status", 200, `{"jobId":5}`, "5", "", oracle.KindProtocol, true, "answer does not tell the job's status"},
		{"page", 200, `<html><title>Down</title>`, "", "", oracle.KindUnavailable, true, "answer is not JSON: page “Down”"},
		{"maintenance", 503, `<html><title>Down</title>`, "", "", oracle.KindUnavailable, false, "page “Down”"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, tt.status, tt.body) })
			job, err := newClient(t, s).Execute(t.Context(), "RULES", "x", nil)
			if job.ID != tt.id || job.State != tt.state {
				t.Errorf("job is %+v", job)
			}
			if tt.id != "" && job.URL != s.base()+jobsPath+"/"+tt.id && job.URL != s.base()+"/HyperionPlanning/rest/v3/applications/V/jobs/"+tt.id {
				t.Errorf("job's URL is %s", job.URL)
			}
			if oracle.KindOf(err) != tt.kind || oracle.MayHaveHappened(err) != tt.happen {
				t.Errorf("error is %v, kind %q, may have happened %v", err, oracle.KindOf(err), oracle.MayHaveHappened(err))
			}
			if tt.kind != "" && asError(t, err).Message != tt.message {
				t.Errorf("message is %q; want %q", asError(t, err).Message, tt.message)
			}
			if n := len(s.requests()); n != 1 {
				t.Errorf("the start was sent %d times", n)
			}
		})
	}
}

func TestJobStates(t *testing.T) {
	t.Parallel()
	tests := map[string]epm.State{
		`{"status":-1}`:   epm.StateProcessing,
		`{"status":"-1"}`: epm.StateProcessing,
		`{"status":-7}`:   epm.StateProcessing,
		`{"status":2,"descriptiveStatus":"Cancel pending"}`: epm.StateCancelPending,
		`{"status":3}`: epm.StateCancelled,
		`{"status":0,"descriptiveStatus":"Completed\n","details":"null"}`:        epm.StateSucceeded,
		`{"status":0,"descriptiveStatus":"Completed with errors\n"}`:             epm.StateCompletedWithErrors,
		`{"status":1,"descriptiveStatus":"Completed With Errors"}`:               epm.StateCompletedWithErrors,
		`{"status":2147483647,"descriptiveStatus":"Completed with errors"}`:      epm.StateCompletedWithErrors,
		`{"status":1,"details":"Metadata import completed with errors: 3"}`:      epm.StateCompletedWithErrors,
		`{"status":0,"descriptiveStatus":"Completed with warnings"}`:             epm.StateCompletedWithWarnings,
		`{"status":0,"descriptiveStatus":"Completed with threshold violations"}`: epm.StateCompletedWithErrors,
		`{"status":1,"descriptiveStatus":"Error"}`:                               epm.StateFailed,
		`{"status":4}`:                                  epm.StateFailed,
		`{"status":99}`:                                 epm.StateFailed,
		`{"status":2147483647}`:                         epm.StateFailed,
		`{"status":"2147483647"}`:                       epm.StateFailed,
		`{"jobStatus":"Processing"}`:                    epm.StateProcessing,
		`{"jobStatus":"RUNNING"}`:                       epm.StateProcessing,
		`{"descriptiveStatus":"Completed"}`:             epm.StateSucceeded,
		`{"descriptiveStatus":"Completed with errors"}`: epm.StateCompletedWithErrors,
		`{"descriptiveStatus":"Error"}`:                 epm.StateFailed,
		`{"descriptiveStatus":"Cancelled"}`:             epm.StateCancelled,
	}
	for body, want := range tests {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, body) })
			got, err := newClient(t, s).Job(t.Context(), "95")
			if err != nil || got.State != want || got.ID != "95" || got.URL != s.base()+jobsPath+"/95" {
				t.Errorf("job is %+v, %v; want %s", got, err, want)
			}
			running := want == epm.StateProcessing || want == epm.StateCancelPending
			done := want == epm.StateSucceeded || want == epm.StateCompletedWithErrors || want == epm.StateCompletedWithWarnings
			if got.State.Terminal() == running || got.State.Done() != done {
				t.Errorf("%s: terminal %v, done %v", got.State, got.State.Terminal(), got.State.Done())
			}
			diff(t, "requests", []request{{Method: "GET", Path: jobsPath + "/95"}}, s.requests())
		})
	}
}

func TestJobUnknown(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		status  int
		body    string
		unknown bool
		kind    oracle.Kind
	}{
		{"500", 500, `{"detail":"com.hyperion.planning.HspException: job?","status":500}`, true, oracle.KindServer},
		{"500, empty", 500, ``, true, oracle.KindServer},
		{"404", 404, `{"detail":"no"}`, true, oracle.KindNotFound},
		{"200 without a job", 200, `{"descriptiveStatus":"Error","jobId":-1,"status":1}`, true, oracle.KindServer},
		{"200 with an error", 200, `{"detail":"no such job","status":400}`, true, oracle.KindServer},
		{"maintenance", 503, `<html>`, false, oracle.KindUnavailable},
		{"maintenance, 404 page", 404, `<html>`, false, oracle.KindUnavailable},
		{"restarting, 500 page", 500, `<html>`, false, oracle.KindUnavailable},
		{"no status", 200, `{"jobId":95}`, false, oracle.KindProtocol},
		{"unauthorized", 401, ``, false, oracle.KindUnauthorized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, tt.status, tt.body) })
			_, err := newClient(t, s).Job(t.Context(), "95")
			if errors.Is(err, epm.ErrUnknownJob) != tt.unknown || oracle.KindOf(err) != tt.kind || oracle.MayHaveHappened(err) {
				t.Errorf("error is %v, kind %s", err, oracle.KindOf(err))
			}
		})
	}
}
