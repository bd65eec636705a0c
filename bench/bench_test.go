package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMiddles(t *testing.T) {
	t.Parallel()
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("median of three: %v", got)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median of four: %v", got)
	}
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[99-i] = time.Duration(i + 1)
	}
	for p, want := range map[float64]time.Duration{0: 1, 50: 50, 99: 99, 99.5: 100, 100: 100} {
		if got := percentile(hundred, p); got != want {
			t.Errorf("percentile %v: %d, expected %d", p, got, want)
		}
	}
	if got := percentile(nil, 50); got != 0 {
		t.Errorf("percentile of nothing: %d", got)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	turns := rivals{ours: []float64{20, 10, 40}, theirs: []float64{30, 30, 20}}
	var got bytes.Buffer
	printTable(&got, []line{
		turns.compared(line{name: "get", measured: "20/s", against: "Echo 30/s", others: "0.1"}, 0.5),
		limited(line{name: "idle", measured: "2 %"}, "< 1 %", false),
	}, "Here.")
	want := `
| figure | measured | compared with | ratio | limit | verdict | others |
| ------ | -------- | ------------- | ----- | ----- | ------- | ------ |
| get    | 20/s     | Echo 30/s     | 0.67  | ≥ 0.5 | kept    | 0.1    |
| idle   | 2 %      |               |       | < 1 % | MISSED  |        |

Here.
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	got, err := parseStat("7 (a ) (b) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 100 200 300\n")
	if err != nil {
		t.Fatal(err)
	}
	want := process{parent: 3, name: "a ) (b", cpu: time.Second}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(process{})); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "7 (a", "7 a) (", "7 (a) S x", "7 (a) S 1 2 3"} {
		if _, err := parseStat(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestArchives has the archives of the bench checked and unpacked as a stranger's are.
func TestArchives(t *testing.T) {
	t.Parallel()
	csv, err := csvBlock(100_000, 1)
	if err != nil {
		t.Fatal(err)
	}
	random := randomBlock(64 << 10)
	zip, err := newZip(5, csv, random)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, into := filepath.Join(dir, "a.zip"), filepath.Join(dir, "out")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if n, err := zip.WriteTo(file); err != nil || n != zip.size {
		t.Fatalf("wrote %d of %d bytes: %v", n, zip.size, err)
	}
	if err := os.Mkdir(into, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := peerExtract(t.Context(), path, into); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]block{"export-00/part-00000.csv": csv, "export-03/part-00003.csv": random, "export-04/part-00004.csv": csv} {
		text, err := os.ReadFile(filepath.Join(into, name))
		if err != nil {
			t.Error(err)
		}
		if uint64(len(text)) != want.size {
			t.Errorf("%s has %d bytes, expected %d", name, len(text), want.size)
		}
	}
	if shared := countShared(zip, random.packed); shared != 2 {
		t.Errorf("of 2 entries with the same content %d share it", shared)
	}
}

func countShared(zip *zipStream, content []byte) int {
	count := 0
	for _, piece := range zip.pieces {
		if len(piece) == len(content) && &piece[0] == &content[0] {
			count++
		}
	}
	return count
}

func TestPayload(t *testing.T) {
	t.Parallel()
	block := randomBlock(1000).packed
	for _, size := range []int64{1, 16, 17, 1016, 5000} {
		p, other := newPayload(block, size), newPayload(block, size)
		var first, again bytes.Buffer
		for _, w := range []*bytes.Buffer{&first, &again} {
			if n, err := p.WriteTo(w); err != nil || n != size {
				t.Errorf("wrote %d of %d bytes: %v", n, size, err)
			}
		}
		if !bytes.Equal(first.Bytes(), again.Bytes()) {
			t.Errorf("%d bytes are not the same each time", size)
		}
		want := fmt.Sprintf("%x", sha256.Sum256(first.Bytes()))
		if got, err := p.sha256(); err != nil || got != want {
			t.Errorf("digest of %d bytes: %s, %v, expected %s", size, got, err, want)
		}
		if got, err := other.sha256(); size > 1 && (err != nil || got == want) {
			t.Errorf("another payload of %d bytes has the same digest, or none: %v", size, err)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	for only, want := range map[string]int{"": len(figures), "post": 1, "get,idle": 2} {
		if got, err := choose(only); err != nil || len(got) != want {
			t.Errorf("choose(%q): %d figures, %v", only, len(got), err)
		}
	}
	if _, err := choose("post,,"); err == nil {
		t.Error("a figure without a name was found")
	}
}
