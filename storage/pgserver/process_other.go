//go:build unix && !linux

package pgserver

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// serves tells whether the process pid is the PostgreSQL server of dataDir, by
// its command line. The server's children overwrite theirs.
func serves(pid int, dataDir string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output() //nolint:gosec // a number
	if err != nil {
		return false
	}
	line := strings.TrimSpace(string(out)) + " "
	return strings.Contains(line, "postgres") && strings.Contains(line, " -D "+dataDir+" ")
}

// dieWithParent does nothing: only Linux can do that.
func dieWithParent(*syscall.SysProcAttr) {}
