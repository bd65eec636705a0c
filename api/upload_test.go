package api_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"longhaul/storage/archive"
)

// zipWith makes an archive of headers, each with the same few bytes.
func zipWith(t testing.TB, headers ...zip.FileHeader) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, h := range headers {
		one, err := w.CreateHeader(&h)
		must(t, err)
		_, err = io.WriteString(one, "data")
		must(t, err)
	}
	must(t, w.Close())
	return buf.Bytes()
}

// A refused archive is answered with its entry and the rule, and leaves nothing.
func TestRefusedArchives(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle, func(c *config) {
		c.jobs.Limits = archive.Limits{Bytes: 1 << 20, Entries: 20, Ratio: 50, RatioFloor: 1 << 16, Path: 64}
	})
	link := zip.FileHeader{Name: "link"}
	link.SetMode(os.ModeSymlink | 0o777)
	device := zip.FileHeader{Name: "device"}
	device.SetMode(os.ModeDevice | 0o666)
	many := make([]entry, 21)
	for i := range many {
		many[i] = entry{fmt.Sprintf("file%d", i), "x"}
	}
	whole := zipOf(t, entry{"a.txt", "text"})
	for name, test := range map[string]struct {
		archive []byte
		entry   string
		rule    archive.Rule
	}{
		"no zip":            {[]byte("this is a text"), "", archive.RuleNotAZip},
		"no bytes":          {[]byte{}, "", archive.RuleNotAZip},
		"cut short":         {whole[:len(whole)-10], "", archive.RuleNotAZip},
		"leading bytes":     {append([]byte("#!/bin/sh\n"), whole...), "", archive.RuleLeadingBytes},
		"no files":          {zipOf(t), "", archive.RuleEmpty},
		"only junk":         {zipOf(t, entry{".DS_Store", "x"}, entry{"__MACOSX/._a", "y"}), "", archive.RuleEmpty},
		"escaping":          {zipWith(t, zip.FileHeader{Name: "../../etc/passwd"}), "../../etc/passwd", archive.RuleEscapingPath},
		"absolute":          {zipWith(t, zip.FileHeader{Name: "/etc/passwd"}), "/etc/passwd", archive.RuleAbsolutePath},
		"drive":             {zipWith(t, zip.FileHeader{Name: "c:/a"}), "c:/a", archive.RuleAbsolutePath},
		"backslash":         {zipWith(t, zip.FileHeader{Name: `a\b`}), `a\\b`, archive.RuleBackslash},
		"control character": {zipWith(t, zip.FileHeader{Name: "a\nb"}), `a\nb`, archive.RuleControlCharacter},
		"link":              {zipWith(t, link), "link", archive.RuleLink},
		"device":            {zipWith(t, device), "device", archive.RuleSpecialFile},
		"encrypted":         {zipWith(t, zip.FileHeader{Name: "secret", Flags: 1}), "secret", archive.RuleEncrypted},
		"twice":             {zipWith(t, zip.FileHeader{Name: "a"}, zip.FileHeader{Name: "a"}), "a", archive.RuleDuplicateName},
		"case clash":        {zipWith(t, zip.FileHeader{Name: "Read.me"}, zip.FileHeader{Name: "READ.me"}), "READ.me", archive.RuleCaseClash},
		"file and folder":   {zipWith(t, zip.FileHeader{Name: "a"}, zip.FileHeader{Name: "a/b"}), "a", archive.RuleFileAndFolder},
		"too many":          {zipOf(t, many...), "", archive.RuleTooManyEntries},
		"too large":         {zipOf(t, entry{"large", strings.Repeat("0123456789abcdefg", 100_000)}), "large", archive.RuleTooManyBytes},
		"bomb":              {zipOf(t, entry{"bomb", strings.Repeat("0", 1<<19)}), "", archive.RuleRatio},
		"long path":         {zipOf(t, entry{strings.Repeat("p", 65), "x"}), strings.Repeat("p", 65), archive.RulePathTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			one := s.in(t)
			p := one.post(noop(), test.archive, "Idempotency-Key", "k").problem(http.StatusUnprocessableEntity)
			if len(p.Errors) != 1 || p.Errors[0].Location != "file" || p.Errors[0].Rule != string(test.rule) {
				t.Fatalf("errors: %+v, want the rule %s", p.Errors, test.rule)
			}
			for _, text := range []string{p.Detail, p.Errors[0].Message} {
				if !strings.Contains(text, test.entry) || !strings.Contains(text, string(test.rule)) {
					t.Errorf("%q does not name the entry %q and the rule %s", text, test.entry, test.rule)
				}
			}
		})
	}
	s.wantNothing()
}

// The file in a metadata archive is named like the import job, or by the vendor's rule.
func TestNamingRule(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	task := func(name string, params object) object {
		return object{"app": "vision", "name": name, "kind": "epm.importMetadata", "params": params}
	}
	for name, test := range map[string]struct {
		task    object
		archive []byte
		words   []string // of the refusal; none: accepted
	}{
		"another name": {
			task("importAccount", object{}), zipOf(t, entry{"accounts.csv", "x"}, entry{"readme.txt", "x"}),
			[]string{"accounts.csv", "readme.txt", "importAccount.csv", "_<Dimension>.csv"},
		},
		"another case":      {task("importAccount", object{}), zipOf(t, entry{"ImportAccount.csv", "x"}), []string{"ImportAccount.csv", "importAccount.csv"}},
		"like the task":     {task("nightly", object{"job": "importAccount"}), zipOf(t, entry{"nightly.csv", "x"}), []string{"nightly.csv", "importAccount.csv"}},
		"in two folders":    {task("importAll", object{}), zipOf(t, entry{"a/x_Account.csv", "x"}, entry{"b/x_Entity.csv", "x"}), []string{"one folder"}},
		"like the job":      {task("importAccount", object{}), zipOf(t, entry{"importAccount.csv", "x"}), nil},
		"like params.job":   {task("nightly", object{"job": "importAccount"}), zipOf(t, entry{"importAccount.csv", "x"}), nil},
		"by the dimension":  {task("importAll", object{}), zipOf(t, entry{"x_Account.csv", "x"}, entry{"x_Entity.csv", "x"}), nil},
		"in a folder":       {task("importAccount", object{}), zipOf(t, entry{"data/importAccount.csv", "x"}), nil},
		"with other things": {task("importAccount", object{}), zipOf(t, entry{"importAccount.csv", "x"}, entry{"readme.txt", "x"}), nil},
		"data without data": {object{"app": "vision", "name": "importActuals", "kind": "epm.importData"}, zipOf(t, entry{"a.xlsx", "x"}), []string{"a.xlsx", ".csv"}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.words == nil {
				newServer(t, idle).post(test.task, test.archive).want(http.StatusAccepted)
				return
			}
			one := s.in(t)
			one.post(test.task, test.archive).wantField("file", test.words...)
			one.wantNothing()
		})
	}
}

// What a Mac adds is ignored, and the log says so.
func TestIgnoredEntries(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.create(noop(), zipOf(t, entry{"a.txt", "x"}, entry{"__MACOSX/._a.txt", "x"}, entry{"folder/.DS_Store", "x"}))
	s.waitFinal(task.ID, "succeeded")
	log := s.log(task.ID)
	for _, words := range []string{"Ignored __MACOSX/._a.txt in the archive", "Ignored folder/.DS_Store in the archive", "Unpacked 1 files"} {
		if !strings.Contains(log, words) {
			t.Errorf("the log does not hold %q:\n%s", words, log)
		}
	}
	s.eventually("archive and contents are removed", func() bool { return len(s.stored()) == 0 })
}

// A request that breaks off, wherever and however, leaves nothing behind.
func TestBrokenOffUploads(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	contentType, body := multipartBody(t, part{"task", jsonText(t, noop())}, part{"file", zipOf(t, entry{"a.txt", strings.Repeat("line\n", 50)})})
	plain := fmt.Sprintf("POST /api/v1/tasks HTTP/1.1\r\nHost: longhaul\r\nAuthorization: Bearer %s\r\nIdempotency-Key: k\r\nContent-Type: %s\r\n", adminToken, contentType)
	sized := []byte(plain + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + string(body))
	chunked := []byte(plain + "Transfer-Encoding: chunked\r\n\r\n" + inChunks(body, 100) + "0\r\n\r\n")
	text := jsonText(t, noop())
	asJSON := []byte(strings.Replace(plain, contentType, "application/json", 1) + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(text)) + string(text))
	for name, request := range map[string][]byte{"sized": sized, "chunked": chunked, "json": asJSON} {
		for _, reset := range []bool{false, true} {
			for _, at := range cuts(len(request), 40) {
				s.breakOff(request[:at], reset)
				if found := s.stored(); len(found) > 0 {
					t.Fatalf("%s request cut at byte %d of %d (reset: %v) left %q", name, at, len(request), reset, found)
				}
			}
		}
	}
	s.wantNothing()
	if lines := s.logs.lines(`"level":"ERROR"`); len(lines) > 0 {
		t.Errorf("a client that went away is logged as our error: %s", lines[0])
	}
	// The same bytes, whole, are taken: what was cut was a good request.
	for _, request := range [][]byte{sized, chunked} {
		if got := s.raw(request); !strings.HasPrefix(got, "HTTP/1.1 202 ") {
			t.Errorf("the whole request: %s", got)
		}
	}
}

// inChunks writes a body in the chunked encoding.
func inChunks(body []byte, size int) string {
	var b strings.Builder
	for chunk := range slices.Chunk(body, size) {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(chunk), chunk)
	}
	return b.String()
}

// cuts are places to cut a request: evenly all over it, and every byte of its end.
func cuts(length, n int) []int {
	var at []int
	for i := 1; i < n; i++ {
		at = append(at, i*length/n)
	}
	for i := max(1, length-25); i < length; i++ {
		at = append(at, i)
	}
	return at
}

// dial connects to the server.
func (s *server) dial() *net.TCPConn {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	must(s.t, err)
	return conn.(*net.TCPConn) //nolint:forcetypeassert // what Dial gives for tcp
}

// breakOff sends the beginning of a request, goes away, and waits until the server is done with it.
func (s *server) breakOff(beginning []byte, reset bool) {
	s.t.Helper()
	conn := s.dial()
	_, err := conn.Write(beginning)
	must(s.t, err)
	if reset {
		must(s.t, conn.SetLinger(0))
	}
	must(s.t, conn.Close())
	s.closed.wait(s.t, conn.LocalAddr().String())
}

// raw sends bytes and returns the beginning of the answer.
func (s *server) raw(request []byte) string {
	s.t.Helper()
	conn := s.dial()
	defer conn.Close()
	must(s.t, conn.SetDeadline(time.Now().Add(patience)))
	_, err := conn.Write(request)
	must(s.t, err)
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	must(s.t, err)
	return string(buf[:n])
}
