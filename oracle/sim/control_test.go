package sim_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"longhaul/oracle/sim"
)

func TestLogOfRequests(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.put("a.csv", []byte("abc"))
	c.get(first + "/a.csv/contents")
	c.get("/interop/rest/V2/files/list?x=%7B1%7D")
	c.user = "nobody"
	c.get(listPath)
	log := items(c.control(http.MethodGet, "log", nil))
	if len(log) != 3 {
		t.Fatalf("%d entries: control calls are not logged: %v", len(log), log)
	}
	if e := log[0]; number(e["number"]) != 1 || e["user"] != "admin" || e["method"] != "GET" || e["path"] != first+"/a.csv/contents" || number(e["status"]) != 200 || number(e["bytes_out"]) != 3 {
		t.Errorf("first: %v", e)
	}
	if e := log[1]; e["query"] != "x={1}" || number(e["status"]) != 404 {
		t.Errorf("second: %v", e)
	}
	if e := log[2]; e["user"] != nil || number(e["status"]) != 401 {
		t.Errorf("third: %v", e)
	}
	if part := items(c.control(http.MethodGet, "log?after=1&limit=1", nil)); len(part) != 1 || number(part[0]["number"]) != 2 {
		t.Errorf("part: %v", part)
	}
	c.control(http.MethodDelete, "log", nil)
	if left := c.sim.Requests(); len(left) != 0 {
		t.Errorf("after clearing: %v", left)
	}
}

func TestFilesUnderControl(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.put("a.csv", []byte("one"))
	c.put("a.csv", []byte("three"))
	list := items(c.control(http.MethodGet, "files", nil))
	if len(list) != 2 || list[1]["name"] != "a.csv" || number(list[1]["size"]) != 5 || string(c.stored("a.csv")) != "three" {
		t.Errorf("files: %v", list)
	}
	if got := c.control(http.MethodDelete, "files/a.csv", nil); got.status != http.StatusNoContent {
		t.Errorf("delete: %d", got.status)
	}
	for _, method := range []string{http.MethodDelete, http.MethodGet} {
		if got := c.control(method, "files/a.csv", nil); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", method, got.status)
		}
	}
	if got := c.do(http.MethodPut, "/sim/files/x%01y", nil, nil); got.status != http.StatusBadRequest {
		t.Errorf("bad name: %d", got.status)
	}
}

func TestFaultsUnderControl(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	got := c.control(http.MethodPost, "faults", map[string]any{"kind": "status", "status": 503, "path": "/files/list"})
	if got.status != http.StatusCreated || number(got.body["id"]) != 1 {
		t.Fatalf("add: %d %s", got.status, got.raw)
	}
	if got := c.get(listPath); got.status != http.StatusServiceUnavailable {
		t.Errorf("struck: %d", got.status)
	}
	if got := c.control(http.MethodDelete, "faults/1", nil); got.status != http.StatusNoContent {
		t.Errorf("delete: %d", got.status)
	}
	for _, path := range []string{"faults/1", "faults/x"} {
		if got := c.control(http.MethodDelete, path, nil); got.status != http.StatusNotFound {
			t.Errorf("delete %s: %d", path, got.status)
		}
	}
	c.control(http.MethodPost, "faults", map[string]any{"kind": "reset"})
	c.control(http.MethodDelete, "faults", nil)
	if got := c.get(listPath); got.status != http.StatusOK {
		t.Errorf("after: %d", got.status)
	}
	if got := c.control(http.MethodPost, "faults", map[string]any{"kind": "earthquake"}); got.status != http.StatusBadRequest || !strings.Contains(string(got.raw), "must be one of") {
		t.Errorf("unknown kind: %d %s", got.status, got.raw)
	}
}

func TestMaintenance(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	cut := c.start("RULES", "Aggregate VisASO", nil)
	c.poll(cut)
	if got := c.control(http.MethodPost, "maintenance", map[string]any{"minutes": 30}); got.body["on"] != true {
		t.Fatalf("start: %d %s", got.status, got.raw)
	}
	for _, path := range []string{listPath, vision + "/jobdefinitions", "/anything"} {
		if got := c.get(path); got.status != http.StatusServiceUnavailable || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %v", path, got.status, got.header)
		}
	}
	c.advance(31 * time.Minute)
	c.wantState(c.poll(cut), 1, "service was restarted")

	kept := c.start("RULES", "Aggregate VisASO", nil)
	c.poll(kept)
	c.control(http.MethodPost, "maintenance", map[string]any{"on": true, "keep_jobs": true})
	c.advance(24 * time.Hour)
	if got := c.control(http.MethodGet, "maintenance", nil); got.body["on"] != true {
		t.Errorf("without minutes it lasts: %s", got.raw)
	}
	c.control(http.MethodPost, "maintenance", map[string]any{"on": false})
	c.wantState(c.poll(kept), 0, "")
	if got := c.control(http.MethodPost, "maintenance", map[string]any{}); got.status != http.StatusBadRequest {
		t.Errorf("neither on nor minutes: %d", got.status)
	}
}

func TestClockUnderControl(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *sim.Config) { cfg.Now = time.Now })
	if got := c.control(http.MethodPost, "clock", map[string]any{"speed": 0}); number(got.body["speed"]) != 0 {
		t.Fatalf("stop: %s", got.raw)
	}
	before := c.control(http.MethodGet, "clock", nil).body["now"]
	if again := c.control(http.MethodGet, "clock", nil).body["now"]; again != before {
		t.Errorf("stopped time passed: %v, %v", before, again)
	}
	got := c.control(http.MethodPost, "clock", map[string]any{"speed": 1_000_000, "advance": "1h"})
	if got.body["now"].(string) <= before.(string) || number(got.body["speed"]) != 1_000_000 {
		t.Errorf("start: %s", got.raw)
	}
	for _, body := range []map[string]any{{"speed": -1}, {"advance": "-1s"}, {"advance": "soon"}, {"speed": "fast"}} {
		if got := c.control(http.MethodPost, "clock", body); got.status != http.StatusBadRequest {
			t.Errorf("%v: %d", body, got.status)
		}
	}
}

func TestReset(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.put("importEntity.zip", sample(t, "importEntity.zip"))
	c.put("big.bin", make([]byte, 3<<20))
	last := number(c.run("IMPORT_METADATA", "importEntity", nil).body["jobId"])
	c.fault(sim.Fault{Kind: sim.FaultReset, Path: "nowhere"})
	if got := c.control(http.MethodPost, "reset", nil); got.status != http.StatusNoContent {
		t.Fatalf("reset: %d %s", got.status, got.raw)
	}
	if got := c.files(); len(got) != 1 {
		t.Errorf("files: %v", got)
	}
	if len(c.sim.Jobs()) != 0 || len(c.sim.Requests()) != 1 || c.parentOf("Entity", "E_130") != nil {
		t.Error("something is left")
	}
	if rules := items(c.control(http.MethodGet, "faults", nil)); len(rules) != 0 {
		t.Errorf("faults: %v", rules)
	}
	if id := c.start("RULES", "Aggregate VisASO", nil); id <= last {
		t.Errorf("job id %d was handed out before", id)
	}
}

func TestControlCallsThatAreWrong(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for path, want := range map[string]int{"/sim/": http.StatusOK, "/sim/nothing": http.StatusNotFound, "/sim": http.StatusTemporaryRedirect} {
		resp, err := http.DefaultTransport.RoundTrip(mustRequest(t, c.base+path))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	for _, path := range []string{"faults", "maintenance", "clock", "jobs/1"} {
		if got := c.do(http.MethodPost, "/sim/"+path, []byte("{"), nil); got.status != http.StatusBadRequest {
			t.Errorf("half of JSON to %s: %d", path, got.status)
		}
	}
}

func mustRequest(t *testing.T, address string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestOddities(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for seed := range uint64(12) {
		c := newClient(t, odd(seed), func(cfg *sim.Config) { cfg.Prefix = "/gateway" })
		c.put("x.csv", []byte("x"))
		refused := c.send(http.MethodPost, vision+"/jobs", map[string]any{
			"jobType": "CUBE_REFRESH", "jobName": "Refresh Database", "parameters": map[string]any{"allowedUsersDuringCubeRefresh": "x"},
		})
		if refused.status == http.StatusOK {
			seen["refused with 200"] = refused.body["links"] == nil && number(refused.body["jobId"]) == -1
		}
		texts := string(c.get("/HyperionPlanning/rest/v3/applications").raw)
		for _, path := range []string{listPath, first, first + "/x.csv", "/interop/rest/", "/interop/rest/v2/maintenance/getdailymaintenancestarttime"} {
			texts += string(c.get(path).raw)
		}
		texts += string(c.get(second + "/x.csv/contents").raw)
		for range 3 {
			texts += string(c.run("RULES", "Aggregate VisASO", nil).raw)
			texts += string(c.run("RULES", "Calculate Plan", map[string]any{"Version": "Nope"}).raw)
			texts += string(c.run("IMPORT_METADATA", "importAccount", nil).raw)
		}
		for oddity, mark := range map[string]string{
			"status as text": `"status":"0"`, "running as text": `"status":"-1"`, "null as text": `"details":"null"`, "null": `"details":null`,
			"newline": `Completed\n"`, "jobStatus": `"jobStatus":"Error`, "boolean as text": `"true"`, "blank before href": `"href":" http`,
			"doubled self": "/interop/rest/v2/interop/rest/v2/", "port": ":443/", "rel": `"rel":"Job status"`, "usual rel": `"rel":"Job Status"`,
			"prefix": "/gateway/interop", "no prefix": `1:443/interop`,
		} {
			seen[oddity] = seen[oddity] || strings.Contains(texts, mark)
		}
	}
	for oddity, found := range seen {
		if !found {
			t.Errorf("never seen: %s", oddity)
		}
	}
	if !seen["refused with 200"] {
		t.Error("no start was refused with 200")
	}
}

func TestHTTPSInLinks(t *testing.T) {
	t.Parallel()
	plain, odds := newClient(t), newClient(t, odd(1))
	secure := map[string]string{"X-Forwarded-Proto": "https"}
	if got := plain.do(http.MethodGet, vision+"/jobdefinitions", nil, secure); !strings.Contains(string(got.raw), `"href":"https://127`) {
		t.Errorf("%s", got.raw)
	}
	schemes := map[string]bool{}
	for i := range 20 {
		got := odds.do(http.MethodGet, fmt.Sprintf("%s/dimensions/Entity/members/E_%d", vision, []int{100, 110, 111, 112, 113, 120, 121, 122, 200, 210, 220, 230, 240, 300, 310, 320, 330, 900, 100, 110}[i]), nil, secure)
		schemes[strings.Split(strings.TrimSpace(strings.Split(string(got.raw), `"href":"`)[1]), ":")[0]] = true
	}
	if !schemes["http"] || !schemes["https"] {
		t.Errorf("schemes: %v", schemes)
	}
}
