package jobs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"path"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
	"longhaul/storage/content"
	"longhaul/storage/files"
)

// FilePut says which file of an app is to get which bytes, and on which condition.
type FilePut struct {
	App, Path string
	// ContentType is the media type as the caller tells it; empty: as the name tells.
	ContentType string
	If          storage.Condition
	By          Caller
}

func (p *FilePut) storage(content uuid.UUID, mediaType string) storage.FilePut {
	return storage.FilePut{App: p.App, Path: p.Path, Content: content, ContentType: cmp.Or(mediaType, MediaType(p.Path)), If: p.If}
}

func (p *FilePut) line(action, detail string) storage.Audit {
	line := p.By.Audit(action, p.App, p.Path)
	line.Detail = detail
	return line
}

// PutFile gives a file the bytes of r, of which there are size; -1: that is not known. What can be
// refused is refused before r is read, and nothing is kept of what is refused later. The errors of r
// are returned as they are; else they are those of [storage.PutFile], and [files.ErrFull].
func (e *Engine) PutFile(ctx context.Context, put FilePut, r io.Reader, size int64) (storage.Changed, error) {
	if err := e.mayPut(ctx, &put, size); err != nil {
		return storage.Changed{}, err
	}
	taken, err := e.contents.Take(ctx, r, content.Hint{Name: put.Path, Type: put.ContentType, Size: size})
	if err != nil {
		return storage.Changed{}, err
	}
	return e.putContent(ctx, &put, taken.ID, put.ContentType, put.line("file.put", ""), nil)
}

// mayPut says beforehand what will be refused.
func (e *Engine) mayPut(ctx context.Context, put *FilePut, size int64) error {
	if err := e.db.For(put.By.Reach).CheckPut(ctx, put.storage(uuid.Nil, "")); err != nil {
		return err
	}
	free, err := e.files.Available(ctx)
	if err == nil && size > free {
		err = fmt.Errorf("%d bytes announced, %d free: %w", size, free, files.ErrFull)
	}
	return err
}

// putContent gives a file a content that was taken in, and with it does what also says. When that
// comes to nothing, the content is let go.
func (e *Engine) putContent(ctx context.Context, put *FilePut, id uuid.UUID, mediaType string, line storage.Audit, also func(pgx.Tx) error,
) (storage.Changed, error) {
	changed, err := e.changeFile(ctx, func(tx pgx.Tx) (storage.Changed, error) {
		changed, err := storage.PutFile(ctx, tx, put.By.Reach, put.storage(id, mediaType), line)
		if err == nil && also != nil {
			err = also(tx)
		}
		return changed, err
	})
	if err == nil {
		return changed, nil
	}
	if err := e.contents.Release(context.WithoutCancel(ctx), id); err != nil {
		e.logger.WarnContext(ctx, "a content that nothing refers to is left to the sweep", "content", id, "error", err)
	}
	return changed, err
}

// changeFile makes a change in a transaction, and tells those who wait.
func (e *Engine) changeFile(ctx context.Context, change func(pgx.Tx) (storage.Changed, error)) (changed storage.Changed, err error) {
	err = e.db.InTx(ctx, func(tx pgx.Tx) error {
		changed, err = change(tx)
		return err
	})
	if err == nil && changed.Told {
		e.filesChanged()
	}
	return changed, err
}

// PutUpload gives a file the bytes of the caller's finished upload, which is used by that. The
// errors are those of [storage.UsableUpload] and [storage.PutFile].
func (e *Engine) PutUpload(ctx context.Context, put FilePut, id uuid.UUID) (storage.Changed, error) {
	upload, err := e.usableUpload(ctx, id, put.By, put.App)
	if err != nil {
		return storage.Changed{}, err
	}
	mediaType, _, err := mime.ParseMediaType(upload.ContentType)
	if err != nil || mediaType == octets {
		mediaType = ""
	}
	use := func(tx pgx.Tx) error {
		return storage.UseUpload(ctx, tx, id, put.By.Person, put.App, put.App+"/"+put.Path, *upload.Content)
	}
	changed, err := e.putContent(ctx, &put, *upload.Content, mediaType, put.line("file.put", "upload "+id.String()), use)
	if err == nil {
		e.uploadChanged(&upload)
	}
	return changed, err
}

// PutOutput gives a file the bytes of a task's output, which the caller may read, without moving
// them. The errors are those of [storage.PutFile], and one that wraps [io/fs.ErrNotExist] when the
// output's file is gone.
func (e *Engine) PutOutput(ctx context.Context, put FilePut, t *storage.Task, o storage.Output) (storage.Changed, error) {
	if err := e.mayPut(ctx, &put, 0); err != nil {
		return storage.Changed{}, err
	}
	taken, err := e.takeOutput(ctx, t, o)
	if err != nil {
		return storage.Changed{}, err
	}
	return e.putContent(ctx, &put, taken.ID, MediaType(o.Path), put.line("file.put", "output "+o.Path+" of task "+t.ID.String()), nil)
}

// takeOutput makes a content of a task's output.
func (e *Engine) takeOutput(ctx context.Context, t *storage.Task, o storage.Output) (storage.Content, error) {
	digest, err := hex.DecodeString(o.SHA256)
	if err != nil {
		return storage.Content{}, fmt.Errorf("digest of output %s of task %s: %w", o.Path, t.ID, err)
	}
	sums, err := e.db.OutputSums(ctx, t.ID, o.Path)
	if err == nil && len(digest) == sha256.Size {
		return e.contents.Adopt(ctx, path.Join(t.Folder(), outboundFolder, o.Path), o.Size, [sha256.Size]byte(digest), sums)
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return storage.Content{}, err
	}
	file, err := e.OpenOutput(ctx, t, o.Path) // it is of before checksums were kept
	if err != nil {
		return storage.Content{}, err
	}
	defer file.Close() //nolint:errcheck // read only
	return e.contents.Take(ctx, file, content.Hint{Name: o.Path, Size: o.Size})
}

// CopyFile gives a file the bytes of another one of the app, as it is now or, where version is not
// zero, as it was. The errors are those of [storage.CopyFile].
func (e *Engine) CopyFile(ctx context.Context, put FilePut, from string, version int64) (storage.Changed, error) {
	if version == 0 {
		move, line := put.from(from), put.line("file.copy", "from "+from)
		return e.changeFile(ctx, func(tx pgx.Tx) (storage.Changed, error) {
			return storage.CopyFile(ctx, tx, put.By.Reach, move, line)
		})
	}
	was, err := e.db.For(put.By.Reach).FileAt(ctx, put.App, from, version)
	if err != nil {
		return storage.Changed{}, err
	}
	line := put.line("file.copy", fmt.Sprintf("from %s, version %d", from, version))
	return e.changeFile(ctx, func(tx pgx.Tx) (storage.Changed, error) {
		return storage.PutFile(ctx, tx, put.By.Reach, put.storage(was.Content, was.ContentType), line)
	})
}

// MoveFile gives a file of the app another path. The errors are those of [storage.MoveFile].
func (e *Engine) MoveFile(ctx context.Context, put FilePut, from string) (storage.Changed, error) {
	move, line := put.from(from), put.line("file.move", "from "+from)
	return e.changeFile(ctx, func(tx pgx.Tx) (storage.Changed, error) {
		return storage.MoveFile(ctx, tx, put.By.Reach, move, line)
	})
}

func (p *FilePut) from(path string) storage.FileMove {
	return storage.FileMove{App: p.App, From: path, To: p.Path, If: p.If}
}

// DeleteFile removes a file; what it was stays as an earlier version for a time. The errors are
// those of [storage.DeleteFile].
func (e *Engine) DeleteFile(ctx context.Context, app, path string, cond storage.Condition, by Caller) error {
	_, err := e.changeFile(ctx, func(tx pgx.Tx) (storage.Changed, error) {
		err := storage.DeleteFile(ctx, tx, by.Reach, app, path, cond, by.Audit("file.delete", app, path))
		return storage.Changed{Told: true}, err
	})
	return err
}

// OpenFile opens what a file has, or what a version of it had, for reading; close it when done. Bytes
// that are not those which were stored, or are missing, are an error that wraps [files.ErrDamaged].
// [storage.ErrNotFound] when it was removed since the file was read.
func (e *Engine) OpenFile(ctx context.Context, f *storage.File) (files.File, error) {
	c, err := e.db.Content(ctx, f.Content)
	if err != nil {
		return nil, err
	}
	file, err := e.contents.Open(ctx, c)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", files.ErrDamaged, err)
	}
	return file, err
}

// octets is the media type of what nothing more is known of.
const octets = "application/octet-stream"

// mediaTypes are those of the files that people keep here. What a system knows besides differs from
// one to the other.
var mediaTypes = map[string]string{
	".csv": "text/csv", ".tsv": "text/tab-separated-values", ".txt": "text/plain", ".log": "text/plain", ".sql": "application/sql",
	".md": "text/markdown", ".json": "application/json", ".jsonl": "application/jsonl", ".xml": "application/xml", ".zip": "application/zip",
	".gz": "application/gzip", ".zst": "application/zstd", ".7z": "application/x-7z-compressed", ".pdf": "application/pdf",
	".xls":  "application/vnd.ms-excel",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}

// MediaType is the media type that a file's name tells. Of text it says no charset, which the name
// does not tell.
func MediaType(name string) string {
	ending := strings.ToLower(path.Ext(name))
	if known, ok := mediaTypes[ending]; ok {
		return known
	}
	known, _, err := mime.ParseMediaType(mime.TypeByExtension(ending))
	if err != nil {
		return octets
	}
	return known
}
