package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"longhaul/oracle"
	"longhaul/storage"
)

const (
	// leaseFor is how long a claim outlives the last sign of life of its worker.
	leaseFor = 30 * time.Second
	// maxTries is how often a step is tried that fails for no reason we know.
	maxTries = 8
	// maxCrashes is how many processes may die while they hold a step before its task is given up:
	// a step that kills its process must not do so for ever. It is generous, because a process that
	// is killed for other reasons takes innocent steps with it. Steps that hold nothing do not
	// count; they are a query or a request.
	maxCrashes = 25
	// early is how much before its time a task may be woken, for clocks that differ.
	early = 2 * time.Second
)

// Why the context of a claimed step ends before the step does.
var (
	errLost      = errors.New("the claim on this task was lost")
	errCancelled = errors.New("cancelled by request")
)

// work does one step of the task that the River job names, if it is due and free.
func (e *Engine) work(ctx context.Context, job *river.Job[stepArgs]) error {
	task, err := e.db.Task(ctx, job.Args.TaskID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now := e.now()
	if task.Final() || task.LeaseUntil != nil && task.LeaseUntil.After(now) {
		return nil
	}
	if wait := task.DueAt.Sub(now); wait > early && !toCancel(&task) {
		if task.JobID != nil && *task.JobID == job.ID {
			return river.JobSnooze(wait)
		}
		return nil
	}
	err = e.step(ctx, job, &task)
	if errors.Is(err, storage.ErrStale) {
		e.logger.DebugContext(ctx, "step: another worker was faster", "task", task.ID, "step", task.Step)
		return nil
	}
	return err
}

// step chooses what is to be done now, does it, and writes what came of it.
func (e *Engine) step(ctx context.Context, job *river.Job[stepArgs], task *storage.Task) error {
	kind, err := e.Kinds.Get(task.Kind)
	if err != nil {
		kind = &Kind{Name: task.Kind}
	}
	r := &Run{Task: task, engine: e, kind: kind}
	step, err := e.choose(r)
	if err != nil {
		return e.end(ctx, job, r, failureOf(err))
	}
	task.Percent = max(task.Percent, step.Percent)
	next, err := e.do(ctx, r, step)
	switch {
	case err == nil && next.done:
		return e.end(ctx, job, r, &verdict{State: Succeeded, Result: marshal(next.result)})
	case err == nil:
		return e.advance(ctx, job, r, next)
	default:
		return e.settle(ctx, job, r, step, err)
	}
}

// choose returns the step to do now, or the Failure that ends the task before it.
func (e *Engine) choose(r *Run) (Step, error) {
	task := r.Task
	switch {
	case task.Step == stepTidy && task.Crashes < maxCrashes:
		return Step{Holds: true, Do: e.tidy}, nil
	case task.Crashes >= maxCrashes:
		return Step{}, &Failure{
			Code:    CodeInternal,
			Message: fmt.Sprintf("The step %q ended the server %d times and is not tried again", task.Step, task.Crashes),
			Detail:  "Tell the operator of this server; the server's log names the task.",
		}
	case task.CancelRequestedAt != nil:
		return Step{}, cancelVerdict(task)
	case r.Now().After(*task.DeadlineAt):
		return Step{}, overdue(task)
	case task.Step == stepGate, task.Step == stepHold:
		return Step{Do: e.gate}, nil
	case task.Step == stepUnpack:
		return Step{Holds: true, Do: e.unpack}, nil
	}
	step, ok := r.kind.Steps[task.Step]
	if !ok {
		return Step{}, &Failure{
			Code:    CodeInternal,
			Message: fmt.Sprintf("This server does not know the step %q of %s", task.Step, task.Kind),
			Detail:  "The task was made by another version of the server. Start it again.",
		}
	}
	if step.Starts && task.RemoteIntentAt != nil {
		return Step{}, unknownOutcome(task)
	}
	return step, nil
}

// do runs the step, under a claim when it needs one.
func (e *Engine) do(ctx context.Context, r *Run, step Step) (Next, error) {
	if !step.Holds && !step.Starts {
		if !r.waiting() && r.Task.StartedAt == nil {
			now := r.Now()
			r.Task.State, r.Task.StartedAt = Running, &now
		}
		return step.run(ctx, r)
	}
	if err := e.db.Claim(ctx, r.Task, e.Process, leaseFor, step.Starts); err != nil {
		return Next{}, err
	}
	e.changed(r.Task.ID)
	held, release := e.hold(ctx, r.Task, step)
	defer release()
	next, err := step.run(held, r)
	if cause := context.Cause(held); err != nil && cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return next, err
}

// run does the step. A panic becomes an error, so that it is counted and told like one.
func (s *Step) run(ctx context.Context, r *Run) (next Next, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = panicked(cause)
		}
	}()
	return s.Do(ctx, r)
}

// errPanic is wrapped by the errors that panics become.
var errPanic = errors.New("panic")

// panicked is the error of what recover has returned.
func panicked(cause any) error { return fmt.Errorf("%w: %v\n%s", errPanic, cause, debug.Stack()) }

// hold keeps the claim alive while a step runs. The context it returns ends when the claim is
// lost, and when the task is to be cancelled, unless the step starts a remote job or cleans up:
// these are brought to their end.
func (e *Engine) hold(ctx context.Context, task *storage.Task, step Step) (context.Context, func()) {
	held, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	id, fence := task.ID, task.Fence
	stoppable := !step.Starts && task.Step != stepTidy
	go func() {
		defer close(done)
		alive := e.now()
		for wait(held, leaseFor/15) {
			asked, err := e.db.ExtendLease(held, id, fence, leaseFor)
			switch {
			case errors.Is(err, storage.ErrStale):
				cancel(errLost)
			case err != nil && e.now().Sub(alive) > leaseFor*2/3:
				cancel(fmt.Errorf("%w: %w", errLost, err))
			case asked && stoppable:
				cancel(errCancelled)
			case err == nil:
				alive = e.now()
			}
		}
	}()
	return held, func() { cancel(nil); <-done }
}

// wait sleeps for d and reports whether ctx still lives.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// advance writes what a step changed and schedules the next one.
func (e *Engine) advance(ctx context.Context, job *river.Job[stepArgs], r *Run, next Next) error {
	if next.step != "" {
		r.enter(next.step)
	} else if !next.keepTries {
		r.Task.Tries = 0
	}
	return e.save(ctx, job, r, next)
}

// enter moves the task to another step.
func (r *Run) enter(step string) {
	r.Task.Step = step
	r.Task.Tries = 0
	r.Task.Percent = max(r.Task.Percent, r.kind.Steps[step].Percent)
}

// waiting reports whether the task has not been let onto its application yet.
func (r *Run) waiting() bool { return r.Task.Step == stepGate || r.Task.Step == stepHold }

// save commits a step: the row, the end of its River job and the next one.
func (e *Engine) save(ctx context.Context, job *river.Job[stepArgs], r *Run, next Next) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	err := e.db.InTx(ctx, func(tx pgx.Tx) error {
		after := next.after
		if next.decide != nil {
			var err error
			if after, err = next.decide(ctx, tx); err != nil {
				return err
			}
		}
		return e.saveStep(ctx, tx, r, after, job.ID)
	})
	if err != nil {
		return err
	}
	if next.cleanup != nil {
		next.cleanup(ctx)
	}
	e.changed(r.Task.ID)
	e.comeDue(*r.Task.DueAt)
	return nil
}

// saveStep writes the row and the River job that wakes it after a while, or at once when its
// cancellation was asked for meanwhile.
func (e *Engine) saveStep(ctx context.Context, tx pgx.Tx, r *Run, after time.Duration, done int64) error {
	due := e.now().Add(after)
	r.Task.DueAt = &due
	r.Task.Percent = min(r.Task.Percent, 99)
	var err error
	if r.Task.JobID, err = e.schedule(ctx, tx, r.Task.ID, due); err != nil {
		return err
	}
	if err := storage.SaveStep(ctx, tx, r.Task, r.log.String(), done); err != nil {
		return err
	}
	if !toCancel(r.Task) || after <= 0 {
		return nil
	}
	return e.wake(ctx, tx, r.Task.ID)
}

// toCancel reports whether a task's cancellation was asked for and is not decided yet. One that is
// cleaning up after its verdict takes the time that it takes.
func toCancel(t *storage.Task) bool { return t.CancelRequestedAt != nil && t.Verdict == nil }

// wake makes an open task due now.
func (e *Engine) wake(ctx context.Context, tx pgx.Tx, id uuid.UUID) error {
	job, err := e.schedule(ctx, tx, id, e.now())
	if err != nil {
		return err
	}
	return storage.SetWaker(ctx, tx, id, *job)
}

// settle decides what a step's error means: to repeat it, to hand it back, or to end the task.
func (e *Engine) settle(ctx context.Context, job *river.Job[stepArgs], r *Run, step Step, err error) error {
	var failure *Failure
	switch {
	case errors.Is(err, storage.ErrStale), errors.Is(err, errLost):
		return storage.ErrStale
	case errors.Is(err, errCancelled):
		return e.end(ctx, job, r, failureOf(cancelVerdict(r.Task)))
	case step.Starts && mayHaveStarted(err):
		r.Logf("The answer to the start call was lost: %v", err)
		return e.end(ctx, job, r, failureOf(unknownOutcome(r.Task)))
	}
	if step.Starts {
		r.Task.RemoteIntentAt = nil // refused or never sent: the start did not happen
	}
	switch {
	case ctx.Err() != nil:
		r.Logf("The server is stopping; this step goes on when it runs again")
		return e.save(ctx, job, r, Next{})
	case errors.As(err, &failure):
		return e.end(ctx, job, r, failureOf(failure))
	}
	return e.retry(ctx, job, r, err)
}

// mayHaveStarted reports whether a remote job may run although its start call failed.
func mayHaveStarted(err error) bool {
	if _, ok := errors.AsType[*Failure](err); ok {
		return false // the step judged its own case
	}
	return oracle.MayHaveHappened(err)
}

// retry repeats a failed step after a while, or gives the task up.
func (e *Engine) retry(ctx context.Context, job *river.Job[stepArgs], r *Run, err error) error {
	r.Task.Tries++
	if lost, ok := errors.AsType[*ConnectionError](err); ok {
		return e.unconnected(ctx, job, r, lost)
	}
	tries := r.Task.Tries
	pause := backoff(tries)
	var remote *oracle.Error
	known := errors.As(err, &remote)
	if known {
		pause = max(pause, remote.RetryAfter)
	}
	switch {
	case known && (remote.Kind == oracle.KindUnavailable || remote.Kind == oracle.KindServer):
		r.Task.Message = fmt.Sprintf("The application does not answer (maintenance or network); try %d in %s",
			tries+1, pause.Round(time.Second))
	case known && remote.Kind == oracle.KindUnauthorized && tries >= 3:
		return e.end(ctx, job, r, failureOf(&Failure{
			Code: CodeUnauthorized, Message: "The application refuses " + e.signsInWith(ctx, r),
			Detail: "Correct the connection of the app " + r.Task.App + ", check it, and start the task again.",
		}))
	case known && (remote.Kind == oracle.KindRefused || remote.Kind == oracle.KindForbidden):
		return e.end(ctx, job, r, failureOf(&Failure{
			Code: CodeRemoteFailed, Message: "The application refused: " + remote.Message, Detail: remote.Error(),
		}))
	case tries >= maxTries:
		r.Logger().ErrorContext(ctx, "step failed for good", "tries", tries, "error", err)
		return e.end(ctx, job, r, failureOf(&Failure{
			Code: CodeInternal, Message: fmt.Sprintf("The step %q failed %d times", r.Task.Step, tries),
			Detail: "Tell the operator of this server; its log names the task " + r.Task.ID.String() + ".",
		}))
	default:
		r.Task.Message = fmt.Sprintf("A problem came up; try %d of %d in %s", tries+1, maxTries, pause.Round(time.Second))
	}
	r.Logger().WarnContext(ctx, "step failed, will be tried again", "tries", tries, "in", pause, "error", err)
	if known {
		r.Logf("%s: %v", r.Task.Message, remote)
	} else {
		r.Logf("%s", r.Task.Message)
	}
	return e.save(ctx, job, r, Again(pause))
}

// backoff is how long to wait after the given number of failures: one second, doubled each
// time up to a minute, with a fifth of jitter so that many tasks do not return together.
func backoff(tries int) time.Duration {
	base := min(time.Second<<min(tries-1, 10), time.Minute)
	return base + rand.N(base/5) //nolint:gosec // jitter needs no secrecy
}

// marshal encodes what our own code made; nil gives nil.
func marshal(value any) json.RawMessage {
	if value == nil {
		return nil
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return json.RawMessage(fmt.Sprintf(`{"error":%q}`, err)) // not of any value that our kinds give
	}
	return raw
}

// text returns a pointer to s, or nil when it is empty.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// deref returns what p points to, or the zero value.
func deref[T any](p *T) T {
	return *cmp.Or(p, new(T))
}
