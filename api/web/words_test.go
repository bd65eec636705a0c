package web_test

import (
	"fmt"
	"testing"
	"time"

	"longhaul/api/web"
)

func TestAgoAndUntil(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		d          time.Duration
		ago, until string
	}{
		{-time.Hour, "just now", "in a moment"},
		{10 * time.Second, "just now", "in a moment"},
		{50 * time.Second, "1 min ago", "in 1 min"},
		{59 * time.Minute, "59 min ago", "in 59 min"},
		{59*time.Minute + 45*time.Second, "1 h ago", "in 1 h"},
		{24 * time.Hour, "24 h ago", "in 24 h"},
		{3 * 24 * time.Hour, "3 days ago", "in 3 days"},
		{10 * 24 * time.Hour, "11 Nov 2026", "in 10 days"},
	} {
		if got := web.Ago(now.Add(-c.d), now); got != c.ago {
			t.Errorf("%s ago: %q, want %q", c.d, got, c.ago)
		}
		if got := web.Until(now.Add(c.d), now); got != c.until {
			t.Errorf("%s ahead: %q, want %q", c.d, got, c.until)
		}
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 69_240: "69.2 kB", 1_500_000_000: "1.5 GB", 1 << 62: "4.6 EB"} {
		if got := web.Bytes(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestBadge(t *testing.T) {
	t.Parallel()
	cancelling := running
	cancelling.Cancelling = true
	warned := plain
	warned.Result = []byte(`{"warnings":true,"message":"Completed with warnings"}`)
	strange := plain
	strange.Result = []byte(`[1,2]`)
	cancelled := failed
	cancelled.State = "cancelled"
	for word, task := range map[string]web.Task{
		"Queued": waiting, "Running": running, "Cancelling": cancelling, "Succeeded with rejects": rejects,
		"Succeeded with warnings": warned, "Succeeded": strange, "Failed": failed, "Cancelled": cancelled,
	} {
		badge := task.Badge()
		if badge.Word != word || badge.Icon == "" || badge.Tone == "" {
			t.Errorf("%s: %+v", word, badge)
		}
		if badge.Tone == "ok" && word != "Succeeded" {
			t.Errorf("%s looks like a plain success", word)
		}
	}
}

func TestHeadline(t *testing.T) {
	t.Parallel()
	for want, task := range map[string]web.Task{
		"Waiting for a worker.":                {State: "queued"},
		"The task has done its work.":          plain,
		"412 of 10,000 rows rejected":          rejects,
		"The application refuses the password": failed,
	} {
		if got := task.Headline(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func ExampleTook() {
	fmt.Println(web.Took(42*time.Second), "|", web.Took(3*time.Minute+5*time.Second), "|", web.Took(26*time.Hour))
	// Output: 42 s | 3 min 5 s | 26 h 0 min
}
