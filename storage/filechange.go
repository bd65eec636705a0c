package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Condition is what a change of a file asks of what the path has at that moment; the zero value asks
// nothing.
type Condition struct {
	Exists bool     // there is a file: If-Match: *
	Match  []string // it has one of these digests, SHA-256 in hexadecimal: If-Match
	Absent bool     // there is none: If-None-Match: *
}

// check returns ErrCondition when the present file, nil for none, is not as c asks.
func (c Condition) check(path string, present *File) error {
	switch {
	case c.Absent && present != nil:
		return fmt.Errorf("file %s is there already: %w", path, ErrCondition)
	case (c.Exists || len(c.Match) > 0) && present == nil:
		return fmt.Errorf("file %s is not there: %w", path, ErrCondition)
	case len(c.Match) > 0 && !slices.Contains(c.Match, present.SHA256):
		return fmt.Errorf("file %s was changed: %w", path, ErrCondition)
	}
	return nil
}

// FilePut is a file that is to be made, or to get another content.
type FilePut struct {
	App, Path   string
	Content     uuid.UUID
	ContentType string
	If          Condition
}

// FileMove is a file that is to have another path, or a second one. What is there is replaced.
type FileMove struct {
	App      string
	From, To string
	If       Condition // of what To has
}

// Changed is what a change of a file has come to.
type Changed struct {
	File    File // as it now is
	Created bool // the path had none before
	// Told is whether the feed has something new: not when the path had these very bytes and this
	// very type.
	Told bool
}

// PutFile gives a path a content. What the path had is kept as an earlier version. line is written
// when something was changed; the file is by its actor. Its errors wrap ErrPath; ErrNotFound where
// the caller may not change the app's files; ErrCondition; ErrConflict when a file lies where the
// path needs a folder, or the other way round; ErrContentGone.
//
// Writers of one path, here and in the functions below, go one after the other until they have
// committed. A transaction that changes several paths takes them in the order of their names, or two
// of them may wait for each other until Postgres ends one.
func PutFile(ctx context.Context, tx pgx.Tx, r Reach, put FilePut, line Audit) (Changed, error) {
	if err := CheckPath(put.Path); err != nil {
		return Changed{}, err
	}
	if err := lockPaths(ctx, tx, r, put.App, foldersOf(put.Path), put.Path); err != nil {
		return Changed{}, err
	}
	var batch fileBatch
	changed, err := batch.put(ctx, tx, put, line.Actor, "")
	if err != nil || !changed.Told {
		return changed, err
	}
	return changed, batch.write(ctx, tx, line)
}

// DeleteFile removes a file; what it was is kept as an earlier version. ErrNotFound when there is
// none that the caller may delete; ErrCondition. line is written with it.
func DeleteFile(ctx context.Context, tx pgx.Tx, r Reach, app, path string, cond Condition, line Audit) error {
	if err := lockPaths(ctx, tx, r, app, nil, path); err != nil {
		return err
	}
	present, err := filePresent(ctx, tx, app, path)
	if err == nil {
		err = cond.check(path, &present)
	}
	if err != nil {
		return err
	}
	var batch fileBatch
	batch.delete(&present)
	return batch.write(ctx, tx, line)
}

// MoveFile gives a file another path, and no byte moves. ErrNotFound when there is no such file;
// else as PutFile.
func MoveFile(ctx context.Context, tx pgx.Tx, r Reach, move FileMove, line Audit) (Changed, error) {
	source, err := moving(ctx, tx, r, move)
	if err != nil {
		return Changed{}, err
	}
	if move.From == move.To {
		return Changed{}, fmt.Errorf("move file %s to where it is: %w", move.From, ErrConflict)
	}
	var batch fileBatch
	batch.delete(&source)
	changed, err := batch.put(ctx, tx, move.put(&source), line.Actor, move.From)
	if err != nil {
		return Changed{}, err
	}
	changed.Told = true // of the path it had, at least
	return changed, batch.write(ctx, tx, line)
}

// CopyFile gives a path the content of another one, and no byte moves. ErrNotFound when there is no
// such file; else as PutFile.
func CopyFile(ctx context.Context, tx pgx.Tx, r Reach, move FileMove, line Audit) (Changed, error) {
	source, err := moving(ctx, tx, r, move)
	if err != nil {
		return Changed{}, err
	}
	var batch fileBatch
	changed, err := batch.put(ctx, tx, move.put(&source), line.Actor, "")
	if err != nil || !changed.Told {
		return changed, err
	}
	return changed, batch.write(ctx, tx, line)
}

// moving locks what a move or a copy needs and returns the file it begins with.
func moving(ctx context.Context, tx pgx.Tx, r Reach, move FileMove) (File, error) {
	if err := CheckPath(move.To); err != nil {
		return File{}, err
	}
	if err := lockPaths(ctx, tx, r, move.App, foldersOf(move.To), move.From, move.To); err != nil {
		return File{}, err
	}
	return filePresent(ctx, tx, move.App, move.From)
}

func (m *FileMove) put(source *File) FilePut {
	return FilePut{App: m.App, Path: m.To, Content: source.Content, ContentType: source.ContentType, If: m.If}
}

// lockPaths keeps others from changing the paths of an app, and from making a file where one of the
// folders is, until the end of the transaction. The locks are taken in one order by all. ErrNotFound
// when the caller may not change the app's files.
func lockPaths(ctx context.Context, tx pgx.Tx, r Reach, app string, folders []string, paths ...string) error {
	tag, err := tx.Exec(ctx, `
		SELECT CASE WHEN whole THEN pg_advisory_xact_lock(key)::text ELSE pg_advisory_xact_lock_shared(key)::text END
		FROM (
			SELECT hashtextextended('longhaul file ' || $7::text || '/' || path, 0) AS key, bool_or(whole) AS whole
			FROM (SELECT unnest($8::text[]), false UNION ALL SELECT unnest($9::text[]), true) AS wanted (path, whole)
			WHERE $7 IN (SELECT reach($1, $2, $3, $4, $5, $6))
			GROUP BY key ORDER BY key) AS locks`,
		r.values(View|Operate|Data, app, noneNil(folders), paths)...)
	if err == nil && tag.RowsAffected() == 0 {
		return fmt.Errorf("app %s: %w", app, ErrNotFound)
	}
	return err
}

// filePresent returns the file of a locked path, or ErrNotFound.
func filePresent(ctx context.Context, tx pgx.Tx, app, path string) (File, error) {
	rows, err := tx.Query(ctx, `SELECT `+fileColumns+fromFiles+`WHERE app = $1 AND path = $2`, app, path)
	return oneFile(rows, err, path)
}

// ground is what a file that is put stands on.
type ground struct {
	now     time.Time
	version int64 // the highest that the path had
	file    *string
	below   *string
}

// lookAround holds a content, so that it is not removed, and fills f with what is known of it.
// without is a path that is about to be free.
func lookAround(ctx context.Context, tx pgx.Tx, f *File, without string) (ground, error) {
	var g ground
	err := tx.QueryRow(ctx, `
		SELECT now(), c.size, encode(c.sha256, 'hex'),
			greatest((SELECT version FROM files WHERE app = $2 AND path = $3),
				(SELECT max(version) FROM file_versions WHERE app = $2 AND path = $3), 0),
			(SELECT path FROM files WHERE app = $2 AND path = ANY($4) AND path <> $5 LIMIT 1),
			(SELECT path FROM files WHERE app = $2 AND path > $3 || '/' AND path < $3 || '0' AND path <> $5 LIMIT 1)
		FROM contents c WHERE c.id = $1 AND c.doomed_at IS NULL FOR KEY SHARE`,
		f.Content, f.App, f.Path, foldersOf(f.Path), without).Scan(&g.now, &f.Size, &f.SHA256, &g.version, &g.file, &g.below)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return g, fmt.Errorf("content %s: %w", f.Content, ErrContentGone)
	case err != nil:
		return g, err
	}
	return g, inTheWay(f.Path, g.file, g.below)
}

// inTheWay returns ErrConflict when a file lies where a path needs a folder, or below the path.
func inTheWay(path string, file, below *string) error {
	switch {
	case file != nil:
		return fmt.Errorf("%s is a file, so that nothing can lie below it: %w", *file, ErrConflict)
	case below != nil:
		return fmt.Errorf("%s is a folder, in which %s lies: %w", path, *below, ErrConflict)
	}
	return nil
}

// fileBatch collects the statements of a change of files.
type fileBatch struct {
	pgx.Batch
	released []uuid.UUID // contents that lose a reference
}

// put queues what gives a locked path its content, unless nothing would change.
func (b *fileBatch) put(ctx context.Context, tx pgx.Tx, put FilePut, by, without string) (Changed, error) {
	var present *File
	switch f, err := filePresent(ctx, tx, put.App, put.Path); {
	case err == nil:
		present = &f
	case !errors.Is(err, ErrNotFound):
		return Changed{}, err
	}
	if err := put.If.check(put.Path, present); err != nil {
		return Changed{}, err
	}
	if present != nil && present.Content == put.Content && present.ContentType == put.ContentType {
		return Changed{File: *present}, nil
	}
	f := File{App: put.App, Path: put.Path, Content: put.Content, ContentType: put.ContentType, ModifiedBy: by}
	g, err := lookAround(ctx, tx, &f, without)
	if err != nil {
		return Changed{}, err
	}
	f.Version, f.ModifiedAt = g.version+1, g.now.UTC()
	if present != nil {
		b.keep(present)
	}
	b.Queue(`
		INSERT INTO files (app, path, version, content, content_type, modified_at, modified_by) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (app, path) DO UPDATE SET version = excluded.version, content = excluded.content,
			content_type = excluded.content_type, modified_at = excluded.modified_at, modified_by = excluded.modified_by`,
		f.App, f.Path, f.Version, f.Content, f.ContentType, f.ModifiedAt, f.ModifiedBy)
	b.Queue(`INSERT INTO changes (app, path, op, file) VALUES ($1, $2, 'put', $3)`, f.App, f.Path, &f)
	return Changed{File: f, Created: present == nil, Told: true}, nil
}

// delete queues what removes a locked file.
func (b *fileBatch) delete(f *File) {
	b.keep(f)
	b.Queue(`DELETE FROM files WHERE app = $1 AND path = $2`, f.App, f.Path)
	b.Queue(`INSERT INTO changes (app, path, op) VALUES ($1, $2, 'delete')`, f.App, f.Path)
}

// keep queues what makes the present file an earlier version.
func (b *fileBatch) keep(f *File) {
	b.released = append(b.released, f.Content)
	b.Queue(`
		INSERT INTO file_versions (app, path, version, content, content_type, modified_at, modified_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		f.App, f.Path, f.Version, f.Content, f.ContentType, f.ModifiedAt, f.ModifiedBy)
}

// write runs what was queued, and writes the line.
func (b *fileBatch) write(ctx context.Context, tx pgx.Tx, line Audit) error {
	b.Queue(insertAudit, line.values()...)
	if err := lockReleased(ctx, tx, b.released); err != nil {
		return err
	}
	return tx.SendBatch(ctx, &b.Batch).Close()
}

// lockReleased locks the rows of contents that are about to lose a reference, which the triggers
// will change, in one order by all.
func lockReleased(ctx context.Context, tx pgx.Tx, contents []uuid.UUID) error {
	if len(contents) < 2 {
		return nil
	}
	_, err := tx.Exec(ctx, `SELECT FROM contents WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE`, contents)
	return err
}

// ExpireVersions deletes up to limit earlier versions that were replaced, or deleted, more than age
// ago, and returns how many. What others have locked, the content's row too, is left for the next
// time: who deletes many waits for nobody.
func (d *DB) ExpireVersions(ctx context.Context, age time.Duration, limit int) (int64, error) {
	tag, err := d.Pool.Exec(ctx, `
		WITH old AS (
			SELECT v.app, v.path, v.version FROM file_versions v JOIN contents c ON c.id = v.content
			WHERE v.replaced_at < now() - $1::interval
			ORDER BY v.replaced_at LIMIT $2 FOR UPDATE OF v SKIP LOCKED FOR NO KEY UPDATE OF c SKIP LOCKED)
		DELETE FROM file_versions v USING old WHERE v.app = old.app AND v.path = old.path AND v.version = old.version`, age, limit)
	return tag.RowsAffected(), err
}
