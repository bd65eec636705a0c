package archive

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"math"
	"testing"
	"time"
)

// zeros is a source of that many zero bytes.
func zeros(name string, size int64) Source {
	return Source{Name: name, Size: size, Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(zeroReader{}, size)), nil
	}}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func TestPackedSize(t *testing.T) {
	t.Parallel()
	tests := map[string][]Source{
		"nothing":          nil,
		"names":            {zeros("a.zip", 1), zeros("Übersicht/März.PDF", 10), zeros("b/c/d.xlsx", 100)},
		"around a block":   {},
		"more than 4 GiB":  {zeros("large.gz", math.MaxUint32+1), zeros("small.gz", 3)},
		"just below 4 GiB": {zeros("large.gz", math.MaxUint32-66_000*5), zeros("small.gz", 3)},
	}
	for _, size := range []int64{0, 1, storedBlock - 1, storedBlock, storedBlock + 1, 2*storedBlock - 1, 2 * storedBlock, 2*storedBlock + 1, 1 << 20} {
		tests["around a block"] = append(tests["around a block"], zeros(fmt.Sprintf("%d.zst", size), size))
	}
	for name, sources := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, known := PackedSize(sources)
			if !known {
				t.Fatal("not known")
			}
			var got counter
			if err := Pack(t.Context(), &got, sources, PackOptions{}); err != nil {
				t.Fatal(err)
			}
			if int64(got) != want {
				t.Errorf("packed to %d bytes, and %d were foretold", got, want)
			}
		})
	}
	if _, known := PackedSize([]Source{zeros("a.zip", 1), zeros("a.csv", 1)}); known {
		t.Error("the size of what is yet to be packed is known")
	}
}

// From so many files on the directory ends in another way, whatever the files are.
func TestPackedSizeOfMany(t *testing.T) {
	t.Parallel()
	for _, n := range []int{math.MaxUint16 - 1, math.MaxUint16} {
		var got counter
		w := zip.NewWriter(&got)
		many := make([]Source, n)
		for i := range many {
			many[i] = zeros(fmt.Sprintf("%d.gz", i), 0)
			if _, err := w.CreateHeader(&zip.FileHeader{Name: many[i].Name, Modified: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		size, _ := PackedSize(many)
		if want := size - int64(n)*storedSize(0); int64(got) != want {
			t.Errorf("%d files without their bytes are packed to %d bytes, and %d were foretold", n, got, want)
		}
	}
}
