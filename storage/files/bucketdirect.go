package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Bounds of S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
const (
	// LeastPart is how many bytes each part but the last must have.
	LeastPart = 5 << 20
	// MostPart is how many a part can have, and a file that comes in one request.
	MostPart = 5 << 30
	// MostParts is how many parts a file can have.
	MostParts = maxParts
)

// ErrParts is wrapped by the error of finishing a file whose parts in the bucket are not those that
// it was to be made of: they were replaced or removed after they were looked at.
var ErrParts = errors.New("the parts in the bucket are not those that were sent")

// The checksums that parts can be bound to.
const (
	CRC32C = "crc32c"
	SHA256 = "sha256"
)

// Direct is of a file that its owner's program sends to the bucket by itself, with signed requests:
// none of its bytes pass through here before it is finished.
type Direct struct {
	// Most is how many bytes it may have; 0 means no limit.
	Most int64 `json:"most,omitempty"`
	// Checksum is what each part is bound to: CRC32C, SHA256, or nothing.
	Checksum string `json:"checksum,omitempty"`
	// Seen is how many parts, from the first on and without a gap, were seen in the bucket.
	Seen int32 `json:"seen,omitempty"`
	// Parts are what it is to be made of, once that is known.
	Parts []Part `json:"parts,omitempty"`
	// From is the key under which it comes as a whole; empty for one that comes in parts. It is
	// another than the file's: whoever may send it may do so again for a while, and could change
	// what was looked at.
	From string `json:"from,omitempty"`
}

// Part is a part of a file in the bucket.
type Part struct {
	Number int32  `json:"n"`
	Size   int64  `json:"size"` // in bytes
	ETag   string `json:"etag"` // without quotes
	// Sum is the checksum that it is bound to, as Base64; empty without one.
	Sum string `json:"sum,omitempty"`
}

// ObjectName is what the file with that key is called in the bucket.
func (b *Bucket) ObjectName(key string) (string, error) { return b.name(key) }

// StartParts lets a file with that key come in parts, each bound to a checksum of that kind where
// that is not empty. It returns the id of the multipart upload, for [Growth.UploadID].
func (b *Bucket) StartParts(ctx context.Context, key, checksum string) (string, error) {
	name, err := b.name(key)
	if err != nil {
		return "", err
	}
	u, err := b.newUpload(ctx, name, types.ChecksumAlgorithm(strings.ToUpper(checksum)))
	if err != nil {
		return "", fmt.Errorf("start file %s in parts: %w", key, err)
	}
	return u.id, nil
}

// Parts returns the parts that are in the bucket, behind the given number, by their numbers. The
// error wraps [ErrParts] when the upload is not there any more.
func (b *Bucket) Parts(ctx context.Context, g Growth, after int32) ([]Part, error) {
	name, err := b.name(g.Key)
	if err != nil {
		return nil, err
	}
	listed, err := upload{b, name, g.UploadID}.list(ctx, after+1)
	if errors.Is(err, errNoUpload) {
		err = fmt.Errorf("%w: %w", ErrParts, err)
	}
	if err != nil {
		return nil, fmt.Errorf("list the parts of file %s: %w", g.Key, err)
	}
	parts := make([]Part, 0, len(listed))
	for _, number := range slices.Sorted(maps.Keys(listed)) {
		p := listed[number]
		part := Part{Number: number, Size: aws.ToInt64(p.Size), ETag: plainETag(aws.ToString(p.ETag))}
		switch g.Direct.Checksum {
		case CRC32C:
			part.Sum = aws.ToString(p.ChecksumCRC32C)
		case SHA256:
			part.Sum = aws.ToString(p.ChecksumSHA256)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// plainETag is an entity tag without its quotes, which some programs leave out.
func plainETag(tag string) string { return strings.Trim(tag, `"`) }

// Same reports whether an entity tag, with or without its quotes, is that of the part.
func (p Part) Same(tag string) bool { return p.ETag != "" && plainETag(tag) == p.ETag }

// completed is the part as a request names it that makes a file of parts.
func (p Part) completed(checksum string) types.CompletedPart {
	done := types.CompletedPart{PartNumber: &p.Number, ETag: aws.String(`"` + p.ETag + `"`)}
	switch {
	case p.Sum == "":
	case checksum == CRC32C:
		done.ChecksumCRC32C = &p.Sum
	case checksum == SHA256:
		done.ChecksumSHA256 = &p.Sum
	}
	return done
}

// finishDirect makes the file of what has come.
func (b *Bucket) finishDirect(ctx context.Context, g Growth) error {
	name, err := b.name(g.Key)
	if err != nil {
		return err
	}
	if g.Direct.From != "" {
		err = b.takeWhole(ctx, g)
	} else {
		err = b.joinParts(ctx, g, name)
	}
	if err != nil {
		return err
	}
	head, err := b.head(ctx, name)
	if err == nil && aws.ToInt64(head.ContentLength) != g.Size {
		err = fmt.Errorf("%w: the file has %d bytes, and not %d", ErrParts, aws.ToInt64(head.ContentLength), g.Size)
	}
	return err
}

// joinParts asks the bucket to make the file of its parts. That they are still the same it sees to:
// each is named with its ETag.
func (b *Bucket) joinParts(ctx context.Context, g Growth, name string) error {
	parts := make([]types.CompletedPart, len(g.Direct.Parts))
	for i, p := range g.Direct.Parts {
		parts[i] = p.completed(g.Direct.Checksum)
	}
	err := upload{b, name, g.UploadID}.complete(ctx, parts, false)
	if !errors.Is(err, errNoUpload) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there, headErr := b.exists(ctx, name) // it was done before, and the answer was lost
	if there || headErr != nil {
		return headErr
	}
	return fmt.Errorf("%w: %w", ErrParts, err)
}

// takeWhole gives the file, which came under another key, its own.
func (b *Bucket) takeWhole(ctx context.Context, g Growth) error {
	err := b.copyNames(ctx, g.Direct.From, g.Key)
	switch {
	case errors.Is(err, fs.ErrExist): // it was done before
		err = nil
	case errors.Is(err, fs.ErrNotExist):
		if _, headErr := b.Stat(ctx, g.Key); headErr != nil {
			return fmt.Errorf("%w: %w", ErrParts, err)
		}
		err = nil
	}
	if err != nil {
		return err
	}
	return b.Remove(ctx, g.Direct.From)
}

// dropDirect removes what has come of a file that is not to be finished.
func (b *Bucket) dropDirect(ctx context.Context, g Growth) error {
	name, err := b.name(g.Key)
	if err != nil {
		return err
	}
	err = upload{b, name, g.UploadID}.abort(ctx)
	if g.Direct.From != "" {
		err = errors.Join(err, b.Remove(ctx, g.Direct.From))
	}
	return err
}
