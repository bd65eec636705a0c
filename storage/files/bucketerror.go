package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// Codes of S3's errors that mean something to the program.
const (
	codeNoSuchUpload = "NoSuchUpload"
	codeNoLifecycle  = "NoSuchLifecycleConfiguration"
	codeDenied       = "AccessDenied"
	codeNotThere     = "NotImplemented"
)

// ErrReplaced is wrapped by the error of reading a file of a bucket that was replaced after it was
// opened: what was read before is of another file.
var ErrReplaced = errors.New("the file was replaced while it was read; open it again")

// errNoUpload is of a multipart upload that is finished, aborted, or was never there.
var errNoUpload = errors.New("the bucket has no such multipart upload (any more)")

// failure is what one of S3's error codes means.
type failure struct {
	is   error // nil where callers need not tell it from others
	says string
}

// failures are by the codes of https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html,
// and of answers to HEAD, which have no code and are named after their status.
var failures = map[string]failure{
	"NoSuchKey":    {fs.ErrNotExist, ""},
	"NotFound":     {fs.ErrNotExist, ""},
	"NoSuchBucket": {nil, "there is no such bucket"},

	codeNoSuchUpload: {errNoUpload, ""},

	"InvalidPart":      {ErrParts, ""},
	"InvalidPartOrder": {ErrParts, ""},
	"EntityTooSmall":   {ErrParts, ""},

	"PreconditionFailed":         {ErrReplaced, ""},
	"ConditionalRequestConflict": {nil, "somebody else wrote the same file at the same time; try again"},

	codeDenied:              {nil, "the credentials do not allow this"},
	"Forbidden":             {nil, "the credentials do not allow this"},
	"AllAccessDisabled":     {nil, "the bucket is closed to everybody"},
	"InvalidAccessKeyId":    {nil, "the service does not know the access key"},
	"XAdminUserNotFound":    {nil, "the service does not know the access key"}, // Versity's
	"SignatureDoesNotMatch": {nil, "the secret key does not fit the access key"},
	"ExpiredToken":          {nil, "the credentials have expired"},
	"InvalidToken":          {nil, "the session token is not valid"},
	"RequestTimeTooSkewed":  {nil, "the clock of this machine differs too much from the service's; set it right"},

	"PermanentRedirect":            {nil, "the bucket is in another region"},
	"MovedPermanently":             {nil, "the bucket is in another region"},
	"TemporaryRedirect":            {nil, "the bucket is in another region"},
	"AuthorizationHeaderMalformed": {nil, "the bucket is in another region"},

	"EntityTooLarge":     {ErrTooLarge, ""},
	"QuotaExceeded":      {ErrFull, ""}, // Ceph's
	"XMinioStorageFull":  {ErrFull, ""},
	"SlowDown":           {nil, "the service has too much to do; try again later"},
	"ServiceUnavailable": {nil, "the service has too much to do; try again later"},
}

// bucketError is an error of the service in plain words.
type bucketError struct {
	text string
	is   error // may be nil
	err  error // the client's, with all that is known
}

func (e *bucketError) Error() string { return e.text }

func (e *bucketError) Unwrap() []error {
	if e.is == nil {
		return []error{e.err}
	}
	return []error{e.is, e.err}
}

// explain says what an error of the client means.
func (b *Bucket) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var told smithy.APIError
	switch {
	case status(err) == http.StatusInsufficientStorage: // whatever the code, each service has its own
		return &bucketError{b.where() + " says: " + ErrFull.Error(), ErrFull, err}
	case errors.As(err, &told):
		return b.explainCode(told, err)
	}
	if network, ok := errors.AsType[net.Error](err); ok {
		return &bucketError{fmt.Sprintf("%s cannot be reached: %v", b.where(), network), nil, err}
	}
	return fmt.Errorf("%s: %w", b.where(), err)
}

func (b *Bucket) explainCode(told smithy.APIError, err error) error {
	known := failures[told.ErrorCode()]
	says := known.says
	if known.is != nil {
		says = known.is.Error()
	}
	if says == "" {
		says = told.ErrorMessage()
	}
	text := fmt.Sprintf("%s says: %s (%s)", b.where(), says, told.ErrorCode())
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.RequestID != "" {
		text = fmt.Sprintf("%s says: %s (%s, request %s)", b.where(), says, told.ErrorCode(), answer.RequestID)
	}
	return &bucketError{text, known.is, err}
}

// where names the bucket in errors.
func (b *Bucket) where() string {
	if b.endpoint == "" {
		return "bucket " + b.bucket
	}
	return fmt.Sprintf("bucket %s at %s", b.bucket, b.endpoint)
}

// hasCode reports whether err is S3's error with that code.
func hasCode(err error, code string) bool {
	var told smithy.APIError
	return errors.As(err, &told) && told.ErrorCode() == code
}
