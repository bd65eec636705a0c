package files

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// ErrClosed is returned by a [Writer] that was committed or aborted before.
var ErrClosed = errors.New("file writer is closed")

// Stored describes a file that was committed.
type Stored struct {
	Key    string
	Size   int64 // in bytes
	SHA256 [sha256.Size]byte
}

// Writer writes one file, which appears under its key, whole and durable, when
// Commit returns, and not at all otherwise. Its methods are for one goroutine.
//
// Reading, hashing and writing to disk overlap, so that the slowest of the three
// sets the pace. A writer holds at most 2 MiB of buffers, and while it waits for
// bytes no more than one of half a MiB.
type Writer struct {
	folder *Folder
	key    string
	temp   string // the key of the unfinished file
	pipe   *pipe
	closed bool
	// short is the error with which a reader given to ReadFrom ended before its
	// end: there is no whole file to commit then.
	short error
}

// Create starts a file that is to have the given key. A file that has it keeps
// it until Commit; of several writers of one key, the last to commit wins. Every
// writer is ended by Commit or Abort; `defer w.Abort()` is right in all cases.
// Its error wraps [ErrKey] for a bad key and [ErrFull] when the disk is full.
func (f *Folder) Create(key string) (*Writer, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	temp := path.Join(Incoming, rand.Text())
	file, err := f.createTemp(temp)
	if err != nil {
		return nil, fmt.Errorf("create file %s: %w", key, asFull(err))
	}
	return &Writer{folder: f, key: key, temp: temp, pipe: newPipe(file)}, nil
}

func (f *Folder) createTemp(temp string) (*os.File, error) {
	in, err := f.walk(Incoming, true)
	if err != nil {
		return nil, err
	}
	file, err := in.OpenFile(path.Base(temp), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return file, closeAfter(in, err)
}

// Write takes p in. What goes wrong with the disk may be told by a later Write
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
	n, readErr, err := w.pipe.readFrom(r)
	if err != nil {
		return n, w.wrap(err)
	}
	w.short = readErr
	return n, readErr
}

// Commit makes the file durable, gives it its key, and makes that durable too.
// The order is what a crash relies on: bytes to disk, then the name, then the
// folder that holds the name. After an error the file is gone, unless only the
// last of these failed: then the key may or may not have the new file.
func (w *Writer) Commit() (Stored, error) {
	if w.closed {
		return Stored{}, w.wrap(ErrClosed)
	}
	if w.short != nil {
		return Stored{}, errors.Join(w.wrap(w.short), w.Abort())
	}
	w.closed = true
	size, sum, err := w.pipe.finish()
	if err == nil {
		err = w.folder.place(w.key, func() error { return w.folder.root.Rename(w.temp, w.key) })
	}
	if err != nil {
		_ = w.folder.root.Remove(w.temp) // the sweep removes what stays
		return Stored{}, w.wrap(err)
	}
	return Stored{Key: w.key, Size: size, SHA256: sum}, nil
}

// Abort gives the file up and leaves nothing of it. After Commit or Abort it
// does nothing.
func (w *Writer) Abort() error {
	if w.closed {
		return nil
	}
	w.closed = true
	w.pipe.abort()
	return w.wrap(w.folder.root.Remove(w.temp))
}

func (w *Writer) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write file %s: %w", w.key, asFull(err))
}
