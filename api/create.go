package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"golang.org/x/text/unicode/norm"

	"longhaul/jobs"
	"longhaul/storage"
)

// maxTaskJSON bounds the JSON that describes a task, in bytes.
const maxTaskJSON = 1 << 20

// CreateTask is a request for a task.
type CreateTask struct {
	App         string         `json:"app" minLength:"1" doc:"The app it is for"`
	Name        string         `json:"name" minLength:"1" maxLength:"100" doc:"The recurring job's name, as in importAccount"`
	Kind        string         `json:"kind" minLength:"1" doc:"What to do; GET /api/v1/kinds lists what there is"`
	Params      map[string]any `json:"params,omitempty" doc:"As the kind's JSON Schema describes"`
	MaxRejected *int64         `json:"max_rejected,omitempty" minimum:"0" doc:"More rejected records than this make the task fail; left out: no limit"`
	Upload      string         `json:"upload,omitempty" format:"uuid" doc:"A finished upload of yours, instead of the part file; it is used by this"`
	File        string         `json:"file,omitempty" doc:"The path of one of the app's files, instead of the part file; it stays as it is"`
}

// createTask handles POST /api/v1/tasks, for the operators of its app.
func (s *Server) createTask(c echo.Context) error {
	contentType, params, err := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	if err != nil {
		contentType = ""
	}
	switch contentType {
	case echo.MIMEApplicationJSON:
		return useProblem(c.Request().Context(), s.createFromJSON(c))
	case echo.MIMEMultipartForm:
		return useProblem(c.Request().Context(), s.createFromParts(c, params["boundary"]))
	}
	return echo.NewHTTPError(http.StatusUnsupportedMediaType, "Send application/json, or multipart/form-data with the parts task and file.")
}

func (s *Server) createFromJSON(c echo.Context) error {
	draft, digest, err := s.draft(c, c.Request().Body)
	if err != nil {
		return err
	}
	return s.create(c, draft, digest)
}

// createFromParts takes the part task and then the part file, which streams to storage.
func (s *Server) createFromParts(c echo.Context, boundary string) error {
	body := requestBody{c.Request().Body}
	parts := multipart.NewReader(body, boundary)
	part, err := parts.NextPart()
	if err != nil {
		return badRequest(err)
	}
	if part.FormName() != "task" {
		return invalidPart(part.FormName(), `the first part must be "task", with the JSON that describes the task`)
	}
	draft, digest, err := s.draft(c, part)
	if err != nil {
		return err
	}
	part, err = parts.NextPart()
	if errors.Is(err, io.EOF) {
		if err := wholeRequest(body); err != nil {
			return err
		}
		return s.create(c, draft, digest)
	}
	if err != nil {
		return badRequest(err)
	}
	if part.FormName() != "file" {
		return invalidPart(part.FormName(), `the second part must be "file", with the zip archive`)
	}
	if err := s.Engine.TakeArchive(c.Request().Context(), draft, s.limited(requestBody{part})); err != nil {
		return err
	}
	if err := lastPart(parts, body); err != nil {
		s.Engine.Discard(c.Request().Context(), draft)
		return err
	}
	return s.create(c, draft, append(digest, draft.ArchiveSHA256...))
}

// lastPart refuses a request that goes on after the part file, and one whose end has not arrived.
func lastPart(parts *multipart.Reader, body io.Reader) error {
	_, err := parts.NextPart()
	switch {
	case err == nil:
		return invalidPart("", "nothing may follow the part file")
	case !errors.Is(err, io.EOF):
		return badRequest(err)
	}
	return wholeRequest(body)
}

// maxEpilogue bounds what may follow the closing boundary, in bytes. Nothing needs to.
const maxEpilogue = 64 << 10

// wholeRequest refuses a request that broke off after its closing boundary: to its client it
// has failed.
func wholeRequest(body io.Reader) error {
	n, err := io.Copy(io.Discard, io.LimitReader(body, maxEpilogue))
	if n == maxEpilogue {
		return invalidPart("", "nothing may follow the closing boundary")
	}
	return err
}

// requestBody marks what goes wrong with reading a request as the client's, not the server's.
type requestBody struct{ io.Reader }

func (b requestBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = badRequest(err)
	}
	return n, err
}

// limited bounds an upload.
func (s *Server) limited(r io.Reader) io.Reader {
	if s.MaxUpload <= 0 {
		return r
	}
	return &limitedReader{r: r, left: s.MaxUpload}
}

type limitedReader struct {
	r    io.Reader
	left int64
}

// Read fails once more than the limit has come.
func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n, errBodyTooLarge
	}
	return n, err
}

// badRequest says that the request broke off, or is not what its Content-Type says.
func badRequest(err error) error { return fmt.Errorf("%w: %w", errBadRequest, err) }

func invalidPart(name, message string) error {
	location := strings.TrimSuffix("body."+name, ".")
	return &jobs.Invalid{Detail: message, Fields: []jobs.Field{{Location: location, Message: message}}}
}

// draft reads and checks the JSON of a task, and returns its digest for the idempotency key.
func (s *Server) draft(c echo.Context, r io.Reader) (*jobs.Draft, []byte, error) {
	ctx := c.Request().Context()
	raw, err := io.ReadAll(io.LimitReader(requestBody{r}, maxTaskJSON+1))
	if err != nil {
		return nil, nil, err
	}
	if len(raw) > maxTaskJSON {
		return nil, nil, refuse(ctx, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("The JSON of a task is larger than %d bytes.", maxTaskJSON))
	}
	var in CreateTask
	if err := s.decode(ctx, raw, &in); err != nil {
		return nil, nil, err
	}
	params, err := json.Marshal(in.Params)
	if err != nil {
		return nil, nil, err
	}
	canonical, err := json.Marshal(in)
	if err != nil {
		return nil, nil, err
	}
	digest := sha256.Sum256(canonical)
	requestOf(ctx).app = in.App
	switch rights := requestOf(ctx).identity.rights(in.App); {
	case !rights.Has(storage.View):
		return nil, nil, jobs.NoSuchApp(in.App)
	case !rights.Has(storage.Operate), in.File != "" && !rights.Has(storage.Data):
		return nil, nil, errForbidden
	}
	n := jobs.NewTask{
		App: in.App, Name: in.Name, Kind: in.Kind, Params: params, MaxRejected: in.MaxRejected,
		File: norm.NFC.String(in.File), By: requestOf(ctx).caller,
	}
	if in.Upload != "" {
		id, err := uuid.Parse(in.Upload)
		if err != nil {
			return nil, nil, invalidPart("upload", "is not the id of an upload")
		}
		n.Upload = &id
	}
	draft, err := s.Engine.Draft(ctx, n)
	return draft, digest[:], err
}

// decode reads one JSON value and holds it against the schema of into's type.
func (s *Server) decode(ctx context.Context, raw []byte, into *CreateTask) error {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return invalidPart("", fmt.Sprintf("this is not JSON: %v", err))
	}
	registry := s.huma.OpenAPI().Components.Schemas
	schema := registry.SchemaFromRef("#/components/schemas/CreateTask")
	var result huma.ValidateResult
	path := huma.NewPathBuffer(nil, 0)
	path.Push("body")
	huma.Validate(registry, schema, path, huma.ModeWriteToServer, value, &result)
	if len(result.Errors) > 0 {
		return newProblem(ctx, http.StatusUnprocessableEntity, "The request does not describe a task", result.Errors...)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	return decoder.Decode(into)
}

// create makes the task and answers 202.
func (s *Server) create(c echo.Context, draft *jobs.Draft, digest []byte) error {
	ctx := c.Request().Context()
	var key *storage.IdempotencyKey
	if text := c.Request().Header.Get("Idempotency-Key"); text != "" {
		if len(text) > 255 {
			s.Engine.Discard(ctx, draft)
			return &jobs.Invalid{
				Detail: "The Idempotency-Key is longer than 255 characters",
				Fields: []jobs.Field{{Location: "header.Idempotency-Key", Message: "is too long"}},
			}
		}
		sum := sha256.Sum256(digest)
		key = &storage.IdempotencyKey{CreatedBy: requestOf(ctx).caller.Person.String(), Key: text, SHA256: sum[:]}
	}
	task, _, err := s.Engine.Create(ctx, draft, key)
	if err != nil {
		return err
	}
	body, err := encode(taskBody(s.Engine.Kinds, requestOf(ctx).shown(task), s.base(c.Request())))
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Location", tasksPath+"/"+task.ID.String())
	h.Set("Retry-After", strconv.Itoa(retryAfter))
	h.Set("ETag", etag(task.Version))
	return c.JSONBlob(http.StatusAccepted, body)
}
