package main

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/api"
	"longhaul/jobs"
)

type openapiCmd struct{}

// Run prints what /openapi.json serves. It needs no server and no database: the pool behind
// the routes connects at its first use, which does not come.
func (openapiCmd) Run(ctx context.Context, s *streams) error {
	pool, err := pgxpool.New(ctx, "host=localhost")
	if err != nil {
		return err
	}
	defer pool.Close()
	logger := slog.New(slog.DiscardHandler)
	engine, err := jobs.New(jobs.Config{Pool: pool, Kinds: jobs.NewKinds(), Logger: logger, Process: "openapi"})
	if err != nil {
		return err
	}
	server := api.New(api.Config{Engine: engine, Version: version, Logger: logger})
	defer server.Stop()
	encoder := json.NewEncoder(s.out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(server.Description())
}
