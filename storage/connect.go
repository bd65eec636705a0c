package storage

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// maxConns is the size of the pool: enough for the workers that write at one moment; more make
// Postgres slower, not faster.
const maxConns = 32

// Connect opens a pool on the database at url and waits until it answers, ten seconds at most.
// A pool size in the url (pool_max_conns) wins over ours.
func Connect(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("LONGHAUL_DATABASE_URL is not an address of a Postgres database; write it like postgres://user:password@host:5432/name")
	}
	if config.MaxConns < maxConns {
		config.MaxConns = maxConns
	}
	config.ConnConfig.RuntimeParams["application_name"] = "longhaul"
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return pool, nil
}
