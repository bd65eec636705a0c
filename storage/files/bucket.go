package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"path"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	// requestTries is how often a request is sent before its error is told.
	requestTries = 5
	// idleConnections is how many connections to the service are kept for the next request.
	idleConnections = 64
	// socketBuffer is how much goes to, and comes from, the system at a time.
	socketBuffer = 64 << 10
)

// Bucket is a bucket of a service that speaks S3, or a folder in one. Its methods may be called
// from several goroutines, and several processes may use the same bucket.
//
// Files of up to [partBytes] are put at once, larger ones in parts, of which some are on their way
// at a time. The bytes of all parts take no more memory together than [appendBytes], of files that
// grow, and [writeBytes], of all others: beyond that, writers wait for each other. Those who wait for
// clients, and they may for hours, are apart so. What a crash leaves of a larger file is an unfinished
// multipart upload, which a rule of the bucket must abort in time; see [Bucket.LeftoverRule].
type Bucket struct {
	client   *s3.Client
	http     *http.Client
	bucket   string
	prefix   string
	endpoint string   // for errors
	appends  partPool // of Append
	writes   partPool // of all others
	closed   atomic.Bool

	// Tests lower these.
	partSize  int64 // of a file's first parts, and the least of a file that grows
	copyLimit int64 // the largest object that is copied at once
	copyPart  int64 // of larger ones
}

// OpenBucket returns the bucket. Nothing is asked of the service yet; see [Bucket.Check].
func OpenBucket(ctx context.Context, c BucketConfig) (*Bucket, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	loaded, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the settings for the bucket %s: %w", c.Bucket, err)
	}
	region := c.Region
	if region == "" {
		region = loaded.Region
	}
	switch {
	case region != "":
	case c.Endpoint == "":
		return nil, fmt.Errorf("the region of the bucket %s is not known: add region= to its URL or set AWS_REGION", c.Bucket)
	default:
		region = "us-east-1"
	}
	b := &Bucket{
		http: bucketHTTP(), bucket: c.Bucket, prefix: c.Prefix, endpoint: c.Endpoint,
		appends: newPartPool(appendBytes), writes: newPartPool(writeBytes),
		partSize: partBytes, copyLimit: maxCopyBytes, copyPart: copyPartBytes,
	}
	b.client = s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.Region, o.UsePathStyle, o.HTTPClient, o.RetryMaxAttempts = region, c.PathStyle, b.http, requestTries
		if c.Endpoint != "" {
			o.BaseEndpoint = &c.Endpoint
		}
		if c.Credentials != nil {
			o.Credentials = c.Credentials
		}
		// The bytes have checksums of our own. Those that the client would add by itself come behind
		// the body, which not every service understands.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	return b, nil
}

func bucketHTTP() *http.Client {
	transport := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost, t.MaxIdleConns = idleConnections, idleConnections
		t.ReadBufferSize, t.WriteBufferSize = socketBuffer, socketBuffer
	}).GetTransport()
	return &http.Client{
		Transport: transport,
		// A redirect names the bucket's region; a signed request cannot follow it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// name is the name of the object with that key.
func (b *Bucket) name(key string) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	name := path.Join(b.prefix, key)
	if len(name) > maxKeyBytes {
		return "", fmt.Errorf("%w: %.100q is longer than %d bytes, with the folder in the bucket", ErrKey, key, maxKeyBytes)
	}
	return name, nil
}

// Stat implements [Store].
func (b *Bucket) Stat(ctx context.Context, key string) (Info, error) {
	name, err := b.name(key)
	if err != nil {
		return Info{}, err
	}
	head, err := b.head(ctx, name)
	if err != nil {
		return Info{}, fmt.Errorf("stat file %s: %w", key, err)
	}
	return Info{Key: key, Size: aws.ToInt64(head.ContentLength), ModifiedAt: aws.ToTime(head.LastModified)}, nil
}

func (b *Bucket) head(ctx context.Context, name string) (*s3.HeadObjectOutput, error) {
	head, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: &name, ChecksumMode: "ENABLED"})
	return head, b.explain(err)
}

// exists reports whether there is an object of that name.
func (b *Bucket) exists(ctx context.Context, name string) (bool, error) {
	_, err := b.head(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Remove implements [Store].
func (b *Bucket) Remove(ctx context.Context, key string) error {
	name, err := b.name(key)
	if err != nil {
		return err
	}
	if err := b.removeObject(ctx, name); err != nil {
		return fmt.Errorf("remove file %s: %w", key, err)
	}
	return nil
}

// removeObject removes the object of that name. Nothing there is no error.
func (b *Bucket) removeObject(ctx context.Context, name string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: &name})
	if err = b.explain(err); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Available implements [Store]. A bucket has no end that it tells.
func (b *Bucket) Available(context.Context) (int64, error) { return math.MaxInt64, nil }

// Sweep implements [Store]. What unfinished files leave in a bucket nobody can tell from what is
// still needed; see [Bucket.LeftoverRule].
func (b *Bucket) Sweep(context.Context, time.Duration) (Swept, error) { return Swept{}, nil }

// SweepGrowing implements [Store]: it removes the last bytes of files, which are objects of their
// own. Their parts are the bucket's to remove; see [Bucket.LeftoverRule].
func (b *Bucket) SweepGrowing(ctx context.Context, idle time.Duration, known []string) (Swept, error) {
	var swept Swept
	var errs []error
	before, keep := time.Now().Add(-idle), growingNames(known)
	for object, err := range b.objects(ctx, folderName(path.Join(b.prefix, growingFolder))) {
		if err == nil {
			if keep[path.Base(path.Dir(*object.Key))] || object.LastModified.After(before) {
				continue
			}
			err = b.removeObject(ctx, *object.Key)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		swept.Files++
		swept.Bytes += aws.ToInt64(object.Size)
	}
	if len(errs) > 0 {
		return swept, fmt.Errorf("sweep unfinished files: %w", errors.Join(errs...))
	}
	return swept, nil
}

// Close implements [Store].
func (b *Bucket) Close() error {
	b.closed.Store(true)
	b.http.CloseIdleConnections()
	return nil
}

// PresignGet returns a URL from which whoever has it can download the file until it expires. The
// answer has the given Content-Disposition and Content-Type, where they are not empty. Whether there
// is such a file is not asked.
func (b *Bucket) PresignGet(ctx context.Context, key, disposition, contentType string, expires time.Duration) (string, error) {
	object, err := b.name(key)
	if err != nil {
		return "", err
	}
	input := &s3.GetObjectInput{Bucket: &b.bucket, Key: &object}
	if contentType != "" {
		input.ResponseContentType = &contentType
	}
	if disposition != "" {
		input.ResponseContentDisposition = &disposition
	}
	signed, err := s3.NewPresignClient(b.client).PresignGetObject(ctx, input, s3.WithPresignExpires(expires))
	if err != nil {
		return "", fmt.Errorf("sign a download of file %s: %w", key, b.explain(err))
	}
	return signed.URL, nil
}
