package jobs

import (
	"context"
	"errors"
	"time"

	"longhaul/storage"
)

const (
	// sealEvery is how far the seals of the audit trail are behind it.
	sealEvery = time.Second
	// sealRetry is how long a sealer waits that could not seal.
	sealRetry = 15 * time.Second
	// headEvery is how often the last seal is named in the log, which anchors the trail outside of
	// the database.
	headEvery = time.Hour
	// lastSealTime is how long the stop waits for the last lines to be sealed.
	lastSealTime = 5 * time.Second
)

// sealAudit seals the audit trail until ctx ends, and then what there is by then.
func (e *Engine) sealAudit(ctx context.Context) {
	sealer := storage.NewAuditSealer(e.db, e.Sealer)
	pause, told := sealEvery, e.now()
	for wait(ctx, pause) {
		pause = sealEvery
		if _, _, err := sealer.Seal(ctx); err != nil {
			e.sealFailed(ctx, err)
			pause = sealRetry
		}
		if e.now().Sub(told) >= headEvery {
			e.tellHead(ctx, sealer)
			told = e.now()
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSealTime)
	defer cancel()
	for again := true; again; {
		_, waiting, err := sealer.Seal(ctx)
		if err != nil {
			e.sealFailed(ctx, err)
		}
		again = waiting && err == nil && wait(ctx, sealEvery/20)
	}
	e.tellHead(ctx, sealer)
}

func (e *Engine) sealFailed(ctx context.Context, err error) {
	if broken, ok := errors.AsType[*storage.AuditBrokenError](err); ok {
		e.logger.ErrorContext(ctx, "audit: a seal is gone", "head", broken.Head.String(), "error", err)
	} else if ctx.Err() == nil {
		e.logger.WarnContext(ctx, "audit: lines are not sealed; will be tried again", "error", err)
	}
}

// tellHead names the last seal in the log, for longhaul audit verify --head.
func (e *Engine) tellHead(ctx context.Context, sealer *storage.AuditSealer) {
	if head := sealer.Head(); head.Seq > 0 {
		e.logger.InfoContext(ctx, "audit: sealed", "head", head.String())
	}
}

// sweepAudit makes the months of the audit trail that come next, and drops those that have had
// their time.
func (e *Engine) sweepAudit(ctx context.Context) (lines, bytes int64, err error) {
	moved, err := e.db.AddAuditMonths(ctx)
	if err != nil {
		return 0, 0, err
	}
	if moved > 0 {
		e.logger.WarnContext(ctx, "audit: lines were of a month without a partition and were moved; was the clock wrong?", "lines", moved)
	}
	if e.KeepAudit == 0 {
		return 0, 0, nil
	}
	lines, err = e.db.DropAuditMonths(ctx, e.KeepAudit)
	return lines, 0, err
}
