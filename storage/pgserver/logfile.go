package pgserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// maxLogSize is the size above which a start begins a new log. What a server
	// logs in between is little: starts, stops and crashes.
	maxLogSize = 4 << 20
	// logTailSize and logTailLines bound what a failed start shows of the log.
	logTailSize  = 8 << 10
	logTailLines = 15
)

func (c *cluster) logPath() string { return filepath.Join(c.dir, "postgres.log") }

// openLog opens the server's log for appending and tells where this start's
// part of it begins.
func (c *cluster) openLog() (file *os.File, offset int64, err error) {
	path := c.logPath()
	if info, err := os.Lstat(path); err == nil && info.Size() > maxLogSize {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, 0, fmt.Errorf("rotate log: %w", err)
		}
	}
	file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open log: %w", err)
	}
	offset, err = file.Seek(0, io.SeekEnd)
	if err = errors.Join(err, c.account.own(path)); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open log %s: %w", path, err), file.Close())
	}
	return file, offset, nil
}

// logTail is the end of the log from offset on, for a person to read.
func (c *cluster) logTail(offset int64) string {
	file, err := os.Open(c.logPath())
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		return ""
	}
	offset = max(offset, info.Size()-logTailSize)
	text, err := io.ReadAll(io.NewSectionReader(file, offset, logTailSize))
	if err != nil {
		return ""
	}
	return lastLines(string(text), logTailLines)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
