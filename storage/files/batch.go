package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sync"
	"time"
)

// fewFiles is up to how many files of a batch are synced one by one. That costs a flush of the disk
// for each; syncing the whole file system costs one, and waits for what everyone else has written
// too.
const fewFiles = 64

// Batch implements [Store].
func (f *Folder) Batch(_ context.Context, prefix string, n int) (Batch, error) {
	dir, err := f.walkPrefix(prefix, true)
	if err != nil {
		if CheckKey(prefix) == nil {
			f.prune(prefix) // what was made of it
		}
		return nil, fmt.Errorf("make folder %s: %w", prefix, asFull(err))
	}
	b := &folderBatch{dir: dir, made: map[string]bool{".": true}}
	if n > fewFiles && canSyncAll {
		if b.all, err = dir.Open("."); err != nil {
			return nil, closeAfter(dir, fmt.Errorf("open folder %s: %w", prefix, err))
		}
	}
	return b, nil
}

// folderBatch puts many files into one folder.
type folderBatch struct {
	dir *os.Root
	// all is for syncing the file system at the end; nil where files are synced one by one. It is
	// opened before the first file is written: of what goes wrong with writing, the kernel tells each
	// descriptor only what came after it was opened.
	all *os.File

	mu   sync.Mutex
	made map[string]bool // folders that are there
}

// Create implements [Batch].
func (b *folderBatch) Create(_ context.Context, name string, _ int64, modified time.Time) (io.WriteCloser, error) {
	if err := CheckKey(name); err != nil {
		return nil, err
	}
	if err := b.makeFolder(path.Dir(name)); err != nil {
		return nil, asFull(err)
	}
	file, err := b.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, asFull(err)
	}
	return &batchFile{File: file, batch: b, name: name, modified: modified}, nil
}

func (b *folderBatch) makeFolder(dir string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.made[dir] {
		return nil
	}
	if err := b.dir.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for ; !b.made[dir]; dir = path.Dir(dir) {
		b.made[dir] = true
	}
	return nil
}

// Commit implements [Batch].
func (b *folderBatch) Commit(context.Context) error {
	if b.all != nil {
		return asFull(syncAll(b.all))
	}
	for dir := range b.made {
		d, err := b.dir.Open(dir)
		if err == nil {
			err = closeAfter(d, d.Sync())
		}
		if err != nil {
			return asFull(err)
		}
	}
	return nil
}

// Close implements [Batch].
func (b *folderBatch) Close() error {
	if b.all != nil {
		_ = b.all.Close() // a handle of a folder
	}
	return b.dir.Close()
}

// batchFile is a file of a batch while it is written.
type batchFile struct {
	*os.File
	batch    *folderBatch
	name     string
	modified time.Time
}

// Write implements [io.Writer].
func (f *batchFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, asFull(err)
}

// Close ends the file.
func (f *batchFile) Close() error {
	var err error
	if f.batch.all == nil {
		err = f.Sync()
	} else {
		startWriteback(f.File, 0, 0)
	}
	if err = errors.Join(err, f.File.Close()); err != nil {
		return asFull(err)
	}
	if f.modified.IsZero() {
		return nil
	}
	return f.batch.dir.Chtimes(f.name, time.Time{}, f.modified)
}
