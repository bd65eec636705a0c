package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
	"longhaul/storage/files"
)

// NewUpload is a request for an upload.
type NewUpload struct {
	App         string // empty: for any app of its owner
	Filename    string
	ContentType string
	Metadata    map[string]string // the client's own
	Size        *int64            // in bytes; nil: not known yet
	SHA256      []byte            // what the client says it is; nil: it does not say
	Partial     bool              // a piece of another
	Pieces      []uuid.UUID       // what it is put together from: then it has its bytes already
	By          Caller
}

// ErrPieces says that something cannot be put together from the uploads that were named.
var ErrPieces = errors.New("these are not finished pieces, each named once, that nothing was put together from before")

// CreateUpload makes an upload. The error is an Invalid, a *[storage.OverQuotaError],
// [files.ErrFull] where there is no room for its bytes, [files.ErrTooLarge] where it has more than the
// storage takes in one file, [ErrPieces], or [storage.ErrNotFound] for a piece that is
// not the caller's. Whether the caller may work with the app is for who calls to know.
func (e *Engine) CreateUpload(ctx context.Context, n NewUpload) (*UploadHold, error) {
	if err := e.roomFor(ctx, n); err != nil {
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	h := &UploadHold{engine: e, by: n.By, Upload: storage.Upload{
		ID: id, Owner: n.By.Person, CreatedBy: n.By.Name, Protocol: "tus", Filename: n.Filename, ContentType: n.ContentType,
		Metadata: n.Metadata, Size: n.Size, SHA256: n.SHA256, Partial: n.Partial, Pieces: n.Pieces, State: storage.UploadReceiving,
	}}
	if n.App != "" {
		h.Upload.App = &n.App
	}
	h.growth = files.Growth{Key: storage.ContentKey(id)}
	if n.Size != nil {
		h.growth.SizeHint = *n.Size
	}
	if err := e.files.Fits(h.growth, 0); err != nil {
		return nil, err
	}
	if n.Partial {
		h.growth.SizeHint = e.hintOfPiece(h.growth.SizeHint)
	}
	err = e.db.InTx(ctx, func(tx pgx.Tx) error { return h.insert(ctx, tx) })
	if errors.Is(err, storage.ErrNotFound) && n.App != "" && n.Pieces == nil {
		return nil, NoSuchApp(n.App)
	}
	if err != nil {
		return nil, err
	}
	e.uploadChanged(&h.Upload)
	return h, nil
}

// hintOfPiece is how large a file may become that begins with a piece of the given size: as large as so
// many of them, as far as the storage takes that.
func (e *Engine) hintOfPiece(size int64) int64 {
	for pieces := int64(16); pieces > 1; pieces /= 2 {
		if e.files.Fits(files.Growth{SizeHint: pieces * size}, 0) == nil {
			return pieces * size
		}
	}
	return size
}

// roomFor refuses what the storage has no room for now.
func (e *Engine) roomFor(ctx context.Context, n NewUpload) error {
	if n.Size == nil || n.Pieces != nil {
		return nil
	}
	free, err := e.files.Available(ctx)
	if err == nil && *n.Size > free {
		err = fmt.Errorf("%d bytes announced, %d free: %w", *n.Size, free, files.ErrFull)
	}
	return err
}

// insert stores a new upload with its line of the audit trail, and takes its pieces.
func (h *UploadHold) insert(ctx context.Context, tx pgx.Tx) error {
	u := &h.Upload
	if u.Pieces != nil {
		if err := h.takePieces(ctx, tx); err != nil {
			return err
		}
	}
	var err error
	if u.Growth, err = json.Marshal(h.growth); err != nil {
		return err
	}
	if err := storage.InsertUpload(ctx, tx, u, h.engine.UploadQuota, h.engine.KeepUploads); err != nil {
		return err
	}
	if err := storage.InsertAudit(ctx, tx, h.by.Audit("upload.create", h.app(), u.ID.String())); err != nil {
		return err
	}
	if u.State == storage.UploadFinishing {
		return h.received(ctx, tx)
	}
	return nil
}

// takePieces begins an upload with the first of its pieces, to which the worker adds the others.
func (h *UploadHold) takePieces(ctx context.Context, tx pgx.Tx) error {
	u := &h.Upload
	pieces, err := storage.PiecesOf(ctx, tx, u.Owner, u.Pieces)
	if err != nil {
		return err
	}
	var size int64
	for _, piece := range pieces {
		otherApp := piece.App != nil && (u.App == nil || *u.App != *piece.App)
		if !piece.Partial || piece.State != storage.UploadFinished || piece.UsedAt != nil || otherApp {
			return fmt.Errorf("piece %s: %w", piece.ID, ErrPieces)
		}
		size += piece.Received
	}
	if err := json.Unmarshal(pieces[0].Growth, &h.growth); err != nil {
		return err
	}
	if err := h.engine.files.Fits(h.growth, size); err != nil {
		return err
	}
	u.Size, u.Received, u.State = &size, size, storage.UploadFinishing
	return storage.UsePieces(ctx, tx, u.Pieces, u.ID)
}

// received queues the worker that finishes an upload whose last byte has come, and notes it.
func (h *UploadHold) received(ctx context.Context, tx pgx.Tx) error {
	u := &h.Upload
	if err := storage.InsertAudit(ctx, tx, h.by.Audit("upload.finish", h.app(), u.ID.String())); err != nil || u.Partial {
		return err
	}
	_, err := h.engine.river.InsertTx(ctx, tx, uploadArgs{UploadID: u.ID}, nil)
	return err
}

// app is the upload's app for the audit trail.
func (h *UploadHold) app() string {
	if h.Upload.App == nil {
		return ""
	}
	return *h.Upload.App
}

// UploadHold is an upload in the hands of one request. Another request for it, here or in another
// process, takes it over; then what this one still saves is refused with [storage.ErrStale].
type UploadHold struct {
	// Upload is the row as it was read, and as the hold changed it. One that is not being received
	// can be looked at, and is not held.
	Upload storage.Upload

	engine *Engine
	by     Caller
	growth files.Growth
	stop   func()        // asks the request to let go
	done   chan struct{} // closed when it has
}

// Append takes in what r has, and returns how many bytes of that are kept. With agree, all of it is
// kept or nothing, as agree decides once r has ended. The error is one of r or agree as it is, one
// of the storage, a *[storage.OverQuotaError] for an upload of unknown size, or [storage.ErrStale].
// Where the storage has lost what had come, it wraps [files.ErrDamaged], and the upload has failed.
func (h *UploadHold) Append(ctx context.Context, r io.Reader, agree func() error) (int64, error) {
	before := h.Upload.Received
	save := h.save
	if agree != nil {
		save = nil
	}
	g, err := h.engine.files.Append(ctx, h.growth, r, save)
	if agree != nil && err == nil {
		if err = agree(); err == nil {
			err = h.save(ctx, g)
		}
	}
	if errors.Is(err, files.ErrDamaged) {
		err = errors.Join(h.lost(ctx), err)
	}
	return h.Upload.Received - before, err
}

// lost ends an upload of which the storage has lost what had come: it cannot be gone on with, and must
// be begun anew.
func (h *UploadHold) lost(ctx context.Context) error {
	err := h.engine.db.RefuseUpload(ctx, &h.Upload, "What had come of it is lost in the server's storage. Send it again.")
	if err == nil {
		h.engine.uploadChanged(&h.Upload)
	}
	return err
}

// Declare says how large the upload will be, where that was not known. The error is
// [storage.ErrStale], [files.ErrTooLarge], or a *[storage.OverQuotaError].
func (h *UploadHold) Declare(ctx context.Context, size int64) error {
	if err := h.engine.files.Fits(h.growth, size); err != nil {
		return err
	}
	return h.engine.db.InTx(ctx, func(tx pgx.Tx) error {
		return storage.DeclareUpload(ctx, tx, &h.Upload, size, h.engine.UploadQuota)
	})
}

// Complete moves on an upload whose bytes are all there, as Append does by itself when the last one
// comes: an empty one, and one whose size was declared after that.
func (h *UploadHold) Complete(ctx context.Context) error {
	if h.Upload.State != storage.UploadReceiving || !h.Upload.Complete() {
		return nil
	}
	return h.save(ctx, h.growth)
}

// save writes how far the upload has come.
func (h *UploadHold) save(ctx context.Context, g files.Growth) error {
	was := h.Upload
	var err error
	if h.Upload.Growth, err = json.Marshal(g); err != nil {
		return err
	}
	h.Upload.Received = g.Size
	err = h.engine.db.InTx(ctx, func(tx pgx.Tx) error {
		err := storage.SaveUpload(ctx, tx, &h.Upload, h.engine.UploadQuota, h.engine.KeepUploads)
		if err == nil && h.Upload.State != storage.UploadReceiving {
			err = h.received(ctx, tx)
		}
		return err
	})
	if err != nil {
		h.Upload = was
		return err
	}
	h.growth = g
	h.engine.uploadChanged(&h.Upload)
	return nil
}

// Release lets go of the upload.
func (h *UploadHold) Release(ctx context.Context) error {
	if h.done == nil {
		return nil
	}
	defer h.engine.uploads.leave(h)
	if h.Upload.State != storage.UploadReceiving {
		return nil
	}
	return h.engine.db.ReleaseUpload(ctx, h.Upload.ID, h.Upload.Fence)
}

// handOver is how long a living holder has to let go of an upload before it is taken.
const handOver = 300 * time.Millisecond

// HoldUpload takes the caller's upload for a request. Whoever else holds it is asked to let go, and
// has handOver to save what it has; of a process that is no more it is taken at once. stop is called
// when another wants it. Release must be called at the end. [storage.ErrNotFound] if there is none.
func (e *Engine) HoldUpload(ctx context.Context, id uuid.UUID, by Caller, stop func()) (*UploadHold, error) {
	h := &UploadHold{engine: e, by: by, stop: stop, done: make(chan struct{}), Upload: storage.Upload{ID: id}}
	deadline := time.Now().Add(handOver)
	if before := e.uploads.enter(h); before != nil {
		before.stop()
		await(ctx, handOver, before.done)
	}
	for first := true; ; first = false {
		u, held, err := e.db.HoldUpload(ctx, id, by.Person, e.Process, !time.Now().Before(deadline))
		if err == nil && (held || u.State != storage.UploadReceiving) {
			h.Upload = u
			if held {
				err = json.Unmarshal(u.Growth, &h.growth)
			}
			if err == nil {
				return h, nil
			}
		}
		if err != nil {
			e.uploads.leave(h)
			return nil, err
		}
		if first {
			e.wakes.Want(id)
		}
		if !wait(ctx, handOver/15) {
			e.uploads.leave(h)
			return nil, ctx.Err()
		}
	}
}

// await waits until done is closed, for d at most.
func await(ctx context.Context, d time.Duration, done <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// RemoveUpload removes the caller's upload with its files. A *[storage.UploadUseError], where something
// was made of it: then there is nothing left to remove. [storage.ErrNotFound] if there is none.
func (e *Engine) RemoveUpload(ctx context.Context, id uuid.UUID, by Caller) error {
	var u storage.Upload
	err := e.db.InTx(ctx, func(tx pgx.Tx) error {
		var err error
		if u, err = storage.TakeUpload(ctx, tx, id, &by.Person); err != nil {
			return err
		}
		if u.UsedAt != nil {
			return &storage.UploadUseError{Upload: u}
		}
		app := ""
		if u.App != nil {
			app = *u.App
		}
		return storage.InsertAudit(ctx, tx, by.Audit("upload.delete", app, id.String()))
	})
	if err != nil {
		return err
	}
	return e.dropUpload(ctx, &u)
}

// dropUpload removes the files of an upload that was taken from whoever held it, and then its row.
func (e *Engine) dropUpload(ctx context.Context, u *storage.Upload) error {
	if u.UsedAt == nil {
		if err := e.dropGrowth(ctx, u); err != nil {
			return err
		}
	}
	if err := e.db.DeleteUpload(ctx, u.ID); err != nil {
		return err
	}
	e.uploadChanged(u)
	if u.Content == nil {
		return nil
	}
	return e.contents.Release(ctx, *u.Content)
}

// dropGrowth removes what an upload, and the pieces it was to be put together from, have in the
// file storage.
func (e *Engine) dropGrowth(ctx context.Context, u *storage.Upload) error {
	var g files.Growth
	if err := json.Unmarshal(u.Growth, &g); err != nil {
		return err
	}
	if g.Key == "" { // it is a content now, which others may have too
		return nil
	}
	if err := e.files.Drop(ctx, g); err != nil || len(u.Pieces) < 2 {
		return err
	}
	pieces, err := e.pieces(ctx, u)
	if err != nil {
		return err
	}
	for _, piece := range pieces {
		if piece.Key == g.Key {
			continue
		}
		if err := errors.Join(e.files.Drop(ctx, piece), e.files.Remove(ctx, piece.Key)); err != nil {
			return err
		}
	}
	return nil
}

// pieces reads how far the pieces of an upload have come.
func (e *Engine) pieces(ctx context.Context, u *storage.Upload) ([]files.Growth, error) {
	rows, err := e.db.GrowthsOf(ctx, u.Pieces)
	if err != nil {
		return nil, err
	}
	pieces := make([]files.Growth, len(rows))
	for i, row := range rows {
		if err := json.Unmarshal(row, &pieces[i]); err != nil {
			return nil, err
		}
	}
	return pieces, nil
}

// uploadChanged tells who waits, here and in other processes, that an upload changed, and the
// workers when one is to finish it. It is called after the commit.
func (e *Engine) uploadChanged(u *storage.Upload) {
	e.uploads.changed([]uuid.UUID{u.ID})
	e.wakes.Send(u.ID)
	if u.State == storage.UploadFinishing {
		e.wakes.Due()
	}
}

// WaitUpload returns the caller's upload once its version differs from the given one or nothing
// more will happen to it by itself, or, as it then is, when ctx ends. [storage.ErrNotFound] if there is
// none.
func (e *Engine) WaitUpload(ctx context.Context, id uuid.UUID, by Caller, version int64) (storage.Upload, error) {
	for {
		changed, stop := e.uploads.listen(id)
		u, err := e.db.Upload(context.WithoutCancel(ctx), id, by.Person)
		if err == nil && u.Version == version && !u.Final() && ctx.Err() == nil {
			await(ctx, watchTick, changed) // a word may be lost
			stop()
			continue
		}
		stop()
		return u, err
	}
}
