package api_test

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"longhaul/api"
	"longhaul/storage"
	"longhaul/storage/content"
	"longhaul/storage/files"
)

func hexSHA256(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func b64SHA512(text string) string {
	sum := sha512.Sum512([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// content is what is stored of a finished upload.
func (s *server) content(id string) string {
	s.t.Helper()
	stored, err := s.engine.DB().Content(s.t.Context(), one[uuid.UUID](s, `SELECT content FROM uploads WHERE id = $1`, id))
	must(s.t, err)
	folder, err := files.OpenFolder(s.dir)
	must(s.t, err)
	defer folder.Close()
	file, err := content.New(s.engine.DB(), folder, slog.New(slog.DiscardHandler)).Open(s.t.Context(), stored)
	must(s.t, err)
	defer file.Close()
	text, err := io.ReadAll(file)
	must(s.t, err)
	return string(text)
}

// TestUpload goes the way of an upload: made, sent in chunks, finished.
func TestUpload(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	text := noise(t, 100_000)
	path := s.makeUpload(len(text), "Upload-Metadata", meta("filename", "März.zip", "filetype", "application/zip", "app", "plain", "x", ""))
	if u := s.upload(path); u.State != "receiving" || u.Filename != "März.zip" || *u.App != "plain" || *u.Size != 100_000 || u.ContentType != "application/zip" {
		t.Errorf("the new upload: %+v", u)
	}
	for at := 0; at < len(text); at += 30_000 {
		if got := s.offset(path); got != at {
			t.Fatalf("the offset is %d, want %d", got, at)
		}
		end := min(at+30_000, len(text))
		a := s.send(path, at, text[at:end]).want(http.StatusNoContent)
		a.wantHeader("Upload-Offset", strconv.Itoa(end))
		expires, err := http.ParseTime(a.header.Get("Upload-Expires"))
		if end < len(text) && (err != nil || time.Until(expires) < 167*time.Hour) {
			t.Errorf("Upload-Expires: %q", a.header.Get("Upload-Expires"))
		}
	}
	u := s.finished(path, "finished")
	if u.Received != 100_000 || u.Checked != 100_000 || *u.SHA256 != hexSHA256(text) || u.UsedBy != nil || u.Message != "" {
		t.Errorf("the finished upload: %+v", u)
	}
	head := s.tus(http.MethodHead, path, nil).want(http.StatusOK)
	head.wantHeader("Upload-Offset", "100000")
	head.wantHeader("Upload-Length", "100000")
	if !strings.Contains(head.header.Get("Upload-Metadata"), meta("app", "plain")) {
		t.Errorf("Upload-Metadata: %q", head.header.Get("Upload-Metadata"))
	}
	s.send(path, 100_000, "").want(http.StatusNoContent)
	if got := s.content(u.ID); got != text {
		t.Error("something else was stored")
	}
	if n := s.count(`SELECT count(*) FROM audit WHERE object = $1 AND action IN ('upload.create', 'upload.finish') AND app = 'plain'`, u.ID); n != 2 {
		t.Errorf("%d lines in the audit trail", n)
	}
}

// What a request for an upload lacks or gets wrong is said, and nothing is stored.
func TestUploadRefusals(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	viewer := s.person("viewer@example.com")
	s.member("plain", "person", viewer.login, "operator", false)
	theirs := "Bearer " + viewer.token
	for name, test := range map[string]struct {
		headers []string
		status  int
		words   string
	}{
		"no version":       {[]string{"Tus-Resumable", "", "Upload-Length", "1"}, http.StatusPreconditionFailed, "1.0.0"},
		"no length":        {nil, http.StatusBadRequest, "Upload-Length"},
		"both lengths":     {[]string{"Upload-Length", "1", "Upload-Defer-Length", "1"}, http.StatusBadRequest, "exclude"},
		"no room":          {[]string{"Upload-Length", "1152921504606846976"}, http.StatusInsufficientStorage, "no room"},
		"no such app":      {[]string{"Upload-Length", "1", "Upload-Metadata", meta("app", "none")}, http.StatusUnprocessableEntity, "none"},
		"no data":          {[]string{"Upload-Length", "1", "Upload-Metadata", meta("app", "plain"), "Authorization", theirs}, http.StatusForbidden, "role"},
		"not of that app":  {[]string{"Upload-Length", "1", "Upload-Metadata", meta("app", "vision"), "Authorization", theirs}, http.StatusUnprocessableEntity, "vision"},
		"no digest":        {[]string{"Upload-Length", "1", "Upload-Metadata", meta("sha256", "abc")}, http.StatusBadRequest, "sha256"},
		"no text":          {[]string{"Upload-Length", "1", "Upload-Metadata", meta("filename", "\xff")}, http.StatusBadRequest, "UTF-8"},
		"no Repr-Digest":   {[]string{"Upload-Length", "1", "Repr-Digest", "sha-256=abc"}, http.StatusBadRequest, "RFC 9530"},
		"no piece":         {[]string{"Upload-Concat", "final;/api/v1/uploads/" + uuid.NewString()}, http.StatusNotFound, "no such upload"},
		"no concatenation": {[]string{"Upload-Concat", "all"}, http.StatusBadRequest, "partial"},
	} {
		t.Run(name, func(t *testing.T) {
			p := s.in(t).tus(http.MethodPost, uploadsPath, nil, test.headers...).problem(test.status)
			if !strings.Contains(p.Detail, test.words) {
				t.Errorf("%q does not hold %q", p.Detail, test.words)
			}
		})
	}
	s.tus(http.MethodPost, uploadsPath, nil, "Tus-Resumable", "").want(http.StatusPreconditionFailed).wantHeader("Tus-Version", "1.0.0")
	path := s.makeUpload(10)
	s.send(path, 5, "x").problem(http.StatusConflict)
	s.send(path, 0, "01234567890").problem(http.StatusRequestEntityTooLarge)
	s.send(path, 0, "x", "Content-Type", "text/plain").problem(http.StatusUnsupportedMediaType)
	s.send(path, 0, "x", "Upload-Offset", "").problem(http.StatusBadRequest)
	if n := s.count(`SELECT count(*) FROM uploads`); n != 1 {
		t.Errorf("%d uploads", n)
	}
	s.do(http.MethodPut, path, nil).want(http.StatusMethodNotAllowed).wantHeader("Allow", "GET, PATCH, DELETE")
}

// What is spoken of tus can be found out, and clients that cannot send PATCH or DELETE say so.
func TestUploadDiscovery(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *config) {
		c.api.MaxUpload = 1 << 30
		c.api.Origins = []string{"https://elsewhere.example"}
	})
	a := s.do(http.MethodOptions, uploadsPath, nil, "Origin", "https://elsewhere.example").want(http.StatusOK)
	a.wantHeader("Tus-Version", "1.0.0")
	a.wantHeader("Tus-Max-Size", "1073741824")
	a.wantHeader("Tus-Checksum-Algorithm", "sha1,sha256,md5,crc32")
	a.wantHeader("Access-Control-Allow-Origin", "https://elsewhere.example")
	extensions := strings.Split(a.header.Get("Tus-Extension"), ",")
	slices.Sort(extensions)
	if got := strings.Join(extensions, " "); got != "checksum checksum-trailer concatenation creation creation-defer-length creation-with-upload expiration termination" {
		t.Errorf("extensions: %s", got)
	}
	if !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "Upload-Offset") {
		t.Errorf("a page elsewhere sees %s", a.header.Get("Access-Control-Expose-Headers"))
	}
	preflight := s.open(http.MethodOptions, uploadPath(uuid.NewString()), nil, "Origin", "https://elsewhere.example", "Access-Control-Request-Method", "PATCH")
	must(t, preflight.Body.Close())
	if preflight.StatusCode != http.StatusNoContent || !strings.Contains(preflight.Header.Get("Access-Control-Allow-Methods"), "PATCH") ||
		!strings.Contains(preflight.Header.Get("Access-Control-Allow-Headers"), "Upload-Checksum") {
		t.Errorf("preflight: %d %v", preflight.StatusCode, preflight.Header)
	}
	path := s.makeUpload(5)
	post := func(body, override string) {
		resp := s.open(http.MethodPost, path, strings.NewReader(body), "X-HTTP-Method-Override", override, "Upload-Offset", "0",
			"Tus-Resumable", "1.0.0", "Content-Type", "application/offset+octet-stream")
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusNoContent {
			t.Errorf("%s in a POST: %s", override, resp.Status)
		}
	}
	post("ab", "PATCH")
	if got := s.offset(path); got != 2 {
		t.Errorf("the offset is %d", got)
	}
	post("", "DELETE")
	s.get(path).problem(http.StatusNotFound)
}

// The first bytes may come with the request that makes the upload; the size may come last.
func TestCreationWithUpload(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	a := s.tus(http.MethodPost, uploadsPath, strings.NewReader("hello"), "Upload-Length", "10").want(http.StatusCreated)
	a.wantHeader("Upload-Offset", "5")
	path := s.located(a)
	s.send(path, 5, "world").want(http.StatusNoContent)
	if u := s.finished(path, "finished"); *u.SHA256 != hexSHA256("helloworld") {
		t.Errorf("%+v", u)
	}
	whole := s.located(s.tus(http.MethodPost, uploadsPath, strings.NewReader("all"), "Upload-Length", "3").want(http.StatusCreated))
	s.finished(whole, "finished")
	if u := s.uploaded(""); *u.SHA256 != hexSHA256("") || *u.Size != 0 {
		t.Errorf("an empty upload: %+v", u)
	}

	later := s.located(s.tus(http.MethodPost, uploadsPath, nil, "Upload-Defer-Length", "1").want(http.StatusCreated))
	s.send(later, 0, "hello").want(http.StatusNoContent)
	s.tus(http.MethodHead, later, nil).want(http.StatusOK).wantHeader("Upload-Defer-Length", "1")
	s.send(later, 5, "w", "Upload-Length", "10").want(http.StatusNoContent)
	s.tus(http.MethodHead, later, nil).want(http.StatusOK).wantHeader("Upload-Length", "10")
	s.send(later, 6, "o", "Upload-Length", "11").problem(http.StatusBadRequest)
	s.send(later, 6, "orld").want(http.StatusNoContent)
	if u := s.finished(later, "finished"); *u.SHA256 != hexSHA256("helloworld") {
		t.Errorf("%+v", u)
	}
	// All bytes first, and then the size.
	last := s.located(s.tus(http.MethodPost, uploadsPath, strings.NewReader("hello"), "Upload-Defer-Length", "1").want(http.StatusCreated))
	s.send(last, 5, "", "Upload-Length", "5").want(http.StatusNoContent)
	s.finished(last, "finished")
}

// An upload is put together from others, which are used up by it.
func TestConcatenation(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	texts := []string{noise(t, 3<<20), "", noise(t, 1<<20+17), "end"}
	var pieces []string
	for _, text := range texts {
		piece := s.makeUpload(len(text), "Upload-Concat", "partial")
		if text != "" {
			s.send(piece, 0, text).want(http.StatusNoContent)
		}
		s.tus(http.MethodHead, piece, nil).want(http.StatusOK).wantHeader("Upload-Concat", "partial")
		pieces = append(pieces, piece)
	}
	half := s.makeUpload(2, "Upload-Concat", "partial")
	s.send(half, 0, "h").want(http.StatusNoContent)
	s.tus(http.MethodPost, uploadsPath, nil, "Upload-Concat", "final;"+pieces[0]+" "+half).problem(http.StatusBadRequest)
	s.tus(http.MethodPost, uploadsPath, nil, "Upload-Concat", "final;"+pieces[0]+" "+pieces[0]).want(http.StatusNotFound)

	list := "final;" + pieces[0] + " " + pieces[1] + " " + s.url + pieces[2] + " " + pieces[3]
	a := s.tus(http.MethodPost, uploadsPath, nil, "Upload-Concat", list, "Upload-Metadata", meta("filename", "whole.bin")).want(http.StatusCreated)
	path := s.located(a)
	u := s.finished(path, "finished")
	if whole := strings.Join(texts, ""); *u.SHA256 != hexSHA256(whole) || s.content(u.ID) != whole || u.Filename != "whole.bin" {
		t.Errorf("put together: %+v", u)
	}
	head := s.tus(http.MethodHead, path, nil).want(http.StatusOK)
	if got := head.header.Get("Upload-Concat"); strings.Count(got, uploadsPath) != 4 || !strings.HasPrefix(got, "final;") {
		t.Errorf("Upload-Concat: %s", got)
	}
	head.wantHeader("Upload-Offset", strconv.Itoa(4<<20+20))
	s.send(path, 4<<20+20, "x").problem(http.StatusForbidden)
	s.tus(http.MethodPost, uploadsPath, nil, "Upload-Concat", list).problem(http.StatusBadRequest)
	if piece := s.upload(pieces[2]); piece.UsedBy == nil || *piece.UsedBy != u.ID {
		t.Errorf("a piece: %+v", piece)
	}
	s.tus(http.MethodDelete, pieces[2], nil).problem(http.StatusConflict)
	s.tus(http.MethodDelete, path, nil).want(http.StatusNoContent)
	s.tus(http.MethodDelete, half, nil).want(http.StatusNoContent)
	s.eventually("all is gone", func() bool { return len(s.stored()) == 0 && s.count(`SELECT count(*) FROM uploads`) == 0 })
}

// What others have of the same bytes stays when an upload that was put together is deleted.
func TestConcatenationSharesItsBytes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	text := noise(t, 3<<20)
	var pieces []string
	for _, part := range []string{text[:1<<20], text[1<<20:]} {
		piece := s.makeUpload(len(part), "Upload-Concat", "partial")
		s.send(piece, 0, part).want(http.StatusNoContent)
		pieces = append(pieces, piece)
	}
	path := s.located(s.tus(http.MethodPost, uploadsPath, nil, "Upload-Concat", "final;"+strings.Join(pieces, " ")).want(http.StatusCreated))
	s.finished(path, "finished")
	s.do(http.MethodPut, "/api/v1/apps/plain/files/same.bin", strings.NewReader(text)).want(http.StatusCreated)
	s.tus(http.MethodDelete, path, nil).want(http.StatusNoContent)
	if got := s.get("/api/v1/apps/plain/files/same.bin").want(http.StatusOK); string(got.body) != text {
		t.Errorf("the file has %d bytes, and other ones", len(got.body))
	}
}

// An upload of which the storage has lost what had come says so, and is begun anew.
func TestLostUpload(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	text := noise(t, 2<<20)
	path := s.makeUpload(len(text))
	s.send(path, 0, text[:1<<20]).want(http.StatusNoContent)
	for _, name := range s.stored() {
		must(t, os.Remove(s.dir+"/"+name))
	}
	if p := s.send(path, 1<<20, text[1<<20:]).problem(http.StatusGone); !strings.Contains(p.Detail, "Send it again") {
		t.Errorf("%+v", p)
	}
	s.tus(http.MethodHead, path, nil).want(http.StatusGone)
	if u := s.upload(path); u.State != "failed" || !strings.Contains(u.Message, "lost") {
		t.Errorf("%+v", u)
	}
	s.tus(http.MethodDelete, path, nil).want(http.StatusNoContent)
}

// What grew for an upload that is gone is removed in time, and what others may go on with stays.
func TestSweepGrowing(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	kept := s.makeUpload(10)
	s.send(kept, 0, "hello").want(http.StatusNoContent)
	gone := s.makeUpload(10)
	s.send(gone, 0, "hello").want(http.StatusNoContent)
	s.exec(`DELETE FROM uploads WHERE id = $1`, strings.TrimPrefix(gone, uploadsPath+"/"))
	then := time.Now().Add(-25 * time.Hour)
	for _, name := range s.stored() {
		must(t, os.Chtimes(s.dir+"/"+name, then, then))
	}
	second := startServer(t, s.pool, s.dir)
	s.eventually("one is removed", func() bool { return len(s.stored()) == 1 })
	second.send(kept, 5, "world").want(http.StatusNoContent)
	second.finished(kept, "finished")
}

// What keeps a worker from finishing an upload, and is not the upload's fault, costs time and no bytes.
func TestFinishingIsNotGivenUp(t *testing.T) {
	t.Parallel()
	first := newServer(t, idle)
	paths := make(map[string]string)
	for _, name := range []string{"patient", "crashing", "late"} {
		paths[name] = first.makeUpload(5)
		first.send(paths[name], 0, "hello").want(http.StatusNoContent)
	}
	set := func(name, what string) {
		first.exec(`UPDATE uploads SET `+what+` WHERE id = $1`, strings.TrimPrefix(paths[name], uploadsPath+"/"))
	}
	set("patient", "tries = 1000, crashes = 24")
	set("crashing", "crashes = 25")
	set("late", "expires_at = now() - interval '1 hour'")
	contents := first.dir + "/" + storage.ContentFolder
	must(t, os.WriteFile(contents, nil, 0o600)) // the folder cannot be made
	second := startServer(t, first.pool, first.dir)
	second.finished(paths["crashing"], "failed")
	second.eventually("the late one is given up, and removed", func() bool { return second.tus(http.MethodHead, paths["late"], nil).status >= 400 })
	second.eventually("the patient one waits", func() bool {
		return strings.Contains(second.upload(paths["patient"]).Message, "does not answer as it should; try 1002 in")
	})
	must(t, os.Remove(contents))
	second.exec(`UPDATE uploads SET due_at = now() - interval '1 hour' WHERE state = 'finishing'`)
	second.exec(`DELETE FROM river_job`)
	second.finished(paths["patient"], "finished")
}

// checksum is the value of Upload-Checksum of an algorithm.
func checksum(name, text string) string {
	h := map[string]hash.Hash{"sha1": sha1.New(), "sha256": sha256.New(), "md5": md5.New(), "crc32": crc32.NewIEEE()}[name]
	_, _ = io.WriteString(h, text) // it has no errors
	return name + " " + base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// Of a chunk whose digest is another than was sent with it, nothing counts.
func TestChecksum(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, name := range []string{"sha1", "sha256", "md5", "crc32"} {
		path := s.makeUpload(10)
		p := s.send(path, 0, "hello", "Upload-Checksum", checksum(name, "hallo"))
		if p.status != 460 || !strings.Contains(string(p.body), "Checksum Mismatch") {
			t.Errorf("%s of another text: %d %s", name, p.status, p.body)
		}
		if got := s.offset(path); got != 0 {
			t.Errorf("%s: %d bytes of a wrong chunk count", name, got)
		}
		s.send(path, 0, "hello", "Upload-Checksum", checksum(name, "hello")).want(http.StatusNoContent).wantHeader("Upload-Offset", "5")
		s.send(path, 5, "world", "Upload-Checksum", checksum(name, "world")).want(http.StatusNoContent)
		if u := s.finished(path, "finished"); *u.SHA256 != hexSHA256("helloworld") {
			t.Errorf("%s: %+v", name, u)
		}
	}
	path := s.makeUpload(10)
	sha512of := func(text string) string { return "sha-512=:" + b64SHA512(text) + ":" }
	s.send(path, 0, "hello", "Upload-Checksum", "sha3 abc").problem(http.StatusBadRequest)
	s.send(path, 0, "hello", "Upload-Checksum", "sha1 abc").problem(http.StatusBadRequest)
	s.send(path, 0, "hello", "Content-Digest", "sha-256=abc").problem(http.StatusBadRequest)
	s.send(path, 0, "hello", "Content-Digest", "id=:abc:, "+sha512of("hallo")).want(460)
	s.send(path, 0, "hello", "Content-Digest", "id=:abc:, "+sha512of("hello")).want(http.StatusNoContent)
	// An upload that is made with a wrong chunk is not made.
	before := s.count(`SELECT count(*) FROM uploads`)
	s.tus(http.MethodPost, uploadsPath, strings.NewReader("hello"), "Upload-Length", "5", "Upload-Checksum", checksum("sha1", "hallo")).want(460)
	if n := s.count(`SELECT count(*) FROM uploads`); n != before {
		t.Errorf("%d uploads, and before there were %d", n, before)
	}
	s.tus(http.MethodPost, uploadsPath, strings.NewReader("hello"), "Upload-Length", "5", "Upload-Checksum", checksum("sha1", "hello")).want(http.StatusCreated)
}

// The digest may come after the bytes.
func TestChecksumTrailer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for name, test := range map[string]struct {
		announce, trailer string
		status            int
	}{
		"right":           {"Upload-Checksum", "Upload-Checksum: " + checksum("sha1", "hello"), http.StatusNoContent},
		"right, by crc32": {"Upload-Checksum", "Upload-Checksum: " + checksum("crc32", "hello"), http.StatusNoContent},
		"right, RFC 9530": {"Content-Digest", "Content-Digest: sha-256=:" + strings.TrimPrefix(checksum("sha256", "hello"), "sha256 ") + ":", http.StatusNoContent},
		"wrong":           {"Upload-Checksum", "Upload-Checksum: " + checksum("md5", "hallo"), 460},
		"unknown":         {"Upload-Checksum", "Upload-Checksum: sha3 abc", http.StatusBadRequest},
		"missing":         {"Upload-Checksum", "X-Other: 1", http.StatusBadRequest},
		"none announced":  {"X-Other", "X-Other: 1", http.StatusNoContent},
		"not announced":   {"X-Other", "Upload-Checksum: " + checksum("md5", "hallo"), http.StatusNoContent},
		"besides":         {"Upload-Checksum", "Upload-Checksum: " + checksum("sha1", "hello") + "\r\nContent-Digest: sha-512=:" + b64SHA512("hallo") + ":", http.StatusNoContent},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			path := s.makeUpload(5)
			got := s.raw([]byte(head("PATCH "+path, "Tus-Resumable: 1.0.0", "Content-Type: application/offset+octet-stream", "Upload-Offset: 0",
				"Transfer-Encoding: chunked", "Trailer: "+test.announce) + inChunks([]byte("hello"), 2) + "0\r\n" + test.trailer + "\r\n\r\n"))
			if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", test.status)) {
				t.Errorf("want %d: %s", test.status, got)
			}
			want := 0
			if test.status == http.StatusNoContent {
				want = 5
			}
			if got := s.offset(path); got != want {
				t.Errorf("the offset is %d, want %d", got, want)
			}
		})
	}
}

// What the client says of the whole must be so.
func TestWantedDigest(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	digest := "sha-256=:" + strings.TrimPrefix(checksum("sha256", "hello"), "sha256 ") + ":"
	s.uploaded("hello", "Repr-Digest", digest)
	s.uploaded("hello", "Upload-Metadata", meta("sha256", hexSHA256("hello")))
	path := s.makeUpload(5, "Repr-Digest", digest)
	s.send(path, 0, "hallo").want(http.StatusNoContent)
	u := s.finished(path, "failed")
	if !strings.Contains(u.Message, hexSHA256("hello")) || !strings.Contains(u.Message, hexSHA256("hallo")) || u.SHA256 != nil {
		t.Errorf("%+v", u)
	}
	s.tus(http.MethodHead, path, nil).want(http.StatusGone)
	s.tus(http.MethodDelete, path, nil).want(http.StatusNoContent)
}

// Uploads that nobody goes on with are removed, and those that were not used.
func TestUploadExpiry(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *config) { c.jobs.KeepUploads = time.Hour })
	path := s.makeUpload(10)
	s.send(path, 0, "hello").want(http.StatusNoContent)
	s.uploaded("hello")
	piece := s.makeUpload(5, "Upload-Concat", "partial")
	s.send(piece, 0, "piece").want(http.StatusNoContent)
	s.engine.SweepFiles(t.Context())
	if n := s.count(`SELECT count(*) FROM uploads WHERE expires_at BETWEEN now() + interval '59 minutes' AND now() + interval '1 hour'`); n != 3 {
		t.Fatalf("%d uploads are kept", n)
	}
	s.exec(`UPDATE uploads SET expires_at = now()`)
	s.eventually("the uploads are removed", func() bool { return s.count(`SELECT count(*) FROM uploads`) == 0 })
	s.exec(`UPDATE contents SET loose_since = now() - interval '1 day'`)
	s.eventually("their files are removed", func() bool { return len(s.stored()) == 0 })
	s.tus(http.MethodHead, path, nil).want(http.StatusNotFound)
	s.send(path, 5, "world").problem(http.StatusNotFound)
}

// A client gives up an upload.
func TestTermination(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	path := s.makeUpload(10)
	s.send(path, 0, "hello").want(http.StatusNoContent)
	s.tus(http.MethodDelete, path, nil).want(http.StatusNoContent)
	s.tus(http.MethodHead, path, nil).want(http.StatusNotFound)
	s.tus(http.MethodDelete, path, nil).problem(http.StatusNotFound)
	done := s.uploaded("hello")
	s.do(http.MethodDelete, uploadPath(done.ID), nil).want(http.StatusNoContent)
	s.get(uploadPath(done.ID)).problem(http.StatusNotFound)
	s.eventually("all is gone", func() bool { return len(s.stored()) == 0 })
}

// An upload is its maker's alone.
func TestUploadOwner(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	jo, flo := s.person("jo@example.com"), s.person("flo@example.com")
	s.member("plain", "person", jo.login, "operator", true)
	s.member("plain", "person", flo.login, "admin", true)
	hers, his := "Bearer "+jo.token, "Bearer "+flo.token
	var paths []string
	for range 3 {
		paths = append(paths, s.makeUpload(5, "Authorization", hers, "Upload-Metadata", meta("app", "plain")))
	}
	s.makeUpload(5, "Authorization", his)
	path := paths[0]
	for _, other := range []string{his, "Bearer " + adminToken} {
		s.get(path, "Authorization", other).problem(http.StatusNotFound)
		s.tus(http.MethodHead, path, nil, "Authorization", other).want(http.StatusNotFound)
		s.send(path, 0, "hello", "Authorization", other).problem(http.StatusNotFound)
		s.tus(http.MethodDelete, path, nil, "Authorization", other).problem(http.StatusNotFound)
	}
	piece := s.makeUpload(1, "Authorization", hers, "Upload-Concat", "partial")
	s.send(piece, 0, "x", "Authorization", hers).want(http.StatusNoContent)
	s.tus(http.MethodPost, uploadsPath, nil, "Upload-Concat", "final;"+piece, "Authorization", his).problem(http.StatusNotFound)
	s.send(path, 0, "hello", "Authorization", hers).want(http.StatusNoContent)
	looking := "Bearer " + s.tokenOf(jo.id, storage.View)
	s.send(paths[1], 0, "hello", "Authorization", looking).problem(http.StatusForbidden)

	var ids []string
	for next := uploadsPath + "?limit=2"; next != ""; {
		var page struct {
			Items []api.Upload
			Next  *string `json:"next_cursor"`
		}
		s.get(next, "Authorization", hers).want(http.StatusOK).into(&page)
		for _, u := range page.Items {
			ids = append(ids, u.ID)
		}
		next = ""
		if page.Next != nil {
			next = uploadsPath + "?limit=2&cursor=" + *page.Next
		}
	}
	want := append([]string{piece}, paths[2], paths[1], paths[0])
	for i := range want {
		want[i] = strings.TrimPrefix(want[i], uploadsPath+"/")
	}
	if !slices.Equal(ids, want) {
		t.Errorf("listed %v, want %v", ids, want)
	}
	s.get(uploadsPath + "?cursor=x").problem(http.StatusUnprocessableEntity)
}

// A token reaches no uploads of its owner but those for its apps, and does no more with them than it
// is for.
func TestUploadByToken(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	token := func(rights storage.Rights, apps ...string) string {
		return "Bearer " + s.tokenOf(storage.LocalAdmin, rights, apps...)
	}
	all := storage.View | storage.Operate | storage.Data
	elsewhere, seeing, noData := token(all, "vision"), token(storage.View, "plain"), token(storage.View|storage.Operate, "plain")
	text := noise(t, 3<<20)
	path := s.makeUpload(len(text), "Upload-Metadata", meta("app", "plain"))
	piece := s.makeUpload(1, "Upload-Concat", "partial", "Upload-Metadata", meta("app", "plain"))
	s.send(piece, 0, "x").want(http.StatusNoContent)
	free := s.makeUpload(1)

	// Who may not see it does not even interrupt it.
	conn := s.hang(path, len(text), text[:2<<20])
	s.tus(http.MethodHead, path, nil, "Authorization", elsewhere).want(http.StatusNotFound)
	s.send(path, 0, "x", "Authorization", elsewhere).problem(http.StatusNotFound)
	s.send(path, 0, "x", "Authorization", seeing).problem(http.StatusForbidden)
	s.send(path, 0, "x", "Authorization", noData).problem(http.StatusForbidden)
	conn.say(text[2<<20:])
	if status, body := conn.answer(); status != http.StatusNoContent {
		t.Fatalf("the request that was under way: %d %s", status, body)
	}

	s.get(path, "Authorization", elsewhere).problem(http.StatusNotFound)
	s.get(path+"?wait=1", "Authorization", elsewhere).problem(http.StatusNotFound)
	s.tus(http.MethodDelete, path, nil, "Authorization", elsewhere).problem(http.StatusNotFound)
	s.tus(http.MethodPost, uploadsPath, nil, "Upload-Concat", "final;"+piece, "Authorization", elsewhere).problem(http.StatusNotFound)
	s.post(importTask(object{"upload": strings.TrimPrefix(path, uploadsPath+"/")}), nil, "Authorization", elsewhere).wantField("body.upload", "no such upload")
	s.get(path, "Authorization", seeing).want(http.StatusOK)
	s.tus(http.MethodHead, path, nil, "Authorization", seeing).want(http.StatusOK)
	for _, less := range []string{seeing, noData} {
		s.tus(http.MethodDelete, path, nil, "Authorization", less).problem(http.StatusForbidden)
		s.tus(http.MethodPost, uploadsPath, nil, "Upload-Concat", "final;"+piece, "Authorization", less).problem(http.StatusForbidden)
	}
	for who, want := range map[string][]string{elsewhere: {free}, seeing: {free, piece, path}} {
		var page struct{ Items []api.Upload }
		s.get(uploadsPath, "Authorization", who).want(http.StatusOK).into(&page)
		var listed []string
		for _, u := range page.Items {
			listed = append(listed, uploadPath(u.ID))
		}
		if !slices.Equal(listed, want) {
			t.Errorf("listed %v, want %v", listed, want)
		}
	}
	// What is for no app is changed by who changes something somewhere.
	s.get(free, "Authorization", seeing).want(http.StatusOK)
	s.tus(http.MethodDelete, free, nil, "Authorization", seeing).problem(http.StatusForbidden)
	s.send(free, 0, "x", "Authorization", elsewhere).want(http.StatusNoContent)
	s.tus(http.MethodDelete, free, nil, "Authorization", elsewhere).want(http.StatusNoContent)
	s.tus(http.MethodDelete, path, nil, "Authorization", token(all, "plain")).want(http.StatusNoContent)
}

// What a person, and an app, has of unused uploads is bounded, whoever else asks at the same time.
func TestUploadQuota(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *config) { c.jobs.UploadQuota = storage.Quota{Person: 1000, App: 2500} })
	var asked sync.WaitGroup
	made := make(chan string, 20)
	for range 20 {
		asked.Go(func() {
			a := s.tus(http.MethodPost, uploadsPath, nil, "Upload-Length", "300")
			if a.status == http.StatusCreated {
				made <- s.located(a)
			} else if !strings.Contains(a.problem(http.StatusRequestEntityTooLarge).Detail, "900") {
				t.Errorf("%s", a.body)
			}
		})
	}
	asked.Wait()
	if len(made) != 3 {
		t.Fatalf("%d uploads were made", len(made))
	}
	// Of unknown size: what comes is counted.
	later := s.located(s.tus(http.MethodPost, uploadsPath, nil, "Upload-Defer-Length", "1").want(http.StatusCreated))
	s.send(later, 0, noise(t, 60)).want(http.StatusNoContent)
	s.send(later, 60, noise(t, 60)).problem(http.StatusRequestEntityTooLarge)
	s.send(later, 60, "x", "Upload-Length", "101").problem(http.StatusRequestEntityTooLarge)
	s.send(later, 60, noise(t, 40), "Upload-Length", "100").want(http.StatusNoContent)
	s.finished(later, "finished")
	s.tus(http.MethodPost, uploadsPath, nil, "Upload-Length", "1").problem(http.StatusRequestEntityTooLarge)
	s.tus(http.MethodDelete, later, nil).want(http.StatusNoContent)
	s.makeUpload(100)

	for i := range 3 {
		who := s.person(fmt.Sprintf("p%d@example.com", i))
		s.member("plain", "person", who.login, "operator", true)
		a := s.tus(http.MethodPost, uploadsPath, nil, "Upload-Length", "900", "Upload-Metadata", meta("app", "plain"), "Authorization", "Bearer "+who.token)
		if i < 2 {
			a.want(http.StatusCreated)
		} else if p := a.problem(http.StatusRequestEntityTooLarge); !strings.Contains(p.Detail, "plain") || !strings.Contains(p.Detail, "2500") {
			t.Errorf("%s", p.Detail)
		}
	}
}

// However often, and wherever, the connection breaks off, what is uploaded in the end is right.
func TestBrokenUploads(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	text := noise(t, 2<<20+12345)
	r := rand.New(rand.NewPCG(4, 9))
	path := s.makeUpload(len(text), "Upload-Metadata", meta("sha256", hexSHA256(text)))
	broken := 0
	for at := 0; at < len(text); at = s.offset(path) {
		headers := []string{"Tus-Resumable: 1.0.0", "Content-Type: application/offset+octet-stream", fmt.Sprintf("Upload-Offset: %d", at)}
		sent := text[at:]
		var request string
		if r.IntN(2) == 0 {
			request = head("PATCH "+path, append(headers, fmt.Sprintf("Content-Length: %d", len(sent)))...) + sent
		} else {
			request = head("PATCH "+path, append(headers, "Transfer-Encoding: chunked")...) + inChunks([]byte(sent), 100_000) + "0\r\n\r\n"
		}
		if cut := r.IntN(300_000); cut < len(request) {
			request = request[:cut]
			broken++
		}
		s.breakOff([]byte(request), r.IntN(2) == 0)
	}
	if u := s.finished(path, "finished"); *u.SHA256 != hexSHA256(text) || broken < 5 {
		t.Errorf("%d breaks: %+v", broken, u)
	}
	if lines := s.logs.lines(`"level":"ERROR"`); len(lines) > 0 {
		t.Errorf("a client that went away is logged as our error: %s", lines[0])
	}
}

// A request that another took its upload from leaves its connection as good as it was, or closed.
func TestTakeOverLeavesTheConnection(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	path := s.makeUpload(10)
	ask := head("HEAD "+path, "Tus-Resumable: 1.0.0")
	for range 10 {
		conns := []*rawConn{s.talk(), s.talk()}
		for _, conn := range conns {
			conn.say(ask)
		}
		for _, conn := range conns {
			resp, err := http.ReadResponse(conn.in, &http.Request{Method: http.MethodHead})
			must(t, err)
			must(t, resp.Body.Close())
			conn.say(head("GET " + path))
			if status, body := conn.answer(); status != http.StatusOK && !resp.Close {
				t.Fatalf("after a HEAD that was answered %d a GET on the same connection is answered %d %s", resp.StatusCode, status, body)
			}
		}
	}
}

// hang sends the beginning of a chunk, of some MiB, and then nothing more. Some of it is on disk when
// it returns.
func (s *server) hang(path string, size int, beginning string) *rawConn {
	s.t.Helper()
	conn := s.talk()
	conn.say(head("PATCH "+path, "Tus-Resumable: 1.0.0", "Content-Type: application/offset+octet-stream", "Upload-Offset: 0",
		fmt.Sprintf("Content-Length: %d", size)) + beginning)
	s.eventually("some bytes are on disk", func() bool {
		for _, name := range s.stored() {
			if st, err := os.Stat(s.dir + "/" + name); err == nil && st.Size() >= 1<<20 {
				return true
			}
		}
		return false
	})
	return conn
}

// Whoever wants an upload that another request holds, gets it in a moment: from a request of the
// same process, of another one, and of one that is no more.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	first := newServer(t)
	second := startServer(t, first.pool, first.dir)
	dead := startServer(t, first.pool, first.dir, idle) // nothing shows that it lives
	for name, holder := range map[string]*server{"itself": second, "another": first, "dead": dead} {
		t.Run(name, func(t *testing.T) {
			holder, s := holder.in(t), second.in(t)
			text := noise(t, 3<<20)
			path := s.makeUpload(len(text))
			conn := holder.hang(path, len(text), text[:2<<20])
			began := time.Now()
			at := s.offset(path)
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("HEAD took %s", took)
			}
			if name == "dead" {
				must(t, conn.Close()) // as the system closes all that a dead process had open
			} else {
				if at < 1<<20 {
					t.Errorf("the offset is %d: what came before is lost", at)
				}
				if status, body := conn.answer(); status != http.StatusConflict || !strings.Contains(body, "taken") {
					t.Errorf("the first request is answered %d %s", status, body)
				}
			}
			s.send(path, at, text[at:]).want(http.StatusNoContent)
			if u := s.finished(path, "finished"); *u.SHA256 != hexSHA256(text) {
				t.Errorf("%+v", u)
			}
			_ = conn.Close() // of the dead it is
			if s.content(strings.TrimPrefix(path, uploadsPath+"/")) != text {
				t.Error("the content was changed afterwards")
			}
			s.tus(http.MethodDelete, path, nil).want(http.StatusNoContent)
		})
	}
}

// Clients of the IETF's drafts use the same uploads.
func TestResumableUploadDraft(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for version, complete := range map[string][2]string{
		"3": {"Upload-Incomplete: ?1", "Upload-Incomplete: ?0"}, "4": {"Upload-Complete: ?0", "Upload-Complete: ?1"},
		"5": {"Upload-Complete: ?0", "Upload-Complete: ?1"}, "6": {"Upload-Complete: ?0", "Upload-Complete: ?1"},
	} {
		t.Run(version, func(t *testing.T) {
			s := s.in(t)
			draft := "Upload-Draft-Interop-Version: " + version
			conn := s.talk()
			conn.say(head("POST "+uploadsPath, draft, complete[0], "Content-Length: 5", "Content-Type: text/plain",
				`Content-Disposition: attachment; filename="a.txt"`) + "hello")
			resp, err := http.ReadResponse(conn.in, nil)
			must(t, err)
			must(t, resp.Body.Close())
			if resp.StatusCode != 104 || resp.Header.Get("Location") == "" {
				t.Fatalf("first answer: %s %v", resp.Status, resp.Header)
			}
			path := strings.TrimPrefix(resp.Header.Get("Location"), "http://localhost")
			if status, body := conn.answer(); status != http.StatusCreated {
				t.Fatalf("second answer: %d %s", status, body)
			}
			name, value, _ := strings.Cut(complete[0], ": ")
			at := s.do(http.MethodHead, path, nil, "Upload-Draft-Interop-Version", version).want(http.StatusNoContent)
			at.wantHeader("Upload-Offset", "5")
			at.wantHeader(name, value)
			name, value, _ = strings.Cut(complete[1], ": ")
			s.do(http.MethodPatch, path, strings.NewReader("world"), "Upload-Draft-Interop-Version", version, name, value,
				"Upload-Offset", "5", "Content-Type", "application/partial-upload").want(http.StatusNoContent)
			u := s.finished(path, "finished")
			if *u.SHA256 != hexSHA256("helloworld") || u.Filename != "a.txt" || u.ContentType != "text/plain" {
				t.Errorf("%+v", u)
			}
			s.do(http.MethodDelete, path, nil, "Upload-Draft-Interop-Version", version).want(http.StatusNoContent)
		})
	}
}

// Finishing survives that River forgets it, and that the process dies which was to do it.
func TestFinishingGoesOn(t *testing.T) {
	t.Parallel()
	first := newServer(t, idle)
	path := first.makeUpload(5)
	first.send(path, 0, "hello").want(http.StatusNoContent)
	piece := first.makeUpload(3<<20, "Upload-Concat", "partial")
	first.send(piece, 0, noise(t, 3<<20)).want(http.StatusNoContent)
	tail := first.makeUpload(3, "Upload-Concat", "partial")
	first.send(tail, 0, "end").want(http.StatusNoContent)
	whole := first.located(first.tus(http.MethodPost, uploadsPath, nil, "Upload-Concat", "final;"+piece+" "+tail).want(http.StatusCreated))
	if u := first.upload(path); u.State != "finishing" {
		t.Fatalf("%+v", u)
	}
	// Somebody died over it, and its job is gone.
	first.exec(`UPDATE uploads SET held_by = 'somebody', lease_until = now() + interval '1 hour', due_at = now() - interval '1 hour' WHERE state = 'finishing'`)
	first.exec(`DELETE FROM river_job`)
	second := startServer(t, first.pool, first.dir)
	second.finished(path, "finished")
	if u := second.finished(whole, "finished"); *u.SHA256 != hexSHA256(noise(t, 3<<20)+"end") {
		t.Errorf("%+v", u)
	}
}

// A client that waits for an upload learns of each change at once, from any process.
func TestUploadWait(t *testing.T) {
	t.Parallel()
	first := newServer(t)
	second := startServer(t, first.pool, first.dir)
	path := first.makeUpload(10)
	a := second.get(path).want(http.StatusOK)
	second.get(path, "If-None-Match", a.header.Get("ETag")).want(http.StatusNotModified)
	second.get(path + "?wait=61").problem(http.StatusUnprocessableEntity)
	changed := make(chan *answer, 1)
	go func() { changed <- second.get(path+"?wait=60", "If-None-Match", a.header.Get("ETag")) }()
	first.eventually("somebody waits", func() bool { return second.active.Load() == 1 })
	first.send(path, 0, "hello").want(http.StatusNoContent)
	select {
	case a := <-changed:
		var u api.Upload
		a.want(http.StatusOK).into(&u)
		if u.Received != 5 {
			t.Errorf("%+v", u)
		}
	case <-time.After(patience):
		t.Fatal("the change is not told")
	}
}

// Who waits and names no version of the upload learns when its state is another.
func TestUploadWaitForState(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	path := s.makeUpload(10)
	wait := func() chan *answer {
		told := make(chan *answer, 1)
		go func() { told <- s.get(path + "?wait=60") }()
		s.eventually("somebody waits", func() bool { return s.active.Load() == 1 })
		return told
	}
	tells := func(told chan *answer, state string) {
		t.Helper()
		select {
		case a := <-told:
			var u api.Upload
			a.want(http.StatusOK).into(&u)
			if u.State != state {
				t.Errorf("told that it is %s, want %s", u.State, state)
			}
		case <-time.After(patience):
			t.Fatalf("that it is %s is not told", state)
		}
	}
	receiving := wait()
	s.send(path, 0, "hello").want(http.StatusNoContent)
	s.send(path, 5, "world").want(http.StatusNoContent)
	tells(receiving, "finishing")
	finishing := wait()
	s.startEngine()
	tells(finishing, "finished")
	began := time.Now()
	s.get(path + "?wait=60").want(http.StatusOK)
	if took := time.Since(began); took > patience/2 {
		t.Errorf("a finished one is told of after %s", took)
	}
	another := s.makeUpload(10)
	s.get(another + "?wait=1").want(http.StatusOK)
}

// Uploads whose bytes do not come are ended, and can be gone on with.
func TestSlowUploads(t *testing.T) {
	t.Parallel()
	s := impatient(t, patience, 200*time.Millisecond, patience)
	text := noise(t, 3<<20)
	path := s.makeUpload(len(text))
	conn := s.hang(path, len(text), text[:2<<20])
	if status, body := conn.answer(); status != http.StatusServiceUnavailable || !strings.Contains(body, "HEAD") {
		t.Errorf("%d %s", status, body)
	}
	at := s.offset(path)
	if at != 2<<20 {
		t.Errorf("the offset is %d", at)
	}
	s.send(path, at, text[at:]).want(http.StatusNoContent)
	s.finished(path, "finished")
}

// usedBy checks that an upload was refused because the task used it.
func (a *answer) usedBy(task string) {
	a.t.Helper()
	if p := a.problem(http.StatusConflict); !strings.Contains(p.Detail, task) {
		a.t.Errorf("the refusal does not name %s: %s", task, p.Detail)
	}
}

// A finished upload starts a task, once.
func TestTaskFromUpload(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	zip := string(accounts(t, 20, 2))
	sent := s.uploaded(zip, "Upload-Metadata", meta("filename", "importAccount.zip", "app", "vision"))
	task := importTask(object{"upload": sent.ID})
	made := s.post(task, nil, "Idempotency-Key", "k").want(http.StatusAccepted).task()
	s.waitFinal(made.ID, "succeeded")
	if u := s.upload(uploadPath(sent.ID)); u.UsedBy == nil || *u.UsedBy != made.ID || *u.SHA256 != hexSHA256(zip) || u.State != "finished" {
		t.Errorf("the used upload: %+v", u)
	}
	s.post(task, nil).usedBy(made.ID)
	s.post(task, nil, "Idempotency-Key", "another").usedBy(made.ID)
	if again := s.post(task, nil, "Idempotency-Key", "k").want(http.StatusAccepted).task(); again.ID != made.ID {
		t.Errorf("the same request made %s, and %s before", again.ID, made.ID)
	}
	s.tus(http.MethodDelete, uploadPath(sent.ID), nil).usedBy(made.ID)

	// Of many at once, one gets it.
	raced := s.uploaded(zip)
	answers := make(chan *answer, 8)
	for range cap(answers) {
		go func() { answers <- s.post(importTask(object{"upload": raced.ID}), nil) }()
	}
	var winner string
	var losers []*answer
	for range cap(answers) {
		if a := <-answers; a.status == http.StatusAccepted && winner == "" {
			winner = a.task().ID
		} else {
			losers = append(losers, a)
		}
	}
	for _, a := range losers {
		a.usedBy(winner)
	}
	s.waitFinal(winner, "succeeded")
	if n := s.count(`SELECT count(*) FROM tasks`); n != 2 {
		t.Errorf("%d tasks were made", n)
	}
}

// Why an upload cannot start a task is said, and it stays for another try.
func TestTaskFromWrongUpload(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	zip := string(accounts(t, 1, 0))
	started := s.makeUpload(10)
	s.post(importTask(object{"upload": strings.TrimPrefix(started, uploadsPath+"/")}), nil).want(http.StatusConflict).wantHeader("Retry-After", "1")
	piece := s.makeUpload(1, "Upload-Concat", "partial")
	s.send(piece, 0, "x").want(http.StatusNoContent)
	failed := s.makeUpload(1, "Upload-Metadata", meta("sha256", hexSHA256("y")))
	s.send(failed, 0, "x").want(http.StatusNoContent)
	s.finished(failed, "failed")
	jo := s.person("jo@example.com")
	s.member("vision", "person", jo.login, "operator", true)
	hers := s.makeUpload(1, "Authorization", "Bearer "+jo.token)
	for name, test := range map[string]struct{ path, words string }{
		"a piece":     {piece, "piece"},
		"failed":      {failed, hexSHA256("y")},
		"another app": {uploadPath(s.uploaded(zip, "Upload-Metadata", meta("app", "plain")).ID), "for the app plain"},
	} {
		id := strings.TrimPrefix(test.path, uploadsPath+"/")
		if p := s.post(importTask(object{"upload": id}), nil).problem(http.StatusConflict); !strings.Contains(p.Detail, test.words) {
			t.Errorf("%s: %s", name, p.Detail)
		}
	}
	s.post(importTask(object{"upload": strings.TrimPrefix(hers, uploadsPath+"/")}), nil).wantField("body.upload", "no such upload")
	s.post(importTask(object{"upload": uuid.NewString()}), nil).wantField("body.upload", "no such upload")
	s.post(importTask(object{"upload": "x"}), nil).problem(http.StatusUnprocessableEntity)
	good := s.uploaded(zip)
	s.post(importTask(object{"upload": good.ID}), []byte(zip)).wantField("body.upload", "not both")
	s.post(object{"app": "vision", "name": "refresh", "kind": "epm.refreshCube", "upload": good.ID}, nil).wantField("body.upload", "takes no file")
	text := s.uploaded("no zip")
	s.post(importTask(object{"upload": text.ID}), nil).wantField("file", "zip")
	for _, id := range []string{good.ID, text.ID} {
		if u := s.upload(uploadPath(id)); u.UsedBy != nil || u.State != "finished" {
			t.Errorf("%+v", u)
		}
	}
	s.waitFinal(s.create(importTask(object{"upload": good.ID}), nil).ID, "succeeded")
}

// No upload is larger than the server takes, whether it says so or not.
func TestUploadTooLarge(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle, func(c *config) { c.api.MaxUpload = 10 })
	for _, refused := range []*answer{
		s.tus(http.MethodPost, uploadsPath, nil, "Upload-Length", "11"),
		s.do(http.MethodPost, uploadsPath, strings.NewReader("hello world"), "Upload-Draft-Interop-Version", "6", "Upload-Complete", "?1"),
	} {
		if p := refused.problem(http.StatusRequestEntityTooLarge); !strings.Contains(p.Detail, "10 bytes") {
			t.Errorf("%s", p.Detail)
		}
	}
	if n := s.count(`SELECT count(*) FROM uploads`); n != 0 {
		t.Errorf("%d uploads", n)
	}
	path := s.located(s.tus(http.MethodPost, uploadsPath, nil, "Upload-Defer-Length", "1").want(http.StatusCreated))
	s.send(path, 0, "hello").want(http.StatusNoContent)
	s.send(path, 5, "world!").problem(http.StatusRequestEntityTooLarge)
	s.send(path, s.offset(path), "", "Upload-Length", "11").problem(http.StatusBadRequest)
	if got := s.offset(path); got != 10 {
		t.Errorf("the offset is %d", got)
	}
}

// A server that stops ends the uploads that are under way, and they can be gone on with.
func TestStopWhileUploading(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	other := startServer(t, s.pool, s.dir)
	text := noise(t, 3<<20)
	path := s.makeUpload(len(text))
	conn := s.hang(path, len(text), text[:2<<20])
	s.api.Stop()
	if status, body := conn.answer(); status != http.StatusServiceUnavailable || !strings.Contains(body, "stopped") {
		t.Errorf("%d %s", status, body)
	}
	at := other.offset(path)
	if at < 1<<20 {
		t.Errorf("the offset is %d", at)
	}
	other.send(path, at, text[at:]).want(http.StatusNoContent)
	other.finished(path, "finished")
}

// The uploads for an app go with it, and their files.
func TestUploadsOfDeletedApp(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	path := s.makeUpload(10, "Upload-Metadata", meta("app", "plain"))
	s.send(path, 0, "hello").want(http.StatusNoContent)
	s.do(http.MethodDelete, "/api/v1/apps/plain", nil).want(http.StatusNoContent)
	s.eventually("all is gone", func() bool { return len(s.stored()) == 0 && s.count(`SELECT count(*) FROM uploads`) == 0 })
}
