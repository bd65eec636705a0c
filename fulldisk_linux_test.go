package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// smallDisk names the folder on which a server of the tests mounts a disk of its own, of 16 MiB.
const smallDisk = "LONGHAUL_TEST_SMALL_DISK"

// beforeServing is what such a server does first.
var beforeServing = mountSmallDisk

// mountSmallDisk does so, where the environment asks for it.
func mountSmallDisk() error {
	dir := os.Getenv(smallDisk)
	if dir == "" {
		return nil
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil { // or all would see it
		return err
	}
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m")
}

// ownMounts gives a process mounts of its own. Whoever is not root must be root somewhere for that;
// root stays who it is, to reach Postgres, which is another user's.
func ownMounts() *syscall.SysProcAttr {
	if os.Getuid() == 0 {
		return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	}
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

// TestDiskFullWhileUploading fills the disk in the middle of an upload: that is a 507 which keeps what
// came, everything else goes on, and when there is room again so does the upload. Where the system
// lets nobody have mounts of its own, the tests of storage/files have to do.
func TestDiskFullWhileUploading(t *testing.T) {
	t.Parallel()
	probe := exec.CommandContext(t.Context(), "true")
	probe.SysProcAttr = ownMounts()
	if err := probe.Run(); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Log("no process with its own mounts to be had: ", err)
		return
	}
	w := newCrashWorld(t)
	disk := t.TempDir()
	w.env = append(w.env, "LONGHAUL_STORAGE_URL="+disk, smallDisk+"="+disk)
	w.attr = ownMounts()
	server := w.start(t)
	w.waitReady()
	upload := func(size int) *faultUpload {
		u := &faultUpload{t: t, base: "http://" + w.addr, token: w.token, data: randomBytes(size), chunk: 4 << 20, random: rand.New(rand.NewPCG(1, 1))}
		if err := u.create(); err != nil {
			t.Fatal(err)
		}
		return u
	}
	first, second := upload(10<<20), upload(12<<20)
	first.send()
	status, at := second.fill()
	if status != http.StatusInsufficientStorage || at == 0 || at >= 12<<20 {
		t.Errorf("a PATCH without room is answered %d, and %d bytes are kept", status, at)
	}
	answer, err := w.do(http.MethodPost, "/api/v1/tasks", "application/json", []byte(`{"app": "none", "name": "other", "kind": "noop"}`), "")
	if err != nil || answer.status != http.StatusAccepted {
		t.Errorf("another task: %d %s, %v", answer.status, answer.body, err)
	}
	if status := second.ask(http.MethodPost, second.base+"/api/v1/uploads", nil, "Upload-Length", strconv.Itoa(12<<20)); status != http.StatusInsufficientStorage {
		t.Errorf("another upload: %d", status)
	}
	if resp, text, err := first.do(http.MethodDelete, first.address, nil, nil); err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatalf("make room: %v %s, %v", resp, text, err)
	}
	second.send()
	server.terminate(t)
}

// fill sends what is left in large pieces until the server takes no more, and returns what it says
// then, and how many bytes it has kept.
func (u *faultUpload) fill() (status int, kept int64) {
	for status = http.StatusNoContent; status == http.StatusNoContent; {
		at, err := u.head()
		if err != nil {
			u.t.Fatal(err)
		}
		status = u.ask(http.MethodPatch, u.address, u.data[at:min(int64(len(u.data)), at+u.chunk)],
			"Content-Type", "application/offset+octet-stream", "Upload-Offset", strconv.FormatInt(at, 10))
	}
	kept, err := u.head()
	if err != nil {
		u.t.Error(err)
	}
	return status, kept
}

// ask makes a request once, and returns the status that it is answered.
func (u *faultUpload) ask(method, address string, body []byte, headers ...string) int {
	req, err := http.NewRequestWithContext(u.t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		u.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+u.token)
	req.Header.Set("Tus-Resumable", "1.0.0")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := faultClient.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		u.t.Error(err)
	}
	return resp.StatusCode
}
