package files

import (
	"bytes"
	"context"
	"strings"
	"testing"

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
