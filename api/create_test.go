package api_test

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"longhaul/api"
	"longhaul/jobs"
	"longhaul/storage"
)

// idle leaves tasks as they were made.
func idle(c *config) { c.idle = true }

func noop(changes ...object) object {
	task := object{"app": "plain", "name": "nothing", "kind": "noop"}
	for _, change := range changes {
		maps.Copy(task, change)
	}
	return task
}

func TestCreate(t *testing.T) {
	t.Parallel()
	for name, archive := range map[string][]byte{"json": nil, "multipart": zipOf(t, entry{"a.txt", "text"})} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, idle)
			a := s.post(object{"app": "plain", "name": "Über Nacht", "kind": "sleep", "params": object{"ms": 5}, "max_rejected": 7}, archive).
				want(http.StatusAccepted)
			task := a.task()
			if id, err := uuid.Parse(task.ID); err != nil || id.Version() != 7 {
				t.Errorf("the id %s is no UUIDv7", task.ID)
			}
			a.wantHeader("Location", taskPath(task.ID))
			a.wantHeader("Retry-After", "2")
			a.wantHeader("ETag", `"1"`)
			a.wantHeader("Content-Type", "application/json")
			self := s.url + taskPath(task.ID)
			rejected := int64(7)
			want := api.Task{
				ID: task.ID, App: "plain", Name: "Über Nacht", Kind: "sleep", Params: []byte(`{"ms":5}`), MaxRejected: &rejected,
				State: "queued", Progress: api.Progress{Step: "sleeping"}, Attempt: 1, Version: 1, CreatedBy: "admin",
				Result: []byte("null"), Outputs: []api.Output{},
				Links: api.Links{
					Self: self, Events: self + "/events", Log: self + "/log", Outputs: self + "/outputs",
					Cancel: self + "/cancel", Retry: self + "/retry",
				},
			}
			if archive != nil {
				want.Progress.Step = "unpacking"
			}
			if diff := cmp.Diff(want, task, cmpopts.IgnoreFields(api.Task{}, "CreatedAt")); diff != "" {
				t.Errorf("the task (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(task, s.getTask(task.ID)); diff != "" {
				t.Errorf("asked for, the task is another (-create +get):\n%s", diff)
			}
			// Row, River job and audit line stand together.
			if n := s.count("SELECT count(*) FROM river_job WHERE args ->> 'task_id' = $1", task.ID); n != 1 {
				t.Errorf("%d River jobs", n)
			}
			n := s.count(`SELECT count(*) FROM audit WHERE actor = 'admin' AND action = 'task.create' AND app = 'plain'
				AND object = $1 AND address = '127.0.0.1' AND request_id = $2`, task.ID, a.header.Get("X-Request-Id"))
			if n != 1 {
				t.Errorf("%d lines of audit", n)
			}
			if archive != nil {
				if found := s.stored(); len(found) != 1 || !strings.HasPrefix(found[0], storage.ContentFolder) {
					t.Errorf("stored files: %q", found)
				}
			}
		})
	}
}

func TestCreateTakesNames(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	for _, name := range []string{"importAccount", "Refresh Database", "名前 – é", "v1.2", "a'b(c)", strings.Repeat("x", 100)} {
		if got := s.create(noop(object{"name": name}), nil).Name; got != name {
			t.Errorf("the name %q became %q", name, got)
		}
	}
}

// What is refused names the field, and leaves nothing.
func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	for name, test := range map[string]struct {
		task  any
		at    string
		words string
	}{
		"no JSON":                {strings.NewReader(`{"app":"plain",`), "body", "JSON"},
		"two values":             {strings.NewReader(`{"app":"plain","name":"a","kind":"noop"} {}`), "body", "JSON"},
		"nothing":                {strings.NewReader(``), "body", "JSON"},
		"a list":                 {[]string{"noop"}, "body", "object"},
		"null":                   {strings.NewReader(`null`), "body", "object"},
		"unknown field":          {noop(object{"colour": "red"}), "body.colour", "unexpected"},
		"field in another case":  {object{"App": "plain", "name": "a", "kind": "noop"}, "body.App", "unexpected"},
		"no app":                 {object{"name": "a", "kind": "noop"}, "body", "app"},
		"no name":                {object{"app": "plain", "kind": "noop"}, "body", "name"},
		"no kind":                {object{"app": "plain", "name": "a"}, "body", "kind"},
		"name of another type":   {noop(object{"name": 5}), "body.name", "string"},
		"params of another type": {noop(object{"params": "x"}), "body.params", "object"},
		"negative max_rejected":  {noop(object{"max_rejected": -1}), "body.max_rejected", "0"},
		"broken max_rejected":    {noop(object{"max_rejected": 1.5}), "body.max_rejected", "integer"},

		"unknown app":             {noop(object{"app": "nowhere"}), "body.app", `"nowhere"`},
		"unknown kind":            {noop(object{"kind": "dance"}), "body.kind", `"dance"`},
		"kind of another product": {noop(object{"kind": "epm.refreshCube"}), "body.kind", "epm"},

		"unknown param":         {noop(object{"params": object{"speed": 1}}), "body.params.speed", "unexpected"},
		"missing param":         {noop(object{"kind": "sleep"}), "body.params", "ms"},
		"param of another type": {noop(object{"kind": "sleep", "params": object{"ms": "long"}}), "body.params.ms", "integer"},
		"param out of bounds":   {noop(object{"kind": "sleep", "params": object{"ms": -1}}), "body.params.ms", "0"},
		"param not in its list": {object{"app": "vision", "name": "a", "kind": "epm.exportData", "params": object{"delimiter": "pipe"}}, "body.params.delimiter", "comma"},

		"empty name":             {noop(object{"name": ""}), "body.name", ""},
		"long name":              {noop(object{"name": strings.Repeat("x", 101)}), "body.name", "100"},
		"long name in bytes":     {noop(object{"name": strings.Repeat("é", 60)}), "body.name", "100"},
		"name with a slash":      {noop(object{"name": "a/b"}), "body.name", "folder"},
		"name with a backslash":  {noop(object{"name": `a\b`}), "body.name", "folder"},
		"name with a colon":      {noop(object{"name": "a:b"}), "body.name", "folder"},
		"name with a zero byte":  {noop(object{"name": "a\x00b"}), "body.name", "control"},
		"name with a line break": {noop(object{"name": "a\nb"}), "body.name", "control"},
		"name with a C1 control": {noop(object{"name": "a\u0085b"}), "body.name", "control"},
		"name of dots":           {noop(object{"name": ".."}), "body.name", "dot"},
		"name ends in a dot":     {noop(object{"name": "a."}), "body.name", "dot"},
		"name begins with space": {noop(object{"name": " a"}), "body.name", "space"},

		"no file for a kind that needs one": {object{"app": "vision", "name": "a", "kind": "epm.importMetadata"}, "file", "multipart/form-data"},
	} {
		t.Run(name, func(t *testing.T) {
			one := s.in(t)
			var headers []string
			if _, ok := test.task.(io.Reader); ok {
				headers = []string{"Content-Type", "application/json"}
			}
			one.post(test.task, nil, headers...).wantField(test.at, test.words)
		})
	}
	s.post(noop(), nil, "Idempotency-Key", strings.Repeat("k", 256)).wantField("header.Idempotency-Key", "long")
	s.post(noop(), zipOf(t, entry{"a", "b"}), "Idempotency-Key", strings.Repeat("k", 256)).wantField("header.Idempotency-Key", "long")
	s.wantNothing()
}

// What Postgres cannot store is the client's mistake, not the server's failure.
func TestTextThatCannotBeStored(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	for _, a := range []*answer{
		s.post(noop(object{"app": "a\x00b"}), nil),
		s.post(object{"app": "vision", "name": "a", "kind": "epm.exportData", "params": object{"job": "a\x00b"}}, nil),
		s.post(noop(), zipOf(t, entry{"a", "b"}), "Idempotency-Key", "\xff\xfe"),
		s.get("/api/v1/tasks?name=%00"),
		s.get("/api/v1/tasks?app=%ff"),
		s.get("/api/v1/apps/%00"),
	} {
		if p := a.problem(http.StatusUnprocessableEntity); !strings.Contains(p.Detail, "zero byte") {
			t.Errorf("%s: %s", a.asked, p.Detail)
		}
	}
	s.wantNothing()
	if lines := s.logs.lines(`"level":"ERROR"`); len(lines) > 0 {
		t.Errorf("logged as our error: %s", lines)
	}
}

func TestCreateContentTypes(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	body := string(jsonText(t, noop()))
	for contentType, status := range map[string]int{
		"application/json":                  http.StatusAccepted,
		"application/json; charset=utf-8":   http.StatusAccepted,
		"Application/JSON":                  http.StatusAccepted,
		"":                                  http.StatusUnsupportedMediaType,
		"text/plain":                        http.StatusUnsupportedMediaType,
		"application/x-www-form-urlencoded": http.StatusUnsupportedMediaType,
		"application/zip":                   http.StatusUnsupportedMediaType,
		"multipart/mixed; boundary=b":       http.StatusUnsupportedMediaType,
		"nonsense/;;":                       http.StatusUnsupportedMediaType,
	} {
		a := s.do(http.MethodPost, "/api/v1/tasks", strings.NewReader(body), "Content-Type", contentType)
		if status == http.StatusAccepted {
			a.want(status)
		} else {
			a.problem(status)
		}
	}
}

func TestCreateParts(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle, func(c *config) { c.api.MaxUpload = 4000 })
	task, archive := jsonText(t, noop()), zipOf(t, entry{"a.txt", "text"})

	s.postParts(nil, part{"file", archive}, part{"task", task}).wantField("body.file", "first part")
	s.postParts(nil, part{"", task}).wantField("body", "first part")
	s.postParts(nil, part{"task", task}, part{"archive", archive}).wantField("body.archive", "second part")
	s.postParts(nil, part{"task", task}, part{"file", archive}, part{"file", archive}).wantField("body", "nothing may follow")
	s.postParts(nil, part{"task", []byte("no JSON")}, part{"file", archive}).wantField("body", "JSON")
	s.postParts(nil, part{"task", jsonText(t, noop(object{"app": "nowhere"}))}, part{"file", archive}).wantField("body.app", "nowhere")
	export := jsonText(t, object{"app": "vision", "name": "exportAll", "kind": "epm.exportMetadata"})
	s.postParts(nil, part{"task", export}, part{"file", archive}).wantField("file", "takes no file")
	metadata := jsonText(t, object{"app": "vision", "name": "importAccount", "kind": "epm.importMetadata"})
	s.postParts(nil, part{"task", metadata}).wantField("file", "needs a zip archive")

	s.postParts(nil, part{"task", task}, part{"file", make([]byte, 4001)}).problem(http.StatusRequestEntityTooLarge)
	s.postParts(nil, part{"task", make([]byte, 2<<20)}, part{"file", archive}).problem(http.StatusRequestEntityTooLarge)
	s.post(noop(object{"name": strings.Repeat("x", 2<<20)}), nil).problem(http.StatusRequestEntityTooLarge)
	s.wantNothing()

	// A kind that may do without takes the part task alone.
	s.postParts(nil, part{"task", task}).want(http.StatusAccepted)
}

func TestCreateMalformedParts(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	task := string(jsonText(t, noop()))
	head := "--b\r\nContent-Disposition: form-data; name=\"task\"\r\n\r\n" + task
	for name, test := range map[string]struct{ contentType, body string }{
		"no boundary":         {"multipart/form-data", head + "\r\n--b--\r\n"},
		"another boundary":    {"multipart/form-data; boundary=c", head + "\r\n--b--\r\n"},
		"nothing":             {"multipart/form-data; boundary=b", ""},
		"no part":             {"multipart/form-data; boundary=b", "--b--\r\n"},
		"no closing boundary": {"multipart/form-data; boundary=b", head},
		"no header":           {"multipart/form-data; boundary=b", "--b\r\nthis is none\r\n\r\n" + task + "\r\n--b--\r\n"},
		"no line end":         {"multipart/form-data; boundary=b", head + "\r\n--b and so on\r\n--b--\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			one := s.in(t)
			one.do(http.MethodPost, "/api/v1/tasks", strings.NewReader(test.body), "Content-Type", test.contentType).
				problem(http.StatusBadRequest)
		})
	}
	s.wantNothing()
	if lines := s.logs.lines(`"level":"ERROR"`); len(lines) > 0 {
		t.Errorf("a client's mistake is logged as our error: %s", lines)
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	archive, other := zipOf(t, entry{"a.txt", "text"}), zipOf(t, entry{"a.txt", "texts"})

	first := s.create(noop(), nil, "Idempotency-Key", "one")
	s.waitFinal(first.ID, "succeeded")
	// The order of members and white space do not make another request.
	again := s.do(http.MethodPost, "/api/v1/tasks", strings.NewReader(`{"kind":"noop",  "name":"nothing", "app":"plain"}`),
		"Content-Type", "application/json", "Idempotency-Key", "one").want(http.StatusAccepted)
	again.wantHeader("Location", taskPath(first.ID))
	if got := again.task(); got.ID != first.ID || got.State != "succeeded" {
		t.Errorf("the same key gives %s, which is %s", got.ID, got.State)
	}
	s.post(noop(object{"name": "another"}), nil, "Idempotency-Key", "one").problem(http.StatusUnprocessableEntity)
	s.post(noop(), archive, "Idempotency-Key", "one").problem(http.StatusUnprocessableEntity)

	withFile := s.create(noop(), archive, "Idempotency-Key", "two")
	if got := s.create(noop(), archive, "Idempotency-Key", "two"); got.ID != withFile.ID {
		t.Errorf("the same key and file give another task")
	}
	s.post(noop(), other, "Idempotency-Key", "two").problem(http.StatusUnprocessableEntity)
	s.waitFinal(withFile.ID, "succeeded")
	s.eventually("nothing is stored any more", func() bool { return len(s.stored()) == 0 })
	if n := s.count("SELECT count(*) FROM tasks"); n != 2 {
		t.Errorf("%d tasks", n)
	}
	if n := s.count("SELECT count(*) FROM audit WHERE action = 'task.create'"); n != 2 {
		t.Errorf("%d lines of audit", n)
	}

	// Another person's keys are others.
	d, err := s.engine.Draft(t.Context(), jobs.NewTask{App: "plain", Name: "nothing", Kind: "noop", By: jobs.Caller{Name: "somebody", Reach: storage.Everywhere}})
	must(t, err)
	theirs, made, err := s.engine.Create(t.Context(), d, &storage.IdempotencyKey{CreatedBy: "somebody", Key: "one", SHA256: []byte("other")})
	must(t, err)
	if !made || theirs.ID.String() == first.ID {
		t.Error("another caller's key was taken for the same")
	}

	// A deleted task frees its key.
	s.do(http.MethodDelete, taskPath(first.ID), nil).want(http.StatusNoContent)
	if got := s.create(noop(), nil, "Idempotency-Key", "one"); got.ID == first.ID {
		t.Error("a deleted task came back")
	}
}

// Of many requests with one key at the same moment, one makes the task.
func TestIdempotencyKeyAtOnce(t *testing.T) {
	t.Parallel()
	const requests = 20
	archive := zipOf(t, entry{"a.txt", "text"})
	s := newServer(t, idle)
	contentType, body := multipartBody(t, part{"task", jsonText(t, noop())}, part{"file", archive})
	var all errgroup.Group
	locations := make([]string, requests)
	for i := range locations {
		r := s.request(http.MethodPost, "/api/v1/tasks", bytes.NewReader(body), "Content-Type", contentType, "Idempotency-Key", "k")
		all.Go(func() error {
			resp, err := s.http.Do(r)
			if err != nil {
				return err
			}
			locations[i] = resp.Header.Get("Location")
			return resp.Body.Close()
		})
	}
	must(t, all.Wait())
	for _, location := range locations {
		if location == "" || location != locations[0] {
			t.Fatalf("not one task for all: %q", locations)
		}
	}
	for _, table := range []string{"tasks", "river_job", "audit WHERE action = 'task.create'"} {
		if n := s.count("SELECT count(*) FROM " + table); n != 1 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
	if found := s.stored(); len(found) != 1 {
		t.Errorf("stored files: %q", found)
	}
}
