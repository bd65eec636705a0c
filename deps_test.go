package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms says which rooms the packages of a room may import; a room is a folder at the top, with
// all below it. Everything may import packages of its own room.
var rooms = map[string][]string{
	"main":       {"api", "jobs", "storage", "oracle", "migrations"},
	"api":        {"jobs", "storage"},
	"jobs":       {"storage", "oracle"},
	"storage":    {},
	"oracle":     {},
	"migrations": {},
	"bench":      {"main", "api", "jobs", "storage", "oracle", "migrations"}, // nothing imports it
}

// guests are packages that only some may import, whatever the rooms say. Tests may import all
// of them.
var guests = map[string]struct {
	by  []string
	why string
}{
	"oracle/sim":           {[]string{"main", "bench"}, "the simulator must not become a part of the product"},
	"oracle/sim/identity":  {[]string{"main", "bench"}, "the simulator must not become a part of the product"},
	"api/npmtest":          {[]string{"api/sso/ssotest"}, "it is for tests, and brings the package testing"},
	"api/sso/ssotest":      {nil, "it is for tests, and brings the package testing"},
	"storage/files/s3test": {nil, "it is for tests, and brings the package testing"},
	"storage/storagetest":  {[]string{"bench"}, "it is for tests, and brings the package testing"},
	"migrations":           {[]string{"main", "storage/storagetest", "bench"}, "storage is handed the files, so that tests can hand it others"},
}

// loners import nothing of the project.
var loners = map[string]string{
	"oracle/sim":          "a simulator that shares code with the client shares its mistakes",
	"oracle/sim/identity": "a simulator that shares code with the client shares its mistakes",
	"migrations":          "it holds SQL and nothing else",
}

// TestImportsPointOneWay holds the imports against main → api → jobs → {storage, oracle}.
func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	packages := listPackages(t)
	if len(packages) < len(rooms)-1 {
		t.Fatalf("go list found only %d packages", len(packages))
	}
	for _, p := range packages {
		for _, imported := range p.Imports {
			if why := wrong(p.ImportPath, imported, false); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imported, why)
			}
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if why := wrong(p.ImportPath, imported, true); why != "" {
				t.Errorf("a test of %s imports %s: %s", p.ImportPath, imported, why)
			}
		}
	}
}

func TestWrongImports(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to string
		test, ok bool
	}{
		{"longhaul", "longhaul/api", false, true},
		{"longhaul", "longhaul/oracle/sim", false, true},
		{"longhaul/api/web", "longhaul/jobs", false, true},
		{"longhaul/api", "longhaul/oracle", false, false},
		{"longhaul/jobs", "longhaul/api", false, false},
		{"longhaul/jobs", "longhaul/storage/files", false, true},
		{"longhaul/jobs", "longhaul/oracle/sim", false, false},
		{"longhaul/jobs", "longhaul/oracle/sim", true, true},
		{"longhaul/jobs", "longhaul/storage/storagetest", false, false},
		{"longhaul/jobs", "longhaul/storage/storagetest", true, true},
		{"longhaul/storage", "longhaul/oracle", false, false},
		{"longhaul/storage/files", "longhaul/jobs", true, false},
		{"longhaul/storage", "longhaul/migrations", false, false},
		{"longhaul/oracle/epm", "longhaul/oracle", false, true},
		{"longhaul/oracle/sim", "longhaul/oracle", false, false},
		{"longhaul/util", "longhaul/jobs", false, false},
		{"longhaul/api", "example.com/util", false, true},
	} {
		if got := wrong(c.from, c.to, c.test); (got == "") != c.ok {
			t.Errorf("wrong(%s, %s, %v) = %q", c.from, c.to, c.test, got)
		}
	}
}

// wrong says why the package from may not import the package to, or nothing when it may.
func wrong(from, to string, test bool) string {
	to, ours := inModule(to)
	from, _ = inModule(from)
	if !ours || from == to {
		return ""
	}
	if why, alone := loners[from]; alone && !test {
		return "it imports nothing of the project: " + why
	}
	if guest, listed := guests[to]; listed {
		if test || slices.Contains(guest.by, from) {
			return ""
		}
		return fmt.Sprintf("outside of tests only %s may: %s", strings.Join(guest.by, ", "), guest.why)
	}
	allowed, known := rooms[room(from)]
	switch {
	case !known:
		return "there is no room " + room(from) + "; a new one needs a place in the arrows of this test, and a reason"
	case room(from) == room(to), slices.Contains(allowed, room(to)):
		return ""
	}
	return "imports point one way, main → api → jobs → {storage, oracle}; move what is shared down, or hand it over as a value"
}

// inModule is the package's path within this module, "main" for its root.
func inModule(path string) (string, bool) {
	const module = "longhaul"
	if path == module {
		return "main", true
	}
	return strings.CutPrefix(path, module+"/")
}

func room(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

// listed is what go list says of a package.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}
