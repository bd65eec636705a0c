package storage_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/migrations"
	"longhaul/storage"
	"longhaul/storage/storagetest"
)

// newRole makes a role for the test and returns its name, and the address of the database at
// owner's address for it.
func newRole(t *testing.T, owner *storage.DB, address, options string) (name, roleAddress string) {
	t.Helper()
	name, password := "lh test "+strings.ToLower(rand.Text()), rand.Text() // with a space: names are quoted
	exec(t, owner, `CREATE ROLE "`+name+`" LOGIN PASSWORD '`+password+`' `+options)
	t.Cleanup(func() {
		if _, err := owner.Pool.Exec(context.Background(), `DROP OWNED BY "`+name+`"; DROP ROLE "`+name+`"`); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, password)
	return name, u.String()
}

// serverRole grants a new role what a server needs, and connects as it.
func serverRole(t *testing.T, keep time.Duration) (owner, server *storage.DB) {
	t.Helper()
	pool, address := storagetest.DB(t)
	owner = &storage.DB{Pool: pool}
	role, address := newRole(t, owner, address, "")
	for range 2 { // an upgrade grants again
		if err := storage.GrantServer(t.Context(), pool, role, keep); err != nil {
			t.Fatal(err)
		}
	}
	serverPool, err := pgxpool.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(serverPool.Close)
	return owner, &storage.DB{Pool: serverPool}
}

// A server does its work on a role that owns nothing.
func TestGrantServer(t *testing.T) {
	t.Parallel()
	owner, server := serverRole(t, time.Hour)
	pending, err := storage.PendingMigrations(t.Context(), server.Pool, migrations.Files)
	if err != nil || len(pending) != 0 {
		t.Errorf("pending %v, error %v", pending, err)
	}
	if err := storage.Migrate(t.Context(), server.Pool, migrations.Files, testLogger(t)); err != nil {
		t.Error(err)
	}
	for _, sql := range []string{
		`INSERT INTO apps (name, product) VALUES ('none', 'none')`,
		`UPDATE apps SET max_running = 3`,
		`DELETE FROM apps`,
		`INSERT INTO river_job (args, kind, max_attempts) VALUES ('{}', 'step', 25)`,
		`DELETE FROM river_job`,
		`SELECT * FROM audit_seals`,
		`SELECT * FROM river_migration`,
		`LISTEN longhaul_tasks`,
	} {
		exec(t, server, sql)
	}
	writeLines(t, server, 3)
	addMonths(t, server)
	sealAll(t, server)
	if _, err := server.DropAuditMonths(t.Context(), time.Hour); err != nil {
		t.Error(err)
	}
	mustHold(t, server, 3)
	exec(t, owner, `INSERT INTO audit (at, actor, action) VALUES ('2031-05-15', 'anna', 'task.create')`)
	if moved := addMonths(t, server); moved != 1 {
		t.Errorf("%d lines moved, want 1", moved)
	}
}

// What the server's role can do with the trail is to add to it.
func TestGrantedServerCannotChangeAudit(t *testing.T) {
	t.Parallel()
	_, server := serverRole(t, time.Hour)
	writeLines(t, server, 3)
	sealAll(t, server)
	month := time.Now().UTC().Format("audit_2006_01")
	for _, sql := range []string{
		`UPDATE audit SET actor = 'nobody'`,
		`DELETE FROM audit`,
		`TRUNCATE audit`,
		`UPDATE ` + month + ` SET actor = 'nobody'`,
		`DELETE FROM ` + month,
		`TRUNCATE ` + month,
		`INSERT INTO ` + month + ` (id, actor, action) VALUES (1, 'anna', 'task.create')`,
		`INSERT INTO audit (id, actor, action) OVERRIDING SYSTEM VALUE VALUES (1, 'anna', 'task.create')`,
		`INSERT INTO audit (at, actor, action) VALUES ('2020-01-01', 'anna', 'task.create')`,
		`SELECT setval('audit_id_seq', 1, false)`,
		`SELECT nextval('audit_id_seq')`,
		`DROP TABLE ` + month,
		`DROP TABLE audit`,
		`ALTER TABLE audit DETACH PARTITION ` + month,
		`ALTER TABLE audit DISABLE TRIGGER append_only`,
		`ALTER TABLE ` + month + ` DISABLE TRIGGER append_only`,
		`DROP TRIGGER append_only ON audit`,
		`CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
		`SET session_replication_role = replica`,
		`ALTER FUNCTION audit_drop_months(interval) RESET search_path`,
		`UPDATE audit_seals SET lines = 1`,
		`DELETE FROM audit_seals`,
		`TRUNCATE audit_seals`,
		`UPDATE audit_retention SET at_least = '0'`,
		`UPDATE longhaul_schema_version SET version = 0`,
		`GRANT UPDATE ON audit TO CURRENT_USER`,
		`CREATE TABLE mine ()`,
	} {
		_, err := server.Pool.Exec(t.Context(), sql)
		pg, ok := errors.AsType[*pgconn.PgError](err)
		// A grant by someone who has nothing to give is a warning; what matters is what follows.
		if sql == `GRANT UPDATE ON audit TO CURRENT_USER` && err == nil {
			continue
		}
		if !ok || pg.Code != "42501" {
			t.Errorf("%s: error %v, want that it is not permitted", sql, err)
		}
	}
	mustHold(t, server, 3)
}

// A server's role drops no month that its owner wants kept, whatever it asks for.
func TestGrantedServerKeepsAudit(t *testing.T) {
	t.Parallel()
	const years = 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		keep time.Duration
		want int64
	}{"two years": {2 * years, 1}, "for ever": {0, 0}, "shorter than a month": {time.Hour, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			owner, server := serverRole(t, c.keep)
			exec(t, owner, `
				INSERT INTO audit (at, actor, action) VALUES
					(now() - interval '3 years', 'anna', 'task.create'), (now() - interval '1 year', 'anna', 'task.create'),
					(now() - interval '1 month', 'anna', 'task.create')`)
			addMonths(t, server)
			sealAll(t, server)
			lines, err := server.DropAuditMonths(t.Context(), -years)
			if err != nil || lines != c.want {
				t.Errorf("%d lines dropped, want %d; error %v", lines, c.want, err)
			}
		})
	}
}

// Tables of the role's own session do not get between the owner's functions and the owner's tables.
func TestGrantedServerCannotMislead(t *testing.T) {
	t.Parallel()
	owner, server := serverRole(t, 0)
	exec(t, owner, `INSERT INTO audit (at, actor, action) VALUES (now() - interval '1 year', 'anna', 'task.create')`)
	addMonths(t, server)
	sealAll(t, server)
	session := begin(t, server)
	var lines int64
	if _, err := session.Exec(t.Context(), `
		CREATE TEMP TABLE audit_retention AS SELECT interval '0' AS at_least;
		CREATE TEMP TABLE audit_default AS SELECT now() AS at`); err != nil {
		t.Fatal(err)
	}
	err := session.QueryRow(t.Context(), `SELECT audit_add_months() + audit_drop_months('1 month')`).Scan(&lines)
	if err != nil || lines != 0 {
		t.Errorf("%d lines moved and dropped, error %v", lines, err)
	}
}

func TestGrantServerRefuses(t *testing.T) {
	t.Parallel()
	pool, address := storagetest.DB(t)
	owner := &storage.DB{Pool: pool}
	super, _ := newRole(t, owner, address, "SUPERUSER")
	var self string
	if err := pool.QueryRow(t.Context(), `SELECT current_user`).Scan(&self); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for word, role := range map[string]string{"no such role": "lh test nobody", "superuser, whom": super} {
		err := storage.GrantServer(t.Context(), pool, role, time.Hour)
		got[word] = err != nil && strings.Contains(err.Error(), word)
	}
	plain, _ := newRole(t, owner, address, "")
	exec(t, owner, `GRANT "`+self+`" TO "`+plain+`"`)
	err := storage.GrantServer(t.Context(), pool, plain, time.Hour)
	got["owns the tables"] = err != nil && strings.Contains(err.Error(), "owns the tables")
	if diff := cmp.Diff(map[string]bool{"no such role": true, "superuser, whom": true, "owns the tables": true}, got); diff != "" {
		t.Errorf("refused with these words (-want +got):\n%s", diff)
	}
}

// An owner who is no superuser, as in somebody else's Postgres, migrates, makes months and drops
// them, and is refused to change the trail by the grants already.
func TestAuditOfPlainOwner(t *testing.T) {
	t.Parallel()
	address := storagetest.EmptyURL(t)
	super := &storage.DB{Pool: emptyPool(t, address)}
	role, ownAddress := newRole(t, super, address, "")
	var name string
	if err := super.Pool.QueryRow(t.Context(), `SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	exec(t, super, `ALTER DATABASE "`+name+`" OWNER TO "`+role+`"`)
	t.Cleanup(func() { // before the role is dropped
		if _, err := super.Pool.Exec(context.Background(), `ALTER DATABASE "`+name+`" OWNER TO CURRENT_USER`); err != nil {
			t.Error(err)
		}
	})
	owner := &storage.DB{Pool: emptyPool(t, ownAddress)}
	if err := storage.Migrate(t.Context(), owner.Pool, migrations.Files, testLogger(t)); err != nil {
		t.Fatal(err)
	}
	exec(t, owner, `INSERT INTO audit (at, actor, action) VALUES (now() - interval '3 years', 'anna', 'task.create')`)
	writeLines(t, owner, 1)
	if moved := addMonths(t, owner); moved != 1 {
		t.Errorf("%d lines moved, want 1", moved)
	}
	sealAll(t, owner)
	mustHold(t, owner, 2)
	if lines, err := owner.DropAuditMonths(t.Context(), 365*24*time.Hour); lines != 1 || err != nil {
		t.Errorf("%d lines dropped, error %v; want 1", lines, err)
	}
	for _, sql := range []string{`UPDATE audit SET actor = ''`, `DELETE FROM audit`, `TRUNCATE audit`, `DELETE FROM audit_seals`} {
		_, err := owner.Pool.Exec(t.Context(), sql)
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" || !strings.Contains(pg.Message, "permission denied") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}
