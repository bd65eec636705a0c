package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

const (
	// maxCopyBytes is the largest object that the service copies at once:
	// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
	maxCopyBytes = 5 << 30
	// copyPartBytes is how much of a larger one it copies at a time, of up to 5 TiB.
	copyPartBytes = 1 << 30
)

// Copy implements [Store]. The service copies. That to is not taken is seen to before, and where
// the service can, once more by itself.
func (b *Bucket) Copy(ctx context.Context, from, to string) error {
	err := b.copyNames(ctx, from, to)
	if err != nil {
		return fmt.Errorf("copy file %s to %s: %w", from, to, err)
	}
	return nil
}

func (b *Bucket) copyNames(ctx context.Context, from, to string) error {
	source, err := b.name(from)
	if err != nil {
		return err
	}
	target, err := b.name(to)
	if err != nil {
		return err
	}
	head, err := b.head(ctx, source)
	if err != nil {
		return err
	}
	if taken, err := b.exists(ctx, target); err != nil || taken {
		return errors.Join(err, takenIf(taken))
	}
	c := copying{b, copySource(b.bucket, source), head.ETag, aws.ToInt64(head.ContentLength), target}
	if c.size <= b.copyLimit {
		err = c.whole(ctx)
	} else {
		err = c.inParts(ctx)
	}
	// A source that was replaced in between gives the same status as a target that is taken.
	if status(err) == http.StatusPreconditionFailed {
		if taken, _ := b.exists(ctx, target); taken {
			return takenIf(true)
		}
	}
	return err
}

func takenIf(taken bool) error {
	if !taken {
		return nil
	}
	return fs.ErrExist
}

// status is the HTTP status of the answer that err tells of, or 0.
func status(err error) int {
	var answer *awshttp.ResponseError
	if !errors.As(err, &answer) {
		return 0
	}
	return answer.HTTPStatusCode()
}

// copySource is how a request names the object that is to be copied.
func copySource(bucket, name string) *string {
	escaped := strings.ReplaceAll(url.PathEscape(bucket+"/"+name), "%2F", "/")
	escaped = strings.ReplaceAll(escaped, "+", "%2B") // which S3 reads as a space
	return &escaped
}

// copying is one object on its way to another name.
type copying struct {
	b      *Bucket
	source *string
	etag   *string // of the source
	size   int64
	target string
}

func (c copying) whole(ctx context.Context) error {
	_, err := c.b.client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &c.b.bucket, Key: &c.target, CopySource: c.source, CopySourceIfMatch: c.etag, IfNoneMatch: aws.String("*"),
	})
	return c.b.explain(err)
}

func (c copying) inParts(ctx context.Context) error {
	// The service checks what it copies by itself. Not all give the checksum of a part that is copied
	// from an object with a checksum of its own kind right.
	u, err := c.b.newUpload(ctx, c.target, "")
	if err != nil {
		return err
	}
	parts := make([]types.CompletedPart, (c.size+c.b.copyPart-1)/c.b.copyPart)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(partsAtOnce)
	for i := range parts {
		group.Go(func() (err error) {
			if groupCtx.Err() != nil {
				return context.Cause(groupCtx) // another has failed
			}
			parts[i], err = c.part(ctx, u, int32(i+1))
			return err
		})
	}
	err = group.Wait()
	if err == nil {
		err = u.complete(ctx, parts, true)
	}
	if err != nil {
		return errors.Join(err, u.abort(ctx))
	}
	return nil
}

func (c copying) part(ctx context.Context, u upload, number int32) (types.CompletedPart, error) {
	begin := int64(number-1) * c.b.copyPart
	end := min(begin+c.b.copyPart, c.size)
	done, err := c.b.client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
		Bucket: &c.b.bucket, Key: &c.target, UploadId: &u.id, PartNumber: &number,
		CopySource: c.source, CopySourceIfMatch: c.etag, CopySourceRange: aws.String(fmt.Sprintf("bytes=%d-%d", begin, end-1)),
	})
	if err != nil {
		return types.CompletedPart{}, fmt.Errorf("part %d: %w", number, c.b.explain(err))
	}
	return types.CompletedPart{PartNumber: &number, ETag: done.CopyPartResult.ETag}, nil
}
