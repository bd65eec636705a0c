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

// QueueIdempotencyKey queues the statement that stores the key for the task. When the key is taken it
// fails so that IsTaken tells. A racing request with the same key waits in it until the first one
// commits.
func QueueIdempotencyKey(batch *pgx.Batch, k IdempotencyKey, task uuid.UUID) {
	batch.Queue(`INSERT INTO idempotency_keys (created_by, key, request_sha256, task_id) VALUES ($1, $2, $3, $4)`,
		k.CreatedBy, k.Key, k.SHA256, task)
}

// IsTaken reports whether err says that there is such a key, or name, already.
func IsTaken(err error) bool { return violates(err, codeUniqueViolation) }

// TaskOfKey returns the task that an earlier request with this key made, or ErrKeyReused if that
// request was another.
func (d *DB) TaskOfKey(ctx context.Context, k IdempotencyKey) (uuid.UUID, error) {
	var task uuid.UUID
	var sha []byte
	err := d.Pool.QueryRow(ctx, `
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
