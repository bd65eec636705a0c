package api

import (
	"errors"
	"io"
	"net/http"

	"longhaul/api/tus"
)

// checkedBody is a body that must be what its client says: its end is an error otherwise.
type checkedBody struct {
	io.Reader
	check *tus.Check
}

// checked holds a request's body against the digests that come with it (RFC 9530). The two fields are
// the same for a body that has no Content-Encoding.
func checked(r *http.Request, body io.Reader) (io.Reader, error) {
	check, err := tus.NewCheck(r, "Content-Digest", "Repr-Digest")
	if err != nil {
		return nil, digestProblem(err)
	}
	if check == nil {
		return body, nil
	}
	return &checkedBody{body, check}, nil
}

func (b *checkedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	_, _ = b.check.Write(p[:n]) // it has no errors
	if errors.Is(err, io.EOF) {
		if wrong := b.check.Agree(); wrong != nil {
			err = digestProblem(wrong)
		}
	}
	return n, err
}

// digestProblem words what is wrong with a digest as everything else about files.
func digestProblem(err error) error {
	if wrong, ok := errors.AsType[*tus.Error](err); ok {
		return invalidField("header."+wrong.Field, wrong.Detail)
	}
	return err
}
