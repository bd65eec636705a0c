package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	// smallRead is up to how much is read through the cache of blocks: what a ZIP's directory is read with.
	smallRead = 256 << 10
	// keptStreams is how many requests a file keeps open, to go on where they are: one for each of
	// those who read it from front to back.
	keptStreams = 4
	// resumeTries is how often a request that breaks off before it has brought a byte is sent again.
	resumeTries = 3
	// resumePause is how long the first of these waits.
	resumePause = 100 * time.Millisecond
)

// Open implements [Store]. When the file is replaced or removed while it is open, reading ends with
// an error that wraps [ErrReplaced] or [io/fs.ErrNotExist].
func (b *Bucket) Open(ctx context.Context, key string) (File, error) {
	name, err := b.name(key)
	if err != nil {
		return nil, err
	}
	head, err := b.head(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open file %s: %w", key, err)
	}
	f := &bucketFile{object: object{b: b, ctx: ctx, key: key, name: name, etag: head.ETag, size: aws.ToInt64(head.ContentLength)}}
	f.blocks = newBlockCache(f.object)
	return f, nil
}

// object is one version of an object, to be read.
type object struct {
	b    *Bucket
	ctx  context.Context
	key  string
	name string
	etag *string
	size int64
}

// get asks for the bytes from begin to end, which are not none.
func (o object) get(begin, end int64) (io.ReadCloser, error) {
	got, err := o.b.client.GetObject(o.ctx, &s3.GetObjectInput{
		Bucket: &o.b.bucket, Key: &o.name, IfMatch: o.etag, Range: aws.String(fmt.Sprintf("bytes=%d-%d", begin, end-1)),
	})
	if err != nil {
		return nil, o.wrap(o.b.explain(err))
	}
	return got.Body, nil
}

func (o object) wrap(err error) error { return fmt.Errorf("read file %s: %w", o.key, err) }

// readInto fills the blocks, one after the other, with the bytes from begin on, all of which there are.
func (o object) readInto(blocks [][]byte, begin int64) error {
	s := stream{object: o, at: begin, end: begin}
	for _, block := range blocks {
		s.end += int64(len(block))
	}
	for _, block := range blocks {
		if _, err := io.ReadFull(&s, block); err != nil {
			return errors.Join(err, s.close())
		}
	}
	return s.close()
}

// stream reads an object from a place on, to end. When the connection breaks it asks for the rest.
type stream struct {
	object  object
	at, end int64
	body    io.ReadCloser // nil when it is to be asked for
}

// Read implements [io.Reader].
func (s *stream) Read(p []byte) (int, error) {
	if s.at >= s.end {
		return 0, io.EOF
	}
	pause := resumePause
	for try := 1; ; try++ {
		n, err := s.readOnce(p)
		if n > 0 || len(p) == 0 {
			return n, nil
		}
		if err == nil {
			continue
		}
		if s.body == nil || try > resumeTries || s.object.ctx.Err() != nil {
			return 0, err // the client has tried again by itself, or it makes no sense
		}
		_ = s.close() // it is broken
		if err := wait(s.object.ctx, pause); err != nil {
			return 0, s.object.wrap(err)
		}
		pause *= 2
	}
}

func (s *stream) readOnce(p []byte) (int, error) {
	if s.body == nil {
		body, err := s.object.get(s.at, s.end)
		if err != nil {
			return 0, err
		}
		s.body = body
	}
	n, err := s.body.Read(p[:min(int64(len(p)), s.end-s.at)])
	s.at += int64(n)
	if err != nil {
		if n == 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return n, s.object.wrap(err)
	}
	return n, nil
}

func (s *stream) close() error {
	if s.body == nil {
		return nil
	}
	err := s.body.Close()
	s.body = nil
	return err
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// bucketFile is an open file of a bucket. Large reads that go on where one before has ended share
// one request; small ones go through a cache of blocks; other large ones are requests of their own.
type bucketFile struct {
	object
	at     int64 // where Read goes on
	closed atomic.Bool
	blocks *blockCache

	mu      sync.Mutex
	streams []*stream // that nobody is reading from, the one used last is the last
	ends    []int64   // where large reads have ended
}

// Size implements [File].
func (f *bucketFile) Size() int64 { return f.size }

// Read implements [io.Reader].
func (f *bucketFile) Read(p []byte) (int, error) {
	if f.closed.Load() {
		return 0, f.wrap(ErrClosed)
	}
	if f.at >= f.size {
		return 0, io.EOF
	}
	s := f.take(f.at, true)
	n, err := s.Read(p)
	f.at += int64(n)
	f.keep(s, err)
	return n, err
}

// Seek implements [io.Seeker].
func (f *bucketFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek in file %s: %d is before its beginning", f.key, offset)
	}
	f.at = offset
	return offset, nil
}

// ReadAt implements [io.ReaderAt].
func (f *bucketFile) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case f.closed.Load():
		return 0, f.wrap(ErrClosed)
	case off < 0:
		return 0, f.wrap(fmt.Errorf("%d is before its beginning", off))
	case len(p) == 0:
		return 0, nil
	case off >= f.size:
		return 0, io.EOF
	}
	var atEnd error
	if rest := f.size - off; int64(len(p)) > rest {
		p, atEnd = p[:rest], io.EOF
	}
	n, err := f.readAt(p, off)
	if err != nil {
		return n, err
	}
	return n, atEnd
}

func (f *bucketFile) readAt(p []byte, off int64) (int, error) {
	if len(p) < smallRead {
		return f.blocks.readAt(p, off)
	}
	s := f.take(off, false)
	if s == nil {
		s = &stream{object: f.object, at: off, end: off + int64(len(p))}
	}
	n, err := io.ReadFull(s, p)
	f.keep(s, err)
	return n, err
}

// take returns a stream that is at off. With begin, or where a read before ended there, that may be
// a new one; else there may be none.
func (f *bucketFile) take(off int64, begin bool) *stream {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, s := range f.streams {
		if s.at == off {
			f.streams = append(f.streams[:i], f.streams[i+1:]...)
			return s
		}
	}
	for i, end := range f.ends {
		if end == off {
			f.ends = append(f.ends[:i], f.ends[i+1:]...)
			begin = true
			break
		}
	}
	if !begin {
		return nil
	}
	return &stream{object: f.object, at: off, end: f.size}
}

// keep puts a stream aside for who goes on where it is, or notes where it has ended.
func (f *bucketFile) keep(s *stream, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.at < s.end && err == nil && !f.closed.Load() {
		f.streams = append(f.streams, s)
		if s = nil; len(f.streams) > keptStreams {
			s, f.streams = f.streams[0], f.streams[1:]
		}
	} else if s.at == s.end {
		f.ends = append(f.ends, s.at)
		if len(f.ends) > keptStreams {
			f.ends = f.ends[1:]
		}
	}
	if s != nil {
		_ = s.close() // nothing is lost
	}
}

// Close implements [io.Closer].
func (f *bucketFile) Close() error {
	f.closed.Store(true)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.streams {
		_ = s.close() // nothing is lost
	}
	f.streams = nil
	return nil
}
