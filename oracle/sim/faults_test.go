package sim_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longhaul/oracle/sim"
)

const listPath = "/interop/rest/v2/files/list"

func (c *client) fault(f sim.Fault) {
	c.t.Helper()
	if _, err := c.sim.AddFault(f); err != nil {
		c.t.Fatal(err)
	}
}

func TestFaultsInPlaceOfTheAnswer(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]struct {
		fault  sim.Fault
		status int
		media  string
		header string // that must be there
	}{
		"plain":       {sim.Fault{Kind: sim.FaultStatus}, http.StatusInternalServerError, "application/json", ""},
		"throttled":   {sim.Fault{Kind: sim.FaultStatus, Status: 429, Body: "empty", RetryAfter: 7}, http.StatusTooManyRequests, "", "Retry-After"},
		"bad gateway": {sim.Fault{Kind: sim.FaultStatus, Status: 502, Body: "html"}, http.StatusBadGateway, "text/html", ""},
		"expired":     {sim.Fault{Kind: sim.FaultExpiredSession}, http.StatusUnauthorized, "text/html", "WWW-Authenticate"},
		"maintenance": {sim.Fault{Kind: sim.FaultMaintenance, RetryAfter: 60}, http.StatusServiceUnavailable, "text/html", "Retry-After"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t)
			c.fault(each.fault)
			got := c.get(listPath)
			if got.status != each.status || !strings.HasPrefix(got.header.Get("Content-Type"), each.media) {
				t.Errorf("%d %v", got.status, got.header)
			}
			if each.header != "" && got.header.Get(each.header) == "" {
				t.Errorf("no %s in %v", each.header, got.header)
			}
			if log := c.sim.Requests(); log[0].Fault != each.fault.Kind || log[0].Status != each.status {
				t.Errorf("log: %+v", log[0])
			}
			c.sim.ClearFaults()
			if got := c.get(listPath); got.status != http.StatusOK {
				t.Errorf("after: %d", got.status)
			}
		})
	}
}

func TestWhichRequestsAFaultStrikes(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.fault(sim.Fault{Kind: sim.FaultStatus, Status: 500, Method: "^GET$", Path: `/files/list\?x=1$`, Skip: 1, Count: 2})
	var statuses []int
	for range 5 {
		statuses = append(statuses, c.get(listPath+"?x=1").status)
	}
	if diff := cmp.Diff([]int{200, 500, 500, 200, 200}, statuses); diff != "" {
		t.Errorf("skip and count (-want +got):\n%s", diff)
	}
	if got := c.get(listPath + "?x=2"); got.status != http.StatusOK {
		t.Errorf("another path: %d", got.status)
	}
	rules := items(c.control(http.MethodGet, "faults", nil))
	if len(rules) != 1 || number(rules[0]["struck"]) != 2 || number(rules[0]["id"]) != 1 {
		t.Errorf("rules: %v", rules)
	}
}

func TestProbabilityDependsOnTheSeedAlone(t *testing.T) {
	t.Parallel()
	pattern := func(seed uint64) (statuses []int) {
		c := newClient(t, func(cfg *sim.Config) { cfg.Seed = seed })
		c.fault(sim.Fault{Kind: sim.FaultStatus, Probability: 0.5})
		for range 40 {
			statuses = append(statuses, c.get(listPath).status)
		}
		return statuses
	}
	if diff := cmp.Diff(pattern(1), pattern(1)); diff != "" {
		t.Errorf("one seed, two patterns:\n%s", diff)
	}
	if cmp.Equal(pattern(1), pattern(2)) {
		t.Error("two seeds, one pattern")
	}
}

func TestALostAnswerHasItsEffect(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.fault(sim.Fault{Kind: sim.FaultLostAnswer, Count: 1})
	body := []byte(`{"jobType":"RULES","jobName":"Aggregate VisASO"}`)
	header := map[string]string{"Content-Type": "application/json"}
	if got := c.get(vision + "/jobdefinitions"); got.status != http.StatusOK {
		t.Errorf("the rule without a path strikes more than starts: %d", got.status)
	}
	if _, err := c.try(http.MethodPost, vision+"/jobs", body, header); err == nil {
		t.Fatal("there was an answer")
	}
	jobs := c.sim.Jobs()
	if len(jobs) != 1 || jobs[0].Name != "Aggregate VisASO" || jobs[0].Fault != "" {
		t.Fatalf("jobs: %+v", jobs)
	}
	last := c.sim.Requests()[1]
	if last.Fault != sim.FaultLostAnswer || last.JobID != jobs[0].ID || last.Status != 0 {
		t.Errorf("log: %+v", last)
	}
	c.fault(sim.Fault{Kind: sim.FaultLostAnswer, Path: "/contents"})
	if _, err := c.try(http.MethodPost, first+"/a.csv/contents", []byte("abc"), nil); err == nil {
		t.Fatal("there was an answer")
	}
	if size := c.files()["a.csv"]; size != "3" {
		t.Errorf("the upload had no effect: %v", c.files())
	}
}

func TestAResetConnectionHasNoEffect(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.fault(sim.Fault{Kind: sim.FaultReset, Method: "POST", Bytes: 1 << 20})
	if _, err := c.try(http.MethodPost, first+"/a.bin/contents", make([]byte, 4<<20), nil); err == nil {
		t.Fatal("there was an answer")
	}
	if _, err := c.try(http.MethodPost, vision+"/jobs", []byte(`{"jobType":"RULES","jobName":"Aggregate VisASO"}`), map[string]string{"Content-Type": "application/json"}); err == nil {
		t.Fatal("there was an answer")
	}
	if _, listed := c.files()["a.bin"]; listed || len(c.sim.Jobs()) != 0 {
		t.Errorf("files %v, jobs %v", c.files(), c.sim.Jobs())
	}
	if log := c.sim.Requests(); log[0].BytesIn < 1<<20 || log[0].BytesIn >= 4<<20 {
		t.Errorf("read %d bytes before the reset", log[0].BytesIn)
	}
}

func TestTruncatedDownloads(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	content := bytes.Repeat([]byte("x"), 100_000)
	c.put("big.bin", content)
	c.fault(sim.Fault{Kind: sim.FaultTruncate, Count: 2})
	status := c.wantLink(c.get(second+"/big.bin/contents"), "Job Status")
	c.advance(time.Minute)
	c.get(status)
	link := c.wantLink(c.get(status), "Download link")
	for _, path := range []string{first + "/big.bin/contents", link} {
		got, err := c.try(http.MethodGet, path, nil, nil)
		if !errors.Is(err, io.ErrUnexpectedEOF) || len(got.raw) != 50_000 || got.header.Get("Content-Length") != "100000" {
			t.Errorf("%s: %v, %d bytes of %s", path, err, len(got.raw), got.header.Get("Content-Length"))
		}
	}
	rest := c.do(http.MethodGet, link, nil, map[string]string{"Range": "bytes=50000-"})
	if rest.status != http.StatusPartialContent || len(rest.raw) != 50_000 {
		t.Errorf("rest: %d, %d bytes", rest.status, len(rest.raw))
	}
	c.fault(sim.Fault{Kind: sim.FaultTruncate, Path: listPath, Bytes: 10})
	if got, err := c.try(http.MethodGet, listPath, nil, nil); err == nil || len(got.raw) != 10 {
		t.Errorf("JSON: %v, %q", err, got.raw)
	}
}

func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.fault(sim.Fault{Kind: sim.FaultSlow, Delay: "60ms"})
	c.fault(sim.Fault{Kind: sim.FaultStatus, Status: 503, Count: 1})
	started := time.Now()
	if got := c.get(listPath); got.status != http.StatusServiceUnavailable || time.Since(started) < 60*time.Millisecond {
		t.Errorf("%d after %v: the rule behind the delay counts too", got.status, time.Since(started))
	}
	c.sim.ClearFaults()
	c.put("a.bin", make([]byte, 100))
	c.fault(sim.Fault{Kind: sim.FaultSlowBody, Path: "a.bin", BytesPerSecond: 1000})
	started = time.Now()
	if got := c.get(first + "/a.bin/contents"); len(got.raw) != 100 || time.Since(started) < 90*time.Millisecond {
		t.Errorf("%d bytes after %v", len(got.raw), time.Since(started))
	}
}

func TestFaultsOfJobs(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.put("in.zip", archive(t, "importEntity.csv", "Entity,Parent\nE_700,Total Entity\n"))
	start := map[string]any{"importZipFileName": "in.zip"}
	c.fault(sim.Fault{Kind: sim.FaultFailJob, Job: "^IMPORT_METADATA ", Count: 1})
	c.fault(sim.Fault{Kind: sim.FaultUnknownJob, Job: "importEntity$", Count: 1})
	c.fault(sim.Fault{Kind: sim.FaultStuckJob, Job: "importEntity"})
	if got := c.run("RULES", "Aggregate VisASO", nil); number(got.body["status"]) != 0 {
		t.Errorf("another job: %s", got.raw)
	}
	c.wantState(c.run("IMPORT_METADATA", "importEntity", start), 1, "The job failed")
	if c.parentOf("Entity", "E_700") != nil {
		t.Error("the failed job did its work")
	}
	c.wantState(c.run("IMPORT_METADATA", "importEntity", start), 2147483647, "")
	if c.parentOf("Entity", "E_700") != "Total Entity" {
		t.Error("the job of unknown state did not do its work")
	}
	c.wantState(c.run("IMPORT_METADATA", "importEntity", start), -1, "")
	jobs := c.sim.Jobs()
	if len(jobs) != 4 || jobs[1].Fault != sim.FaultFailJob || jobs[3].Fault != sim.FaultStuckJob {
		t.Errorf("jobs: %+v", jobs)
	}

	c.fault(sim.Fault{Kind: sim.FaultRefuseJob, Job: "Month End"})
	got := c.send(http.MethodPost, vision+"/jobs", map[string]any{"jobType": "RULESET", "jobName": "Month End"})
	if got.status != http.StatusBadRequest || number(got.body["jobId"]) != -1 || got.body["links"] != nil || got.body["jobName"] != nil {
		t.Errorf("refused: %d %s", got.status, got.raw)
	}
	if len(c.sim.Jobs()) != 4 {
		t.Error("the refused job was started")
	}
}

func TestInitialFaultsReturnWithAReset(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *sim.Config) {
		cfg.Faults = []sim.Fault{{Kind: sim.FaultStatus, Status: 503, Count: 1}}
	})
	for range 2 {
		if first, next := c.get(listPath).status, c.get(listPath).status; first != 503 || next != 200 {
			t.Errorf("%d, then %d", first, next)
		}
		if got := c.control(http.MethodPost, "reset", nil); got.status != http.StatusNoContent {
			t.Fatalf("reset: %d %s", got.status, got.raw)
		}
	}
}

func TestParseFault(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]sim.Fault{
		"reset": {Kind: sim.FaultReset},
		"status path=/files/list method=GET status=503 body=html retry_after=3 skip=1 count=2 probability=0.5": {
			Kind: sim.FaultStatus, Path: "/files/list", Method: "GET", Status: 503, Body: "html", RetryAfter: 3, Skip: 1, Count: 2, Probability: 0.5,
		},
		"slow_body bytes_per_second=10":                     {Kind: sim.FaultSlowBody, BytesPerSecond: 10},
		"truncate bytes=10":                                 {Kind: sim.FaultTruncate, Bytes: 10},
		"slow delay=1.5s":                                   {Kind: sim.FaultSlow, Delay: "1.5s"},
		"stuck_job job=importAccount":                       {Kind: sim.FaultStuckJob, Job: "importAccount"},
		` {"kind":"fail_job","job":"RULES Calculate Plan"}`: {Kind: sim.FaultFailJob, Job: "RULES Calculate Plan"},
	} {
		got, err := sim.ParseFault(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for text, want := range map[string]string{
		"":                       "kind is missing",
		"earthquake":             "must be one of",
		"status status=99":       "between 200 and 599",
		"status status=many":     "invalid syntax",
		"status body=xml":        "json, html or empty",
		"status where=here":      "unknown word",
		"status path=(":          "path: ",
		"slow delay=soon":        "duration such as",
		"slow delay=-1s":         "duration such as",
		"reset probability=2":    "between 0 and 1",
		"reset count=-1":         "must not be negative",
		"reset job=importEntity": "job: is for",
		`{"kind":"reset","x":1}`: "unknown field",
	} {
		if _, err := sim.ParseFault(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestTheLogHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.get(listPath + "?q=" + url.QueryEscape(`{type:"import",userPassword:"hush",resetPassword:true,x:1}`) + "&fpwd=hush")
	got := c.control(http.MethodGet, "log", nil)
	for _, secret := range []string{"hush", "welcome1", "Authorization", "YWRtaW46"} {
		if strings.Contains(string(got.raw), secret) {
			t.Errorf("the log has %q: %s", secret, got.raw)
		}
	}
	if !strings.Contains(string(got.raw), "x:1") {
		t.Errorf("too much is left out: %s", got.raw)
	}
}
