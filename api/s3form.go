package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

type s3FormInput struct {
	Filename string `query:"filename" required:"true" minLength:"1" doc:"The file's name"`
	Type     string `query:"type" doc:"The media type"`
	Size     int64  `query:"size" default:"-1" doc:"In bytes; what comes must have as many"`

	meta map[string]string
}

// Resolve reads the metadata, each in a parameter metadata[name].
func (in *s3FormInput) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	in.meta = metaOf(u.Query())
	return nil
}

func metaOf(query url.Values) map[string]string {
	meta := make(map[string]string)
	for name, values := range query {
		if inner, ok := strings.CutPrefix(name, "metadata["); ok && strings.HasSuffix(inner, "]") {
			meta[strings.TrimSuffix(inner, "]")] = values[0]
		}
	}
	return meta
}

// S3Form is a form that sends a file.
type S3Form struct {
	Method  string            `json:"method" enum:"POST"`
	URL     string            `json:"url"`
	Fields  map[string]string `json:"fields" doc:"To be sent as they are, and the file after them"`
	Expires int               `json:"expires" doc:"Within how many seconds it must be sent"`
}

type s3FormOutput struct{ Body S3Form }

// signS3Form makes an upload although it answers a GET, as Companion does: so a page of another
// origin is refused here by itself.
func (s *Server) signS3Form(ctx context.Context, in *s3FormInput) (*s3FormOutput, error) {
	r := requestOf(ctx)
	if post := r.http.Clone(ctx); post.Header.Get("Authorization") == "" {
		post.Method = http.MethodPost
		if s.origins.Check(post) != nil {
			return nil, errCrossOrigin
		}
	}
	var size *int64
	if in.Size >= 0 {
		size = &in.Size
	}
	n, err := s.newDirect(ctx, in.Filename, &in.Type, in.meta, size)
	if err != nil {
		return nil, err
	}
	_, signed, err := s.Engine.StartWhole(ctx, *n)
	if err != nil {
		return nil, directProblem(ctx, err)
	}
	return &s3FormOutput{S3Form{http.MethodPost, signed.URL, signed.Fields, s3Expires}}, nil
}
