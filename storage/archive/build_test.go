package archive

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"
)

// entry describes an entry of a hand-made archive. What is left zero is what an
// honest tool would write; the functions falsify it afterwards.
type entry struct {
	name     string
	data     string
	deflate  bool
	streamed bool // sizes and CRC follow the data
	bareDesc bool // the descriptor has no signature
	wideDesc bool // the descriptor has sizes of 64 bits
	zip64    bool // sizes and offset are in zip64 fields
	flags    uint16
	mode     uint16 // of Unix
	extra    []byte // in the directory
	gap      int    // bytes before the local header

	local   func(rec []byte) []byte // changes the local header
	central func(rec []byte) []byte // changes the directory's record
	desc    func(rec []byte) []byte // changes the descriptor
}

// archiveSpec describes the whole of a hand-made archive.
type archiveSpec struct {
	entries []entry
	prefix  string // not counted in the offsets
	comment string
	zip64   bool // has the zip64 end records
	padding string
	end     func(rec []byte) []byte // changes the end record
	end64   func(rec []byte) []byte // changes the zip64 end record
	locator func(rec []byte) []byte // changes the zip64 locator
}

func build(entries ...entry) []byte { return archiveSpec{entries: entries}.bytes() }

func (s archiveSpec) bytes() []byte {
	var body, dir []byte
	for _, e := range s.entries {
		body = append(body, make([]byte, e.gap)...)
		at := len(body)
		body = append(body, e.localBytes()...)
		dir = append(dir, e.centralBytes(at)...)
	}
	end := s.endBytes(len(body), len(dir)+len(s.padding))
	return slices.Concat([]byte(s.prefix), body, dir, []byte(s.padding), end)
}

func (s archiveSpec) endBytes(offset, size int) []byte {
	n := len(s.entries)
	var out []byte
	if s.zip64 {
		end64 := rec(uint32(end64Sig), uint64(end64Len-12), uint16(45), uint16(45), uint32(0), uint32(0),
			uint64(n), uint64(n), uint64(size), uint64(offset))
		loc := rec(uint32(end64LocatorSig), uint32(0), uint64(offset+size), uint32(1))
		out = append(changed(end64, s.end64), changed(loc, s.locator)...)
	}
	end := rec(uint32(endSig), uint16(0), uint16(0), uint16(n), uint16(n), uint32(size), uint32(offset), uint16(len(s.comment)), s.comment)
	return append(out, changed(end, s.end)...)
}

func changed(rec []byte, change func([]byte) []byte) []byte {
	if change == nil {
		return rec
	}
	return change(rec)
}

func (e entry) method() uint16 {
	if e.deflate {
		return methodDeflate
	}
	return methodStore
}

func (e entry) allFlags() uint16 {
	flags := e.flags
	if e.streamed {
		flags |= flagStreamed
	}
	return flags
}

func (e entry) packed() []byte {
	if !e.deflate {
		return []byte(e.data)
	}
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestSpeed)
	if err != nil {
		panic(err)
	}
	if _, err := w.Write([]byte(e.data)); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func (e entry) localBytes() []byte {
	crc, packed, size := crc32.ChecksumIEEE([]byte(e.data)), uint32(len(e.packed())), uint32(len(e.data))
	var extra, desc []byte
	switch {
	case e.streamed:
		desc = e.descriptor()
		crc, packed, size = 0, 0, 0
	case e.zip64:
		extra = zip64Extra(uint64(size), uint64(packed))
		packed, size = 1<<32-1, 1<<32-1
	}
	out := rec(uint32(localHeaderSig), uint16(20), e.allFlags(), e.method(), uint16(0), uint16(0x21),
		crc, packed, size, uint16(len(e.name)), uint16(len(extra)), e.name, extra)
	out = changed(out, e.local)
	return slices.Concat(out, e.packed(), desc)
}

func (e entry) descriptor() []byte {
	var sig []byte
	if !e.bareDesc {
		sig = rec(uint32(descriptorSig))
	}
	crc, packed, size := crc32.ChecksumIEEE([]byte(e.data)), len(e.packed()), len(e.data)
	if e.wideDesc {
		return changed(rec(sig, crc, uint64(packed), uint64(size)), e.desc)
	}
	return changed(rec(sig, crc, uint32(packed), uint32(size)), e.desc)
}

func (e entry) centralBytes(at int) []byte {
	packed, size, offset := uint32(len(e.packed())), uint32(len(e.data)), uint32(at)
	extra := e.extra
	if e.zip64 {
		extra = append(zip64Extra(uint64(size), uint64(packed), uint64(offset)), extra...)
		packed, size, offset = 1<<32-1, 1<<32-1, 1<<32-1
	}
	out := rec(uint32(directorySig), uint16(3<<8|20), uint16(20), e.allFlags(), e.method(), uint16(0), uint16(0x21),
		crc32.ChecksumIEEE([]byte(e.data)), packed, size, uint16(len(e.name)), uint16(len(extra)), uint16(0),
		uint16(0), uint16(0), uint32(e.mode)<<16, offset, e.name, extra)
	return changed(out, e.central)
}

func zip64Extra(numbers ...uint64) []byte {
	out := rec(uint16(1), uint16(8*len(numbers)))
	for _, n := range numbers {
		out = rec(out, n)
	}
	return out
}

// extraOf is an extra field.
func extraOf(id uint16, data ...any) []byte {
	b := rec(data...)
	return rec(id, uint16(len(b)), b)
}

// rec puts numbers together as a record of a zip file.
func rec(fields ...any) []byte {
	out := make([]byte, 0, 128)
	for _, f := range fields {
		switch f := f.(type) {
		case uint8:
			out = append(out, f)
		case uint16:
			out = binary.LittleEndian.AppendUint16(out, f)
		case uint32:
			out = binary.LittleEndian.AppendUint32(out, f)
		case uint64:
			out = binary.LittleEndian.AppendUint64(out, f)
		case []byte:
			out = append(out, f...)
		case string:
			out = append(out, f...)
		default:
			panic(fmt.Sprintf("a record has no %T", f))
		}
	}
	return out
}

// set16, set32 and set64 return a change that puts v at off.
func set16(off int, v uint16) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint16(b[off:], v); return b }
}

func set32(off int, v uint32) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[off:], v); return b }
}

func set64(off int, v uint64) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint64(b[off:], v); return b }
}

// check runs Check over an archive in memory.
func check(t testing.TB, zip []byte, limits Limits) (*Listing, error) {
	t.Helper()
	return Check(bytes.NewReader(zip), int64(len(zip)), limits)
}
