package api_test

import (
	"encoding/base64"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"longhaul/api"
)

const uploadsPath = "/api/v1/uploads"

// tus sends a request as a client of tus 1.0 does.
func (s *server) tus(method, path string, body io.Reader, headers ...string) *answer {
	s.t.Helper()
	headers = append([]string{"Tus-Resumable", "1.0.0"}, headers...)
	if body != nil {
		headers = append([]string{"Content-Type", "application/offset+octet-stream"}, headers...)
	}
	return s.do(method, path, body, headers...)
}

// meta writes Upload-Metadata of names and values in turn.
func meta(pairs ...string) string {
	var list []string
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, pairs[i]+" "+base64.StdEncoding.EncodeToString([]byte(pairs[i+1])))
	}
	return strings.Join(list, ",")
}

// makeUpload makes an upload of a size and returns its path.
func (s *server) makeUpload(size int, headers ...string) string {
	s.t.Helper()
	return s.located(s.tus(http.MethodPost, uploadsPath, nil, append([]string{"Upload-Length", strconv.Itoa(size)}, headers...)...).want(http.StatusCreated))
}

// located is the path of what an answer's Location names.
func (s *server) located(a *answer) string {
	s.t.Helper()
	path, ours := strings.CutPrefix(a.header.Get("Location"), s.url)
	if !ours || !strings.HasPrefix(path, uploadsPath+"/") {
		s.t.Fatalf("%s: Location is %q", a.asked, a.header.Get("Location"))
	}
	return path
}

// send sends bytes of an upload from an offset on.
func (s *server) send(path string, offset int, chunk string, headers ...string) *answer {
	s.t.Helper()
	headers = append([]string{"Upload-Offset", strconv.Itoa(offset)}, headers...)
	return s.tus(http.MethodPatch, path, strings.NewReader(chunk), headers...)
}

// offset asks how far an upload is.
func (s *server) offset(path string) int {
	s.t.Helper()
	a := s.tus(http.MethodHead, path, nil).want(http.StatusOK)
	n, err := strconv.Atoi(a.header.Get("Upload-Offset"))
	must(s.t, err)
	a.wantHeader("Cache-Control", "no-store")
	a.wantHeader("Tus-Resumable", "1.0.0")
	return n
}

// upload is an upload as the API shows it.
func (s *server) upload(path string) api.Upload {
	s.t.Helper()
	var u api.Upload
	s.get(path).want(http.StatusOK).into(&u)
	return u
}

// finished follows an upload by long polls to the state that it must end in.
func (s *server) finished(path, state string) api.Upload {
	s.t.Helper()
	u := s.ended(path)
	if u.State != state {
		s.t.Fatalf("upload %s is %s, want %s: %s", u.ID, u.State, state, u.Message)
	}
	return u
}

// ended follows an upload by long polls to its end.
func (s *server) ended(path string) api.Upload {
	s.t.Helper()
	var tag string
	var u api.Upload
	for u.State != "finished" && u.State != "failed" {
		a := s.get(path+"?wait=20", "If-None-Match", tag)
		if tag = a.header.Get("ETag"); a.status != http.StatusNotModified {
			a.want(http.StatusOK).into(&u)
		}
	}
	return u
}

// uploaded sends a whole file and returns the upload, finished.
func (s *server) uploaded(text string, headers ...string) api.Upload {
	s.t.Helper()
	path := s.makeUpload(len(text), headers...)
	if text != "" {
		s.send(path, 0, text).want(http.StatusNoContent)
	}
	return s.finished(path, "finished")
}

func uploadPath(id string) string { return uploadsPath + "/" + id }

// noise is text that does not repeat.
func noise(t testing.TB, size int) string {
	t.Helper()
	b := make([]byte, size)
	_, err := rand.NewChaCha8([32]byte{byte(size)}).Read(b)
	must(t, err)
	return string(b)
}
