package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// measureTus compares an upload of a GiB by tus, in one PATCH, with one to tusd's own program and
// its store of files, in turns. Then it has two uploads run side by side, and asks how much memory
// the server has had at most.
func measureTus(ctx context.Context, b *bench) (lines []line, err error) {
	if err := needSpace(b.dir, 4<<30); err != nil {
		return nil, err
	}
	s, err := b.serve(ctx, "tus")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	d, err := b.tusd(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	lines, err = b.compareTus(ctx, s, d)
	if err != nil {
		return nil, err
	}
	fair, err := b.measureSideBySide(ctx, s)
	if err != nil {
		return nil, err
	}
	peak, err := peakMemory(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	memory := limited(line{name: "tus, memory", measured: fmt.Sprintf("%.0f MB", float64(peak)/1e6)}, "< 150 MB", peak < 150_000_000)
	return append(lines, fair, memory), nil
}

// compareTus has the two take uploads in turns. tusd does not force what it has to disk, so a
// second line has the time for that added to its own.
func (b *bench) compareTus(ctx context.Context, s *server, d *tusd) ([]line, error) {
	size := either(b, int64(1<<30), 128<<20)
	block := randomBlock(8 << 20).packed
	rate := func(took time.Duration) float64 { return float64(size) / 1e6 / took.Seconds() }
	var turns, durable rivals
	for range either(b, 5, 1) {
		p := newPayload(block, size)
		if err := syncDisk(ctx, b.dir); err != nil {
			return nil, err
		}
		ours, err := s.tusUpload(ctx, p)
		if err != nil {
			return nil, err
		}
		if err := syncDisk(ctx, b.dir); err != nil {
			return nil, err
		}
		taken, forced, err := d.upload(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("tusd: %w", err)
		}
		turns.add(rate(ours), rate(taken))
		durable.add(rate(ours), rate(taken+forced))
	}
	b.logf("tus: MB/s to those of tusd: %s; when that is forced to disk: %s", turns.words(), durable.words())
	measured := fmt.Sprintf("%.0f MB/s", median(turns.ours))
	return []line{
		turns.compared(line{name: "tus", measured: measured, against: fmt.Sprintf("tusd %.0f MB/s", median(turns.theirs))}, 0.9),
		{
			name: "tus, tusd's forced to disk", measured: measured,
			against: fmt.Sprintf("tusd, fsync %.0f MB/s", median(durable.theirs)), ratio: fmt.Sprintf("%.2f", durable.ratio()),
		},
	}, nil
}

// measureSideBySide has two uploads begin at once, and compares when they end.
func (b *bench) measureSideBySide(ctx context.Context, s *server) (line, error) {
	size := either(b, int64(512<<20), 64<<20)
	block := randomBlock(8 << 20).packed
	var turns rivals
	for range either(b, 5, 1) {
		if err := syncDisk(ctx, b.dir); err != nil {
			return line{}, err
		}
		var both sync.WaitGroup
		var took [2]time.Duration
		var failed [2]error
		for i := range took {
			p := newPayload(block, size)
			both.Go(func() { took[i], failed[i] = s.tusUpload(ctx, p) })
		}
		both.Wait()
		if err := errors.Join(failed[:]...); err != nil {
			return line{}, err
		}
		slices.Sort(took[:])
		turns.add(float64(took[0].Milliseconds()), float64(took[1].Milliseconds()))
	}
	b.logf("tus, two at once: ms of the first to end to those of the other: %s", turns.words())
	return turns.compared(line{
		name: "tus, two at once", measured: fmt.Sprintf("one ends after %.2f s", median(turns.ours)/1000),
		against: fmt.Sprintf("the other, %.2f s", median(turns.theirs)/1000),
	}, 0.8), nil
}

// payload is bytes that cannot be compressed and are nowhere else: a block of random bytes again and
// again behind a stamp, out of memory.
type payload struct {
	stamp []byte
	block []byte
	size  int64
	rate  int64 // bytes a second at which they are given out; 0: as they are taken
}

func newPayload(block []byte, size int64) *payload {
	p := &payload{stamp: make([]byte, 16), block: block, size: size}
	_, _ = rand.Read(p.stamp) // never fails
	return p
}

// WriteTo gives the bytes out.
func (p *payload) WriteTo(w io.Writer) (int64, error) {
	var n int64
	w = atRate(w, p.rate)
	for next := p.stamp; n < p.size; next = p.block {
		m, err := w.Write(next[:min(int64(len(next)), p.size-n)])
		if n += int64(m); err != nil {
			return n, err
		}
	}
	return n, nil
}

// sha256 is the digest as the API writes it.
func (p *payload) sha256() (string, error) {
	digest := sha256.New()
	_, err := p.WriteTo(digest)
	return hex.EncodeToString(digest.Sum(nil)), err
}

// tusServer is where uploads are made. Its headers go with each request, with their line ends.
type tusServer struct{ addr, path, headers string }

func (s *server) tus() tusServer {
	return tusServer{s.addr, "/api/v1/uploads", "Authorization: Bearer " + s.token + "\r\n"}
}

// tusdPath is where tusd has its uploads.
const tusdPath = "/files/"

func tusdAt(addr string) tusServer { return tusServer{addr: addr, path: tusdPath} }

// send makes an upload and sends its bytes in one PATCH on the same connection. It returns how long
// that took, from the first byte of the POST to the 204 of the PATCH, and the upload's path.
func (t tusServer) send(ctx context.Context, p *payload) (took time.Duration, path string, err error) {
	conn, err := t.dial(ctx)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close() //nolint:errcheck // nothing is under way
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	answers := bufio.NewReader(conn)
	began := time.Now()
	_, writeErr := io.WriteString(conn, t.request(http.MethodPost, t.path, fmt.Sprintf("Upload-Length: %d\r\nContent-Length: 0\r\n", p.size)))
	made, err := tusAnswer(answers, http.StatusCreated)
	if err != nil {
		return 0, "", errors.Join(writeErr, err)
	}
	location, err := url.Parse(made.Get("Location"))
	if err != nil {
		return 0, "", err
	}
	_, writeErr = io.WriteString(conn, t.request(http.MethodPatch, location.Path,
		fmt.Sprintf("Upload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: %d\r\n", p.size)))
	if writeErr == nil {
		_, writeErr = p.WriteTo(conn)
	}
	// A server that refuses says why, even when it does not read on.
	taken, err := tusAnswer(answers, http.StatusNoContent)
	took = time.Since(began)
	if err = cmp.Or(err, writeErr); err != nil {
		return 0, "", err
	}
	if offset := taken.Get("Upload-Offset"); offset != strconv.FormatInt(p.size, 10) {
		return 0, "", fmt.Errorf("of %d bytes %q were taken", p.size, offset)
	}
	return took, location.Path, nil
}

func (t tusServer) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(15 * time.Minute))
}

func (t tusServer) request(method, path, headers string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: " + t.addr + "\r\nTus-Resumable: 1.0.0\r\n" + t.headers + headers + "\r\n"
}

// tusAnswer reads an answer, which must have the status, and returns its headers.
func tusAnswer(r *bufio.Reader, status int) (http.Header, error) {
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(answer.Body)
	err = errors.Join(err, answer.Body.Close())
	if answer.StatusCode != status {
		err = fmt.Errorf("%s, expected %d: %s", answer.Status, status, text)
	}
	return answer.Header, err
}

// remove removes an upload.
func (t tusServer) remove(ctx context.Context, at string) error {
	conn, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing is under way
	if _, err := io.WriteString(conn, t.request(http.MethodDelete, at, "")); err != nil {
		return err
	}
	_, err = tusAnswer(bufio.NewReader(conn), http.StatusNoContent)
	return err
}

// tusUpload makes an upload and returns how long that took. Once the server has finished it, its
// digest is right.
func (s *server) tusUpload(ctx context.Context, p *payload) (time.Duration, error) {
	took, at, err := s.tus().send(ctx, p)
	if err != nil {
		return 0, err
	}
	got, err := s.finishUpload(ctx, at)
	if err != nil {
		return 0, err
	}
	want, err := p.sha256()
	if err == nil && got != want {
		err = fmt.Errorf("the upload %s has the digest %s, expected %s", at, got, want)
	}
	return took, err
}

// finishUpload waits until an upload is finished, removes it, and returns its digest.
func (s *server) finishUpload(ctx context.Context, at string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		_, body, err := s.call(ctx, http.MethodGet, at, "")
		if err != nil {
			return "", err
		}
		var u struct{ State, SHA256 string }
		if err := json.Unmarshal(body, &u); err != nil {
			return "", fmt.Errorf("upload %s: %w: %s", at, err, body)
		}
		switch u.State {
		case "finished":
			return u.SHA256, s.tus().remove(ctx, at)
		case "finishing":
		default:
			return "", fmt.Errorf("the upload was to be finished: %s", body)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// upload makes an upload, forces what came of it to disk, and removes it. It returns how long each
// of the first two took.
func (d *tusd) upload(ctx context.Context, p *payload) (taken, forced time.Duration, err error) {
	taken, at, err := tusdAt(d.addr).send(ctx, p)
	if err != nil {
		return 0, 0, err
	}
	name := filepath.Join(d.dir, path.Base(at))
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	err = file.Sync()
	forced = time.Since(began)
	info, statErr := file.Stat()
	if err := errors.Join(err, statErr, file.Close()); err != nil {
		return 0, 0, err
	}
	if info.Size() != p.size {
		return 0, 0, fmt.Errorf("%s has %d of %d bytes", name, info.Size(), p.size)
	}
	return taken, forced, errors.Join(os.Remove(name), os.Remove(name+".info"))
}
