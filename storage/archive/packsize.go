package archive

import (
	"math"
	"path"
	"strings"
)

// The lengths of what archive/zip writes about a file, in bytes (APPNOTE.TXT 4.3): the name comes on
// top, twice. Every file has the time in an extra field, and its sizes behind the data.
const (
	localHeader     = 30 + timeExtra
	timeExtra       = 9
	descriptor      = 16
	descriptor64    = 24
	directoryHeader = 46 + timeExtra
	extra64         = 28
	directoryEnd    = 22
	directoryEnd64  = 56 + 20
	storedBlock     = math.MaxUint16 // of Deflate (RFC 1951, section 3.2.4)
	storedHeader    = 5
	deflateEnd      = 2 // an empty block with fixed codes, as package flate ends
)

// PackedSize returns how many bytes [Pack] will write of sources whose Size is given, and whether
// that is known: it is when all of them are packed already, and so are not packed again.
func PackedSize(sources []Source) (size int64, known bool) {
	var offset, directory int64
	for _, s := range sources {
		if !packedAlready(s.Name) {
			return 0, false
		}
		data := storedSize(s.Size)
		name := int64(len(s.Name))
		directory += directoryHeader + name
		if data >= math.MaxUint32 || offset >= math.MaxUint32 {
			directory += extra64
		}
		offset += localHeader + name + data + descriptor
		if data >= math.MaxUint32 {
			offset += descriptor64 - descriptor
		}
	}
	end := int64(directoryEnd)
	if len(sources) >= math.MaxUint16 || offset >= math.MaxUint32 || directory >= math.MaxUint32 {
		end += directoryEnd64
	}
	return offset + directory + end, true
}

// storedSize is how long size bytes are as blocks of Deflate that are stored.
func storedSize(size int64) int64 {
	blocks := (size + storedBlock - 1) / storedBlock
	return size + blocks*storedHeader + deflateEnd
}

// packedAlready reports whether Deflate makes a file of that name no smaller.
func packedAlready(name string) bool { return alreadyPacked[strings.ToLower(path.Ext(name))] }
