package jobs

import (
	"testing"
	"time"

	"longhaul/storage"
)

func TestHeldUntil(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time {
		when, err := time.Parse("2006-01-02 15:04 MST", text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	window := func(start string, minutes int, zone string) *storage.App {
		return &storage.App{MaintenanceStart: &start, MaintenanceMinutes: &minutes, MaintenanceZone: &zone}
	}
	tests := []struct {
		name  string
		app   *storage.App
		now   string
		takes time.Duration
		until string // empty: may start
	}{
		{"no window", &storage.App{}, "2026-11-21 02:30 UTC", time.Hour, ""},
		{"long before", window("02:00", 60, "UTC"), "2026-11-21 00:00 UTC", time.Hour, ""},
		{"would run into it", window("02:00", 60, "UTC"), "2026-11-21 01:30 UTC", time.Hour, "2026-11-21 03:00 UTC"},
		{"in it", window("02:00", 60, "UTC"), "2026-11-21 02:30 UTC", time.Minute, "2026-11-21 03:00 UTC"},
		{"just after", window("02:00", 60, "UTC"), "2026-11-21 03:00 UTC", time.Minute, ""},
		{"over midnight, before it", window("23:30", 60, "UTC"), "2026-11-21 23:45 UTC", time.Minute, "2026-11-22 00:30 UTC"},
		{"over midnight, after it", window("23:30", 60, "UTC"), "2026-11-22 00:15 UTC", time.Minute, "2026-11-22 00:30 UTC"},
		{"runs into tomorrow's", window("00:10", 30, "UTC"), "2026-11-21 23:50 UTC", time.Hour, "2026-11-22 00:40 UTC"},
		{"in the app's zone", window("02:00", 60, "America/Los_Angeles"), "2026-11-21 10:15 UTC", time.Minute, "2026-11-21 11:00 UTC"},
		{"longer than a day: held only inside", window("02:00", 60, "UTC"), "2026-11-21 12:00 UTC", 30 * time.Hour, ""},
		{"longer than a day, inside", window("02:00", 60, "UTC"), "2026-11-21 02:15 UTC", 30 * time.Hour, "2026-11-21 03:00 UTC"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			until, held := heldUntil(tt.app, at(tt.now), tt.takes)
			if held != (tt.until != "") || held && !until.Equal(at(tt.until)) {
				t.Errorf("held %v until %v, want until %q", held, until.UTC(), tt.until)
			}
		})
	}
}

func TestWhyWait(t *testing.T) {
	t.Parallel()
	name := "importAccount"
	limited := &storage.App{Name: "vision", MaxRunning: 4}
	free := &storage.App{Name: "vision"}
	tests := []struct {
		name      string
		queue     storage.Queue
		app       *storage.App
		exclusive bool
		want      string
	}{
		{"nothing before it", storage.Queue{}, limited, true, ""},
		{"others run", storage.Queue{Running: 3, RunningApp: 3, RunningName: &name}, limited, false, ""},
		{"behind one that is alone", storage.Queue{Running: 1, RunningName: &name, Alone: &name}, free, false, "Waiting for importAccount, which needs the application alone"},
		{"needs it alone", storage.Queue{Running: 3, RunningName: &name}, free, true, "Needs the application alone; waiting for importAccount and 2 more"},
		{"must not overtake", storage.Queue{WaitingAlone: &name}, free, false, "Waiting behind importAccount, which needs the application alone and came first"},
		{"no place", storage.Queue{Running: 4, RunningApp: 4, RunningName: &name}, limited, false, "Waiting for a free place: 4 of 4 tasks of vision run"},
		{"places for older ones", storage.Queue{Running: 3, RunningApp: 3, RunningName: &name, Waiting: 1}, limited, false, "Waiting behind 1 older tasks of vision"},
		{"no limit, many wait", storage.Queue{Waiting: 9}, free, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := whyWait(&tt.queue, tt.app, tt.exclusive); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
