package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

const (
	// appendRead is how much is read at a time. An Append that waits for its first bytes holds no more.
	appendRead = 256 << 10
	// listedBack is how many of the last parts an Append looks for, which is one request.
	listedBack = 1000
)

// growingName is the folder for the tails of a file that grows.
func growingName(prefix, key string) string {
	return path.Join(prefix, growingFolder, growing(key))
}

// Append implements [Store]. A part counts when it and all before it are in the bucket, so a save
// may be some parts behind what was read; the end of r is saved to the byte. With a nil save, an
// error leaves things as they were, and g is returned as it was given; who does not keep what came
// back without an error drops it, or leaves its upload to the bucket's rule. A file can have up to
// 625 GiB when its SizeHint says so, and 312 GiB else; the error of more wraps [ErrTooLarge].
func (b *Bucket) Append(ctx context.Context, grown Growth, r io.Reader, save func(context.Context, Growth) error) (Growth, error) {
	g, err := b.growth(grown)
	if err == nil {
		err = g.plan()
	}
	if err == nil && g.UploadID != "" {
		_, _, err = g.parts(ctx, max(1, g.whole()-listedBack+1))
		if g.whole() == 0 && errors.Is(err, errNoUpload) {
			g.UploadID, err = "", nil // it was not needed yet
		}
	}
	if err != nil {
		return grown, fmt.Errorf("append to file %s: %w", grown.Key, err)
	}
	a := newAppender(ctx, g, grown, save)
	readErr, err := a.run(r)
	var saving *saveError
	switch {
	case errors.As(err, &saving):
		return a.saved, saving.err
	case err != nil:
		return a.saved, fmt.Errorf("append to file %s: %w", grown.Key, err)
	}
	return a.saved, readErr
}

// appender is one Append. Its parts go to the bucket side by side, and a goroutine of its own
// waits for them in order and saves how far the file has come.
type appender struct {
	caller context.Context
	going  context.Context // ends with the caller's, or when a part or saving fails
	stop   context.CancelCauseFunc
	ctx    context.Context // lingers, for what is on its way
	cancel context.CancelFunc
	start  growth // what is in the bucket when it begins
	now    growth // with what was read
	save   func(context.Context, Growth) error

	filling *part
	sending errgroup.Group
	order   chan sentPart

	failing sync.Once
	failed  error // the first of a part or of saving; to be read when both have ended

	saver   chan struct{} // closed when the goroutine that saves has ended
	durable Growth        // that goroutine's, from the first part on until then
	saved   Growth        // likewise: what the caller knows of it
	unsaved bool          // likewise: durable is further
}

// sentPart is a part on its way, and how far the file has come with it.
type sentPart struct {
	state Growth
	done  <-chan bool // whether it is there
}

func newAppender(ctx context.Context, g growth, grown Growth, save func(context.Context, Growth) error) *appender {
	a := &appender{
		caller: ctx, start: g, now: g, save: save, durable: g.Growth, saved: grown,
		order: make(chan sentPart, partsAtOnce), saver: make(chan struct{}),
	}
	a.now.Digest = g.Digest.Clone()
	a.going, a.stop = context.WithCancelCause(ctx)
	a.ctx, a.cancel = linger(a.going)
	a.sending.SetLimit(partsAtOnce)
	return a
}

// run takes in what r has, and returns the errors of r and of the rest.
func (a *appender) run(r io.Reader) (readErr, err error) {
	defer a.cancel()
	defer a.stop(nil)
	defer func() { a.filling.free() }()
	go a.saveInOrder()
	readErr, err = a.read(r)
	close(a.order)
	<-a.saver
	_ = a.sending.Wait() // the parts have told
	if a.failed != nil {
		err = a.failed
	}
	if err == nil && (readErr == nil || a.save != nil) {
		err = a.putTail()
	}
	return readErr, errors.Join(err, a.end(readErr, err))
}

// fail ends the Append.
func (a *appender) fail(err error) {
	a.failing.Do(func() { a.failed = err })
	a.stop(err)
}

func (a *appender) read(r io.Reader) (readErr, err error) {
	buffer := make([]byte, appendRead)
	for {
		if err := a.caller.Err(); err != nil {
			return err, nil
		}
		if a.going.Err() != nil {
			return nil, context.Cause(a.going)
		}
		n, readErr := r.Read(buffer)
		if err := a.take(buffer[:n]); err != nil {
			return nil, err
		}
		if errors.Is(readErr, io.EOF) {
			return nil, nil
		}
		if readErr != nil {
			return readErr, nil
		}
	}
}

func (a *appender) take(data []byte) error {
	for len(data) > 0 {
		if a.filling == nil {
			if err := a.begin(); err != nil {
				return err
			}
		}
		n := a.filling.fill(data)
		if a.now.Digest.Size() == a.now.Size {
			_, _ = a.now.Digest.Write(data[:n]) // never fails
		}
		a.now.Size += int64(n)
		data = data[n:]
		if a.filling.full() {
			if err := a.send(); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin begins a part, the first with the tail of the Append before.
func (a *appender) begin() error {
	p, err := a.now.b.appends.get(a.going, a.now.PartSize)
	if err != nil {
		return err
	}
	a.filling = p
	if a.now.Size > a.start.Size {
		return nil
	}
	return a.start.loadTail(a.ctx, p)
}

// send lets the part that was filled go on its way.
func (a *appender) send() error {
	number := a.now.whole()
	if number > maxParts {
		return fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, maxParts*a.now.PartSize)
	}
	if a.now.UploadID == "" {
		if err := a.startUpload(); err != nil {
			return err
		}
	}
	p, u, done := a.filling, a.now.upload(), make(chan bool, 1)
	a.filling = nil
	a.sending.Go(func() error {
		defer p.free()
		_, err := u.put(a.ctx, number, p)
		if err != nil {
			a.fail(err)
		}
		done <- err == nil
		return nil
	})
	state := a.now.Growth
	state.Digest = state.Digest.Clone()
	a.order <- sentPart{state, done}
	return nil
}

// startUpload starts the multipart upload, which is saved before there is a part in it: so that it
// can be found again, and dropped. As no part was sent before, nothing else is being saved.
func (a *appender) startUpload() error {
	u, err := a.now.b.newUpload(a.ctx, a.now.name, types.ChecksumAlgorithmCrc32c)
	if err != nil {
		return err
	}
	a.now.UploadID = u.id
	if a.save == nil {
		return nil
	}
	a.durable, a.unsaved = a.start.Growth, true
	a.durable.UploadID = u.id
	return a.saveNow(a.ctx)
}

// saveInOrder saves how far the file has come, about once in saveEvery.
func (a *appender) saveInOrder() {
	defer close(a.saver)
	var due <-chan time.Time
	var last time.Time
	broken := false
	for {
		select {
		case s, more := <-a.order:
			if !more {
				return
			}
			if broken = broken || !<-s.done; broken {
				continue
			}
			a.durable, a.unsaved = s.state, true
			if due == nil && a.save != nil {
				due = time.After(time.Until(last.Add(saveEvery)))
			}
		case <-due:
			due, last = nil, time.Now()
			broken = a.saveNow(a.ctx) != nil || broken
		}
	}
}

// saveNow saves what is durable. An error ends the Append.
func (a *appender) saveNow(ctx context.Context) error {
	if !a.unsaved {
		return nil
	}
	a.unsaved = false
	if a.save != nil {
		if err := a.save(ctx, a.durable); err != nil {
			err = &saveError{err}
			a.fail(err)
			return err
		}
	}
	a.saved = a.durable
	return nil
}

// putTail puts the bytes that do not fill a part.
func (a *appender) putTail() error {
	if a.filling == nil {
		return nil
	}
	if err := a.now.b.put(a.ctx, a.now.tail(), a.filling); err != nil {
		return err
	}
	a.durable, a.unsaved = a.now.Growth, true
	return nil
}

// end saves how far the file has come, for which some time is left in any case, and cleans up.
func (a *appender) end(readErr, failed error) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.caller), lingerTime)
	defer cancel()
	var saving *saveError
	undo := a.save == nil && (readErr != nil || failed != nil)
	if !undo && !errors.As(failed, &saving) {
		err = a.saveNow(ctx)
	}
	// An upload that was to be saved may be known to others even if saving failed: the answer may have
	// been lost.
	if undo && a.now.UploadID != a.start.UploadID {
		_ = a.now.upload().abort(ctx) // nobody knows of it; the bucket's rule removes what stays
	}
	// Nobody goes on any more from where it began, or, before what came of it is kept, from further
	// back. From what was saved another may have gone on already, whose tails are not known here.
	switch {
	case a.save == nil && a.start.Size > 0:
		_ = a.now.removeOldTails(ctx, a.start.Size) // Finish and Drop remove what stays
	case a.save != nil && a.start.Size > a.start.boundary() && a.saved.Size > a.start.Size:
		_ = a.now.b.removeObject(ctx, a.start.tail()) // as above
	}
	return err
}
