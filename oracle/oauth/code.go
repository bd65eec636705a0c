package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
)

// maxRefusal bounds how much of a refusal is read for its code, in bytes.
const maxRefusal = 64 << 10

type codeKey struct{}

// withCode returns a context under which [codeReader] notes OAuth's code of a
// refusal.
func withCode(ctx context.Context) (context.Context, *string) {
	code := new(string)
	return context.WithValue(ctx, codeKey{}, code), code
}

// codeReader is a transport that reads the member error of a refusal (RFC 6749,
// 5.2) on its way through: [oracle.Error] keeps the text for people only.
type codeReader struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t codeReader) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	code, _ := req.Context().Value(codeKey{}).(*string)
	if err != nil || code == nil || resp.StatusCode/100 != 4 {
		return resp, err
	}
	// A body that breaks off breaks off for the next reader too.
	start, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	rest := resp.Body
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), failing{err}, rest), rest}
	var told struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(start, &told) == nil && len(told.Error) < 64 {
		*code = told.Error
	}
	return resp, nil
}

// failing gives an error, or nothing at all.
type failing struct{ err error }

// Read implements [io.Reader].
func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}
