package storage

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// App is a row of the table apps: one Oracle Cloud application, or none, with its connection
// and its limits.
type App struct {
	Name        string
	Product     string // epm, fusion or none
	URL         string `db:"url"`
	Application string
	AuthType    string // basic, oauth2 or none
	AuthSealed  []byte // see Sealer
	MaxRunning  int    // tasks at once; 0: no limit

	// The daily maintenance window; all three are set or none.
	MaintenanceStart   *string // HH:MM
	MaintenanceMinutes *int
	MaintenanceZone    *string // IANA name

	CreatedAt time.Time
	UpdatedAt time.Time
}

// Address names the remote application; apps with the same address share its locks.
func (a *App) Address() string { return a.URL + "|" + a.Application }

const appColumns = `name, product, url, application, auth_type, auth_sealed, max_running,
	maintenance_start, maintenance_minutes, maintenance_zone, created_at, updated_at`

// App returns one app, or ErrNotFound.
func (d *DB) App(ctx context.Context, name string) (App, error) {
	rows, err := d.Pool.Query(ctx, `SELECT `+appColumns+` FROM apps WHERE name = $1`, name)
	if err != nil {
		return App{}, err
	}
	app, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[App])
	return app, notFound(err, "app", name)
}

// Apps returns all apps by name.
func (d *DB) Apps(ctx context.Context) ([]App, error) {
	rows, err := d.Pool.Query(ctx, `SELECT `+appColumns+` FROM apps ORDER BY name`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[App])
}

// InsertApp stores a new app. ErrConflict if the name is taken.
func InsertApp(ctx context.Context, tx pgx.Tx, a *App) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO apps (name, product, url, application, auth_type, auth_sealed, max_running,
			maintenance_start, maintenance_minutes, maintenance_zone)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, a.values()...)
	if violates(err, codeUniqueViolation) {
		return fmt.Errorf("app %s exists: %w", a.Name, ErrConflict)
	}
	return err
}

// UpdateApp replaces an app's connection and limits. ErrNotFound if there is none.
func UpdateApp(ctx context.Context, tx pgx.Tx, a *App) error {
	tag, err := tx.Exec(ctx, `
		UPDATE apps SET product = $2, url = $3, application = $4, auth_type = $5, auth_sealed = $6,
			max_running = $7, maintenance_start = $8, maintenance_minutes = $9, maintenance_zone = $10,
			updated_at = now()
		WHERE name = $1`, a.values()...)
	if err == nil && tag.RowsAffected() == 0 {
		return fmt.Errorf("app %s: %w", a.Name, ErrNotFound)
	}
	return err
}

func (a *App) values() []any {
	return []any{
		a.Name, a.Product, a.URL, a.Application, a.AuthType, a.AuthSealed, a.MaxRunning,
		a.MaintenanceStart, a.MaintenanceMinutes, a.MaintenanceZone,
	}
}

// DeleteApp removes an app. ErrConflict while it has tasks, ErrNotFound if there is none.
func DeleteApp(ctx context.Context, tx pgx.Tx, name string) error {
	tag, err := tx.Exec(ctx, `DELETE FROM apps WHERE name = $1`, name)
	if violates(err, codeForeignKeyViolation) {
		return fmt.Errorf("app %s has tasks: %w", name, ErrConflict)
	}
	if err == nil && tag.RowsAffected() == 0 {
		return fmt.Errorf("app %s: %w", name, ErrNotFound)
	}
	return err
}
