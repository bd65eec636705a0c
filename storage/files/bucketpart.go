package files

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	// pieceBytes is how the memory for parts is given out.
	pieceBytes = 1 << 20
	// appendBytes is how much memory the parts of all files of a bucket that grow may take together.
	// Room for a part is set aside for those, too, whose bytes come slowly.
	appendBytes = 192 << 20
	// writeBytes is how much all others may take together, which do not wait for those: files of
	// Create and of batches, and the last bytes of those that Finish puts together.
	writeBytes = 192 << 20
)

// partPool lends the memory for parts. Room for a whole part is set aside before its first byte
// comes: so nobody waits for more while holding some, and somebody can always go on. Those who
// wait are served in order.
type partPool struct {
	room   *semaphore.Weighted
	pieces *sync.Pool
}

func newPartPool(size int64) partPool {
	return partPool{semaphore.NewWeighted(size), &sync.Pool{New: func() any { return new([pieceBytes]byte) }}}
}

// part is some bytes of a file on their way to the bucket.
type part struct {
	pool   *partPool
	limit  int64 // how many it may have
	size   int64
	pieces []*[pieceBytes]byte
}

// get waits for room for a part of up to limit bytes. Free it when done.
func (p *partPool) get(ctx context.Context, limit int64) (*part, error) {
	if err := p.room.Acquire(ctx, limit); err != nil {
		return nil, context.Cause(ctx)
	}
	return &part{pool: p, limit: limit}, nil
}

// free gives the memory back. Doing it again, or with nil, does nothing.
func (p *part) free() {
	if p == nil || p.pool == nil {
		return
	}
	for _, piece := range p.pieces {
		p.pool.pieces.Put(piece)
	}
	p.pool.room.Release(p.limit)
	p.pool, p.pieces = nil, nil
}

func (p *part) full() bool { return p.size == p.limit }

// fill takes in as much of data as there is room for, and returns how much that is.
func (p *part) fill(data []byte) int {
	taken := 0
	for taken < len(data) && !p.full() {
		if p.size == int64(len(p.pieces))*pieceBytes {
			p.pieces = append(p.pieces, p.pool.pieces.Get().(*[pieceBytes]byte))
		}
		end := min(pieceBytes, p.limit-p.size+p.size%pieceBytes)
		n := copy(p.pieces[p.size/pieceBytes][p.size%pieceBytes:end], data[taken:])
		p.size += int64(n)
		taken += n
	}
	return taken
}

// Write implements [io.Writer], for what is known to have room.
func (p *part) Write(data []byte) (int, error) {
	n := p.fill(data)
	if n < len(data) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// ReadAt implements [io.ReaderAt].
func (p *part) ReadAt(data []byte, off int64) (int, error) {
	read := 0
	for read < len(data) && off < p.size {
		piece := p.pieces[off/pieceBytes][:min(pieceBytes, p.size-off+off%pieceBytes)]
		n := copy(data[read:], piece[off%pieceBytes:])
		off += int64(n)
		read += n
	}
	if read < len(data) {
		return read, io.EOF
	}
	return read, nil
}

// reader reads the part from its beginning, as often as the client wants to.
func (p *part) reader() io.ReadSeeker { return io.NewSectionReader(p, 0, p.size) }

// crc is the CRC-32C of the bytes.
func (p *part) crc() uint32 {
	var sum uint32
	for i, piece := range p.pieces {
		sum = crc32.Update(sum, castagnoli, piece[:min(pieceBytes, p.size-int64(i)*pieceBytes)])
	}
	return sum
}

// encodeCRC is a CRC-32C as S3 writes it.
func encodeCRC(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}
