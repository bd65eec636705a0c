package api

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"longhaul/jobs"
	"longhaul/storage"
	"longhaul/storage/files"
)

// The addresses here, and what they take and answer, are those of Companion, with which Uppy's
// plugin for S3 sends files straight to a bucket:
// https://github.com/transloadit/uppy/blob/main/packages/@uppy/companion/src/server/controllers/s3.js

const (
	s3Path     = uploadsPath + "/s3"
	s3Parts    = s3Path + "/multipart"
	s3Upload   = s3Parts + "/{id}"
	s3MaxParts = 2 << 20 // bytes of the JSON that names all parts of an upload
)

func (s *Server) s3Routes() {
	op := func(id, method, path, summary, description string) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: method, Path: path, Tags: []string{"Uploads"}, Summary: summary, Description: description,
			MaxBodyBytes: s3MaxParts,
			Errors: []int{
				http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge,
				http.StatusUnprocessableEntity, http.StatusNotImplemented,
			},
		}
	}
	huma.Register(s.huma, op("start-s3-upload", http.MethodPost, s3Parts, "Make an upload that goes straight to the bucket",
		"For files of more than a few megabytes, in parts, as Uppy's plugin for S3 asks for it with this server's /api/v1/uploads as its Companion. "+
			"Where files are kept in a folder, the answer is 501: use tus. metadata may hold app, sha256 (of the whole, in hexadecimal) and size, "+
			"which what comes must agree with."), s.startS3Upload)
	huma.Register(s.huma, op("list-s3-parts", http.MethodGet, s3Upload, "List the parts that the bucket has",
		"Any device may go on from there."), s.listS3Parts)
	huma.Register(s.huma, op("sign-s3-part", http.MethodGet, s3Upload+"/{part}", "Sign a request that sends a part",
		"To be begun within 15 minutes. Parts far behind those which the bucket has are not signed for yet."), s.signS3Part)
	huma.Register(s.huma, op("sign-s3-parts", http.MethodGet, s3Upload+"/batch", "Sign requests that send some parts", ""), s.signS3Parts)
	huma.Register(s.huma, op("complete-s3-upload", http.MethodPost, s3Upload+"/complete", "Complete an upload whose parts were sent",
		"The bucket is asked whether they are there. The upload is then finishing: its location tells when it is finished, and can be used."), s.completeS3Upload)
	huma.Register(s.huma, op("abort-s3-upload", http.MethodDelete, s3Upload, "Delete an upload that is not used, with its parts", ""), s.abortS3Upload)
	huma.Register(s.huma, op("sign-s3-form", http.MethodGet, s3Path+"/params", "Make an upload that goes straight to the bucket as a whole",
		"By one POST of multipart/form-data, for files of up to 5 GiB. What came of it is looked at when GET /api/v1/uploads/{id} asks for it, "+
			"or something is made of it; the last part of the form's key is the id."), s.signS3Form)
}

// S3Start is a request for an upload that goes straight to the bucket.
type S3Start struct {
	Filename string         `json:"filename" minLength:"1"`
	Type     *string        `json:"type,omitempty" nullable:"true" doc:"The media type"`
	Metadata map[string]any `json:"metadata,omitempty" doc:"The client's own; app, sha256 and size mean something here"`
	Size     *int64         `json:"size,omitempty" minimum:"0" doc:"In bytes; what comes must have as many"`
	Checksum string         `json:"checksum,omitempty" enum:"crc32c,sha256" doc:"With which each part is to be sent; left out: without"`
	_        struct{}       `additionalProperties:"true"`
}

// S3Started names an upload in the words of S3. Both are needed to go on with it.
type S3Started struct {
	Key      string `json:"key" doc:"What it will be called in the bucket until it is finished; the last part is the upload's id"`
	UploadID string `json:"uploadId" doc:"The upload's id, as in GET /api/v1/uploads/{id}"`
}

type s3StartInput struct{ Body S3Start }

type s3StartOutput struct{ Body S3Started }

func (s *Server) startS3Upload(ctx context.Context, in *s3StartInput) (*s3StartOutput, error) {
	b := &in.Body
	n, err := s.newDirect(ctx, b.Filename, b.Type, textsOf(b.Metadata), b.Size)
	if err != nil {
		return nil, err
	}
	n.Checksum = b.Checksum
	d, err := s.Engine.StartDirect(ctx, *n)
	if err != nil {
		return nil, directProblem(ctx, err)
	}
	return &s3StartOutput{S3Started{Key: d.Object, UploadID: d.Upload.ID.String()}}, nil
}

// textsOf is metadata as it is kept: its values as texts.
func textsOf(values map[string]any) map[string]string {
	texts := make(map[string]string, len(values))
	for name, value := range values {
		switch value := value.(type) {
		case nil:
		case string:
			texts[name] = value
		case float64:
			texts[name] = strconv.FormatFloat(value, 'f', -1, 64)
		default:
			texts[name] = fmt.Sprint(value)
		}
	}
	return texts
}

// newDirect reads what is asked for, and sees to it that the caller may have it.
func (s *Server) newDirect(ctx context.Context, filename string, mediaType *string, meta map[string]string, size *int64) (*jobs.NewDirect, error) {
	r := requestOf(ctx)
	n := &jobs.NewDirect{Most: s.MaxUpload, NewUpload: jobs.NewUpload{
		App: meta["app"], Filename: filename, Metadata: meta, Size: size, By: r.caller,
	}}
	if mediaType != nil {
		n.ContentType = *mediaType
	}
	if n.App != "" {
		if err := r.mayUploadTo(n.App, "metadata.app"); err != nil {
			return nil, err
		}
	}
	if text := meta["size"]; text != "" && size == nil {
		declared, err := strconv.ParseInt(text, 10, 64)
		if err != nil || declared < 0 {
			return nil, wrongField("metadata.size", "is not a number of bytes")
		}
		n.Size = &declared
	}
	if text := meta["sha256"]; text != "" {
		digest, err := hex.DecodeString(text)
		if err != nil || len(digest) != 32 {
			return nil, wrongField("metadata.sha256", "is not 64 hexadecimal digits")
		}
		n.SHA256 = digest
	}
	return n, nil
}

// wrongField refuses a request because of one of its fields.
func wrongField(location, message string) error {
	return &jobs.Invalid{Detail: location + " " + message, Fields: []jobs.Field{{Location: location, Message: message}}}
}

// S3Address names an upload.
type S3Address struct {
	ID  string `path:"id" doc:"The upload's id"`
	Key string `query:"key" doc:"The upload's key"`
}

// direct returns the caller's upload, for what takes the given rights on its app. That the key is
// known proves nothing; one that is another upload's is refused all the same.
func (s *Server) direct(ctx context.Context, in *S3Address, needed storage.Rights) (*jobs.Direct, error) {
	id, err := parseID(in.ID)
	if err != nil && s.hasBucket() {
		return nil, err
	}
	d, err := s.Engine.Direct(ctx, id, requestOf(ctx).caller)
	switch {
	case err != nil:
	case in.Key != "" && in.Key != d.Object:
		err = storage.ErrNotFound
	default:
		err = requestOf(ctx).identity.mayReach(&d.Upload, needed)
	}
	if err != nil {
		return nil, directProblem(ctx, err)
	}
	return d, nil
}

func (s *Server) hasBucket() bool {
	_, ok := s.Files.(*files.Bucket)
	return ok
}

// S3Part is a part that the bucket has.
type S3Part struct {
	PartNumber int32  `json:"PartNumber"`
	Size       int64  `json:"Size" doc:"In bytes"`
	ETag       string `json:"ETag"`
}

type s3PartsOutput struct{ Body []S3Part }

func (s *Server) listS3Parts(ctx context.Context, in *S3Address) (*s3PartsOutput, error) {
	d, err := s.direct(ctx, in, storage.View)
	if err != nil {
		return nil, err
	}
	parts, err := d.Parts(ctx)
	if err != nil {
		return nil, directProblem(ctx, err)
	}
	out := &s3PartsOutput{Body: make([]S3Part, len(parts))}
	for i, p := range parts {
		out.Body[i] = S3Part{p.Number, p.Size, `"` + p.ETag + `"`}
	}
	return out, nil
}

type s3SignInput struct {
	S3Address
	Part   int32  `path:"part" minimum:"1" maximum:"10000" doc:"Its number"`
	Length int64  `query:"length" minimum:"0" doc:"How many bytes it has; the request takes no other number then"`
	SHA256 string `query:"sha256" doc:"Its SHA-256 as Base64, where the upload was made with that checksum"`
	CRC32C string `query:"crc32c" doc:"Its CRC-32C as Base64, where the upload was made with that checksum"`
}

// S3Signed is a request that sends a part.
type S3Signed struct {
	Method  string            `json:"method" enum:"PUT"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers" doc:"To be sent as they are"`
	Expires int               `json:"expires" doc:"Within how many seconds it must be begun"`
}

type s3SignOutput struct{ Body S3Signed }

const s3Expires = int(files.SignedFor / 1e9)

func (s *Server) signS3Part(ctx context.Context, in *s3SignInput) (*s3SignOutput, error) {
	d, err := s.direct(ctx, &in.S3Address, changeUpload)
	if err != nil {
		return nil, err
	}
	order := files.PartOrder{Number: in.Part, Length: in.Length}
	for name, sum := range map[string]struct {
		text string
		size int
	}{files.SHA256: {in.SHA256, 32}, files.CRC32C: {in.CRC32C, 4}} {
		if sum.text == "" {
			continue
		}
		if decoded, err := base64.StdEncoding.DecodeString(sum.text); err != nil || len(decoded) != sum.size || name != d.Checksum() && d.Checksum() != "" {
			return nil, wrongField("query."+name, "is not a checksum of the kind that the upload was made with, as Base64")
		}
		order.Sum = sum.text
	}
	signed, err := d.SignParts(ctx, []files.PartOrder{order})
	if err != nil {
		return nil, directProblem(ctx, err)
	}
	return &s3SignOutput{S3Signed{http.MethodPut, signed[0].URL, signed[0].Headers, s3Expires}}, nil
}

type s3BatchInput struct {
	S3Address
	PartNumbers []int32 `query:"partNumbers" required:"true" doc:"Numbers of parts, separated by commas"`
}

// S3Batch is requests that send parts, by the numbers of these.
type S3Batch struct {
	PresignedURLs map[string]string `json:"presignedUrls"`
}

type s3BatchOutput struct{ Body S3Batch }

func (s *Server) signS3Parts(ctx context.Context, in *s3BatchInput) (*s3BatchOutput, error) {
	d, err := s.direct(ctx, &in.S3Address, changeUpload)
	if err != nil {
		return nil, err
	}
	orders := make([]files.PartOrder, len(in.PartNumbers))
	for i, number := range in.PartNumbers {
		orders[i].Number = number
	}
	signed, err := d.SignParts(ctx, orders)
	if err != nil {
		return nil, directProblem(ctx, err)
	}
	out := &s3BatchOutput{S3Batch{make(map[string]string)}}
	for i, one := range signed {
		out.Body.PresignedURLs[strconv.Itoa(int(orders[i].Number))] = one.URL
	}
	return out, nil
}

// S3Complete names the parts of which an upload is to be made.
type S3Complete struct {
	Parts []S3NamedPart `json:"parts" nullable:"false" maxItems:"10000" doc:"All parts, from the first to the last"`
	_     struct{}      `additionalProperties:"true"`
}

// S3NamedPart is a part as the client knows it.
type S3NamedPart struct {
	PartNumber int32    `json:"PartNumber"`
	ETag       string   `json:"ETag" doc:"As the bucket answered"`
	_          struct{} `additionalProperties:"true"`
}

type s3CompleteInput struct {
	S3Address
	Body S3Complete
}

// S3Completed says where an upload is.
type S3Completed struct {
	Location string `json:"location" format:"uri" doc:"Tells when it is finished: add ?wait=60"`
	Key      string `json:"key"`
}

type s3CompleteOutput struct{ Body S3Completed }

func (s *Server) completeS3Upload(ctx context.Context, in *s3CompleteInput) (*s3CompleteOutput, error) {
	d, err := s.direct(ctx, &in.S3Address, changeUpload)
	if err != nil {
		return nil, err
	}
	named := make([]jobs.NamedPart, len(in.Body.Parts))
	for i, p := range in.Body.Parts {
		named[i] = jobs.NamedPart{Number: p.PartNumber, ETag: p.ETag}
	}
	if err := d.Complete(ctx, named); err != nil {
		return nil, directProblem(ctx, err)
	}
	location := s.base(requestOf(ctx).http) + uploadsPath + "/" + d.Upload.ID.String()
	return &s3CompleteOutput{S3Completed{location, d.Object}}, nil
}

type s3AbortOutput struct {
	Body struct{} // which Uppy reads
}

func (s *Server) abortS3Upload(ctx context.Context, in *S3Address) (*s3AbortOutput, error) {
	d, err := s.direct(ctx, in, changeUpload)
	if err != nil {
		return nil, err
	}
	return &s3AbortOutput{}, directProblem(ctx, s.Engine.RemoveUpload(ctx, d.Upload.ID, requestOf(ctx).caller))
}

// directProblem words what goes wrong with uploads that go straight to the bucket.
func directProblem(ctx context.Context, err error) error {
	var (
		parts *jobs.PartsError
		over  *storage.OverQuotaError
	)
	switch {
	case errors.Is(err, jobs.ErrNoBucket):
		return refuse(ctx, http.StatusNotImplemented, "This server keeps its files in a folder, so nothing can be sent straight to a bucket. Send the file here: by tus, to "+uploadsPath+".")
	case errors.As(err, &parts) && parts.TooLarge:
		return refuse(ctx, http.StatusRequestEntityTooLarge, parts.Detail)
	case errors.As(err, &parts):
		return refuse(ctx, http.StatusConflict, parts.Detail)
	case errors.As(err, &over):
		return refuse(ctx, http.StatusRequestEntityTooLarge, overQuota(over))
	case errors.Is(err, storage.ErrStale):
		return refuse(ctx, http.StatusConflict, "Another request has completed this upload, or it was removed. GET "+uploadsPath+"/{id} tells.")
	case errors.Is(err, files.ErrTooLarge):
		return refuse(ctx, http.StatusRequestEntityTooLarge, "A form sends 5 GiB at most. Send this file in parts: POST "+s3Parts+".")
	}
	return useProblem(ctx, err)
}
