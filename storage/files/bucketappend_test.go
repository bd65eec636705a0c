package files

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tailsOf are the sizes for which there are tails of the file.
func tailsOf(t testing.TB, b *Bucket, key string) []string {
	t.Helper()
	g, err := b.growth(Growth{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	var sizes []string
	for object, err := range b.objects(t.Context(), g.tails()) {
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, strings.TrimPrefix(*object.Key, g.tails()))
	}
	return sizes
}

// TestSlowHolder has one whose save came through, and who then was so slow that another has gone on
// from there: he removes the tail with which he began, and no other.
func TestSlowHolder(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	data := random(1000)
	first, err := p.open(t).Append(t.Context(), Growth{Key: "a"}, bytes.NewReader(data[:100]), nil)
	if err != nil {
		t.Fatal(err)
	}
	var last Growth
	_, err = p.open(t).Append(t.Context(), again(t, first), bytes.NewReader(data[100:300]), func(ctx context.Context, g Growth) error {
		var err error
		last, err = p.open(t).Append(ctx, again(t, g), bytes.NewReader(data[g.Size:]), func(context.Context, Growth) error { return nil })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1000"}, tailsOf(t, p.bucket(t), "a")); diff != "" {
		t.Errorf("tails (-want +got):\n%s", diff)
	}
	wantFinished(t, p, again(t, last), data)
}

// TestTailsOfPieces takes pieces that are kept whole or not at all: only the tail from which the last
// one went on stays beside its own, as long as nobody has said that it is kept.
func TestTailsOfPieces(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	data := random(1000)
	g := Growth{Key: "a"}
	for range 10 {
		var err error
		if g, err = p.open(t).Append(t.Context(), again(t, g), bytes.NewReader(data[g.Size:][:100]), nil); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"1000", "900"}, tailsOf(t, p.bucket(t), "a")); diff != "" {
		t.Errorf("tails (-want +got):\n%s", diff)
	}
	wantFinished(t, p, again(t, g), data)
}

// TestUploadIsSavedFirst has the answer of the save lost that names the upload: there is no part in
// it yet, and it is not aborted, for the row may name it.
func TestUploadIsSavedFirst(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	b, lost := p.bucket(t), errors.New("the answer was lost")
	var saved Growth
	data := random(testPart + 100)
	_, err := b.Append(t.Context(), Growth{Key: "a", SizeHint: int64(len(data))}, bytes.NewReader(data), func(_ context.Context, g Growth) error {
		saved = again(t, g)
		return lost
	})
	if !errors.Is(err, lost) || saved.UploadID == "" || saved.Size != 0 {
		t.Fatalf("saved %+v, got %v, want %v", saved, err, lost)
	}
	g, err := b.growth(saved)
	if err != nil {
		t.Fatal(err)
	}
	if parts, err := g.upload().list(t.Context(), 1); err != nil || len(parts) > 0 {
		t.Errorf("%d parts, %v", len(parts), err)
	}
	now, err := b.Append(t.Context(), saved, bytes.NewReader(data), nil)
	if err != nil || now.UploadID != saved.UploadID {
		t.Fatalf("went on with another upload, %v", err)
	}
	wantFinished(t, p, now, data)
}

// TestUndoneUpload aborts the upload that an Append has begun of which nothing is kept.
func TestUndoneUpload(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	wrong := errors.New("the client's digest differs")
	r := io.MultiReader(bytes.NewReader(random(testPart+100)), iotest.ErrReader(wrong))
	if _, err := p.open(t).Append(t.Context(), Growth{Key: "a", SizeHint: 2 * testPart}, r, nil); !errors.Is(err, wrong) {
		t.Errorf("got %v, want %v", err, wrong)
	}
	wantNothingLeft(t, p)
}

// TestSlowClients has more Appends at a time than there is room for, whose clients send nothing more:
// a file of Create is stored all the same.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	b := newBucketPlace(t).bucket(t)
	b.partSize = maxGrowthPart / unknownParts
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for range appendBytes/maxGrowthPart + 1 {
		r, w := io.Pipe()
		context.AfterFunc(ctx, func() { _ = w.CloseWithError(ctx.Err()) })
		wg.Go(func() {
			_, err := b.Append(ctx, Growth{Key: "a"}, r, nil)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v", err, context.Canceled)
			}
		})
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); b.appends.room.TryAcquire(1); time.Sleep(time.Millisecond) {
		b.appends.room.Release(1)
		if time.Now().After(deadline) {
			t.Fatal("there is room left")
		}
	}
	short, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	w, err := b.Create(short, "b")
	if err == nil {
		_, err = w.Write([]byte("text"))
	}
	if err == nil {
		_, err = w.Commit()
	}
	if err != nil {
		t.Error(err)
	}
	cancel()
}
