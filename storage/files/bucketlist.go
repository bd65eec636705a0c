package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// List implements [Store]. Objects whose names are no keys, such as the empty ones that stand for
// folders in some programs, are left out.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if prefix != "" {
			if err := CheckKey(prefix); err != nil {
				yield(Info{}, err)
				return
			}
		}
		for object, err := range b.objects(ctx, folderName(path.Join(b.prefix, prefix))) {
			if err != nil {
				yield(Info{}, fmt.Errorf("list files in %q: %w", prefix, err))
				return
			}
			key := strings.TrimPrefix(aws.ToString(object.Key), folderName(b.prefix))
			if CheckKey(key) != nil {
				continue
			}
			info := Info{Key: key, Size: aws.ToInt64(object.Size), ModifiedAt: aws.ToTime(object.LastModified)}
			if !yield(info, nil) {
				return
			}
		}
	}
}

// folderName is what the names of all objects in a folder begin with.
func folderName(folder string) string {
	if folder == "" {
		return ""
	}
	return folder + "/"
}

// objects yields the objects whose names begin with prefix, in order.
func (b *Bucket) objects(ctx context.Context, prefix string) iter.Seq2[types.Object, error] {
	return func(yield func(types.Object, error) bool) {
		pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: &prefix})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(types.Object{}, b.explain(err))
				return
			}
			for _, object := range page.Contents {
				if !yield(object, nil) {
					return
				}
			}
		}
	}
}

// removeAtOnce is how many objects one request can remove.
const removeAtOnce = 1000

// RemoveAll implements [Store].
func (b *Bucket) RemoveAll(ctx context.Context, prefix string) error {
	err := b.Remove(ctx, prefix)
	if err == nil {
		err = b.removeObjects(ctx, folderName(path.Join(b.prefix, prefix)))
	}
	if err != nil {
		return fmt.Errorf("remove files in %s: %w", prefix, err)
	}
	return nil
}

// removeObjects removes the objects whose names begin with prefix.
func (b *Bucket) removeObjects(ctx context.Context, prefix string) error {
	var batch []types.ObjectIdentifier
	for object, err := range b.objects(ctx, prefix) {
		if err != nil {
			return err
		}
		batch = append(batch, types.ObjectIdentifier{Key: object.Key})
		if len(batch) == removeAtOnce {
			if err := b.removeBatch(ctx, batch); err != nil {
				return err
			}
			batch = nil
		}
	}
	return b.removeBatch(ctx, batch)
}

// withMD5 adds the checksum that older services want for this request.
func withMD5(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, smithyhttp.AddContentChecksumMiddleware)
}

func (b *Bucket) removeBatch(ctx context.Context, batch []types.ObjectIdentifier) error {
	if len(batch) == 0 {
		return nil
	}
	done, err := b.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &b.bucket, Delete: &types.Delete{Objects: batch, Quiet: aws.Bool(true)},
	}, withMD5)
	if err = b.explain(err); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && len(done.Errors) > 0 {
		first := done.Errors[0]
		return fmt.Errorf("%s did not remove %d of %d objects, first %s: %s (%s)", b.where(), len(done.Errors), len(batch),
			aws.ToString(first.Key), aws.ToString(first.Message), aws.ToString(first.Code))
	}
	return nil
}
