package jobs

import (
	"context"
	"errors"
	"path"

	"longhaul/storage"
	"longhaul/storage/files"
)

// OpenOutput opens an output of a task for reading; close it when done. Bytes that are not those
// which the task left are an error that wraps files.ErrDamaged. Its own error wraps
// [io/fs.ErrNotExist] when the output's file is gone.
func (e *Engine) OpenOutput(ctx context.Context, t *storage.Task, name string) (files.File, error) {
	sums, err := e.db.OutputSums(ctx, t.ID, name)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	file, openErr := e.files.Open(ctx, path.Join(t.Folder(), outboundFolder, name))
	if openErr != nil || err != nil { // outputs of before checksums were kept have none
		return file, openErr
	}
	return files.Verify(file, name, sums, nil), nil
}
