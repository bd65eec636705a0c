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

// InsertApp stores a new app. ErrConflict if the name is taken, ErrNotFound if the caller may not
// make apps.
func InsertApp(ctx context.Context, tx pgx.Tx, r Reach, a *App) error {
	if !r.Everything || !r.Scopes.Has(Instance) || r.Apps != nil {
		return fmt.Errorf("apps: %w", ErrNotFound)
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO apps (name, product, url, application, auth_type, auth_sealed, max_running,
			maintenance_start, maintenance_minutes, maintenance_zone)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, a.values()...)
	if violates(err, codeUniqueViolation) {
		return fmt.Errorf("app %s exists: %w", a.Name, ErrConflict)
	}
	return err
}

// UpdateApp replaces an app's connection and limits. ErrNotFound if there is none that the caller
// may manage.
func UpdateApp(ctx context.Context, tx pgx.Tx, r Reach, a *App) error {
	tag, err := tx.Exec(ctx, `
		UPDATE apps SET product = $8, url = $9, application = $10, auth_type = $11, auth_sealed = $12,
			max_running = $13, maintenance_start = $14, maintenance_minutes = $15, maintenance_zone = $16,
			updated_at = now()
		WHERE name = $7 AND name IN (SELECT reach($1, $2, $3, $4, $5, $6))`, r.values(View|Manage, a.values()...)...)
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

// DeleteApp removes an app. ErrConflict while it has tasks or files, ErrNotFound if there is none that the
// caller may delete.
func DeleteApp(ctx context.Context, tx pgx.Tx, r Reach, name string) error {
	tag, err := tx.Exec(ctx, `DELETE FROM apps WHERE name = $7 AND name IN (SELECT reach($1, $2, $3, $4, $5, $6))`,
		r.values(View|Manage|Instance, name)...)
	if violates(err, codeForeignKeyViolation) {
		return fmt.Errorf("app %s has tasks or files: %w", name, ErrConflict)
	}
	if err == nil && tag.RowsAffected() == 0 {
		return fmt.Errorf("app %s: %w", name, ErrNotFound)
	}
	return err
}
