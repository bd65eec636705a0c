package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrContentGone says that a content is not there any more: nothing referred to it for too long.
// Whoever still has the bytes takes them in again.
var ErrContentGone = errors.New("content is gone")

// ErrNotKept is wrapped by errors of [DB.KeepContent] that leave no row.
var ErrNotKept = errors.New("content was not kept")

// Encodings of a content in the file storage.
const (
	Identity = "identity" // byte for byte
	Zstd     = "zstd"     // in frames, each of which can be read by itself
)

// ContentFolder is the folder of the contents in the file storage; no app can have its name.
const ContentFolder = ".contents"

// Content is a row of the table contents: bytes that are kept once, whoever refers to them.
type Content struct {
	ID         uuid.UUID
	SHA256     [sha256.Size]byte // of the bytes, however they are stored
	Size       int64             // of them
	Encoding   string            // Identity or Zstd
	StoredSize int64             // of the file in the file storage
	Sums       []byte            // CRC-32C of each MiB of the bytes
	Alone      bool              // for one taker: it is not taken up by others who have the same bytes
}

// Key is where the content lies in the file storage.
func (c *Content) Key() string { return ContentKey(c.ID) }

// ContentKey is where the content of that id lies in the file storage. Ids are drawn, not digests:
// to remove one never harms the same bytes that come in anew.
func ContentKey(id uuid.UUID) string { return ContentFolder + "/" + id.String() }

const contentColumns = `id, sha256, size, encoding, stored_size, sums, alone`

func oneContent(rows pgx.Rows, err error) (Content, error) {
	if err != nil {
		return Content{}, err
	}
	return pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (Content, error) {
		var c Content
		var digest []byte
		err := row.Scan(&c.ID, &digest, &c.Size, &c.Encoding, &c.StoredSize, &c.Sums, &c.Alone)
		copy(c.SHA256[:], digest)
		return c, err
	})
}

// Content returns one content, or ErrNotFound.
func (d *DB) Content(ctx context.Context, id uuid.UUID) (Content, error) {
	c, err := oneContent(d.Pool.Query(ctx, `SELECT `+contentColumns+` FROM contents WHERE id = $1 AND doomed_at IS NULL`, id))
	return c, notFound(err, "content", id)
}

// KeepContent stores a content whose file is there, or takes up the one that has the same bytes:
// the caller sees by its id which, and removes its own file when it is another. It has at least the
// time of grace to be referred to. Where its error wraps [ErrNotKept], no row was made; after another
// nobody knows.
func (d *DB) KeepContent(ctx context.Context, c *Content) (Content, error) {
	conn, err := d.Pool.Acquire(ctx)
	if err != nil {
		return Content{}, fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	defer conn.Release()
	kept, err := oneContent(conn.Query(ctx, `
		INSERT INTO contents (id, sha256, size, encoding, stored_size, sums, alone)
		VALUES ($1, $2, $3, $4, $5, coalesce($6::bytea, ''), $7)
		ON CONFLICT (sha256, size) WHERE NOT alone AND doomed_at IS NULL AND damaged_at IS NULL
		DO UPDATE SET takers = contents.takers + 1, loose_since = now()
		RETURNING `+contentColumns, c.ID, c.SHA256[:], c.Size, c.Encoding, c.StoredSize, c.Sums, c.Alone))
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		err = fmt.Errorf("%w: %w", ErrNotKept, refused)
	}
	return kept, err
}

// TakeUpContent returns the content that has these bytes, as KeepContent would, or ErrNotFound.
func (d *DB) TakeUpContent(ctx context.Context, digest [sha256.Size]byte, size int64) (Content, error) {
	c, err := oneContent(d.Pool.Query(ctx, `
		UPDATE contents SET takers = takers + 1, loose_since = now()
		WHERE sha256 = $1 AND size = $2 AND NOT alone AND doomed_at IS NULL AND damaged_at IS NULL
		RETURNING `+contentColumns, digest[:], size))
	return c, notFound(err, "content with the digest", digest)
}

// DamagedContent notes that a content's file was found to be damaged: bytes that come in are not
// taken for being there already. What refers to it still does. It reports whether that is news.
func (d *DB) DamagedContent(ctx context.Context, id uuid.UUID) (bool, error) {
	tag, err := d.Pool.Exec(ctx, `
		UPDATE contents SET damaged_at = now() WHERE id = $1 AND damaged_at IS NULL AND doomed_at IS NULL`, id)
	return tag.RowsAffected() == 1, err
}

// beingMade is the condition that a content is made of an upload whose worker may have died after that:
// its file is the upload's only one, however long it takes until another worker goes on.
const beingMade = `EXISTS (
	SELECT FROM uploads AS u WHERE u.due_at IS NOT NULL AND u.growth ->> 'key' = '` + ContentFolder + `/' || contents.id)`

// DoomContents dooms, of up to limit contents that may have lost their last reference more than
// grace ago, those that have: nothing can refer to them any more. It returns these, and how many it
// looked at.
func (d *DB) DoomContents(ctx context.Context, grace time.Duration, limit int) (doomed []uuid.UUID, looked int, err error) {
	err = d.InTx(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT id FROM contents WHERE loose_since <= now() - $1::interval AND doomed_at IS NULL AND NOT `+beingMade+`
			ORDER BY loose_since LIMIT $2 FOR UPDATE SKIP LOCKED`, grace, limit)
		if err != nil {
			return err
		}
		loose, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return err
		}
		looked = len(loose)
		doomed, err = doom(ctx, tx, loose)
		return err
	})
	return doomed, looked, err
}

// DoomContent dooms a content at once, when nothing refers to it and nobody else has taken it in,
// and reports whether it did. Else DoomContents will in its time.
func (d *DB) DoomContent(ctx context.Context, id uuid.UUID) (bool, error) {
	var doomed []uuid.UUID
	err := d.InTx(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT id FROM contents WHERE id = $1 AND takers = 1 AND doomed_at IS NULL AND NOT `+beingMade+`
			FOR UPDATE SKIP LOCKED`, id)
		if err != nil {
			return err
		}
		loose, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err == nil {
			doomed, err = doom(ctx, tx, loose)
		}
		return err
	})
	return len(doomed) > 0, err
}

// doom dooms those of the contents loose to which nothing refers. tx has locked them, in a
// statement of its own: who would refer to one waits, and finds it doomed; who did so before is
// seen here.
func doom(ctx context.Context, tx pgx.Tx, loose []uuid.UUID) ([]uuid.UUID, error) {
	if len(loose) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `
		WITH looked AS (
			SELECT c.id, EXISTS (SELECT FROM tasks WHERE content = c.id)
				OR EXISTS (SELECT FROM uploads WHERE content = c.id)
				OR EXISTS (SELECT FROM files WHERE content = c.id)
				OR EXISTS (SELECT FROM file_versions WHERE content = c.id) AS needed
			FROM contents c WHERE c.id = ANY($1)),
		settled AS (
			UPDATE contents c
			SET loose_since = CASE WHEN needed THEN NULL ELSE loose_since END, doomed_at = CASE WHEN needed THEN NULL ELSE now() END
			FROM looked WHERE looked.id = c.id
			RETURNING c.id, needed)
		SELECT id FROM settled WHERE NOT needed`, loose)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// DoomedContents returns up to limit contents that are doomed and still have their row: they are
// about to be removed, or who removed them did not come to the end.
func (d *DB) DoomedContents(ctx context.Context, limit int) ([]uuid.UUID, error) {
	rows, err := d.Pool.Query(ctx, `SELECT id FROM contents WHERE doomed_at IS NOT NULL ORDER BY doomed_at LIMIT $1`, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// DeleteContent deletes the row of a doomed content, whose file is removed, and returns how many
// bytes that file had; zero when another was faster.
func (d *DB) DeleteContent(ctx context.Context, id uuid.UUID) (storedSize int64, err error) {
	err = d.Pool.QueryRow(ctx, `
		DELETE FROM contents WHERE id = $1 AND doomed_at IS NOT NULL RETURNING stored_size`, id).Scan(&storedSize)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return storedSize, err
}

// KnownContents returns those of ids that are contents, that uploads on their way in will have, or
// under which they come.
// The sweep of left-over files asks it before it deletes one.
func (d *DB) KnownContents(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]bool, error) {
	return d.idSet(ctx, `
		SELECT id FROM contents WHERE id = ANY($1)
		UNION
		SELECT c.id FROM uploads u
		JOIN unnest($1::uuid[]) AS c (id) ON '`+ContentFolder+`/' || c.id IN (u.growth ->> 'key', u.growth -> 'direct' ->> 'from')
		WHERE u.state IN ('receiving', 'finishing') OR u.partial`, ids)
}
