package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"longhaul/api"
	"longhaul/jobs"
)

// busy are the settings of an app that runs one task at a time.
func busy() jobs.AppSettings { return jobs.AppSettings{Product: "none", MaxRunning: 1} }

// waiting makes a task that waits for its app's only place, and stays so until it is cancelled.
func (s *server) waiting() api.Task {
	s.t.Helper()
	s.addApp("busy", busy())
	first := s.create(object{"app": "busy", "name": "first", "kind": "sleep", "params": object{"ms": 3_600_000}}, nil)
	s.waitUntil(first.ID, "running", func(t *api.Task) bool { return t.State == "running" })
	second := s.create(object{"app": "busy", "name": "second", "kind": "noop"}, nil)
	return s.waitUntil(second.ID, "waiting with a reason", func(t *api.Task) bool { return t.Progress.Message != "" })
}

func TestGet(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	task := s.create(noop(), nil)
	a := s.get(taskPath(task.ID)).want(http.StatusOK)
	a.wantHeader("ETag", `"1"`)
	a.wantHeader("Retry-After", "2")
	a.wantHeader("Content-Type", "application/json")

	for header, status := range map[string]int{
		`"1"`:             http.StatusNotModified,
		`W/"1"`:           http.StatusNotModified,
		`*`:               http.StatusNotModified,
		`"7", "1"`:        http.StatusNotModified,
		`"7",W/"1" , "9"`: http.StatusNotModified,
		`"2"`:             http.StatusOK,
		`"11"`:            http.StatusOK,
		`1`:               http.StatusOK,
		`"7", "8"`:        http.StatusOK,
		`nonsense`:        http.StatusOK,
	} {
		a := s.get(taskPath(task.ID), "If-None-Match", header).want(status)
		a.wantHeader("ETag", `"1"`)
		a.wantHeader("Retry-After", "2")
		if status == http.StatusNotModified && len(a.body) > 0 {
			t.Errorf("304 with a body: %s", a.body)
		}
	}
}

func TestGetFinal(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.create(noop(), nil)
	s.waitFinal(task.ID, "succeeded")
	a := s.get(taskPath(task.ID)).want(http.StatusOK)
	a.wantHeader("Retry-After", "")
	tag := a.header.Get("ETag")
	// A final task holds nobody.
	began := time.Now()
	s.get(taskPath(task.ID)+"?wait=60", "If-None-Match", tag).want(http.StatusNotModified).wantHeader("Retry-After", "")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("held for %s", took)
	}
}

func TestGetUnknown(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	task := s.create(noop(), nil)
	for _, id := range []string{
		"01990000-0000-7000-8000-000000000000", "00000000-0000-0000-0000-000000000000", "nonsense", "1", "%20",
		"{" + task.ID + "}", "urn:uuid:" + task.ID, strings.ReplaceAll(task.ID, "-", ""), task.ID + "x", task.ID[:35],
		"%7B" + task.ID + "%7D", task.ID + "%00",
	} {
		for _, route := range []struct{ method, path string }{
			{http.MethodGet, ""},
			{http.MethodGet, "?wait=1"},
			{http.MethodGet, "/events"},
			{http.MethodGet, "/log"},
			{http.MethodGet, "/outputs"},
			{http.MethodGet, "/outputs/a.txt"},
			{http.MethodGet, "/outputs.zip"},
			{http.MethodPost, "/cancel"},
			{http.MethodPost, "/retry"},
			{http.MethodDelete, ""},
		} {
			s.do(route.method, taskPath(id)+route.path, nil).problem(http.StatusNotFound)
		}
	}
	// RFC 9562: an id is written in lower case and read in either.
	if got := s.getTask(strings.ToUpper(task.ID)); got.ID != task.ID {
		t.Errorf("the id in upper case names %s", got.ID)
	}
}

// held is a GET that waits.
type held struct {
	answer *http.Response
	err    error
	at     time.Time
}

// hold asks with ?wait, a minute, and returns once the server holds the request.
func (s *server) hold(id, tag string) <-chan held {
	s.t.Helper()
	before := s.active.Load()
	r := s.request(http.MethodGet, taskPath(id)+"?wait=60", nil, "If-None-Match", tag)
	came := make(chan held, 1)
	go func() {
		answer, err := s.http.Do(r)
		came <- held{answer, err, time.Now()}
	}()
	s.eventually("the request is held", func() bool { return s.active.Load() > before || len(came) > 0 })
	return came
}

// came returns a held answer.
func (s *server) came(c <-chan held) held {
	s.t.Helper()
	select {
	case h := <-c:
		must(s.t, h.err)
		must(s.t, h.answer.Body.Close())
		return h
	case <-time.After(patience):
		s.t.Fatal("a held request was never answered")
		return held{}
	}
}

func etag(task *api.Task) string { return fmt.Sprintf("%q", fmt.Sprint(task.Version)) }

func TestWait(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.waiting()

	t.Run("another tag", func(t *testing.T) {
		s := s.in(t)
		began := time.Now()
		s.get(taskPath(task.ID)+"?wait=60", "If-None-Match", `"0"`).want(http.StatusOK)
		s.get(taskPath(task.ID) + "?wait=60").want(http.StatusOK) // none is another too
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("held for %s although the task differs", took)
		}
	})
	t.Run("bounds", func(t *testing.T) {
		s := s.in(t)
		for _, wait := range []string{"61", "-1", "1.5", "soon", "9999999999999999999"} {
			s.get(taskPath(task.ID)+"?wait="+wait, "If-None-Match", etag(&task)).wantField("query.wait", "")
			s.get(taskPath(task.ID)+"?wait="+wait).wantField("query.wait", "")
		}
		s.get(taskPath(task.ID)+"?wait=0", "If-None-Match", etag(&task)).want(http.StatusNotModified)
	})
	t.Run("time is up", func(t *testing.T) {
		s := s.in(t)
		began := time.Now()
		a := s.get(taskPath(task.ID)+"?wait=1", "If-None-Match", etag(&task)).want(http.StatusNotModified)
		a.wantHeader("ETag", etag(&task))
		a.wantHeader("Retry-After", "2")
		if took := time.Since(began); took < time.Second {
			t.Errorf("held for %s only", took)
		}
	})
	t.Run("change", func(t *testing.T) {
		s := s.in(t)
		came := s.hold(task.ID, etag(&task))
		// A list of tags holds as long as the task is like one of them.
		listed := s.hold(task.ID, fmt.Sprintf(`%s, W/"%d"`, etag(&task), task.Version+1))
		began := time.Now()
		s.do(http.MethodPost, taskPath(task.ID)+"/cancel", nil).want(http.StatusAccepted)
		h := s.came(came)
		t.Logf("held answers came %s after the change was asked for", h.at.Sub(began))
		if h.answer.StatusCode != http.StatusOK || h.at.Sub(began) > time.Second {
			t.Errorf("%d after %s", h.answer.StatusCode, h.at.Sub(began))
		}
		if h := s.came(listed); h.answer.StatusCode != http.StatusOK || h.answer.Header.Get("ETag") == etag(&task) {
			t.Errorf("with a list of tags: %d, ETag %s", h.answer.StatusCode, h.answer.Header.Get("ETag"))
		}
	})
}

// A server that stops lets go of those who wait.
func TestWaitEndsWithTheServer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.waiting()
	came := s.hold(task.ID, etag(&task))
	stream := s.open(http.MethodGet, taskPath(task.ID)+"/events", nil)
	defer stream.Body.Close()
	s.api.Stop()
	if h := s.came(came); h.answer.StatusCode != http.StatusNotModified {
		t.Errorf("%d", h.answer.StatusCode)
	}
	readEvents(t, stream.Body)
}
