package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/google/uuid"

	"longhaul/storage"
	"longhaul/storage/files"
)

// What comes to the bucket as a whole, by a form, comes without a word to us: the functions here
// look whether it has.

// wholeGrace is how long after a form can be sent no more the sweep looks what came of it: it may
// have been begun at the last moment.
const wholeGrace = time.Hour

// tooMuchKept is why an upload of unknown size failed that passed a quota.
const tooMuchKept = "It was too much for what may be kept of unused uploads."

// StartWhole makes an upload that comes by one form, which is signed. The errors are those of
// CreateUpload, and ErrNoBucket.
func (e *Engine) StartWhole(ctx context.Context, n NewDirect) (*Direct, files.Signed, error) {
	d, err := e.newDirect(&n)
	if err != nil {
		return nil, files.Signed{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, files.Signed{}, err
	}
	d.growth.Key, d.growth.Direct.From = storage.ContentKey(id), storage.ContentKey(d.Upload.ID)
	signed, err := d.bucket.SignForm(ctx, d.growth, d.growth.Direct.Most, n.Size != nil)
	if err != nil {
		return nil, signed, err
	}
	return d, signed, d.insert(ctx, n.App)
}

// LookForUpload moves on an upload of the caller's that came to the bucket as a whole, without a word
// to us. It is done before an upload is shown or used. Of all others nothing changes.
func (e *Engine) LookForUpload(ctx context.Context, id uuid.UUID, by Caller) error {
	if _, ok := e.files.(*files.Bucket); !ok {
		return nil
	}
	u, err := e.db.DirectUpload(ctx, id, by.Person)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	d, err := e.direct(u, by)
	if err == nil {
		_, err = d.look(ctx)
	}
	return err
}

// usableUpload returns the caller's upload, held against what an app needs. The errors are those of
// [storage.DB.UsableUpload].
func (e *Engine) usableUpload(ctx context.Context, id uuid.UUID, by Caller, app string) (storage.Upload, error) {
	if err := e.LookForUpload(ctx, id, by); err != nil {
		return storage.Upload{}, err
	}
	u, err := e.db.UsableUpload(ctx, id, by.Person, app)
	if err != nil && u.App != nil { // what is for an app out of reach does not exist
		if _, hidden := e.db.For(by.Reach).App(ctx, *u.App); hidden != nil {
			err = hidden
		}
	}
	return u, err
}

// look moves on an upload that has come as a whole, and reports whether it has.
func (d *Direct) look(ctx context.Context) (bool, error) {
	if d.Upload.State != storage.UploadReceiving || d.growth.Direct.From == "" {
		return false, nil
	}
	info, err := d.bucket.Stat(ctx, d.growth.Direct.From)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	announced, most := d.Upload.Size, d.growth.Direct.Most
	if announced != nil && info.Size != *announced || most > 0 && info.Size > most {
		return true, d.refuse(ctx, fmt.Sprintf("%d bytes came, and that is not what was announced, or more than is taken.", info.Size))
	}
	err = d.arrived(ctx, info.Size)
	if errors.Is(err, storage.ErrStale) {
		return true, nil // another request was faster
	}
	if storage.IsOverQuota(err) {
		return true, d.refuse(ctx, tooMuchKept)
	}
	return true, err
}

// refuse ends an upload that cannot be taken.
func (d *Direct) refuse(ctx context.Context, message string) error {
	err := d.engine.db.RefuseUpload(ctx, &d.Upload, message)
	if errors.Is(err, storage.ErrStale) {
		return nil
	}
	if err != nil {
		return err
	}
	d.engine.uploadChanged(&d.Upload)
	return d.bucket.Drop(ctx, d.growth) // what stays, the sweep removes with the row
}

// sweepWhole looks what came of uploads that can come as a whole no more, and removes those of which
// nothing did.
func (e *Engine) sweepWhole(ctx context.Context) (count, bytes int64, err error) {
	if _, ok := e.files.(*files.Bucket); !ok {
		return 0, 0, nil
	}
	uploads, err := e.db.WholeUploads(ctx, files.SignedFor+wholeGrace, sweepBatch)
	for _, u := range uploads {
		if err != nil {
			break
		}
		var d *Direct
		var came bool
		if d, err = e.direct(u, Caller{Name: u.CreatedBy, Person: u.Owner}); err == nil {
			came, err = d.look(ctx)
		}
		if err == nil && !came {
			count++
			_, err = e.removeExpired(ctx, u.ID)
		}
	}
	return count, 0, err
}
