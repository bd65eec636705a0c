package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/migrations"
	"longhaul/storage"
	"longhaul/storage/files"
	"longhaul/storage/pgserver"
)

// doctorCmd has the settings of serve: it looks at what a server with them would find.
type doctorCmd struct {
	serveSettings `embed:""`
}

const (
	// doctorTimeout bounds each check.
	doctorTimeout = time.Minute
	// driftAllowed is how far clocks may be apart before that is told, and driftMost before it is a
	// problem: services that speak S3 refuse requests beyond 15 minutes, and leases get short.
	driftAllowed, driftMost = 5 * time.Second, 5 * time.Minute
	// littleSpace is when a disk is nearly full, in bytes.
	littleSpace = 1 << 30
)

// Run checks the settings and all that they name, says of each in a line what it found and what to
// do next, and fails when there is a problem. It disturbs no server, and starts none.
func (c *doctorCmd) Run(ctx context.Context, s *streams) error {
	d := &doctor{doctorCmd: c, out: s.out}
	dir, err := c.dir()
	if err != nil {
		return err
	}
	for _, check := range []func(context.Context, string){d.settings, d.dataFolder, d.database, d.storage, d.signIn} {
		ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
		check(ctx, dir)
		cancel()
	}
	if d.problems > 0 {
		return fmt.Errorf("problems: %d", d.problems)
	}
	return nil
}

type doctor struct {
	*doctorCmd
	out      io.Writer
	problems int
}

func (d *doctor) ok(format string, args ...any) { d.say("ok", format, args...) }

func (d *doctor) warn(format string, args ...any) { d.say("warning", format, args...) }

func (d *doctor) problem(format string, args ...any) {
	d.problems++
	d.say("problem", format, args...)
}

func (d *doctor) say(how, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	_, _ = fmt.Fprintf(d.out, "%-8s %s\n", how, text) // nowhere else to tell
}

func (d *doctor) settings(context.Context, string) {
	err := d.validate()
	if err == nil {
		d.ok("settings: valid")
		return
	}
	for line := range strings.Lines(err.Error()) {
		d.problem("settings: %s", strings.TrimSpace(line))
	}
}

func (d *doctor) dataFolder(_ context.Context, dir string) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		d.warn("data folder: %s is not there yet; longhaul serve makes it", dir)
		return
	}
	file, err := os.CreateTemp(dir, "longhaul-doctor-")
	if err != nil {
		d.problem("data folder: cannot be written: %v; run this as the user that the server runs as, or choose another with LONGHAUL_DATA", err)
		return
	}
	if err := errors.Join(file.Close(), os.Remove(file.Name())); err != nil {
		d.problem("data folder: %v", err)
		return
	}
	d.ok("data folder: %s can be written", dir)
}

// database looks at a database that runs.
func (d *doctor) database(ctx context.Context, dir string) {
	address := d.DatabaseURL
	if address == "" {
		private := filepath.Join(dir, "postgres")
		if _, err := os.Stat(private); errors.Is(err, fs.ErrNotExist) {
			d.warn("database: there is no private Postgres in %s yet; longhaul serve makes it", dir)
			return
		}
		var err error
		if address, err = pgserver.RunningURL(private); err != nil {
			d.warn("database: the private Postgres does not run, and was not looked at; run this while longhaul serve runs")
			return
		}
	}
	pool, err := storage.Connect(ctx, address)
	if err != nil {
		d.problem("database: %v; see that it runs, and that LONGHAUL_DATABASE_URL names it", err)
		return
	}
	defer pool.Close()
	d.databaseState(ctx, pool)
}

func (d *doctor) databaseState(ctx context.Context, pool *pgxpool.Pool) {
	var version string
	var now time.Time
	asked := time.Now()
	if err := pool.QueryRow(ctx, `SELECT current_setting('server_version'), clock_timestamp()`).Scan(&version, &now); err != nil {
		d.problem("database: %v", err)
		return
	}
	drift := now.Sub(asked.Add(time.Since(asked) / 2))
	pending, err := storage.PendingMigrations(ctx, pool, migrations.Files)
	switch {
	case err != nil:
		d.problem("database: %v", err)
	case len(pending) > 0:
		d.warn("database: PostgreSQL %s; %d migrations are to come, the first is %s: longhaul migrate runs them, and longhaul serve at its start", version, len(pending), pending[0].Name)
	default:
		d.ok("database: PostgreSQL %s, its schema is up to date", version)
	}
	d.clock("database", drift)
}

// clock tells how far another clock is apart from this machine's.
func (d *doctor) clock(whose string, drift time.Duration) {
	text := fmt.Sprintf("clock: the %s's and this machine's are %s apart", whose, drift.Abs().Round(time.Second))
	switch {
	case drift.Abs() > driftMost:
		d.problem("%s; set them by NTP", text)
	case drift.Abs() > driftAllowed:
		d.warn("%s; set them by NTP", text)
	default:
		d.ok("%s", text)
	}
}

func (d *doctor) storage(ctx context.Context, dir string) {
	if d.validateStorage() != nil {
		return // told with the settings
	}
	if folder := d.StorageURL; !strings.HasPrefix(folder, bucketScheme) {
		if folder == "" {
			folder = filepath.Join(dir, "uploads")
		}
		if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
			d.warn("storage: the folder %s is not there yet; longhaul serve makes it", folder)
			return
		}
	}
	store, err := d.openStorage(ctx, dir)
	if err != nil {
		d.problem("storage: %v; see LONGHAUL_STORAGE_URL", err)
		return
	}
	defer store.Close() //nolint:errcheck // nothing is open any more
	if err := tryStore(ctx, store); err != nil {
		d.problem("storage: %v", err)
	} else {
		d.ok("storage: a file was written, read and removed")
	}
	if bucket, ok := store.(*files.Bucket); ok {
		d.bucket(ctx, bucket)
		return
	}
	free, err := store.Available(ctx)
	switch {
	case err != nil:
		d.problem("storage: %v", err)
	case free < littleSpace:
		d.warn("storage: only %d MB are free; what does not fit is refused", free/1e6)
	default:
		d.ok("storage: %d GB are free", free/1e9)
	}
}

// tryStore writes a small file, reads it and removes it.
func tryStore(ctx context.Context, store files.Store) (err error) {
	key, text := "longhaul-doctor-"+strings.ToLower(rand.Text()), rand.Text()
	w, err := store.Create(ctx, key)
	if err != nil {
		return fmt.Errorf("write a file: %w", err)
	}
	defer w.Abort() //nolint:errcheck // it has no errors
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write a file: %w", err)
	}
	stored, err := w.Commit()
	if err != nil {
		return fmt.Errorf("write a file: %w", err)
	}
	defer func() { err = errors.Join(err, store.Remove(context.WithoutCancel(ctx), key)) }()
	file, err := store.Open(ctx, key)
	if err != nil {
		return fmt.Errorf("read a file: %w", err)
	}
	defer file.Close() //nolint:errcheck // read only
	got, err := io.ReadAll(file)
	if err == nil && (stored.SHA256 != sha256.Sum256([]byte(text)) || string(got) != text) {
		err = errors.New("what is read is not what was written")
	}
	return err
}

// bucket looks at the rights that the credentials have, and at the rules of the bucket.
func (d *doctor) bucket(ctx context.Context, bucket *files.Bucket) {
	trials, drift := bucket.Probe(ctx)
	failed := 0
	for _, trial := range trials {
		if trial.Err != nil {
			failed++
			d.problem("bucket: %s: %v; allow it (docs/operations.md, Object storage)", trial.What, trial.Err)
		}
	}
	if failed == 0 {
		d.ok("bucket: the credentials may do all that is needed")
	}
	d.clock("bucket", drift)
	d.leftovers(bucket.LeftoverRule(ctx))
	d.cors(ctx, bucket)
}

// leftovers looks at the rule that removes the parts of uploads which broke off.
func (d *doctor) leftovers(days int, known bool, err error) {
	switch keep := d.KeepUploads; {
	case err != nil:
		d.problem("bucket: %v", err)
	case !known:
		d.warn("bucket: whether a life-cycle rule removes left-over parts is not told; allow s3:GetLifecycleConfiguration, or see to it yourself (docs/operations.md, Object storage)")
	case days == 0:
		d.warn("bucket: %s", leftoverWarning(days, known, err))
	case time.Duration(days)*24*time.Hour <= keep:
		d.problem("bucket: its life-cycle rule removes parts %d days after an upload began, and LONGHAUL_KEEP_UPLOADS keeps unfinished uploads for %s after their last byte: give the rule some weeks more than that", days, keep)
	default:
		d.ok("bucket: a life-cycle rule removes left-over parts after %d days", days)
	}
}

// cors looks at what the bucket allows the pages that may send straight to it.
func (d *doctor) cors(ctx context.Context, bucket *files.Bucket) {
	origins := slices.Clone(d.CORSOrigins)
	if u, err := url.Parse(d.PublicURL); err == nil && u.Host != "" {
		origins = append(origins, u.Scheme+"://"+u.Host)
	}
	if len(origins) == 0 {
		d.ok("bucket: neither LONGHAUL_PUBLIC_URL nor LONGHAUL_CORS_ORIGINS names an origin whose pages could send straight to it")
	}
	for _, origin := range slices.Compact(slices.Sorted(slices.Values(origins))) {
		lacks, known, err := bucket.CORS(ctx, origin)
		switch {
		case err != nil:
			d.problem("bucket: %v", err)
		case !known:
			d.warn("bucket: its CORS rules are not told; allow s3:GetBucketCORS, or see to them yourself (docs/operations.md, Object storage)")
		case lacks != "":
			d.warn("bucket: pages of %s cannot send straight to it, its CORS rules lack %s (docs/operations.md, Object storage)", origin, lacks)
		default:
			d.ok("bucket: pages of %s can send straight to it", origin)
		}
	}
}

// signIn asks the provider for its document, as the first sign-in does.
func (d *doctor) signIn(ctx context.Context, _ string) {
	if d.local() {
		d.ok("sign-in: by the admin token")
		return
	}
	provider, err := d.provider(slog.New(slog.DiscardHandler))
	if err != nil {
		return // told with the settings
	}
	if _, _, err := provider.Begin(ctx, strings.TrimSuffix(d.PublicURL, "/")+"/sign-in/callback"); err != nil {
		d.problem("sign-in: %v; see LONGHAUL_OIDC_ISSUER", err)
		return
	}
	d.ok("sign-in: the provider at %s answers", d.OIDCIssuer)
}
