package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"longhaul/storage/files"
)

// deadlines are how long clients may keep a connection waiting.
type deadlines struct {
	// body is how long the body of a request may take: JSON, or a form.
	body time.Duration
	// upload is how long nothing may come of a file that is sent here.
	upload time.Duration
	// download is how long a client may take nothing of an answer. It must be long: a socket takes
	// more only when a third of its buffer, which may have grown to some megabytes, is free again.
	download time.Duration
}

func newDeadlines() deadlines {
	return deadlines{body: 30 * time.Second, upload: time.Minute, download: 2 * time.Minute}
}

const (
	// maxForm bounds a form, in bytes. Bodies in JSON have bounds of their own.
	maxForm = 1 << 20
	// writePiece is how much of an answer is written at once, in bytes, and largePiece how much to a
	// client that takes it fast, which saves a third of the time. Whoever is slow must take a whole
	// piece before there is time for another.
	writePiece, largePiece = 64 << 10, files.SumBlock
	// fastBytes taken in fastTime make a client fast. Buffers on the way do not hold as much alone.
	fastBytes, fastTime = 8 << 20, 500 * time.Millisecond
	// nudgeEvery is as often as others need it; more often costs a download more.
	nudgeEvery = time.Millisecond
)

var (
	errSlowBody    = errors.New("request body too slow")
	errFormTooLong = errors.New("form too large")
)

// inTime ends requests whose client neither sends nor takes anything for long. Whoever is slow but
// goes on may go on.
func (s *Server) inTime(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		w := &timedWriter{ResponseWriter: c.Response().Writer, stall: s.deadlines.download, nudge: s.nudge, piece: writePiece}
		c.Response().Writer = w
		if r := c.Request(); r.Body != nil && r.Body != http.NoBody {
			control := http.NewResponseController(w.ResponseWriter)
			body := &timedBody{ReadCloser: r.Body, control: control, stall: s.deadlines.upload, nudge: s.nudge, streams: streams(c)}
			body.until = time.Now().Add(s.deadlines.body)
			_ = control.SetReadDeadline(body.until) // also for what the handler leaves unread
			r.Body = body
			if len(r.TransferEncoding) > 0 {
				// There may have been a Content-Length too, which net/http does not tell; what a
				// proxy goes by that takes it must not be read here as another request. RFC 9112,
				// section 6.1, wants the connection closed.
				c.Response().Header().Set("Connection", "close")
			}
		}
		err := next(c)
		w.own = false
		w.extend() // for what is buffered yet
		return err
	}
}

// timedWriter gives the connection time again whenever something was written.
type timedWriter struct {
	http.ResponseWriter
	stall  time.Duration
	nudge  nudge
	nudged time.Time
	given  time.Time // when the connection was given time last: net/http takes it away with each request
	own    bool      // the handler sets deadlines itself
	piece  int       // is written at once, in bytes
	taken  int       // bytes, since
	since  time.Time
}

// Unwrap lets http.ResponseController find what the connection can do.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// SetWriteDeadline leaves the time to the handler from here on.
func (w *timedWriter) SetWriteDeadline(t time.Time) error {
	w.own = true
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(t)
}

func (w *timedWriter) Write(p []byte) (n int, err error) {
	for err == nil && n < len(p) {
		w.extend()
		var written int
		written, err = w.ResponseWriter.Write(p[n:min(len(p), n+w.piece)])
		n += written
		if len(p) >= writePiece {
			w.pace(time.Now(), written)
		}
	}
	return n, err
}

// pace fits the pieces to the client, which has just taken one.
func (w *timedWriter) pace(now time.Time, written int) {
	if now.Sub(w.nudged) >= nudgeEvery {
		w.nudged = now
		w.nudge.lookAround()
	}
	w.taken += written
	switch took := now.Sub(w.since); {
	case took > fastTime:
		w.piece, w.taken, w.since = writePiece, 0, now
	case w.taken >= fastBytes:
		w.piece, w.taken, w.since = largePiece, 0, now
	}
}

// extend is not asked for each piece of a fast download.
func (w *timedWriter) extend() {
	now := time.Now()
	if w.own || now.Sub(w.given) < w.stall/16 {
		return
	}
	w.given = now
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(now.Add(w.stall)) // only tests have writers without
}

// timedBody is a request's body that must come in time.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
	until   time.Time
	stall   time.Duration
	nudge   nudge
	streams bool // each part that comes gives time for another
}

func (b *timedBody) Read(p []byte) (int, error) {
	if b.streams {
		b.until = time.Now().Add(b.stall)
		b.nudge.lookAround()
	}
	_ = b.control.SetReadDeadline(b.until) // as with the writer
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errSlowBody // alone: huma has words of its own for the cause
	default:
		// The server goes on reading, to find out whether the client is gone. A deadline would be
		// taken for that, and end the request.
		_ = b.control.SetReadDeadline(time.Time{})
		if !errors.Is(err, io.EOF) {
			err = badRequest(err)
		}
	}
	return n, err
}

// streams reports whether a request's body is a file, which may take as long as it needs.
func streams(c echo.Context) bool {
	return (c.Path() == tasksPath || c.Path() == filesPath) && mediaType(c) == echo.MIMEMultipartForm ||
		c.Path() == uploadsPath || strings.HasPrefix(c.Path(), uploadsPath+"/") ||
		c.Path() == fileRoute && c.Request().Method == http.MethodPut
}

func mediaType(c echo.Context) string {
	found, _, err := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	if err != nil {
		return ""
	}
	return found
}

// readForm reads the forms of the pages whole, so that one that is too large, or does not come, is
// not taken for one with nothing in it.
func (s *Server) readForm(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.Body == nil || r.Body == http.NoBody || strings.HasPrefix(r.URL.Path, "/api/") || streams(c) {
			return next(c)
		}
		r.Body = http.MaxBytesReader(c.Response(), r.Body, maxForm)
		var err error
		switch mediaType(c) {
		case echo.MIMEApplicationForm:
			err = r.ParseForm()
		case echo.MIMEMultipartForm:
			err = r.ParseMultipartForm(maxForm)
		}
		var tooLong *http.MaxBytesError
		switch {
		case errors.As(err, &tooLong):
			return errFormTooLong
		case errors.Is(err, errSlowBody), errors.Is(err, errBadRequest):
			return err
		}
		return next(c) // what else is wrong with it is a field that is not there
	}
}
