package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"longhaul/api"
)

// answer is a whole answer of the API.
type answer struct {
	t      testing.TB
	asked  string
	status int
	header http.Header
	body   []byte
}

// do sends a request as the administrator. A body that is no io.Reader is sent as JSON; headers
// are names and values in turn, and an empty value takes a header away. Every answer is held
// against the API's own description.
func (s *server) do(method, path string, body any, headers ...string) *answer {
	s.t.Helper()
	resp := s.open(method, path, body, headers...)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(s.t, err)
	a := &answer{t: s.t, asked: method + " " + path, status: resp.StatusCode, header: resp.Header, body: text}
	s.checkContract(method, a, resp.Request.URL.EscapedPath())
	return a
}

// open sends a request and returns the answer unread.
func (s *server) open(method, path string, body any, headers ...string) *http.Response {
	s.t.Helper()
	resp, err := s.http.Do(s.request(method, path, body, headers...))
	must(s.t, err)
	return resp
}

func (s *server) request(method, path string, body any, headers ...string) *http.Request {
	s.t.Helper()
	reader, isReader := body.(io.Reader)
	if !isReader && body != nil {
		text, err := json.Marshal(body)
		must(s.t, err)
		reader = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, reader)
	must(s.t, err)
	r.Header.Set("Authorization", "Bearer "+adminToken)
	if body != nil && !isReader {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	return r
}

func (s *server) get(path string, headers ...string) *answer {
	s.t.Helper()
	return s.do(http.MethodGet, path, nil, headers...)
}

// want fails the test unless the answer has the status.
func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d, want %d: %s", a.asked, a.status, status, a.body)
	}
	return a
}

func (a *answer) wantHeader(name, value string) {
	a.t.Helper()
	if got := a.header.Get(name); got != value {
		a.t.Errorf("%s: %s is %q, want %q", a.asked, name, got, value)
	}
}

// into decodes the answer's JSON.
func (a *answer) into(value any) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, value); err != nil {
		a.t.Fatalf("%s: %v in %s", a.asked, err, a.body)
	}
}

func (a *answer) task() api.Task {
	a.t.Helper()
	var task api.Task
	a.into(&task)
	return task
}

// problem checks that the answer is a problem as RFC 9457 and the contract draw it.
func (a *answer) problem(status int) api.Problem {
	a.t.Helper()
	a.want(status)
	a.wantHeader("Content-Type", "application/problem+json")
	var p api.Problem
	decoder := json.NewDecoder(bytes.NewReader(a.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		a.t.Fatalf("%s: %v in %s", a.asked, err, a.body)
	}
	path, _, _ := strings.Cut(strings.SplitN(a.asked, " ", 2)[1], "?")
	if p.Type != "about:blank" || p.Title != http.StatusText(status) || p.Status != status || p.Detail == "" {
		a.t.Errorf("%s: not the members of a problem of status %d: %s", a.asked, status, a.body)
	}
	if !strings.Contains(path, "%") && p.Instance != path {
		a.t.Errorf("%s: instance is %q", a.asked, p.Instance)
	}
	if p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") {
		a.t.Errorf("%s: request_id %q is not the X-Request-Id %q", a.asked, p.RequestID, a.header.Get("X-Request-Id"))
	}
	return p
}

// wantField checks that a 422 names the field, and says something that holds the words.
func (a *answer) wantField(location string, words ...string) {
	a.t.Helper()
	p := a.problem(http.StatusUnprocessableEntity)
	i := slices.IndexFunc(p.Errors, func(f api.ProblemField) bool { return f.Location == location })
	if i < 0 {
		a.t.Fatalf("%s: no error at %s: %s", a.asked, location, a.body)
	}
	for _, word := range words {
		if !strings.Contains(p.Errors[i].Message, word) {
			a.t.Errorf("%s: the message at %s does not hold %q: %s", a.asked, location, word, p.Errors[i].Message)
		}
	}
}

// object is a JSON object.
type object = map[string]any

// post asks for a task, with an archive unless it is nil.
func (s *server) post(task any, archive []byte, headers ...string) *answer {
	s.t.Helper()
	if archive == nil {
		return s.do(http.MethodPost, "/api/v1/tasks", task, headers...)
	}
	return s.postParts(headers, part{"task", jsonText(s.t, task)}, part{"file", archive})
}

// create starts a task that must be accepted.
func (s *server) create(task any, archive []byte, headers ...string) api.Task {
	s.t.Helper()
	return s.post(task, archive, headers...).want(http.StatusAccepted).task()
}

type part struct {
	name string
	body []byte
}

func (s *server) postParts(headers []string, parts ...part) *answer {
	s.t.Helper()
	contentType, body := multipartBody(s.t, parts...)
	return s.do(http.MethodPost, "/api/v1/tasks", bytes.NewReader(body), append([]string{"Content-Type", contentType}, headers...)...)
}

func multipartBody(t testing.TB, parts ...part) (contentType string, body []byte) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for _, p := range parts {
		h := textproto.MIMEHeader{}
		h.Set("Content-Disposition", fmt.Sprintf(`form-data; name=%q; filename="upload"`, p.name))
		one, err := w.CreatePart(h)
		must(t, err)
		_, err = one.Write(p.body)
		must(t, err)
	}
	must(t, w.Close())
	return w.FormDataContentType(), buf.Bytes()
}

func jsonText(t testing.TB, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	must(t, err)
	return text
}

func taskPath(id string) string { return "/api/v1/tasks/" + id }

func (s *server) getTask(id string) api.Task {
	s.t.Helper()
	return s.get(taskPath(id)).want(http.StatusOK).task()
}

// waitUntil follows a task by long polls until it is as wanted. A final task that is not fails
// the test.
func (s *server) waitUntil(id, what string, wanted func(*api.Task) bool) api.Task {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	var tag string
	var task api.Task
	for time.Now().Before(deadline) {
		a := s.get(taskPath(id)+"?wait=20", "If-None-Match", tag)
		tag = a.header.Get("ETag")
		if a.status == http.StatusNotModified {
			continue
		}
		task = a.want(http.StatusOK).task()
		if wanted(&task) {
			return task
		}
		if task.FinishedAt != nil {
			break
		}
	}
	s.t.Fatalf("task %s (%s) is not %s: %s %+v %+v\n%s", id, task.Kind, what, task.State, task.Progress, task.Error, s.log(id))
	return task
}

// waitFinal follows a task to the state it must end in.
func (s *server) waitFinal(id, state string) api.Task {
	s.t.Helper()
	return s.waitUntil(id, state, func(t *api.Task) bool { return t.State == state })
}

func (s *server) log(id string) string {
	s.t.Helper()
	return string(s.get(taskPath(id) + "/log").body)
}
