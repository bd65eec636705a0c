package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// describeFiles describes the routes of files that stream, or have slashes in a parameter.
func (s *Server) describeFiles() {
	tags := []string{"Files"}
	file, ifMatch := appPath+"/files/{path}", headerParam("If-Match", "ETags, or *: only if the path has a file, with one of them")
	etag := map[string]*huma.Param{"ETag": header("Names the bytes"), "Repr-Digest": header("SHA-256 of the whole"), "Last-Modified": header("When the path got them")}
	s.document(huma.Operation{
		OperationID: "put-file", Method: http.MethodPut, Path: file, Tags: tags, Summary: "Send a file",
		Description: "The body is the file. It takes the place of what the path had, which stays as an earlier version, once all of it has " +
			"come: a body that breaks off, or is not what its digest says, changes nothing. Large files go better by an upload, " +
			"which can be resumed. The same bytes are stored once, wherever they are. Paths are kept in Unicode's normal form NFC.",
		Parameters: []*huma.Param{
			appParam(), pathParam("The file's path; it may hold slashes"), ifMatch, headerParam("If-None-Match", "*: only if the path has no file"),
			headerParam("Content-Digest", "sha-256 or sha-512 of the bytes (RFC 9530), which must agree; also as a trailer"),
			headerParam("Repr-Digest", "The same"),
		},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/octet-stream": {Schema: &huma.Schema{Type: "string", ContentEncoding: "binary"}},
		}},
		Responses: map[string]*huma.Response{"200": s.fileResponse("The file has other bytes now, or the same"), "201": s.fileResponse("A new file")},
		Errors: []int{
			http.StatusBadRequest, http.StatusConflict, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
			http.StatusUnprocessableEntity, http.StatusServiceUnavailable, http.StatusInsufficientStorage,
		},
	})
	s.document(huma.Operation{
		OperationID: "get-file", Method: http.MethodGet, Path: file, Tags: tags, Summary: "Download a file",
		Description: "Each block of the file is held against its checksum before it leaves. Where that finds damage the answer is a 500 " +
			"that says so or, once bytes have left, the connection is cut.",
		Parameters: append([]*huma.Param{
			appParam(), pathParam("The file's path; it may hold slashes"),
			queryParam("version", "An earlier version of it", &huma.Schema{Type: "integer", Minimum: new(1.0)}),
		}, rangeParams()...),
		Responses: map[string]*huma.Response{
			"200": withHeaders(bytesResponse("The bytes", "application/octet-stream"), etag),
			"206": withHeaders(bytesResponse("A part", "application/octet-stream"), etag), "304": {Description: "Not changed"}, "307": elsewhereResponse(),
		},
		Errors: []int{http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable, http.StatusUnprocessableEntity},
	})
	s.document(huma.Operation{
		OperationID: "delete-file", Method: http.MethodDelete, Path: file, Tags: tags, Summary: "Delete a file",
		Description: "What it was stays as an earlier version for some time.",
		Parameters:  []*huma.Param{appParam(), pathParam("The file's path; it may hold slashes"), ifMatch},
		Responses:   map[string]*huma.Response{"204": {Description: "It is gone"}},
		Errors:      []int{http.StatusPreconditionFailed, http.StatusUnprocessableEntity},
	})
	s.document(huma.Operation{
		OperationID: "list-file-versions", Method: http.MethodGet, Path: appPath + "/file-versions/{path}", Tags: tags,
		Summary: "List what a path has had, the newest first", Description: "Also of a file that was deleted. POST with copy_of and version brings one back.",
		Parameters: []*huma.Param{
			appParam(), pathParam("The file's path; it may hold slashes"), limitParam(50, 200), queryParam("cursor", "The next_cursor of the page before", &huma.Schema{Type: "string"}),
		},
		Responses: map[string]*huma.Response{"200": {Description: "The versions", Content: map[string]*huma.MediaType{
			"application/json": {Schema: s.schemaOf(Page[FileVersion]{})},
		}}},
		Errors: []int{http.StatusUnprocessableEntity},
	})
	s.document(huma.Operation{
		OperationID: "get-files-zip", Method: http.MethodGet, Path: appPath + "/files.zip", Tags: tags, Summary: "Download several files as one zip",
		Description: "All files whose paths begin with prefix, or those named by path; without either, all of the app. Where every file is " +
			"compressed already, Content-Length tells how much will come.",
		Parameters: []*huma.Param{
			appParam(), queryParam("prefix", "Only paths that begin so", &huma.Schema{Type: "string", Examples: []any{"reports/2026/"}}),
			queryParam("path", "The path of a file; may be given again for each", &huma.Schema{Type: "array", Items: &huma.Schema{Type: "string"}}),
		},
		Responses: map[string]*huma.Response{"200": bytesResponse("The archive", "application/zip")},
		Errors:    []int{http.StatusUnprocessableEntity},
	})
	s.describeChanges()
}

func (s *Server) describeChanges() {
	s.document(huma.Operation{
		OperationID: "list-changes", Method: http.MethodGet, Path: changesPath, Tags: []string{"Files"},
		Summary: "Follow the changes of files",
		Description: "What has changed since the cursor, in an order in which nothing that is committed late is left out, and the changes of " +
			"one file come as they were made. Without a cursor it tells what there is, as puts, and then what changes. Who is far " +
			"behind is told only the last change of each file. A page may be empty with more to come. Keep next_cursor once what the " +
			"page tells is done: reading again from it tells nothing twice.",
		Parameters: []*huma.Param{
			queryParam("cursor", "The next_cursor of the page before; left out: from the beginning; now: only where now is", &huma.Schema{Type: "string"}),
			queryParam("app", "Only of this app", &huma.Schema{Type: "string"}), limitParam(200, 1000), waitParam(),
		},
		Responses: map[string]*huma.Response{
			"200": {Description: "The changes", Content: map[string]*huma.MediaType{"application/json": {Schema: s.schemaOf(ChangePage{})}}},
			"410": s.problemResponse("The cursor is too old: start over without one"),
		},
		Errors: []int{http.StatusUnprocessableEntity},
	})
}

// fileResponse is an answer that tells of a file that was changed.
func (s *Server) fileResponse(description string) *huma.Response {
	return &huma.Response{
		Description: description, Headers: map[string]*huma.Param{"ETag": header("Names the bytes"), "Location": header("The file's address")},
		Content: map[string]*huma.MediaType{"application/json": {Schema: s.schemaOf(File{})}},
	}
}

func withHeaders(r *huma.Response, headers map[string]*huma.Param) *huma.Response {
	r.Headers = headers
	return r
}

// elsewhereResponse is what [Server.sendElsewhere] answers.
func elsewhereResponse() *huma.Response {
	return withHeaders(&huma.Response{Description: "Where this server has downloads come straight from its bucket: the bytes are there"},
		map[string]*huma.Param{"Location": header("Works without a token, for five minutes")})
}

// rangeParams are what a download is asked for with.
func rangeParams() []*huma.Param {
	return []*huma.Param{
		headerParam("Range", "Only a part, as in bytes=0-1023; who asks for more than 16 gets the whole"), headerParam("If-Range", "An ETag: the part only if it still names the bytes, and else the whole"),
		headerParam("If-None-Match", "The ETag of an earlier answer"),
	}
}

func appParam() *huma.Param {
	return &huma.Param{Name: "app", In: "path", Required: true, Description: "The app's name", Schema: &huma.Schema{Type: "string"}}
}

func pathParam(description string) *huma.Param {
	return &huma.Param{Name: "path", In: "path", Required: true, Description: description, Schema: &huma.Schema{Type: "string"}}
}

func limitParam(otherwise, most int) *huma.Param {
	return queryParam("limit", "At most so many", &huma.Schema{
		Type: "integer", Minimum: new(1.0), Maximum: new(float64(most)), Default: otherwise,
	})
}
