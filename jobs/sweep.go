package jobs

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
)

const (
	// sweepBatch bounds what one sweep takes on at once.
	sweepBatch = 200
	// unwokenGrace is how long a due task may go unworked before the sweep wakes it.
	unwokenGrace = 5 * time.Second
	// settleTime is how long all processes have to come back after Postgres was restarted.
	settleTime = 5 * time.Second
	// leftoverAge is how old the remains of a broken upload are when they are removed.
	leftoverAge = time.Hour
	// growingAge is how long nothing was written to a file that grows and that no upload has, when it is
	// removed.
	growingAge = 24 * time.Hour
	// idempotencyAge is how long an idempotency key is remembered.
	idempotencyAge = 7 * 24 * time.Hour
	// retentionEvery is how many sweeps of the queue go by between two sweeps of files.
	retentionEvery = 6
	// orphansEvery is the same for folders without a task, of which there should be none, and for the
	// months of the audit trail.
	orphansEvery = 720
)

// sweepAll sweeps until ctx ends. Any number of processes may sweep at once: each sweep does
// what is found undone, and doing it twice is harmless.
func (e *Engine) sweepAll(ctx context.Context) {
	for round := 0; wait(ctx, e.SweepEvery); round++ {
		if e.wakes.Settled(settleTime) {
			e.sweepDead(ctx)
		}
		e.sweepUnwoken(ctx)
		e.sweepUnfinished(ctx)
		if round%retentionEvery == 0 {
			e.SweepFiles(ctx)
		}
		if round%orphansEvery == 0 {
			e.sweep(ctx, "orphans", e.sweepOrphans)
			e.sweep(ctx, "contents", e.contents.SweepOrphans)
			e.sweep(ctx, "partial_uploads", e.sweepGrowing)
			e.sweep(ctx, "audit_lines", e.sweepAudit)
		}
	}
}

// sweepDead frees what processes held that are no more.
func (e *Engine) sweepDead(ctx context.Context) {
	jobs, leases, err := e.db.ReleaseDead(ctx, e.Process)
	if err != nil {
		e.sweepFailed(ctx, "dead processes", err)
	} else if jobs+leases > 0 {
		e.logger.InfoContext(ctx, "sweep: took work back from processes that ended", "jobs", jobs, "leases", leases)
	}
}

// sweepUnwoken wakes tasks that are due and that River has forgotten.
func (e *Engine) sweepUnwoken(ctx context.Context) {
	ids, err := e.db.Unwoken(ctx, unwokenGrace, sweepBatch)
	if err != nil {
		e.sweepFailed(ctx, "unwoken tasks", err)
		return
	}
	for _, id := range ids {
		err := e.db.InTx(ctx, func(tx pgx.Tx) error {
			return e.wake(ctx, tx, id)
		})
		if err != nil {
			e.sweepFailed(ctx, "unwoken tasks", err)
			return
		}
	}
	if len(ids) > 0 {
		e.logger.InfoContext(ctx, "sweep: woke tasks that had no live job", "tasks", len(ids))
	}
}

// SweepFiles removes files that have had their time: inputs of ended tasks, expired outputs,
// the remains of broken uploads. It reports what it removed in the log and in Config.Removed.
func (e *Engine) SweepFiles(ctx context.Context) {
	sweeps := []struct {
		what string
		do   func(context.Context) (count, bytes int64, err error)
	}{
		{"inputs", e.sweepInputs},
		{"outputs", e.sweepOutputs},
		{"uploads", e.sweepWhole},
		{"uploads", e.sweepUploads},
		{"file_versions", e.sweepVersions},
		{"file_changes", e.sweepChanges},
		{"contents", e.contents.Sweep},
		{"partial_uploads", e.sweepPartial},
		{"idempotency_keys", e.sweepKeys},
		{"sessions", e.sweepSessions},
	}
	for _, s := range sweeps {
		e.sweep(ctx, s.what, s.do)
	}
}

// sweep does one sweep and reports what it removed.
func (e *Engine) sweep(ctx context.Context, what string, do func(context.Context) (count, bytes int64, err error)) {
	count, bytes, err := do(ctx)
	if err != nil {
		e.sweepFailed(ctx, what, err)
	}
	if count > 0 {
		e.Removed(what, count, bytes)
		e.logger.InfoContext(ctx, "sweep: removed", "what", what, "count", count, "bytes", bytes)
	}
}

func (e *Engine) sweepFailed(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		e.logger.WarnContext(ctx, "sweep: will be tried again", "what", what, "error", err)
	}
}

func (e *Engine) sweepInputs(ctx context.Context) (count, bytes int64, err error) {
	kept, err := e.db.KeptInputs(ctx, e.KeepFailedInput, sweepBatch)
	if err != nil {
		return 0, 0, err
	}
	return e.removeKept(ctx, kept, []string{inboundFolder, workFolder}, e.db.InputDeleted)
}

func (e *Engine) sweepOutputs(ctx context.Context) (count, bytes int64, err error) {
	kept, err := e.db.ExpiredOutputs(ctx, sweepBatch)
	if err != nil {
		return 0, 0, err
	}
	return e.removeKept(ctx, kept, []string{outboundFolder, logsFolder}, e.db.OutputsDeleted)
}

// removeKept removes folders of final tasks and then records that they are gone: a crash
// between the two finds nothing to remove and records it.
func (e *Engine) removeKept(ctx context.Context, kept []storage.Kept, folders []string,
	record func(context.Context, uuid.UUID) error,
) (count, bytes int64, err error) {
	for _, k := range kept {
		for _, folder := range folders {
			n, size, err := e.removeFolder(ctx, k.Folder+"/"+folder)
			count, bytes = count+n, bytes+size
			if err != nil {
				return count, bytes, err
			}
		}
		if err := record(ctx, k.ID); err != nil {
			return count, bytes, err
		}
		e.changed(k.ID)
	}
	return count, bytes, nil
}

func (e *Engine) removeFolder(ctx context.Context, folder string) (count, bytes int64, err error) {
	for file, err := range e.files.List(ctx, folder) {
		if err != nil {
			return 0, 0, err
		}
		count++
		bytes += file.Size
	}
	return count, bytes, e.files.RemoveAll(ctx, folder)
}

// sweepOrphans removes task folders without a task: a retry that died before its row was
// written leaves one.
func (e *Engine) sweepOrphans(ctx context.Context) (count, bytes int64, err error) {
	old, err := e.oldFolders(ctx)
	if err != nil || len(old) == 0 {
		return 0, 0, err
	}
	known, err := e.db.KnownTasks(ctx, slices.Collect(maps.Keys(old)))
	if err != nil {
		return 0, 0, err
	}
	for id, folder := range old {
		if known[id] {
			continue
		}
		n, size, err := e.removeFolder(ctx, folder)
		count, bytes = count+n, bytes+size
		if err != nil {
			return count, bytes, err
		}
	}
	return count, bytes, nil
}

// oldFolders finds the task folders in which nothing was written since leftoverAge.
func (e *Engine) oldFolders(ctx context.Context) (map[uuid.UUID]string, error) {
	last := make(map[uuid.UUID]time.Time)
	folders := make(map[uuid.UUID]string)
	for file, err := range e.files.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		parts := strings.SplitN(file.Key, "/", 4) // app, name, id, the rest
		if len(parts) < 4 {
			continue
		}
		id, err := uuid.Parse(parts[2])
		if err != nil {
			continue
		}
		folders[id] = path.Join(parts[:3]...)
		if file.ModifiedAt.After(last[id]) {
			last[id] = file.ModifiedAt
		}
	}
	maps.DeleteFunc(folders, func(id uuid.UUID, _ string) bool { return e.now().Sub(last[id]) <= leftoverAge })
	return folders, nil
}

func (e *Engine) sweepPartial(ctx context.Context) (count, bytes int64, err error) {
	swept, err := e.files.Sweep(ctx, leftoverAge)
	return int64(swept.Files), swept.Bytes, err
}

// sweepGrowing removes what grew for uploads that are gone: a request that was late to see that, or a
// loss of power, leaves some.
func (e *Engine) sweepGrowing(ctx context.Context) (count, bytes int64, err error) {
	keys, err := e.db.GrowingKeys(ctx)
	if err != nil {
		return 0, 0, err
	}
	swept, err := e.files.SweepGrowing(ctx, growingAge, keys)
	return int64(swept.Files), swept.Bytes, err
}

func (e *Engine) sweepVersions(ctx context.Context) (count, bytes int64, err error) {
	count, err = e.db.ExpireVersions(ctx, e.KeepVersions, 1000)
	return count, 0, err
}

func (e *Engine) sweepChanges(ctx context.Context) (count, bytes int64, err error) {
	count, err = e.db.TrimChanges(ctx, e.KeepChanges, 1000)
	return count, 0, err
}

func (e *Engine) sweepKeys(ctx context.Context) (count, bytes int64, err error) {
	count, err = e.db.OldIdempotencyKeys(ctx, idempotencyAge, 1000)
	return count, 0, err
}

func (e *Engine) sweepSessions(ctx context.Context) (count, bytes int64, err error) {
	if count, err = e.db.ExpiredSessions(ctx, 1000); err != nil {
		return count, 0, err
	}
	_, err = e.db.OldLogoutTokens(ctx, 1000)
	return count, 0, err
}
