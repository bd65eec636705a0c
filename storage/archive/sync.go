package archive

import (
	"errors"
	"os"
	"path"
)

// fewFiles is up to how many files are synced one by one. That costs a flush of
// the disk for each; syncing the whole file system costs one, and waits for what
// everyone else has written too.
const fewFiles = 64

// durability makes unpacked files durable.
type durability struct {
	dst *os.Root
	// each is whether files are synced one by one, and not all at the end.
	each bool
}

func newDurability(dst *os.Root, files int) durability {
	return durability{dst: dst, each: files <= fewFiles || !canSyncAll}
}

// wrote is called with each file when it is written.
func (d durability) wrote(file *os.File) error {
	if d.each {
		return file.Sync()
	}
	startWriteback(file)
	return nil
}

// finish is called when all files are closed.
func (d durability) finish(files []*File) error {
	if d.each {
		return d.syncFolders(files)
	}
	return withFolder(d.dst, ".", syncAll)
}

// syncFolders syncs the folders that hold the names of the files.
func (d durability) syncFolders(files []*File) error {
	synced := make(map[string]bool)
	for _, f := range files {
		for dir := f.Name; dir != "."; {
			if dir = path.Dir(dir); synced[dir] {
				break
			}
			synced[dir] = true
			if err := withFolder(d.dst, dir, (*os.File).Sync); err != nil {
				return err
			}
		}
	}
	return nil
}

func withFolder(root *os.Root, name string, fn func(*os.File) error) error {
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(fn(dir), dir.Close())
}
