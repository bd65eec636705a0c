package files

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

const gib = 1 << 30

// gibibyte is a GiB of bytes that no disk can compress away, cheap to produce.
type gibibyte struct {
	block []byte
	left  int64
}

func newGibibyte() *gibibyte {
	b := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // never fails
	return &gibibyte{block: b, left: gib}
}

func (g *gibibyte) Read(p []byte) (int, error) {
	if g.left == 0 {
		return 0, io.EOF
	}
	n := copy(p, g.block[g.left%int64(len(g.block)/2):])
	n = int(min(int64(n), g.left))
	g.left -= int64(n)
	return n, nil
}

// BenchmarkPlain is what BenchmarkCreate is measured against: the same bytes
// written to the same disk by a plain loop and synced.
func BenchmarkPlain(b *testing.B) {
	dir := b.TempDir()
	b.SetBytes(gib)
	src := newGibibyte()
	buf := make([]byte, 1<<20)
	for b.Loop() {
		src.left = gib
		file, err := os.Create(filepath.Join(dir, "plain"))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{file}, src, buf); err != nil {
			b.Fatal(err)
		}
		if err := closeAfter(file, file.Sync()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = os.Remove(file.Name())
		b.StartTimer()
	}
}

func BenchmarkCreate(b *testing.B) {
	f, err := OpenFolder(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.SetBytes(gib)
	src := newGibibyte()
	for b.Loop() {
		src.left = gib
		w, err := f.Create(b.Context(), "a/file")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.ReadFrom(src); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Commit(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = f.RemoveAll(b.Context(), "a")
		b.StartTimer()
	}
}
