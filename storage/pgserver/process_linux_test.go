package pgserver

import (
	"path/filepath"
	"testing"
)

// A test's server does not outlive a test binary that is killed.
func TestFastServerDiesWithParent(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortTempDir(t), "postgres")
	holder, pid := holdUntilReady(t, dir, holdFast+"=1")
	if !serves(pid, filepath.Join(dir, "data")) {
		t.Fatal("the server's process is not taken for it")
	}
	kill9(t, holder)
	eventually(t, "the server ends", func() bool { return !alive(pid) })
}
