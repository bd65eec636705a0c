package content

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"longhaul/storage"
)

// Release removes a content at once when nothing refers to it and nobody else has taken it in. Else
// the sweep will, in its time.
func (c *Contents) Release(ctx context.Context, id uuid.UUID) error {
	doomed, err := c.db.DoomContent(ctx, id)
	if err != nil || !doomed {
		return err
	}
	_, err = c.removeDoomed(ctx, id)
	return err
}

// removeDoomed removes the file of a doomed content, and then its row.
func (c *Contents) removeDoomed(ctx context.Context, id uuid.UUID) (bytes int64, err error) {
	if err := c.store.Remove(ctx, storage.ContentKey(id)); err != nil {
		return 0, err
	}
	return c.db.DeleteContent(ctx, id)
}

// Sweep removes the contents to which nothing has referred for an hour, and what crashes left. It
// returns how many, and their bytes in the file storage.
func (c *Contents) Sweep(ctx context.Context) (count, bytes int64, err error) {
	return c.sweep(ctx, grace)
}

func (c *Contents) sweep(ctx context.Context, grace time.Duration) (count, bytes int64, err error) {
	for {
		_, looked, err := c.db.DoomContents(ctx, grace, sweepBatch)
		if err != nil {
			return 0, 0, err
		}
		if looked < sweepBatch {
			break
		}
	}
	for {
		doomed, err := c.db.DoomedContents(ctx, sweepBatch)
		if err != nil {
			return count, bytes, err
		}
		var failed []error
		for _, id := range doomed {
			n, err := c.removeDoomed(ctx, id)
			if err != nil {
				failed = append(failed, err) // the others go all the same
				continue
			}
			count, bytes = count+1, bytes+n
		}
		if len(doomed) < sweepBatch || len(failed) > 0 {
			return count, bytes, errors.Join(failed...)
		}
	}
}

// SweepOrphans removes files of contents that have no row. It looks at every file of every content,
// so it is for now and then.
func (c *Contents) SweepOrphans(ctx context.Context) (count, bytes int64, err error) {
	old := make(map[uuid.UUID]int64)
	settle := func() error {
		n, size, err := c.removeUnknown(ctx, old)
		count, bytes = count+n, bytes+size
		clear(old)
		return err
	}
	for file, err := range c.store.List(ctx, storage.ContentFolder) {
		if err != nil {
			return count, bytes, err
		}
		id, err := uuid.Parse(strings.TrimPrefix(file.Key, storage.ContentFolder+"/"))
		// A file that was adopted is as old as what it was made from; only its id tells when.
		if err != nil || time.Since(file.ModifiedAt) < orphanAge || time.Since(drawnAt(id)) < orphanAge {
			continue
		}
		if old[id] = file.Size; len(old) == sweepBatch {
			if err := settle(); err != nil {
				return count, bytes, err
			}
		}
	}
	return count, bytes, settle()
}

// removeUnknown removes those of the files, with their sizes, that no content has.
func (c *Contents) removeUnknown(ctx context.Context, found map[uuid.UUID]int64) (count, bytes int64, err error) {
	ids := make([]uuid.UUID, 0, len(found))
	for id := range found {
		ids = append(ids, id)
	}
	known, err := c.db.KnownContents(ctx, ids)
	if err != nil {
		return 0, 0, err
	}
	for id, size := range found {
		if known[id] {
			continue
		}
		if err := c.store.Remove(ctx, storage.ContentKey(id)); err != nil {
			return count, bytes, err
		}
		count, bytes = count+1, bytes+size
	}
	return count, bytes, nil
}

// drawnAt is when the id of a content was drawn.
func drawnAt(id uuid.UUID) time.Time { return time.Unix(id.Time().UnixTime()) }
