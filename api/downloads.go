package api

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/labstack/echo/v4"
	"golang.org/x/text/unicode/norm"

	"longhaul/storage"
	"longhaul/storage/archive"
	"longhaul/storage/files"
)

// download is a stored file that is answered: an output, or one of an app's files.
type download struct {
	name      string // under which it is saved
	mediaType string
	sha256    string    // hexadecimal
	modified  time.Time // zero: not told
	line      storage.Audit
}

// serveDownload answers with the bytes, or with the part of them that the request asks for.
func (s *Server) serveDownload(c echo.Context, file files.File, d *download) error {
	digest, err := hex.DecodeString(d.sha256)
	if err != nil {
		return fmt.Errorf("digest of %s %s: %w", d.line.Object, d.name, err)
	}
	b64 := base64.StdEncoding.EncodeToString(digest)
	h := c.Response().Header()
	h.Set("ETag", `"`+d.sha256+`"`)
	h.Set("Repr-Digest", "sha-256=:"+b64+":")
	h.Set("Digest", "SHA-256="+b64)
	h.Set("Cache-Control", "private, no-cache")
	attachment(c, d.name, d.mediaType)
	return s.serveContent(c, file, d.modified, d.line)
}

// serveContent answers with the content, or with the part of it that the request asks for. The lines
// are written when bytes leave.
func (s *Server) serveContent(c echo.Context, content io.ReadSeeker, modified time.Time, lines ...storage.Audit) error {
	read := &readerWithError{ReadSeeker: content}
	w := s.held(c, lines)
	http.ServeContent(w, asked(c), "", modified, read)
	return w.end(read.failure())
}

// sendElsewhere sends a download to its signed address, unless there was an error in making it.
func (s *Server) sendElsewhere(c echo.Context, address string, err error, line storage.Audit) error {
	if err == nil {
		err = storage.InsertAudit(c.Request().Context(), s.db.Pool, line)
	}
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.Redirect(http.StatusTemporaryRedirect, address)
}

// serveZip answers with the sources as one archive, made while it is sent.
func (s *Server) serveZip(c echo.Context, name string, sources []archive.Source, lines ...storage.Audit) error {
	attachment(c, name, "application/zip")
	if size, known := archive.PackedSize(sources); known {
		c.Response().Header().Set(echo.HeaderContentLength, strconv.FormatInt(size, 10))
	}
	w := s.held(c, lines)
	w.WriteHeader(http.StatusOK)
	if isHead(c) {
		return w.end(nil)
	}
	return w.end(archive.Pack(c.Request().Context(), w, sources, archive.PackOptions{}))
}

// attachment makes the browser save what follows under the name, and never show it: it holds what
// strangers wrote.
func attachment(c echo.Context, name, mediaType string) {
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, mediaType)
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set(echo.HeaderContentDisposition, disposition(name))
}

// disposition names a file as RFC 6266 says: in ASCII as far as that goes, for clients that read no
// more, and where that is not all of it as it is (RFC 8187). Of the first form percent signs,
// quotation marks and backslashes are left out, which clients read in more ways than one.
func disposition(name string) string {
	var plain, exact strings.Builder
	for _, r := range norm.NFD.String(name) {
		switch {
		case unicode.Is(unicode.Mn, r): // an accent
		case r < ' ', r > '~', strings.ContainsRune(`"\%`, r):
			plain.WriteByte('_')
		default:
			plain.WriteRune(r)
		}
	}
	for _, b := range []byte(name) {
		if b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || strings.IndexByte("!#$&+-.^_`|~", b) >= 0 {
			exact.WriteByte(b)
		} else {
			fmt.Fprintf(&exact, "%%%02X", b)
		}
	}
	text := `attachment; filename="` + plain.String() + `"`
	if plain.String() != name {
		text += "; filename*=UTF-8''" + exact.String()
	}
	return text
}

// headKey marks the context of a request that came as HEAD, and is answered like GET.
type headKey struct{}

// isHead reports whether the answer's body will not be sent.
func isHead(c echo.Context) bool {
	head, _ := c.Request().Context().Value(headKey{}).(bool)
	return head
}

// maxRanges is how many parts of a file one request may ask for. For each, however small, a whole
// block of the file is read, checked and unpacked.
const maxRanges = 16

// asked is the request as it came, HEAD or GET: what is only asked about need not be read. Who asks
// for more than maxRanges parts gets the whole: RFC 9110, section 14.2.
func asked(c echo.Context) *http.Request {
	r := c.Request().Clone(c.Request().Context())
	if isHead(c) {
		r.Method = http.MethodHead
	}
	if strings.Count(r.Header.Get("Range"), ",") >= maxRanges {
		r.Header.Del("Range")
	}
	return r
}

// readerWithError remembers why reading failed, which http.ServeContent does not tell. It reads
// several ranges in a goroutine of its own.
type readerWithError struct {
	io.ReadSeeker
	mu  sync.Mutex
	err error
}

func (r *readerWithError) Read(p []byte) (int, error) {
	n, err := r.ReadSeeker.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.fail(err)
	}
	return n, err
}

// copyN writes the next n bytes to w, of a file that is checked as it is read without a copy between.
func (r *readerWithError) copyN(w io.Writer, n int64) (int64, error) {
	file, checks := r.ReadSeeker.(*files.Verified)
	if !checks {
		return io.CopyN(w, r, n)
	}
	copied, readErr, err := file.CopyN(w, n)
	if readErr != nil {
		r.fail(readErr)
	}
	return copied, errors.Join(readErr, err)
}

func (r *readerWithError) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *readerWithError) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// heldWriter holds an answer back until its first byte: what goes wrong before that is still
// answered as a problem. The refusals of http.ServeContent, which are none, never pass.
type heldWriter struct {
	http.ResponseWriter
	server *Server
	echo   echo.Context
	lines  []storage.Audit // of the audit trail, written before a byte leaves
	status int             // that is held back
	begun  bool
	failed error // why it could not begin
}

func (s *Server) held(c echo.Context, lines []storage.Audit) *heldWriter {
	return &heldWriter{ResponseWriter: c.Response(), server: s, echo: c, lines: lines}
}

// WriteHeader keeps the status.
func (w *heldWriter) WriteHeader(status int) { w.status = status }

func (w *heldWriter) Write(p []byte) (int, error) {
	if w.status >= http.StatusBadRequest {
		return len(p), nil
	}
	if err := w.begin(); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom takes the bytes that http.ServeContent copies.
func (w *heldWriter) ReadFrom(r io.Reader) (int64, error) {
	plain := struct{ io.Writer }{w}
	if part, ok := r.(*io.LimitedReader); ok {
		if content, ok := part.R.(*readerWithError); ok {
			return content.copyN(plain, part.N)
		}
	}
	return io.Copy(plain, r)
}

// begin lets the answer go, and notes that bytes leave.
func (w *heldWriter) begin() error {
	if w.begun || w.failed != nil {
		return w.failed
	}
	if len(w.lines) > 0 && w.status < http.StatusMultipleChoices && !isHead(w.echo) {
		if w.failed = w.server.db.InsertAudits(w.echo.Request().Context(), w.lines); w.failed != nil {
			return w.failed
		}
	}
	w.begun = true
	w.ResponseWriter.WriteHeader(w.status)
	return nil
}

// end ends the answer. err is why the bytes could not be read: when some of them have left, the
// connection is cut, so that nobody takes a part for the whole.
func (w *heldWriter) end(err error) error {
	switch {
	case w.failed != nil:
		return w.problem(w.failed)
	case err != nil:
		return w.broken(err)
	case w.status >= http.StatusBadRequest:
		detail := "The range is past the end. Content-Range tells how long the whole is."
		if w.status == http.StatusPreconditionFailed {
			detail = "The condition that the request makes does not hold. Ask without it."
		}
		return w.problem(refuse(w.echo.Request().Context(), w.status, detail))
	}
	if err := w.begin(); err != nil {
		return w.problem(err)
	}
	return nil
}

// problem takes back what was said of the bytes.
func (w *heldWriter) problem(err error) error {
	h := w.Header()
	for _, name := range []string{
		"Accept-Ranges", "Content-Disposition", "Content-Length", "Digest", "ETag", "Last-Modified", "Repr-Digest",
	} {
		h.Del(name)
	}
	if w.status != http.StatusRequestedRangeNotSatisfiable {
		h.Del("Content-Range")
	}
	return err
}

// broken ends an answer whose bytes could not be read.
func (w *heldWriter) broken(err error) error {
	ctx := w.echo.Request().Context()
	if !w.begun {
		return w.problem(err)
	}
	if ctx.Err() == nil { // else the client is gone
		level := slog.LevelWarn
		if errors.Is(err, files.ErrDamaged) {
			level = slog.LevelError
		}
		w.server.Logger.LogAttrs(ctx, level, "download broke off", slog.String("request_id", requestOf(ctx).id),
			slog.String("path", w.echo.Request().URL.Path), slog.Any("error", err))
	}
	panic(http.ErrAbortHandler)
}
