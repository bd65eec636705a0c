package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// The states of an upload.
const (
	UploadReceiving = "receiving" // bytes are still to come
	UploadFinishing = "finishing" // all are there; a worker puts them together and checks them
	UploadFinished  = "finished"  // it can be used, or was
	UploadFailed    = "failed"    // it is not what its client said, or could not be finished
)

// Upload is a row of the table uploads: bytes on their way in.
type Upload struct {
	ID          uuid.UUID
	App         *string // nil: for any app of its owner
	Owner       uuid.UUID
	CreatedBy   string // the owner's login
	Protocol    string // tus or s3
	Filename    string
	ContentType string
	Metadata    map[string]string // the client's own
	Size        *int64            // in bytes; nil: not known yet
	Received    int64             // in bytes
	// SHA256 is what the client says that it is, and of a finished one what it is; nil: not known.
	SHA256  []byte
	Partial bool        // a piece of another
	Pieces  []uuid.UUID // what it is put together from

	State   string
	Version int64
	Checked int64  // bytes, while it is finishing
	Message string // what is done with it, or why it failed
	Content *uuid.UUID
	UsedAt  *time.Time
	UsedBy  *string // the task's id, the file's app and path, or the upload of which it is a piece

	Fence      int64
	HeldBy     *string // the process
	Tries      int
	Crashes    int // tries in a row that did not come to an end in order, this one among them
	CreatedAt  time.Time
	ExpiresAt  time.Time
	FinishedAt *time.Time

	// Growth is how far its bytes are in the file storage, for who keeps them there. It may be
	// large, so that only those queries read it that say so.
	Growth json.RawMessage
}

// Complete reports whether all bytes are there.
func (u *Upload) Complete() bool { return u.Size != nil && u.Received == *u.Size }

// Final reports whether nothing will happen to the upload by itself.
func (u *Upload) Final() bool { return u.State == UploadFinished || u.State == UploadFailed }

const uploadColumns = `id, app, owner, created_by, protocol, filename, content_type, metadata, size, received, sha256,
	partial, pieces, state, version, checked, message, content, used_at, used_by,
	fence, held_by, tries, crashes, created_at, expires_at, finished_at`

// into lists where the columns of uploadColumns go, in their order.
func (u *Upload) into() []any {
	return []any{
		&u.ID, &u.App, &u.Owner, &u.CreatedBy, &u.Protocol, &u.Filename, &u.ContentType, &u.Metadata, &u.Size, &u.Received, &u.SHA256,
		&u.Partial, &u.Pieces, &u.State, &u.Version, &u.Checked, &u.Message, &u.Content, &u.UsedAt, &u.UsedBy,
		&u.Fence, &u.HeldBy, &u.Tries, &u.Crashes, &u.CreatedAt, &u.ExpiresAt, &u.FinishedAt,
	}
}

func scanUpload(row pgx.CollectableRow) (Upload, error) {
	var u Upload
	err := row.Scan(u.into()...)
	return u, err
}

// scanGrowingUpload reads uploadColumns and then growth.
func scanGrowingUpload(row pgx.CollectableRow) (Upload, error) {
	var u Upload
	err := row.Scan(append(u.into(), &u.Growth)...)
	return u, err
}

// oneUpload runs a query for one upload with its growth.
func oneUpload(ctx context.Context, q Querier, sql string, args ...any) (Upload, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return Upload{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanGrowingUpload)
}

// Quota bounds what unused uploads may hold, in bytes; 0 means no limit.
type Quota struct {
	Person int64 // those of one person
	App    int64 // those for one app
}

// OverQuotaError says that an upload would pass a quota.
type OverQuotaError struct {
	App     string // whose quota it is; empty: the person's
	Used    int64  // bytes of the other unused uploads
	Allowed int64  // bytes
	Asked   int64  // bytes; 0: not known yet
}

func (e *OverQuotaError) Error() string {
	whose := "your"
	if e.App != "" {
		whose = "the app " + e.App + "'s"
	}
	return fmt.Sprintf("%d bytes of %s unused uploads are kept, and %d are allowed; %d more do not fit", e.Used, whose, e.Allowed, e.Asked)
}

// check refuses more bytes of an owner, for an app, than fit. Until the transaction ends, whoever
// else asks for the same owner or app waits, so that no two get the same room.
func (q Quota) check(ctx context.Context, tx pgx.Tx, u *Upload, more int64) error {
	if q.Person > 0 {
		if err := checkQuota(ctx, tx, "owner", u.Owner, more, q.Person); err != nil {
			return err
		}
	}
	if q.App > 0 && u.App != nil {
		err := checkQuota(ctx, tx, "app", *u.App, more, q.App)
		if over, ok := errors.AsType[*OverQuotaError](err); ok {
			over.App = *u.App
		}
		return err
	}
	return nil
}

func checkQuota(ctx context.Context, tx pgx.Tx, column string, value any, more, allowed int64) error {
	name := fmt.Sprintf("longhaul uploads of %s %v", column, value)
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, name); err != nil {
		return err
	}
	// In a statement of its own: it must see what was committed while this one waited.
	var used int64
	err := tx.QueryRow(ctx, `
		SELECT coalesce(sum(coalesce(size, received)), 0)::bigint FROM uploads
		WHERE `+column+` = $1 AND used_at IS NULL AND state <> 'failed'`, value).Scan(&used)
	if err == nil && more > allowed-used {
		return &OverQuotaError{Used: used, Allowed: allowed, Asked: more}
	}
	return err
}

// InsertUpload stores a new upload, kept for as long as keep, unless it passes a quota
// (*[OverQuotaError]). One that is finishing is due at once. ErrNotFound if its app is gone.
func InsertUpload(ctx context.Context, tx pgx.Tx, u *Upload, quota Quota, keep time.Duration) error {
	more := int64(1) // at least
	if u.Size != nil {
		more = *u.Size
	}
	if err := quota.check(ctx, tx, u, more); err != nil {
		return err
	}
	err := tx.QueryRow(ctx, `
		INSERT INTO uploads (id, app, owner, created_by, protocol, filename, content_type, metadata, size, received,
			sha256, partial, pieces, growth, state, due_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
			CASE WHEN $15 = 'finishing' THEN now() END, now() + $16::interval)
		RETURNING version, created_at, expires_at`,
		u.ID, u.App, u.Owner, u.CreatedBy, u.Protocol, u.Filename, u.ContentType, u.Metadata, u.Size, u.Received,
		u.SHA256, u.Partial, u.Pieces, u.Growth, u.State, keep,
	).Scan(&u.Version, &u.CreatedAt, &u.ExpiresAt)
	if violates(err, codeForeignKeyViolation) {
		return fmt.Errorf("app %s: %w", *u.App, ErrNotFound)
	}
	return err
}

// PiecesOf returns the uploads with the given ids of an owner, in that order and with their growth,
// and nobody else may change them until the transaction ends. ErrNotFound if one is missing.
func PiecesOf(ctx context.Context, tx pgx.Tx, owner uuid.UUID, ids []uuid.UUID) ([]Upload, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+uploadColumns+`, growth FROM uploads
		WHERE owner = $1 AND id = ANY($2) ORDER BY array_position($2, id) FOR UPDATE`, owner, ids)
	if err != nil {
		return nil, err
	}
	pieces, err := pgx.CollectRows(rows, scanGrowingUpload)
	if err == nil && len(pieces) < len(ids) {
		return nil, fmt.Errorf("pieces: %w", ErrNotFound)
	}
	return pieces, err
}

// UsePieces marks finished pieces as used by the upload that is put together from them.
func UsePieces(ctx context.Context, tx pgx.Tx, ids []uuid.UUID, by uuid.UUID) error {
	_, err := tx.Exec(ctx, `
		UPDATE uploads SET used_at = now(), used_by = $2, version = version + 1
		WHERE id = ANY($1) AND partial AND state = 'finished' AND used_at IS NULL`, ids, by.String())
	return err
}

// Upload returns an owner's upload, without its growth, or ErrNotFound.
func (d *DB) Upload(ctx context.Context, id, owner uuid.UUID) (Upload, error) {
	rows, err := d.Pool.Query(ctx, `SELECT `+uploadColumns+` FROM uploads WHERE id = $1 AND owner = $2`, id, owner)
	if err != nil {
		return Upload{}, err
	}
	u, err := pgx.CollectExactlyOneRow(rows, scanUpload)
	return u, notFound(err, "upload", id)
}

// Uploads returns up to limit uploads of an owner, newest first: with before, only those made
// before that one. Those of apps that the caller may not view are left out.
func (s *Scope) Uploads(ctx context.Context, owner uuid.UUID, before *uuid.UUID, limit int) ([]Upload, error) {
	rows, err := s.db.Pool.Query(ctx, `
		SELECT `+uploadColumns+` FROM uploads
		WHERE owner = $7 AND ($8::uuid IS NULL OR id < $8) AND (app IS NULL OR `+inReach+`) ORDER BY id DESC LIMIT $9`,
		s.reach.values(View, owner, before, limit)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanUpload)
}

// dead is the condition that the process which holds an upload is no more.
const dead = `pg_try_advisory_xact_lock_shared(hashtextextended('longhaul process ' || held_by, 0))`

// HoldUpload gives an owner's upload that is being received to one request of the process, and
// reads its growth: nobody else may write until another holds it, which renews the fence. Where
// another living process holds it, only with force; else held is false and the row as it is. Held
// is false also for uploads in other states. ErrNotFound if there is none.
func (d *DB) HoldUpload(ctx context.Context, id, owner uuid.UUID, process string, force bool) (u Upload, held bool, err error) {
	u, err = oneUpload(ctx, d.Pool, `
		UPDATE uploads SET fence = fence + 1, held_by = $3
		WHERE id = $1 AND owner = $2 AND state = 'receiving'
			AND CASE WHEN held_by IS NULL OR held_by = $3 OR $4 THEN true ELSE `+dead+` END
		RETURNING `+uploadColumns+`, growth`, id, owner, process, force)
	if errors.Is(err, pgx.ErrNoRows) {
		u, err = d.Upload(ctx, id, owner)
		return u, false, err
	}
	return u, err == nil, err
}

// ReleaseUpload lets go of an upload, if it is still held under this fence.
func (d *DB) ReleaseUpload(ctx context.Context, id uuid.UUID, fence int64) error {
	_, err := d.Pool.Exec(ctx, `UPDATE uploads SET held_by = NULL WHERE id = $1 AND fence = $2 AND state = 'receiving'`, id, fence)
	return err
}

// SaveUpload writes how far a held upload has come: u.Received and u.Growth. From now on it is kept
// for as long as keep. Once it is complete it moves on, and is held no more: a piece is finished,
// and all others are finishing and due at once. One of unknown size is held against the quota.
// ErrStale if another has taken it over.
func SaveUpload(ctx context.Context, tx pgx.Tx, u *Upload, quota Quota, keep time.Duration) error {
	if u.Size == nil {
		var before int64
		if err := tx.QueryRow(ctx, `SELECT received FROM uploads WHERE id = $1`, u.ID).Scan(&before); err != nil {
			return stale(err)
		}
		if err := quota.check(ctx, tx, u, u.Received-before); err != nil {
			return err
		}
	}
	return stale(tx.QueryRow(ctx, `
		UPDATE uploads SET
			received = $3, growth = $4, version = version + 1, expires_at = now() + $5::interval,
			state = CASE WHEN size IS DISTINCT FROM $3 THEN state WHEN partial THEN 'finished' ELSE 'finishing' END,
			due_at = CASE WHEN size = $3 AND NOT partial THEN now() END,
			finished_at = CASE WHEN size = $3 AND partial THEN now() END,
			held_by = CASE WHEN size IS DISTINCT FROM $3 THEN held_by END
		WHERE id = $1 AND fence = $2 AND state = 'receiving'
		RETURNING state, version, expires_at, finished_at`, u.ID, u.Fence, u.Received, u.Growth, keep,
	).Scan(&u.State, &u.Version, &u.ExpiresAt, &u.FinishedAt))
}

// DeclareUpload writes the size of a held upload that was not known before, unless it passes a
// quota. ErrStale if another has taken it over, or its size is known.
func DeclareUpload(ctx context.Context, tx pgx.Tx, u *Upload, size int64, quota Quota) error {
	if err := quota.check(ctx, tx, u, size-u.Received); err != nil {
		return err
	}
	err := stale(tx.QueryRow(ctx, `
		UPDATE uploads SET size = $3, version = version + 1
		WHERE id = $1 AND fence = $2 AND state = 'receiving' AND size IS NULL
		RETURNING version`, u.ID, u.Fence, size).Scan(&u.Version))
	if err == nil {
		u.Size = &size
	}
	return err
}
