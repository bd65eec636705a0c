package archive

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// Signatures and lengths of the records of a zip file, without their variable
// parts, from PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16.
const (
	localHeaderSig  = 0x04034b50
	directorySig    = 0x02014b50
	descriptorSig   = 0x08074b50
	end64Sig        = 0x06064b50
	end64LocatorSig = 0x07064b50
	endSig          = 0x06054b50

	localHeaderLen     = 30
	directoryHeaderLen = 46
	end64Len           = 56
	end64LocatorLen    = 20
	endLen             = 22

	maxCommentLen = math.MaxUint16
)

// le reads the little-endian numbers of a record.
var le = binary.LittleEndian

// end is what the records at the end of an archive say about its directory.
type end struct {
	offset  int64 // of the directory
	size    int64 // of the directory, in bytes
	entries uint64
	// exact is whether entries is the full count: without zip64 it has 16 bits, and
	// some tools let it run over.
	exact bool
}

var errCutOff = refuse(RuleNotAZip, "is not a zip file, or was cut off or damaged on the way; check that it opens, and send it again")

// readEnd finds the directory. Every byte from the directory to the end of the
// file must be accounted for: archives that two programs read in two ways live on
// what is not.
func readEnd(r io.ReaderAt, size int64) (end, error) {
	if size < endLen {
		return end{}, errCutOff
	}
	tail := make([]byte, min(size, endLen+maxCommentLen))
	if err := readAt(r, tail, size-int64(len(tail))); err != nil {
		return end{}, err
	}
	i := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if i < 0 || len(tail)-i < endLen {
		return end{}, errCutOff
	}
	rec := tail[i:]
	// Only padding may follow: bsdtar fills up to a block when it writes to a pipe.
	if length := endLen + int(le.Uint16(rec[20:])); length > len(rec) || len(bytes.Trim(rec[length:], "\x00")) > 0 {
		return end{}, refuse(RuleNotAZip, "does not end where its last record says; it was damaged on the way, or has other bytes behind it: send the plain zip file")
	}
	e := end{
		entries: uint64(le.Uint16(rec[10:])),
		size:    int64(le.Uint32(rec[12:])),
		offset:  int64(le.Uint32(rec[16:])),
	}
	if le.Uint16(rec[4:]) != le.Uint16(rec[6:]) || le.Uint16(rec[8:]) != le.Uint16(rec[10:]) {
		return end{}, errSplit
	}
	at := size - int64(len(rec))
	e, at, err := readEnd64(r, at, e, le.Uint16(rec[4:]))
	if err != nil {
		return end{}, err
	}
	return e, e.checkPlace(at)
}

var errSplit = refuse(RuleSplitArchive, "is one part of a split archive; send it as a single zip file")

// readEnd64 looks for the zip64 records before the end record, whose offset is at
// and which says e, and returns what they say and where they begin. The end record must
// agree with them, or leave the number to them.
func readEnd64(r io.ReaderAt, at int64, e end, disk uint16) (end, int64, error) {
	var loc [end64LocatorLen]byte
	if at >= end64LocatorLen {
		if err := readAt(r, loc[:], at-end64LocatorLen); err != nil {
			return e, 0, err
		}
	}
	if le.Uint32(loc[:]) != end64LocatorSig {
		if disk != 0 {
			return e, 0, errSplit
		}
		return e, at, nil
	}
	locatorAt := at - end64LocatorLen
	recAt := le.Uint64(loc[8:])
	if le.Uint32(loc[4:]) != 0 || le.Uint32(loc[16:]) != 1 {
		return e, 0, errSplit
	}
	if recAt > uint64(max(0, locatorAt-end64Len)) {
		return e, 0, errCutOff
	}
	var rec [end64Len]byte
	if err := readAt(r, rec[:], int64(recAt)); err != nil {
		return e, 0, err
	}
	if le.Uint32(rec[:]) != end64Sig || le.Uint64(rec[4:]) != uint64(locatorAt)-recAt-12 {
		return e, 0, errCutOff
	}
	return e.merge64(rec[:], int64(recAt))
}

// merge64 takes the numbers of the zip64 end record rec, which is at at.
func (e end) merge64(rec []byte, at int64) (end, int64, error) {
	entries, size, offset := le.Uint64(rec[32:]), le.Uint64(rec[40:]), le.Uint64(rec[48:])
	if le.Uint32(rec[16:]) != 0 || le.Uint32(rec[20:]) != 0 || le.Uint64(rec[24:]) != entries {
		return e, 0, errSplit
	}
	agree := func(short, full, most uint64) bool { return short == most || short == full }
	if !agree(e.entries, entries, math.MaxUint16) ||
		!agree(uint64(e.size), size, math.MaxUint32) ||
		!agree(uint64(e.offset), offset, math.MaxUint32) {
		return e, 0, refuse(RuleMismatch, "says two different things about its size; pack it again with another tool")
	}
	if size > math.MaxInt64 || offset > math.MaxInt64 {
		return e, 0, errCutOff
	}
	return end{offset: int64(offset), size: int64(size), entries: entries, exact: true}, at, nil
}

// checkPlace checks that the directory ends at at, where the end records begin.
func (e end) checkPlace(at int64) error {
	switch {
	case e.offset > at || e.size > at-e.offset:
		return errCutOff
	case e.offset+e.size < at:
		return refuse(RuleLeadingBytes, "begins %d bytes too late: it is self-extracting, damaged, or larger than 4 GiB and made by a tool that cannot do that; send a plain zip file", at-e.offset-e.size)
	}
	return nil
}

// directory reads the central directory, one record at a time.
type directory struct {
	r    *bufio.Reader
	left int64 // bytes of the directory that were not read yet
	rec  [directoryHeaderLen]byte
	tail []byte // name, extra fields and comment of the record
}

func newDirectory(r io.ReaderAt, e end) *directory {
	section := io.NewSectionReader(r, e.offset, e.size)
	return &directory{r: bufio.NewReaderSize(section, 64<<10), left: e.size}
}

// header is a record of the central directory.
type header struct {
	flags    uint16
	method   uint16
	dosTime  uint16
	dosDate  uint16
	crc      uint32
	packed   uint64
	size     uint64
	offset   uint64 // of the local header
	external uint32 // attributes
	// name, as it is written, and extra are valid until the next record is read.
	name  []byte
	extra []byte
}

// next returns the next record, and [io.EOF] after the last one.
func (d *directory) next() (header, error) {
	if d.left == 0 {
		return header{}, io.EOF
	}
	if err := d.read(d.rec[:]); err != nil {
		return header{}, err
	}
	b := d.rec[:]
	if le.Uint32(b) != directorySig {
		return header{}, errCutOff
	}
	nameLen, extraLen, commentLen := int(le.Uint16(b[28:])), int(le.Uint16(b[30:])), int(le.Uint16(b[32:]))
	d.tail = slices.Grow(d.tail[:0], nameLen+extraLen+commentLen)[:nameLen+extraLen+commentLen]
	if err := d.read(d.tail); err != nil {
		return header{}, err
	}
	h := header{
		flags:    le.Uint16(b[8:]),
		method:   le.Uint16(b[10:]),
		dosTime:  le.Uint16(b[12:]),
		dosDate:  le.Uint16(b[14:]),
		crc:      le.Uint32(b[16:]),
		packed:   uint64(le.Uint32(b[20:])),
		size:     uint64(le.Uint32(b[24:])),
		offset:   uint64(le.Uint32(b[42:])),
		external: le.Uint32(b[38:]),
		name:     d.tail[:nameLen],
		extra:    d.tail[nameLen : nameLen+extraLen],
	}
	if disk := le.Uint16(b[34:]); disk != 0 && disk != math.MaxUint16 {
		return header{}, errSplit
	}
	if !take64(h.extra, &h.size, &h.packed, &h.offset) {
		return header{}, refuseEntry(string(h.name), RuleMismatch, "does not say how large it is; pack it again with a tool that knows files over 4 GiB (zip64)")
	}
	return h, nil
}

func (d *directory) read(b []byte) error {
	if int64(len(b)) > d.left {
		return errCutOff
	}
	d.left -= int64(len(b))
	if _, err := io.ReadFull(d.r, b); err != nil {
		return readError(err)
	}
	return nil
}

// extraField returns the extra field with the given id, or nil.
func extraField(extra []byte, id uint16) []byte {
	for len(extra) >= 4 {
		n := int(le.Uint16(extra[2:]))
		if n > len(extra)-4 {
			return nil
		}
		if le.Uint16(extra) == id {
			return extra[4 : 4+n]
		}
		extra = extra[4+n:]
	}
	return nil
}

// take64 replaces those numbers that are too large for 32 bits, and so have all of
// them set, by what the zip64 field says, which holds just these and in this order.
// It reports whether all were found.
func take64(extra []byte, numbers ...*uint64) bool {
	const zip64ID = 0x0001
	field := extraField(extra, zip64ID)
	for _, n := range numbers {
		if *n != math.MaxUint32 {
			continue
		}
		if len(field) < 8 {
			return false
		}
		*n, field = le.Uint64(field), field[8:]
	}
	return true
}

// readAt fills b from off on.
func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	return readError(err)
}

// readError tells an archive that ends too early from trouble with reading it.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCutOff
	}
	return fmt.Errorf("read archive: %w", err)
}
