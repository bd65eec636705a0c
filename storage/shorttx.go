package storage

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// InShortTx runs a transaction in as few round trips as can be: its BEGIN travels with the first
// query of first, and its COMMIT with the statements of last. When an error is returned, committing
// tells whether the transaction may have been committed all the same.
//
// first may use Query, Exec and QueryRow of what it is given, and nothing else.
func (d *DB) InShortTx(ctx context.Context, first func(tx pgx.Tx) error, last func(*pgx.Batch)) (committing bool, err error) {
	conn, err := d.Pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	tx := &shortTx{conn: conn.Conn()}
	if err := first(tx); err != nil {
		return false, errors.Join(err, tx.abandon(ctx))
	}
	var batch pgx.Batch
	tx.begin(&batch)
	last(&batch)
	batch.Queue(`COMMIT`)
	if err := conn.SendBatch(ctx, &batch).Close(); err != nil {
		// What the server refused, it refused before the COMMIT; of what broke off, nobody knows.
		_, refused := errors.AsType[*pgconn.PgError](err)
		return !refused, errors.Join(err, tx.abandon(ctx))
	}
	return true, nil
}

// shortTx is a transaction that begins with its first query.
type shortTx struct {
	pgx.Tx // nil: see InShortTx
	conn   *pgx.Conn
	begun  bool
}

func (t *shortTx) begin(batch *pgx.Batch) {
	if !t.begun {
		batch.Queue(`BEGIN`)
		t.begun = true
	}
}

// abandon rolls back what was begun. A connection that cannot is broken, and dropped by the pool.
func (t *shortTx) abandon(ctx context.Context) error {
	if !t.begun || t.conn.IsClosed() {
		return nil
	}
	_, err := t.conn.Exec(context.WithoutCancel(ctx), `ROLLBACK`)
	return err
}

// Conn is the connection; River asks it how types are written.
func (t *shortTx) Conn() *pgx.Conn { return t.conn }

// Query runs a query, in one round trip with the BEGIN.
func (t *shortTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if t.begun {
		return t.conn.Query(ctx, sql, args...)
	}
	var batch pgx.Batch
	t.begin(&batch)
	batch.Queue(sql, args...)
	results := t.conn.SendBatch(ctx, &batch)
	if _, err := results.Exec(); err != nil { // the BEGIN
		return nil, errors.Join(err, results.Close())
	}
	rows, err := results.Query()
	if err != nil {
		return nil, errors.Join(err, results.Close())
	}
	return &batchRows{rows, results}, nil
}

// Exec runs a statement.
func (t *shortTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	rows, err := t.Query(ctx, sql, args...)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	rows.Close()
	return rows.CommandTag(), rows.Err()
}

// QueryRow runs a query for one row.
func (t *shortTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := t.Query(ctx, sql, args...)
	return &oneRow{rows, err}
}

// batchRows are the rows of the last query of a batch, which ends with them.
type batchRows struct {
	pgx.Rows
	results pgx.BatchResults
}

// Next ends the batch after the last row.
func (r *batchRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

// Close ends the batch too; that it cannot is the next query's error.
func (r *batchRows) Close() {
	r.Rows.Close()
	_ = r.results.Close()
}

type oneRow struct {
	rows pgx.Rows
	err  error
}

// Scan reads the row, or returns pgx.ErrNoRows.
func (r *oneRow) Scan(into ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	return r.rows.Scan(into...)
}
