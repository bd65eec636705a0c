package pgserver

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// oldestMajor is the oldest PostgreSQL the tests run on.
const oldestMajor = 15

// installHint is how to get PostgreSQL on the systems this is used on.
const installHint = "install it with `apt-get install postgresql` (Debian, Ubuntu) or `brew install postgresql` (macOS), " +
	"or set LONGHAUL_DATABASE_URL to a PostgreSQL that runs elsewhere"

// binDirs are where distributions put the server's programs, beside PATH.
var binDirs = []string{
	"/usr/lib/postgresql/*/bin",                    // Debian, Ubuntu
	"/usr/pgsql-*/bin",                             // PGDG on Fedora, RHEL
	"/opt/homebrew/opt/postgresql@*/bin",           // Homebrew on Apple silicon
	"/usr/local/opt/postgresql@*/bin",              // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgres*/bin", // Homebrew on Linux
}

// binaries is one installed PostgreSQL server.
type binaries struct {
	dir   string
	major int
}

func (b binaries) postgres() string { return filepath.Join(b.dir, "postgres") }
func (b binaries) initdb() string   { return filepath.Join(b.dir, "initdb") }

// candidateDirs lists the folders that hold both programs: the one in PATH
// first, then those the patterns name. Links are resolved, so that no server is
// listed twice.
func candidateDirs(patterns []string) []string {
	programs := []string{"postgres"}
	for _, pattern := range patterns {
		matches, err := filepath.Glob(filepath.Join(pattern, "postgres"))
		if err != nil {
			continue // only a malformed pattern, and those are constants
		}
		programs = append(programs, matches...)
	}
	var dirs []string
	for _, program := range programs {
		path, err := exec.LookPath(program)
		if err != nil {
			continue // not there, or not executable
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			continue // gone meanwhile
		}
		dir := filepath.Dir(path)
		if !slices.Contains(dirs, dir) && executable(filepath.Join(dir, "initdb")) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func executable(path string) bool {
	_, err := exec.LookPath(path)
	return err == nil
}

// installed asks each folder's server for its version.
func installed(ctx context.Context, dirs []string) []binaries {
	var found []binaries
	for _, dir := range dirs {
		b := binaries{dir: dir}
		out, err := exec.CommandContext(ctx, b.postgres(), "--version").Output() //nolint:gosec // the installed server
		if err != nil {
			continue // a broken installation is as good as none
		}
		if b.major = parseMajor(string(out)); b.major > 0 {
			found = append(found, b)
		}
	}
	return found
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// parseMajor reads "postgres (PostgreSQL) 15.14 (Debian …)"; 0 if it is not that.
func parseMajor(version string) int {
	m := versionPattern.FindStringSubmatch(version)
	if m == nil {
		return 0
	}
	major, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return major
}

// choose picks the server for a cluster made by the major version want, or the
// newest one when want is 0: there is no cluster yet. dataDir is for the message.
func choose(found []binaries, want int, dataDir string) (binaries, error) {
	var best binaries
	for _, b := range found {
		if b.major == want {
			return b, nil
		}
		if b.major > best.major {
			best = b
		}
	}
	switch {
	case want != 0:
		return binaries{}, fmt.Errorf("the database in %s was made by PostgreSQL %d and opens only with that version; installed here: %s. "+
			"Install PostgreSQL %d again (on Debian `apt-get install postgresql-%d`), or dump the database there and restore it in an empty LONGHAUL_DATA",
			dataDir, want, versionList(found), want, want)
	case best.major == 0:
		return binaries{}, fmt.Errorf("no PostgreSQL server (initdb and postgres) was found: %s", installHint)
	case best.major < oldestMajor:
		return binaries{}, fmt.Errorf("PostgreSQL %d or newer is needed, found only: %s: %s", oldestMajor, versionList(found), installHint)
	}
	return best, nil
}

func versionList(found []binaries) string {
	if len(found) == 0 {
		return "none"
	}
	var names []string
	for _, b := range found {
		names = append(names, fmt.Sprintf("%d (%s)", b.major, b.dir))
	}
	return strings.Join(names, ", ")
}
