package archive

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// fuzzLimits are small enough to unpack what a fuzzer finds, many times a second.
var fuzzLimits = Limits{Bytes: 1 << 20, Entries: 50, Ratio: 100, RatioFloor: 64 << 10, Path: 100}

func addSeeds(f *testing.F) {
	for _, zip := range madeByTools(f) {
		if len(zip) < 2000 {
			f.Add(zip)
		}
	}
	f.Add(nested())
	f.Add(archiveSpec{entries: []entry{
		{name: "x/a", data: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", deflate: true, zip64: true},
		{name: "x/M\x84rz", data: "b", streamed: true, bareDesc: true},
		{name: "__MACOSX/._a", data: "c", streamed: true, deflate: true, wideDesc: true},
		{name: "M?rz", extra: unicodeName("M?rz", "März")},
	}, zip64: true, comment: "x"}.bytes())
	f.Add(build(entry{name: "../a"}, entry{name: "b", mode: 0o120777}))
}

// FuzzCheck looks for an archive that is accepted and that archive/zip reads
// otherwise, or refuses.
func FuzzCheck(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		compareWithStdlib(t, "fuzzed", data, fuzzLimits)
	})
}

// FuzzExtract looks for an archive that is accepted and unpacks to anything but the
// files of its listing.
func FuzzExtract(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		extractFuzzed(t, data)
	})
}

// FuzzEntries does the same with archives that are sound but for what entries say of
// themselves, which blind changes to the bytes hardly ever leave.
func FuzzEntries(f *testing.F) {
	f.Add("a", "A", []byte("data"), []byte(nil), uint16(0), uint16(0), uint8(0))
	f.Add("a/b", "a", []byte("data"), []byte(nil), uint16(flagUTF8), uint16(0o100644), uint8(1))
	f.Add("M\x84rz", "../b", []byte("data"), unicodeName("M\x84rz", "../c"), uint16(0), uint16(0o120777), uint8(2))
	f.Add(`c:\d`, "/e", []byte("data"), zip64Extra(4, 4), uint16(flagEncrypted), uint16(0o040755), uint8(7))
	f.Fuzz(func(t *testing.T, first, second string, data, extra []byte, flags, mode uint16, shape uint8) {
		if len(first)+len(second)+len(extra) > 1000 || len(data) > 4000 {
			return
		}
		spec := archiveSpec{zip64: shape&1 != 0, entries: []entry{
			{name: first, data: string(data), deflate: shape&2 != 0, streamed: shape&4 != 0, zip64: shape&8 != 0, flags: flags, mode: mode, extra: extra},
			{name: second, data: string(data), deflate: shape&16 != 0, streamed: shape&32 != 0, wideDesc: shape&64 != 0, bareDesc: shape&128 != 0},
		}}
		compareWithStdlib(t, "fuzzed", spec.bytes(), fuzzLimits)
		extractFuzzed(t, spec.bytes())
	})
}

// extractFuzzed unpacks what is accepted, and looks at all that was made.
func extractFuzzed(t *testing.T, data []byte) {
	t.Helper()
	listing, err := check(t, data, fuzzLimits)
	if err != nil {
		return
	}
	outer := t.TempDir()
	inner := filepath.Join(outer, "inner")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	err = Extract(t.Context(), bytes.NewReader(data), listing, into(t, inner), ExtractOptions{Parallel: 2})
	var refusal *Refusal
	if err != nil && (!errors.As(err, &refusal) || refusal.Rule != RuleCorrupt) {
		t.Fatalf("accepted, and then: %v", err)
	}
	compareFiles(t, outer, data, listing, err == nil)
}

// compareFiles checks that there is nothing in dir but files of the listing, in
// "inner", none too large, and when all went well all of them as archive/zip has them.
func compareFiles(t *testing.T, dir string, data []byte, listing *Listing, whole bool) {
	t.Helper()
	got := contents(t, dir)
	var bytesInAll int64
	for _, f := range listing.Files {
		text, ok := got["inner/"+f.Name]
		delete(got, "inner/"+f.Name)
		bytesInAll += int64(len(text))
		if int64(len(text)) > f.Size || whole && (!ok || int64(len(text)) != f.Size) {
			t.Errorf("%q has %d bytes, want %d", f.Name, len(text), f.Size)
		}
		if want, err := stdlibContent(data, f.Name); whole && err == nil && want != text {
			t.Errorf("%q is %q, and %q for archive/zip", f.Name, text, want)
		}
	}
	if len(got) > 0 || bytesInAll > fuzzLimits.Bytes || len(listing.Files) > fuzzLimits.Entries {
		t.Errorf("wrote %d bytes, and files that are not listed: %q", bytesInAll, got)
	}
}

// stdlibContent returns what archive/zip finds in the file called name.
func stdlibContent(data []byte, name string) (string, error) {
	zr, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", err
	}
	for _, f := range zr.File {
		if f.Name != name {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return "", err
		}
		text, err := io.ReadAll(io.LimitReader(r, fuzzLimits.Bytes))
		return string(text), errors.Join(err, r.Close())
	}
	return "", os.ErrNotExist
}
