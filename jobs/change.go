package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
)

// Cancel asks for a task's cancellation and returns the task as it then is. ErrFinal when it
// has ended, storage.ErrNotFound when there is none. What cancelling came to is the task's
// error once it is final.
func (e *Engine) Cancel(ctx context.Context, id uuid.UUID, by Caller) (*storage.Task, error) {
	var task storage.Task
	err := e.db.InTx(ctx, func(tx pgx.Tx) error {
		var err error
		if task, err = storage.RequestCancel(ctx, tx, by.Reach, id, by.Name); err != nil {
			return err
		}
		if err := e.wake(ctx, tx, id); err != nil {
			return err
		}
		return storage.InsertAudit(ctx, tx, by.audit("task.cancel", &task))
	})
	if errors.Is(err, storage.ErrConflict) {
		return nil, ErrFinal
	}
	if err != nil {
		return nil, err
	}
	e.changed(id)
	e.wakes.Due()
	return &task, nil
}

// Retry makes a new task that does the work of a final one again, with the same input, and
// names that one as its parent. ErrNotFinal when it has not ended, ErrInputGone when its input
// was deleted.
func (e *Engine) Retry(ctx context.Context, id uuid.UUID, by Caller) (*storage.Task, error) {
	old, err := e.db.For(by.Reach).Task(ctx, id, storage.View|storage.Operate)
	if err != nil {
		return nil, err
	}
	switch {
	case !old.Final():
		return nil, ErrNotFinal
	case old.Input == "deleted":
		return nil, ErrInputGone
	}
	d, err := e.Draft(ctx, NewTask{
		App: old.App, Name: old.Name, Kind: old.Kind, Params: old.Params, MaxRejected: old.MaxRejected, By: by,
	})
	if err != nil {
		return nil, err
	}
	d.Task.Parent, d.Task.Attempt = &old.ID, old.Attempt+1
	if old.Input == "inbound" {
		if err := e.carryInput(ctx, &old, d.Task); err != nil {
			return nil, err
		}
	}
	if _, err := e.insert(ctx, d); err != nil {
		return nil, errors.Join(err, e.files.RemoveAll(ctx, d.Task.Folder()))
	}
	e.changed(d.Task.ID)
	e.wakes.Due()
	return d.Task, nil
}

// carryInput gives the new task the input of the old one; no bytes are copied where the file
// system can link.
func (e *Engine) carryInput(ctx context.Context, old, task *storage.Task) error {
	from, to := old.Folder()+"/"+inboundFolder, task.Folder()+"/"+inboundFolder
	found := false
	for file, err := range e.files.List(ctx, from) {
		if err != nil {
			return err
		}
		found = true
		err = e.files.Copy(ctx, file.Key, to+file.Key[len(from):])
		if errors.Is(err, fs.ErrNotExist) {
			found = false
			break
		}
		if err != nil {
			return errors.Join(err, e.files.RemoveAll(ctx, task.Folder()))
		}
	}
	if !found {
		return errors.Join(ErrInputGone, e.files.RemoveAll(ctx, task.Folder()))
	}
	task.Input, task.InputSize = "inbound", old.InputSize
	return nil
}

// Delete removes a final task, its files first. ErrNotFinal when it has not ended.
func (e *Engine) Delete(ctx context.Context, id uuid.UUID, by Caller) error {
	task, err := e.db.For(by.Reach).Task(ctx, id, storage.View|storage.Operate)
	if err != nil {
		return err
	}
	if !task.Final() {
		return ErrNotFinal
	}
	if err := e.files.RemoveAll(ctx, task.Folder()); err != nil {
		return fmt.Errorf("delete the files of task %s: %w", id, err)
	}
	err = e.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := storage.DeleteTask(ctx, tx, by.Reach, id); err != nil {
			return err
		}
		return storage.InsertAudit(ctx, tx, by.audit("task.delete", &task))
	})
	if err == nil {
		e.changed(id)
	}
	return err
}

// audit makes the line of the audit trail about what the caller did to a task.
func (c *Caller) audit(action string, t *storage.Task) storage.Audit {
	return c.Audit(action, t.App, t.ID.String())
}
