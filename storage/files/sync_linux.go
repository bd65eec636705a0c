package files

import (
	"os"

	"golang.org/x/sys/unix"
)

// canSyncAll is whether syncAll works. Linux tells errors of it since 5.8.
const canSyncAll = true

// syncAll makes durable all that was written to the file system of dir.
func syncAll(dir *os.File) error { return unix.Syncfs(int(dir.Fd())) }

// startWriteback asks the kernel to begin writing n bytes of file, from off on, or
// all that follow when n is zero, to disk, without waiting for it. It is a hint: what it could not do, the sync
// at the end does, and reports.
func startWriteback(file *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(file.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}
