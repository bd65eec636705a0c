package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"longhaul/api"
	"longhaul/jobs"
	"longhaul/storage"
)

// put gives a file of an app a text.
func (s *server) put(app, path, text string) {
	s.t.Helper()
	_, err := s.engine.PutFile(s.t.Context(), jobs.FilePut{App: app, Path: path, By: jobs.Caller{Name: "test", Reach: storage.Everywhere}},
		strings.NewReader(text), int64(len(text)))
	must(s.t, err)
}

// fileURL is the address of an app's file.
func fileURL(app, path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return "/api/v1/apps/" + app + "/files/" + strings.Join(parts, "/")
}

func (a *answer) file() api.File {
	a.t.Helper()
	var f api.File
	a.into(&f)
	return f
}

// sendFile puts a file by the API.
func (s *server) sendFile(path, text string, headers ...string) *answer {
	s.t.Helper()
	return s.do(http.MethodPut, fileURL("plain", path), strings.NewReader(text), headers...)
}

func hexSum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func b64Sum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// ignoreTimes leaves out when a file was changed.
var ignoreTimes = cmpopts.IgnoreFields(api.File{}, "ModifiedAt")

func TestPutFile(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	a := s.sendFile("reports/März.csv", "a;b\n").want(http.StatusCreated)
	want := api.File{App: "plain", Path: "reports/März.csv", Size: 4, SHA256: hexSum("a;b\n"), ContentType: "text/csv", Version: 1, ModifiedBy: "admin"}
	if diff := cmp.Diff(want, a.file(), ignoreTimes); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}
	a.wantHeader("ETag", `"`+want.SHA256+`"`)
	a.wantHeader("Location", "/api/v1/apps/plain/files/reports/M%C3%A4rz.csv")

	got := s.get(a.header.Get("Location")).want(http.StatusOK)
	got.wantHeader("ETag", `"`+want.SHA256+`"`)
	got.wantHeader("Repr-Digest", "sha-256=:"+b64Sum("a;b\n")+":")
	got.wantHeader("Content-Disposition", `attachment; filename="Marz.csv"; filename*=UTF-8''M%C3%A4rz.csv`)
	got.wantHeader("Content-Type", "text/csv")
	got.wantHeader("Last-Modified", a.file().ModifiedAt.Format(http.TimeFormat))
	if string(got.body) != "a;b\n" {
		t.Errorf("the file holds %q", got.body)
	}
	// In the other form of Unicode the path is the same.
	if f := s.sendFile("reports/Ma\u0308rz.csv", "c\n", "Content-Type", "text/csv;charset=latin1").want(http.StatusOK).file(); f.Version != 2 || f.ContentType != "text/csv; charset=latin1" {
		t.Errorf("the second version: %+v", f)
	}
	s.sendFile("reports/März.csv", "c\n", "Content-Type", "text/csv;charset=latin1").want(http.StatusOK)
	if n := s.count(`SELECT count(*) FROM audit WHERE action = 'file.put'`); n != 2 {
		t.Errorf("%d lines of audit for two changes", n)
	}
	s.checkRanges(fileURL("plain", "reports/März.csv"), s.sendFile("reports/März.csv", strings.Repeat("0123456789", 10)).want(http.StatusOK).reread(s))
}

// reread gets the file that was put.
func (a *answer) reread(s *server) *answer {
	return s.get(a.header.Get("Location")).want(http.StatusOK)
}

func TestFileConditions(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	tag := func(text string) string { return `"` + hexSum(text) + `"` }
	s.sendFile("a", "1", "If-Match", "*").problem(http.StatusPreconditionFailed)
	s.sendFile("a", "1", "If-None-Match", "*").want(http.StatusCreated)
	s.sendFile("a", "2", "If-None-Match", "*").problem(http.StatusPreconditionFailed)
	s.sendFile("a", "2", "If-Match", tag("another")).problem(http.StatusPreconditionFailed)
	s.sendFile("a", "2", "If-Match", "W/"+tag("1")).problem(http.StatusPreconditionFailed)
	s.sendFile("a", "2", "If-Match", tag("another")+", "+tag("1")).want(http.StatusOK)
	s.sendFile("a", "3", "If-Match", "*").want(http.StatusOK)
	s.sendFile("a", "4", "If-None-Match", tag("1")).wantField("header.If-None-Match")
	s.sendFile("a", "4", "If-Unmodified-Since", "Sat, 21 Nov 2026 00:00:00 GMT").wantField("header.If-Unmodified-Since")
	s.sendFile("a/b", "5").problem(http.StatusConflict)
	s.sendFile("c/d", "5").want(http.StatusCreated)
	if p := s.sendFile("c", "5").problem(http.StatusConflict); !strings.Contains(p.Detail, "c/d") {
		t.Errorf("the conflict does not say which file: %s", p.Detail)
	}
	for _, path := range []string{"/a", "a//b", "../a", "a/..", "a\nb", "%2e%2e/a", "a%5cb", strings.Repeat("x", 256)} {
		s.do(http.MethodPut, "/api/v1/apps/plain/files/"+strings.ReplaceAll(path, "\n", "%0a"), strings.NewReader("x")).wantField("path.path")
	}
	s.do(http.MethodDelete, fileURL("plain", "a"), nil, "If-Match", tag("2")).problem(http.StatusPreconditionFailed)
	s.do(http.MethodDelete, fileURL("plain", "a"), nil, "If-Match", tag("3")).want(http.StatusNoContent)
	s.do(http.MethodDelete, fileURL("plain", "a"), nil).problem(http.StatusNotFound)
	s.get(fileURL("plain", "a")).problem(http.StatusNotFound)
	for _, path := range []string{"", "a%00", "..", "%ff"} {
		s.get("/api/v1/apps/plain/files/" + path).problem(http.StatusNotFound)
	}
}

func TestFileDigests(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	right, wrong := "sha-256=:"+b64Sum("bytes")+":", "sha-256=:"+b64Sum("others")+":"
	for _, header := range []string{"Content-Digest", "Repr-Digest"} {
		s.sendFile("a", "bytes", header, wrong).wantField("header."+header, "another")
		s.sendFile("a", "bytes", header, "sha-256=:x:").wantField("header." + header)
		s.sendFile("a", "bytes", header, "unknown=:x:, "+right).want(map[string]int{"Content-Digest": 201, "Repr-Digest": 200}[header])
	}
	r := s.request(http.MethodPut, fileURL("plain", "b"), struct{ *strings.Reader }{strings.NewReader("bytes")})
	r.Trailer = http.Header{"Content-Digest": {wrong}}
	resp, err := s.http.Do(r)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a wrong digest in the trailer: %s", resp.Status)
	}
	s.get(fileURL("plain", "b")).problem(http.StatusNotFound)
	trailed := func(announced, header, trailer string) int {
		got := s.raw([]byte(head("PUT "+fileURL("plain", "a"), "Transfer-Encoding: chunked", "Trailer: "+announced, header) +
			inChunks([]byte("bytes"), 5) + "0\r\n" + trailer + "\r\n\r\n"))
		status, err := strconv.Atoi(strings.Fields(got)[1])
		must(t, err)
		return status
	}
	// Of the trailer only that counts which was announced, and that must come.
	if got := trailed("X-Foo", "Content-Digest: "+right, "Content-Digest: sha-512=:"+b64SHA512("others")+":"); got != http.StatusOK {
		t.Errorf("a digest that was not announced: %d", got)
	}
	if got := trailed("Content-Digest", "X-Foo: 1", "X-Foo: 1"); got != http.StatusUnprocessableEntity {
		t.Errorf("without the digest that was announced: %d", got)
	}
	if got := trailed("Content-Digest", "Repr-Digest: "+wrong, "Content-Digest: "+right); got != http.StatusUnprocessableEntity {
		t.Errorf("with two digests that differ: %d", got)
	}
	if n := len(s.stored()); n != 1 {
		t.Errorf("%d files are stored for one", n)
	}
	for status, header := range map[int][]string{
		http.StatusUnsupportedMediaType: {"Content-Encoding", "gzip"},
		http.StatusBadRequest:           {"Content-Range", "bytes 5-9/10"},
	} {
		s.sendFile("b", "bytes", header...).problem(status)
	}
	s.sendFile("b", "bytes", "Content-Type", "multipart/form-data; boundary=x").problem(http.StatusUnsupportedMediaType)
}

func TestFilesTooLarge(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle, func(c *config) { c.api.MaxUpload = 100 })
	s.sendFile("a", strings.Repeat("x", 100)).want(http.StatusCreated)
	s.sendFile("a", strings.Repeat("x", 101)).problem(http.StatusRequestEntityTooLarge)
	s.do(http.MethodPut, fileURL("plain", "b"), struct{ *strings.Reader }{strings.NewReader(strings.Repeat("x", 101))}).problem(http.StatusRequestEntityTooLarge)
	if n := len(s.stored()); n != 1 {
		t.Errorf("%d files are stored for one", n)
	}
}

// addFile makes a file of bytes that are there.
func (s *server) addFile(body object, headers ...string) *answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/api/v1/apps/plain/files", body, headers...)
}

func TestCopyAndMoveFiles(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	s.sendFile("a.csv", "first").want(http.StatusCreated)
	s.sendFile("a.csv", "second").want(http.StatusOK)
	copied := s.addFile(object{"path": "copies/b.csv", "copy_of": "a.csv"}).want(http.StatusCreated)
	if f := copied.file(); f.SHA256 != hexSum("second") || f.ContentType != "text/csv" || f.Version != 1 {
		t.Errorf("the copy: %+v", f)
	}
	copied.wantHeader("Location", fileURL("plain", "copies/b.csv"))
	s.addFile(object{"path": "copies/b.csv", "copy_of": "a.csv"}, "If-None-Match", "*").problem(http.StatusPreconditionFailed)
	s.addFile(object{"path": "a.csv", "copy_of": "a.csv", "version": 1}).want(http.StatusOK)
	if a := s.get(fileURL("plain", "a.csv")); string(a.body) != "first" {
		t.Errorf("restored: %q", a.body)
	}
	s.addFile(object{"path": "c.csv", "move_from": "a.csv"}).want(http.StatusCreated)
	s.get(fileURL("plain", "a.csv")).problem(http.StatusNotFound)
	s.addFile(object{"path": "a.csv", "copy_of": "a.csv", "version": 2}).want(http.StatusCreated) // of a path that has no file
	if a := s.get(fileURL("plain", "a.csv")); string(a.body) != "second" {
		t.Errorf("restored: %q", a.body)
	}
	if a := s.get(fileURL("plain", "a.csv") + "?version=1").want(http.StatusOK); string(a.body) != "first" {
		t.Errorf("version 1: %q", a.body)
	}
	s.get(fileURL("plain", "a.csv") + "?version=9").problem(http.StatusNotFound)
	s.get(fileURL("plain", "a.csv") + "?version=x").wantField("query.version")

	var versions api.Page[api.FileVersion]
	s.get("/api/v1/apps/plain/file-versions/a.csv?limit=3").want(http.StatusOK).into(&versions)
	var numbers []string
	for _, v := range versions.Items {
		numbers = append(numbers, fmt.Sprintf("%d second:%t now:%t", v.Version, v.SHA256 == hexSum("second"), v.ReplacedAt == nil))
	}
	if diff := cmp.Diff([]string{"4 second:true now:true", "3 second:false now:false", "2 second:true now:false"}, numbers); diff != "" || versions.NextCursor == nil {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	s.get("/api/v1/apps/plain/file-versions/a.csv?cursor=2").want(http.StatusOK).into(&versions)
	if len(versions.Items) != 1 || versions.NextCursor != nil {
		t.Errorf("the rest: %+v", versions)
	}
	s.get("/api/v1/apps/plain/file-versions/none").problem(http.StatusNotFound)

	s.addFile(object{"path": "d"}).wantField("body")
	s.addFile(object{"path": "d", "copy_of": "a.csv", "move_from": "a.csv"}).wantField("body")
	s.addFile(object{"path": "d", "move_from": "a.csv", "version": 1}).wantField("body.version")
	s.addFile(object{"path": "../d", "copy_of": "a.csv"}).wantField("body.path")
	s.addFile(object{"path": "d", "copy_of": "none"}).wantField("body.copy_of")
	s.addFile(object{"path": "d", "move_from": "none"}).wantField("body.move_from")
	s.addFile(object{"path": "a.csv", "move_from": "a.csv"}).wantField("body.move_from")
	s.addFile(object{"path": "a.csv/d", "copy_of": "a.csv"}).problem(http.StatusConflict)
	s.addFile(object{"path": "d", "upload": "0199e0a0-0000-7000-8000-000000000000"}).wantField("body.upload")
	s.addFile(object{"path": "d", "output": object{"task": "0199e0a0-0000-7000-8000-000000000000", "path": "x"}}).wantField("body.output.task")
}

// An output is kept beyond its time as a file.
func TestKeepOutput(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.waitFinal(s.create(importTask(nil), accounts(t, 20, 2)).ID, "succeeded")
	output := task.Outputs[0]
	whole := s.get(outputPath(task.ID, output.Path)).want(http.StatusOK)
	from := object{"path": "kept/rejects.csv", "output": object{"task": task.ID, "path": output.Path}}
	f := s.addFile(from).want(http.StatusCreated).file()
	if f.SHA256 != output.SHA256 || f.Size != output.Size {
		t.Errorf("kept %+v of %+v", f, output)
	}
	from["output"] = object{"task": task.ID, "path": "none"}
	s.addFile(from).wantField("body.output.path")
	s.exec("UPDATE tasks SET outputs_expire_at = now() - interval '1 second'")
	from["output"] = object{"task": task.ID, "path": output.Path}
	s.addFile(from).problem(http.StatusGone)
	s.engine.SweepFiles(t.Context())
	if a := s.get(fileURL("plain", "kept/rejects.csv")).want(http.StatusOK); string(a.body) != string(whole.body) {
		t.Error("the file is not the output")
	}
}

func TestListFiles(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	paths := []string{"a", "b/1", "b/2", "b/c/3", "b.csv", "ä/4", "z"}
	for _, path := range paths {
		s.put("plain", path, path)
	}
	list := func(query string) (got []string) {
		t.Helper()
		var page api.FilePage
		for cursor := ""; ; cursor = "&cursor=" + *page.NextCursor {
			page = api.FilePage{}
			s.get("/api/v1/apps/plain/files?" + query + cursor).want(http.StatusOK).into(&page)
			for _, f := range page.Items {
				got = append(got, f.Path)
			}
			got = append(got, page.Folders...)
			if page.NextCursor == nil {
				return got
			}
		}
	}
	for query, want := range map[string][]string{
		"":                            {"a", "b.csv", "b/1", "b/2", "b/c/3", "z", "ä/4"},
		"limit=2":                     {"a", "b.csv", "b/1", "b/2", "b/c/3", "z", "ä/4"},
		"prefix=b/":                   {"b/1", "b/2", "b/c/3"},
		"prefix=a%CC%88":              {"ä/4"},
		"delimiter=/":                 {"a", "b.csv", "z", "b/", "ä/"},
		"delimiter=/&limit=1":         {"a", "b.csv", "b/", "z", "ä/"},
		"delimiter=/&prefix=b/":       {"b/1", "b/2", "b/c/"},
		"delimiter=/&prefix=none":     nil,
		"delimiter=/&prefix=b&limit=": {"b.csv", "b/"},
	} {
		query = strings.TrimSuffix(query, "&limit=")
		if diff := cmp.Diff(want, list(query)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
	for _, wrong := range []string{"delimiter=x", "limit=0", "limit=1001", "cursor=!"} {
		s.get("/api/v1/apps/plain/files?" + wrong).problem(http.StatusUnprocessableEntity)
	}
	s.get("/api/v1/apps/none/files").problem(http.StatusNotFound)
}

// Who sees one app's data sees no file of another, wherever they look.
func TestFilesOfOthers(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	s.put("plain", "mine", "mine")
	s.put("vision", "theirs", "theirs")
	jo, eve := s.person("jo@example.com"), s.person("eve@example.com")
	s.member("plain", "person", jo.login, "operator", true)
	s.member("plain", "person", eve.login, "operator", false)
	asJo, asEve := []string{"Authorization", "Bearer " + jo.token}, []string{"Authorization", "Bearer " + eve.token}
	s.get(fileURL("plain", "mine"), asJo...).want(http.StatusOK)
	for _, path := range []string{fileURL("vision", "theirs"), "/api/v1/apps/vision/files", "/api/v1/apps/vision/files.zip", "/api/v1/changes?app=vision"} {
		s.get(path, asJo...).problem(http.StatusNotFound)
	}
	s.do(http.MethodPut, fileURL("vision", "theirs"), strings.NewReader("x"), asJo...).problem(http.StatusNotFound)
	s.do(http.MethodDelete, fileURL("vision", "theirs"), nil, asJo...).problem(http.StatusNotFound)
	s.addFile(object{"path": "x", "copy_of": "theirs"}, asJo...).wantField("body.copy_of")
	s.get(fileURL("plain", "mine"), asEve...).problem(http.StatusForbidden)
	s.get("/api/v1/changes", asEve...).problem(http.StatusForbidden)
	s.do(http.MethodPut, fileURL("plain", "mine"), strings.NewReader("x"), asEve...).problem(http.StatusForbidden)
	var page api.ChangePage
	s.get("/api/v1/changes", asJo...).want(http.StatusOK).into(&page)
	if len(page.Items) != 1 || page.Items[0].Path != "mine" {
		t.Errorf("the feed of who sees one app: %+v", page.Items)
	}
}

func TestDeleteAppWithFiles(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	s.put("plain", "a", "a")
	if p := s.do(http.MethodDelete, "/api/v1/apps/plain", nil).problem(http.StatusConflict); !strings.Contains(p.Detail, "files") {
		t.Errorf("the refusal does not speak of files: %s", p.Detail)
	}
	s.do(http.MethodDelete, fileURL("plain", "a"), nil).want(http.StatusNoContent)
	s.do(http.MethodDelete, "/api/v1/apps/plain", nil).want(http.StatusNoContent)
}

// A task takes a file of its app, which stays; the same request again gives the same task, even when
// the file is gone.
func TestTaskOfFile(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.put("vision", "inputs/accounts.zip", string(accounts(t, 20, 2)))
	request := importTask(object{"file": "inputs/accounts.zip"})
	task := s.create(request, nil, "Idempotency-Key", "k")
	s.waitFinal(task.ID, "succeeded")
	s.get(fileURL("vision", "inputs/accounts.zip")).want(http.StatusOK)
	s.do(http.MethodDelete, fileURL("vision", "inputs/accounts.zip"), nil).want(http.StatusNoContent)
	if again := s.create(request, nil, "Idempotency-Key", "k"); again.ID != task.ID {
		t.Error("the same request made another task")
	}
	s.post(request, nil, "Idempotency-Key", "another").wantField("body.file")
	s.put("vision", "inputs/accounts.zip", "no zip")
	s.post(request, nil).wantField("file")
	s.post(request, accounts(t, 20, 2)).wantField("body.file")
	s.post(noop(object{"file": "x"}), nil).wantField("body.file")

	blind := s.person("blind@example.com")
	s.member("vision", "person", blind.login, "operator", false)
	s.post(request, nil, "Authorization", "Bearer "+blind.token).problem(http.StatusForbidden)
}

// A finished upload becomes a file, once, and only its owner's.
func TestFileOfUpload(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	u := s.uploaded("a;b\n", "Upload-Metadata", meta("filename", "x.bin", "filetype", "text/csv", "app", "plain"))
	_, cursor := s.follow("")
	for condition, status := range map[string]int{"*": http.StatusPreconditionFailed, "": http.StatusCreated} {
		if f := s.addFile(object{"path": "in/" + condition + "a.csv", "upload": u.ID}, "If-Match", condition).want(status); status == http.StatusCreated && f.file().ContentType != "text/csv" {
			t.Errorf("the file: %s", f.body)
		}
	}
	if a := s.get(fileURL("plain", "in/a.csv")); string(a.body) != "a;b\n" {
		t.Errorf("the file holds %q", a.body)
	}
	if told, _ := s.follow(cursor); !cmp.Equal([]string{"plain put in/a.csv 1"}, told) {
		t.Errorf("told: %q", told)
	}
	if used := s.upload(uploadPath(u.ID)); used.UsedBy == nil || *used.UsedBy != "plain/in/a.csv" {
		t.Errorf("used by %v", used.UsedBy)
	}
	s.addFile(object{"path": "again", "upload": u.ID}).problem(http.StatusConflict)
	started := s.upload(s.makeUpload(10))
	s.addFile(object{"path": "early", "upload": started.ID}).want(http.StatusConflict).wantHeader("Retry-After", "1")
	other := s.uploaded("x", "Upload-Metadata", meta("app", "vision"))
	s.addFile(object{"path": "other", "upload": other.ID}).problem(http.StatusConflict)
	jo := s.person("jo@example.com")
	s.member("plain", "person", jo.login, "operator", true)
	mine := s.uploaded("x")
	s.addFile(object{"path": "theirs", "upload": mine.ID}, "Authorization", "Bearer "+jo.token).wantField("body.upload")
}
