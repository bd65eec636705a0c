package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	tern "github.com/jackc/tern/v2/migrate"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

const (
	// schemaTable holds the number of the last migration of ours.
	schemaTable = "longhaul_schema_version"
	// migrateLock is the advisory lock that processes starting together wait
	// for: "longhaul" as eight bytes.
	migrateLock int64 = 0x6c6f6e676861756c
	// migrateRetry is how often a waiting process tries to take that lock. It
	// tries rather than waits in Postgres, because a waiting statement holds a
	// snapshot, and CREATE INDEX CONCURRENTLY waits for those.
	migrateRetry = 100 * time.Millisecond
)

// Migration is one step of the schema, ours or River's.
type Migration struct {
	Name string // its file, or "river 002 initial schema"
	SQL  string
}

// NewerSchemaError says that the database belongs to a newer program than this.
type NewerSchemaError struct {
	Part     string // whose tables: "schema" for ours, "River schema" for the queue's
	Database int    // the migration the database is at
	Known    int    // the last migration this program has
}

// Error says what to do about it too.
func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("this database was migrated by a newer longhaul (%s %d, this binary knows %d): start that version, or restore a backup made before it",
		e.Part, e.Database, e.Known)
}

// Migrate brings the database to the schema of this program: River's tables
// first, which ours may refer to, then the files of migrations, each in its own
// transaction. It works on one connection under an advisory lock, so processes
// may start together: one migrates, the others wait for it. A database that is
// ahead of this program is a [*NewerSchemaError] and is left as it is.
func Migrate(ctx context.Context, pool *pgxpool.Pool, migrations fs.FS, logger *slog.Logger) error {
	pooled, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("migrate: connect: %w", err)
	}
	// Taken out of the pool and closed at the end: that gives the lock back
	// whatever happened, and no setting of a migration lives on.
	conn := pooled.Hijack()
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing is pending on it
	if err := lockMigrations(ctx, conn, logger); err != nil {
		return fmt.Errorf("migrate: lock: %w", err)
	}
	own, err := loadMigrations(migrations)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := checkNotNewer(ctx, conn, len(own)); err != nil {
		return err
	}
	if err := migrateRiver(ctx, conn, logger); err != nil {
		return fmt.Errorf("migrate River's tables: %w", err)
	}
	if err := migrateOwn(ctx, conn, own, logger); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// PendingMigrations lists what [Migrate] would run now, in its order. It changes
// nothing.
func PendingMigrations(ctx context.Context, pool *pgxpool.Pool, migrations fs.FS) ([]Migration, error) {
	own, err := loadMigrations(migrations)
	if err != nil {
		return nil, fmt.Errorf("list pending migrations: %w", err)
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("list pending migrations: connect: %w", err)
	}
	defer conn.Release()
	if err := checkNotNewer(ctx, conn.Conn(), len(own)); err != nil {
		return nil, err
	}
	pending, err := pendingRiver(ctx, conn.Conn())
	if err != nil {
		return nil, fmt.Errorf("list River's pending migrations: %w", err)
	}
	version, err := schemaVersion(ctx, conn.Conn())
	if err != nil {
		return nil, fmt.Errorf("list pending migrations: %w", err)
	}
	return append(pending, own[version:]...), nil
}

func lockMigrations(ctx context.Context, conn *pgx.Conn, logger *slog.Logger) error {
	for waiting := false; ; waiting = true {
		var locked bool
		if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, migrateLock).Scan(&locked); err != nil {
			return err
		}
		if locked {
			return nil
		}
		if !waiting {
			logger.InfoContext(ctx, "migrate: waiting for another process to finish migrating")
		}
		select {
		case <-time.After(migrateRetry):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// loadMigrations reads our files in the order of their numbers. They are read
// here rather than by tern, which would take "{{" in SQL for a template.
func loadMigrations(migrations fs.FS) ([]Migration, error) {
	names, err := tern.FindMigrations(migrations)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	var all []Migration
	for _, name := range names {
		text, err := fs.ReadFile(migrations, name)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		all = append(all, Migration{Name: name, SQL: string(text)})
	}
	return all, nil
}

// schemaVersion is the number of the last migration of ours in the database.
func schemaVersion(ctx context.Context, conn *pgx.Conn) (int, error) {
	exists, err := tableExists(ctx, conn, schemaTable)
	if err != nil || !exists {
		return 0, err
	}
	var version int
	err = conn.QueryRow(ctx, `SELECT version FROM `+schemaTable).Scan(&version)
	return version, err
}

// riverVersion is the number of the last migration of River's main line in the
// database. Before River's fifth there is no column for the line.
func riverVersion(ctx context.Context, conn *pgx.Conn) (int, error) {
	exists, err := tableExists(ctx, conn, "river_migration")
	if err != nil || !exists {
		return 0, err
	}
	var version int
	err = conn.QueryRow(ctx, `
		SELECT coalesce(max(version), 0)
		FROM river_migration r
		WHERE coalesce(to_jsonb(r) ->> 'line', 'main') = 'main'`).Scan(&version)
	return version, err
}

func tableExists(ctx context.Context, conn *pgx.Conn, name string) (exists bool, err error) {
	err = conn.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, name).Scan(&exists)
	return exists, err
}

// checkNotNewer refuses a database that is ahead of this program.
func checkNotNewer(ctx context.Context, conn *pgx.Conn, known int) error {
	version, err := schemaVersion(ctx, conn)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if version > known {
		return &NewerSchemaError{Part: "schema", Database: version, Known: known}
	}
	version, err = riverVersion(ctx, conn)
	if err != nil {
		return fmt.Errorf("read River's schema version: %w", err)
	}
	river, err := newRiverMigrator()
	if err != nil {
		return err
	}
	if known := len(river.AllVersions()); version > known {
		return &NewerSchemaError{Part: "River schema", Database: version, Known: known}
	}
	return nil
}

// newRiverMigrator works on transactions given to it: its driver has no pool.
// Its own log lines repeat ours, and speak up when there is nothing to do.
func newRiverMigrator() (*rivermigrate.Migrator[pgx.Tx], error) {
	migrator, err := rivermigrate.New(riverpgxv5.New(nil), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("load River's migrations: %w", err)
	}
	return migrator, nil
}

// migrateRiver runs River's migrations one to a transaction, because some need
// the one before committed.
func migrateRiver(ctx context.Context, conn *pgx.Conn, logger *slog.Logger) error {
	migrator, err := newRiverMigrator()
	if err != nil {
		return err
	}
	for {
		var done []rivermigrate.MigrateVersion
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			result, err := migrator.MigrateTx(ctx, tx, rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{MaxSteps: 1}) //nolint:staticcheck // deprecated for those who run several in one transaction; and only so it runs on the connection that holds the lock
			if err == nil {
				done = result.Versions
			}
			return err
		})
		if err != nil {
			return err
		}
		if len(done) == 0 {
			return nil
		}
		logger.InfoContext(ctx, "migrate: applied", "migration", riverName(done[0]))
	}
}

func pendingRiver(ctx context.Context, conn *pgx.Conn) (pending []Migration, err error) {
	migrator, err := newRiverMigrator()
	if err != nil {
		return nil, err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		result, err := migrator.MigrateTx(ctx, tx, rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{DryRun: true}) //nolint:staticcheck // as in migrateRiver
		if err != nil {
			return err
		}
		for _, version := range result.Versions {
			pending = append(pending, Migration{Name: riverName(version), SQL: version.SQL})
		}
		return nil
	})
	return pending, err
}

func riverName(version rivermigrate.MigrateVersion) string {
	return fmt.Sprintf("river %03d %s", version.Version, version.Name)
}

func migrateOwn(ctx context.Context, conn *pgx.Conn, own []Migration, logger *slog.Logger) error {
	migrator, err := tern.NewMigrator(ctx, conn, schemaTable)
	if err != nil {
		return err
	}
	for _, m := range own {
		migrator.AppendMigration(m.Name, m.SQL, "")
	}
	migrator.OnStart = func(_ int32, name, _, _ string) {
		logger.InfoContext(ctx, "migrate: applying", "migration", name)
	}
	return explainSQL(migrator.MigrateTo(ctx, int32(len(own))))
}

// explainSQL adds the line of the file to an error in a migration.
func explainSQL(err error) error {
	var sqlErr tern.MigrationPgError
	if !errors.As(err, &sqlErr) || sqlErr.Position == 0 {
		return err
	}
	line, lineErr := tern.ExtractErrorLine(sqlErr.Sql, int(sqlErr.Position))
	if lineErr != nil {
		return err
	}
	return fmt.Errorf("%w (line %d: %s)", err, line.LineNum, line.Text)
}
