package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ErrKeyReused says that an idempotency key was used before with another request.
var ErrKeyReused = errors.New("idempotency key was used with another request")

// IdempotencyKey ties a caller's key to the task that its request made.
type IdempotencyKey struct {
	CreatedBy string
	Key       string
	SHA256    []byte // of the request
}

// InsertIdempotencyKey stores the key for the task. When the key is taken it stores nothing
// and returns the task of the first request, or ErrKeyReused if that request was another.
// A racing request with the same key waits here until the first one commits.
func InsertIdempotencyKey(ctx context.Context, tx pgx.Tx, k IdempotencyKey, task uuid.UUID) (first uuid.UUID, err error) {
	tag, err := tx.Exec(ctx, `
		INSERT INTO idempotency_keys (created_by, key, request_sha256, task_id)
		VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, k.CreatedBy, k.Key, k.SHA256, task)
	if err != nil || tag.RowsAffected() == 1 {
		return task, err
	}
	return taskOfKey(ctx, tx, k)
}

// taskOfKey returns the task that an earlier request with this key made, or ErrKeyReused if that
// request was another.
func taskOfKey(ctx context.Context, q Querier, k IdempotencyKey) (uuid.UUID, error) {
	var task uuid.UUID
	var sha []byte
	err := q.QueryRow(ctx, `
		SELECT task_id, request_sha256 FROM idempotency_keys WHERE created_by = $1 AND key = $2`,
		k.CreatedBy, k.Key).Scan(&task, &sha)
	if err != nil {
		return uuid.Nil, notFound(err, "idempotency key", k.Key)
	}
	if !bytes.Equal(sha, k.SHA256) {
		return uuid.Nil, fmt.Errorf("%q: %w", k.Key, ErrKeyReused)
	}
	return task, nil
}
