package storage

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ToBucket is the protocol of uploads that go straight to the bucket. Nobody holds one while it
// comes: the bucket knows what has come, and the row says what was last seen of that.
const ToBucket = "s3"

// DirectUpload returns an owner's upload that goes straight to the bucket, with its growth, or
// ErrNotFound.
func (d *DB) DirectUpload(ctx context.Context, id, owner uuid.UUID) (Upload, error) {
	u, err := oneUpload(ctx, d.Pool, `
		SELECT `+uploadColumns+`, growth FROM uploads WHERE id = $1 AND owner = $2 AND protocol = 's3'`, id, owner)
	return u, notFound(err, "upload", id)
}

// lockReceiving reads how far an upload is known to have come, while nobody else may change it.
// ErrStale if it is not being received any more.
func lockReceiving(ctx context.Context, tx pgx.Tx, u *Upload) (known int64, err error) {
	err = tx.QueryRow(ctx, `SELECT received FROM uploads WHERE id = $1 AND state = 'receiving' FOR UPDATE`, u.ID).Scan(&known)
	return known, stale(err)
}

// SeenUpload writes how much of an upload was seen in the bucket, where that is more than was seen
// before, and its growth. From now on it is kept for as long as keep. One of unknown size is held
// against the quota. ErrStale if it is not being received any more.
func SeenUpload(ctx context.Context, tx pgx.Tx, u *Upload, seen int64, growth json.RawMessage, quota Quota, keep time.Duration) error {
	known, err := lockReceiving(ctx, tx, u)
	if err != nil || seen <= known {
		return err
	}
	if u.Size == nil {
		if err := quota.check(ctx, tx, u, seen-known); err != nil {
			return err
		}
	}
	return tx.QueryRow(ctx, `
		UPDATE uploads SET received = $2, growth = $3, version = version + 1, expires_at = now() + $4::interval
		WHERE id = $1 RETURNING received, version, expires_at`, u.ID, seen, growth, keep,
	).Scan(&u.Received, &u.Version, &u.ExpiresAt)
}

// ArrivedUpload moves on an upload that has all its bytes in the bucket: it is finishing, and due at
// once. One of unknown size is held against the quota. ErrStale if another request did so before,
// or it is gone.
func ArrivedUpload(ctx context.Context, tx pgx.Tx, u *Upload, size int64, growth json.RawMessage, quota Quota, keep time.Duration) error {
	known, err := lockReceiving(ctx, tx, u)
	if err != nil {
		return err
	}
	if u.Size == nil {
		if err := quota.check(ctx, tx, u, size-known); err != nil {
			return err
		}
	}
	err = tx.QueryRow(ctx, `
		UPDATE uploads SET state = 'finishing', size = $2, received = $2, growth = $3, version = version + 1,
			due_at = now(), expires_at = now() + $4::interval
		WHERE id = $1 RETURNING state, received, version, expires_at`, u.ID, size, growth, keep,
	).Scan(&u.State, &u.Received, &u.Version, &u.ExpiresAt)
	if err == nil {
		u.Size = &size
	}
	return err
}

// RefuseUpload ends an upload that is being received and cannot be taken, with words for its owner.
// Its growth stays, for the sweep. ErrStale if it is not being received any more, or another has taken
// it over.
func (d *DB) RefuseUpload(ctx context.Context, u *Upload, message string) error {
	return stale(d.Pool.QueryRow(ctx, `
		UPDATE uploads SET state = 'failed', message = $2, fence = fence + 1, version = version + 1, finished_at = now()
		WHERE id = $1 AND fence = $3 AND state = 'receiving'
		RETURNING state, version, message, finished_at`, u.ID, message, u.Fence,
	).Scan(&u.State, &u.Version, &u.Message, &u.FinishedAt))
}

// WholeUploads returns up to limit uploads, with their growth, that go to the bucket as a whole and
// were made longer ago than age.
func (d *DB) WholeUploads(ctx context.Context, age time.Duration, limit int) ([]Upload, error) {
	rows, err := d.Pool.Query(ctx, `
		SELECT `+uploadColumns+`, growth FROM uploads
		WHERE protocol = 's3' AND state = 'receiving' AND growth -> 'direct' ->> 'from' <> '' AND created_at < now() - $1::interval
		ORDER BY created_at LIMIT $2`, age, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanGrowingUpload)
}

// IsOverQuota reports whether err says that an upload would pass a quota.
func IsOverQuota(err error) bool {
	_, ok := errors.AsType[*OverQuotaError](err)
	return ok
}
