package api

import "context"

// nudge wakes a goroutine that has nothing to do.
type nudge chan struct{}

// lookAround lets Go's scheduler see whether there is something to do for others. It looks at the
// network when a thread runs out of work, and of threads that are busy with transfers none may for
// ten milliseconds: to wake a goroutine has it take another thread, which has nothing to do after
// that. See polling in bench/README.md.
func (n nudge) lookAround() {
	select {
	case n <- struct{}{}:
	default: // it is awake
	}
}

// wakeUp is the goroutine that lookAround wakes.
func (n nudge) wakeUp(ctx context.Context) {
	for {
		select {
		case <-n:
		case <-ctx.Done():
			return
		}
	}
}
