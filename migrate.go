package main

import (
	"context"
	"fmt"

	"longhaul/migrations"
	"longhaul/storage"
)

type migrateCmd struct {
	dataSettings `embed:""`
	DryRun       bool `help:"Print what would run, and change nothing."`
}

// Run applies the migrations, or prints them.
func (c *migrateCmd) Run(ctx context.Context, s *streams) error {
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
		return storage.Migrate(ctx, db.pool, migrations.Files, logger)
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
