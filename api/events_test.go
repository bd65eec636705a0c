package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"longhaul/api"
	"longhaul/oracle/sim"
)

// event is one Server-Sent Event.
type event struct{ name, id, data string }

// readEvents reads a stream to its end.
func readEvents(t testing.TB, stream io.Reader) []event {
	t.Helper()
	var events []event
	must(t, eachEvent(stream, func(e event) bool {
		events = append(events, e)
		return true
	}))
	return events
}

// eachEvent calls do with each event until it returns false.
func eachEvent(stream io.Reader, do func(event) bool) error {
	var e event
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "":
			if e.name != "" && !do(e) {
				return nil
			}
			e = event{}
		}
	}
	return lines.Err()
}

// logPart is the data of a log event.
type logPart struct {
	Offset int64  `json:"offset"`
	Text   string `json:"text"`
}

// joinLog adds up the log events, which must follow on one another from the offset on.
func joinLog(t testing.TB, events []event, offset int64) string {
	t.Helper()
	var text strings.Builder
	for _, e := range events {
		if e.name != "log" {
			continue
		}
		var part logPart
		must(t, json.Unmarshal([]byte(e.data), &part))
		if want := offset + int64(text.Len()); part.Offset != want {
			t.Errorf("a log event begins at %d, want %d", part.Offset, want)
		}
		text.WriteString(part.Text)
	}
	return text.String()
}

// stuck starts a business rule that runs in the application until release is called.
func (s *server) stuck() (task api.Task, release func()) {
	s.t.Helper()
	s.fault(sim.Fault{Kind: sim.FaultStuckJob, Job: "^RULES ", Count: 1})
	task = s.create(object{"app": "vision", "name": "Aggregate VisASO", "kind": "epm.runBusinessRule"}, nil)
	task = s.waitUntil(task.ID, "running in the application", func(t *api.Task) bool {
		return t.Remote != nil && strings.Contains(t.Progress.Message, "processing")
	})
	return task, func() {
		s.t.Helper()
		s.control("jobs/"+task.Remote.JobID, object{"action": "release"})
	}
}

// control calls the simulator's control interface.
func (s *server) control(path string, body object) {
	s.t.Helper()
	resp, err := http.Post(s.simURL+"/sim/"+path, "application/json", strings.NewReader(string(jsonText(s.t, body))))
	must(s.t, err)
	must(s.t, resp.Body.Close())
	if resp.StatusCode/100 != 2 {
		s.t.Fatalf("the simulator's %s: %d", path, resp.StatusCode)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task, release := s.stuck()
	stream := s.open(http.MethodGet, taskPath(task.ID)+"/events", nil)
	defer stream.Body.Close()
	if got := stream.Header.Get("Content-Type"); stream.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("%d %s", stream.StatusCode, got)
	}
	var events []event
	released := false
	must(t, eachEvent(stream.Body, func(e event) bool {
		events = append(events, e)
		if e.name == "task" && !released {
			released = true
			release()
		}
		return true
	}))
	if len(events) < 3 || events[0].name != "log" || events[1].name != "task" {
		t.Fatalf("the stream begins with %+v", events[:min(len(events), 2)])
	}
	var last api.Task
	version := int64(0)
	for _, e := range events {
		if e.name != "task" {
			continue
		}
		must(t, json.Unmarshal([]byte(e.data), &last))
		if last.Version <= version {
			t.Errorf("version %d after %d", last.Version, version)
		}
		version = last.Version
		if want := fmt.Sprintf("%d.", version); !strings.HasPrefix(e.id, want) {
			t.Errorf("the id of version %d is %q", version, e.id)
		}
	}
	if last.State != "succeeded" || events[len(events)-1].name != "task" {
		t.Errorf("the stream ends with %+v", events[len(events)-1])
	}
	whole := s.log(task.ID)
	if got := joinLog(t, events, 0); got != whole {
		t.Errorf("log events add up to\n%s\nand the log is\n%s", got, whole)
	}
	s.resumeEverywhere(task.ID, events, whole)
}

// resumeEverywhere resumes an ended task's stream after each of its events: no text comes twice,
// none is missing, and the final task is told.
func (s *server) resumeEverywhere(id string, events []event, whole string) {
	s.t.Helper()
	seen := 0
	for _, e := range events {
		if e.name == "log" {
			seen += len(joinLog(s.t, []event{{name: "log", data: zeroOffset(s.t, e.data)}}, 0))
		}
		a := s.get(taskPath(id)+"/events", "Last-Event-ID", e.id).want(http.StatusOK)
		rest := readEvents(s.t, strings.NewReader(string(a.body)))
		if got := joinLog(s.t, rest, int64(seen)); got != whole[seen:] {
			s.t.Errorf("after %s comes\n%s\nwant\n%s", e.id, got, whole[seen:])
		}
		if len(rest) == 0 || rest[len(rest)-1].name != "task" {
			s.t.Errorf("after %s the final task is not told", e.id)
		}
	}
	// An id that is none begins anew.
	for _, none := range []string{"nonsense", "-1.-1", "1", "1.", "99999999999999999999.0"} {
		a := s.get(taskPath(id)+"/events", "Last-Event-ID", none).want(http.StatusOK)
		if got := joinLog(s.t, readEvents(s.t, strings.NewReader(string(a.body))), 0); got != whole {
			s.t.Errorf("after %q comes\n%s", none, got)
		}
	}
}

func zeroOffset(t testing.TB, data string) string {
	t.Helper()
	var part logPart
	must(t, json.Unmarshal([]byte(data), &part))
	part.Offset = 0
	return string(jsonText(t, part))
}

func TestLog(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task, release := s.stuck()
	s.checkLog(task.ID) // while it runs
	running := s.log(task.ID)
	if !strings.Contains(running, "as job "+task.Remote.JobID) {
		t.Errorf("the log of the running task:\n%s", running)
	}
	release()
	s.waitFinal(task.ID, "succeeded")
	s.checkLog(task.ID)
	final := s.log(task.ID)
	if !strings.HasPrefix(final, running) || len(final) == len(running) {
		t.Errorf("the final log\n%s\ndoes not go on from\n%s", final, running)
	}
	for _, after := range []string{"-1", "x", "1.5", "99999999999999999999"} {
		s.get(taskPath(task.ID)+"/log?after="+after).wantField("query.after", "")
	}
	// Once its outputs have expired the log is still there.
	s.exec("UPDATE tasks SET outputs_expire_at = now() - interval '1 second'")
	s.engine.SweepFiles(t.Context())
	if got := s.log(task.ID); got != final {
		t.Errorf("after the sweep the log is\n%s", got)
	}
	// A task without a log yet.
	s.addApp("busy", busy())
	s.checkEmptyLog(s.create(object{"app": "busy", "name": "first", "kind": "sleep", "params": object{"ms": 3_600_000}}, nil).ID)
}

func (s *server) checkEmptyLog(id string) {
	s.t.Helper()
	end := len(s.log(id))
	a := s.get(fmt.Sprintf("%s/log?after=%d", taskPath(id), end+100)).want(http.StatusOK)
	if len(a.body) != 0 {
		s.t.Errorf("past the end: %q", a.body)
	}
}

// checkLog reads a log in all ways; it must not grow meanwhile.
func (s *server) checkLog(id string) {
	s.t.Helper()
	path := taskPath(id) + "/log"
	a := s.get(path).want(http.StatusOK)
	a.wantHeader("Content-Type", "text/plain; charset=UTF-8")
	whole := string(a.body)
	for _, after := range []int{0, 1, len(whole) / 2, len(whole) - 1, len(whole), len(whole) + 10} {
		rest := whole[min(after, len(whole)):]
		if got := string(s.get(fmt.Sprintf("%s?after=%d", path, after)).want(http.StatusOK).body); got != rest {
			s.t.Errorf("after %d: %q, want %q", after, got, rest)
		}
	}
	for _, from := range []int{0, len(whole) / 2, len(whole) - 1} {
		a := s.get(path, "Range", fmt.Sprintf("bytes=%d-", from)).want(http.StatusPartialContent)
		a.wantHeader("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(whole)-1, len(whole)))
		if string(a.body) != whole[from:] {
			s.t.Errorf("the range from %d: %q", from, a.body)
		}
	}
	a = s.get(path, "Range", fmt.Sprintf("bytes=%d-", len(whole)))
	a.problem(http.StatusRequestedRangeNotSatisfiable)
	a.wantHeader("Content-Range", fmt.Sprintf("bytes */%d", len(whole)))
}
