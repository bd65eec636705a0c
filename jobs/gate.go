package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
)

// gatePatience is how long a waiting task sleeps before it looks again by itself. Mostly it is
// woken earlier, by the end of the task it waits for.
const gatePatience = 15 * time.Second

// gate lets a task onto its application: not into a maintenance window, not beyond max_running,
// not beside a task that needs the application alone. While it waits, its message says why.
func (e *Engine) gate(ctx context.Context, r *Run) (Next, error) {
	app, err := r.App(ctx)
	if err != nil {
		return Next{}, err
	}
	median, longest, known, err := e.db.TypicalSeconds(ctx, r.Task.App, r.Task.Kind, r.Task.Name)
	if err != nil {
		return Next{}, err
	}
	takes := r.kind.expected()
	if known {
		takes = seconds(longest)
	}
	if until, held := heldUntil(app, r.Now(), takes); held {
		r.hold(fmt.Sprintf("Waiting for the end of the daily maintenance at %s", until.UTC().Format("15:04 UTC")))
		r.Task.Step = stepHold
		return Again(until.Sub(r.Now())), nil
	}
	r.Task.Step = stepGate
	return Next{keepTries: true, decide: func(ctx context.Context, tx pgx.Tx) (time.Duration, error) {
		if err := storage.LockAddress(ctx, tx, app.Address()); err != nil {
			return 0, err
		}
		queue, err := storage.QueueBefore(ctx, tx, r.Task, app, stepGate)
		if err != nil {
			return 0, err
		}
		if why := whyWait(&queue, app, r.kind.Exclusive); why != "" {
			r.hold(why)
			return gatePatience + time.Duration(queue.Waiting)*50*time.Millisecond, nil
		}
		r.admit(median, known)
		return 0, nil
	}}, nil
}

// hold shows why the task waits, and logs it when it is a new reason.
func (r *Run) hold(why string) {
	if r.Task.Message != why {
		r.Logf("%s", why)
	}
	r.Task.Message = why
}

// admit starts the task.
func (r *Run) admit(median float64, known bool) {
	now := r.Now()
	deadline := now.Add(r.kind.deadline())
	r.Task.State, r.Task.StartedAt, r.Task.DeadlineAt = Running, &now, &deadline
	if known {
		eta := now.Add(seconds(median))
		r.Task.ETA = &eta
	}
	r.Task.Message = ""
	r.Logf("Started")
	r.enter(r.kind.firstStep(r.Task))
}

// firstStep is where a task's own work begins.
func (k *Kind) firstStep(t *storage.Task) string {
	if t.Input == "archive" {
		return stepUnpack
	}
	return k.First
}

// whyWait says in words what a task waits for, or nothing when it may start.
func whyWait(q *storage.Queue, app *storage.App, exclusive bool) string {
	switch {
	case q.Alone != nil:
		return fmt.Sprintf("Waiting for %s, which needs the application alone", *q.Alone)
	case exclusive && q.Running == 1:
		return fmt.Sprintf("Needs the application alone; waiting for %s", *q.RunningName)
	case exclusive && q.Running > 1:
		return fmt.Sprintf("Needs the application alone; waiting for %s and %d more", *q.RunningName, q.Running-1)
	case q.WaitingAlone != nil:
		return fmt.Sprintf("Waiting behind %s, which needs the application alone and came first", *q.WaitingAlone)
	case app.MaxRunning > 0 && q.RunningApp >= app.MaxRunning:
		return fmt.Sprintf("Waiting for a free place: %d of %d tasks of %s run", q.RunningApp, app.MaxRunning, app.Name)
	case app.MaxRunning > 0 && q.RunningApp+q.Waiting >= app.MaxRunning:
		return fmt.Sprintf("Waiting behind %d older tasks of %s", q.Waiting, app.Name)
	case exclusive && q.Waiting > 0:
		return fmt.Sprintf("Waiting behind %d older tasks of %s", q.Waiting, app.Name)
	}
	return ""
}

// letIn wakes the oldest tasks that wait for the application, when one of its tasks ends.
func (e *Engine) letIn(ctx context.Context, tx pgx.Tx, ended uuid.UUID, app *storage.App) error {
	if err := storage.LockAddress(ctx, tx, app.Address()); err != nil {
		return err
	}
	waiting, err := storage.NextWaiting(ctx, tx, app, stepGate, max(app.MaxRunning, 4))
	if err != nil {
		return err
	}
	for _, id := range waiting {
		if id == ended {
			continue
		}
		if err := e.wake(ctx, tx, id); err != nil {
			return err
		}
	}
	return nil
}

// heldUntil tells whether work that starts now and takes so long would run in the app's daily
// maintenance window, and when the window ends. Work that is longer than the time between two
// windows is held only inside one: it could never start otherwise.
func heldUntil(app *storage.App, now time.Time, takes time.Duration) (time.Time, bool) {
	if app.MaintenanceStart == nil {
		return time.Time{}, false
	}
	zone, err := time.LoadLocation(*app.MaintenanceZone)
	if err != nil {
		zone = time.UTC // checked when the app was saved; the zone may have left the system since
	}
	at, err := time.Parse("15:04", *app.MaintenanceStart)
	if err != nil {
		return time.Time{}, false
	}
	length := time.Duration(*app.MaintenanceMinutes) * time.Minute
	if takes > 24*time.Hour-length {
		takes = 0
	}
	local := now.In(zone)
	for day := -1; day <= 1; day++ {
		start := time.Date(local.Year(), local.Month(), local.Day()+day, at.Hour(), at.Minute(), 0, 0, zone)
		end := start.Add(length)
		if now.Before(end) && now.Add(takes).After(start) {
			return end, true
		}
	}
	return time.Time{}, false
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
