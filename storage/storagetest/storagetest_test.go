package storagetest

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { Main(m) }

func TestDB(t *testing.T) {
	t.Parallel()
	first, firstURL := DB(t)
	second, secondURL := DB(t)
	if firstURL == secondURL {
		t.Fatalf("two databases at %s", firstURL)
	}
	if _, err := first.Exec(t.Context(), `CREATE TABLE mine ()`); err != nil {
		t.Fatal(err)
	}
	if exists(t, second, "mine") {
		t.Error("a table of one test is in another's database")
	}
	for _, pool := range []*pgxpool.Pool{first, second} {
		if !exists(t, pool, "river_job") {
			t.Error("the database is not migrated")
		}
	}
}

func TestEmptyURL(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), EmptyURL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if exists(t, pool, "river_job") {
		t.Error("the database is migrated")
	}
}

func exists(t *testing.T, pool *pgxpool.Pool, table string) (yes bool) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&yes); err != nil {
		t.Fatal(err)
	}
	return yes
}

// On a server of somebody else everything made is removed again: databases at
// the end of the test, even with a connection left open, the template at the
// end of all.
func TestForeignServer(t *testing.T) {
	t.Parallel()
	url := EmptyURL(t)
	c := newCluster(url)
	var forgotten *pgx.Conn
	t.Run("user", func(t *testing.T) {
		template, err := c.makeTemplate()
		if err != nil {
			t.Fatal(err)
		}
		c.templateName = template
		if forgotten, err = pgx.Connect(t.Context(), c.newDatabase(t, template)); err != nil {
			t.Fatal(err)
		}
	})
	if forgotten == nil {
		t.FailNow()
	}
	if err := forgotten.Ping(t.Context()); err == nil {
		t.Error("the database of a finished test answers")
	}
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), `SELECT datname FROM pg_database WHERE starts_with(datname, $1)`, c.prefix)
	if err != nil {
		t.Fatal(err)
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWithDatabase(t *testing.T) {
	t.Parallel()
	got, err := withDatabase("postgres://u:p%40@/old?host=%2Ftmp%2Fa%20b&port=5432", "new")
	if want := "postgres://u:p%40@/new?host=%2Ftmp%2Fa%20b&port=5432"; err != nil || got != want {
		t.Errorf("withDatabase = %q, %v, want %q", got, err, want)
	}
	if _, err := withDatabase("host=/tmp user=u", "new"); err == nil || !strings.Contains(err.Error(), "postgres://") {
		t.Errorf("of another form: %v", err)
	}
}

func BenchmarkDB(b *testing.B) {
	for b.Loop() {
		URL(b)
	}
}
