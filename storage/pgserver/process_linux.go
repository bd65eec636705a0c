package pgserver

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// serves tells whether the process pid is the PostgreSQL server of dataDir. It
// reads the command line, which other users' processes show too. The server's
// children overwrite theirs and a dead process that nobody has waited for has
// none, so neither is taken for the server.
func serves(pid int, dataDir string) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return false
	}
	args := bytes.Split(text, []byte{0})
	if filepath.Base(string(args[0])) != "postgres" {
		return false
	}
	for i := range len(args) - 1 {
		if string(args[i]) == "-D" && string(args[i+1]) == dataDir {
			return true
		}
	}
	return false
}

// dieWithParent makes the command be told to stop when the thread that starts
// it ends.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
