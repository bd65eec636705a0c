// Package storagetest gives tests a real Postgres: one private cluster for each
// test binary, started by the first test that asks, and in it one database for
// each test, cloned from a template that has every migration applied.
//
// With TEST_DATABASE_URL set that server is used instead; its user must be
// allowed to create databases. Everything made is removed at the end.
//
// Only tests may import this package. Each package that does has
//
//	func TestMain(m *testing.M) { storagetest.Main(m) }
package storagetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/migrations"
	"longhaul/storage"
	"longhaul/storage/pgserver"
)

// setupTimeout bounds each thing done for a test outside of it.
const setupTimeout = 2 * time.Minute

// shared is the test binary's cluster, made at the first use. It is the one
// global here, since a test binary has no other place that outlives a test.
var shared struct {
	once    sync.Once
	cluster *cluster
	err     error
}

// cluster is the server that holds the test databases.
type cluster struct {
	url    string           // of a database to give orders from
	prefix string           // of every database we make
	server *pgserver.Server // nil when the server is not ours
	dir    string           // its folder
	lock   *pgserver.DirLock

	template     sync.Once
	templateName string
	templateErr  error
}

// Main runs the tests, stops the cluster if one was started, and exits.
func Main(m *testing.M) {
	code := m.Run()
	if shared.cluster != nil {
		if err := shared.cluster.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "storagetest:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code) //nolint:revive // for TestMain, which ends so
}

// DB makes a migrated database for the test and a pool of connections to it.
// At the end of the test the pool is closed and the database dropped. The URL is
// for those who make connections of their own.
func DB(t testing.TB) (pool *pgxpool.Pool, url string) {
	t.Helper()
	url = URL(t)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatalf("storagetest: connect: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool, url
}

// URL makes a migrated database for the test, dropped at its end.
func URL(t testing.TB) string {
	t.Helper()
	c := sharedCluster(t)
	c.template.Do(func() { c.templateName, c.templateErr = c.makeTemplate() })
	if c.templateErr != nil {
		t.Fatalf("storagetest: make template: %v", c.templateErr)
	}
	return c.newDatabase(t, c.templateName)
}

// EmptyURL makes a database without any table for the test, dropped at its end.
func EmptyURL(t testing.TB) string {
	t.Helper()
	return sharedCluster(t).newDatabase(t, "template0")
}

func sharedCluster(t testing.TB) *cluster {
	t.Helper()
	shared.once.Do(func() { shared.cluster, shared.err = startCluster() })
	if shared.err != nil {
		t.Fatalf("storagetest: %v", shared.err)
	}
	return shared.cluster
}

// newCluster is for a server that is there; nothing is done to it yet.
func newCluster(connection string) *cluster {
	return &cluster{url: connection, prefix: "longhaul_test_" + strings.ToLower(rand.Text()[:8])}
}

func startCluster() (*cluster, error) {
	c := newCluster(os.Getenv("TEST_DATABASE_URL"))
	if c.url != "" {
		return c, nil
	}
	base := tempBase()
	removeAbandoned(base)
	dir, err := os.MkdirTemp(base, tempPattern)
	if err != nil {
		return nil, err
	}
	// Tests run by root have a server that another user runs, who passes here.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // only to be passed through
		return nil, err
	}
	if c.lock, err = pgserver.Lock(dir); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	c.dir = dir
	c.server, err = pgserver.Start(ctx, pgserver.Config{
		Dir:    filepath.Join(dir, "postgres"),
		Logger: slog.New(slog.DiscardHandler),
		Fast:   true,
	})
	if err != nil {
		return nil, errors.Join(err, c.lock.Unlock(), os.RemoveAll(dir))
	}
	c.url = c.server.URL()
	return c, nil
}

// stop drops the template, or stops the whole cluster where it is ours.
func (c *cluster) stop() error {
	if c.server == nil {
		if c.templateName == "" {
			return nil
		}
		return c.order(dropDatabase(c.templateName))
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	return errors.Join(c.server.Stop(ctx), c.lock.Unlock(), os.RemoveAll(c.dir))
}

const (
	tempPattern = "longhaul-pgtest-*"
	// shmRoom is far more than a test binary's databases take.
	shmRoom = 2 << 30
)

// tempBase is where the cluster goes: into memory where there is room, since
// making a database is making three hundred files, and takes three times as long
// on a disk. TMPDIR overrides it.
func tempBase() string {
	const shm = "/dev/shm"
	var stat syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(shm, &stat) != nil || syscall.Access(shm, 2) != nil {
		return os.TempDir()
	}
	if free := stat.Bavail * uint64(stat.Bsize); free < shmRoom {
		return os.TempDir()
	}
	return shm
}

// removeAbandoned clears the folders of test binaries that were killed; the
// kernel stopped their servers. A young one is left alone: it may be about to be
// locked.
func removeAbandoned(base string) {
	dirs, err := filepath.Glob(filepath.Join(base, tempPattern))
	if err != nil {
		return // a TMPDIR that is no pattern; nothing is lost but space
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		lock, err := pgserver.Lock(dir)
		if err != nil {
			continue // in use, or another user's
		}
		_ = os.RemoveAll(dir) // what stays is tried again next time
		_ = lock.Unlock()     // the file is gone with the folder
	}
}

func (c *cluster) makeTemplate() (string, error) {
	name := c.prefix + "_template"
	if err := c.order("CREATE DATABASE " + name + " TEMPLATE template0"); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	databaseURL, err := withDatabase(c.url, name)
	if err != nil {
		return "", err
	}
	pool, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	return name, storage.Migrate(ctx, pool, migrations.Files, slog.New(slog.DiscardHandler))
}

func (c *cluster) newDatabase(t testing.TB, template string) string {
	t.Helper()
	name := c.prefix + "_" + strings.ToLower(rand.Text()[:10])
	if err := c.order("CREATE DATABASE " + name + " TEMPLATE " + template); err != nil {
		t.Fatalf("storagetest: make database: %v", err)
	}
	t.Cleanup(func() {
		if err := c.order(dropDatabase(name)); err != nil {
			t.Errorf("storagetest: drop database: %v", err)
		}
	})
	databaseURL, err := withDatabase(c.url, name)
	if err != nil {
		t.Fatalf("storagetest: %v", err)
	}
	return databaseURL
}

// dropDatabase cuts connections a test left open, so that one careless test is
// not the failure of another.
func dropDatabase(name string) string { return "DROP DATABASE IF EXISTS " + name + " WITH (FORCE)" }

// order runs one statement on the server, outside of any test's database.
func (c *cluster) order(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// withDatabase is the connection string with another database in it.
func withDatabase(connection, name string) (string, error) {
	u, err := url.Parse(connection)
	if err != nil || u.Scheme == "" {
		return "", errors.New("TEST_DATABASE_URL is not of the form postgres://user:password@host/database")
	}
	u.Path = "/" + name
	return u.String(), nil
}
