package archive

import (
	"os"

	"golang.org/x/sys/unix"
)

// canSyncAll is whether syncAll works. Linux tells errors of it since 5.8.
const canSyncAll = true

// startWriteback asks the kernel to begin writing file to disk, without waiting
// for it. It is a hint: what it could not do, syncAll does, and reports.
func startWriteback(file *os.File) {
	_ = unix.SyncFileRange(int(file.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

// syncAll makes durable all that was written to the file system of dir.
func syncAll(dir *os.File) error { return unix.Syncfs(int(dir.Fd())) }
