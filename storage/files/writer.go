package files

import (
	"errors"
	"fmt"
	"io"
)

// ErrClosed is returned by a [Writer] that was committed or aborted before.
var ErrClosed = errors.New("file writer is closed")

// sink takes the bytes of one file, in order, from one goroutine at a time.
type sink interface {
	// write takes p in, which may be used again when it returns.
	write(p []byte) error
	// commit makes the file durable and gives it its key. After an error nothing is kept.
	commit() error
	// abort keeps nothing.
	abort()
}

// Writer writes one file, which appears under its key, whole and durable, when
// Commit returns, and not at all otherwise. Its methods are for one goroutine.
//
// Reading, hashing and writing overlap, so that the slowest of the three sets the
// pace. A writer holds at most 1 MiB of buffers, and what its store needs, and
// while it waits for bytes no more than one of 64 KiB.
type Writer struct {
	key    string
	sink   sink
	pipe   *pipe
	closed bool
	// short is the error with which a reader given to ReadFrom ended before its
	// end: there is no whole file to commit then.
	short error
}

func newWriter(key string, s sink) *Writer {
	return &Writer{key: key, sink: s, pipe: newPipe(s.write, Digest{})}
}

// Write takes p in. What goes wrong with the store may be told by a later Write
// or by Commit; a full disk is [ErrFull].
func (w *Writer) Write(p []byte) (int, error) {
	if w.closed {
		return 0, w.wrap(ErrClosed)
	}
	n, err := w.pipe.Write(p)
	return n, w.wrap(err)
}

// ReadFrom takes in all that r has, without a copy between. An error of r is
// returned as it is, so that the caller can tell the two sides apart; nothing can
// be committed after it.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	if w.closed {
		return 0, w.wrap(ErrClosed)
	}
	n, readErr, err := w.pipe.readFrom(r, nil)
	if err != nil {
		return n, w.wrap(err)
	}
	w.short = readErr
	return n, readErr
}

// Commit makes the file durable under its key. After an error there is no such
// file, or the one that was there before; only where the very last step failed it
// may be the new one.
func (w *Writer) Commit() (Stored, error) {
	if w.closed {
		return Stored{}, w.wrap(ErrClosed)
	}
	if w.short != nil {
		return Stored{}, errors.Join(w.wrap(w.short), w.Abort())
	}
	w.closed = true
	digest, err := w.pipe.finish()
	if err == nil {
		err = w.sink.commit()
	} else {
		w.sink.abort()
	}
	if err != nil {
		return Stored{}, w.wrap(err)
	}
	return Stored{Key: w.key, Size: digest.Size(), SHA256: digest.SHA256(), Sums: digest.Sums()}, nil
}

// Abort gives the file up and leaves nothing of it. After Commit or Abort it
// does nothing.
func (w *Writer) Abort() error {
	if !w.closed {
		w.closed = true
		w.pipe.abort()
		w.sink.abort()
	}
	return nil
}

func (w *Writer) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write file %s: %w", w.key, asFull(err))
}
