package files

import (
	"errors"
	"net/http"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// TestFullBucket has services say in different ways that they are full.
func TestFullBucket(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		code   string
		want   bool
	}{
		"status":          {http.StatusInsufficientStorage, "", true},
		"status and code": {http.StatusInsufficientStorage, "NoSpaceLeft", true},
		"code":            {http.StatusForbidden, "QuotaExceeded", true},
		"neither":         {http.StatusForbidden, "NoSpaceLeft", false},
	} {
		told := errors.New("no answer in XML")
		if c.code != "" {
			told = &smithy.GenericAPIError{Code: c.code}
		}
		answer := &smithyhttp.Response{Response: &http.Response{StatusCode: c.status}}
		err := (&Bucket{bucket: "b"}).explain(&awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{Response: answer, Err: told}})
		if errors.Is(err, ErrFull) != c.want {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
