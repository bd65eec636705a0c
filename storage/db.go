package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	// ErrNotFound says that no record has the given name or id.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that the record is not in a state, or not at a version, that allows the change.
	ErrConflict = errors.New("conflict")
	// ErrText says that a text cannot be stored: it holds a zero byte or broken UTF-8.
	ErrText = errors.New("text with a zero byte or broken UTF-8")
	// ErrStale says that another worker has taken over the task: nothing was written.
	ErrStale = errors.New("stale: another worker has taken over this task")
)

// DB runs Longhaul's queries on a pool of connections. Methods that take a pgx.Tx leave its
// commit to the caller; the others are one statement, or open and commit their own transaction.
type DB struct {
	Pool *pgxpool.Pool
}

// Querier is a pool, a connection or a transaction: whatever can run a query.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// InTx runs do in a transaction and commits it, or rolls it back when do returns an error.
func (d *DB) InTx(ctx context.Context, do func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, d.Pool, do)
}

// Ready reports whether the database answers.
func (d *DB) Ready(ctx context.Context) error {
	if err := d.Pool.Ping(ctx); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

// notFound turns the driver's word for an empty answer into ours.
func notFound(err error, what string, id any) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("%s %v: %w", what, id, ErrNotFound)
	}
	return err
}

// violates reports whether err is the violation of a constraint of the given SQLSTATE code.
func violates(err error, code string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}

// IsText reports whether err is Postgres's refusal of a text: see ErrText. Every query that is
// given a stranger's text can end so.
func IsText(err error) bool {
	return violates(err, codeNotInRepertoire) || violates(err, codeUntranslatable)
}

// SQLSTATE codes, from the PostgreSQL manual's appendix A.
const (
	codeNotNullViolation    = "23502"
	codeUniqueViolation     = "23505"
	codeForeignKeyViolation = "23503"
	codeNotInRepertoire     = "22021" // a byte that the encoding does not have, in a text
	codeUntranslatable      = "22P05" // \u0000, in JSON
)
