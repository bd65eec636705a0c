package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"longhaul/storage"
	"longhaul/storage/content"
	"longhaul/storage/files"
)

const (
	// uploadProgressEvery is how often the progress of finishing an upload is written, at most.
	uploadProgressEvery = 300 * time.Millisecond
	// uploadBeatEvery is how often a worker shows that it lives.
	uploadBeatEvery = leaseFor / 15
)

// uploadArgs are the arguments of a River job: which upload to finish.
type uploadArgs struct {
	UploadID uuid.UUID `json:"upload_id"`
}

// Kind names the River job.
func (uploadArgs) Kind() string { return "upload" }

type uploadWorker struct {
	river.WorkerDefaults[uploadArgs]
	engine *Engine
}

// Work finishes an upload.
func (w *uploadWorker) Work(ctx context.Context, job *river.Job[uploadArgs]) error {
	return w.engine.finishUpload(ctx, job.Args.UploadID)
}

// uploadFault is why an upload is no good, in words for its owner.
type uploadFault struct{ message string }

func (f *uploadFault) Error() string { return f.message }

// These faults are not of the upload but of this server.
var (
	errGivenUp = &uploadFault{"The server could not finish it; its log says why. Send it again, and tell the operator of this server."}
	errSpoiled = &uploadFault{"Bytes of it were changed or lost in the server's storage before it was finished. Send it again, and tell the operator of this server."}
)

// finishUpload puts an upload together, checks it and makes a content of it, if it is due and free.
// All of that can be done again: a crash anywhere in it costs no more than time.
func (e *Engine) finishUpload(ctx context.Context, id uuid.UUID) error {
	u, err := e.db.ClaimUpload(ctx, id, e.Process, leaseFor)
	if errors.Is(err, storage.ErrStale) {
		return nil
	}
	if err != nil {
		return err
	}
	e.uploadChanged(&u)
	f := &finishing{engine: e, upload: u, message: "Checking it"}
	if u.Crashes > maxCrashes {
		return f.end(ctx, storage.Content{}, errGivenUp)
	}
	held, release := f.hold(ctx)
	made, err := f.finish(held)
	if cause := context.Cause(held); err != nil && cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	release()
	return f.end(ctx, made, err)
}

// finishing is an upload in the hands of a worker.
type finishing struct {
	engine  *Engine
	upload  storage.Upload
	growth  files.Growth
	message string
	checked atomic.Int64
}

// hold keeps the claim alive, and shows how far it is. The context that it returns ends when the
// claim is lost.
func (f *finishing) hold(ctx context.Context) (context.Context, func()) {
	held, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	u := f.upload // a copy: the version is this goroutine's own
	u.Message = f.message
	go func() {
		defer close(done)
		alive, shown := f.engine.now(), int64(-1)
		for wait(held, uploadProgressEvery) {
			u.Checked = f.checked.Load()
			if u.Checked == shown && f.engine.now().Sub(alive) < uploadBeatEvery {
				continue
			}
			err := f.engine.db.KeepUpload(held, &u, leaseFor)
			switch {
			case errors.Is(err, storage.ErrStale):
				cancel(errLost)
			case err != nil && f.engine.now().Sub(alive) > leaseFor*2/3:
				cancel(fmt.Errorf("%w: %w", errLost, err))
			case err == nil:
				alive, shown = f.engine.now(), u.Checked
				f.engine.uploadChanged(&u)
			}
		}
	}()
	return held, func() { cancel(nil); <-done }
}

// finish makes a content of the upload. A panic becomes an error, so that it is told like one.
func (f *finishing) finish(ctx context.Context) (made storage.Content, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = panicked(cause)
		}
	}()
	u := &f.upload
	if err := json.Unmarshal(u.Growth, &f.growth); err != nil {
		return made, err
	}
	if len(u.Pieces) > 1 {
		if err := f.join(ctx); err != nil {
			return made, err
		}
	}
	g := f.growth
	if g.Digest.Size() == g.Size { // else it is only known once the bytes are read again
		if err := f.agrees(g.Digest.SHA256()); err != nil {
			return made, err
		}
	}
	hint := content.Hint{Name: u.Filename, Type: u.ContentType, Size: g.Size}
	made, err = f.engine.contents.Finish(ctx, g, hint, func(_ context.Context, done int64) error {
		f.checked.Store(done)
		return nil
	})
	if errors.Is(err, files.ErrParts) {
		err = &uploadFault{"What the bucket has is not what was sent: parts were replaced or removed after they had come. Send it again."}
	}
	if err != nil {
		return made, err
	}
	return made, f.agrees(made.SHA256)
}

// agrees holds what came against what the client said would come.
func (f *finishing) agrees(got [32]byte) error {
	want := f.upload.SHA256
	if want == nil || bytes.Equal(want, got[:]) {
		return nil
	}
	return &uploadFault{fmt.Sprintf("Its SHA-256 is %x, and %x was announced: bytes were changed on their way, or it is another file. Send it again.", got, want)}
}

// join adds to the first piece of an upload the others, as far as that was not done before.
func (f *finishing) join(ctx context.Context) error {
	pieces, err := f.engine.pieces(ctx, &f.upload)
	if err == nil && len(pieces) < len(f.upload.Pieces) {
		err = &uploadFault{"One of the pieces that it is put together from was removed. Send it again."}
	}
	if err != nil {
		return err
	}
	begins := pieces[0].Size
	for _, piece := range pieces[1:] {
		if f.growth.Size < begins+piece.Size {
			if err := f.add(ctx, piece, f.growth.Size-begins); err != nil {
				return err
			}
		}
		if err := f.engine.files.Remove(ctx, piece.Key); err != nil {
			return err
		}
		begins += piece.Size
	}
	return nil
}

// add adds a piece, from an offset in it on.
func (f *finishing) add(ctx context.Context, piece files.Growth, offset int64) error {
	store := f.engine.files
	if err := store.Finish(ctx, piece); err != nil {
		return err
	}
	file, err := store.Open(ctx, piece.Key)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	checked := files.Verify(file, piece.Key, piece.Digest.Sums(), nil)
	from := io.NewSectionReader(checked, offset, piece.Size-offset)
	f.growth, err = store.Append(ctx, f.growth, &stoppable{ctx, from}, func(ctx context.Context, g files.Growth) error {
		f.checked.Store(g.Size)
		growth, err := json.Marshal(g)
		if err != nil {
			return err
		}
		return f.engine.db.GrowUpload(ctx, &f.upload, growth)
	})
	return err
}

// stoppable is a reader that ends with a context.
type stoppable struct {
	ctx context.Context
	io.Reader
}

func (s *stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Reader.Read(p)
}

// end writes what came of it.
func (f *finishing) end(ctx context.Context, made storage.Content, err error) error {
	stopping := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if !errors.Is(err, errPanic) {
		f.upload.Crashes = 0
	}
	var fault *uploadFault
	switch {
	case err == nil:
		err = f.engine.db.FinishUpload(ctx, &f.upload, made.ID, made.SHA256[:], f.engine.KeepUploads)
		if errors.Is(err, storage.ErrContentGone) {
			err = f.again(ctx, 0, "Checking it")
		} else if err == nil {
			f.engine.contents.Discard(ctx, f.growth, made)
		}
	case errors.Is(err, errLost), errors.Is(err, storage.ErrStale):
		err = storage.ErrStale
	case stopping:
		err = f.again(ctx, 0, "The server was stopped; this goes on when it runs again")
	case errors.As(err, &fault):
		err = f.fail(ctx, fault.message)
	case errors.Is(err, files.ErrDamaged):
		f.engine.logger.ErrorContext(ctx, "upload: its stored bytes are damaged", "upload", f.upload.ID, "error", err)
		err = f.fail(ctx, errSpoiled.message)
	default:
		err = f.failed(ctx, err)
	}
	if errors.Is(err, storage.ErrStale) {
		return f.lost(ctx)
	}
	f.engine.uploadChanged(&f.upload)
	return err
}

// again lets a worker try again after a while.
func (f *finishing) again(ctx context.Context, after time.Duration, message string) error {
	e := f.engine
	due := e.now().Add(after)
	err := e.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := storage.RetryUpload(ctx, tx, &f.upload, after, message); err != nil {
			return err
		}
		inserted, err := e.river.InsertTx(ctx, tx, uploadArgs{UploadID: f.upload.ID}, &river.InsertOpts{ScheduledAt: due})
		if err == nil && after < riverSchedulerEvery {
			err = storage.WakeSoon(ctx, tx, inserted.Job.ID)
		}
		return err
	})
	if err == nil {
		e.comeDue(due)
	}
	return err
}

// failed tries again what failed for no reason that is the upload's, for as long as the upload is kept.
// Only what panics each time is given up before.
func (f *finishing) failed(ctx context.Context, err error) error {
	e, u := f.engine, &f.upload
	e.logger.WarnContext(ctx, "upload: could not be finished", "upload", u.ID, "try", u.Tries, "error", err)
	if u.Crashes >= maxCrashes || e.now().After(u.ExpiresAt) {
		return f.fail(ctx, errGivenUp.message)
	}
	pause := backoff(u.Tries)
	why := "The server's storage does not answer as it should"
	if errors.Is(err, files.ErrFull) {
		why = "The server's disk is full"
	}
	return f.again(ctx, pause, fmt.Sprintf("%s; try %d in %s", why, u.Tries+1, pause.Round(time.Second)))
}

// fail ends the upload, and removes what it has in the file storage. What cannot be removed now, the
// sweep removes with the row.
func (f *finishing) fail(ctx context.Context, message string) error {
	e, u := f.engine, &f.upload
	if err := e.db.FailUpload(ctx, u, message); err != nil {
		return err
	}
	if err := e.dropGrowth(ctx, u); err != nil {
		e.logger.WarnContext(ctx, "upload: files of a failed one are left to the sweep", "upload", u.ID, "error", err)
	}
	return nil
}

// lost removes what a worker wrote of an upload that is gone meanwhile; of one that another worker
// has taken over it leaves all.
func (f *finishing) lost(ctx context.Context) error {
	_, err := f.engine.db.Upload(ctx, f.upload.ID, f.upload.Owner)
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return f.engine.dropGrowth(ctx, &f.upload)
}

// sweepUnfinished wakes the workers for uploads that are to be finished and that River has
// forgotten.
func (e *Engine) sweepUnfinished(ctx context.Context) {
	ids, err := e.db.UnwokenUploads(ctx, uploadArgs{}.Kind(), unwokenGrace, sweepBatch)
	for _, id := range ids {
		if err == nil {
			_, err = e.river.Insert(ctx, uploadArgs{UploadID: id}, nil)
		}
	}
	if err != nil {
		e.sweepFailed(ctx, "unfinished uploads", err)
	} else if len(ids) > 0 {
		e.logger.InfoContext(ctx, "sweep: woke uploads that had no live job", "uploads", len(ids))
	}
}

// sweepUploads removes uploads that have had their time.
func (e *Engine) sweepUploads(ctx context.Context) (count, bytes int64, err error) {
	ids, err := e.db.ExpiredUploads(ctx, sweepBatch)
	for _, id := range ids {
		if err != nil {
			break
		}
		var u storage.Upload
		u, err = e.removeExpired(ctx, id)
		if errors.Is(err, storage.ErrNotFound) {
			err = nil // another process was faster
			continue
		}
		if err == nil {
			count++
			bytes += u.Received
		}
	}
	return count, bytes, err
}

// removeExpired removes an upload with its files, whoever holds it.
func (e *Engine) removeExpired(ctx context.Context, id uuid.UUID) (u storage.Upload, err error) {
	err = e.db.InTx(ctx, func(tx pgx.Tx) error {
		u, err = storage.TakeUpload(ctx, tx, id, nil)
		return err
	})
	if err != nil {
		return u, err
	}
	return u, e.dropUpload(ctx, &u)
}
