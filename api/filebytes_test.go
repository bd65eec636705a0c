package api_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A file is saved under its name, whatever the language, and by clients that read only ASCII under
// one that is like it.
func TestFileNames(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	for name, plain := range map[string]string{
		"plain (1).csv":         "plain (1).csv",
		"a;b, c='d'.csv":        "a;b, c='d'.csv",
		"März–Übersicht.csv":    "Marz_Ubersicht.csv",
		"отчёт.xlsx":            "_____.xlsx",
		"报告 (最终).pdf":           "__ (__).pdf",
		"50% 😀.txt":             "50_ _.txt",
		`say "so".txt`:          "say _so_.txt",
		"تقرير.csv":             "_____.csv",
		"a%20b.csv":             "a_20b.csv",
		strings.Repeat("ü", 99): strings.Repeat("u", 99),
	} {
		s.sendFile(name, "x").want(http.StatusCreated)
		a := s.get(fileURL("plain", name)).want(http.StatusOK)
		text := a.header.Get("Content-Disposition")
		if !strings.HasPrefix(text, `attachment; filename="`+plain+`"`) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q is named %s", name, text)
		}
		if _, params, err := mime.ParseMediaType(text); err != nil || params["filename"] != name {
			t.Errorf("%q is read from %s as %q: %v", name, text, params["filename"], err)
		}
	}
}

// HEAD tells of a file what GET would, and reads none of it.
func TestHeadOfFiles(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	s.sendFile("a.zip", "0123456789").want(http.StatusCreated)
	for _, path := range []string{fileURL("plain", "a.zip"), "/api/v1/apps/plain/files.zip"} {
		whole := s.open(http.MethodGet, path, nil)
		must(t, whole.Body.Close())
		resp := s.open(http.MethodHead, path, nil)
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusOK || resp.ContentLength != whole.ContentLength || resp.ContentLength < 10 {
			t.Errorf("HEAD %s: %s, length %d, and of GET %d", path, resp.Status, resp.ContentLength, whole.ContentLength)
		}
	}
	if n := s.count(`SELECT count(*) FROM audit WHERE action = 'file.download'`); n != 2 {
		t.Errorf("%d lines of audit for two downloads", n)
	}
	tag := s.get(fileURL("plain", "a.zip")).header.Get("ETag")
	s.get(fileURL("plain", "a.zip"), "If-None-Match", tag).want(http.StatusNotModified)
	if n := s.count(`SELECT count(*) FROM audit WHERE action = 'file.download'`); n != 3 {
		t.Errorf("what was not downloaded is noted as a download")
	}
}

func TestFilesZip(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	want := map[string][]byte{"in/März.csv": []byte("a;b\n"), "in/deep/b.zip": []byte(noise(t, 100_000)), "in/c.gz": {}}
	for path, content := range want {
		s.put("plain", path, string(content))
	}
	s.put("plain", "other.txt", "other")
	zipped := func(query string) *answer { return s.get("/api/v1/apps/plain/files.zip" + query).want(http.StatusOK) }
	folder := zipped("?prefix=in/")
	folder.wantHeader("Content-Disposition", `attachment; filename="in.zip"`)
	folder.wantHeader("Content-Type", "application/zip")
	if diff := cmp.Diff(want, unzip(t, folder.body)); diff != "" {
		t.Errorf("the folder (-want +got):\n%s", diff)
	}
	if got := unzip(t, zipped("").body); len(got) != 4 {
		t.Errorf("of all files there are %d", len(got))
	}
	two := zipped("?path=in/deep/b.zip&path=in/c.gz&path=in/c.gz")
	two.wantHeader("Content-Length", fmt.Sprint(len(two.body))) // they are compressed already
	if diff := cmp.Diff(map[string][]byte{"in/deep/b.zip": want["in/deep/b.zip"], "in/c.gz": {}}, unzip(t, two.body)); diff != "" {
		t.Errorf("two files (-want +got):\n%s", diff)
	}
	lines := one[[]string](s, `SELECT array_agg(concat_ws(' ', object, detail) ORDER BY id) FROM audit WHERE action = 'file.download'`)
	if diff := cmp.Diff([]string{
		"in/ 3 files as one archive", "4 files as one archive", "in/deep/b.zip version 1, in an archive", "in/c.gz version 1, in an archive",
	}, lines); diff != "" {
		t.Errorf("in the audit trail (-want +got):\n%s", diff)
	}
	s.get("/api/v1/apps/plain/files.zip?path=in/c.gz&path=none").wantField("query.path")
	s.get("/api/v1/apps/plain/files.zip?prefix=none").problem(http.StatusNotFound)
}

// Who asks for very many parts of a file gets the whole.
func TestManyRanges(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	content := noise(t, 100_000)
	s.sendFile("a.bin", content).want(http.StatusCreated)
	ranges := func(n int) string {
		var parts []string
		for i := range n {
			parts = append(parts, fmt.Sprintf("%d-%d", i*1000, i*1000+9))
		}
		return "bytes=" + strings.Join(parts, ", ")
	}
	some := s.get(fileURL("plain", "a.bin"), "Range", ranges(16)).want(http.StatusPartialContent)
	if kind := some.header.Get("Content-Type"); !strings.HasPrefix(kind, "multipart/byteranges") || bytes.Count(some.body, []byte("Content-Range")) != 16 {
		t.Errorf("some parts come as %s", kind)
	}
	whole := s.get(fileURL("plain", "a.bin"), "Range", ranges(17)).want(http.StatusOK)
	if string(whole.body) != content {
		t.Errorf("many parts: %d bytes", len(whole.body))
	}
	head := s.open(http.MethodHead, fileURL("plain", "a.bin"), nil, "Range", ranges(17))
	must(t, head.Body.Close())
	if head.StatusCode != http.StatusOK || head.ContentLength != 100_000 {
		t.Errorf("HEAD: %s, length %d", head.Status, head.ContentLength)
	}
}

// What breaks off on its way in leaves nothing, and what there was as it was.
func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	s.sendFile("a", "whole").want(http.StatusCreated)
	before := s.stored()
	for _, request := range []string{
		"Content-Length: 200000\r\n\r\n" + strings.Repeat("x", 100_000),
		"Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n", 100_000) + strings.Repeat("x", 100_000) + "\r\n",
		"Transfer-Encoding: chunked\r\n\r\nno number\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		must(t, err)
		_, err = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s", fileURL("plain", "a"), adminToken, request)
		must(t, err)
		must(t, conn.(*net.TCPConn).CloseWrite())
		_, _ = io.Copy(io.Discard, conn) // the refusal, if it comes
		must(t, conn.Close())
		s.closed.wait(t, conn.LocalAddr().String())
	}
	if diff := cmp.Diff(before, s.stored()); diff != "" {
		t.Errorf("what is stored (-before +after):\n%s", diff)
	}
	if a := s.get(fileURL("plain", "a")); string(a.body) != "whole" {
		t.Errorf("the file holds %.20q", a.body)
	}
}

// What is refused only when all of it has come leaves nothing either: here another was faster.
func TestOvertakenFile(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	body, send := io.Pipe()
	answered := make(chan *http.Response, 1)
	go func() {
		resp, err := s.http.Do(s.request(http.MethodPut, fileURL("plain", "a"), body, "If-None-Match", "*"))
		if err != nil {
			t.Error(err)
		}
		answered <- resp
	}()
	_, err := send.Write([]byte("late")) // taken, so that what could be refused before has been
	must(t, err)
	s.eventually("it is being written", func() bool { return len(s.stored()) == 1 })
	s.put("plain", "a", "early")
	must(t, send.Close())
	resp := <-answered
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusPreconditionFailed {
		t.Errorf("the late one: %s", resp.Status)
	}
	if a := s.get(fileURL("plain", "a")); string(a.body) != "early" || len(s.stored()) != 1 {
		t.Errorf("the file holds %q; stored are %q", a.body, s.stored())
	}
}

// What has no room is refused before it is sent.
func TestNoRoomForFile(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		fileURL("plain", "a"), adminToken, int64(1)<<62)
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	if resp.StatusCode != http.StatusInsufficientStorage {
		t.Errorf("more than the disk holds: %s", resp.Status)
	}
}

// damage changes the only stored content of that size in the database; with nil it is removed.
func (s *server) damage(size int, change func(stored []byte)) {
	s.t.Helper()
	file := filepath.Join(s.dir, ".contents", one[string](s, `SELECT id::text FROM contents WHERE size = $1`, size))
	if change == nil {
		must(s.t, os.Remove(file))
		return
	}
	stored, err := os.ReadFile(file)
	must(s.t, err)
	change(stored)
	must(s.t, os.Chmod(file, 0o600))
	must(s.t, os.WriteFile(file, stored, 0o600))
}

// Damaged bytes never leave: where it is found before the first one the answer says so, and later the
// connection is cut. Sent again, the file is whole.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	large := []byte(noise(t, 3<<20))
	lines := bytes.Repeat([]byte("Account,Parent,Alias\n"), 150_000)
	flip := func(at float64) func([]byte) {
		return func(stored []byte) { stored[int(float64(len(stored)-1)*at)] ^= 1 }
	}
	for name, test := range map[string]struct {
		content []byte
		change  func([]byte)
	}{
		"first.bin": {large[1:], flip(0)},
		"later.bin": {large[2:], flip(0.9)},
		"first.csv": {lines[1:], flip(0.01)},
		"later.csv": {lines[2:], flip(0.6)},
		"table.csv": {lines[3:], flip(1)},
		"gone.bin":  {large[3:], nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			s.sendFile(name, string(test.content)).want(http.StatusCreated)
			s.damage(len(test.content), test.change)
			for _, path := range []string{fileURL("plain", name), "/api/v1/apps/plain/files.zip?path=" + name} {
				resp := s.open(http.MethodGet, path, nil)
				body, err := io.ReadAll(resp.Body)
				must(t, resp.Body.Close())
				switch {
				case resp.StatusCode == http.StatusInternalServerError && bytes.Contains(body, []byte("damaged")):
					if resp.Header.Get("Content-Disposition")+resp.Header.Get("ETag")+resp.Header.Get("Repr-Digest") != "" {
						t.Errorf("%s: the refusal has the headers of the file: %v", path, resp.Header)
					}
				case strings.HasPrefix(name, "later") && errors.Is(err, io.ErrUnexpectedEOF):
				default:
					t.Errorf("%s: %s, %d bytes, %v", path, resp.Status, len(body), err)
				}
				if resp.StatusCode == http.StatusOK && strings.HasSuffix(path, name) && strings.Contains(path, "/files/") && !bytes.HasPrefix(test.content, body) {
					t.Errorf("%s: wrong bytes left", path)
				}
			}
			if len(s.logs.lines(`"ERROR"`, "damaged", name)) == 0 {
				t.Error("the log does not tell of it")
			}
			s.sendFile(name, string(test.content)).want(http.StatusOK)
			if a := s.get(fileURL("plain", name)).want(http.StatusOK); !bytes.Equal(a.body, test.content) {
				t.Error("sent again, it is another file")
			}
		})
	}
}

// A damaged output is told of like a damaged file.
func TestDamagedOutput(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.exported("exports")
	file := filepath.Join(s.dir, "vision", "exports", task.ID, "outbound", task.Outputs[0].Path)
	stored, err := os.ReadFile(file)
	must(t, err)
	stored[len(stored)/2] ^= 1
	must(t, os.Chmod(file, 0o600))
	must(t, os.WriteFile(file, stored, 0o600))
	for _, path := range []string{outputPath(task.ID, task.Outputs[0].Path), taskPath(task.ID) + "/outputs.zip"} {
		if p := s.get(path).problem(http.StatusInternalServerError); !strings.Contains(p.Detail, "damaged") {
			t.Errorf("%s: %s", path, p.Detail)
		}
	}
}

// curl runs the real program.
func (s *server) curl(args ...string) string {
	s.t.Helper()
	command := exec.CommandContext(s.t.Context(), "curl", append([]string{"-sS", "-H", "Authorization: Bearer " + adminToken}, args...)...)
	out, err := command.CombinedOutput()
	if err != nil {
		s.t.Fatalf("curl %q: %v: %s", args, err, out)
	}
	return string(out)
}

// curl sends a file, is told before it has sent it that it is not wanted, and goes on with a download
// that broke off.
func TestCurl(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	dir := t.TempDir()
	content := []byte(noise(t, 5<<20))
	local, part := filepath.Join(dir, "export.dmp"), filepath.Join(dir, "part")
	must(t, os.WriteFile(local, content, 0o600))
	must(t, os.WriteFile(part, content[:2<<20], 0o600))
	const told = "%{http_code} %{size_upload} %{size_download}"

	folder := s.url + "/api/v1/apps/plain/files/exports/"
	if got := s.curl("-T", local, "-o", "/dev/null", "-w", told, folder); !strings.HasPrefix(got, fmt.Sprintf("201 %d ", len(content))) {
		t.Errorf("curl -T: %s", got)
	}
	if got := s.curl("-T", local, "-H", "If-None-Match: *", "-o", "/dev/null", "-w", told, "--expect100-timeout", "30", folder); !strings.HasPrefix(got, "412 0 ") {
		t.Errorf("curl -T of what is not wanted: %s", got)
	}
	if got := s.curl("-C", "-", "-o", part, "-w", told, folder+"export.dmp"); got != fmt.Sprintf("206 0 %d", 3<<20) {
		t.Errorf("curl -C -: %s", got)
	}
	if got, err := os.ReadFile(part); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the parts together are not the file: %d bytes, %v", len(got), err)
	}
}
