package tus

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"longhaul/jobs"
)

// session is what the parts of one request share that tusd calls by turns.
type session struct {
	Call
	config *Config
	header http.Header // of the request
	check  *Check      // nil: the client sent no digest of the chunk
	body   *body

	hold    *jobs.UploadHold      // the upload that the request is for
	made    bool                  // the request has made it
	stopped atomic.Pointer[Error] // why the request is to end: another wants the upload, or the server stops
	ending  context.Context       // ends when it is stopped
	end     context.CancelFunc
	unwatch func() // leaves the connection alone from here on
	err     error  // what went wrong behind tusd, which tells its words alone
}

type sessionKey struct{}

func sessionOf(ctx context.Context) *session {
	s, _ := ctx.Value(sessionKey{}).(*session)
	return s
}

// stop has the request end, which still saves what came before.
func (s *session) stop(why *Error) {
	s.stopped.CompareAndSwap(nil, why)
	s.end()
}

// ended is why the request is to end, or nil.
func (s *session) ended() error {
	if why := s.stopped.Load(); why != nil {
		return why
	}
	return nil
}

// letGo leaves the connection alone, before an answer goes over it. It ends with that answer where the
// request was stopped: a deadline may have come when the body had ended, and net/http then ends all
// requests that are yet to come over it.
func (s *session) letGo(answer http.Header) {
	s.unwatch()
	if s.ended() != nil {
		answer.Set("Connection", "close")
	}
}

// fail notes an error on its way through tusd.
func (s *session) fail(err error) error {
	if err != nil && s.err == nil {
		s.err = err
	}
	return err
}

// body is a request's body that remembers how it ended: tusd ends it silently.
type body struct {
	io.ReadCloser
	whole atomic.Bool // it has come to its end
	err   error       // or broken off
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		b.whole.Store(true)
	case err != nil:
		if b.err == nil {
			b.err = err
		}
		// After any other error tusd gives the connection more time, which nobody needs who
		// closes it.
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// answer lets successes through, with what is added to them here, and holds back what is none.
type answer struct {
	http.ResponseWriter
	session *session
	status  int // of what is held back
	text    string
}

// Unwrap lets http.ResponseController find what the connection can do.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// SetReadDeadline does nothing: tusd would set one behind the end of the body, where net/http takes it
// for the end of the client. How long bytes may take to come is for the body to see to.
func (*answer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing: the answer is given time when it is written.
func (*answer) SetWriteDeadline(time.Time) error { return nil }

// WriteHeader is called twice by the IETF's drafts, first with 104.
func (a *answer) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		a.status = status
		for _, name := range []string{"Content-Length", "Content-Type", "Location"} {
			a.Header().Del(name)
		}
		return
	}
	a.complete()
	if status >= http.StatusOK {
		a.session.letGo(a.Header())
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		return a.ResponseWriter.Write(p)
	}
	a.text += string(p)
	return len(p), nil
}

// complete adds what tusd does not know.
func (a *answer) complete() {
	h := a.Header()
	if own := h.Get("Tus-Extension"); own != "" {
		h.Set("Tus-Extension", own+",expiration,checksum,checksum-trailer")
		h.Set("Tus-Checksum-Algorithm", strings.Join(checksumAlgorithms, ","))
	}
	held := a.session.hold
	if held == nil {
		return
	}
	if h.Get("Location") != "" {
		h.Set("Location", a.session.Base+a.session.config.Path+"/"+held.Upload.ID.String())
	}
	if !held.Upload.Complete() {
		h.Set("Upload-Expires", held.Upload.ExpiresAt.UTC().Format(http.TimeFormat))
	}
}
