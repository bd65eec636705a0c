package content

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"time"

	"github.com/google/uuid"

	"longhaul/storage"
	"longhaul/storage/files"
)

const (
	// grace is how long a content is kept that may have lost its last reference, and how long one
	// that was taken in has to get its first.
	grace = time.Hour
	// orphanAge is how old a file without a row is, and its id, when it is removed: whoever has drawn
	// the id may be about to make the row.
	orphanAge = 24 * time.Hour
	// sweepBatch bounds what one query of a sweep takes on.
	sweepBatch = 500
)

// Contents keeps contents in a database and a file storage.
type Contents struct {
	db     *storage.DB
	store  files.Store
	logger *slog.Logger
}

// New returns the contents of a database and the file storage that belongs to it.
func New(db *storage.DB, store files.Store, logger *slog.Logger) *Contents {
	return &Contents{db, store, logger}
}

// Hint says what is known of bytes before they come.
type Hint struct {
	Name string // a file's name or path
	Type string // a media type; empty for unknown
	Size int64  // in bytes; negative for unknown
	// Alone is for bytes that are needed for a while, once: they are not shared with others who
	// have the same, so that they can go at once.
	Alone bool
}

// Take takes in all that r has. What it returns has an hour to be referred to. An error of r is
// returned as it is; others are those of the file storage and of the database. After an error
// nothing is kept.
func (c *Contents) Take(ctx context.Context, r io.Reader, hint Hint) (storage.Content, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return storage.Content{}, err
	}
	r, compress, err := compresses(r, hint)
	if err != nil {
		return storage.Content{}, err
	}
	taken, err := c.write(ctx, id, r, compress)
	if err != nil {
		return storage.Content{}, err
	}
	taken.Alone = hint.Alone
	return c.keep(ctx, &taken)
}

// write stores bytes under the key of a new content.
func (c *Contents) write(ctx context.Context, id uuid.UUID, r io.Reader, compress bool) (storage.Content, error) {
	w, err := c.store.Create(ctx, storage.ContentKey(id))
	if err != nil {
		return storage.Content{}, err
	}
	defer w.Abort() //nolint:errcheck // it has no errors
	if compress {
		return writeCompressed(ctx, id, w, r)
	}
	if _, err := w.ReadFrom(r); err != nil {
		return storage.Content{}, err
	}
	stored, err := w.Commit()
	return storage.Content{
		ID: id, SHA256: stored.SHA256, Size: stored.Size, Encoding: storage.Identity, StoredSize: stored.Size, Sums: stored.Sums,
	}, err
}

// keep makes the row of bytes that are stored, or takes up another content that has the same bytes
// and removes these. So it does where it is sure that there is no row: who sent the bytes has them.
func (c *Contents) keep(ctx context.Context, taken *storage.Content) (storage.Content, error) {
	kept, err := c.row(ctx, taken)
	if errors.Is(err, storage.ErrNotKept) || err == nil && kept.ID != taken.ID {
		c.remove(ctx, taken.Key())
	}
	return kept, err
}

// row makes the row of bytes that are stored, or takes up another content that has the same bytes.
// The bytes stay in any case.
func (c *Contents) row(ctx context.Context, taken *storage.Content) (storage.Content, error) {
	ctx = context.WithoutCancel(ctx) // the file is there: who asked for it may be gone, and it is worth a row all the same
	for {
		kept, err := c.db.KeepContent(ctx, taken)
		if err != nil {
			// It may have been committed: where it is not known, the sweep decides.
			return storage.Content{}, fmt.Errorf("keep content %s: %w", taken.ID, err)
		}
		if kept.ID == taken.ID {
			return kept, nil
		}
		if lost, err := c.isLost(ctx, kept); err != nil || !lost {
			return kept, err
		}
	}
}

// takeUp returns the content that has these bytes, or [storage.ErrNotFound].
func (c *Contents) takeUp(ctx context.Context, digest [sha256.Size]byte, size int64) (storage.Content, error) {
	for {
		found, err := c.db.TakeUpContent(ctx, digest, size)
		if err != nil {
			return found, err
		}
		if lost, err := c.isLost(ctx, found); err != nil || !lost {
			return found, err
		}
	}
}

// isLost reports whether the file of a content, for which the same bytes are about to be given up, is
// not what it was: that is noted, so that it is taken up no more.
func (c *Contents) isLost(ctx context.Context, kept storage.Content) (bool, error) {
	info, err := c.store.Stat(ctx, kept.Key())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err == nil && info.Size == kept.StoredSize {
		return false, nil
	}
	return true, c.damaged(ctx, kept.ID, cmp.Or(err, files.ErrDamaged))
}

// remove removes a file that no row has. What cannot be removed now is swept.
func (c *Contents) remove(ctx context.Context, key string) {
	if err := c.store.Remove(context.WithoutCancel(ctx), key); err != nil {
		c.logger.WarnContext(ctx, "a file could not be removed and is left to the sweep", "key", key, "error", err)
	}
}

// Adopt makes a content of a file that has another key, whose digest and checksums are known. No
// bytes pass through this process where the file storage can copy by itself. It wraps
// [io/fs.ErrNotExist] when the file is not there.
func (c *Contents) Adopt(ctx context.Context, key string, size int64, digest [sha256.Size]byte, sums []byte) (storage.Content, error) {
	found, err := c.takeUp(ctx, digest, size)
	if !errors.Is(err, storage.ErrNotFound) {
		return found, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return storage.Content{}, err
	}
	if err := c.store.Copy(ctx, key, storage.ContentKey(id)); err != nil {
		return storage.Content{}, err
	}
	return c.keep(ctx, &storage.Content{ID: id, SHA256: digest, Size: size, Encoding: storage.Identity, StoredSize: size, Sums: sums})
}

// Finish makes a content of a file that has grown, whose key is that of a content. What of it g's
// digest does not cover is read, and progress is told, now and then, how many bytes that are so
// far; an error of progress ends it. It can be repeated: the file stays until Discard is called,
// when what Finish returned is referred to.
func (c *Contents) Finish(ctx context.Context, g files.Growth, hint Hint, progress func(ctx context.Context, done int64) error) (storage.Content, error) {
	id, err := uuid.Parse(path.Base(g.Key))
	if err != nil || g.Key != storage.ContentKey(id) {
		return storage.Content{}, fmt.Errorf("finish content: %q is not the key of one", g.Key)
	}
	if g.Digest.Size() == g.Size {
		found, err := c.takeUp(ctx, g.Digest.SHA256(), g.Size)
		if !errors.Is(err, storage.ErrNotFound) {
			return found, err
		}
	}
	if err := c.store.Finish(ctx, g); err != nil {
		return storage.Content{}, err
	}
	hint.Size = g.Size
	if compressible(hint) {
		kept, err := c.compress(ctx, g, progress)
		if !errors.Is(err, files.ErrFull) { // there is no room for both: it stays as it is
			return kept, err
		}
	}
	if err := c.digest(ctx, &g, progress); err != nil {
		return storage.Content{}, err
	}
	return c.row(ctx, &storage.Content{
		ID: id, SHA256: g.Digest.SHA256(), Size: g.Size, Encoding: storage.Identity, StoredSize: g.Size, Sums: g.Digest.Sums(),
	})
}

// Discard removes a file that has grown, whose bytes are kept in another content, to which something
// refers now. Where it is that content's own it stays. What cannot be removed now is swept.
func (c *Contents) Discard(ctx context.Context, g files.Growth, kept storage.Content) {
	if g.Key == kept.Key() {
		return
	}
	if err := c.store.Drop(context.WithoutCancel(ctx), g); err != nil {
		c.logger.WarnContext(ctx, "a file that has grown could not be removed and is left to the sweep", "key", g.Key, "error", err)
	}
	c.remove(ctx, g.Key)
}

// digest reads what the digest of a stored file does not cover yet.
func (c *Contents) digest(ctx context.Context, g *files.Growth, progress func(context.Context, int64) error) error {
	if g.Digest.Size() == g.Size {
		return nil
	}
	file, err := c.store.Open(ctx, g.Key)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	if _, err := file.Seek(g.Digest.Size(), io.SeekStart); err != nil {
		return err
	}
	told := &telling{Reader: files.CheckParts(file, *g), ctx: ctx, done: g.Digest.Size(), tell: progress}
	_, err = io.CopyBuffer(struct{ io.Writer }{&g.Digest}, told, make([]byte, files.SumBlock))
	if err == nil && g.Digest.Size() != g.Size {
		err = fmt.Errorf("read file %s: %w: it has %d bytes and should have %d", g.Key, files.ErrDamaged, g.Digest.Size(), g.Size)
	}
	return err
}

// telling tells how far it was read.
type telling struct {
	io.Reader
	ctx  context.Context
	done int64
	tell func(context.Context, int64) error
}

func (t *telling) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.done += int64(n)
	if told := t.tell(t.ctx, t.done); told != nil {
		return n, told
	}
	return n, err
}

// compress makes a compressed content of a plain file, which stays.
func (c *Contents) compress(ctx context.Context, g files.Growth, progress func(context.Context, int64) error) (storage.Content, error) {
	file, err := c.store.Open(ctx, g.Key)
	if err != nil {
		return storage.Content{}, err
	}
	defer file.Close() //nolint:errcheck // read only
	id, err := uuid.NewV7()
	if err != nil {
		return storage.Content{}, err
	}
	taken, err := c.write(ctx, id, &telling{Reader: files.CheckParts(file, g), ctx: ctx, tell: progress}, true)
	if err != nil {
		return storage.Content{}, err
	}
	if taken.Size != g.Size || g.Digest.Size() == g.Size && g.Digest.SHA256() != taken.SHA256 {
		c.remove(ctx, taken.Key())
		return storage.Content{}, fmt.Errorf("read file %s: %w: its bytes are not those which were stored", g.Key, files.ErrDamaged)
	}
	return c.keep(ctx, &taken)
}
