package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/migrations"
	"longhaul/storage"
)

type migrateCmd struct {
	dataSettings  `embed:""`
	auditSettings `embed:""`
	DryRun        bool   `help:"Print what would run, and change nothing."`
	GrantTo       string `placeholder:"ROLE" help:"Then grant this database role what a server needs, and not what would let it change the audit trail; it must keep the trail for as long as LONGHAUL_AUDIT_KEEP says."`
}

// Run applies the migrations, or prints them.
func (c *migrateCmd) Run(ctx context.Context, s *streams) error {
	if err := c.validateAudit(); err != nil {
		return err
	}
	logger := c.logger(s.err)
	dir, err := c.dir()
	if err != nil {
		return err
	}
	db, err := openDatabase(ctx, &c.dataSettings, dir, logger)
	if err != nil {
		return err
	}
	defer db.close()
	if !c.DryRun {
		return c.migrate(ctx, db.pool, logger)
	}
	pending, err := storage.PendingMigrations(ctx, db.pool, migrations.Files)
	if err != nil {
		return err
	}
	if len(pending) == 0 {
		_, err = fmt.Fprintln(s.out, "-- nothing to do: the schema is up to date")
	}
	for _, m := range pending {
		if _, err := fmt.Fprintf(s.out, "-- %s\n%s\n\n", m.Name, m.SQL); err != nil {
			return err
		}
	}
	return err
}

func (c *migrateCmd) migrate(ctx context.Context, pool *pgxpool.Pool, logger *slog.Logger) error {
	if err := storage.Migrate(ctx, pool, migrations.Files, logger); err != nil || c.GrantTo == "" {
		return err
	}
	return storage.GrantServer(ctx, pool, c.GrantTo, c.AuditKeep)
}
