package api

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"longhaul/storage"
	"longhaul/storage/archive"
)

func (s *Server) outputRoutes(g *echo.Group) {
	huma.Register(s.huma, huma.Operation{
		OperationID: "list-outputs", Method: http.MethodGet, Path: taskPath + "/outputs", Tags: []string{"Tasks"},
		Summary: "List a task's outputs", Description: "The list remains when the bytes have expired.",
		Parameters: []*huma.Param{idParam()},
		Errors:     []int{http.StatusUnauthorized, http.StatusNotFound},
	}, s.listOutputs)
	g.GET(tasksPath+"/:id/outputs/*", s.getOutput)
	s.document(huma.Operation{
		OperationID: "get-output", Method: http.MethodGet, Path: taskPath + "/outputs/{path}", Tags: []string{"Tasks"},
		Summary: "Download one output",
		Parameters: []*huma.Param{
			idParam(),
			{Name: "path", In: "path", Required: true, Description: "The output's path; it may hold slashes", Schema: &huma.Schema{Type: "string"}},
			headerParam("Range", "Only a part, as in bytes=0-1023"),
		},
		Responses: map[string]*huma.Response{
			"200": bytesResponse("The bytes", "application/octet-stream"), "206": bytesResponse("A part", "application/octet-stream"),
			"304": {Description: "Not changed"},
		},
		Errors: []int{http.StatusGone, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable},
	})
	g.GET(tasksPath+"/:id/outputs.zip", s.zipOutputs)
	s.document(huma.Operation{
		OperationID: "get-outputs-zip", Method: http.MethodGet, Path: taskPath + "/outputs.zip", Tags: []string{"Tasks"},
		Summary: "Download all outputs as one zip", Parameters: []*huma.Param{idParam()},
		Responses: map[string]*huma.Response{"200": bytesResponse("The archive", "application/zip")},
		Errors:    []int{http.StatusGone},
	})
}

type listOutputsOutput struct{ Body Page[Output] }

// listOutputs handles GET /api/v1/tasks/{id}/outputs, for who sees data.
func (s *Server) listOutputs(ctx context.Context, in *taskInput) (*listOutputsOutput, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	task, err := s.scope(ctx).Task(ctx, id, storage.View|storage.Data)
	if err != nil {
		return nil, err
	}
	return &listOutputsOutput{Body: Page[Output]{Items: outputs(&task)}}, nil
}

// kept returns the task whose outputs are asked for, or errGone when their time is over.
func (s *Server) kept(c echo.Context) (*storage.Task, error) {
	id, err := parseID(c.Param("id"))
	if err != nil {
		return nil, err
	}
	ctx := c.Request().Context()
	task, err := s.scope(ctx).Task(ctx, id, storage.View|storage.Data)
	if err != nil {
		return nil, err
	}
	if task.OutputsDeletedAt != nil || task.OutputsExpireAt != nil && task.OutputsExpireAt.Before(time.Now()) {
		return nil, errGone
	}
	return &task, nil
}

// getOutput handles GET /api/v1/tasks/{id}/outputs/{path}, for who sees data.
func (s *Server) getOutput(c echo.Context) error {
	task, err := s.kept(c)
	if err != nil {
		return err
	}
	name := c.Param("*")
	for _, output := range task.Outputs {
		if output.Path == name {
			return s.serveOutput(c, task, output)
		}
	}
	return storage.ErrNotFound
}

func (s *Server) serveOutput(c echo.Context, task *storage.Task, output storage.Output) error {
	file, err := s.Files.Open(task.Folder() + "/outbound/" + output.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return errGone // removed by the sweep since the row was read
	}
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	if err := s.noteDownload(c, task, output.Path); err != nil {
		return err
	}
	digest, err := hex.DecodeString(output.SHA256)
	if err != nil {
		return fmt.Errorf("digest of output %s of task %s: %w", output.Path, task.ID, err)
	}
	b64 := base64.StdEncoding.EncodeToString(digest)
	h := c.Response().Header()
	h.Set("ETag", `"`+output.SHA256+`"`)
	h.Set("Repr-Digest", "sha-256=:"+b64+":")
	h.Set("Digest", "SHA-256="+b64)
	h.Set("Cache-Control", "private, no-cache")
	attachment(c, path.Base(output.Path))
	return serveContent(c, file)
}

// noteDownload writes the line of the audit trail, before a byte leaves.
func (s *Server) noteDownload(c echo.Context, task *storage.Task, what string) error {
	ctx := c.Request().Context()
	line := requestOf(ctx).caller.Audit("output.download", task.App, task.ID.String())
	line.Detail = what
	return storage.InsertAudit(ctx, s.db.Pool, line)
}

// serveContent answers with the content, or with the part of it that the request asks for.
func serveContent(c echo.Context, content io.ReadSeeker) error {
	w := &contentWriter{ResponseWriter: c.Response()}
	http.ServeContent(w, c.Request(), "", time.Time{}, content)
	if w.refused == 0 {
		return nil
	}
	for _, name := range []string{"Content-Disposition", "Repr-Digest", "Digest"} { // of the content
		c.Response().Header().Del(name)
	}
	detail := "The range is past the end. Content-Range tells how long the whole is."
	if w.refused == http.StatusPreconditionFailed {
		detail = "The condition that the request makes does not hold. Ask without it."
	}
	return refuse(c.Request().Context(), w.refused, detail)
}

// contentWriter holds the refusals of http.ServeContent back, which are no problem+json.
type contentWriter struct {
	http.ResponseWriter
	refused int // the status, or 0
}

// WriteHeader lets all but refusals through.
func (w *contentWriter) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		w.refused = status
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *contentWriter) Write(p []byte) (int, error) {
	if w.refused != 0 {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// attachment makes the browser save what follows under the name, and never show it: outputs
// hold what strangers wrote.
func attachment(c echo.Context, name string) {
	mediaType := mime.TypeByExtension(path.Ext(name))
	if mediaType == "" {
		mediaType = "application/octet-stream"
	}
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, mediaType)
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	disposition := mime.FormatMediaType("attachment", map[string]string{"filename": name})
	if disposition == "" {
		disposition = "attachment"
	}
	h.Set("Content-Disposition", disposition)
}

// zipOutputs handles GET /api/v1/tasks/{id}/outputs.zip, for who sees data: all outputs
// as one archive, made while it is sent.
func (s *Server) zipOutputs(c echo.Context) error {
	task, err := s.kept(c)
	if err != nil {
		return err
	}
	if len(task.Outputs) == 0 {
		return storage.ErrNotFound
	}
	root, err := s.Files.Sub(task.Folder() + "/outbound")
	if errors.Is(err, fs.ErrNotExist) {
		return errGone
	}
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // a handle of a folder
	if err := s.noteDownload(c, task, "all outputs"); err != nil {
		return err
	}
	names := make([]string, 0, len(task.Outputs))
	for _, o := range task.Outputs {
		names = append(names, o.Path)
	}
	attachment(c, task.Name+"-outputs.zip")
	c.Response().Header().Set(echo.HeaderContentType, "application/zip") // not every system knows the type by name
	c.Response().WriteHeader(http.StatusOK)
	if err := archive.Pack(c.Request().Context(), c.Response(), root.FS(), names, archive.PackOptions{}); err != nil {
		s.Logger.WarnContext(c.Request().Context(), "outputs.zip broke off", "task", task.ID, "error", err)
		panic(http.ErrAbortHandler) // the client must not take half an archive for a whole one
	}
	return nil
}
