package oracle

import (
	"net/http"
	"testing"
	"time"
)

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"":                              0,
		"120":                           2 * time.Minute,
		" 3 ":                           3 * time.Second,
		"-5":                            0,
		"soon":                          0,
		"99999999999":                   0,
		"Sat, 21 Nov 2026 03:00:00 GMT": time.Hour,
		"Sat, 21 Nov 2026 01:00:00 GMT": 0,
	} {
		if got := parseRetryAfter(in, now); got != want {
			t.Errorf("parseRetryAfter(%q) = %s; want %s", in, got, want)
		}
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	r := Retry{Attempts: 4, Base: time.Second, Max: 3 * time.Second}
	get := func(kind Kind, status int, after time.Duration) *Error {
		return &Error{Method: http.MethodGet, Kind: kind, Status: status, RetryAfter: after}
	}
	tests := []struct {
		name     string
		n        int
		err      *Error
		again    bool
		low, top time.Duration
	}{
		{"first", 1, get(KindUnavailable, 503, 0), true, 0, time.Second},
		{"second", 2, get(KindUnavailable, 0, 0), true, 0, 2 * time.Second},
		{"third is capped", 3, get(KindUnavailable, 429, 0), true, 0, 3 * time.Second},
		{"attempts used up", 4, get(KindUnavailable, 503, 0), false, 0, 0},
		{"waits as asked", 1, get(KindUnavailable, 503, 2*time.Second), true, 2 * time.Second, 2 * time.Second},
		{"asked for too long", 1, get(KindUnavailable, 503, time.Hour), false, 0, 0},
		{"redirect", 1, get(KindUnavailable, 302, 0), false, 0, 0},
		{"server error", 1, get(KindServer, 500, 0), false, 0, 0},
		{"not found", 1, get(KindNotFound, 404, 0), false, 0, 0},
		{"cancelled", 1, get(KindCancelled, 0, 0), false, 0, 0},
		{"start", 1, &Error{Method: http.MethodPost, Kind: KindUnavailable, Status: 503}, false, 0, 0},
		{"delete", 1, &Error{Method: http.MethodDelete, Kind: KindUnavailable}, false, 0, 0},
	}
	for _, tt := range tests {
		for range 200 {
			wait, again := r.delay(tt.n, tt.err)
			if again != tt.again || wait < tt.low || wait > tt.top {
				t.Errorf("%s: delay = %s, %v; want %s..%s, %v", tt.name, wait, again, tt.low, tt.top, tt.again)
				break
			}
		}
	}
	huge := Retry{Attempts: 100, Base: 10 * time.Minute, Max: time.Hour}
	if wait, _ := huge.delay(90, get(KindUnavailable, 503, 0)); wait < 0 || wait > time.Hour {
		t.Errorf("delay after many attempts = %s", wait)
	}
}
