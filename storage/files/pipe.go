package files

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

const (
	// blockBytes is how much is hashed and written at a time: large enough that handing
	// a block over costs little. A writer that waits for a slow client holds one.
	blockBytes = 512 << 10
	// maxBlocks is how many blocks a pipe has in use at a time.
	maxBlocks = 4
	// flushBytes is how much is written before the disk is asked to begin with it,
	// so that the sync at the end finds little left to do.
	flushBytes = 16 << 20
)

// block is a piece of the file on its way to the hash and to the disk.
type block struct {
	data [blockBytes]byte
	n    int
	uses atomic.Int32 // of the two ways, those that still need it
}

var blocks = sync.Pool{New: func() any { return new(block) }}

// pipe passes bytes on to a hash and to a file, each in a goroutine of its own.
type pipe struct {
	file   *os.File
	sum    hash.Hash
	size   int64
	filled *block // being filled; nil at first
	slots  chan struct{}
	toHash chan *block
	toDisk chan *block
	done   sync.WaitGroup
	failed atomic.Pointer[error] // the first error of the disk
}

func newPipe(file *os.File) *pipe {
	p := &pipe{
		file:   file,
		sum:    sha256.New(),
		slots:  make(chan struct{}, maxBlocks),
		toHash: make(chan *block, maxBlocks),
		toDisk: make(chan *block, maxBlocks),
	}
	p.done.Go(p.hashBlocks)
	p.done.Go(p.writeBlocks)
	return p
}

// space returns the free part of the block being filled.
func (p *pipe) space() ([]byte, error) {
	if err := p.failed.Load(); err != nil {
		return nil, *err
	}
	if p.filled == nil {
		p.slots <- struct{}{}
		p.filled = blocks.Get().(*block)
		p.filled.n = 0
	}
	return p.filled.data[p.filled.n:], nil
}

// fill takes note of n bytes put into space, and sends a full block on.
func (p *pipe) fill(n int) {
	p.filled.n += n
	p.size += int64(n)
	if p.filled.n == blockBytes {
		p.send()
	}
}

func (p *pipe) send() {
	p.filled.uses.Store(2)
	p.toHash <- p.filled
	p.toDisk <- p.filled
	p.filled = nil
}

// Write implements [io.Writer].
func (p *pipe) Write(data []byte) (int, error) {
	taken := 0
	for taken < len(data) {
		free, err := p.space()
		if err != nil {
			return taken, err
		}
		n := copy(free, data[taken:])
		p.fill(n)
		taken += n
	}
	return taken, nil
}

// readFrom takes in all of r and returns r's error and the disk's.
func (p *pipe) readFrom(r io.Reader) (size int64, readErr, err error) {
	for {
		free, err := p.space()
		if err != nil {
			return size, nil, err
		}
		n, err := r.Read(free)
		p.fill(n)
		size += int64(n)
		if errors.Is(err, io.EOF) {
			return size, nil, nil
		}
		if err != nil {
			return size, err, nil
		}
	}
}

func (p *pipe) hashBlocks() {
	for b := range p.toHash {
		p.sum.Write(b.data[:b.n])
		p.release(b)
	}
}

// writeBlocks writes until the disk fails, and then only lets the blocks pass.
func (p *pipe) writeBlocks() {
	var written, flushed int64
	for b := range p.toDisk {
		if p.failed.Load() == nil {
			n, err := p.file.Write(b.data[:b.n])
			if err != nil {
				p.failed.Store(&err)
			}
			written += int64(n)
		}
		p.release(b)
		if written-flushed >= flushBytes {
			startWriteback(p.file, flushed, written-flushed)
			flushed = written
		}
	}
}

func (p *pipe) release(b *block) {
	if b.uses.Add(-1) == 0 {
		blocks.Put(b)
		<-p.slots
	}
}

// stop sends what is left and waits for both ways to end.
func (p *pipe) stop() {
	if p.filled != nil {
		p.send()
	}
	close(p.toHash)
	close(p.toDisk)
	p.done.Wait()
}

// finish ends the pipe with all bytes on disk, and closes the file.
func (p *pipe) finish() (size int64, sum [sha256.Size]byte, err error) {
	p.stop()
	if failed := p.failed.Load(); failed != nil {
		return 0, sum, closeAfter(p.file, *failed)
	}
	if err := closeAfter(p.file, p.file.Sync()); err != nil {
		return 0, sum, err
	}
	p.sum.Sum(sum[:0])
	return p.size, sum, nil
}

// abort ends the pipe and closes the file, whose bytes nobody wants.
func (p *pipe) abort() {
	giveUp := io.ErrClosedPipe
	p.failed.CompareAndSwap(nil, &giveUp)
	p.stop()
	_ = p.file.Close() // nothing written to it is kept
}
