package oracle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"html"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxMessage bounds a vendor's text in an error, in runes.
const maxMessage = 2000

// Failure returns the error of a call that failed although HTTP was content:
// the body said so. It tells that the call did not happen, which holds for a
// refusal; set [Error.MayHaveHappened] where it does not.
func (c *Client) Failure(call Call, kind Kind, message string) *Error {
	e := c.newError(call, nil)
	e.Status, e.Kind, e.Message = http.StatusOK, kind, CleanMessage(message)
	return e
}

// newError returns an error with what is known of a call before its answer.
func (c *Client) newError(call Call, u *url.URL) *Error {
	if u == nil {
		var err error
		if u, err = c.target(call); err != nil {
			u = c.base
		}
	}
	return &Error{Op: call.Op, Method: call.Method, URL: redact(u)}
}

// requestError is the failure to make a request; nothing was sent.
func (c *Client) requestError(ctx context.Context, call Call, err error) *Error {
	e := c.newError(call, nil)
	if ctx.Err() != nil {
		return e.cancelled(ctx)
	}
	// A token that could not be had for now is the sign-in service's error,
	// and keeps its kind.
	if e.Kind = KindOf(err); e.Kind == "" {
		e.Kind = KindRequest
	}
	e.Err = err
	return e
}

// transportError is the failure to get an answer, or the rest of one.
func (c *Client) transportError(ctx, reqCtx context.Context, call Call, req *http.Request, err error, reached bool) *Error {
	e := c.newError(call, req.URL)
	e.Kind, e.Err = KindUnavailable, plainCause(err)
	e.MayHaveHappened = reached && !repeatable(call.Method)
	if ctx.Err() != nil {
		return e.cancelled(ctx)
	}
	if cause := timedOut(reqCtx); cause != nil {
		e.Err = cause
	}
	return e
}

// answerError is an error about an answer that was received.
func (c *Client) answerError(call Call, resp *http.Response, kind Kind, message string) *Error {
	e := c.newError(call, resp.Request.URL)
	e.Kind, e.Message = kind, withoutCredentials(resp.Request, message)
	e.Status = resp.StatusCode
	e.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
	e.RequestID = requestID(resp.Header)
	e.MayHaveHappened = !repeatable(call.Method)
	return e
}

// statusError turns an answer with another status than 2xx into an error.
func (c *Client) statusError(call Call, resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON))
	if err != nil && KindOf(err) == KindCancelled {
		return err
	}
	// A body that broke off still came with a status, which says enough.
	told := readErrorBody(text)
	e := c.answerError(call, resp, kindOf(resp.StatusCode, told, text), told.message())
	e.Code = withoutCredentials(resp.Request, told.code())
	if e.Message == "" {
		e.Message = withoutCredentials(resp.Request, statusHint(resp, text))
	}
	if !repeatable(call.Method) {
		e.MayHaveHappened = mayHaveHappened(resp.StatusCode, told, text)
	}
	if told != nil && told.notStarted() && e.Kind == KindServer {
		e.Kind = KindRefused
	}
	return e
}

// withoutCredentials masks in a text of the server what the request was signed
// with: some proxies repeat a request's headers on their error pages.
func withoutCredentials(req *http.Request, text string) string {
	const shortest = 5 // what is shorter would mask ordinary words
	_, credential, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	_, password, _ := req.BasicAuth()
	for _, secret := range []string{credential, password} {
		if len(secret) >= shortest {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return text
}

// kindOf sorts a status, with what its body looks like. EPM's own errors are
// JSON; a page where one should be comes from a proxy or the maintenance.
func kindOf(status int, told *errorBody, text []byte) Kind {
	page := told == nil && len(bytes.TrimSpace(text)) > 0
	switch {
	case status == http.StatusUnauthorized:
		return KindUnauthorized
	case status == http.StatusForbidden:
		return KindForbidden
	case status/100 == 3, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests,
		status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return KindUnavailable
	case page && (status == http.StatusNotFound || status >= 500):
		return KindUnavailable
	case status == http.StatusNotFound:
		return KindNotFound
	case status >= 500:
		return KindServer
	}
	return KindRefused
}

// statusClientClosed is nginx's status for a client that went away; a proxy
// that sends it had the request.
const statusClientClosed = 499

// mayHaveHappened applies the rule of [Error.MayHaveHappened] to an answer.
func mayHaveHappened(status int, told *errorBody, text []byte) bool {
	switch {
	case told != nil && told.notStarted():
		return false
	case status == http.StatusServiceUnavailable:
		// Envoy answers 503 also when the connection behind it broke after
		// the request went through, and then says so in these words.
		return bytes.Contains(text, []byte("disconnect/reset before headers"))
	case status == http.StatusRequestTimeout, status == statusClientClosed:
		return true
	}
	return status/100 != 4
}

// errorBody holds the members in which Oracle's services tell an error. The
// Planning ones are listed in prest/add_member; details is the interop side's,
// error and error_description are the identity service's.
type errorBody struct {
	Detail            Text `json:"detail"`
	Details           Text `json:"details"`
	ErrorDetails      Text `json:"errorDetails"`
	LocalizedMessage  Text `json:"localizedMessage"`
	Message           Text `json:"message"`
	ErrorDescription  Text `json:"error_description"`
	Err               Text `json:"error"`
	Title             Text `json:"title"`
	DescriptiveStatus Text `json:"descriptiveStatus"`
	ErrorCode         Text `json:"errorCode"`
	JobID             Text `json:"jobId"`
}

// readErrorBody returns nil where text is not a JSON object.
func readErrorBody(text []byte) *errorBody {
	var b errorBody
	if !looksJSON(text) || json.Unmarshal(trimBOM(text), &b) != nil {
		return nil
	}
	return &b
}

func (b *errorBody) message() string {
	if b == nil {
		return ""
	}
	for _, t := range []Text{
		b.Detail, b.Details, b.ErrorDetails, b.LocalizedMessage, b.Message,
		b.ErrorDescription, b.Err, b.Title, b.DescriptiveStatus,
	} {
		if m := CleanMessage(string(t)); m != "" {
			return m
		}
	}
	return ""
}

// vendorCode matches codes such as EPMCSS-21067 at the start of a message.
var vendorCode = regexp.MustCompile(`^[A-Z][A-Z0-9]{2,11}-\d{3,7}\b`)

func (b *errorBody) code() string {
	if b == nil {
		return ""
	}
	if b.ErrorCode != "" {
		return string(b.ErrorCode)
	}
	return vendorCode.FindString(b.message())
}

// notStarted reports whether the body is Planning's refusal to launch a job,
// which carries the job id -1 whatever the HTTP status.
func (b *errorBody) notStarted() bool { return b.JobID == "-1" }

// javaClass matches the exception class before a message, as in
// "com.hyperion.planning.InvalidDimensionException: ".
var javaClass = regexp.MustCompile(`^(?:[a-z][a-z0-9_]*\.){2,}[A-Z][\w$]*\s*:\s*`)

// CleanMessage makes a vendor's text fit for people: no Java class names
// before it, no control characters, no endless length.
func CleanMessage(s string) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD"))
	for prefix := javaClass.FindString(s); prefix != ""; prefix = javaClass.FindString(s) {
		s = s[len(prefix):]
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > maxMessage {
		s = string([]rune(s)[:maxMessage]) + "…"
	}
	return strings.TrimSpace(s)
}

// statusHint says something useful where the body does not.
func statusHint(resp *http.Response, text []byte) string {
	if to := resp.Header.Get("Location"); resp.StatusCode/100 == 3 {
		host := "another address"
		if u, err := url.Parse(to); err == nil && u.Host != "" {
			host = u.Host
		}
		return "redirected to " + host + ", which was not followed; the address may be wrong, the environment" +
			" in maintenance, or the account for single sign-on only"
	}
	if resp.StatusCode == http.StatusUnauthorized {
		// A bearer token's fault is told here: error_description="Token Expired".
		if ask := resp.Header.Get("WWW-Authenticate"); strings.Contains(ask, "error") {
			return CleanMessage(ask)
		}
		return "the credentials are not accepted"
	}
	return strings.TrimPrefix(excerpt(text), ": ")
}

var titleTag = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)

// excerpt returns ": " and the title of an HTML page or the first words of
// another text; "" of nothing.
func excerpt(text []byte) string {
	const most = 120
	s := string(text[:min(len(text), 64<<10)])
	if m := titleTag.FindStringSubmatch(s); m != nil {
		s = "page “" + strings.TrimSpace(html.UnescapeString(m[1])) + "”"
	} else if IsHTML("", text) {
		return ": a page without a title"
	}
	s = strings.Join(strings.Fields(CleanMessage(s)), " ")
	if s == "" {
		return ""
	}
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return ": " + s
}

// IsHTML reports whether an answer is a web page, by its content type or, where
// that is empty, by its first bytes.
func IsHTML(contentType string, text []byte) bool {
	if contentType == "" {
		contentType = http.DetectContentType(text)
	}
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == "text/html" || t == "application/xhtml+xml")
}

// IsJSON reports whether a content type is JSON's.
func IsJSON(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == "application/json" || strings.HasSuffix(t, "+json"))
}

// requestID reads the server's own name for a request. The first is set by
// Oracle's middleware (DMS execution context id), the second by OCI.
func requestID(h http.Header) string {
	if id := h.Get("X-Oracle-Dms-Ecid"); id != "" {
		return id
	}
	return h.Get("Opc-Request-Id")
}

// plainCause cuts the method and address that net/http puts before a
// transport's error: [Error] says both, without secrets.
func plainCause(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
