package files

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path"
)

// flushBytes is how much is written before the disk is asked to begin with it, so that the sync at
// the end finds little left to do.
const flushBytes = 16 << 20

// Create implements [Store].
func (f *Folder) Create(_ context.Context, key string) (*Writer, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	temp := path.Join(incomingFolder, rand.Text())
	file, err := f.openIn(incomingFolder, path.Base(temp), os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, fmt.Errorf("create file %s: %w", key, asFull(err))
	}
	return newWriter(key, &folderSink{folder: f, key: key, temp: temp, file: flushed{File: file}}), nil
}

// openIn opens a file for writing in a folder of unfinished files.
func (f *Folder) openIn(dir, name string, flags int) (*os.File, error) {
	in, err := f.walk(dir, true)
	if err != nil {
		return nil, err
	}
	file, err := in.OpenFile(name, os.O_WRONLY|flags, 0o600)
	return file, closeAfter(in, err)
}

// folderSink writes one file of a folder.
type folderSink struct {
	folder *Folder
	key    string
	temp   string // the key of the unfinished file
	file   flushed
}

func (s *folderSink) write(p []byte) error {
	_, err := s.file.Write(p)
	return err
}

// commit makes the bytes durable, then the name, then the folder that holds the name: the order is
// what a crash relies on. Where only the last of these fails, the key may or may not have the file.
func (s *folderSink) commit() error {
	err := closeAfter(s.file, s.file.Sync())
	if err == nil {
		err = s.folder.place(s.key, func() error { return s.folder.root.Rename(s.temp, s.key) })
	}
	if err != nil {
		s.remove()
	}
	return err
}

func (s *folderSink) abort() {
	_ = s.file.Close() // nothing written to it is kept
	s.remove()
}

func (s *folderSink) remove() {
	_ = s.folder.root.Remove(s.temp) // the sweep removes what stays
}

// flushed is a file that is written from front to back, and that the disk begins with early.
type flushed struct {
	*os.File
	written, flushed int64
}

// Write writes p at the file's offset.
func (f *flushed) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.written += int64(n)
	if f.written-f.flushed >= flushBytes {
		startWriteback(f.File, f.flushed, f.written-f.flushed)
		f.flushed = f.written
	}
	return n, err
}
