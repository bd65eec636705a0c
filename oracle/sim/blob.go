package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// errFull means that a file does not fit under Config.MaxBytes.
var errFull = errors.New("the environment is out of space")

// blobStore holds the bytes of files: small ones in memory, the others in a
// folder. It counts what is stored against both limits.
type blobStore struct {
	dir string

	mu       sync.Mutex
	next     int
	left     int64 // bytes that may still be stored
	leftFast int64 // bytes of memory among them
}

// newBlobStore makes the folder dir, which must not exist.
func newBlobStore(dir string, maxBytes int64) (*blobStore, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder for stored files: %w", err)
	}
	return &blobStore{dir: dir, left: maxBytes, leftFast: memoryBytes}, nil
}

// close removes every stored file.
func (b *blobStore) close() error {
	if err := os.RemoveAll(b.dir); err != nil {
		return fmt.Errorf("remove stored files: %w", err)
	}
	return nil
}

// reserve counts n bytes; fast ones also against the memory limit. It changes
// nothing when they do not fit.
func (b *blobStore) reserve(n int64, fast bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left || fast && n > b.leftFast {
		return false
	}
	b.left -= n
	if fast {
		b.leftFast -= n
	}
	return true
}

func (b *blobStore) release(n int64, fast bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
	if fast {
		b.leftFast += n
	}
}

func (b *blobStore) newPath() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return filepath.Join(b.dir, strconv.Itoa(b.next))
}

// blob is a stored sequence of bytes that does not change.
type blob struct {
	store *blobStore
	size  int64
	data  []byte // when path is empty
	path  string
}

// blobReader reads a blob from any position.
type blobReader interface {
	io.ReadSeeker
	io.ReaderAt
	io.Closer
}

type memoryReader struct{ *bytes.Reader }

func (memoryReader) Close() error { return nil }

// open fails when the blob has been removed.
func (b *blob) open() (blobReader, error) {
	if b.path == "" {
		return memoryReader{bytes.NewReader(b.data)}, nil
	}
	return os.Open(b.path)
}

// remove gives the space back. Readers that are open go on reading.
func (b *blob) remove() {
	if b.path != "" {
		// A file that cannot be removed goes with the folder in close.
		_ = os.Remove(b.path)
	}
	b.store.release(b.size, b.path == "")
}

// spool takes bytes of unknown number and becomes a blob. It is not safe for
// use by several goroutines at once.
type spool struct {
	store *blobStore
	size  int64
	data  []byte
	file  *os.File
}

func (b *blobStore) newSpool() *spool { return &spool{store: b} }

// Write appends p. It fails with errFull, having stored nothing of p, when the
// limit on all files is reached.
func (s *spool) Write(p []byte) (int, error) {
	n := int64(len(p))
	if s.file == nil && s.size+n <= memoryFileBytes && s.store.reserve(n, true) {
		s.data = append(s.data, p...)
		s.size += n
		return len(p), nil
	}
	if err := s.spill(); err != nil {
		return 0, err
	}
	if !s.store.reserve(n, false) {
		return 0, errFull
	}
	written, err := s.file.Write(p)
	s.size += int64(written)
	s.store.release(n-int64(written), false)
	return written, err
}

// spill moves what is in memory to a file, once.
func (s *spool) spill() error {
	if s.file != nil {
		return nil
	}
	file, err := os.OpenFile(s.store.newPath(), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	held := s.data
	s.store.release(s.size, true)
	s.file, s.data, s.size = file, nil, 0
	if !s.store.reserve(int64(len(held)), false) {
		return errFull
	}
	s.size = int64(len(held))
	_, err = file.Write(held)
	return err
}

// finish turns what was written into a blob.
func (s *spool) finish() (*blob, error) {
	if s.file == nil {
		return &blob{store: s.store, size: s.size, data: s.data}, nil
	}
	if err := s.file.Close(); err != nil {
		return nil, err
	}
	return &blob{store: s.store, size: s.size, path: s.file.Name()}, nil
}

// discard forgets what was written.
func (s *spool) discard() {
	if s.file != nil {
		// Nothing depends on the file any more; the folder goes in the end.
		_ = s.file.Close()
		_ = os.Remove(s.file.Name())
	}
	s.store.release(s.size, s.file == nil)
	s.size, s.data = 0, nil
}
