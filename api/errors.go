package api

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"longhaul/api/sso"
	"longhaul/jobs"
	"longhaul/storage"
	"longhaul/storage/archive"
	"longhaul/storage/files"
)

// Problem is the body of every error answer (RFC 9457).
type Problem struct {
	Type      string         `json:"type" doc:"A URI that names the sort of problem; about:blank says no more than status"`
	Title     string         `json:"title" doc:"The status in words"`
	Status    int            `json:"status" doc:"The HTTP status"`
	Detail    string         `json:"detail" doc:"What happened, and what to do about it"`
	Instance  string         `json:"instance" doc:"The path that was asked for"`
	RequestID string         `json:"request_id" doc:"Names this request in the server's log"`
	Errors    []ProblemField `json:"errors,omitempty" doc:"One entry for each invalid field"`

	cause error // logged, never shown
}

// refuse makes the problem of a handler that says no.
func refuse(ctx context.Context, status int, detail string) error { return blank(ctx, status, detail) }

// ProblemField says what is wrong with one field of the request.
type ProblemField struct {
	Location string `json:"location" doc:"Where, as in body.params.job"`
	Message  string `json:"message" doc:"What is wrong"`
	Rule     string `json:"rule,omitempty" doc:"The rule of archives that was broken, a stable word"`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus gives huma the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType gives huma the media type.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// huma knows one hook for all of its APIs; it is set once, before any is made.
func init() { //nolint:gochecknoinits // the library offers no other place
	// A name in another case would pass for a known one here, and be unknown to what reads it.
	huma.ValidateStrictCasing = true
	huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
		if ctx == nil {
			return newProblem(context.Background(), status, message, errs...)
		}
		return newProblem(ctx.Context(), status, message, errs...)
	}
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return newProblem(context.Background(), status, message, errs...)
	}
}

// newProblem makes a problem of huma's own findings, or of the error that a handler returned.
func newProblem(ctx context.Context, status int, message string, errs ...error) *Problem {
	if status == http.StatusInternalServerError && len(errs) == 1 {
		p := problemOf(ctx, errs[0])
		requestOf(ctx).failed = p // huma writes it; observe logs it
		return p
	}
	p := blank(ctx, status, message)
	for _, err := range errs {
		if detailer, ok := err.(huma.ErrorDetailer); ok {
			d := detailer.ErrorDetail()
			p.Errors = append(p.Errors, ProblemField{Location: d.Location, Message: d.Message})
		} else if err != nil {
			p.Errors = append(p.Errors, ProblemField{Message: err.Error()})
		}
	}
	if len(p.Errors) > 0 {
		p.Detail = message + ": " + strings.TrimPrefix(p.Errors[0].Location+": ", ": ") + p.Errors[0].Message
	}
	return p
}

func blank(ctx context.Context, status int, detail string) *Problem {
	r := requestOf(ctx)
	p := &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, RequestID: r.id}
	if r.http.URL != nil {
		p.Instance = r.http.URL.Path
	}
	return p
}

// refusals says what each error that a caller can do something about means in HTTP.
var refusals = []struct {
	err    error
	status int
	detail string
}{
	{storage.ErrNotFound, http.StatusNotFound, "There is no such thing here, or you may not see it."},
	{storage.ErrKeyReused, http.StatusUnprocessableEntity, "This Idempotency-Key was used before with another request. Use a new key for a new request."},
	{jobs.ErrFinal, http.StatusConflict, "The task has ended; it cannot be cancelled."},
	{jobs.ErrNotFinal, http.StatusConflict, "The task has not ended yet. Cancel it, or wait for its end."},
	{jobs.ErrInputGone, http.StatusConflict, "The task's input was deleted when it ended. Start a new task and send the file again."},
	{storage.ErrConflict, http.StatusConflict, "The change does not fit the present state."},
	{files.ErrFull, http.StatusInsufficientStorage, "The server's disk is full. Nothing was stored. Tell the operator of this server."},
	{files.ErrDamaged, http.StatusInternalServerError, "The stored file is damaged: its bytes are not those which were stored, and none of them were sent. Store it again, or take an earlier version. Tell the operator of this server the request_id."},
	{storage.ErrContentGone, http.StatusServiceUnavailable, "The bytes were removed while this was under way, because nothing kept them. Send the request again."},
	{files.ErrTooLarge, http.StatusRequestEntityTooLarge, "The file is larger than the bucket takes that this server keeps its files in."},
	{errBodyTooLarge, http.StatusRequestEntityTooLarge, "The file is larger than this server takes."},
	{errUnauthorized, http.StatusUnauthorized, "Sign in first: send an API token as Authorization: Bearer …"},
	{sso.ErrUnavailable, http.StatusServiceUnavailable, "The sign-in provider does not answer, so that this token cannot be checked. Try again in a minute."},
	{errForbidden, http.StatusForbidden, "Your role does not allow this. An admin of the app, or of this server, can give you one that does."},
	{errTokenLimits, http.StatusForbidden, "API tokens cannot manage tokens and sessions. Sign in with the browser for that."},
	{errTokenDormant, http.StatusUnauthorized, "This API token rests because its owner has not signed in for a long time. It works again when they sign in."},
	{errOwnMembership, http.StatusForbidden, "Nobody can change their own membership. Another admin of the app can."},
	{errCrossOrigin, http.StatusForbidden, "A page of another origin may not do this."},
	{errGone, http.StatusGone, "The outputs of this task were deleted when their time was over; their list remains."},
	{errFormTooLong, http.StatusRequestEntityTooLarge, "The form is larger than this server takes. Nothing was stored."},
	{errSlowBody, http.StatusRequestTimeout, "The request came too slowly, and was given up before its end. Nothing was stored; send it again."},
	{errBadRequest, http.StatusBadRequest, "The request broke off before its end, or its parts are not marked as multipart/form-data is. Nothing was stored; send it again."},
	{storage.ErrText, http.StatusUnprocessableEntity, "The request holds a zero byte or broken UTF-8, which cannot be stored. Send plain text."},
}

var (
	errBadRequest   = errors.New("request broken off or malformed")
	errBodyTooLarge = errors.New("request body too large")
	errUnauthorized = errors.New("not signed in")
	errCrossOrigin  = errors.New("refused: cross-origin request")
	errForbidden    = errors.New("forbidden")
	errTokenLimits  = errors.New("forbidden to API tokens")
	errTokenDormant = errors.New("the token's owner has not signed in for too long")

	errOwnMembership = errors.New("one's own membership")
	errGone          = errors.New("outputs expired")
)

// problemOf is the one table from errors to answers.
func problemOf(ctx context.Context, err error) *Problem {
	var (
		problem  *Problem
		invalid  *jobs.Invalid
		refusal  *archive.Refusal
		http400  *echo.HTTPError
		stranger *sso.Refusal
	)
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &invalid):
		p := blank(ctx, http.StatusUnprocessableEntity, invalid.Detail)
		for _, f := range invalid.Fields {
			p.Errors = append(p.Errors, ProblemField{Location: f.Location, Message: f.Message})
		}
		return p
	case errors.As(err, &refusal):
		p := blank(ctx, http.StatusUnprocessableEntity, refusal.Error())
		p.Errors = []ProblemField{{Location: "file", Message: refusal.Error(), Rule: string(refusal.Rule)}}
		return p
	case errors.As(err, &http400):
		return blank(ctx, http400.Code, echoDetail(http400))
	case errors.As(err, &stranger):
		return blank(ctx, http.StatusUnauthorized, stranger.Message)
	}
	if storage.IsText(err) {
		err = storage.ErrText
	}
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			p := blank(ctx, r.status, r.detail)
			if p.Status == http.StatusInternalServerError {
				p.cause = err
			}
			return p
		}
	}
	p := blank(ctx, http.StatusInternalServerError,
		"Something went wrong in this server. Try again; if it stays, tell the operator the request_id.")
	p.cause = err
	return p
}

// echoDetail words what the router refuses.
func echoDetail(err *echo.HTTPError) string {
	switch err.Code {
	case http.StatusNotFound:
		return "There is nothing at this address. GET /openapi.json describes what there is."
	case http.StatusMethodNotAllowed:
		return "This address does not take this method. GET /openapi.json describes what it takes."
	}
	if text, ok := err.Message.(string); ok {
		return text
	}
	return http.StatusText(err.Code)
}

// report logs the cause of a problem that is ours, once. That a client has gone away is none.
func (s *Server) report(ctx context.Context, p *Problem) {
	if p.cause == nil || errors.Is(p.cause, context.Canceled) && ctx.Err() != nil {
		return
	}
	s.Logger.LogAttrs(ctx, slog.LevelError, "request failed",
		slog.String("request_id", p.RequestID), slog.String("path", p.Instance), slog.Any("error", p.cause))
}

// writeError answers with the problem that err is.
func (s *Server) writeError(err error, c echo.Context) {
	ctx := c.Request().Context()
	p := problemOf(ctx, err)
	s.report(ctx, p)
	if c.Response().Committed {
		return // too late to say anything: the connection is cut short instead
	}
	if more, ok := errors.AsType[huma.HeadersError](err); ok {
		maps.Copy(c.Response().Header(), more.GetHeaders())
	}
	if p.Status == http.StatusUnauthorized {
		c.Response().Header().Set("WWW-Authenticate", `Bearer realm="longhaul"`)
		if s.wantsPage(c) {
			_ = c.Redirect(http.StatusSeeOther, signInURL(c.Request())) // the client is gone if this fails
			return
		}
		if partial(c) {
			c.Response().Header().Set("HX-Redirect", "/sign-in") // the whole page goes there
		}
	}
	if s.wantsPage(c) && s.problemPage(c, p) == nil {
		return
	}
	body, err := encode(p)
	if err != nil {
		body = []byte(`{}`)
	}
	c.Response().Header().Set(echo.HeaderContentType, p.ContentType("")) // the handler may have set another
	c.Response().Header().Set("Cache-Control", "no-store")               // as above
	_ = c.Blob(p.Status, p.ContentType(""), body)                        // the client is gone if this fails
}
