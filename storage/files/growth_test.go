package files

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"
)

// random returns n bytes, the same for each n.
func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // never fails
	return data
}

// slowReader gives its bytes in pieces, a while after each other.
type slowReader struct {
	io.Reader
	pause time.Duration
}

func (s slowReader) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.Reader.Read(p[:min(len(p), 100_000)])
}

// TestSavesMeanwhile has a file that takes longer than saveEvery: it is saved before its end, each
// time with what is on disk, and from there another process goes on.
func TestSavesMeanwhile(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	data := random(3 << 20)
	var saved [][]byte
	_, err := f.Append(t.Context(), Growth{Key: "a"}, slowReader{bytes.NewReader(data), 80 * time.Millisecond}, func(_ context.Context, g Growth) error {
		st, err := os.Stat(filepath.Join(dir, growingFolder, growing("a")))
		if err != nil || st.Size() < g.Size {
			t.Errorf("saved %d bytes, on disk: %v, %v", g.Size, st, err)
		}
		state, err := json.Marshal(g)
		saved = append(saved, state)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(saved) < 2 {
		t.Fatalf("saved %d times", len(saved))
	}
	again, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	var g Growth
	if err := json.Unmarshal(saved[0], &g); err != nil {
		t.Fatal(err)
	}
	if g.Size == 0 || g.Size >= int64(len(data)) {
		t.Fatalf("first saved with %d bytes", g.Size)
	}
	g, err = again.Append(t.Context(), g, bytes.NewReader(data[g.Size:]), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Finish(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if got := get(t, f, "a"); got != string(data) {
		t.Error("something else was stored")
	}
	var whole Digest
	_, _ = whole.Write(data)
	if g.Digest.SHA256() != whole.SHA256() || !bytes.Equal(g.Digest.Sums(), whole.Sums()) {
		t.Error("the digest differs")
	}
	wantOnDisk(t, dir, "a")
}

// TestSavingFails ends an Append that nobody can keep.
func TestSavingFails(t *testing.T) {
	t.Parallel()
	f, _ := open(t)
	taken := errors.New("taken over")
	endless := slowReader{iotest.OneByteReader(zeros{}), time.Millisecond}
	g, err := f.Append(t.Context(), Growth{Key: "a"}, endless, func(context.Context, Growth) error { return taken })
	if !errors.Is(err, taken) || g.Size != 0 {
		t.Errorf("got %d bytes, %v; want %v", g.Size, err, taken)
	}
}

// TestBusy has one write to a file who stands still: nobody else writes to it, or finishes it,
// before he is gone.
func TestBusy(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	again, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	data := random(1000)
	g, err := f.Append(t.Context(), Growth{Key: "a"}, bytes.NewReader(data[:100]), nil)
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	gone := errors.New("client went away")
	ended := make(chan error, 1)
	go func() {
		_, err := f.Append(t.Context(), g, r, nil)
		ended <- err
	}()
	if _, err := w.Write([]byte("other bytes")); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Append(t.Context(), g, bytes.NewReader(data[100:]), nil); !errors.Is(err, ErrBusy) {
		t.Errorf("append: got %v, want %v", err, ErrBusy)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := again.Finish(ctx, g); !errors.Is(err, context.Canceled) {
		t.Errorf("finish: got %v, want %v", err, context.Canceled)
	}
	time.AfterFunc(3*busyPause, func() { _ = w.CloseWithError(gone) })
	g, err = again.Append(t.Context(), g, bytes.NewReader(data[100:]), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, gone) {
		t.Errorf("got %v, want %v", err, gone)
	}
	if err := again.Finish(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if got := get(t, f, "a"); got != string(data) {
		t.Error("something else was stored")
	}
}

// TestFinishedMeanwhile has one wait for a file that another then finishes: he does not write to it.
func TestFinishedMeanwhile(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	g, err := f.Append(t.Context(), Growth{Key: "a"}, bytes.NewReader(random(100)), nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := f.openIn(growingFolder, growing("a"), 0) // as he opens it
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := f.Finish(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if err := f.lockGrowing(file, g); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want %v", err, ErrBusy)
	}
	if _, err := f.Append(t.Context(), g, bytes.NewReader(random(10)), nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want %v", err, ErrDamaged)
	}
	wantOnDisk(t, dir, "a")
}

// TestTooShort has a file that grows with fewer bytes than had come.
func TestTooShort(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	g, err := f.Append(t.Context(), Growth{Key: "a"}, bytes.NewReader(random(100)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, growingFolder, growing("a")), 99); err != nil {
		t.Fatal(err)
	}
	_, appendErr := f.Append(t.Context(), g, bytes.NewReader(random(1)), nil)
	for _, err := range []error{appendErr, f.Finish(t.Context(), g)} {
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("got %v, want %v", err, ErrDamaged)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestVerify(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	data := random(2*SumBlock + 1000)
	stored := put(t, f, "a", string(data))
	read := func(from, to int64) ([]byte, error) {
		file, err := f.Open(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		checked := Verify(file, "a", stored.Sums, nil)
		if _, err := checked.Seek(from, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		return io.ReadAll(io.LimitReader(checked, to-from))
	}
	size := int64(len(data))
	for _, part := range [][2]int64{{0, size}, {5, 10}, {SumBlock - 1, SumBlock + 1}, {2 * SumBlock, size}, {size, size + 9}} {
		got, err := read(part[0], part[1])
		if err != nil || !bytes.Equal(got, data[part[0]:min(part[1], size)]) {
			t.Errorf("%d: got %d bytes, %v", part, len(got), err)
		}
	}
	data[SumBlock+7] ^= 1
	if err := os.WriteFile(filepath.Join(dir, "a"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := read(0, size); !errors.Is(err, ErrDamaged) || len(got) != SumBlock {
		t.Errorf("got %d bytes, %v; want the first block and %v", len(got), err, ErrDamaged)
	}
	if got, err := read(2*SumBlock, size); err != nil || len(got) != 1000 {
		t.Errorf("behind the damage: got %d bytes, %v", len(got), err)
	}
}
