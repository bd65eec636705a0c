package archive

import (
	"bytes"
	"io"
	"math"
)

// Bits of the flags of an entry.
const (
	flagEncrypted       = 1 << 0
	flagStreamed        = 1 << 3 // sizes and CRC follow the data
	flagStrongEncrypted = 1 << 6
	flagUTF8            = 1 << 11
	flagMasked          = 1 << 13 // the directory is encrypted

	flagsEncrypted = flagEncrypted | flagStrongEncrypted | flagMasked
)

// span is the part of the archive that an entry takes: header, data, descriptor.
type span struct {
	from, to int64
	name     string
}

// localReader reads what is in front of and behind the data of entries.
type localReader struct {
	r     io.ReaderAt
	limit int64 // where the directory begins, and entries end
	buf   []byte
}

// locate finds the data of the entry h, which is shown as name, and the part of
// the archive that the entry takes. It refuses an entry whose local header says
// anything but what the directory says: programs that trust the one would unpack
// other files than those that trust the other.
func (l *localReader) locate(h header, name string) (dataAt int64, s span, err error) {
	if h.offset > uint64(l.limit) || l.limit-int64(h.offset) < int64(localHeaderLen+len(h.name)) {
		return 0, s, lost(name)
	}
	from := int64(h.offset)
	b := l.bytes(localHeaderLen + len(h.name))
	if err := readAt(l.r, b, from); err != nil {
		return 0, s, err
	}
	if le.Uint32(b) != localHeaderSig {
		return 0, s, lost(name)
	}
	if int(le.Uint16(b[26:])) != len(h.name) || !bytes.Equal(b[localHeaderLen:], h.name) {
		return 0, s, refuseEntry(name, RuleMismatch, "has another name in front of its data; pack the archive again")
	}
	if le.Uint16(b[8:]) != h.method || le.Uint16(b[6:])&flagsEncrypted != 0 {
		return 0, s, mismatch(name)
	}
	extraLen := int64(le.Uint16(b[28:]))
	extraAt := from + int64(len(b))
	dataAt = extraAt + extraLen
	if dataAt > l.limit || h.packed > uint64(l.limit-dataAt) {
		return 0, s, lost(name)
	}
	to, err := l.checkSizes(h, name, localSizes(b), extraAt, dataAt)
	return dataAt, span{from, to, name}, err
}

func lost(name string) error {
	return refuseEntry(name, RuleMismatch, "is not where the directory of the archive says; the archive was damaged: pack it again")
}

func mismatch(name string) error {
	return refuseEntry(name, RuleMismatch, "is described in two ways that contradict each other; pack the archive again")
}

// sizes are what a local header says about its data.
type sizes struct {
	streamed     bool
	crc          uint32
	packed, size uint64
}

func localSizes(b []byte) sizes {
	return sizes{
		streamed: le.Uint16(b[6:])&flagStreamed != 0,
		crc:      le.Uint32(b[14:]),
		packed:   uint64(le.Uint32(b[18:])),
		size:     uint64(le.Uint32(b[22:])),
	}
}

// checkSizes compares the sizes of the local header with those of the directory
// and returns where the entry ends.
func (l *localReader) checkSizes(h header, name string, s sizes, extraAt, dataAt int64) (int64, error) {
	known := true
	if s.packed == math.MaxUint32 || s.size == math.MaxUint32 {
		extra := l.bytes(int(dataAt - extraAt))
		if err := readAt(l.r, extra, extraAt); err != nil {
			return 0, err
		}
		known = take64(extra, &s.size, &s.packed)
	}
	end := dataAt + int64(h.packed)
	if !s.streamed {
		if !known || s.crc != h.crc || s.packed != h.packed || s.size != h.size {
			return 0, mismatch(name)
		}
		return end, nil
	}
	if known && !(sameOrZero(uint64(s.crc), uint64(h.crc)) && sameOrZero(s.packed, h.packed) && sameOrZero(s.size, h.size)) {
		return 0, mismatch(name)
	}
	if isFolder(name) {
		return end, nil // some tools set the flag for folders, and write no descriptor
	}
	n, err := l.descriptorLen(h, end)
	if err == nil && n == 0 {
		err = mismatch(name)
	}
	return end + n, err
}

func sameOrZero(got, want uint64) bool { return got == 0 || got == want }

// descriptorLen returns the length of the data descriptor at off, which holds CRC,
// packed and unpacked size of h. It may or may not begin with a signature, and have
// sizes of 32 or of 64 bits (4.3.9 of APPNOTE.TXT); zero says that none fits.
func (l *localReader) descriptorLen(h header, off int64) (int64, error) {
	b := l.bytes(int(min(24, l.limit-off)))
	if err := readAt(l.r, b, off); err != nil {
		return 0, err
	}
	for _, sig := range []int{4, 0} {
		if len(b) < sig+12 || sig == 4 && le.Uint32(b) != descriptorSig || le.Uint32(b[sig:]) != h.crc {
			continue
		}
		numbers := b[sig+4:]
		if len(numbers) >= 16 && le.Uint64(numbers) == h.packed && le.Uint64(numbers[8:]) == h.size {
			return int64(sig + 20), nil
		}
		// Some writers keep the low 32 bits of larger sizes.
		if le.Uint32(numbers) == uint32(h.packed) && le.Uint32(numbers[4:]) == uint32(h.size) {
			return int64(sig + 12), nil
		}
	}
	return 0, nil
}

// bytes returns a buffer of n bytes, valid until the next call.
func (l *localReader) bytes(n int) []byte {
	if n > cap(l.buf) {
		l.buf = make([]byte, max(n, 1<<10))
	}
	return l.buf[:n]
}
