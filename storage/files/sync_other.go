//go:build !linux

package files

import (
	"errors"
	"os"
)

// startWriteback does nothing where the kernel cannot be asked to begin with a
// part of a file; the sync at the end then writes all of it.
func startWriteback(*os.File, int64, int64) {}

// canSyncAll is whether syncAll works.
const canSyncAll = false

// syncAll is not to be had on this system.
func syncAll(*os.File) error { return errors.ErrUnsupported }
