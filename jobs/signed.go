package jobs

import (
	"context"
	"path"
	"time"

	"longhaul/storage"
	"longhaul/storage/files"
)

// signedFor is how long a signed address of a file can be asked. A download that has begun goes on.
const signedFor = 5 * time.Minute

// OutputAddress returns an address in the bucket from which whoever has it can download an output for
// some minutes, with the given Content-Disposition, or nothing where downloads are streamed through:
// see Config.SignedDownloads.
func (e *Engine) OutputAddress(ctx context.Context, t *storage.Task, name, disposition string) (string, error) {
	return e.signed(ctx, path.Join(t.Folder(), outboundFolder, name), disposition, MediaType(name))
}

// FileAddress is OutputAddress for a file of an app. What is compressed at rest is streamed through:
// the bucket has other bytes than the file.
func (e *Engine) FileAddress(ctx context.Context, f *storage.File, disposition string) (string, error) {
	if !e.SignedDownloads {
		return "", nil
	}
	c, err := e.db.Content(ctx, f.Content)
	if err != nil || c.Encoding != storage.Identity {
		return "", err
	}
	return e.signed(ctx, c.Key(), disposition, f.ContentType)
}

func (e *Engine) signed(ctx context.Context, key, disposition, mediaType string) (string, error) {
	bucket, isBucket := e.files.(*files.Bucket)
	if !isBucket || !e.SignedDownloads {
		return "", nil
	}
	return bucket.PresignGet(ctx, key, disposition, mediaType, signedFor)
}
