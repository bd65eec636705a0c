package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"sync"
)

// ErrDamaged is wrapped by the error of reading bytes that are not those which were stored, and of
// going on with a file that grows, or finishing it, of which bytes that had come are gone.
var ErrDamaged = errors.New("the stored file is damaged")

// Verify returns a file that holds what it reads of f against sums (see [Digest.Sums]) before it
// hands it on, block by block: bytes that are not those which were stored give an error that wraps
// [ErrDamaged], and never reach anybody. name is for the error; damaged, where it is not nil, is told
// of it.
func Verify(f File, name string, sums []byte, damaged func(error)) *Verified {
	return &Verified{File: f, name: name, sums: sums, tell: damaged}
}

// Verified is a file whose bytes are checked as they are read.
type Verified struct {
	File
	name string
	sums []byte
	tell func(error)
	at   int64 // where Read goes on

	mu     sync.Mutex
	blocks []*checkedBlock // the one used last is the last
}

// checkedBlock is a block that was read. It may be given another place in the file when nobody uses
// it.
type checkedBlock struct {
	index int64
	users int
	spent bool // it was handed on in order: nobody is expected to come back to it

	mu     sync.Mutex
	data   []byte // of buffer; nil until it is read and right
	buffer []byte
}

// Read implements [io.Reader].
func (v *Verified) Read(p []byte) (int, error) {
	n, err := v.ReadAt(p[:min(len(p), SumBlock)], v.at)
	v.at += int64(n)
	if n > 0 {
		err = nil // or it comes again
	}
	return n, err
}

// Seek implements [io.Seeker].
func (v *Verified) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += v.at
	case io.SeekEnd:
		offset += v.Size()
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek in file %s: %d is before its beginning", v.name, offset)
	}
	v.at = offset
	return offset, nil
}

// CopyN writes the next n bytes, or those up to the end, to dst, a block at a time and with no copy
// between. readErr is an error of this file, err one of dst.
func (v *Verified) CopyN(dst io.Writer, n int64) (copied int64, readErr, err error) {
	for copied < n && v.at < v.Size() && readErr == nil && err == nil {
		readErr = v.withBlock(v.at, func(block []byte) (spent bool) {
			var m int
			m, err = dst.Write(block[:min(int64(len(block)), n-copied)])
			v.at += int64(m)
			copied += int64(m)
			return m == len(block)
		})
	}
	return copied, readErr, err
}

// ReadAt implements [io.ReaderAt].
func (v *Verified) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		if at >= v.Size() {
			return n, io.EOF
		}
		err := v.withBlock(at, func(block []byte) (spent bool) {
			n += copy(p[n:], block)
			return false
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// withBlock calls use with the rest of the block that holds the byte at. What is spent then is the
// first to make room, and stays in the processor's cache that way.
func (v *Verified) withBlock(at int64, use func(block []byte) (spent bool)) error {
	b, spent := v.take(at/SumBlock), false
	defer func() { v.giveBack(b, spent) }()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.data == nil {
		if err := v.load(b); err != nil {
			if v.tell != nil && errors.Is(err, ErrDamaged) {
				v.tell(err)
			}
			return err
		}
	}
	spent = use(b.data[at%SumBlock:])
	return nil
}

// take returns the block with that index, to be given back. There are as many as may be read side by
// side, so that those who unpack an archive do not take them from each other.
func (v *Verified) take(index int64) *checkedBlock {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := slices.IndexFunc(v.blocks, func(b *checkedBlock) bool { return b.index == index })
	if i < 0 {
		full := len(v.blocks) > runtime.GOMAXPROCS(0)
		i = slices.IndexFunc(v.blocks, func(b *checkedBlock) bool { return b.users == 0 && (b.spent || full) })
	}
	var b *checkedBlock
	if i < 0 {
		b = &checkedBlock{index: index}
	} else {
		b = v.blocks[i]
		v.blocks = slices.Delete(v.blocks, i, i+1)
	}
	if b.index != index {
		b.index, b.data = index, nil
	}
	v.blocks = append(v.blocks, b)
	b.users++
	return b
}

func (v *Verified) giveBack(b *checkedBlock, spent bool) {
	v.mu.Lock()
	b.users--
	b.spent = spent
	v.mu.Unlock()
}

// load reads and checks a block.
func (v *Verified) load(b *checkedBlock) error {
	begin := b.index * SumBlock
	length := min(SumBlock, v.Size()-begin)
	if b.buffer == nil {
		b.buffer = make([]byte, min(SumBlock, v.Size()))
	}
	data := b.buffer[:length]
	switch n, err := v.File.ReadAt(data, begin); {
	case int64(n) < length && errors.Is(err, io.EOF):
		return v.damaged(begin, "it is shorter than it was")
	case int64(n) < length:
		return fmt.Errorf("read file %s: %w", v.name, err)
	}
	if int64(len(v.sums)) < (b.index+1)*4 || crc32.Checksum(data, castagnoli) != binary.BigEndian.Uint32(v.sums[b.index*4:]) {
		return v.damaged(begin, "its bytes are not those which were stored")
	}
	b.data = data
	return nil
}

func (v *Verified) damaged(at int64, what string) error {
	return fmt.Errorf("read file %s: %w: from byte %d on, %s", v.name, ErrDamaged, at, what)
}
