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

// Growing is the folder, directly under the root, of files that grow; see [Growth]. No other key
// may begin with it.
const Growing = ".growing"

// saveEvery is how often an Append makes durable, and saves, how far it has come.
const saveEvery = time.Second

// asGone adds ErrDamaged to an error that says that something is not there: that of what had come.
func asGone(err error) error {
	if (errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoUpload)) && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w: what had come is gone: %w", ErrDamaged, err)
	}
	return err
}

// growing is the name that a file has in Growing before it has its key: one of a fixed length, for
// keys of any.
func growing(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

// Append implements [Store].
func (f *Folder) Append(ctx context.Context, g Growth, r io.Reader, save func(context.Context, Growth) error) (Growth, error) {
	if err := CheckKey(g.Key); err != nil {
		return g, err
	}
	file, err := f.openGrowing(g)
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

// openGrowing opens a file that grows for writing where it is known to have come. What lies behind
// stays until the file is finished: one who was late to see that another has taken over must not cut
// off what that one has written.
func (f *Folder) openGrowing(g Growth) (*os.File, error) {
	flags := os.O_CREATE
	if g.Size > 0 {
		flags = 0
	}
	file, err := f.openIn(Growing, growing(g.Key), flags)
	if err != nil {
		return nil, asGone(err)
	}
	st, err := file.Stat()
	if err == nil && st.Size() < g.Size {
		err = fmt.Errorf("%w: it has only %d of %d bytes that were taken in", ErrDamaged, st.Size(), g.Size)
	}
	if err == nil {
		_, err = file.Seek(g.Size, io.SeekStart)
	}
	if err != nil {
		return nil, closeAfter(file, err)
	}
	return file, nil
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
	if f.isThere(ctx, g) {
		return nil
	}
	file, err := f.openGrowing(g)
	if err == nil {
		err = closeAfter(file, errors.Join(file.Truncate(g.Size), file.Sync()))
	}
	if err == nil {
		err = f.place(g.Key, func() error { return f.root.Rename(path.Join(Growing, growing(g.Key)), g.Key) })
	}
	if errors.Is(err, fs.ErrNotExist) && f.isThere(ctx, g) {
		return nil // another was faster
	}
	if err != nil {
		return fmt.Errorf("finish file %s: %w", g.Key, asFull(err))
	}
	return nil
}

// isThere reports whether the file has its key already.
func (f *Folder) isThere(ctx context.Context, g Growth) bool {
	st, err := f.Stat(ctx, g.Key)
	return err == nil && st.Size == g.Size
}

// Fits implements [Store]. A folder takes files of any size.
func (f *Folder) Fits(Growth, int64) error { return nil }

// Drop implements [Store].
func (f *Folder) Drop(_ context.Context, g Growth) error {
	if err := CheckKey(g.Key); err != nil {
		return err
	}
	err := f.root.Remove(path.Join(Growing, growing(g.Key)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop file %s: %w", g.Key, err)
	}
	return nil
}
