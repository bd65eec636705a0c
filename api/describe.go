package api

import (
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// The helpers here describe routes that do not go through huma because they stream.

// document adds an operation to the API's description, with the answers every route can give.
func (s *Server) document(op huma.Operation) {
	for _, status := range append([]int{http.StatusUnauthorized, http.StatusNotFound, http.StatusInternalServerError}, op.Errors...) {
		key := strconv.Itoa(status)
		if _, described := op.Responses[key]; !described {
			op.Responses[key] = s.problemResponse(http.StatusText(status))
		}
	}
	s.huma.OpenAPI().AddOperation(&op)
}

func (s *Server) schemaOf(value any) *huma.Schema {
	return s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(value), true, "")
}

// describeForbidden adds to every operation the refusal of callers whose role does not reach, and of
// pages of other origins.
func (s *Server) describeForbidden() {
	for _, op := range s.operations() {
		op.Responses[strconv.Itoa(http.StatusForbidden)] = s.problemResponse("Your role does not allow it, or a page of another origin asked")
	}
}

// operations lists what is described so far.
func (s *Server) operations() []*huma.Operation {
	var found []*huma.Operation
	for _, item := range s.huma.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Head, item.Post, item.Put, item.Patch, item.Delete, item.Options} {
			if op != nil {
				found = append(found, op)
			}
		}
	}
	return found
}

// orNull says that properties which hold an object may be null too; of pointers to objects huma
// does not say it by itself.
func orNull(s *huma.Schema, properties ...string) *huma.Schema {
	for _, name := range properties {
		object := s.Properties[name]
		s.Properties[name] = &huma.Schema{
			Description: object.Description,
			AnyOf:       []*huma.Schema{{Ref: object.Ref}, {Type: "null"}},
		}
	}
	return s
}

func (s *Server) problemResponse(description string) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{
		"application/problem+json": {Schema: s.schemaOf(Problem{})},
	}}
}

func (s *Server) taskResponse(description string) *huma.Response {
	return &huma.Response{
		Description: description,
		Headers: map[string]*huma.Param{
			"ETag":        header("Names this version of the task"),
			"Retry-After": header("Seconds to let pass before asking again; absent once final"),
		},
		Content: map[string]*huma.MediaType{"application/json": {Schema: s.schemaOf(Task{})}},
	}
}

func bytesResponse(description, mediaType string) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{
		mediaType: {Schema: &huma.Schema{Type: "string"}},
	}}
}

// describeCreate describes POST /api/v1/tasks.
func (s *Server) describeCreate() {
	body := s.schemaOf(CreateTask{})
	s.document(huma.Operation{
		OperationID: "create-task", Method: http.MethodPost, Path: tasksPath, Tags: []string{"Tasks"},
		Summary: "Start a task",
		Description: "As JSON, or as multipart/form-data with the part task (that JSON) and then the part file (one zip " +
			"archive), or with the id of a finished upload, or the path of one of the app's files (for who sees its data), in place of the file. The row and its queue entry are written in one transaction; what is refused leaves nothing.",
		Parameters: []*huma.Param{headerParam("Idempotency-Key", "The same key and request answer with the same task")},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json": {Schema: body},
			"multipart/form-data": {
				Schema: &huma.Schema{
					Type: "object", Required: []string{"task"},
					Properties: map[string]*huma.Schema{"task": body, "file": {Type: "string", ContentEncoding: "binary"}},
				},
				Encoding: map[string]*huma.Encoding{
					"task": {ContentType: "application/json"}, "file": {ContentType: "application/zip"},
				},
			},
		}},
		Responses: map[string]*huma.Response{"202": accepted202(s.taskResponse("Accepted: ask at Location"))},
		Errors: []int{
			http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
			http.StatusUnprocessableEntity, http.StatusServiceUnavailable, http.StatusInsufficientStorage,
		},
	})
}

func accepted202(r *huma.Response) *huma.Response {
	r.Headers["Location"] = header("The task's address")
	return r
}

func header(description string) *huma.Param {
	return &huma.Param{Description: description, Schema: &huma.Schema{Type: "string"}}
}

func idParam() *huma.Param {
	return &huma.Param{Name: "id", In: "path", Required: true, Description: "The task's id", Schema: &huma.Schema{Type: "string", Format: "uuid"}}
}

func waitParam() *huma.Param {
	return queryParam("wait", "How many seconds to hold the answer, 60 at most",
		&huma.Schema{Type: "integer", Minimum: new(0.0), Maximum: new(float64(maxWait))})
}

func queryParam(name, description string, schema *huma.Schema) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: description, Schema: schema}
}

func headerParam(name, description string) *huma.Param {
	return &huma.Param{Name: name, In: "header", Description: description, Schema: &huma.Schema{Type: "string"}}
}
