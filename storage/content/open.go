package content

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/google/uuid"

	"longhaul/storage"
	"longhaul/storage/files"
)

// Open opens a content for reading; close it when done. What is read later ends with ctx. Damage is
// an error that wraps [files.ErrDamaged]; it is noted, so that the same bytes, when they come in
// anew, are stored anew. So is a file that is missing, with an error that wraps [fs.ErrNotExist].
func (c *Contents) Open(ctx context.Context, content storage.Content) (files.File, error) {
	file, err := c.open(ctx, content)
	if errors.Is(err, files.ErrDamaged) || errors.Is(err, fs.ErrNotExist) {
		c.readDamaged(ctx, content.ID, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open content %s: %w", content.ID, err)
	}
	var once sync.Once
	return files.Verify(file, content.Key(), content.Sums, func(err error) {
		once.Do(func() { c.readDamaged(ctx, content.ID, err) })
	}), nil
}

// open opens the file of a content, decompressed.
func (c *Contents) open(ctx context.Context, content storage.Content) (files.File, error) {
	file, err := c.store.Open(ctx, content.Key())
	if err != nil {
		return nil, err
	}
	plain := file
	if file.Size() != content.StoredSize {
		err = fmt.Errorf("%w: it has %d bytes and had %d", files.ErrDamaged, file.Size(), content.StoredSize)
	} else if content.Encoding == storage.Zstd {
		plain, err = decompress(file)
	}
	if err == nil && plain.Size() != content.Size {
		err = fmt.Errorf("%w: it holds %d bytes and held %d", files.ErrDamaged, plain.Size(), content.Size)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return plain, nil
}

// damaged notes damage, unless the content was removed meanwhile.
func (c *Contents) damaged(ctx context.Context, id uuid.UUID, cause error) error {
	noted, err := c.db.DamagedContent(context.WithoutCancel(ctx), id)
	if noted {
		c.logger.ErrorContext(ctx, "a stored file is damaged; the same bytes, when they come in anew, are stored anew", "content", id, "error", cause)
	}
	return err
}

// readDamaged notes damage that was met while reading.
func (c *Contents) readDamaged(ctx context.Context, id uuid.UUID, cause error) {
	if err := c.damaged(ctx, id, cause); err != nil {
		c.logger.ErrorContext(ctx, "the damage of a stored file could not be noted", "content", id, "error", err)
	}
}
