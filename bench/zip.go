package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
)

// block is the content of an entry of an archive, packed.
type block struct {
	method uint16 // zip.Store or zip.Deflate
	size   uint64 // unpacked
	crc    uint32
	packed []byte
}

// randomBlock is a block that cannot be packed, stored as it is.
func randomBlock(size int) block {
	raw := make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(raw) // never fails
	return block{method: zip.Store, size: uint64(size), crc: crc32.ChecksumIEEE(raw), packed: raw}
}

// csvBlock is a block of lines as an export of data has them, a row of twelve months each; it
// packs about two and a half times smaller.
func csvBlock(size int, seed uint64) (block, error) {
	random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // the same each time, not secret
	var raw bytes.Buffer
	for raw.Len() < size {
		fmt.Fprintf(&raw, "Account_%d,FY%d,Actual,E_%d", random.IntN(5000), 20+random.IntN(8), random.IntN(999))
		for range 12 {
			fmt.Fprintf(&raw, ",%.2f", random.Float64()*1e6)
		}
		raw.WriteByte('\n')
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.DefaultCompression)
	if err != nil {
		return block{}, err
	}
	if _, err := w.Write(raw.Bytes()); err != nil {
		return block{}, err
	}
	if err := w.Close(); err != nil {
		return block{}, err
	}
	return block{method: zip.Deflate, size: uint64(raw.Len()), crc: crc32.ChecksumIEEE(raw.Bytes()), packed: packed.Bytes()}, nil
}

// zipStream is a zip archive in pieces, in order. Entries with the same content share its piece,
// so that an archive of any size takes little memory, and giving it out costs no more than a copy.
type zipStream struct {
	pieces [][]byte
	size   int64
	shared []byte // what the zip writer is about to pass through
}

// newZip makes an archive of so many entries, which have the blocks' contents in turn.
func newZip(entries int, blocks ...block) (*zipStream, error) {
	a := &zipStream{}
	w := zip.NewWriter(a)
	for i := range entries {
		b := blocks[i%len(blocks)]
		entry, err := w.CreateRaw(&zip.FileHeader{
			Name: fmt.Sprintf("export-%02d/part-%05d.csv", i%20, i), Method: b.method, CRC32: b.crc,
			CompressedSize64: uint64(len(b.packed)), UncompressedSize64: b.size,
		})
		if err != nil {
			return nil, err
		}
		if err := w.Flush(); err != nil { // so that the block is passed through whole
			return nil, err
		}
		a.shared = b.packed
		if _, err := entry.Write(b.packed); err != nil {
			return nil, err
		}
	}
	return a, w.Close()
}

// Write takes the next piece from the zip writer.
func (a *zipStream) Write(p []byte) (int, error) {
	a.size += int64(len(p))
	if len(p) == len(a.shared) && &p[0] == &a.shared[0] {
		a.pieces = append(a.pieces, p)
	} else {
		a.pieces = append(a.pieces, slices.Clone(p))
	}
	return len(p), nil
}

// WriteTo gives the archive out.
func (a *zipStream) WriteTo(w io.Writer) (int64, error) {
	var n int64
	for _, piece := range a.pieces {
		m, err := w.Write(piece)
		if n += int64(m); err != nil {
			return n, err
		}
	}
	return n, nil
}
