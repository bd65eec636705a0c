package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// CheckPut returns what [PutFile] would refuse at this moment, whatever the content, or nil. Who is
// about to send many bytes learns before that they are not wanted.
func (s *Scope) CheckPut(ctx context.Context, put FilePut) error {
	if err := CheckPath(put.Path); err != nil {
		return err
	}
	var present, file, below *string
	err := s.db.Pool.QueryRow(ctx, `
		SELECT (SELECT encode(c.sha256, 'hex')`+fromFiles+`WHERE f.app = a.name AND f.path = $8),
			(SELECT path FROM files WHERE app = a.name AND path = ANY($9) LIMIT 1),
			(SELECT path FROM files WHERE app = a.name AND path > $8 || '/' AND path < $8 || '0' LIMIT 1)
		FROM apps a WHERE a.name = $7 AND a.name IN (SELECT reach($1, $2, $3, $4, $5, $6))`,
		s.reach.values(View|Operate|Data, put.App, put.Path, foldersOf(put.Path))...).Scan(&present, &file, &below)
	if err != nil {
		return notFound(err, "app", put.App)
	}
	var f *File
	if present != nil {
		f = &File{SHA256: *present}
	}
	if err := put.If.check(put.Path, f); err != nil {
		return err
	}
	return inTheWay(put.Path, file, below)
}

// HoldContent keeps a content from being removed before the end of the transaction, in which
// something is to refer to it. ErrContentGone when it is gone.
func HoldContent(ctx context.Context, tx pgx.Tx, id uuid.UUID) error {
	var there bool
	err := tx.QueryRow(ctx, `SELECT true FROM contents WHERE id = $1 AND doomed_at IS NULL FOR KEY SHARE`, id).Scan(&there)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("content %s: %w", id, ErrContentGone)
	}
	return err
}
