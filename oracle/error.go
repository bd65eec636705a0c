package oracle

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Kind sorts an [Error] by what a caller should do about it.
type Kind string

// The kinds of error.
const (
	// KindUnavailable: no usable answer for now. Connection refused or reset,
	// a timeout, 408, 429, 502, 503, 504, a redirect that was not followed, or
	// a body that is not JSON where JSON was due (the daily maintenance
	// answers with HTML pages). Keep trying until your own deadline.
	KindUnavailable Kind = "unavailable"
	// KindUnauthorized: 401, the credentials are missing or wrong.
	KindUnauthorized Kind = "unauthorized"
	// KindForbidden: 403, the user may not do this.
	KindForbidden Kind = "forbidden"
	// KindNotFound: 404, or a file that is not there.
	KindNotFound Kind = "not_found"
	// KindRefused: the service understood and said no. Another 4xx, or a
	// failure told in the body. The same request will fail again.
	KindRefused Kind = "refused"
	// KindServer: 500 or another 5xx with Oracle's own error body, or with
	// none. EPM also answers so for a job id it does not know. While a job is
	// followed, treat it like KindUnavailable.
	KindServer Kind = "server"
	// KindProtocol: the answer was JSON but not what it should be, or larger
	// than this package reads.
	KindProtocol Kind = "protocol"
	// KindCancelled: the caller's context ended; [errors.Is] finds its error.
	KindCancelled Kind = "cancelled"
	// KindRequest: the request could not be made from what the caller gave
	// (a parameter, a link, the bytes to upload, a token).
	KindRequest Kind = "request"
)

// Error is every failure of a call, found with [errors.As].
type Error struct {
	// Op says what was tried, with its arguments: `start job "importAccount"`.
	Op string
	// Method and URL are the request's, the URL without user and with secrets
	// in its query masked.
	Method, URL string
	// Status is the HTTP status, 0 where no answer came. It is 200 where the
	// failure was told in the body.
	Status int
	// Code is the vendor's own error code where there is one.
	Code string
	// Message is the vendor's text without its Java class names, or our own
	// words where it gave none.
	Message string
	// RequestID is the server's name for the request (its ECID), for a
	// service request to the vendor; often empty.
	RequestID string
	// RetryAfter is how long the server asked to be left alone; 0 if it did not.
	RetryAfter time.Duration
	// Kind says what to do about it.
	Kind Kind
	// MayHaveHappened is for calls that are not repeatable (starts, uploads,
	// deletes; it is false for reads): true unless it is certain that the
	// server did not act. Certain are only:
	//
	//   - nothing was written: no connection, no name, no TLS, or the context
	//     ended before;
	//   - the server said no: 4xx except 408 and 499, 503 (except where a proxy
	//     says that it lost the connection behind it), or a body that says
	//     that the job was not started.
	//
	// Everything else is true: a reset or timeout once the headers were
	// written, another 5xx, a redirect, and a 2xx that cannot be read.
	MayHaveHappened bool
	// Err is the cause where there is one below HTTP.
	Err error
}

// Error says what was tried, where (without the query, which is long and said
// better by Op), and what came of it.
func (e *Error) Error() string {
	var b strings.Builder
	address, _, _ := strings.Cut(e.URL, "?")
	fmt.Fprintf(&b, "%s: %s %s", e.Op, e.Method, address)
	if e.Status != 0 {
		b.WriteString(strings.TrimRight(fmt.Sprintf(": %d %s", e.Status, http.StatusText(e.Status)), " "))
	}
	if e.Code != "" && !strings.Contains(e.Message, e.Code) {
		fmt.Fprintf(&b, ": %s", e.Code)
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", e.Message)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// passing reports whether the same read may succeed in a moment. A redirect is
// not: it says that the address or the way to sign in is wrong.
func (e *Error) passing() bool {
	return e.Kind == KindUnavailable && e.Status/100 != 3
}

// cancelled is e, but told as what it has become: the end of the context.
func (e *Error) cancelled(ctx context.Context) *Error {
	c := *e
	c.Kind, c.Err = KindCancelled, ctx.Err()
	return &c
}

// KindOf returns the kind of the [Error] in err's chain, or "" if none is there.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}

// IsUnavailable reports whether err means "not now": see [KindUnavailable].
func IsUnavailable(err error) bool { return KindOf(err) == KindUnavailable }

// IsNotFound reports whether err means that the thing asked for is not there.
func IsNotFound(err error) bool { return KindOf(err) == KindNotFound }

// MayHaveHappened reports whether a call that ended with err may have acted on
// the server: [Error.MayHaveHappened] for an [Error], false for nil, and true
// for an error it knows nothing of.
func MayHaveHappened(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.MayHaveHappened
	}
	return err != nil
}
