package api

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"longhaul/jobs"
	"longhaul/storage"
	"longhaul/storage/archive"
	"longhaul/storage/files"
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
		Summary:    "Download one output",
		Parameters: append([]*huma.Param{idParam(), pathParam("The output's path; it may hold slashes")}, rangeParams()...),
		Responses: map[string]*huma.Response{
			"200": bytesResponse("The bytes", "application/octet-stream"), "206": bytesResponse("A part", "application/octet-stream"),
			"304": {Description: "Not changed"}, "307": elsewhereResponse(),
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
	return &task, outputsKept(&task)
}

// outputsKept returns errGone when the time of a task's outputs is over.
func outputsKept(task *storage.Task) error {
	if task.OutputsDeletedAt != nil || task.OutputsExpireAt != nil && task.OutputsExpireAt.Before(time.Now()) {
		return errGone
	}
	return nil
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
	address, err := s.Engine.OutputAddress(c.Request().Context(), task, output.Path, disposition(path.Base(output.Path)))
	if err != nil || address != "" && !isHead(c) {
		return s.sendElsewhere(c, address, err, outputLine(c, task, output.Path))
	}
	file, err := s.openOutput(c.Request().Context(), task, output.Path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	return s.serveDownload(c, file, &download{
		name: path.Base(output.Path), mediaType: jobs.MediaType(output.Path), sha256: output.SHA256,
		line: outputLine(c, task, output.Path),
	})
}

func (s *Server) openOutput(ctx context.Context, task *storage.Task, name string) (files.File, error) {
	file, err := s.Engine.OpenOutput(ctx, task, name)
	return file, goneWithout(err)
}

// goneWithout returns errGone for an output that was removed by the sweep since the row was read.
func goneWithout(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errGone
	}
	return err
}

// outputLine is the line of the audit trail about a download.
func outputLine(c echo.Context, task *storage.Task, what string) storage.Audit {
	line := requestOf(c.Request().Context()).caller.Audit("output.download", task.App, task.ID.String())
	line.Detail = what
	return line
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
	sources := make([]archive.Source, 0, len(task.Outputs))
	for _, o := range task.Outputs {
		sources = append(sources, archive.Source{Name: o.Path, Size: o.Size, Open: func(ctx context.Context) (io.ReadCloser, error) {
			return s.openOutput(ctx, task, o.Path)
		}})
	}
	return s.serveZip(c, task.Name+"-outputs.zip", sources, outputLine(c, task, "all outputs"))
}
