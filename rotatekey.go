package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/migrations"
	"longhaul/storage"
	"longhaul/storage/pgserver"
)

type rotateKeyCmd struct {
	dataSettings `embed:""`
	keySettings  `embed:""`
}

// settleTime is how long a running server may take to store what it has sealed with the old key,
// after it could have known of the new one.
const settleTime = 2 * time.Second

// Run replaces the key that stored secrets are sealed with, while servers run. It can be broken
// off at any moment; the next run goes on.
func (c *rotateKeyCmd) Run(ctx context.Context, s *streams) error {
	if err := c.validateKeys(); err != nil {
		return err
	}
	dir, err := c.dir()
	if err != nil {
		return err
	}
	db, err := joinDatabase(ctx, &c.dataSettings, dir, c.logger(s.err))
	if err != nil {
		return err
	}
	defer db.close()
	unlock, err := storage.LockRotation(ctx, db.pool)
	if err != nil {
		return err
	}
	defer unlock()
	r := &rotation{pool: db.pool, streams: s}
	if c.SecretKey != "" {
		return r.given(ctx, &c.keySettings)
	}
	return r.file(ctx, c.keyFile(dir))
}

// rotation is one run of rotate-key.
type rotation struct {
	*streams
	pool     *pgxpool.Pool
	resealed int
}

func (r *rotation) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, format+"\n", args...) // nowhere else to tell
}

// given replaces a key that comes from the environment, or from flags: whoever set the new one
// keeps it.
func (r *rotation) given(ctx context.Context, k *keySettings) error {
	if k.SecretKeyOld == "" {
		return errors.New("LONGHAUL_SECRET_KEY_OLD is missing. To replace a key that the environment holds: " +
			"start the servers anew with the new key in LONGHAUL_SECRET_KEY and the one before in LONGHAUL_SECRET_KEY_OLD, " +
			"run longhaul rotate-key with the same two, then start the servers anew without the old one")
	}
	sealer, err := k.given()
	if err != nil {
		return err
	}
	if err := storage.CheckKey(ctx, r.pool, sealer); err != nil {
		return err
	}
	if err := r.reseal(ctx, sealer); err != nil {
		return err
	}
	r.say("LONGHAUL_SECRET_KEY_OLD is not needed any more: start the servers anew without it. Backups of the database from before need that key.")
	return nil
}

// file replaces the key in a key file: the new key in front, every secret under it, the old key
// gone. Servers that run notice the file by themselves.
func (r *rotation) file(ctx context.Context, path string) error {
	before, err := storage.ReadKeyFile(path)
	if err != nil {
		return err
	}
	// Before anything changes: a wrong file must not be made worse.
	if err := storage.CheckKey(ctx, r.pool, before); err != nil {
		return err
	}
	added, err := storage.AddKey(path)
	if err != nil {
		return fmt.Errorf("%w; where the file cannot be written by this command, put a new key (openssl rand -base64 32) on a line before the old one yourself, and run it again", err)
	}
	sealer, err := storage.ReadKeyFile(path)
	if err != nil {
		return err
	}
	if added {
		r.say("Made key %s and put it into %s; key %s still opens what it sealed.", sealer.KeyID(), path, before.KeyID())
	} else {
		r.say("%s has several keys: going on with the first, %s.", path, sealer.KeyID())
	}
	if err := r.settle(ctx, sealer); err != nil {
		return err
	}
	return r.drop(ctx, path, sealer)
}

// settle encrypts everything anew, and what running servers were still storing at that moment.
func (r *rotation) settle(ctx context.Context, sealer *storage.Sealer) error {
	first, err := storage.Reseal(ctx, r.pool, sealer)
	if err != nil {
		return err
	}
	r.resealed = first.Count
	select {
	case <-time.After(settleTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.reseal(ctx, sealer)
}

// reseal encrypts everything anew and ends the rotation in the database.
func (r *rotation) reseal(ctx context.Context, sealer *storage.Sealer) error {
	done, err := storage.Reseal(ctx, r.pool, sealer)
	if err != nil {
		return err
	}
	if len(done.Stuck) > 0 {
		return fmt.Errorf("no key at hand opens the secrets of %s: tell them to the server again, or delete what they belong to, and run this command again; the old key is kept until then",
			strings.Join(done.Stuck, ", "))
	}
	_, err = storage.EndRotation(ctx, r.pool, sealer, storage.Audit{
		Actor: "longhaul", Action: "key.rotate", Object: sealer.KeyID().String(), Detail: "longhaul rotate-key, run by the system's user " + osUser(),
	})
	if err != nil {
		return err
	}
	r.say("Encrypted %d stored secrets anew: all are under key %s.", r.resealed+done.Count, sealer.KeyID())
	return nil
}

// drop takes the old keys out of the file. It looks once more afterwards: what a server stored
// very late can be saved as long as this process has the old key.
func (r *rotation) drop(ctx context.Context, path string, sealer *storage.Sealer) error {
	dropped, err := storage.DropOldKeys(path, sealer.KeyID())
	if err != nil {
		return fmt.Errorf("%w; all is sealed with the first key: take the lines below it out of the file yourself", err)
	}
	if dropped {
		r.say("Took the old key out of %s. Backups of the database from before need it.", path)
	}
	_, err = storage.Reseal(ctx, r.pool, sealer)
	return err
}

// osUser is who runs this command, for the audit.
func osUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

// joinDatabase connects to the database for a command that works beside a serving process, or
// starts the private Postgres for it when none runs. The schema must be up to date.
func joinDatabase(ctx context.Context, c *dataSettings, dir string, logger *slog.Logger) (*database, error) {
	db, err := openBeside(ctx, c, dir, logger)
	if err != nil {
		return nil, err
	}
	pending, err := storage.PendingMigrations(ctx, db.pool, migrations.Files)
	if err == nil && len(pending) > 0 {
		err = errors.New("the database's schema is not up to date; run longhaul migrate, or start the server, first")
	}
	if err != nil {
		db.close()
		return nil, err
	}
	return db, nil
}

func openBeside(ctx context.Context, c *dataSettings, dir string, logger *slog.Logger) (*database, error) {
	address := c.DatabaseURL
	if address == "" {
		private := filepath.Join(dir, "postgres")
		if _, err := os.Stat(private); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no database in %s; give the LONGHAUL_DATA or the LONGHAUL_DATABASE_URL that the server has", dir)
		}
		db, err := openDatabase(ctx, c, dir, logger)
		if _, serving := errors.AsType[*pgserver.LockedError](err); !serving {
			return db, err
		}
		if address, err = pgserver.RunningURL(private); err != nil {
			return nil, err
		}
	}
	pool, err := storage.Connect(ctx, address)
	if err != nil {
		return nil, err
	}
	return &database{pool: pool, close: pool.Close}, nil
}
