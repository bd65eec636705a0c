package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype/zeronull"
)

// ErrCondition says that a file is not as the caller has made its condition.
var ErrCondition = errors.New("condition does not hold")

// File is one of an app's lasting files: a row of the table files with what it needs of contents, or
// an earlier version of one.
type File struct {
	App         string    `json:"app"`
	Path        string    `json:"path"`
	Size        int64     `json:"size"`   // bytes
	SHA256      string    `json:"sha256"` // hexadecimal
	ContentType string    `json:"content_type"`
	Version     int64     `json:"version"` // rises with each content of the path
	ModifiedAt  time.Time `json:"modified_at"`
	ModifiedBy  string    `json:"modified_by"`
	Content     uuid.UUID `json:"-"` // zero in the feed of changes
}

// fileColumns are of files, or file_versions, as f and of contents as c.
const fileColumns = `f.app, f.path, c.size, encode(c.sha256, 'hex'), f.content_type, f.version, f.modified_at, f.modified_by, f.content`

const fromFiles = ` FROM files f JOIN contents c ON c.id = f.content `

func (f *File) fields() []any {
	return []any{&f.App, &f.Path, &f.Size, &f.SHA256, &f.ContentType, &f.Version, &f.ModifiedAt, &f.ModifiedBy, &f.Content}
}

func scanFile(row pgx.CollectableRow) (File, error) {
	var f File
	err := row.Scan(f.fields()...)
	f.ModifiedAt = f.ModifiedAt.UTC()
	return f, err
}

func oneFile(rows pgx.Rows, err error, path string) (File, error) {
	if err != nil {
		return File{}, err
	}
	f, err := pgx.CollectExactlyOneRow(rows, scanFile)
	return f, notFound(err, "file", path)
}

// File returns one file of an app, or ErrNotFound when there is none that the caller may read.
func (s *Scope) File(ctx context.Context, app, path string) (File, error) {
	rows, err := s.db.Pool.Query(ctx, `SELECT `+fileColumns+fromFiles+`WHERE `+inReach+` AND app = $7 AND path = $8`,
		s.reach.values(View|Data, app, path)...)
	return oneFile(rows, err, path)
}

// everyVersion is what File and FileVersions select from, as f: what the files are, and what they
// were.
const everyVersion = ` FROM (
	SELECT app, path, version, content, content_type, modified_at, modified_by, NULL::timestamptz AS replaced_at FROM files
	UNION ALL
	SELECT app, path, version, content, content_type, modified_at, modified_by, replaced_at FROM file_versions
	) AS f JOIN contents c ON c.id = f.content `

// FileAt returns a version of a file, the present one or one that is still kept, or ErrNotFound.
func (s *Scope) FileAt(ctx context.Context, app, path string, version int64) (File, error) {
	rows, err := s.db.Pool.Query(ctx, `SELECT `+fileColumns+everyVersion+`WHERE `+inReach+` AND app = $7 AND path = $8 AND version = $9`,
		s.reach.values(View|Data, app, path, version)...)
	return oneFile(rows, err, fmt.Sprintf("%s, version %d", path, version))
}

// FileVersion is what a file is, or was until it was replaced or deleted.
type FileVersion struct {
	File
	ReplacedAt *time.Time // nil: it is so now
}

// FileVersions returns up to limit versions of a path, those with a number below before (zero: from
// the newest on), the newest first; of a deleted file too. ErrNotFound when the caller may not read
// the app's files.
func (s *Scope) FileVersions(ctx context.Context, app, path string, before int64, limit int) ([]FileVersion, error) {
	rows, err := s.db.Pool.Query(ctx, `
		SELECT `+fileColumns+`, f.replaced_at`+everyVersion+`
		WHERE `+inReach+` AND app = $7 AND path = $8 AND ($9 = 0 OR version < $9) ORDER BY version DESC LIMIT $10`,
		s.reach.values(View|Data, app, path, before, limit)...)
	if err != nil {
		return nil, err
	}
	versions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (FileVersion, error) {
		var v FileVersion
		err := row.Scan(append(v.fields(), &v.ReplacedAt)...)
		v.ModifiedAt = v.ModifiedAt.UTC()
		return v, err
	})
	if err == nil && len(versions) == 0 {
		err = s.mayRead(ctx, app)
	}
	return versions, err
}

// FileFilter selects files of an app.
type FileFilter struct {
	App    string
	Prefix string // only paths that begin so; "" for all
	After  string // only what is behind this, as bytes compare: the last that was told before
	Limit  int    // at most so many
}

// Files returns the files that q selects, by path as bytes compare. ErrNotFound when the caller may
// not read the app's files.
func (s *Scope) Files(ctx context.Context, q FileFilter) ([]File, error) {
	rows, err := s.db.Pool.Query(ctx, `
		SELECT `+fileColumns+fromFiles+`
		WHERE `+inReach+` AND app = $7 AND path >= $8 AND path > $9 AND ($10 = '' OR path < $10)
		ORDER BY path LIMIT $11`, s.reach.values(View|Data, q.App, q.Prefix, q.After, behind(q.Prefix), q.Limit)...)
	if err != nil {
		return nil, err
	}
	files, err := pgx.CollectRows(rows, scanFile)
	if err == nil && len(files) == 0 {
		err = s.mayRead(ctx, q.App)
	}
	return files, err
}

// FileEntry is what one level of folders shows: a file, or a folder in which files are.
type FileEntry struct {
	Path string // of a folder with the / at its end
	File *File  // nil for a folder
}

// FileLevel returns what lies in a folder, files and folders, by path as bytes compare. q.Prefix is
// the folder, with the / at its end ("" for the outermost), or that and how the names begin. Files
// in the folders below are not looked at, however many there are. ErrNotFound when the caller may
// not read the app's files.
func (s *Scope) FileLevel(ctx context.Context, q FileFilter) ([]FileEntry, error) {
	folder := q.Prefix[:strings.LastIndexByte(q.Prefix, '/')+1]
	rows, err := s.db.Pool.Query(ctx, `
		WITH RECURSIVE level AS (
			SELECT NULL::text COLLATE "C" AS path, $9::text COLLATE "C" AS next
			UNION ALL
			SELECT e.entry, CASE WHEN e.entry LIKE '%/' THEN rtrim(e.entry, '/') || '0' ELSE e.entry || E'\x01' END -- 0 is behind /
			FROM level CROSS JOIN LATERAL (
				SELECT CASE WHEN position('/' IN substr(path, length($8) + 1)) = 0 THEN path
					ELSE $8 || split_part(substr(path, length($8) + 1), '/', 1) || '/' END COLLATE "C" AS entry
				FROM files
				WHERE `+inReach+` AND app = $7 AND files.path >= level.next AND ($10 = '' OR files.path < $10)
				ORDER BY files.path LIMIT 1) AS e)
		SELECT l.path, `+fileColumns+`
		FROM (SELECT path FROM level WHERE path IS NOT NULL LIMIT $11) AS l
		LEFT JOIN (files f JOIN contents c ON c.id = f.content) ON f.app = $7 AND f.path = l.path
		ORDER BY l.path`,
		s.reach.values(View|Data, q.App, folder, max(q.Prefix, afterEntry(q.After)), behind(q.Prefix), q.Limit)...)
	if err != nil {
		return nil, err
	}
	entries, err := pgx.CollectRows(rows, scanEntry)
	if err == nil && len(entries) == 0 {
		err = s.mayRead(ctx, q.App)
	}
	return entries, err
}

func scanEntry(row pgx.CollectableRow) (FileEntry, error) {
	var e FileEntry
	var f File
	err := row.Scan(&e.Path, (*zeronull.Text)(&f.App), (*zeronull.Text)(&f.Path), (*zeronull.Int8)(&f.Size), (*zeronull.Text)(&f.SHA256),
		(*zeronull.Text)(&f.ContentType), (*zeronull.Int8)(&f.Version), (*zeronull.Timestamptz)(&f.ModifiedAt),
		(*zeronull.Text)(&f.ModifiedBy), (*zeronull.UUID)(&f.Content))
	if f.Path != "" {
		f.ModifiedAt = f.ModifiedAt.UTC()
		e.File = &f
	}
	return e, err
}

// afterEntry is where what is behind an entry begins.
func afterEntry(entry string) string {
	folder, isFolder := strings.CutSuffix(entry, "/")
	switch {
	case isFolder:
		return folder + "0" // which is behind /
	case entry == "":
		return ""
	}
	return entry + "\x01" // no path has a byte below
}

// mayRead returns ErrNotFound when the caller may not read the app's files.
func (s *Scope) mayRead(ctx context.Context, app string) error {
	var name string
	err := s.db.Pool.QueryRow(ctx, `SELECT name FROM apps WHERE name = $7 AND name IN (SELECT reach($1, $2, $3, $4, $5, $6))`,
		s.reach.values(View|Data, app)...).Scan(&name)
	return notFound(err, "app", app)
}
