package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// maxParts is how many parts a file can have:
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
	maxParts = 10_000
	// partsAtOnce is how many parts of one file are on their way at a time.
	partsAtOnce = 4
	// cleanTimeout bounds how long is spent on removing what nobody wants.
	cleanTimeout = 30 * time.Second
	// lingerTime is how long what is on its way to the bucket may take after the context has ended of
	// who sent it. A request that is cut off may have been done, or be done yet.
	lingerTime = 20 * time.Second
)

// ErrTooLarge is wrapped by the error of writing a file that is larger than the store can take.
var ErrTooLarge = errors.New("the file is too large for this storage")

// linger returns a context that ends lingerTime after ctx.
func linger(ctx context.Context) (context.Context, context.CancelFunc) {
	long, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	unlink := context.AfterFunc(ctx, func() {
		if wait(long, lingerTime) == nil {
			cancel(context.Cause(ctx))
		}
	})
	return long, func() {
		unlink()
		cancel(nil)
	}
}

// unsigned leaves the bytes out of the signature: their CRC-32C, which is signed, stands for them.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// put makes an object of the part at once.
func (b *Bucket) put(ctx context.Context, name string, p *part) error {
	sum := encodeCRC(p.crc())
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.bucket, Key: &name, Body: p.reader(), ContentLength: &p.size, ChecksumCRC32C: &sum,
	}, unsigned)
	return b.explain(err)
}

// upload is a multipart upload.
type upload struct {
	b    *Bucket
	name string
	id   string
}

// newUpload starts a multipart upload whose parts have checksums of that kind.
func (b *Bucket) newUpload(ctx context.Context, name string, sums types.ChecksumAlgorithm) (upload, error) {
	made, err := b.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &b.bucket, Key: &name, ChecksumAlgorithm: sums,
	})
	if err != nil {
		return upload{}, b.explain(err)
	}
	return upload{b, name, aws.ToString(made.UploadId)}, nil
}

// put uploads a part, which has number 1 or more.
func (u upload) put(ctx context.Context, number int32, p *part) (types.CompletedPart, error) {
	sum := encodeCRC(p.crc())
	done, err := u.b.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.b.bucket, Key: &u.name, UploadId: &u.id, PartNumber: &number,
		Body: p.reader(), ContentLength: &p.size, ChecksumCRC32C: &sum,
	}, unsigned)
	if err != nil {
		return types.CompletedPart{}, fmt.Errorf("part %d: %w", number, u.b.explain(err))
	}
	return types.CompletedPart{PartNumber: &number, ETag: done.ETag, ChecksumCRC32C: &sum}, nil
}

// complete makes the file of its parts, which stand in order. With onlyNew it is not to replace
// another; not every service heeds that.
func (u upload) complete(ctx context.Context, parts []types.CompletedPart, onlyNew bool) error {
	input := &s3.CompleteMultipartUploadInput{
		Bucket: &u.b.bucket, Key: &u.name, UploadId: &u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}
	if onlyNew {
		input.IfNoneMatch = aws.String("*")
	}
	_, err := u.b.client.CompleteMultipartUpload(ctx, input)
	return u.b.explain(err)
}

// abort removes the parts, also when ctx has ended. Nothing there is no error. Parts that are still on
// their way may come after that, so they are waited for before.
func (u upload) abort(ctx context.Context) error {
	if u.id == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	_, err := u.b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.b.bucket, Key: &u.name, UploadId: &u.id})
	if err = u.b.explain(err); errors.Is(err, errNoUpload) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// isThere reports whether the object of that name has the given size and, where that is known both
// here and there, the checksum: whether a request whose answer was lost has made it.
func (b *Bucket) isThere(ctx context.Context, name string, size int64, sum string) (bool, error) {
	head, err := b.head(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	has := aws.ToString(head.ChecksumCRC32C)
	// A checksum of the whole has no number of parts behind it, and cannot be compared with one that has.
	alike := has != "" && sum != "" && strings.Contains(has, "-") == strings.Contains(sum, "-")
	return aws.ToInt64(head.ContentLength) == size && (!alike || has == sum), nil
}

// listedParts is the parts that a multipart upload has, by their numbers.
type listedParts map[int32]types.Part

// list asks which parts there are, from the given one on.
func (u upload) list(ctx context.Context, from int32) (listedParts, error) {
	listed := make(listedParts)
	pages := s3.NewListPartsPaginator(u.b.client, &s3.ListPartsInput{
		Bucket: &u.b.bucket, Key: &u.name, UploadId: &u.id, PartNumberMarker: aws.String(strconv.Itoa(int(from - 1))),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, u.b.explain(err)
		}
		for _, p := range page.Parts {
			listed[aws.ToInt32(p.PartNumber)] = p
		}
	}
	return listed, nil
}

// find returns a part that has the given size and, where both are known, the checksum of the bytes
// from begin on.
func (l listedParts) find(number int32, size int64, sums sumsOf, begin int64) (types.CompletedPart, error) {
	p, found := l[number]
	if !found {
		return types.CompletedPart{}, fmt.Errorf("%w: the bucket has lost its part %d", ErrDamaged, number)
	}
	if has := aws.ToInt64(p.Size); has != size {
		return types.CompletedPart{}, fmt.Errorf("%w: its part %d has %d bytes in the bucket, and not %d", ErrDamaged, number, has, size)
	}
	if sum, known := sums.part(begin, begin+size); known && p.ChecksumCRC32C != nil && *p.ChecksumCRC32C != encodeCRC(sum) {
		return types.CompletedPart{}, fmt.Errorf("%w: the bytes of its part %d are not those which were stored", ErrDamaged, number)
	}
	return types.CompletedPart{PartNumber: &number, ETag: p.ETag, ChecksumCRC32C: p.ChecksumCRC32C}, nil
}
