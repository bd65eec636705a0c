package pgserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMajor(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]int{
		"postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n": 15,
		"postgres (PostgreSQL) 17.2 (Homebrew)\n":                17,
		"postgres (PostgreSQL) 18beta1\n":                        18,
		"postgres (PostgreSQL) 9.6.24":                           9,
		"postgres (EnterpriseDB) 15":                             0,
		"":                                                       0,
	} {
		if got := parseMajor(version); got != want {
			t.Errorf("parseMajor(%q) = %d, want %d", version, got, want)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	v13, v15, v16 := binaries{"/pg/13", 13}, binaries{"/pg/15", 15}, binaries{"/pg/16", 16}
	for _, tt := range []struct {
		name  string
		found []binaries
		want  int
		got   binaries
		err   string
	}{
		{name: "newest for a new cluster", found: []binaries{v15, v16, v13}, got: v16},
		{name: "the cluster's own", found: []binaries{v16, v15}, want: 15, got: v15},
		{name: "the cluster's own, though old", found: []binaries{v16, v13}, want: 13, got: v13},
		{
			name: "the cluster's is missing", found: []binaries{v16}, want: 15,
			err: "the database in /data was made by PostgreSQL 15 and opens only with that version; installed here: 16 (/pg/16). Install PostgreSQL 15 again",
		},
		{name: "none for the cluster", want: 15, err: "installed here: none"},
		{name: "none", err: "apt-get install postgresql"},
		{name: "only an old one", found: []binaries{v13}, err: "PostgreSQL 15 or newer is needed, found only: 13 (/pg/13)"},
	} {
		got, err := choose(tt.found, tt.want, "/data")
		if got != tt.got {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.got)
		}
		if message := fmt.Sprint(err); tt.err == "" && err != nil || !strings.Contains(message, tt.err) && tt.err != "" {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.err)
		}
	}
}

// Folders count only if they have both programs, and programs only if they say
// their version.
func TestInstalled(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for path, text := range map[string]string{
		"15/postgres": "#!/bin/sh\necho 'postgres (PostgreSQL) 15.1'", "15/initdb": "#!/bin/sh",
		"16/postgres": "#!/bin/sh\nexit 1", "16/initdb": "#!/bin/sh",
		"17/postgres": "#!/bin/sh\necho 'postgres (PostgreSQL) 17.1'",
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var got []binaries
	for _, b := range installed(t.Context(), candidateDirs([]string{filepath.Join(root, "*")})) {
		if strings.HasPrefix(b.dir, root) { // PATH may have one too
			got = append(got, b)
		}
	}
	want := []binaries{{dir: filepath.Join(root, "15"), major: 15}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(binaries{})); diff != "" {
		t.Errorf("installed (-want +got):\n%s", diff)
	}
}

func TestParsePIDFile(t *testing.T) {
	t.Parallel()
	const socket = "4711\n/d/data\n1763748000\n5432\n/d/run\n\n  1048577    32768\nready   \n"
	const tcp = "4711\n/d/data\n1763748000\n40123\n\n127.0.0.1\n  1048577    32768\nstarting\n"
	for text, want := range map[string]postmaster{
		socket: {pid: 4711, addr: address{socketDir: "/d/run", port: 5432}},
		tcp:    {pid: 4711, addr: address{port: 40123}},
	} {
		got, err := parsePIDFile([]byte(text))
		if err != nil || got != want {
			t.Errorf("parsePIDFile(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "\n", "4711", "4711\n/d/data\n1763748000\n5432\n\n", // as the server begins it
		strings.Replace(socket, "4711", "-4711", 1), // a single-user server
		strings.Replace(socket, "4711", "0", 1),
		strings.Replace(socket, "5432", "66000", 1),
	} {
		if got, err := parsePIDFile([]byte(text)); err == nil {
			t.Errorf("parsePIDFile(%q) = %v, want an error", text, got)
		}
	}
}

func FuzzParsePIDFile(f *testing.F) {
	f.Add([]byte("4711\n/d/data\n1763748000\n5432\n/d/run\n\n  1048577    32768\nready   \n"))
	f.Add([]byte("4711\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parsePIDFile(text)
		if err != nil {
			return
		}
		if got.pid < 1 || got.pid != firstLinePID(text) || got.addr.port < 1 || got.addr.port > 65535 {
			t.Errorf("parsePIDFile(%q) = %+v", text, got)
		}
	})
}

func TestMayEnter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	if err := os.MkdirAll(filepath.Join(closed, "inner"), 0o700); err != nil {
		t.Fatal(err)
	}
	owner := account{uid: os.Geteuid(), gid: os.Getegid()}
	group := account{uid: 4000001, gid: os.Getegid()}
	other := account{uid: 4000001, gid: 4000001}
	for mode, want := range map[os.FileMode][3]bool{
		0o700: {true, false, false}, 0o710: {true, true, false}, 0o711: {true, true, true},
		0o701: {true, false, true}, 0o071: {false, true, true},
	} {
		if err := os.Chmod(closed, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(closed)
		if err != nil {
			t.Fatal(err)
		}
		if got := [3]bool{owner.mayEnter(info), group.mayEnter(info), other.mayEnter(info)}; got != want {
			t.Errorf("mode %o: owner, group, other may enter: %v, want %v", mode, got, want)
		}
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestServes(t *testing.T) {
	t.Parallel()
	if serves(os.Getpid(), "/d/data") {
		t.Error("this test is taken for a server")
	}
	if serves(1<<30, "/d/data") {
		t.Error("a process that does not exist is taken for a server")
	}
}
