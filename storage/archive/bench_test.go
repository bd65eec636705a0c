package archive

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
)

// exports are 200 files of 1 MiB with lines as an export of data has them, which
// pack about three times smaller.
var exports = sync.OnceValues(func() (fstest.MapFS, []string) {
	const size = 1 << 20
	rng := rand.New(rand.NewPCG(1, 2))
	files := make(fstest.MapFS)
	var names []string
	for i := range 200 {
		buf := bytes.NewBuffer(make([]byte, 0, size+100))
		for buf.Len() < size {
			fmt.Fprintf(buf, "Account_%d,FY%d,Jan,Actual,E_%d,%.2f\n", rng.IntN(5000), 20+rng.IntN(8), rng.IntN(999), rng.Float64()*1e6)
		}
		name := fmt.Sprintf("d%d/f%d.csv", i%20, i)
		files[name] = &fstest.MapFile{Data: buf.Bytes()}
		names = append(names, name)
	}
	return files, names
})

func BenchmarkPack(b *testing.B) {
	files, names := exports()
	b.SetBytes(int64(len(names)) << 20)
	for b.Loop() {
		if err := Pack(b.Context(), io.Discard, sources(files, names...), PackOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExtract(b *testing.B) {
	files, names := exports()
	zip := pack(b, files, names, PackOptions{})
	listing, err := check(b, zip, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	for _, parallel := range []int{1, 0} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			dir := b.TempDir()
			b.SetBytes(listing.Bytes)
			n := 0
			for b.Loop() {
				n++
				if err := Extract(b.Context(), bytes.NewReader(zip), listing, into(b, filepath.Join(dir, fmt.Sprint(n))), ExtractOptions{Parallel: parallel}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	entries := make([]entry, 10_000)
	for i := range entries {
		entries[i] = entry{name: fmt.Sprintf("exports of the month/file-%06d.csv", i)}
	}
	zip := build(entries...)
	for b.Loop() {
		if _, err := check(b, zip, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
