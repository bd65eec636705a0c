package archive

import (
	"hash/crc32"
	"io/fs"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// maxPartBytes is the longest file name of ext4, XFS, Btrfs and APFS.
const maxPartBytes = 255

// decodeName returns the name of h in UTF-8.
//
// A name without the flag for UTF-8 is CP437 by the standard. macOS writes UTF-8
// without the flag, though, and text in CP437 that is not ASCII is hardly ever
// valid UTF-8, so what is valid is taken for it.
func decodeName(h header) (string, error) {
	if h.flags&flagUTF8 != 0 && !utf8.Valid(h.name) {
		return "", refuseEntry(string(h.name), RuleNotUTF8, "has a name that is said to be UTF-8 and is not; rename it and pack again")
	}
	if name := unicodePath(h); name != "" {
		return name, nil
	}
	if utf8.Valid(h.name) {
		return string(h.name), nil
	}
	name, err := charmap.CodePage437.NewDecoder().Bytes(h.name)
	return string(name), err
}

// unicodePath returns the name from the extra field that WinZip, WinRAR and
// Info-ZIP add to a name in another encoding (4.6.9 of APPNOTE.TXT), or "". The
// field counts only for the name of which it has the CRC.
func unicodePath(h header) string {
	const unicodePathID, version = 0x7075, 1
	field := extraField(h.extra, unicodePathID)
	if len(field) < 5 || field[0] != version || le.Uint32(field[1:]) != crc32.ChecksumIEEE(h.name) || !utf8.Valid(field[5:]) {
		return ""
	}
	return string(field[5:])
}

// isFolder reports whether name is that of a folder entry.
func isFolder(name string) bool { return strings.HasSuffix(name, "/") }

// checkName refuses every name that is not a plain relative path. The name of a
// folder entry ends in a slash.
func checkName(name string, maxBytes int) error {
	plain := strings.TrimSuffix(name, "/")
	switch {
	case len(name) > maxBytes:
		return refuseEntry(name, RulePathTooLong, "has a name of %d bytes; at most %d are allowed, folders included: shorten it and pack again", len(name), maxBytes)
	case name == "":
		return refuseEntry(name, RuleInvalidName, "has no name; pack the archive again")
	case strings.ContainsFunc(name, unicode.IsControl):
		return refuseEntry(name, RuleControlCharacter, "has a control character in its name; rename it and pack again")
	case strings.Contains(name, `\`):
		return refuseEntry(name, RuleBackslash, "has a backslash in its name; pack the archive with a tool that writes folders with slashes")
	case name[0] == '/' || hasDrive(name):
		return refuseEntry(name, RuleAbsolutePath, "has an absolute path; pack it with a path relative to the folder")
	}
	for part := range strings.SplitSeq(plain, "/") {
		switch {
		case part == "..":
			return refuseEntry(name, RuleEscapingPath, `leads out of its folder with ".."; pack it with a path below the folder`)
		case len(part) > maxPartBytes:
			return refuseEntry(name, RulePathTooLong, "has a part of %d bytes in its name; at most %d are allowed: shorten it and pack again", len(part), maxPartBytes)
		}
	}
	if plain == "." || !fs.ValidPath(plain) {
		return refuseEntry(name, RuleInvalidName, `has an empty part or "." in its name; pack it with a plain relative path`)
	}
	return nil
}

// hasDrive reports whether name begins as an absolute path of Windows, "C:".
func hasDrive(name string) bool {
	return len(name) >= 2 && name[1] == ':' && (name[0]|0x20) >= 'a' && (name[0]|0x20) <= 'z'
}

// isJunk reports whether name is of a file that macOS or Windows puts into
// archives and folders for its own use.
func isJunk(name string) bool {
	base := path.Base(name)
	return name == "__MACOSX" || strings.HasPrefix(name, "__MACOSX/") ||
		base == ".DS_Store" || strings.EqualFold(base, "Thumbs.db")
}
