package files

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
)

const (
	// blockBytes is how much is hashed and written at a time: large enough that handing a block over
	// costs little, and so small that whoever has little to do need not wait long for a processor. A
	// writer that waits for a slow client holds one.
	blockBytes = 64 << 10
	// maxBlocks is how many blocks a pipe has in use at a time.
	maxBlocks = 16
)

// block is a piece of the file on its way to the digest and to the store.
type block struct {
	data [blockBytes]byte
	n    int
	uses atomic.Int32 // of the two ways, those that still need it
	mark *mark        // what to do when all before it has passed, in place of data
}

// mark lets both ways of a pipe meet at one place in the file.
type mark struct {
	digest  Digest
	hashed  chan struct{} // closed when digest is that of all bytes before the mark
	written func()        // called when all bytes before the mark were handed to the store
}

// processors bounds how many blocks are hashed at once, in all pipes, to as many as there are
// processors: more would not be faster, and who has little to do would wait behind them.
var processors = make(chan struct{}, runtime.GOMAXPROCS(0))

var blocks = sync.Pool{New: func() any { return new(block) }}

// pipe passes bytes on to a digest and to a store, each in a goroutine of its own.
type pipe struct {
	write   func(p []byte) error
	digest  Digest
	filled  *block // being filled; nil at first
	slots   chan struct{}
	toHash  chan *block
	toStore chan *block
	done    sync.WaitGroup
	failed  atomic.Pointer[error] // the first error of the store
}

// newPipe starts a pipe that goes on with digest, and writes with write.
func newPipe(write func(p []byte) error, digest Digest) *pipe {
	p := &pipe{
		write:   write,
		digest:  digest,
		slots:   make(chan struct{}, maxBlocks),
		toHash:  make(chan *block, maxBlocks+1),
		toStore: make(chan *block, maxBlocks+1),
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
	if p.filled.n == blockBytes {
		p.send()
	}
}

func (p *pipe) send() {
	if p.filled == nil {
		return
	}
	p.filled.uses.Store(2)
	p.toHash <- p.filled
	p.toStore <- p.filled
	p.filled = nil
}

// mark sends what is there on, and a mark behind it.
func (p *pipe) mark(m *mark) {
	p.send()
	b := &block{mark: m}
	p.toHash <- b
	p.toStore <- b
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

// readFrom takes in all of r and returns r's error and the store's. each, where it is not nil, is
// called after each read.
func (p *pipe) readFrom(r io.Reader, each func()) (size int64, readErr, err error) {
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
		if each != nil {
			each()
		}
	}
}

func (p *pipe) hashBlocks() {
	for b := range p.toHash {
		if b.mark != nil {
			b.mark.digest = p.digest.Clone()
			close(b.mark.hashed)
			continue
		}
		processors <- struct{}{}
		_, _ = p.digest.Write(b.data[:b.n]) // it has no errors
		<-processors
		p.release(b)
	}
}

// writeBlocks writes until the store fails, and then only lets the blocks pass.
func (p *pipe) writeBlocks() {
	for b := range p.toStore {
		if b.mark != nil {
			b.mark.written()
			continue
		}
		if p.failed.Load() == nil {
			if err := p.write(b.data[:b.n]); err != nil {
				p.failed.Store(&err)
			}
		}
		p.release(b)
	}
}

func (p *pipe) release(b *block) {
	if b.uses.Add(-1) == 0 {
		blocks.Put(b)
		<-p.slots
	}
}

// finish sends what is left, waits for both ways to end, and returns the digest of all bytes.
func (p *pipe) finish() (Digest, error) {
	p.send()
	close(p.toHash)
	close(p.toStore)
	p.done.Wait()
	if failed := p.failed.Load(); failed != nil {
		return Digest{}, *failed
	}
	return p.digest, nil
}

// abort ends the pipe; nobody wants its bytes.
func (p *pipe) abort() {
	giveUp := io.ErrClosedPipe
	p.failed.CompareAndSwap(nil, &giveUp)
	_, _ = p.finish() // it failed, as just said
}
