package api

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"longhaul/api/tus"
	"longhaul/jobs"
	"longhaul/storage"
	"longhaul/storage/files"
)

const (
	uploadsPath = "/api/v1/uploads"
	uploadPath  = uploadsPath + "/{id}"
)

func (s *Server) uploadRoutes(g *echo.Group) {
	s.tus = tus.New(tus.Config{
		Engine: s.Engine, Path: uploadsPath, MaxSize: s.MaxUpload, Logger: s.Logger,
	})
	g.POST(uploadsPath, s.serveTus)
	g.OPTIONS(uploadsPath, s.serveTus)
	g.HEAD(uploadsPath+"/:id", s.serveTus)
	g.PATCH(uploadsPath+"/:id", s.serveTus)
	g.DELETE(uploadsPath+"/:id", s.serveTus)
	g.GET(uploadsPath+"/:id", s.getUpload)
	s.describeTus()
	huma.Register(s.huma, huma.Operation{
		OperationID: "list-uploads", Method: http.MethodGet, Path: uploadsPath, Tags: []string{"Uploads"},
		Summary: "List your uploads, newest first", Errors: []int{http.StatusUnauthorized},
	}, s.listUploads)
	s.s3Routes()
}

// changeUpload is what it takes on its app to change an upload; to see it, a view of the app is enough.
const changeUpload = storage.View | storage.Operate | storage.Data

// serveTus handles POST and OPTIONS of /api/v1/uploads, and HEAD, PATCH and DELETE of
// /api/v1/uploads/{id}: uploads belong to who made them, and to nobody else they exist.
func (s *Server) serveTus(c echo.Context) error {
	req := c.Request()
	r := requestOf(req.Context())
	if req.Method == http.MethodDelete { // it is no matter of the protocol's version
		req.Header.Set("Tus-Resumable", "1.0.0")
	}
	needed := changeUpload
	if req.Method == http.MethodHead {
		needed = storage.View
	}
	err := s.tus.Serve(informing{c.Response()}, req, tus.Call{
		Caller: r.caller, Base: s.base(req), Stopping: s.stopping, MayUse: r.mayUploadFor,
		MayReach: func(u *storage.Upload) error { return r.identity.mayReach(u, needed) },
	})
	return uploadProblem(req.Context(), err)
}

// mayUploadFor says why the caller may not make an upload for an app, or nil.
func (r *request) mayUploadFor(app string) error {
	return r.mayUploadTo(app, "header.Upload-Metadata")
}

// mayUploadTo is mayUploadFor for an app that stands elsewhere in the request.
func (r *request) mayUploadTo(app, location string) error {
	r.app = app
	switch rights := r.identity.rights(app); {
	case !rights.Has(storage.View):
		return &jobs.Invalid{
			Detail: fmt.Sprintf("There is no app %q; GET /api/v1/apps lists them", app),
			Fields: []jobs.Field{{Location: location, Message: "app names none"}},
		}
	case !rights.Has(storage.Operate | storage.Data):
		return errForbidden
	}
	return nil
}

// mayReach says why the caller may not do with an upload of theirs what takes the given rights on its
// app, or nil: their token may be for less than they made it with, and a membership may have ended.
// Of one without an app the rule of the route says enough.
func (i *identity) mayReach(u *storage.Upload, needed storage.Rights) error {
	if u.App == nil {
		return nil
	}
	switch rights := i.rights(*u.App); {
	case !rights.Has(storage.View):
		return storage.ErrNotFound
	case !rights.Has(needed):
		return errForbidden
	}
	return nil
}

// informing passes answers like 104 on, which Echo takes for the only one.
type informing struct{ *echo.Response }

// WriteHeader passes the status on.
func (w informing) WriteHeader(status int) {
	if status < http.StatusOK {
		w.Writer.WriteHeader(status)
		return
	}
	w.Response.WriteHeader(status)
}

// uploadProblem words what goes wrong with uploads.
func uploadProblem(ctx context.Context, err error) error {
	var (
		refusal *tus.Error
		over    *storage.OverQuotaError
	)
	switch {
	case errors.As(err, &refusal):
		p := blank(ctx, refusal.Status, refusal.Detail)
		if p.Status == tus.StatusChecksumMismatch {
			p.Title = "Checksum Mismatch"
		}
		return p
	case errors.As(err, &over):
		return refuse(ctx, http.StatusRequestEntityTooLarge, overQuota(over))
	case errors.Is(err, storage.ErrStale):
		return refuse(ctx, http.StatusConflict, "Another request has taken this upload over, or it was removed. Ask with HEAD how far it is.")
	case errors.Is(err, files.ErrFull):
		return refuse(ctx, http.StatusInsufficientStorage, "The server's storage has no room for this. What came before is kept; go on when there is room, and tell the operator of this server.")
	case errors.Is(err, files.ErrBusy):
		return inAMoment(refuse(ctx, http.StatusServiceUnavailable, "Another request is still writing what came of this upload before. Try again in a moment."))
	case errors.Is(err, errSlowBody): // clients of tus try again what is not their fault alone
		return refuse(ctx, http.StatusServiceUnavailable, "The bytes came too slowly. What came is kept; ask with HEAD how far it is, and go on from there.")
	case errors.Is(err, errBadRequest):
		return refuse(ctx, http.StatusBadRequest, "The request broke off before its end. What came is kept; ask with HEAD how far it is, and go on from there.")
	}
	return useProblem(ctx, err)
}

// useProblem words why an upload cannot be used.
func useProblem(ctx context.Context, err error) error {
	use, ok := errors.AsType[*storage.UploadUseError](err)
	if !ok {
		return err
	}
	problem := refuse(ctx, http.StatusConflict, notUsable(&use.Upload))
	if use.Upload.Final() {
		return problem
	}
	return inAMoment(problem)
}

// inAMoment says of a problem that it will soon be none.
func inAMoment(problem error) error {
	return huma.ErrorWithHeaders(problem, http.Header{"Retry-After": {"1"}})
}

// overQuota says what is used, and allowed.
func overQuota(e *storage.OverQuotaError) string {
	whose := "You have"
	if e.App != "" {
		whose = "The app " + e.App + " has"
	}
	return fmt.Sprintf("%s %d bytes of uploads that are not used yet, and %d are allowed: there is no room for this one. "+
		"Use or delete some (GET /api/v1/uploads lists yours), or wait until they expire.", whose, e.Used, e.Allowed)
}

// notUsable says why nothing can be made of an upload.
func notUsable(u *storage.Upload) string {
	switch {
	case u.UsedBy != nil:
		return fmt.Sprintf("The upload was used by %s already, and an upload is used once. Send the file again.", *u.UsedBy)
	case u.Partial:
		return "The upload is a piece, which others are put together from. Use the one that is put together."
	case u.State == storage.UploadReceiving:
		return fmt.Sprintf("The upload is not finished: %d bytes have come. Go on with it, and ask again when it is finished.", u.Received)
	case u.State == storage.UploadFinishing:
		return "The upload is being checked. Ask again in a moment; GET /api/v1/uploads/" + u.ID.String() + "?wait=60 tells when it is finished."
	case u.State == storage.UploadFailed:
		return "The upload has failed: " + u.Message
	}
	return fmt.Sprintf("The upload is for the app %s. Make one for this app, or for none.", *u.App)
}

// Upload is an upload as the API shows it.
type Upload struct {
	ID          string    `json:"id" format:"uuid" doc:"UUIDv7; sorts by time"`
	App         *string   `json:"app" doc:"The app it is for; null: any"`
	Filename    string    `json:"filename"`
	ContentType string    `json:"content_type"`
	State       string    `json:"state" enum:"receiving,finishing,finished,failed" doc:"finishing: all bytes have come and are checked; finished: it can be used, once"`
	Size        *int64    `json:"size" doc:"In bytes; null: not known yet"`
	Received    int64     `json:"received" doc:"Bytes that have come, durably"`
	Checked     int64     `json:"checked" doc:"Bytes, while it is finishing"`
	Message     string    `json:"message" doc:"What is done with it, or why it failed"`
	SHA256      *string   `json:"sha256" doc:"Hexadecimal, once it is finished"`
	Partial     bool      `json:"partial" doc:"A piece, which another is put together from"`
	CreatedAt   time.Time `json:"created_at"`
	ExpiresAt   time.Time `json:"expires_at" doc:"When it is removed; later, if more of it comes"`
	UsedBy      *string   `json:"used_by" doc:"The task, or the file, that was made of it; null: it is not used"`
	Version     int64     `json:"version" doc:"Rises with every change; the ETag"`
}

func uploadBody(u *storage.Upload) *Upload {
	body := &Upload{
		ID: u.ID.String(), App: u.App, Filename: u.Filename, ContentType: u.ContentType, State: u.State,
		Size: u.Size, Received: u.Received, Checked: u.Checked, Message: u.Message, Partial: u.Partial,
		CreatedAt: u.CreatedAt.UTC(), ExpiresAt: u.ExpiresAt.UTC(), UsedBy: u.UsedBy, Version: u.Version,
	}
	if u.State == storage.UploadFinished && u.SHA256 != nil {
		digest := hex.EncodeToString(u.SHA256)
		body.SHA256 = &digest
	}
	return body
}

// getUpload handles GET /api/v1/uploads/{id}, for who made it.
func (s *Server) getUpload(c echo.Context) error {
	id, err := parseID(c.Param("id"))
	if err != nil {
		return err
	}
	u, err := s.waitUpload(c, id)
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("ETag", etag(u.Version))
	h.Set("Cache-Control", "private, no-cache")
	if matches(c.Request().Header.Get("If-None-Match"), u.Version) {
		return c.NoContent(http.StatusNotModified)
	}
	body, err := encode(uploadBody(&u))
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, body)
}

// waitUpload holds as long as ?wait asks, while something is to happen to the upload yet and it is as
// If-None-Match names it or, without that, in the state in which it was.
func (s *Server) waitUpload(c echo.Context, id uuid.UUID) (storage.Upload, error) {
	by, known := requestOf(c.Request().Context()).caller, c.Request().Header.Get("If-None-Match")
	u, err := s.seenUpload(c.Request().Context(), id)
	if err != nil {
		return u, err
	}
	wait, err := waitOf(c)
	if err != nil || wait == 0 {
		return u, err
	}
	ctx, cancel := s.untilStop(c.Request().Context(), wait)
	defer cancel()
	for began := u.State; ctx.Err() == nil && !u.Final() && (matches(known, u.Version) || known == "" && u.State == began); {
		if u, err = s.Engine.WaitUpload(ctx, id, by, u.Version); err != nil {
			return u, err
		}
	}
	now, err := s.identify(c)
	switch {
	case errors.Is(err, errUnauthorized): // the session may have ended
		return u, err
	case err == nil: // what the database cannot be asked now, it could a moment ago
		return u, now.mayReach(&u, storage.View)
	}
	return u, nil
}

// seenUpload returns the caller's upload, with what has come of it to the bucket without a word.
func (s *Server) seenUpload(ctx context.Context, id uuid.UUID) (storage.Upload, error) {
	r := requestOf(ctx)
	u, err := s.db.Upload(ctx, id, r.caller.Person)
	if err == nil {
		err = r.identity.mayReach(&u, storage.View)
	}
	if err != nil || u.Protocol != storage.ToBucket {
		return u, err
	}
	if err := s.Engine.LookForUpload(ctx, id, r.caller); err != nil {
		return u, err
	}
	return s.db.Upload(ctx, id, r.caller.Person)
}

type listUploadsInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"At most so many"`
	Cursor string `query:"cursor" doc:"The next_cursor of the page before"`
}

type listUploadsOutput struct{ Body Page[*Upload] }

// listUploads handles GET /api/v1/uploads, for whoever is signed in: their own, but for those of apps
// that they may not see.
func (s *Server) listUploads(ctx context.Context, in *listUploadsInput) (*listUploadsOutput, error) {
	before, err := cursorID(in.Cursor)
	if err != nil {
		return nil, err
	}
	uploads, err := s.scope(ctx).Uploads(ctx, requestOf(ctx).caller.Person, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := &listUploadsOutput{Body: Page[*Upload]{Items: []*Upload{}}}
	if len(uploads) > in.Limit {
		uploads = uploads[:in.Limit]
		cursor := uploads[in.Limit-1].ID.String()
		out.Body.NextCursor = &cursor
	}
	for i := range uploads {
		out.Body.Items = append(out.Body.Items, uploadBody(&uploads[i]))
	}
	return out, nil
}

// isUpload reports whether a path is that of an upload, where HEAD is a matter of the protocol.
func isUpload(path string) bool {
	id, below := strings.CutPrefix(path, uploadsPath+"/")
	return below && !strings.Contains(id, "/")
}

// methodOf is the method that a request is answered by. HEAD is answered like GET; net/http leaves
// the body out. An event stream has no end to wait for, so HEAD of it stays refused. Where a client
// of tus cannot send PATCH or DELETE, it says so in a POST.
func methodOf(r *http.Request) string {
	switch override := r.Header.Get("X-HTTP-Method-Override"); {
	case isUpload(r.URL.Path):
		if r.Method == http.MethodPost && (override == http.MethodPatch || override == http.MethodDelete) {
			return override
		}
	case r.Method == http.MethodHead && !strings.HasSuffix(r.URL.Path, "/events"):
		return http.MethodGet
	}
	return r.Method
}
