package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// bigFile is where the file that is downloaded lies.
const bigFile = "/api/v1/apps/" + benchApp + "/files/big.bin"

// measureDownload compares the GET of a file of a GiB, whose blocks are checked before they leave,
// with nginx that serves the same bytes from the same disk. They take turns; after the first one,
// whose bytes are compared, both have the file in memory.
func measureDownload(ctx context.Context, b *bench) (lines []line, err error) {
	if err := needSpace(b.dir, 4<<30); err != nil {
		return nil, err
	}
	p := newPayload(randomBlock(8<<20).packed, either(b, int64(1<<30), 128<<20))
	s, err := b.serve(ctx, "download")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.putFile(ctx, p); err != nil {
		return nil, err
	}
	served := filepath.Join(b.dir, "nginx")
	if err := writePayload(filepath.Join(served, "files", "big.bin"), p); err != nil {
		return nil, err
	}
	nginx, err := b.nginx(ctx, served)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, nginx.stop()) }()
	ours := s.getFile()
	theirs := target{nginx.addr, []byte("GET /big.bin HTTP/1.1\r\nHost: " + nginx.addr + "\r\n\r\n")}
	for _, t := range []target{ours, theirs} {
		if err := sameBytes(ctx, t, p); err != nil {
			return nil, err
		}
	}
	var turns rivals
	for range either(b, 9, 2) {
		mine, err := fetch(ctx, ours, p.size, io.Discard)
		if err != nil {
			return nil, err
		}
		other, err := fetch(ctx, theirs, p.size, io.Discard)
		if err != nil {
			return nil, fmt.Errorf("nginx: %w", err)
		}
		turns.add(float64(p.size)/1e6/mine.Seconds(), float64(p.size)/1e6/other.Seconds())
	}
	b.logf("download: MB/s to those of nginx: %s", turns.words())
	return []line{turns.compared(line{
		name: "download", measured: fmt.Sprintf("%.0f MB/s", median(turns.ours)), against: fmt.Sprintf("nginx %.0f MB/s", median(turns.theirs)),
	}, 0.9)}, nil
}

// putFile has the server keep the payload as a file.
func (s *server) putFile(ctx context.Context, p *payload) error {
	in, out := io.Pipe()
	go func() {
		_, err := p.WriteTo(out)
		_ = out.CloseWithError(err) // never fails
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+s.addr+bigFile, in)
	if err != nil {
		return err
	}
	r.ContentLength = p.size
	r.Header.Set("Authorization", "Bearer "+s.token)
	answer, err := s.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusCreated {
		err = fmt.Errorf("put the file: %s: %s", answer.Status, text)
	}
	return err
}

// getFile is the request for that file.
func (s *server) getFile() target {
	return target{s.addr, s.raw(http.MethodGet, bigFile, "", "Accept-Encoding: identity")}
}

// writePayload writes the payload into a file in a new folder.
func writePayload(path string, p *payload) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = p.WriteTo(file)
	return errors.Join(err, file.Sync(), file.Close())
}

// sameBytes fetches once and compares the digest.
func sameBytes(ctx context.Context, t target, p *payload) error {
	want, err := p.sha256()
	if err != nil {
		return err
	}
	digest := sha256.New()
	if _, err := fetch(ctx, t, p.size, digest); err != nil {
		return err
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != want {
		return fmt.Errorf("%s answered bytes with the digest %s, expected %s", t.addr, got, want)
	}
	return nil
}

// fetch makes the request and reads the answer of that many bytes into w, in large reads. It returns
// how long that took.
func fetch(ctx context.Context, t target, size int64, w io.Writer) (time.Duration, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close() //nolint:errcheck // nothing is under way
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := conn.Write(t.request); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil) // larger reads pass its buffer by
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close() //nolint:errcheck // read only
	if answer.StatusCode != http.StatusOK || answer.ContentLength != size {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000)) // as much as there is
		return 0, fmt.Errorf("%s, %d bytes, expected %d: %s", answer.Status, answer.ContentLength, size, text)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, answer.Body, make([]byte, 256<<10))
	return time.Since(began), err
}
