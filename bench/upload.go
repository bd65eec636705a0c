package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// measureUpload compares POST /api/v1/tasks with an archive of a GiB, from the first byte to the
// 202, with writing the archive to the same disk and forcing it there. They take turns. The
// archive's bytes come out of memory on both sides.
func measureUpload(ctx context.Context, b *bench) (lines []line, err error) {
	if err := needSpace(b.dir, 4<<30); err != nil {
		return nil, err
	}
	zip, err := newZip(either(b, 128, 16), randomBlock(8<<20))
	if err != nil {
		return nil, err
	}
	s, err := b.serve(ctx, "upload")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	var turns rivals
	for range either(b, 5, 1) {
		if err := syncDisk(ctx, b.dir); err != nil {
			return nil, err
		}
		uploaded, id, err := s.upload(ctx, zip)
		if err != nil {
			return nil, err
		}
		if err := s.waitUnpacked(ctx, id); err != nil {
			return nil, err
		}
		if err := syncDisk(ctx, b.dir); err != nil {
			return nil, err
		}
		written, err := writePlain(filepath.Join(b.dir, "plain"), zip)
		if err != nil {
			return nil, err
		}
		turns.add(float64(zip.size)/1e6/uploaded.Seconds(), float64(zip.size)/1e6/written.Seconds())
	}
	b.logf("upload: MB/s to those of a plain write: %s", turns.words())
	return []line{turns.compared(line{
		name: "upload", measured: fmt.Sprintf("%.0f MB/s", median(turns.ours)),
		against: fmt.Sprintf("write and fsync %.0f MB/s", median(turns.theirs)),
	}, 0.8)}, nil
}

// writePlain writes the archive into a file and forces it to disk, and then removes it.
func writePlain(path string, zip *zipStream) (took time.Duration, err error) {
	began := time.Now()
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	_, err = zip.WriteTo(file)
	err = errors.Join(err, file.Sync(), file.Close())
	took = time.Since(began)
	return took, errors.Join(err, os.Remove(path))
}

const (
	uploadHead = "--part\r\nContent-Disposition: form-data; name=\"task\"\r\nContent-Type: application/json\r\n\r\n" + noop +
		"\r\n--part\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\nContent-Type: application/zip\r\n\r\n"
	uploadTail = "\r\n--part--\r\n"
)

// upload starts a noop task with the archive, and returns how long that took and its id.
func (s *server) upload(ctx context.Context, zip *zipStream) (time.Duration, string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close() //nolint:errcheck // nothing is under way
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(15 * time.Minute)); err != nil {
		return 0, "", err
	}
	head := s.raw(http.MethodPost, "/api/v1/tasks", "", "Content-Type: multipart/form-data; boundary=part",
		fmt.Sprintf("Content-Length: %d", int64(len(uploadHead)+len(uploadTail))+zip.size))
	began := time.Now()
	_, writeErr := conn.Write(append(head, uploadHead...))
	if writeErr == nil {
		_, writeErr = zip.WriteTo(conn)
	}
	if writeErr == nil {
		_, writeErr = io.WriteString(conn, uploadTail)
	}
	// A server that refuses says why, even when it does not read on.
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", errors.Join(writeErr, err)
	}
	defer answer.Body.Close() //nolint:errcheck // read only
	took := time.Since(began)
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusAccepted {
		return 0, "", errors.Join(fmt.Errorf("upload: %s: %s", answer.Status, body), writeErr, err)
	}
	var t task
	err = json.Unmarshal(body, &t)
	return took, t.ID, err
}

// waitUnpacked waits until a task that was given an archive has unpacked it and succeeded.
func (s *server) waitUnpacked(ctx context.Context, id string) error {
	if err := s.waitDrained(ctx, 15*time.Minute); err != nil {
		return err
	}
	status, body, err := s.call(ctx, http.MethodGet, "/api/v1/tasks/"+id, "")
	if err != nil {
		return err
	}
	var t task
	if err := json.Unmarshal(body, &t); err != nil {
		return err
	}
	if status != http.StatusOK || t.State != "succeeded" {
		return fmt.Errorf("the task with the archive was to succeed: %d %s", status, body)
	}
	return nil
}
