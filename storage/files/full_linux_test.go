package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// fullDiskEnv names the folder on which the child of TestFullDisk mounts a disk.
const fullDiskEnv = "LONGHAUL_TEST_FULL_DISK"

// TestFullDisk fills a real file system, of 1 MiB, in a process that has its own
// mounts. Where the system lets nobody have that, TestFull has to do.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(fullDiskEnv); dir != "" {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,nr_inodes=500"); err != nil {
			t.Log("no mounts to be had: ", err)
			return
		}
		fillDisk(t, dir)
		return
	}
	t.Parallel()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	child.Env = append(os.Environ(), fullDiskEnv+"="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := child.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Log("no process with its own mounts to be had: ", err)
		return
	}
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

func fillDisk(t *testing.T, dir string) {
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 3 { // also when it was full before
		free, err := f.Available(t.Context())
		if err != nil || free < 900<<10 {
			t.Fatalf("before round %d: %d bytes free, %v", i, free, err)
		}
		w, err := f.Create(t.Context(), "a/large")
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(w, strings.NewReader(strings.Repeat("x", 8<<20)))
		if !errors.Is(err, ErrFull) || n < 1<<20 {
			t.Errorf("wrote %d bytes, %v; want %v", n, err, ErrFull)
		}
		if err := w.Abort(); err != nil {
			t.Error(err)
		}
	}
	put(t, f, "a/small", "fits")
	if diff := keys(t, f, ""); len(diff) != 1 {
		t.Errorf("listed %q", diff)
	}
	fillFolders(t, f)
}

// fillFolders makes folders until there is no room for one more.
func fillFolders(t *testing.T, f *Folder) {
	for i := range 1000 {
		batch, err := f.Batch(t.Context(), strings.Repeat("x", i%100+1)+"/"+strings.Repeat("y", i/100+1), 1)
		if err != nil {
			if !errors.Is(err, ErrFull) {
				t.Errorf("folder: got %v, want %v", err, ErrFull)
			}
			if err := create(f, "no/room/for/this"); !errors.Is(err, ErrFull) {
				t.Errorf("file: got %v, want %v", err, ErrFull)
			}
			if _, err := f.Batch(t.Context(), "no/room", 1); !errors.Is(err, ErrFull) {
				t.Errorf("folder: got %v, want %v", err, ErrFull)
			}
			if _, err := f.root.Stat("no"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left behind: %v", err)
			}
			return
		}
		if err := batch.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Error("1,000 folders fitted")
}
