package tus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"

	"longhaul/jobs"
	"longhaul/storage"
)

// Config is what a Handler needs.
type Config struct {
	Engine *jobs.Engine
	Path   string // where uploads are: "/api/v1/uploads"
	// MaxSize is the largest upload that is taken in, in bytes; 0 means no limit.
	MaxSize int64
	Logger  *slog.Logger
}

// Handler speaks the protocols.
type Handler struct {
	config Config
	tusd   *handler.UnroutedHandler
	ways   map[string]http.Handler // by method
}

// Call is one request to a Handler.
type Call struct {
	Caller jobs.Caller
	// Base is the server's external address, without a slash at its end.
	Base string
	// Stopping ends when the server stops: then the request is to end, and can be gone on with.
	Stopping context.Context
	// MayUse says why the caller may not make an upload for an app, or nil.
	MayUse func(app string) error
	// MayReach says why the caller may not do with an upload of theirs what the request asks, or nil.
	MayReach func(u *storage.Upload) error
}

// Error is an answer that is no success, in words for whoever reads it.
type Error struct {
	Status int
	Detail string
	Field  string // of the header, where a digest in it is the reason
}

func (e *Error) Error() string { return e.Detail }

// StatusChecksumMismatch is the status of a chunk whose digest is another than its client said, as
// tus 1.0 names it.
const StatusChecksumMismatch = 460

// New makes a handler.
func New(config Config) *Handler {
	store := &store{config}
	composer := handler.NewStoreComposer()
	composer.UseCore(store)
	composer.UseTerminater(store)
	composer.UseConcater(store)
	composer.UseLengthDeferrer(store)
	composer.UseLocker(store)
	tusd, err := handler.NewUnroutedHandler(handler.Config{
		StoreComposer: composer, BasePath: config.Path + "/", MaxSize: config.MaxSize,
		EnableExperimentalProtocol: true, DisableDownload: true,
		Cors: &handler.CorsConfig{Disable: true}, Logger: logTo(config.Logger),
	})
	if err != nil {
		panic(err) // of a configuration without a store, which this is not
	}
	h := &Handler{config: config, tusd: tusd, ways: make(map[string]http.Handler)}
	for method, serve := range map[string]http.HandlerFunc{
		http.MethodPost: tusd.PostFile, http.MethodHead: tusd.HeadFile,
		http.MethodPatch: tusd.PatchFile, http.MethodDelete: tusd.DelFile,
		http.MethodOptions: http.NotFound, // the middleware answers
	} {
		h.ways[method] = http.StripPrefix(config.Path, tusd.Middleware(serve))
	}
	return h
}

// Serve answers a POST to the path, and HEAD, PATCH or DELETE of an upload below it; OPTIONS tells
// what is spoken here. Where it returns an error nothing is answered yet, but for headers: an
// *[Error], or what the engine or the body of the request said.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, call Call) error {
	check, err := NewCheck(r, uploadChecksum, contentDigest)
	if err != nil {
		return err
	}
	s := &session{Call: call, config: &h.config, header: r.Header, check: check}
	s.ending, s.end = context.WithCancel(context.WithoutCancel(r.Context()))
	defer s.end()
	out := &answer{ResponseWriter: w, session: s}
	r = r.WithContext(context.WithValue(r.Context(), sessionKey{}, s))
	if r.Body != nil && r.Body != http.NoBody {
		s.body = &body{ReadCloser: r.Body}
		r.Body = s.body
	}
	withPlainPieces(r)
	s.unwatch = s.watch(http.NewResponseController(w))
	defer s.unwatch()
	defer context.AfterFunc(call.Stopping, func() { s.stop(errStopping) })()
	h.ways[r.Method].ServeHTTP(out, r)
	if out.status == 0 {
		return nil
	}
	s.letGo(out.Header())
	err = s.problem(out)
	if s.made && !usesDraft(r) { // the client does not know its address
		gone := h.config.Engine.RemoveUpload(context.WithoutCancel(r.Context()), s.hold.Upload.ID, call.Caller)
		err = errors.Join(err, gone)
	}
	return err
}

// watch has a stopped request end while it waits for bytes. The function that it returns ends that; it
// may be called more than once.
func (s *session) watch(control *http.ResponseController) func() {
	done, left := make(chan struct{}), make(chan struct{})
	cancel := context.AfterFunc(s.ending, func() {
		defer close(left)
		for s.waits() {
			_ = control.SetReadDeadline(time.Now())
			select {
			case <-done:
				return
			case <-time.After(deadlineEvery):
			}
		}
	})
	return sync.OnceFunc(func() {
		if !cancel() {
			close(done)
			<-left
		}
	})
}

// waits reports whether bytes of the request are yet to come.
func (s *session) waits() bool { return s.body != nil && !s.body.whole.Load() }

// deadlineEvery is how often a request that is to end is told so: a read that just begins sets a later
// deadline.
const deadlineEvery = 50 * time.Millisecond

// withPlainPieces leaves of the addresses in Upload-Concat the paths, which tusd looks for.
func withPlainPieces(r *http.Request) {
	list, isFinal := strings.CutPrefix(r.Header.Get("Upload-Concat"), "final;")
	if !isFinal {
		return
	}
	var paths []string
	for address := range strings.FieldsSeq(list) {
		id := address[strings.LastIndexByte(address, '/')+1:]
		paths = append(paths, r.URL.Path+"/"+id)
	}
	r.Header = r.Header.Clone()
	r.Header.Set("Upload-Concat", "final;"+strings.Join(paths, " "))
}

// usesDraft reports whether a request follows a draft of the IETF's.
func usesDraft(r *http.Request) bool { return r.Header.Get("Upload-Draft-Interop-Version") != "" }

// problem is what went wrong with a request that tusd refused.
func (s *session) problem(out *answer) error {
	code, message, _ := strings.Cut(strings.TrimSpace(out.text), ": ")
	switch {
	case s.err != nil:
		return s.err
	case s.ended() != nil:
		return s.ended()
	case s.body != nil && s.body.err != nil:
		return s.body.err
	}
	if out.status == http.StatusPreconditionFailed {
		out.Header().Set("Tus-Version", "1.0.0")
	}
	known := words[code]
	if code == "ERR_MAX_SIZE_EXCEEDED" {
		known.Detail = tooLarge(s.config.MaxSize).Error()
	}
	return &Error{Status: cmp.Or(known.Status, out.status), Detail: cmp.Or(known.Detail, message, http.StatusText(out.status))}
}

// words are what tusd's refusals mean, where it says less.
var words = map[string]Error{
	"ERR_UNSUPPORTED_VERSION":     {Detail: "Send Tus-Resumable: 1.0.0, the version of tus that this server speaks."},
	"ERR_UPLOAD_NOT_FOUND":        {Detail: "There is no such upload, or it is not yours. It may have expired."},
	"ERR_MISMATCHED_OFFSET":       {Detail: "Upload-Offset is not where the upload ends. Ask with HEAD how far it is, and go on from there."},
	"ERR_UPLOAD_SIZE_EXCEEDED":    {Detail: "More bytes came than the upload is to have. Those past its size were not taken."},
	"ERR_MODIFY_FINAL":            {Detail: "An upload that is put together from others takes no bytes of its own."},
	"ERR_UPLOAD_NOT_FINISHED":     {Detail: "One of the uploads that this is to be put together from has not come to its end."},
	"ERR_INVALID_CONTENT_TYPE":    {Status: http.StatusUnsupportedMediaType, Detail: "Send the Content-Type application/offset+octet-stream; by the IETF's drafts application/partial-upload."},
	"ERR_INVALID_OFFSET":          {Detail: "Send Upload-Offset: where in the upload the bytes begin."},
	"ERR_INVALID_UPLOAD_LENGTH":   {Detail: "Send Upload-Length, the size in bytes, or Upload-Defer-Length: 1 while that is not known."},
	"ERR_INVALID_CONCAT":          {Detail: "Upload-Concat is partial, or final; and then the addresses of the uploads to put together, parted by spaces."},
	"ERR_LOCK_TIMEOUT":            {Status: http.StatusServiceUnavailable, Detail: "The upload could not be taken in time. Try again in a moment."},
	"ERR_CONNECTION_RESET":        {Detail: "The connection broke off. What came is kept."},
	"ERR_AMBIGUOUS_UPLOAD_LENGTH": {Detail: "Upload-Length and Upload-Defer-Length exclude each other."},
}

var errTaken = &Error{Status: http.StatusConflict, Detail: "Another request has taken this upload over. What came before is kept; ask with HEAD how far it is."}

var errStopping = &Error{Status: http.StatusServiceUnavailable, Detail: "The server is being stopped. What came before is kept; ask with HEAD how far it is, and go on from there."}

func tooLarge(most int64) *Error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("The upload is larger than this server takes: %d bytes.", most)}
}
