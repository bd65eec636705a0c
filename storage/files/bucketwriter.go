package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

const (
	// partBytes is how large the first parts of a file are.
	partBytes = 8 << 20
	// stepParts is after how many parts they become larger, by one and a half times partBytes: the
	// 10,000 parts that a file can have are 605 GiB then. Services that want all parts equal take
	// only the first step this way, 7.8 GiB.
	stepParts = 1000
)

// Create implements [Store]. A file can have up to 605 GiB; the error of more wraps [ErrTooLarge].
func (b *Bucket) Create(ctx context.Context, key string) (*Writer, error) {
	name, err := b.name(key)
	if err != nil {
		return nil, err
	}
	return newWriter(key, b.newSink(ctx, name, 0)), nil
}

// bucketSink writes one file of a bucket: at once when it fits into one part, else in parts.
type bucketSink struct {
	b       *Bucket
	caller  context.Context
	going   context.Context // ends with the caller's, the first part that fails, or the sink
	stop    context.CancelCauseFunc
	ctx     context.Context // lingers, for what is on its way
	cancel  context.CancelFunc
	size    int64 // that it is said to have; 0 when not known
	written int64
	filling *part
	upload  upload // without an id while there is only one part
	number  int32  // of the last part that was sent
	sending errgroup.Group

	mu   sync.Mutex
	sent []types.CompletedPart
}

func (b *Bucket) newSink(ctx context.Context, name string, size int64) *bucketSink {
	s := &bucketSink{b: b, caller: ctx, size: size, upload: upload{b: b, name: name}}
	s.going, s.stop = context.WithCancelCause(ctx)
	s.ctx, s.cancel = linger(s.going)
	s.sending.SetLimit(partsAtOnce)
	return s
}

func (s *bucketSink) write(p []byte) error {
	if s.size > 0 && s.written+int64(len(p)) > s.size {
		return fmt.Errorf("it has more than the %d bytes that it was said to have", s.size)
	}
	err := s.take(p)
	if cause := context.Cause(s.going); err != nil && cause != nil {
		return cause // a part that failed, mostly
	}
	return err
}

func (s *bucketSink) take(p []byte) error {
	for len(p) > 0 {
		if s.filling != nil && s.filling.full() {
			if err := s.send(); err != nil {
				return err
			}
		}
		if s.filling == nil {
			var err error
			if s.filling, err = s.b.writes.get(s.going, s.nextLimit()); err != nil {
				return err
			}
		}
		n := s.filling.fill(p)
		s.written += int64(n)
		p = p[n:]
	}
	return nil
}

// nextLimit is how large the next part is to be.
func (s *bucketSink) nextLimit() int64 {
	limit := s.b.partSize + int64(s.number)/stepParts*(s.b.partSize*3/2)
	if s.size > 0 && s.number == 0 {
		limit = min(limit, s.size)
	}
	return limit
}

// send lets the part that was filled go on its way.
func (s *bucketSink) send() error {
	if s.number == maxParts {
		return fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, s.written)
	}
	if s.upload.id == "" {
		u, err := s.b.newUpload(s.ctx, s.upload.name, types.ChecksumAlgorithmCrc32c)
		if err != nil {
			return err
		}
		s.upload = u
	}
	s.number++
	number, p := s.number, s.filling
	s.filling = nil
	s.sending.Go(func() error {
		defer p.free()
		done, err := s.upload.put(s.ctx, number, p)
		if err != nil {
			s.stop(err)
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sent = append(s.sent, done)
		return nil
	})
	return nil
}

func (s *bucketSink) commit() error {
	err := s.finish()
	if err != nil {
		s.abort()
	}
	s.end()
	return err
}

func (s *bucketSink) end() {
	s.stop(ErrClosed)
	s.cancel()
}

func (s *bucketSink) finish() error {
	switch {
	case s.b.closed.Load():
		return fs.ErrClosed
	case s.caller.Err() != nil:
		return context.Cause(s.caller)
	}
	if s.upload.id == "" {
		return s.putAll()
	}
	if s.filling != nil {
		if err := s.send(); err != nil {
			return err
		}
	}
	if err := s.sending.Wait(); err != nil {
		return err
	}
	slices.SortFunc(s.sent, func(a, b types.CompletedPart) int { return int(*a.PartNumber - *b.PartNumber) })
	err := s.upload.complete(s.ctx, s.sent, false)
	if errors.Is(err, errNoUpload) {
		// Perhaps a first request did it, whose answer was lost.
		if there, _ := s.b.isThere(s.ctx, s.upload.name, s.written, compositeOf(s.sent)); there {
			return nil
		}
	}
	return err
}

func (s *bucketSink) putAll() error {
	if s.filling == nil {
		s.filling = new(part)
	}
	defer s.filling.free()
	return s.b.put(s.ctx, s.upload.name, s.filling)
}

func (s *bucketSink) abort() {
	s.stop(ErrClosed)
	_ = s.sending.Wait() // nobody wants to know any more
	s.filling.free()
	_ = s.upload.abort(s.caller) // the bucket's rule removes what stays
	s.end()
}

// bucketBatch puts many files side by side, for most of the time that a small one takes is waiting.
type bucketBatch struct {
	b       *Bucket
	prefix  string
	ctx     context.Context
	cancel  context.CancelFunc
	putting *errgroup.Group

	mu   sync.Mutex
	open map[*bucketBatchFile]bool
}

// putsAtOnce is how many files of a batch are on their way at a time.
const putsAtOnce = 16

// Batch implements [Store].
func (b *Bucket) Batch(ctx context.Context, prefix string, _ int) (Batch, error) {
	if prefix != "" {
		if err := CheckKey(prefix); err != nil {
			return nil, err
		}
	}
	batch := &bucketBatch{b: b, prefix: prefix, open: make(map[*bucketBatchFile]bool)}
	ctx, batch.cancel = context.WithCancel(ctx)
	batch.putting, batch.ctx = errgroup.WithContext(ctx)
	batch.putting.SetLimit(putsAtOnce)
	return batch, nil
}

// Create implements [Batch]. When the file was modified is not kept.
func (b *bucketBatch) Create(ctx context.Context, name string, size int64, _ time.Time) (io.WriteCloser, error) {
	if err := CheckKey(name); err != nil {
		return nil, err
	}
	object, err := b.b.name(path.Join(b.prefix, name))
	if err != nil {
		return nil, err
	}
	f := &bucketBatchFile{batch: b}
	ctx, f.cancel = context.WithCancel(ctx)
	f.unlink = context.AfterFunc(b.ctx, f.cancel)
	f.sink = b.b.newSink(ctx, object, max(size, 0))
	b.mu.Lock()
	b.open[f] = true
	b.mu.Unlock()
	return f, nil
}

// Commit implements [Batch].
func (b *bucketBatch) Commit(context.Context) error { return b.putting.Wait() }

// Close implements [Batch].
func (b *bucketBatch) Close() error {
	b.cancel()
	for f := range b.open {
		f.failed = context.Canceled
		_ = f.Close() // and so aborts it
	}
	_ = b.putting.Wait() // Commit has told
	return nil
}

// bucketBatchFile is a file of a batch while it is written.
type bucketBatchFile struct {
	batch  *bucketBatch
	cancel context.CancelFunc
	unlink func() bool // from the end of the batch
	sink   *bucketSink
	closed bool
	failed error
}

// Write implements [io.Writer].
func (f *bucketBatchFile) Write(p []byte) (int, error) {
	if f.closed {
		return 0, ErrClosed
	}
	if f.failed == nil {
		f.failed = f.sink.write(p)
	}
	if f.failed != nil {
		return 0, f.failed
	}
	return len(p), nil
}

// Close sends the file on its way; the batch's Commit tells how that ended.
func (f *bucketBatchFile) Close() error {
	if f.closed {
		return ErrClosed
	}
	f.closed = true
	f.batch.mu.Lock()
	delete(f.batch.open, f)
	f.batch.mu.Unlock()
	f.batch.putting.Go(func() error {
		defer f.cancel()
		defer f.unlink()
		if f.failed != nil {
			f.sink.abort()
			return f.failed
		}
		return f.sink.commit()
	})
	return nil
}
