package storage

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// The queries here are of the workers that finish uploads, of those who use them, and of the sweeps.

// ClaimUpload gives an upload that is finishing, and due, to one worker, and reads its growth: see
// [DB.Claim]. Of a process that is no more it is taken at once. Until RetryUpload says otherwise, the
// try counts as one that crashed. ErrStale if there is nothing to do.
func (d *DB) ClaimUpload(ctx context.Context, id uuid.UUID, process string, lease time.Duration) (Upload, error) {
	u, err := oneUpload(ctx, d.Pool, `
		UPDATE uploads SET fence = fence + 1, version = version + 1, tries = tries + 1, crashes = crashes + 1,
			held_by = $2, lease_until = now() + $3::interval
		WHERE id = $1 AND state = 'finishing' AND due_at <= now() + interval '2 seconds'
			AND CASE WHEN held_by IS NULL OR lease_until IS NULL OR lease_until < now() THEN true ELSE `+dead+` END
		RETURNING `+uploadColumns+`, growth`, id, process, lease)
	return u, stale(err)
}

// KeepUpload keeps a worker's claim for longer, and writes how far the checking has come: u.Checked
// and u.Message. ErrStale if the claim was lost.
func (d *DB) KeepUpload(ctx context.Context, u *Upload, lease time.Duration) error {
	return stale(d.Pool.QueryRow(ctx, `
		UPDATE uploads SET lease_until = now() + $3::interval, checked = least($4, size), message = $5,
			version = version + CASE WHEN checked = least($4, size) AND message = $5 THEN 0 ELSE 1 END
		WHERE id = $1 AND fence = $2 AND state = 'finishing'
		RETURNING version`, u.ID, u.Fence, lease, u.Checked, u.Message).Scan(&u.Version))
}

// GrowUpload writes how far a claimed upload is put together. ErrStale if the claim was lost.
func (d *DB) GrowUpload(ctx context.Context, u *Upload, growth json.RawMessage) error {
	err := stale(d.Pool.QueryRow(ctx, `
		UPDATE uploads SET growth = $3 WHERE id = $1 AND fence = $2 AND state = 'finishing' RETURNING version`,
		u.ID, u.Fence, growth).Scan(&u.Version))
	if err == nil {
		u.Growth = growth
	}
	return err
}

// FinishUpload ends a claimed upload: its bytes are the content with the given digest. It is kept
// for as long as keep. ErrStale if the claim was lost; ErrContentGone if the content is being
// removed, and must be taken in again.
func (d *DB) FinishUpload(ctx context.Context, u *Upload, content uuid.UUID, digest []byte, keep time.Duration) error {
	return d.InTx(ctx, func(tx pgx.Tx) error {
		if err := HoldContent(ctx, tx, content); err != nil {
			return err
		}
		return stale(tx.QueryRow(ctx, `
			UPDATE uploads SET state = 'finished', content = $3, sha256 = $4, checked = size, message = '',
				growth = '{}', fence = fence + 1, version = version + 1, held_by = NULL, lease_until = NULL, due_at = NULL,
				finished_at = now(), expires_at = now() + $5::interval
			WHERE id = $1 AND fence = $2 AND state = 'finishing'
			RETURNING state, version, finished_at, expires_at, content, sha256`, u.ID, u.Fence, content, digest, keep,
		).Scan(&u.State, &u.Version, &u.FinishedAt, &u.ExpiresAt, &u.Content, &u.SHA256))
	})
}

// FailUpload ends a claimed upload that is no good, with words for its owner. Its growth stays, for
// the sweep. ErrStale if the claim was lost.
func (d *DB) FailUpload(ctx context.Context, u *Upload, message string) error {
	return stale(d.Pool.QueryRow(ctx, `
		UPDATE uploads SET state = 'failed', message = $3,
			fence = fence + 1, version = version + 1, held_by = NULL, lease_until = NULL, due_at = NULL, finished_at = now()
		WHERE id = $1 AND fence = $2 AND state = 'finishing'
		RETURNING state, version, message, finished_at`, u.ID, u.Fence, message,
	).Scan(&u.State, &u.Version, &u.Message, &u.FinishedAt))
}

// RetryUpload lets go of a claimed upload until a worker is to try again, and says why; u.Crashes is
// how many tries in a row crashed. ErrStale if the claim was lost.
func RetryUpload(ctx context.Context, tx pgx.Tx, u *Upload, after time.Duration, message string) error {
	return stale(tx.QueryRow(ctx, `
		UPDATE uploads SET due_at = now() + $3::interval, message = $4, crashes = $5,
			fence = fence + 1, version = version + 1, held_by = NULL, lease_until = NULL
		WHERE id = $1 AND fence = $2 AND state = 'finishing'
		RETURNING version, message`, u.ID, u.Fence, after, message, u.Crashes).Scan(&u.Version, &u.Message))
}

// UnwokenUploads returns up to limit uploads that have been due for longer than grace, that no
// living worker holds and that no live River job of the kind will wake: it names them in upload_id.
func (d *DB) UnwokenUploads(ctx context.Context, kind string, grace time.Duration, limit int) ([]uuid.UUID, error) {
	rows, err := d.Pool.Query(ctx, `
		SELECT id FROM uploads AS u
		WHERE due_at < now() - $2::interval
			AND CASE WHEN held_by IS NULL OR lease_until IS NULL OR lease_until < now() THEN true ELSE `+dead+` END
			AND NOT EXISTS (
				SELECT FROM river_job AS j
				WHERE j.kind = $1 AND j.args ->> 'upload_id' = u.id::text
					AND j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled'))
		ORDER BY due_at LIMIT $3`, kind, grace, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// UsableUpload returns an owner's upload, held against what an app's task or file needs: its
// content is read with it. The error is an *[UploadUseError], or ErrNotFound.
func (d *DB) UsableUpload(ctx context.Context, id, owner uuid.UUID, app string) (Upload, error) {
	u, err := d.Upload(ctx, id, owner)
	if err != nil {
		return u, err
	}
	return u, u.usable(app)
}

// usable says why an app cannot use the upload, or nil.
func (u *Upload) usable(app string) error {
	ready := u.State == UploadFinished && u.UsedAt == nil && !u.Partial
	if ready && (u.App == nil || *u.App == app) {
		return nil
	}
	return &UploadUseError{Upload: *u}
}

// UploadUseError says that an upload cannot be used as it is: it is not finished, was used, is a
// piece of another, or is for another app.
type UploadUseError struct{ Upload Upload }

func (e *UploadUseError) Error() string {
	return "upload " + e.Upload.ID.String() + " cannot be used: " + e.Upload.State
}

// UseUpload gives a finished upload's content to what uses it, named by, which must refer to the
// content in the same transaction. Of two that race for one upload, the later waits for the first
// and is refused: the error is as [DB.UsableUpload]'s. ErrConflict if the content has become
// another.
func UseUpload(ctx context.Context, tx pgx.Tx, id, owner uuid.UUID, app, by string, content uuid.UUID) error {
	tag, err := tx.Exec(ctx, `
		UPDATE uploads SET used_at = now(), used_by = $4, content = NULL, version = version + 1
		WHERE id = $1 AND owner = $2 AND (app IS NULL OR app = $3) AND state = 'finished' AND used_at IS NULL AND content = $5`,
		id, owner, app, by, content)
	if err != nil || tag.RowsAffected() == 1 {
		return err
	}
	rows, err := tx.Query(ctx, `SELECT `+uploadColumns+` FROM uploads WHERE id = $1 AND owner = $2`, id, owner)
	if err != nil {
		return err
	}
	u, err := pgx.CollectExactlyOneRow(rows, scanUpload)
	if err != nil {
		return notFound(err, "upload", id)
	}
	if err := u.usable(app); err != nil {
		return err
	}
	return ErrConflict
}

// TakeUpload takes an upload from whoever holds it, so that its files can be removed and then, by
// [DB.DeleteUpload], its row: it failed from now on, and expired. Of one that was used only the row
// is left, and nothing changes. It returns the upload with its growth, and with the content that it
// had. ErrNotFound if there is none; owner nil: whoever's.
func TakeUpload(ctx context.Context, tx pgx.Tx, id uuid.UUID, owner *uuid.UUID) (Upload, error) {
	u, err := oneUpload(ctx, tx, `
		SELECT `+uploadColumns+`, growth FROM uploads
		WHERE id = $1 AND ($2::uuid IS NULL OR owner = $2) FOR UPDATE`, id, owner)
	if err != nil {
		return u, notFound(err, "upload", id)
	}
	if u.UsedAt != nil {
		return u, nil
	}
	_, err = tx.Exec(ctx, `
		UPDATE uploads SET state = 'failed', message = 'It is being removed', content = NULL,
			fence = fence + 1, version = version + 1, held_by = NULL, lease_until = NULL, due_at = NULL, expires_at = now()
		WHERE id = $1`, id)
	return u, err
}

// DeleteUpload removes the row of an upload whose files are gone, and those of its pieces.
func (d *DB) DeleteUpload(ctx context.Context, id uuid.UUID) error {
	_, err := d.Pool.Exec(ctx, `DELETE FROM uploads WHERE id = $1 OR partial AND used_by = $1::text
		AND id = ANY((SELECT pieces FROM uploads WHERE id = $1)::uuid[])`, id)
	return err
}

// GrowthsOf returns the growths of the given pieces, in that order. Those that are gone are left out.
func (d *DB) GrowthsOf(ctx context.Context, pieces []uuid.UUID) ([]json.RawMessage, error) {
	rows, err := d.Pool.Query(ctx, `SELECT growth FROM uploads WHERE id = ANY($1) ORDER BY array_position($1, id)`, pieces)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[json.RawMessage])
}

// GrowingKeys returns the keys of the files that grow, or are to, for uploads that are on their way in.
func (d *DB) GrowingKeys(ctx context.Context) ([]string, error) {
	rows, err := d.Pool.Query(ctx, `
		SELECT growth ->> 'key' FROM uploads
		WHERE growth ->> 'key' IS NOT NULL AND (state IN ('receiving', 'finishing') OR partial)`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// ExpiredUploads returns up to limit uploads that have had their time. Pieces stay for as long as
// something is being put together from them.
func (d *DB) ExpiredUploads(ctx context.Context, limit int) ([]uuid.UUID, error) {
	rows, err := d.Pool.Query(ctx, `
		SELECT id FROM uploads AS u
		WHERE expires_at < now() AND state <> 'finishing'
			AND NOT EXISTS (
				SELECT FROM uploads AS f
				WHERE f.id = CASE WHEN u.partial THEN u.used_by::uuid END AND f.state IN ('finishing', 'failed'))
		ORDER BY expires_at LIMIT $1`, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// ExpireUploadsOf gives up the uploads for an app that is being deleted, so that the sweep removes
// them with their files.
func ExpireUploadsOf(ctx context.Context, tx pgx.Tx, app string) error {
	_, err := tx.Exec(ctx, `UPDATE uploads SET app = NULL, expires_at = now() WHERE app = $1`, app)
	return err
}
