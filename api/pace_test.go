package api

import (
	"testing"
	"time"
)

// Large pieces are for those who take them fast, and for as long as they do.
func TestPace(t *testing.T) {
	t.Parallel()
	w := &timedWriter{piece: writePiece}
	now := time.Now()
	take := func(bytes int, each time.Duration) {
		for n := 0; n < bytes; n += w.piece {
			now = now.Add(each)
			w.pace(now, w.piece)
		}
	}
	for _, step := range []struct {
		what  string
		bytes int
		each  time.Duration // a piece
		piece int
	}{
		{"what buffers on the way may hold", fastBytes / 2, 50 * time.Microsecond, writePiece},
		{"slow", 4 * fastBytes, 10 * time.Millisecond, writePiece},
		{"fast", 2 * fastBytes, 100 * time.Microsecond, largePiece},
		{"still fast", 4 * fastBytes, time.Millisecond, largePiece},
		{"one piece that takes long", 1, time.Minute, writePiece},
		{"slow again", fastBytes, 10 * time.Millisecond, writePiece},
	} {
		if take(step.bytes, step.each); w.piece != step.piece {
			t.Errorf("%s: pieces of %d bytes, want %d", step.what, w.piece, step.piece)
		}
	}
}
