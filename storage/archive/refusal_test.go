package archive

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
)

var oneFile = entry{name: "a.csv", data: "a,b\n"}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	other := entry{name: "b.csv", data: "b"}
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		name  string
		zip   []byte
		rule  Rule
		entry string
	}{
		{"nothing", nil, RuleNotAZip, ""},
		{"text", []byte(strings.Repeat("Entity,Parent\n", 100)), RuleNotAZip, ""},
		{"gzip", append([]byte("\x1f\x8b\x08\x00"), make([]byte, 200)...), RuleNotAZip, ""},
		{"junk behind", append(build(oneFile), "junk"...), RuleNotAZip, ""},
		{"comment too short", archiveSpec{entries: []entry{oneFile}, comment: "hello", end: set16(20, 4)}.bytes(), RuleNotAZip, ""},
		{"end record in the comment", archiveSpec{entries: []entry{oneFile}, comment: string(archiveSpec{}.bytes())}.bytes(), RuleLeadingBytes, ""},
		{"prefix", archiveSpec{entries: []entry{oneFile}, prefix: "#!/bin/sh\n"}.bytes(), RuleLeadingBytes, ""},
		{"bytes between directory and end", archiveSpec{entries: []entry{oneFile}, padding: "x"}.bytes(), RuleNotAZip, ""},
		{"directory beyond the end", archiveSpec{entries: []entry{oneFile}, end: set32(16, 1<<31)}.bytes(), RuleNotAZip, ""},
		{"a record with a wrong signature", build(entry{name: "a", central: set32(0, 0)}), RuleNotAZip, ""},
		{"a record longer than the directory", build(entry{name: "a", central: set16(32, 100)}), RuleNotAZip, ""},
		{"first part of several", archiveSpec{entries: []entry{oneFile}, end: set16(8, 0)}.bytes(), RuleSplitArchive, ""},
		{"last part of several", archiveSpec{entries: []entry{oneFile}, end: func(b []byte) []byte { return set16(6, 2)(set16(4, 2)(b)) }}.bytes(), RuleSplitArchive, ""},
		{"entry on another disk", build(entry{name: "a", central: set16(34, 1)}), RuleSplitArchive, ""},
		{"zip64 part", archiveSpec{entries: []entry{oneFile}, zip64: true, locator: set32(16, 2)}.bytes(), RuleSplitArchive, ""},
		{"zip64 of no parts", archiveSpec{entries: []entry{oneFile}, zip64: true, locator: set32(16, 0)}.bytes(), RuleSplitArchive, ""},
		{"zip64 part by its record", archiveSpec{entries: []entry{oneFile}, zip64: true, end64: set32(16, 2)}.bytes(), RuleSplitArchive, ""},
		{"zip64 record elsewhere", archiveSpec{entries: []entry{oneFile}, zip64: true, locator: set64(8, 1<<60)}.bytes(), RuleNotAZip, ""},
		{"zip64 record without signature", archiveSpec{entries: []entry{oneFile}, zip64: true, end64: set32(0, 0)}.bytes(), RuleNotAZip, ""},
		{"zip64 record of another length", archiveSpec{entries: []entry{oneFile}, zip64: true, end64: set64(4, 1<<63)}.bytes(), RuleNotAZip, ""},
		{"zip64 contradicts the size", archiveSpec{entries: []entry{oneFile}, zip64: true, end64: set64(40, 1)}.bytes(), RuleMismatch, ""},
		{"zip64 beyond all bounds", archiveSpec{entries: []entry{oneFile}, zip64: true, end: set32(16, 1<<32-1), end64: set64(48, 1<<63)}.bytes(), RuleNotAZip, ""},
		{"zip64 sum beyond all bounds", archiveSpec{entries: []entry{oneFile}, zip64: true, end: set32(16, 1<<32-1), end64: set64(48, 1<<63-2)}.bytes(), RuleNotAZip, ""},
		{"zip64 numbers missing", build(entry{name: "a", central: set32(24, 1<<32-1)}), RuleMismatch, "a"},
		{"zip64 numbers incomplete", build(entry{name: "a", extra: zip64Extra(1), central: func(b []byte) []byte { return set32(20, 1<<32-1)(set32(24, 1<<32-1)(b)) }}), RuleMismatch, "a"},
		{"fewer entries than stated", archiveSpec{entries: []entry{oneFile}, end: func(b []byte) []byte { return set16(8, 2)(set16(10, 2)(b)) }}.bytes(), RuleMismatch, ""},
		{"more entries than stated", archiveSpec{entries: []entry{oneFile, other}, end: func(b []byte) []byte { return set16(8, 1)(set16(10, 1)(b)) }}.bytes(), RuleMismatch, ""},
		{"zip64 count is not cut", archiveSpec{
			entries: []entry{oneFile}, zip64: true,
			end:   func(b []byte) []byte { return set16(8, 65535)(set16(10, 65535)(b)) },
			end64: func(b []byte) []byte { return set64(24, 65537)(set64(32, 65537)(b)) },
		}.bytes(), RuleMismatch, ""},

		{"empty", build(), RuleEmpty, ""},
		{"only folders", build(entry{name: "a/"}), RuleEmpty, ""},
		{"only what systems add", build(entry{name: "__MACOSX/._a"}, entry{name: ".DS_Store"}), RuleEmpty, ""},

		{"no name", build(entry{name: ""}), RuleInvalidName, ""},
		{"dot", build(entry{name: "."}), RuleInvalidName, "."},
		{"dot folder", build(entry{name: "./"}), RuleInvalidName, "./"},
		{"dot part", build(entry{name: "a/./b"}), RuleInvalidName, "a/./b"},
		{"dot in front", build(entry{name: "./a"}), RuleInvalidName, "./a"},
		{"empty part", build(entry{name: "a//b"}), RuleInvalidName, "a//b"},
		{"two slashes at the end", build(entry{name: "a//"}), RuleInvalidName, "a//"},
		{"absolute", build(entry{name: "/etc/passwd"}), RuleAbsolutePath, "/etc/passwd"},
		{"only a slash", build(entry{name: "/"}), RuleAbsolutePath, "/"},
		{"drive", build(entry{name: "C:/a"}), RuleAbsolutePath, "C:/a"},
		{"drive without slash", build(entry{name: "c:a"}), RuleAbsolutePath, "c:a"},
		{"escaping", build(entry{name: "../a"}), RuleEscapingPath, "../a"},
		{"escaping from within", build(entry{name: "a/../../b"}), RuleEscapingPath, "a/../../b"},
		{"parent within", build(entry{name: "a/../b"}), RuleEscapingPath, "a/../b"},
		{"escaping folder", build(entry{name: "../"}), RuleEscapingPath, "../"},
		{"escaping among the ignored", build(oneFile, entry{name: "__MACOSX/../../a"}), RuleEscapingPath, "__MACOSX/../../a"},
		{"escaping by its unicode name", build(entry{name: "a", extra: unicodeName("a", "../b")}), RuleEscapingPath, "../b"},
		{"backslash", build(entry{name: `a\b`}), RuleBackslash, `a\b`},
		{"escaping by backslash", build(entry{name: `..\..\a`}), RuleBackslash, `..\..\a`},
		{"zero byte", build(entry{name: "a\x00.csv"}), RuleControlCharacter, "a\x00.csv"},
		{"line break", build(entry{name: "a\nb"}), RuleControlCharacter, "a\nb"},
		{"C1 control", build(entry{name: "a\u0085b"}), RuleControlCharacter, "a\u0085b"},
		{"not UTF-8", build(entry{name: "a\xffb", flags: flagUTF8}), RuleNotUTF8, "a\uFFFDb"},
		{"long path", build(entry{name: strings.Repeat("abcdefg/", 65) + "x"}), RulePathTooLong, strings.Repeat("abcdefg/", 25) + "…"},
		{"long part", build(entry{name: long}), RulePathTooLong, long[:200] + "…"},

		{"link", build(entry{name: "a", mode: 0o120777, data: "/etc/passwd"}), RuleLink, "a"},
		{"link from Windows", build(entry{name: "a", mode: 0o120777, central: func(b []byte) []byte { b[5] = 0; return b }}), RuleLink, "a"},
		{"link among the ignored", build(oneFile, entry{name: "__MACOSX/a", mode: 0o120777}), RuleLink, "__MACOSX/a"},
		{"device", build(entry{name: "a", mode: 0o020666}), RuleSpecialFile, "a"},
		{"block device", build(entry{name: "a", mode: 0o060666}), RuleSpecialFile, "a"},
		{"pipe", build(entry{name: "a", mode: 0o010666}), RuleSpecialFile, "a"},
		{"socket", build(entry{name: "a", mode: 0o140666}), RuleSpecialFile, "a"},
		{"folder named as a file", build(entry{name: "a", mode: 0o040755}), RuleMismatch, "a"},
		{"folder with data", build(entry{name: "a/", data: "x"}), RuleMismatch, "a/"},
		{"encrypted", build(entry{name: "a", flags: flagEncrypted}), RuleEncrypted, "a"},
		{"encrypted by its local header only", build(entry{name: "a", local: set16(6, flagEncrypted)}), RuleMismatch, "a"},
		{"strongly encrypted", build(entry{name: "a", flags: flagStrongEncrypted}), RuleEncrypted, "a"},
		{"AES", build(entry{name: "a", central: set16(10, 99)}), RuleEncrypted, "a"},
		{"Deflate64", build(entry{name: "a", central: set16(10, 9)}), RuleUnsupportedMethod, "a"},
		{"LZMA", build(entry{name: "a", central: set16(10, 14)}), RuleUnsupportedMethod, "a"},

		{"duplicate", build(oneFile, other, oneFile), RuleDuplicateName, "a.csv"},
		{"case", build(oneFile, entry{name: "A.CSV"}), RuleCaseClash, "A.CSV"},
		{"case of a folder", build(entry{name: "Data/a"}, entry{name: "data/b"}), RuleCaseClash, "data/b"},
		{"case beyond ASCII", build(entry{name: "straße"}, entry{name: "STRASSE"}), RuleCaseClash, "STRASSE"},
		{"accents", build(entry{name: "M\u00e4rz"}, entry{name: "Ma\u0308rz"}), RuleCaseClash, "Ma\u0308rz"},
		{"accents and case", build(entry{name: "M\u00c4RZ"}, entry{name: "ma\u0308rz"}), RuleCaseClash, "ma\u0308rz"},
		{"file, then folder", build(entry{name: "a"}, entry{name: "a/b"}), RuleFileAndFolder, "a/b"},
		{"folder, then file", build(entry{name: "a/b/c"}, entry{name: "a/b"}), RuleFileAndFolder, "a/b"},
		{"file and folder entry", build(entry{name: "a/"}, entry{name: "a"}), RuleFileAndFolder, "a"},
		{"file and folder by case", build(entry{name: "a"}, entry{name: "A/b"}), RuleCaseClash, "A/b"},

		{"local name differs", build(entry{name: "a.csv", local: func(b []byte) []byte { b[localHeaderLen] = 'b'; return b }}), RuleMismatch, "a.csv"},
		{"local name is longer", build(entry{name: "a", data: "bc", local: set16(26, 2)}), RuleMismatch, "a"},
		{"local method differs", build(entry{name: "a", data: "x", local: set16(8, methodDeflate)}), RuleMismatch, "a"},
		{"local CRC differs", build(entry{name: "a", data: "x", local: set32(14, 1)}), RuleMismatch, "a"},
		{"local size differs", build(entry{name: "a", data: "x", deflate: true, local: set32(22, 2)}), RuleMismatch, "a"},
		{"local packed size differs", build(entry{name: "a", data: "x", deflate: true, local: set32(18, 2)}), RuleMismatch, "a"},
		{"local sizes missing", build(entry{name: "a", data: "x", local: func(b []byte) []byte { return set32(22, 0)(set32(18, 0)(b)) }}), RuleMismatch, "a"},
		{"local zip64 numbers missing", build(entry{name: "a", data: "x", local: set32(22, 1<<32-1)}), RuleMismatch, "a"},
		{"local zip64 size differs", build(entry{name: "a", data: "x", zip64: true, local: set64(localHeaderLen+1+4, 9)}), RuleMismatch, "a"},
		{"local size of a streamed entry differs", build(entry{name: "a", data: "x", streamed: true, deflate: true, local: set32(22, 2)}), RuleMismatch, "a"},
		{"no local header", build(entry{name: "a", local: set32(0, 0)}), RuleMismatch, "a"},
		{"local header in the directory", build(entry{name: "a", central: set32(42, 33)}), RuleMismatch, "a"},
		{"local header nowhere", build(entry{name: "a", central: set32(42, 1<<31)}), RuleMismatch, "a"},
		{"local header before the beginning", build(entry{name: "a", extra: zip64Extra(1<<64 - 1), central: set32(42, 1<<32-1)}), RuleMismatch, "a"},
		{"data runs into the directory", build(entry{name: "a", data: "xy", deflate: true, central: set32(20, 100)}), RuleMismatch, "a"},
		{"stored with two sizes", build(entry{name: "a", data: "x", central: set32(24, 5)}), RuleMismatch, "a"},
		{"no descriptor", build(entry{name: "a", data: "x", streamed: true, desc: func([]byte) []byte { return nil }}), RuleMismatch, "a"},
		{"descriptor of something else", build(entry{name: "a", data: "x", streamed: true, desc: set32(12, 7)}, other), RuleMismatch, "a"},
		{"descriptor with another CRC", build(entry{name: "a", data: "x", streamed: true, desc: set32(4, 7)}, other), RuleMismatch, "a"},

		{"one entry twice", build(entry{name: "a", data: "x"}, entry{name: "a", data: "x", central: set32(42, 0)}), RuleDuplicateName, "a"},
		{"nested entries", nested(), RuleOverlap, "b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := check(t, tt.zip, Limits{})
			wantRefusal(t, err, tt.rule, tt.entry)
		})
	}
}

// nested returns an archive with a stored entry a whose data is the entry b, with
// its header: both are sound in themselves.
func nested() []byte {
	b := entry{name: "b", data: "x"}
	a := entry{name: "a", data: string(b.localBytes())}
	inner := uint32(localHeaderLen + len(a.name))
	b.local = func([]byte) []byte { return nil }
	b.central = set32(42, inner)
	spec := build(a, b)
	// What build put behind a for b is its data alone, which stays as a gap.
	return spec
}

func unicodeName(name, unicode string) []byte {
	return extraOf(0x7075, uint8(1), crc32.ChecksumIEEE([]byte(name)), []byte(unicode))
}

func wantRefusal(t *testing.T, err error, rule Rule, entry string) {
	t.Helper()
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("got error %v, want a refusal by rule %s", err, rule)
	}
	if refusal.Rule != rule || refusal.Entry != entry {
		t.Errorf("refused entry %q by rule %s, want entry %q by rule %s: %s", refusal.Entry, refusal.Rule, entry, rule, refusal)
	}
	if !strings.Contains(refusal.Message, string(rule)) || !strings.Contains(refusal.Message, fmt.Sprintf("%q", entry)) && entry != "" {
		t.Errorf("message names no rule or no entry: %s", refusal)
	}
}
