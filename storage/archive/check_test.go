package archive

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestCheckLimits(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("0", 100_000)
	dense := build(oneFile, entry{name: "dense", data: line, deflate: true})
	tree := build(entry{name: "a/b/c/d"}, entry{name: "a/b/e"})
	count := func(n uint64) []byte {
		return archiveSpec{
			entries: []entry{oneFile}, zip64: true,
			end:   func(b []byte) []byte { return set16(8, 1<<16-1)(set16(10, 1<<16-1)(b)) },
			end64: func(b []byte) []byte { return set64(24, n)(set64(32, n)(b)) },
		}.bytes()
	}
	for _, tt := range []struct {
		name   string
		zip    []byte
		limits Limits
		rule   Rule // empty: accepted
		entry  string
	}{
		{"bytes", dense, Limits{Bytes: 100_003, Ratio: 1000}, RuleTooManyBytes, "dense"},
		{"bytes, just", dense, Limits{Bytes: 100_004, Ratio: 1000}, "", ""},
		{"ratio", dense, Limits{Ratio: 200, RatioFloor: 100_003}, RuleRatio, "dense"},
		{"ratio below its floor", dense, Limits{Ratio: 200, RatioFloor: 100_004}, "", ""},
		{"ratio of stored files, just", build(oneFile), Limits{Ratio: 1, RatioFloor: 1}, "", ""},
		{"entries as stated", count(1 << 63), Limits{}, RuleTooManyEntries, ""},
		{"entries as they are", build(oneFile, entry{name: "b"}, entry{name: "c"}), Limits{Entries: 2}, RuleTooManyEntries, ""},
		{"entries, just", build(oneFile, entry{name: "b"}, entry{name: "c"}), Limits{Entries: 3}, "", ""},
		{"implied folders", tree, Limits{Entries: 4}, RuleTooManyEntries, "a/b/e"},
		{"implied folders, just", tree, Limits{Entries: 5}, "", ""},
		{"more entries than stated", archiveSpec{
			entries: []entry{oneFile, {name: "b"}, {name: "c"}},
			end:     func(b []byte) []byte { return set16(8, 1)(set16(10, 1)(b)) },
		}.bytes(), Limits{Entries: 2}, RuleTooManyEntries, "c"},
		{"path", build(entry{name: "a/b/c.csv"}), Limits{Path: 8}, RulePathTooLong, "a/b/c.csv"},
		{"path, just", build(entry{name: "a/b/c.csv"}), Limits{Path: 9}, "", ""},
		{"directory", build(entry{name: "a", extra: make([]byte, 60_000)}), Limits{Entries: 10}, RuleDirectoryTooLarge, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := check(t, tt.zip, tt.limits)
			if tt.rule != "" {
				wantRefusal(t, err, tt.rule, tt.entry)
			} else if err != nil {
				t.Errorf("refused: %v", err)
			}
		})
	}
}

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("Entity,Parent\n", 50)
	for _, tt := range []struct {
		name    string
		zip     []byte
		want    []string // names of files
		ignored []string
	}{
		{"stored", build(oneFile), []string{"a.csv"}, nil},
		{"deflated", build(entry{name: "a", data: text, deflate: true}), []string{"a"}, nil},
		{"empty file", build(entry{name: "a"}), []string{"a"}, nil},
		{"folders", build(entry{name: "x/", mode: 0o040755}, entry{name: "x/y/a"}, entry{name: "x/"}), []string{"x/y/a"}, nil},
		{"with a comment", archiveSpec{entries: []entry{oneFile}, comment: "made by hand"}.bytes(), []string{"a.csv"}, nil},
		{"gaps between entries", build(oneFile, entry{name: "b", gap: 100}), []string{"a.csv", "b"}, nil},
		{"padding behind", append(build(oneFile), make([]byte, 512)...), []string{"a.csv"}, nil},
		{"zip64", archiveSpec{entries: []entry{{name: "a", data: text, deflate: true, zip64: true}}, zip64: true}.bytes(), []string{"a"}, nil},
		{"zip64 end only", archiveSpec{entries: []entry{oneFile}, zip64: true, end: func(b []byte) []byte {
			return set32(16, 1<<32-1)(set32(12, 1<<32-1)(set16(10, 1<<16-1)(set16(8, 1<<16-1)(b))))
		}}.bytes(), []string{"a.csv"}, nil},
		{"streamed", build(entry{name: "a", data: text, deflate: true, streamed: true}), []string{"a"}, nil},
		{"streamed and stored", build(entry{name: "a", data: text, streamed: true}), []string{"a"}, nil},
		{"streamed without signature", build(entry{name: "a", data: text, deflate: true, streamed: true, bareDesc: true}), []string{"a"}, nil},
		{"streamed with 64 bits", build(entry{name: "a", data: text, deflate: true, streamed: true, wideDesc: true}, oneFile), []string{"a", "a.csv"}, nil},
		{"streamed with 64 bits without signature", build(entry{name: "a", data: text, deflate: true, streamed: true, wideDesc: true, bareDesc: true}, oneFile), []string{"a", "a.csv"}, nil},
		{"streamed folder without descriptor", build(entry{name: "x/", streamed: true, desc: func([]byte) []byte { return nil }}, oneFile), []string{"a.csv"}, nil},
		{"UTF-8", build(entry{name: "März/été.csv", flags: flagUTF8}), []string{"März/été.csv"}, nil},
		{"UTF-8 without the flag, as macOS has it", build(entry{name: "März.csv"}), []string{"März.csv"}, nil},
		{"CP437", build(entry{name: "M\x84rz/r\x82sum\x82.csv"}), []string{"März/résumé.csv"}, nil},
		{"unicode path", build(entry{name: "M?rz", extra: unicodeName("M?rz", "März")}), []string{"März"}, nil},
		{"unicode path of another name", build(entry{name: "Mai", extra: unicodeName("M?rz", "März")}), []string{"Mai"}, nil},
		{
			"what systems add", build(entry{name: "__MACOSX/"}, entry{name: "a"}, entry{name: "__MACOSX/._a"}, entry{name: "x/.DS_Store"}, entry{name: "x/thumbs.DB"}),
			[]string{"a"},
			[]string{"__MACOSX/", "__MACOSX/._a", "x/.DS_Store", "x/thumbs.DB"},
		},
		{
			"odd but harmless names", build(entry{name: "a..b"}, entry{name: "..."}, entry{name: "con"}, entry{name: "x."}, entry{name: "-rf *"}),
			[]string{"a..b", "...", "con", "x.", "-rf *"},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			listing, err := check(t, tt.zip, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range listing.Files {
				got = append(got, f.Name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.ignored, listing.Ignored); diff != "" {
				t.Errorf("ignored (-want +got):\n%s", diff)
			}
		})
	}
}

// madeByTools are archives of the same three files.
func madeByTools(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.zip")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no archives in testdata: %v", err)
	}
	zips := make(map[string][]byte)
	for _, p := range paths {
		if zips[filepath.Base(p)], err = os.ReadFile(p); err != nil {
			t.Fatal(err)
		}
	}
	return zips
}

func TestCheckArchivesOfTools(t *testing.T) {
	t.Parallel()
	when := time.Date(2026, 3, 5, 10, 20, 30, 0, time.UTC)
	want := []File{
		{Name: "empty.txt", Size: 0, CRC32: 0, Modified: when},
		{Name: "importEntity.csv", Size: 34, CRC32: 302547620, Modified: when},
		{Name: "Übersicht/März.csv", Size: 11, CRC32: 1807909820, Modified: when},
	}
	byName := cmpopts.SortSlices(func(a, b File) bool { return a.Name < b.Name })
	packing := cmpopts.IgnoreFields(File{}, "CompressedSize", "method", "dataAt")
	for name, zip := range madeByTools(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listing, err := check(t, zip, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&Listing{Files: want, Bytes: 45}, listing, byName, packing); diff != "" {
				t.Errorf("listing (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCheckTruncated cuts archives off after every byte: a part is never taken for
// the whole.
func TestCheckTruncated(t *testing.T) {
	t.Parallel()
	zips := madeByTools(t)
	zips["zip64"] = archiveSpec{entries: []entry{oneFile, {name: "b", zip64: true}}, zip64: true, comment: "x"}.bytes()
	zips["a zip in a zip"] = build(entry{name: "inner.zip", data: string(build(oneFile))}, oneFile)
	for name, zip := range zips {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := bytes.TrimRight(zip, "\x00") // padding may go, and the end of the end record with it
			for n := range whole {
				listing, err := check(t, zip[:n], Limits{})
				var refusal *Refusal
				if !errors.As(err, &refusal) || listing != nil {
					t.Fatalf("%d of %d bytes: got %v, %v; want a refusal", n, len(zip), listing, err)
				}
			}
		})
	}
}

func TestCheckReadError(t *testing.T) {
	t.Parallel()
	broken := errors.New("input/output error")
	zip := build(entry{name: "a", data: strings.Repeat("x", 1<<20)})
	size := int64(len(zip))
	for name, at := range map[string]int64{"local header": 0, "end": size - endLen - maxCommentLen} {
		_, err := Check(failingReader{bytes.NewReader(zip), at, broken}, size, Limits{})
		var refusal *Refusal
		if !errors.Is(err, broken) || errors.As(err, &refusal) {
			t.Errorf("%s: got %v, want %v and no refusal", name, err, broken)
		}
	}
}

// failingReader fails where a read begins at one place.
type failingReader struct {
	io.ReaderAt
	at  int64
	err error
}

func (f failingReader) ReadAt(b []byte, off int64) (int, error) {
	if off == f.at {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(b, off)
}

// TestCheckMemory reads a directory with as many entries as are allowed. It runs
// alone, as it looks at the memory of the whole process.
func TestCheckMemory(t *testing.T) {
	entries := make([]entry, DefaultLimits().Entries)
	for i := range entries {
		entries[i] = entry{name: fmt.Sprintf("exports of the month/file-%06d-with-a-name-of-some-length.csv", i)}
	}
	entries[0].name = "a"                            // the folder is an entry too
	zip := archiveSpec{entries: entries[1:]}.bytes() // and counts more than 16 bits

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	listing, err := check(t, zip, Limits{})
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if len(listing.Files) != len(entries)-1 {
		t.Errorf("got %d files", len(listing.Files))
	}
	const most = 100 << 20
	if got := after.TotalAlloc - before.TotalAlloc; got > most {
		t.Errorf("allocated %d MiB in all, want at most %d", got>>20, most>>20)
	}
	t.Logf("allocated %d MiB in all for an archive of %d MiB", (after.TotalAlloc-before.TotalAlloc)>>20, len(zip)>>20)
}

// TestCheckBeyond4GiB reads an archive with a file of 5 GiB and one behind it,
// without making it.
func TestCheckBeyond4GiB(t *testing.T) {
	t.Parallel()
	r := newLarge(5 << 30)
	listing, err := Check(r, r.size(), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{Name: "large", Size: 5 << 30, CompressedSize: 5 << 30, CRC32: r.crc, dataAt: r.dataAt},
		{Name: "behind", Size: 1, CompressedSize: 1, CRC32: crc32.ChecksumIEEE([]byte("x")), dataAt: r.dataAt + 5<<30 + localHeaderLen + 6 + 20},
	}
	if diff := cmp.Diff(want, listing.Files, cmp.AllowUnexported(File{}), cmpopts.IgnoreFields(File{}, "Modified")); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// large is an archive with a stored file of zeros, of which only the rest is in memory.
type large struct {
	head, tail []byte
	dataAt     int64
	zeros      int64
	crc        uint32
}

func newLarge(zeros int64) *large {
	block := make([]byte, 1<<20)
	var crc uint32
	for range zeros / int64(len(block)) {
		crc = crc32.Update(crc, crc32.IEEETable, block)
	}
	n := uint64(zeros)
	first := entry{
		name: "large", zip64: true,
		local:   func(b []byte) []byte { return set64(39, n)(set64(47, n)(set32(14, crc)(b))) },
		central: func(b []byte) []byte { return set64(55, n)(set64(63, n)(set32(16, crc)(b))) },
	}
	second := entry{name: "behind", data: "x", zip64: true}
	head := first.localBytes()
	behind := second.localBytes()
	second.central = func(b []byte) []byte { return set64(len(b)-8, uint64(len(head))+n)(b) }
	dir := append(first.centralBytes(0), second.centralBytes(0)...)
	offset := uint64(len(head)) + n + uint64(len(behind))
	spec := archiveSpec{
		entries: []entry{first, second}, zip64: true,
		end:     set32(16, 1<<32-1),
		end64:   set64(48, offset),
		locator: set64(8, offset+uint64(len(dir))),
	}
	tail := append(append(behind, dir...), spec.endBytes(0, len(dir))...)
	return &large{head: head, tail: tail, dataAt: int64(len(head)), zeros: zeros, crc: crc}
}

func (l *large) size() int64 { return int64(len(l.head)) + l.zeros + int64(len(l.tail)) }

func (l *large) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	if off < l.dataAt {
		copy(b, l.head[off:])
	}
	if from := l.dataAt + l.zeros - off; from < int64(len(b)) {
		copy(b[max(0, from):], l.tail[max(0, -from):])
	}
	if rest := l.size() - off; rest < int64(len(b)) {
		return int(rest), io.EOF
	}
	return len(b), nil
}

// TestCheckReadsLikeTheStandardLibrary compares with another reader, on archives
// of tools: what is accepted must mean the same to everyone.
func TestCheckReadsLikeTheStandardLibrary(t *testing.T) {
	t.Parallel()
	for name, zip := range madeByTools(t) {
		compareWithStdlib(t, name, zip, Limits{})
	}
}

// compareWithStdlib checks that an archive that Check accepts has the same files
// for archive/zip.
func compareWithStdlib(t *testing.T, name string, data []byte, limits Limits) {
	t.Helper()
	listing, err := check(t, data, limits)
	if err != nil {
		return
	}
	zr, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatalf("%s: accepted, and archive/zip says: %v", name, err)
	}
	i := 0
	for _, f := range zr.File {
		if isFolder(f.Name) || f.NonUTF8 || i == len(listing.Files) {
			continue
		}
		got := listing.Files[i]
		if got.Name != f.Name {
			continue // ignored, or with a unicode path, which archive/zip does not know
		}
		at, err := f.DataOffset()
		if err != nil || at != got.dataAt || int64(f.UncompressedSize64) != got.Size || int64(f.CompressedSize64) != got.CompressedSize || f.CRC32 != got.CRC32 {
			t.Errorf("%s: %q is %+v, for archive/zip %+v at %d (%v)", name, f.Name, got, f.FileHeader, at, err)
		}
		i++
	}
}
