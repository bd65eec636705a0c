package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"longhaul/storage/files/s3test"
)

const (
	// bigSize says how large the file is, in GB.
	bigSize = "LONGHAUL_TEST_BIG"
	// bigMemory is all the memory that the server may have, in bytes.
	bigMemory = 512 << 20
	// bigChunk is how much is sent in a request where not all is sent at once.
	bigChunk = 64 << 20
	// bigStamp is how often the file has bytes that are found nowhere else in it.
	bigStamp = 1 << 20
	// bigSpare is how many bytes of the disk are left to others.
	bigSpare = 4 << 30
)

// TestBigFile sends a file that is many times larger than the memory that the server has, makes it
// one of an app's, and fetches it again.
func TestBigFile(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	for _, c := range []struct {
		name   string
		bucket bool
		send   func(*bigFile)
	}{
		{"by tus, to a folder", false, func(b *bigFile) { b.sendTus(b.size) }},
		{"by tus in pieces, to a bucket", true, func(b *bigFile) { b.sendTus(bigChunk) }},
		{"by parts, straight to a bucket", true, (*bigFile).sendParts},
	} {
		t.Run(c.name, func(t *testing.T) { // one after the other: there is room on the disk for one
			w := newCrashWorld(t)
			w.program = program
			if c.bucket {
				server := s3test.Start(t)
				w.env = append(w.env, server.Env()...)
				w.env = append(w.env, "LONGHAUL_STORAGE_URL="+server.URL(server.NewBucket(t)))
			}
			b := &bigFile{t: t, crashWorld: w, size: bigFileSize(t, c.bucket)}
			b.pass(c.send)
		})
	}
}

// bigFileSize is how large the file is to be, and no larger than the disk has room for. The bucket of
// the tests copies a file's parts when it puts them together, and so needs twice the room.
func bigFileSize(t *testing.T, bucket bool) int64 {
	t.Helper()
	gigabytes := int64(2)
	if text := os.Getenv(bigSize); text != "" {
		var err error
		if gigabytes, err = strconv.ParseInt(text, 10, 32); err != nil || gigabytes < 1 {
			t.Fatalf("%s is %q, no number of GB", bigSize, text)
		}
	}
	size := gigabytes*1e9 + 4711 // of no whole blocks
	folder := t.TempDir()
	var disk syscall.Statfs_t
	if err := syscall.Statfs(folder, &disk); err != nil {
		t.Fatal(err)
	}
	room := int64(disk.Bavail)*disk.Bsize - bigSpare
	if bucket {
		room /= 2
	}
	if room < 1e9 {
		t.Fatalf("the disk of %s has no room for a large file; set TMPDIR", folder)
	}
	if room < size {
		t.Logf("the disk has room for %.1f GB, and not for %d: it is that much", float64(room)/1e9, gigabytes)
	}
	return min(room, size)
}

// bigFile is a file on its way through a server.
type bigFile struct {
	*crashWorld
	t      *testing.T
	size   int64
	local  *os.File
	sha256 string
	upload string // path
}

// pass sends the file, uses and fetches it.
func (b *bigFile) pass(send func(*bigFile)) {
	t := b.t
	b.make()
	server := b.startLimited()
	b.waitReady()
	b.timed("sent", func() { send(b) })
	b.timed("finished", b.wait)
	b.use()
	b.timed("fetched", func() { b.fetch(0, b.size) })
	middle := b.size/2 - 12345
	b.fetch(middle, middle+10*bigStamp)
	b.fetch(b.size-1, b.size)
	memory := highestMemory(t, server.cmd.Process.Pid)
	t.Logf("the server had at most %d MB of memory", memory>>20)
	if memory > bigMemory {
		t.Errorf("that is more than %d", bigMemory>>20)
	}
	server.terminate(t)
}

const bigFilePath = "/api/v1/apps/none/files/big.bin"

// make makes a file with holes: it takes a two-hundredth of its size on disk.
func (b *bigFile) make() {
	b.t.Helper()
	var err error
	if b.local, err = os.Create(filepath.Join(b.t.TempDir(), "big.bin")); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = b.local.Close() })
	if err := b.local.Truncate(b.size); err != nil {
		b.t.Fatal(err)
	}
	for at := int64(0); at < b.size; at += bigStamp {
		if _, err := fmt.Fprintf(io.NewOffsetWriter(b.local, at), "%15d\n", at); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := b.local.Truncate(b.size); err != nil { // the last stamp may be longer
		b.t.Fatal(err)
	}
	b.sha256 = b.digest(0, b.size)
}

// digest is that of a part of the local file.
func (b *bigFile) digest(from, to int64) string {
	b.t.Helper()
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(b.local, from, to-from)); err != nil {
		b.t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

func (b *bigFile) timed(what string, do func()) {
	b.t.Helper()
	start := time.Now()
	do()
	took := time.Since(start).Seconds()
	b.t.Logf("%s %.2f GB in %.1f s: %.0f MB/s", what, float64(b.size)/1e9, took, float64(b.size)/1e6/took)
}

// ask sends a request to the server, which may take as long as it wants.
func (b *bigFile) ask(method, path string, body io.Reader, length int64, header map[string]string) *http.Response {
	b.t.Helper()
	headers := map[string]string{"Authorization": "Bearer " + b.token, "Tus-Resumable": "1.0.0"}
	maps.Copy(headers, header)
	return b.request(method, "http://"+b.addr+path, body, length, headers)
}

func (b *bigFile) request(method, address string, body io.Reader, length int64, header map[string]string) *http.Response {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, address, body)
	if err != nil {
		b.t.Fatal(err)
	}
	req.ContentLength = length
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := bigClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp
}

var bigClient = &http.Client{Transport: &http.Transport{DisableCompression: true}}

// want reads the answer, which has the status.
func (b *bigFile) want(status int, resp *http.Response) []byte {
	b.t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		b.t.Fatalf("%s %s: %s %s, %v", resp.Request.Method, resp.Request.URL.Path, resp.Status, text, err)
	}
	return text
}

// call sends JSON, if there is any to send, and reads some.
func (b *bigFile) call(method, path string, body, answer any, status int) {
	b.t.Helper()
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			b.t.Fatal(err)
		}
	}
	resp := b.ask(method, path, &text, int64(text.Len()), map[string]string{"Content-Type": "application/json"})
	if err := json.Unmarshal(b.want(status, resp), answer); err != nil {
		b.t.Fatal(err)
	}
}

// part is n bytes of the local file, to be sent: file and socket are the kernel's to join.
func (b *bigFile) part(at, n int64) io.Reader {
	b.t.Helper()
	if _, err := b.local.Seek(at, io.SeekStart); err != nil {
		b.t.Fatal(err)
	}
	return io.LimitReader(b.local, n)
}

// sendTus sends the file by tus 1.0, in requests of that many bytes.
func (b *bigFile) sendTus(chunk int64) {
	made := b.ask(http.MethodPost, "/api/v1/uploads", nil, 0, map[string]string{
		"Upload-Length": strconv.FormatInt(b.size, 10), "Upload-Metadata": "filename " + base64.StdEncoding.EncodeToString([]byte("big.bin")),
	})
	b.want(http.StatusCreated, made)
	location, err := made.Location()
	if err != nil {
		b.t.Fatal(err)
	}
	b.upload = location.Path
	for at := int64(0); at < b.size; at += chunk {
		n := min(chunk, b.size-at)
		b.want(http.StatusNoContent, b.ask(http.MethodPatch, b.upload, b.part(at, n), n, map[string]string{
			"Upload-Offset": strconv.FormatInt(at, 10), "Content-Type": "application/offset+octet-stream",
		}))
	}
}

// sendParts sends the file to the bucket, past the server.
func (b *bigFile) sendParts() {
	const multipart = "/api/v1/uploads/s3/multipart"
	type part struct {
		PartNumber int64
		ETag       string
	}
	var (
		parts   []part
		started struct{ Key, UploadID string }
		whole   struct{ Location string }
	)
	b.call(http.MethodPost, multipart, map[string]any{"filename": "big.bin", "type": "application/octet-stream"}, &started, http.StatusOK)
	of := func(what string) string {
		return multipart + "/" + started.UploadID + what + "?key=" + url.QueryEscape(started.Key)
	}
	for at := int64(0); at < b.size; at += bigChunk {
		number, n := at/bigChunk+1, min(bigChunk, b.size-at)
		var signed struct {
			URL     string
			Headers map[string]string
		}
		b.call(http.MethodGet, of("/"+strconv.FormatInt(number, 10)), nil, &signed, http.StatusOK)
		resp := b.request(http.MethodPut, signed.URL, b.part(at, n), n, signed.Headers)
		b.want(http.StatusOK, resp)
		parts = append(parts, part{number, resp.Header.Get("ETag")})
	}
	b.call(http.MethodPost, of("/complete"), map[string]any{"parts": parts}, &whole, http.StatusOK)
	b.upload = "/api/v1/uploads/" + started.UploadID
}

// wait waits until the server has checked the upload.
func (b *bigFile) wait() {
	b.t.Helper()
	var upload struct{ State, Message, SHA256 string }
	for tag := ""; upload.State != "finished"; {
		resp := b.ask(http.MethodGet, b.upload+"?wait=30", nil, 0, map[string]string{"If-None-Match": tag})
		tag = resp.Header.Get("ETag")
		if resp.StatusCode == http.StatusNotModified {
			_ = resp.Body.Close()
			continue
		}
		if err := json.Unmarshal(b.want(http.StatusOK, resp), &upload); err != nil || upload.State == "failed" {
			b.t.Fatalf("%+v, %v", upload, err)
		}
	}
	if upload.SHA256 != b.sha256 {
		b.t.Errorf("the upload's digest is %s, want %s", upload.SHA256, b.sha256)
	}
}

// use makes the upload a file of an app's.
func (b *bigFile) use() {
	b.t.Helper()
	var file struct{ SHA256 string }
	b.call(http.MethodPost, filepath.Dir(bigFilePath), map[string]string{"path": "big.bin", "upload": filepath.Base(b.upload)}, &file, http.StatusCreated)
	if file.SHA256 != b.sha256 {
		b.t.Errorf("the file's digest is %s, want %s", file.SHA256, b.sha256)
	}
}

// fetch downloads the file from one byte up to another.
func (b *bigFile) fetch(from, to int64) {
	b.t.Helper()
	header, status := map[string]string{}, http.StatusOK
	if from > 0 {
		header["Range"], status = fmt.Sprintf("bytes=%d-%d", from, to-1), http.StatusPartialContent
	}
	resp := b.ask(http.MethodGet, bigFilePath, nil, 0, header)
	if resp.StatusCode != status || resp.ContentLength != to-from {
		b.t.Fatalf("GET of %v: %s, %d bytes", header, resp.Status, resp.ContentLength)
	}
	defer resp.Body.Close()
	hash := sha256.New()
	if _, err := io.CopyBuffer(hash, resp.Body, make([]byte, 1<<20)); err != nil {
		b.t.Fatal(err)
	}
	want := b.sha256
	if to-from < b.size {
		want = b.digest(from, to)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != want {
		b.t.Errorf("the bytes from %d to %d have the digest %s, want %s", from, to, got, want)
	}
}

// startLimited starts the server in a control group with little memory, where one can be made; only
// root can.
func (b *bigFile) startLimited() *crashServer {
	b.t.Helper()
	s := &crashServer{cmd: exec.CommandContext(context.Background(), b.program), logs: &bytes.Buffer{}}
	if group := memoryGroup(b.t); group != "" {
		b.t.Logf("the server runs under a limit of %d MB of memory, its part of the page cache with it", bigMemory>>20)
		s.cmd = exec.CommandContext(context.Background(), "sh", "-c", `echo $$ >"$0" && exec "$1"`, filepath.Join(group, "cgroup.procs"), b.program)
	} else {
		b.t.Logf("no control group could be made: the server's memory is measured, and not limited")
	}
	s.cmd.Env, s.cmd.Stderr = b.env, s.logs
	if err := s.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if s.cmd.ProcessState == nil { // the test failed
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
			b.t.Logf("%s", s.logs)
		}
	})
	return s
}

// memoryGroup makes a control group of that memory, by cgroup v1 or v2, or returns "". It is
// removed after the processes in it have ended.
func memoryGroup(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("longhaul-%d-%d", os.Getpid(), time.Now().UnixNano())
	for _, limit := range []string{
		filepath.Join("/sys/fs/cgroup/memory", name, "memory.limit_in_bytes"),
		filepath.Join("/sys/fs/cgroup", name, "memory.max"),
	} {
		group := filepath.Dir(limit)
		if os.Mkdir(group, 0o700) != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(group) })
		file, err := os.OpenFile(limit, os.O_WRONLY, 0) // it is there, where the kernel counts memory
		if err != nil {
			continue
		}
		_, err = fmt.Fprint(file, bigMemory)
		if errors.Join(err, file.Close()) == nil {
			return group
		}
	}
	return ""
}

var highWater = regexp.MustCompile(`VmHWM:\s*(\d+) kB`)

// highestMemory is the most memory that a process has had, in bytes.
func highestMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	found := highWater.FindSubmatch(status)
	if err != nil || found == nil {
		t.Fatalf("the memory of process %d: %v", pid, err)
	}
	kilobytes, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}
