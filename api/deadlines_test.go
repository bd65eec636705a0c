package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
)

// impatient makes a server wait less for slow clients.
func impatient(t *testing.T, body, upload, download time.Duration, changes ...func(*config)) *server {
	t.Helper()
	s := newServer(t, changes...)
	s.api.SetDeadlinesForTest(body, upload, download)
	return s
}

// rawConn is a connection that a test writes to byte by byte.
type rawConn struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func (s *server) talk() *rawConn {
	s.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	must(s.t, err)
	must(s.t, conn.SetDeadline(time.Now().Add(patience)))
	s.t.Cleanup(func() { _ = conn.Close() }) // mostly closed by the server already
	return &rawConn{s.t, conn, bufio.NewReader(conn)}
}

// say writes; the server may have closed by then, which the answer tells.
func (c *rawConn) say(text string) { _, _ = io.WriteString(c.Conn, text) }

// answer reads one answer; a closed connection is status 0.
func (c *rawConn) answer() (status int, body string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return resp.StatusCode, err.Error()
	}
	return resp.StatusCode, string(text)
}

// wantClosed checks that the server has closed the connection.
func (c *rawConn) wantClosed() {
	c.t.Helper()
	if n, err := io.Copy(io.Discard, c.in); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("the connection goes on: %d bytes more, %v", n, err)
	}
}

func head(line string, headers ...string) string {
	lines := append([]string{line + " HTTP/1.1", "Host: localhost", "Authorization: Bearer " + adminToken}, headers...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// Bodies that do not come are given up.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	s := impatient(t, 300*time.Millisecond, 300*time.Millisecond, patience, idle)
	const (
		asJSON = "Content-Type: application/json"
		asForm = "Content-Type: application/x-www-form-urlencoded"
		length = "Content-Length: 100"
		parts  = "Content-Type: multipart/form-data; boundary=x"
	)
	for name, test := range map[string]struct {
		text   string
		status int
	}{
		"JSON":                  {head("PUT /api/v1/apps/plain", asJSON, length) + `{"product": `, http.StatusRequestTimeout},
		"JSON in chunks":        {head("PUT /api/v1/apps/plain", asJSON, "Transfer-Encoding: chunked") + "5\r\n{\"pro", http.StatusRequestTimeout},
		"task":                  {head("POST /api/v1/tasks", asJSON, length) + `{"app": `, http.StatusRequestTimeout},
		"form":                  {head("POST /sign-in", asForm, length) + "token=", http.StatusRequestTimeout},
		"upload":                {head("POST /api/v1/tasks", parts, length) + "--x\r\n", http.StatusRequestTimeout},
		"nobody reads it":       {head("POST /api/v1/tasks/"+uuid.NewString()+"/cancel", asJSON, length) + "{", http.StatusNotFound},
		"whoever is a stranger": {strings.Replace(head("PUT /api/v1/apps/plain", asJSON, length), adminToken, "x", 1) + "{", http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.in(t).talk()
			began := time.Now()
			c.say(test.text)
			status, body := c.answer()
			if status != test.status || status == http.StatusRequestTimeout && !strings.Contains(body, "too slowly") {
				t.Errorf("%d: %s", status, body)
			}
			c.wantClosed()
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("given up after %s", took)
			}
		})
	}
	s.wantNothing()
}

// A slow upload that goes on goes through, however long it takes.
func TestSlowUpload(t *testing.T) {
	t.Parallel()
	s := impatient(t, 200*time.Millisecond, 2*time.Second, patience, idle)
	contentType, body := multipartBody(t, part{"task", jsonText(t, noop())}, part{"file", zipOf(t, entry{"a", strings.Repeat("b", 100)})})
	c := s.talk()
	c.say(head("POST /api/v1/tasks", "Content-Type: "+contentType, fmt.Sprintf("Content-Length: %d", len(body))))
	for piece := range slices.Chunk(body, len(body)/10) {
		time.Sleep(80 * time.Millisecond) // what is tested is how slow it is
		c.say(string(piece))
	}
	if status, text := c.answer(); status != http.StatusAccepted {
		t.Errorf("%d: %s", status, text)
	}
	// The connection serves others after it, long after its last deadline.
	time.Sleep(300 * time.Millisecond)
	c.say(head("GET /api/v1/me"))
	if status, text := c.answer(); status != http.StatusOK {
		t.Errorf("after it: %d: %s", status, text)
	}
}

// A connection serves others long after the deadlines of a request, a stream's too, have passed.
func TestKeptConnection(t *testing.T) {
	t.Parallel()
	s := impatient(t, 100*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond)
	task := s.waitFinal(s.create(noop(), nil).ID, "succeeded")
	c := s.talk()
	for _, line := range []string{"GET /api/v1/me", "GET " + taskPath(task.ID) + "/events", "GET /healthz", "POST " + taskPath(task.ID) + "/cancel"} {
		c.say(head(line, "Content-Length: 2") + "{}")
		if status, body := c.answer(); status == 0 {
			t.Fatalf("%s: %s", line, body)
		}
		time.Sleep(300 * time.Millisecond) // three times what each is given
	}
	c.say(head("GET /api/v1/me"))
	if status, body := c.answer(); status != http.StatusOK {
		t.Errorf("%d: %s", status, body)
	}
}

// A body that has come leaves its handler all the time it needs.
func TestDeadlineEndsWithTheBody(t *testing.T) {
	t.Parallel()
	s := impatient(t, 100*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond, idle)
	s.echo().POST("/static/wait", func(c echo.Context) error {
		if _, err := io.Copy(io.Discard, c.Request().Body); err != nil {
			return err
		}
		select {
		case <-c.Request().Context().Done():
			return context.Cause(c.Request().Context())
		case <-time.After(400 * time.Millisecond): // four times what the body was given
			return c.NoContent(http.StatusNoContent)
		}
	})
	for range 2 {
		s.do(http.MethodPost, "/static/wait", strings.NewReader("text"), "Content-Type", "text/plain").want(http.StatusNoContent)
	}
}

func TestLargeForm(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	large := "token=" + strings.Repeat("x", 2<<20)
	for _, path := range []string{"/sign-in", "/sign-in/provider-logout", "/new-app", "/sign-out"} {
		s.do(http.MethodPost, path, strings.NewReader(large), "Content-Type", "application/x-www-form-urlencoded").problem(http.StatusRequestEntityTooLarge)
		contentType, body := multipartBody(t, part{"token", []byte(large)})
		s.do(http.MethodPost, path, bytes.NewReader(body), "Content-Type", contentType).problem(http.StatusRequestEntityTooLarge)
	}
}

// bigOutput is an output that fits into no buffer of a connection.
func (s *server) bigOutput(size int64) string {
	s.t.Helper()
	id := uuid.Must(uuid.NewV7())
	s.exec(`INSERT INTO tasks (id, app, name, kind, created_by, state, started_at, percent, finished_at, log, outputs)
		VALUES ($1, 'plain', 'big', 'noop', 'test', 'succeeded', now(), 100, now(), '', jsonb_build_array(jsonb_build_object('path', 'x', 'size', $2::bigint, 'sha256', '00')))`, id, size)
	dir := fmt.Sprintf("%s/plain/big/%s/outbound", s.dir, id)
	must(s.t, os.MkdirAll(dir, 0o700))
	file, err := os.Create(dir + "/x")
	must(s.t, err)
	must(s.t, file.Truncate(size))
	must(s.t, file.Close())
	return taskPath(id.String()) + "/outputs/x"
}

// Whoever takes nothing of a download loses it; whoever takes it slowly gets it whole.
func TestSlowDownload(t *testing.T) {
	t.Parallel()
	const size = 48 << 20
	s := impatient(t, patience, patience, 500*time.Millisecond, idle)
	path := s.bigOutput(size)
	dead := s.talk()
	dead.say(head("GET /healthz")) // what an answer before it was given does not count
	if status, body := dead.answer(); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	dead.say(head("GET " + path))
	s.eventually("the download has begun", func() bool { return s.active.Load() == 1 })
	s.eventually("a dead reader is given up", func() bool { return s.active.Load() == 0 })

	resp := s.open(http.MethodGet, path, nil)
	defer resp.Body.Close()
	var got int64
	began := time.Now()
	for {
		n, err := io.CopyN(io.Discard, resp.Body, 2<<20)
		got += n
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		time.Sleep(100 * time.Millisecond) // what is tested is how slow it is
	}
	if took := time.Since(began); got != size || took < time.Second {
		t.Errorf("%d bytes in %s", got, took)
	}
}

// Bytes that two servers could read differently are refused by this one, and what could be a
// second request behind them is not answered.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	const inner = "GET /static/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
	smuggled := make(chan struct{}, 100)
	s.echo().GET("/static/smuggled", func(c echo.Context) error {
		smuggled <- struct{}{}
		return c.NoContent(http.StatusNoContent)
	})
	post := "POST /sign-in HTTP/1.1\r\nHost: localhost\r\n"
	for name, text := range map[string]string{
		"two lengths":                post + "Content-Length: 0\r\nContent-Length: 53\r\n\r\n" + inner,
		"two lengths in one":         post + "Content-Length: 0, 53\r\n\r\n" + inner,
		"signed length":              post + "Content-Length: +0\r\n\r\n" + inner,
		"negative length":            post + "Content-Length: -1\r\n\r\n" + inner,
		"hexadecimal length":         post + "Content-Length: 0x0\r\n\r\n" + inner,
		"empty length":               post + "Content-Length: \r\n\r\n" + inner,
		"length too large":           post + "Content-Length: 99999999999999999999\r\n\r\n" + inner,
		"unknown transfer encoding":  post + "Transfer-Encoding: xchunked\r\n\r\n" + inner,
		"identity":                   post + "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n" + inner,
		"chunked twice":              post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
		"chunked and another":        post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + inner,
		"tab in transfer encoding":   post + "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + inner,
		"space before the colon":     post + "Content-Length : 53\r\n\r\n" + inner,
		"space before encoding":      post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + inner,
		"space before a name":        post + " Content-Length: 53\r\n\r\n" + inner,
		"no colon":                   post + "Content-Length\r\n\r\n" + inner,
		"empty name":                 post + ": 53\r\n\r\n" + inner,
		"control character in value": post + "X: a\x00b\r\n\r\n" + inner,
		"bare CR in value":           post + "X: a\rContent-Length: 53\r\n\r\n" + inner,
		"two hosts":                  "GET /sign-in HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n" + inner,
		"no host":                    "GET /sign-in HTTP/1.1\r\n\r\n" + inner,
		"bad host":                   "GET /sign-in HTTP/1.1\r\nHost: a b\r\n\r\n" + inner,
		"version":                    "GET /sign-in HTTP/3.0\r\nHost: localhost\r\n\r\n" + inner,
		"space in the address":       "GET /sign-in x HTTP/1.1\r\nHost: localhost\r\n\r\n" + inner,
		"tab in the request line":    "GET\t/sign-in\tHTTP/1.1\r\nHost: localhost\r\n\r\n" + inner,
		"bad method":                 "G(T /sign-in HTTP/1.1\r\nHost: localhost\r\n\r\n" + inner,
		"chunk size with a sign":     post + "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + inner,
		"chunk size too large":       post + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n" + inner,
		"chunk ends without CRLF":    post + "Transfer-Encoding: chunked\r\n\r\n1\r\naX0\r\n\r\n" + inner,
	} {
		t.Run(name, func(t *testing.T) {
			c := s.in(t).talk()
			c.say(text)
			// The body's framing is the handler's to find wrong, after its answer has begun.
			if status, body := c.answer(); status < 400 && !strings.HasPrefix(name, "chunk ") {
				t.Errorf("%d: %s", status, body)
			}
			c.wantClosed()
		})
	}
	if len(smuggled) > 0 {
		t.Errorf("%d requests came behind what was to be refused", len(smuggled))
	}
	// These are read as RFC 9112 allows, in one way: what follows them stands alone.
	for name, test := range map[string]struct {
		text    string
		answers []int
	}{
		// Section 6.3: the encoding overrides the length; a server may refuse, or must close.
		"encoding and length":  {post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner, []int{200}},
		"equal lengths":        {post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\na=b" + inner, []int{200, 204}},
		"folded value":         {post + "X: a\r\n b\r\nContent-Length: 3\r\n\r\na=b" + inner, []int{200, 204}},
		"lines end with LF":    {strings.ReplaceAll(post, "\r\n", "\n") + "Content-Length: 3\n\na=b" + inner, []int{200, 204}},
		"two requests in line": {head("GET /sign-in") + inner, []int{200, 204}},
	} {
		t.Run(name, func(t *testing.T) {
			for len(smuggled) > 0 {
				<-smuggled
			}
			c := s.in(t).talk()
			c.say(test.text)
			for _, want := range test.answers {
				if status, body := c.answer(); status != want {
					t.Errorf("%d, want %d: %s", status, want, body)
				}
			}
			if len(test.answers) == 1 {
				c.wantClosed()
			}
			if n := len(smuggled); n != len(test.answers)-1 {
				t.Errorf("%d requests came behind it", n)
			}
		})
	}
}
