package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"
)

// growingFolder is the folder, directly under the root, of files that grow; see [Growth]. No other key
// may begin with it.
const growingFolder = ".growing"

const (
	// saveEvery is how often an Append makes durable, and saves, how far it has come.
	saveEvery = time.Second
	// busyTime is how long another writer of the same file is waited for. One from whom it was taken
	// over has only to finish what he is doing.
	busyTime = 5 * time.Second
	// busyPause is how long until the next look whether he has.
	busyPause = 20 * time.Millisecond
)

// ErrBusy is wrapped by the error of going on with a file that grows in a folder, or of finishing it,
// while another still writes to it.
var ErrBusy = errors.New("another writer has not let go of the file yet")

// asGone adds ErrDamaged to an error that says that something is not there: that of what had come.
func asGone(err error) error {
	if (errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoUpload)) && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w: what had come is gone: %w", ErrDamaged, err)
	}
	return err
}

// growing is the name that a file has in growingFolder before it has its key: one of a fixed length,
// for keys of any.
func growing(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

// Append implements [Store].
func (f *Folder) Append(ctx context.Context, g Growth, r io.Reader, save func(context.Context, Growth) error) (Growth, error) {
	if err := CheckKey(g.Key); err != nil {
		return g, err
	}
	file, err := f.openGrowing(ctx, g)
	if err != nil {
		return g, fmt.Errorf("append to file %s: %w", g.Key, asFull(err))
	}
	a := &appending{file: flushed{File: file, written: g.Size, flushed: g.Size}, saved: g, save: save, last: time.Now()}
	g, err = a.run(context.WithoutCancel(ctx), r)
	if closeErr := file.Close(); err == nil {
		err = closeErr // what is durable was synced
	}
	return g, err
}

// openGrowing opens a file that grows for writing where it is known to have come, once nobody else
// has it open so.
func (f *Folder) openGrowing(ctx context.Context, g Growth) (*os.File, error) {
	for end := time.Now().Add(busyTime); ; {
		file, err := f.tryGrowing(g)
		if !errors.Is(err, ErrBusy) || time.Now().After(end) {
			return file, err
		}
		if err := wait(ctx, busyPause); err != nil {
			return nil, err
		}
	}
}

// tryGrowing is openGrowing without waiting. Closing the file lets others at it: before that it is to
// have the key, or to be left. What lies behind g.Size stays until the file is finished: one who was
// late to see that another has taken over must not cut off what that one has written.
func (f *Folder) tryGrowing(g Growth) (*os.File, error) {
	flags := os.O_CREATE
	if g.Size > 0 {
		flags = 0
	}
	file, err := f.openIn(growingFolder, growing(g.Key), flags)
	if err != nil {
		return nil, asGone(err)
	}
	err = f.lockGrowing(file, g)
	if err == nil && g.Size == 0 {
		err = f.syncGrowing() // before anybody says that something has come
	}
	if err == nil {
		_, err = file.Seek(g.Size, io.SeekStart)
	}
	if err != nil {
		return nil, closeAfter(file, err)
	}
	return file, nil
}

// lockGrowing keeps others from writing to the file until it is closed, and sees to it that it is
// what it was opened as.
func (f *Folder) lockGrowing(file *os.File, g Growth) error {
	if err := lockFile(file); err != nil {
		return err
	}
	st, err := file.Stat()
	if err != nil {
		return err
	}
	// Between the two it may have been finished, and must not be written to any more.
	if named, err := f.root.Lstat(path.Join(growingFolder, growing(g.Key))); err != nil || !os.SameFile(st, named) {
		return ErrBusy
	}
	if st.Size() < g.Size {
		return fmt.Errorf("%w: it has only %d of %d bytes that were taken in", ErrDamaged, st.Size(), g.Size)
	}
	return nil
}

// syncGrowing makes the names in growingFolder durable.
func (f *Folder) syncGrowing() error {
	dir, err := f.walk(growingFolder, true)
	if err != nil {
		return err
	}
	return closeAfter(dir, syncFolder(dir))
}

// appending is one Append to a folder.
type appending struct {
	file  flushed
	pipe  *pipe
	saved Growth // as it was last
	save  func(context.Context, Growth) error
	last  time.Time  // when it was last saved, or begun to
	busy  chan error // of a save that goes on beside the writing; nil without one
}

func (a *appending) run(ctx context.Context, r io.Reader) (Growth, error) {
	a.pipe = newPipe(func(p []byte) error {
		_, err := a.file.Write(p)
		return err
	}, a.saved.Digest.Clone())
	_, readErr, err := a.pipe.readFrom(&checked{r, a}, func() { a.saveNow(ctx) })
	digest, storeErr := a.pipe.finish()
	if a.busy != nil {
		err = errors.Join(err, <-a.busy)
	}
	if err == nil {
		err = storeErr
	}
	if failed, ok := errors.AsType[*saveError](readErr); ok {
		return a.saved, failed.err
	}
	if err == nil && (digest.Size() > a.saved.Size || a.save == nil) {
		err = a.keep(ctx, digest)
	}
	if err != nil {
		return a.saved, fmt.Errorf("append to file %s: %w", a.saved.Key, asFull(err))
	}
	return a.saved, readErr
}

// keep makes durable what the digest covers, and saves it.
func (a *appending) keep(ctx context.Context, digest Digest) error {
	if err := a.file.Sync(); err != nil {
		return err
	}
	g := a.saved
	g.Size, g.Digest = digest.Size(), digest
	if a.save != nil {
		if err := a.save(ctx, g); err != nil {
			return err
		}
	}
	a.saved = g
	return nil
}

// saveNow begins to save how far the file has come, when it is time, beside the writing.
func (a *appending) saveNow(ctx context.Context) {
	if a.save == nil || a.busy != nil || time.Since(a.last) < saveEvery {
		return
	}
	a.last = time.Now()
	a.busy = make(chan error, 1)
	m := &mark{hashed: make(chan struct{})}
	m.written = func() {
		if a.pipe.failed.Load() != nil {
			a.busy <- nil // readFrom tells
			return
		}
		go func() {
			<-m.hashed
			a.busy <- a.keep(ctx, m.digest)
		}()
	}
	a.pipe.mark(m)
}

// saveError is an error of saving, met while reading.
type saveError struct{ err error }

func (e *saveError) Error() string { return e.err.Error() }

// checked ends the reading when saving has failed: nobody wants the bytes then.
type checked struct {
	io.Reader
	of *appending
}

func (c *checked) Read(p []byte) (int, error) {
	select {
	case err := <-c.of.busy:
		c.of.busy = nil
		if err != nil {
			return 0, &saveError{err}
		}
	default:
	}
	return c.Reader.Read(p)
}

// Finish implements [Store].
func (f *Folder) Finish(ctx context.Context, g Growth) error {
	if err := CheckKey(g.Key); err != nil {
		return err
	}
	err := f.finished(g)
	if errors.Is(err, fs.ErrNotExist) {
		if err = f.finish(ctx, g); errors.Is(err, fs.ErrNotExist) && f.finished(g) == nil {
			return nil // another was faster
		}
	}
	if err != nil {
		return fmt.Errorf("finish file %s: %w", g.Key, asFull(err))
	}
	return nil
}

func (f *Folder) finish(ctx context.Context, g Growth) error {
	file, err := f.openGrowing(ctx, g)
	if err != nil {
		return err
	}
	if err = errors.Join(file.Truncate(g.Size), file.Sync()); err == nil {
		err = f.place(g.Key, func() error { return f.root.Rename(path.Join(growingFolder, growing(g.Key)), g.Key) })
	}
	return closeAfter(file, err)
}

// finished returns nil when the file has its key already, and that durably: who gave it the key may
// have been killed before he saw to that. Its error wraps [fs.ErrNotExist] when it has not.
func (f *Folder) finished(g Growth) error {
	return f.at(g.Key, func(dir *os.Root, name string) error {
		st, err := regular(dir, name)
		if err != nil {
			return err
		}
		if st.Size() != g.Size {
			return fs.ErrNotExist
		}
		return syncFolder(dir)
	})
}

// Fits implements [Store]. A folder takes files of any size.
func (f *Folder) Fits(Growth, int64) error { return nil }

// Drop implements [Store].
func (f *Folder) Drop(_ context.Context, g Growth) error {
	if err := CheckKey(g.Key); err != nil {
		return err
	}
	err := f.root.Remove(path.Join(growingFolder, growing(g.Key)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop file %s: %w", g.Key, err)
	}
	return nil
}
