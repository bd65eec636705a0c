package api_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"longhaul/api"
)

// exported runs an export whose output has a name that needs care.
func (s *server) exported(name string) api.Task {
	s.t.Helper()
	task := s.create(object{"app": "vision", "name": name, "kind": "epm.exportMetadata", "params": object{"job": "exportAll"}}, nil)
	return s.waitFinal(task.ID, "succeeded")
}

func (s *server) outputs(id string) []api.Output {
	s.t.Helper()
	var page api.Page[api.Output]
	s.get(taskPath(id) + "/outputs").want(http.StatusOK).into(&page)
	return page.Items
}

func outputPath(id, name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return taskPath(id) + "/outputs/" + strings.Join(parts, "/")
}

func TestOutputs(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const name = "Umsätze (Q1) – 50%"
	task := s.exported(name)
	if len(task.Outputs) != 1 || task.Outputs[0].Path != name+".zip" {
		t.Fatalf("outputs: %+v", task.Outputs)
	}
	output := task.Outputs[0]
	if diff := cmp.Diff(task.Outputs, s.outputs(task.ID)); diff != "" {
		t.Errorf("the list (-task +list):\n%s", diff)
	}
	if output.ExpiresAt == nil || output.ExpiresAt.Sub(*task.FinishedAt).Hours() != 24 {
		t.Errorf("expires at %v, finished at %v", output.ExpiresAt, task.FinishedAt)
	}
	path := outputPath(task.ID, output.Path)
	whole := s.get(path).want(http.StatusOK)
	s.checkOutput(whole, output)
	s.checkRanges(path, whole)
	s.checkEscapes(task.ID, output, whole.body)
	s.checkZip(task.ID, task.Name, map[string][]byte{output.Path: whole.body})
	if _, err := zip.NewReader(bytes.NewReader(whole.body), int64(len(whole.body))); err != nil {
		t.Errorf("the export: %v", err)
	}
}

func (s *server) checkOutput(a *answer, output api.Output) {
	s.t.Helper()
	sum := sha256.Sum256(a.body)
	b64 := base64.StdEncoding.EncodeToString(sum[:])
	if int64(len(a.body)) != output.Size || hex.EncodeToString(sum[:]) != output.SHA256 {
		s.t.Errorf("%d bytes with the digest %x, and listed is %+v", len(a.body), sum, output)
	}
	a.wantHeader("ETag", `"`+output.SHA256+`"`)
	a.wantHeader("Repr-Digest", "sha-256=:"+b64+":")
	a.wantHeader("Digest", "SHA-256="+b64)
	a.wantHeader("Accept-Ranges", "bytes")
	a.wantHeader("X-Content-Type-Options", "nosniff")
	disposition, params, err := mime.ParseMediaType(a.header.Get("Content-Disposition"))
	must(s.t, err)
	name := output.Path[strings.LastIndex(output.Path, "/")+1:]
	if disposition != "attachment" || params["filename"] != name {
		s.t.Errorf("Content-Disposition %q gives %q, want %q", a.header.Get("Content-Disposition"), params["filename"], name)
	}
	for _, c := range a.header.Get("Content-Disposition") {
		if c < ' ' || c > '~' {
			s.t.Errorf("Content-Disposition %q holds more than ASCII", a.header.Get("Content-Disposition"))
		}
	}
}

func (s *server) checkRanges(path string, whole *answer) {
	s.t.Helper()
	size := len(whole.body)
	tag := whole.header.Get("ETag")
	for _, r := range []struct{ from, to int }{{0, 9}, {10, size - 1}, {size - 1, size - 1}} {
		a := s.get(path, "Range", fmt.Sprintf("bytes=%d-%d", r.from, r.to)).want(http.StatusPartialContent)
		a.wantHeader("Content-Range", fmt.Sprintf("bytes %d-%d/%d", r.from, r.to, size))
		a.wantHeader("Repr-Digest", whole.header.Get("Repr-Digest")) // of the whole, RFC 9530
		if !bytes.Equal(a.body, whole.body[r.from:r.to+1]) {
			s.t.Errorf("the range %v holds other bytes", r)
		}
	}
	s.get(path, "Range", "bytes=0-4", "If-Range", tag).want(http.StatusPartialContent)
	if a := s.get(path, "Range", "bytes=0-4", "If-Range", `"another"`).want(http.StatusOK); !bytes.Equal(a.body, whole.body) {
		s.t.Error("If-Range of another tag does not give the whole")
	}
	s.get(path, "If-None-Match", tag).want(http.StatusNotModified)
	past := s.get(path, "Range", fmt.Sprintf("bytes=%d-", size))
	past.problem(http.StatusRequestedRangeNotSatisfiable)
	past.wantHeader("Content-Range", fmt.Sprintf("bytes */%d", size))
	past.wantHeader("Content-Disposition", "")
	past.wantHeader("Repr-Digest", "")
}

// checkEscapes asks for an output in all the ways that its name can be written in an address,
// and for what is no output.
func (s *server) checkEscapes(id string, output api.Output, want []byte) {
	s.t.Helper()
	var every strings.Builder
	for _, b := range []byte(output.Path) {
		fmt.Fprintf(&every, "%%%02x", b)
	}
	loose := strings.NewReplacer("%28", "(", "%29", ")").Replace(url.PathEscape(output.Path))
	for _, name := range []string{url.PathEscape(output.Path), every.String(), strings.ToUpper(every.String()), loose} {
		if a := s.get(taskPath(id) + "/outputs/" + name).want(http.StatusOK); !bytes.Equal(a.body, want) {
			s.t.Errorf("asked for as %s, the output is another", name)
		}
	}
	for _, name := range []string{
		"", "nothing.csv", "../inbound/a", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/admin-token", "..%5c..%5ca", "%2fetc%2fpasswd",
		"%00", "a%00", ".", "..", "./" + url.PathEscape(output.Path), url.PathEscape(output.Path) + "/", url.PathEscape(output.Path) + "%00", "%ff", "%2525",
	} {
		s.get(taskPath(id) + "/outputs/" + name).problem(http.StatusNotFound)
	}
}

func (s *server) checkZip(id, name string, want map[string][]byte) {
	s.t.Helper()
	a := s.get(taskPath(id) + "/outputs.zip").want(http.StatusOK)
	a.wantHeader("Content-Type", "application/zip")
	_, params, err := mime.ParseMediaType(a.header.Get("Content-Disposition"))
	must(s.t, err)
	if params["filename"] != name+"-outputs.zip" {
		s.t.Errorf("the archive is named %q", params["filename"])
	}
	if diff := cmp.Diff(want, unzip(s.t, a.body)); diff != "" {
		s.t.Errorf("the archive (-want +got):\n%s", diff)
	}
}

func unzip(t testing.TB, archive []byte) map[string][]byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	must(t, err)
	files := make(map[string][]byte, len(r.File))
	for _, f := range r.File {
		content, err := f.Open()
		must(t, err)
		files[f.Name], err = io.ReadAll(content)
		must(t, err)
	}
	return files
}

func TestOutputsExpire(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.create(object{"app": "vision", "name": "importAccount", "kind": "epm.importMetadata"}, accounts(t, 20, 2))
	task = s.waitFinal(task.ID, "succeeded")
	// Several outputs, one in a folder: all are in the archive.
	want := make(map[string][]byte)
	for _, output := range task.Outputs {
		a := s.get(outputPath(task.ID, output.Path)).want(http.StatusOK)
		s.checkOutput(a, output)
		want[output.Path] = a.body
	}
	if len(want) < 2 || want["rejected/Account_errors.csv"] == nil {
		t.Fatalf("outputs: %+v", task.Outputs)
	}
	s.checkZip(task.ID, task.Name, want)

	s.exec("UPDATE tasks SET outputs_expire_at = now() - interval '1 second'")
	s.gone(task) // before the sweep has come
	s.engine.SweepFiles(t.Context())
	s.gone(task)
	s.eventually("nothing is stored any more", func() bool { return len(s.stored()) == 0 })
	if n := s.count("SELECT count(*) FROM tasks WHERE outputs_deleted_at IS NOT NULL"); n != 1 {
		t.Error("that the outputs are deleted is not recorded")
	}
}

// gone checks that the bytes of a task's outputs cannot be had, and that their list stays.
func (s *server) gone(task api.Task) {
	s.t.Helper()
	s.get(outputPath(task.ID, task.Outputs[0].Path)).problem(http.StatusGone)
	s.get(taskPath(task.ID) + "/outputs.zip").problem(http.StatusGone)
	ignoreExpiry := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".ExpiresAt" }, cmp.Ignore())
	for what, list := range map[string][]api.Output{"list": s.outputs(task.ID), "task": s.getTask(task.ID).Outputs} {
		if diff := cmp.Diff(task.Outputs, list, ignoreExpiry); diff != "" {
			s.t.Errorf("the %s (-want +got):\n%s", what, diff)
		}
	}
}

func TestNoOutputs(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.waitFinal(s.create(noop(), nil).ID, "succeeded")
	if list := s.outputs(task.ID); list == nil || len(list) != 0 {
		t.Errorf("outputs: %#v", list)
	}
	s.get(taskPath(task.ID) + "/outputs.zip").problem(http.StatusNotFound)
	s.get(taskPath(task.ID) + "/outputs/a").problem(http.StatusNotFound)
}
