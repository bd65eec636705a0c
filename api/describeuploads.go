package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// describeTus describes the routes of uploads that do not go through huma.
func (s *Server) describeTus() {
	const bytesOfChunk = "application/offset+octet-stream"
	chunk := &huma.RequestBody{Content: map[string]*huma.MediaType{bytesOfChunk: {Schema: &huma.Schema{Type: "string"}}}}
	checks := []*huma.Param{
		headerParam("Upload-Checksum", "Of the bytes in this request: sha1, sha256, md5 or crc32, a space, and the digest as Base64; also as a trailer"),
		headerParam("Content-Digest", "The same as RFC 9530 writes it: sha-256 or sha-512"),
	}
	resumable := headerParam("Tus-Resumable", "1.0.0, unless Upload-Draft-Interop-Version names a draft of the IETF's: 3 to 6")
	offset := map[string]*huma.Param{"Upload-Offset": header("How many bytes are kept"), "Upload-Expires": header("When it is removed unless more comes")}
	s.document(huma.Operation{
		OperationID: "create-upload", Method: http.MethodPost, Path: uploadsPath, Tags: []string{"Uploads"},
		Summary: "Make an upload",
		Description: "By tus 1.0 (https://tus.io/protocols/resumable-upload) with its extensions creation, creation-with-upload, " +
			"creation-defer-length, concatenation, termination, expiration, checksum and checksum-trailer, or by a draft of the " +
			"IETF's resumable uploads. Upload-Metadata may hold filename, filetype, app (for whose tasks it is; left out: any) " +
			"and sha256 (of the whole, in hexadecimal: what comes must agree).",
		Parameters: append([]*huma.Param{
			resumable, headerParam("Upload-Length", "The size in bytes"), headerParam("Upload-Defer-Length", "1: the size is not known yet"),
			headerParam("Upload-Metadata", "As tus writes it"), headerParam("Upload-Concat", "partial, or final; and the addresses of the pieces"),
			headerParam("Repr-Digest", "SHA-256 of the whole (RFC 9530): what comes must agree"),
		}, checks...),
		RequestBody: chunk,
		Responses: map[string]*huma.Response{"201": {Description: "Made: send the bytes to Location", Headers: map[string]*huma.Param{
			"Location": header("The upload's address"), "Upload-Offset": offset["Upload-Offset"], "Upload-Expires": offset["Upload-Expires"],
		}}, "460": s.problemResponse("Checksum Mismatch: the bytes are not those of the digest, and nothing was kept")},
		Errors: []int{
			http.StatusBadRequest, http.StatusConflict, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge,
			http.StatusUnprocessableEntity, http.StatusServiceUnavailable, http.StatusInsufficientStorage,
		},
	})
	s.document(huma.Operation{
		OperationID: "discover-uploads", Method: http.MethodOptions, Path: uploadsPath, Tags: []string{"Uploads"},
		Summary: "Tell what is spoken here of tus", Responses: map[string]*huma.Response{"200": {
			Description: "In headers: Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm",
		}},
	})
	s.document(huma.Operation{
		OperationID: "locate-upload", Method: http.MethodHead, Path: uploadPath, Tags: []string{"Uploads"},
		Summary: "Tell how far an upload is", Description: "A request that still sends to it is ended first.",
		Parameters: []*huma.Param{uploadIDParam(), resumable},
		Responses: map[string]*huma.Response{
			"200": {Description: "How far it is", Headers: offset}, "204": {Description: "The same, by the IETF's drafts", Headers: offset},
		},
		Errors: []int{http.StatusConflict, http.StatusGone, http.StatusServiceUnavailable},
	})
	s.document(huma.Operation{
		OperationID: "continue-upload", Method: http.MethodPatch, Path: uploadPath, Tags: []string{"Uploads"},
		Summary: "Send bytes of an upload",
		Description: "What came is kept when the request breaks off, unless it has a digest: then all of it is kept, or nothing. " +
			"Another request that still sends is ended first.",
		Parameters: append([]*huma.Param{
			uploadIDParam(), resumable, headerParam("Upload-Offset", "Where in the upload the bytes begin"),
			headerParam("Upload-Length", "The size, where that was not known"),
		}, checks...),
		RequestBody: chunk,
		Responses: map[string]*huma.Response{
			"201": {Description: "The bytes are kept, and the upload has them all (by the IETF's drafts)", Headers: offset},
			"204": {Description: "The bytes are kept", Headers: offset},
			"460": s.problemResponse("Checksum Mismatch: the bytes are not those of the digest, and nothing was kept"),
		},
		Errors: []int{
			http.StatusBadRequest, http.StatusConflict, http.StatusGone, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge,
			http.StatusUnsupportedMediaType, http.StatusServiceUnavailable, http.StatusInsufficientStorage,
		},
	})
	s.document(huma.Operation{
		OperationID: "delete-upload", Method: http.MethodDelete, Path: uploadPath, Tags: []string{"Uploads"},
		Summary: "Delete an upload that is not used", Parameters: []*huma.Param{uploadIDParam()},
		Responses: map[string]*huma.Response{"204": {Description: "It is gone"}},
		Errors:    []int{http.StatusConflict, http.StatusServiceUnavailable},
	})
	s.document(huma.Operation{
		OperationID: "get-upload", Method: http.MethodGet, Path: uploadPath, Tags: []string{"Uploads"},
		Summary: "Get an upload",
		Description: "Answers 304 when it still is as If-None-Match names it. With wait, holds the answer until it differs from that; " +
			"without If-None-Match, until its state is another: of one that is finishing, until it is finished or failed.",
		Parameters: []*huma.Param{uploadIDParam(), waitParam(), headerParam("If-None-Match", "The ETag of an earlier answer")},
		Responses: map[string]*huma.Response{
			"200": {
				Description: "The upload", Headers: map[string]*huma.Param{"ETag": header("Names this version of the upload")},
				Content: map[string]*huma.MediaType{"application/json": {Schema: s.schemaOf(Upload{})}},
			},
			"304": {Description: "Not changed"},
		},
		Errors: []int{http.StatusUnprocessableEntity},
	})
}

func uploadIDParam() *huma.Param {
	p := idParam()
	p.Description = "The upload's id"
	return p
}
