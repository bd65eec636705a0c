package sim

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
)

// errFull means that a file does not fit under Config.MaxBytes.
var errFull = errors.New("the environment is out of space")

// blobStore holds the bytes of files: small ones in memory, the others in
// temporary files. It counts what is stored against both limits.
type blobStore struct {
	dir string // of the temporary files

	mu       sync.Mutex
	left     int64 // bytes that may still be stored
	leftFast int64 // bytes of memory among them
	files    map[*os.File]bool
}

func newBlobStore(dir string, maxBytes int64) *blobStore {
	return &blobStore{dir: dir, left: maxBytes, leftFast: memoryBytes, files: map[*os.File]bool{}}
}

// close gives up every temporary file. Who still reads one gets an error.
func (b *blobStore) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var problems []error
	for f := range b.files {
		problems = append(problems, closeTemporary(f))
	}
	b.files = map[*os.File]bool{}
	return errors.Join(problems...)
}

// create makes a temporary file. It is unlinked at once, so that nothing is
// left of it however the process ends.
func (b *blobStore) create() (*os.File, error) {
	f, err := os.CreateTemp(b.dir, "longhaul-sim-")
	if err != nil {
		return nil, err
	}
	// A system that cannot unlink an open file does so in closeTemporary.
	_ = os.Remove(f.Name())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.files[f] = true
	return f, nil
}

// drop gives up one temporary file.
func (b *blobStore) drop(f *os.File) {
	b.mu.Lock()
	known := b.files[f]
	delete(b.files, f)
	b.mu.Unlock()
	if known {
		// Nobody needs what is in it, so a failure changes nothing.
		_ = closeTemporary(f)
	}
}

func closeTemporary(f *os.File) error {
	err := f.Close()
	_ = os.Remove(f.Name()) // usually gone already
	return err
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

// blob is a stored sequence of bytes that does not change.
type blob struct {
	store *blobStore
	size  int64
	data  []byte   // in memory, or
	file  *os.File // in a temporary file

	mu   sync.Mutex
	uses int // readers, and one for being stored
}

// blobReader reads a blob from any position.
type blobReader interface {
	io.ReadSeeker
	io.ReaderAt
	io.Closer
}

type memoryReader struct{ *bytes.Reader }

func (memoryReader) Close() error { return nil }

type fileReader struct {
	*io.SectionReader
	blob *blob
}

func (r fileReader) Close() error {
	r.blob.leave()
	return nil
}

// open fails when the blob has been removed.
func (b *blob) open() (blobReader, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.uses == 0 {
		return nil, os.ErrNotExist
	}
	if b.file == nil {
		return memoryReader{bytes.NewReader(b.data)}, nil
	}
	b.uses++
	return fileReader{io.NewSectionReader(b.file, 0, b.size), b}, nil
}

// remove gives the space back once the readers that are open have closed. It
// must be called once.
func (b *blob) remove() { b.leave() }

func (b *blob) leave() {
	b.mu.Lock()
	b.uses--
	last := b.uses == 0
	if last {
		b.data = nil // a finished download may still hold the blob
	}
	b.mu.Unlock()
	if !last {
		return
	}
	if b.file != nil {
		b.store.drop(b.file)
	}
	b.store.release(b.size, b.file == nil)
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
	file, err := s.store.create()
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
func (s *spool) finish() *blob {
	return &blob{store: s.store, size: s.size, data: s.data, file: s.file, uses: 1}
}

// discard forgets what was written.
func (s *spool) discard() {
	if s.file != nil {
		s.store.drop(s.file)
	}
	s.store.release(s.size, s.file == nil)
	s.size, s.data = 0, nil
}
