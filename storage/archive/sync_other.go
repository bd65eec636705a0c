//go:build !linux

package archive

import (
	"errors"
	"os"
)

// canSyncAll is whether syncAll works.
const canSyncAll = false

// startWriteback does nothing where the kernel cannot be asked for it.
func startWriteback(*os.File) {}

// syncAll is not to be had on this system.
func syncAll(*os.File) error { return errors.ErrUnsupported }
