package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longhaul/storage/files"
)

// extract checks and unpacks an archive into a new folder, and returns the folder.
func extract(t testing.TB, zip []byte, limits Limits, opts ExtractOptions) (string, error) {
	t.Helper()
	listing, err := check(t, zip, limits)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return dir, Extract(t.Context(), bytes.NewReader(zip), listing, into(t, dir), opts)
}

// into is a batch of files for the folder dir.
func into(t testing.TB, dir string) files.Batch {
	t.Helper()
	folder, err := files.OpenFolder(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	batch, err := folder.Batch(t.Context(), filepath.Base(dir), 100)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(batch.Close(), folder.Close()); err != nil {
			t.Error(err)
		}
	})
	return batch
}

// contents returns the files in dir by path.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is no file", path)
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		files[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestExtractArchivesOfTools(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"empty.txt":          "",
		"importEntity.csv":   "Entity,Parent\nE_1,Total\nE_2,Total\n",
		"Übersicht/März.csv": "Konto;Wert\n",
	}
	for name, zip := range madeByTools(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := extract(t, zip, Limits{}, ExtractOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			st, err := os.Stat(filepath.Join(dir, "importEntity.csv"))
			if err != nil {
				t.Fatal(err)
			}
			if when := time.Date(2026, 3, 5, 10, 20, 30, 0, time.UTC); !st.ModTime().Equal(when) || st.Mode() != 0o600 {
				t.Errorf("got mode %v and time %v, want 0600 and %v", st.Mode(), st.ModTime(), when)
			}
			if st, err := os.Stat(filepath.Join(dir, "Übersicht")); err != nil || st.Mode().Perm() != 0o700 {
				t.Errorf("folder: got %v, %v; want mode 0700", st, err)
			}
		})
	}
}

// manyFiles is an archive of files in all sizes around those of the buffers.
type manyFiles struct {
	zip  []byte
	want map[string]string
	size int64
}

var newManyFiles = sync.OnceValue(func() manyFiles {
	rng := rand.NewChaCha8([32]byte{})
	want := make(map[string]string)
	size := int64(0)
	var entries []entry
	for i, n := range []int{0, 1, 100, inBytes - 1, inBytes, inBytes + 1, outBytes - 1, outBytes, outBytes + 1, 3*outBytes + 7} {
		noise := make([]byte, n)
		_, _ = rng.Read(noise) // never fails
		text := strings.Repeat("Entity,Parent\n", n/14+1)[:n]
		for _, e := range []entry{
			{name: fmt.Sprintf("d%d/noise", i), data: string(noise), deflate: true},
			{name: fmt.Sprintf("d%d/text", i), data: text, deflate: true, streamed: true},
			{name: fmt.Sprintf("d%d/x/stored", i), data: string(noise)},
		} {
			entries = append(entries, e)
			want[e.name] = e.data
			size += int64(n)
		}
	}
	return manyFiles{build(entries...), want, size}
})

func TestExtractInParallel(t *testing.T) {
	t.Parallel()
	many := newManyFiles()
	for _, parallel := range []int{0, 1, 8, 1000} {
		var last int64
		dir, err := extract(t, many.zip, Limits{}, ExtractOptions{Parallel: parallel, Progress: func(done, total int64) {
			if done < last || total != many.size {
				t.Errorf("progress fell from %d to %d, or total is %d, not %d", last, done, total, many.size)
			}
			last = done
		}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(many.want, contents(t, dir)); diff != "" {
			t.Errorf("%d in parallel: files differ", parallel)
		}
		if last != many.size {
			t.Errorf("%d in parallel: progress ended at %d of %d", parallel, last, many.size)
		}
	}
}

func TestExtractManyFiles(t *testing.T) {
	t.Parallel()
	want := make(map[string]string)
	var entries []entry
	for i := range 200 {
		e := entry{name: fmt.Sprintf("d%d/e%d/f%d", i%3, i%5, i), data: strings.Repeat("x", i)}
		entries = append(entries, e)
		want[e.name] = e.data
	}
	dir, err := extract(t, build(entries...), Limits{}, ExtractOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestExtractCorrupt(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("Entity,Parent\n", 500)
	packed := len(entry{data: text, deflate: true}.packed())
	both := func(off int, v uint32) (local, central func([]byte) []byte) {
		return set32(off, v), set32(off+2, v)
	}
	falsified := func(off int, v uint32) entry {
		e := entry{name: "a", data: text, deflate: true}
		e.local, e.central = both(off, v)
		return e
	}
	flipped := build(entry{name: "a", data: text, deflate: true})
	flipped[localHeaderLen+1+packed/2] ^= 0x10
	garbage := build(entry{name: "a", data: text, deflate: true})
	copy(garbage[localHeaderLen+1:], "\xff\xff\xff\xff\xff\xff")
	for name, zip := range map[string][]byte{
		"a bit is flipped":  flipped,
		"no Deflate":        garbage,
		"another CRC":       build(falsified(14, 1)),
		"a CRC of zero":     build(falsified(14, 0)),
		"packed is cut off": build(falsified(18, uint32(packed/2))),
		"nothing is packed": build(falsified(18, 0)),
		"more than stated":  build(falsified(22, uint32(len(text)-1))),
		"far more":          build(falsified(22, 1)),
		"less than stated":  build(falsified(22, uint32(len(text)+1))),
		"stored, wrong CRC": build(func() entry { e := entry{name: "a", data: text}; e.local, e.central = both(14, 7); return e }()),
		"stored, bit flipped": func() []byte {
			b := build(entry{name: "a", data: text})
			b[localHeaderLen+1] ^= 1
			return b
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := extract(t, zip, Limits{Ratio: 1000}, ExtractOptions{})
			wantRefusal(t, err, RuleCorrupt, "a")
			if st, err := os.Stat(filepath.Join(dir, "a")); err == nil && st.Size() > int64(len(text)+1) {
				t.Errorf("wrote %d bytes of a file of %d", st.Size(), len(text))
			}
		})
	}
}

func TestExtractCancelled(t *testing.T) {
	t.Parallel()
	zip := newManyFiles().zip
	listing, err := check(t, zip, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls atomic.Int32
	stop := func(int64, int64) {
		if calls.Add(1) == 3 {
			cancel()
		}
	}
	if err := Extract(ctx, bytes.NewReader(zip), listing, into(t, t.TempDir()), ExtractOptions{Parallel: 2, Progress: stop}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
	if n := calls.Load(); n > 5 {
		t.Errorf("went on for %d buffers after it was cancelled", n-3)
	}
}

// TestExtractIntoOccupied plants what an attacker could plant: nothing is written
// through it, nor over it.
func TestExtractIntoOccupied(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	zip := build(entry{name: "d/victim", data: "yours"})
	listing, err := check(t, zip, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(dir string) error{
		"folder is a link out": func(dir string) error { return os.Symlink(outside, filepath.Join(dir, "d")) },
		"file is a link out": func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "d"), 0o700), os.Symlink(victim, filepath.Join(dir, "d/victim")))
		},
		"file is a hard link": func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "d"), 0o700), os.Link(victim, filepath.Join(dir, "d/victim")))
		},
	} {
		dir := t.TempDir()
		if err := plant(dir); err != nil {
			t.Fatal(err)
		}
		err := Extract(t.Context(), bytes.NewReader(zip), listing, into(t, dir), ExtractOptions{})
		var refusal *Refusal
		if err == nil || errors.As(err, &refusal) {
			t.Errorf("%s: got %v, want an error that does not blame the archive", name, err)
		}
		if diff := cmp.Diff(map[string]string{"victim": "mine"}, contents(t, outside)); diff != "" {
			t.Errorf("%s: outside changed:\n%s", name, diff)
		}
	}
}

// TestExtractErrorsOfTheDisk tells what goes wrong here from what is wrong with the archive.
func TestExtractErrorsOfTheDisk(t *testing.T) {
	t.Parallel()
	zip := build(entry{name: "a", data: strings.Repeat("x", 10), deflate: true})
	listing, err := check(t, zip, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("input/output error")
	r := failingReader{bytes.NewReader(zip), listing.Files[0].dataAt, broken}
	err = Extract(t.Context(), r, listing, into(t, t.TempDir()), ExtractOptions{})
	var refusal *Refusal
	if !errors.Is(err, broken) || errors.As(err, &refusal) {
		t.Errorf("read: got %v, want %v and no refusal", err, broken)
	}

	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	u := unpackers.Get().(*unpacker)
	defer unpackers.Put(u)
	f := &listing.Files[0]
	err = f.extractError(u.unpack(t.Context(), full, bytes.NewReader(zip), f, new(progress)))
	if !errors.Is(err, syscall.ENOSPC) || errors.As(err, &refusal) {
		t.Errorf("write: got %v, want %v and no refusal", err, syscall.ENOSPC)
	}
}

func TestUnpackBeyond4GiB(t *testing.T) {
	t.Parallel()
	r := newLarge(4<<30 + 1<<20)
	listing, err := Check(r, r.size(), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	u := unpackers.Get().(*unpacker)
	defer unpackers.Put(u)
	if err := u.unpack(t.Context(), io.Discard, r, &listing.Files[0], new(progress)); err != nil {
		t.Error(err)
	}
}
