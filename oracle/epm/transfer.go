package epm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"longhaul/oracle"
)

const (
	// maxStalls is how many answers in a row may break off without a new byte.
	maxStalls = 5
	// firstPause is waited after the first of them, then twice as long.
	firstPause = 100 * time.Millisecond
	copyBuffer = 128 << 10
)

// transfer brings one file to a writer, over as many answers as it takes.
type transfer struct {
	api      *oracle.Client
	call     oracle.Call
	w        io.Writer
	progress func(int64)

	sum       hash.Hash // of the bytes written, to know the beginning again
	received  int64
	total     int64 // -1 while unknown
	extension string
	failed    error // of w, which no new answer can mend
}

func newTransfer(api *oracle.Client, call oracle.Call, w io.Writer, progress func(int64)) *transfer {
	return &transfer{api: api, call: call, w: w, progress: progress, sum: sha256.New(), total: -1}
}

// run fetches until the file is whole. first is an answer already open, or nil.
func (t *transfer) run(ctx context.Context, first *http.Response) error {
	pause := firstPause
	for stalls := 0; ; {
		resp, err := first, error(nil)
		if resp == nil {
			resp, err = t.open(ctx)
		}
		if err != nil { // it was tried again as often as any read
			return err
		}
		first = nil
		before := t.received
		err = t.take(resp)
		switch {
		case t.failed != nil:
			return fmt.Errorf("%s: write: %w", t.call.Op, t.failed)
		case err == nil:
			return nil
		case !oracle.IsUnavailable(err):
			return err
		case t.received > before:
			stalls, pause = 0, firstPause
		default:
			stalls++
		}
		if stalls >= maxStalls {
			return err
		}
		if err := oracle.Sleep(ctx, pause); err != nil {
			return interrupted(t.api, t.call, err)
		}
		pause *= 2
	}
}

// take writes what one answer brings.
func (t *transfer) take(resp *http.Response) error {
	defer func() { _ = resp.Body.Close() }() // its reads told all there is
	if err := t.isFile(resp); err != nil {
		return err
	}
	if err := t.align(resp); err != nil {
		return err
	}
	if ext := resp.Header.Get("fileExtension"); ext != "" {
		t.extension = ext
	}
	_, err := io.CopyBuffer(onlyWriter{t}, resp.Body, make([]byte, copyBuffer))
	// A connection that broke after the last byte did no harm.
	if err != nil && (t.received != t.total || t.failed != nil) {
		return err
	}
	return t.complete()
}

// open asks for the rest of the file.
func (t *transfer) open(ctx context.Context) (*http.Response, error) {
	call := t.call
	call.Header = http.Header{
		"Accept": {"application/octet-stream, */*;q=0.5"},
		// Compressed on the way, neither lengths nor ranges would be the file's.
		"Accept-Encoding": {"identity"},
	}
	if t.received > 0 {
		call.Header.Set("Range", "bytes="+strconv.FormatInt(t.received, 10)+"-")
	}
	return t.api.Open(ctx, call)
}

// align brings an answer's body to where the last one stopped, and learns the
// file's length from it.
func (t *transfer) align(resp *http.Response) error {
	start, total, err := extent(resp)
	switch {
	case err != nil:
		return t.failure(oracle.KindProtocol, err.Error())
	case t.total >= 0 && total >= 0 && total != t.total:
		return t.changed()
	case start != 0 && start != t.received:
		return t.failure(oracle.KindProtocol, fmt.Sprintf("asked for bytes from %d, got them from %d", t.received, start))
	}
	if total >= 0 {
		t.total = total
	}
	if start == 0 && t.received > 0 {
		return t.skip(resp.Body)
	}
	return nil
}

// skip reads the beginning again that is written already; a service may ignore
// ranges. It must be the same: a snapshot is zipped anew for every request.
func (t *transfer) skip(body io.Reader) error {
	again := sha256.New()
	switch n, err := io.CopyN(again, body, t.received); {
	case err != nil && n < t.received && oracle.KindOf(err) != "":
		return err
	case err != nil || !bytes.Equal(again.Sum(nil), t.sum.Sum(nil)):
		return t.changed()
	}
	return nil
}

func (t *transfer) changed() error {
	return t.failure(oracle.KindProtocol, "the file changed between two parts of its download; start it again")
}

// complete holds what came against the length that was named. A service that
// names none is believed.
func (t *transfer) complete() error {
	switch {
	case t.total < 0 || t.received == t.total:
		return nil
	case t.received < t.total:
		return t.failure(oracle.KindUnavailable, fmt.Sprintf("broke off after %d of %d bytes", t.received, t.total))
	}
	return t.failure(oracle.KindProtocol, fmt.Sprintf("%d bytes came where %d were announced", t.received, t.total))
}

// Write implements [io.Writer] for the copy.
func (t *transfer) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	_, _ = t.sum.Write(p[:n]) // a hash never fails
	t.received += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		t.failed = err
		return n, err
	}
	if t.progress != nil {
		t.progress(t.received)
	}
	return n, nil
}

// onlyWriter hides every method but Write from [io.CopyBuffer].
type onlyWriter struct{ io.Writer }

var contentRange = regexp.MustCompile(`^bytes\s+(\d+)-(\d+)/(\d+|\*)$`)

// extent returns where in the file an answer's body starts, and the file's
// length, -1 if not told. A Content-Range counts whatever the status says.
func extent(resp *http.Response) (start, total int64, err error) {
	head := strings.TrimSpace(resp.Header.Get("Content-Range"))
	if head == "" {
		if resp.StatusCode == http.StatusPartialContent && resp.Request.Header.Get("Range") != "" {
			return 0, 0, errors.New("answer is part of the file but does not say which")
		}
		return 0, resp.ContentLength, nil
	}
	m := contentRange.FindStringSubmatch(head)
	if m == nil {
		return 0, 0, fmt.Errorf("Content-Range %.60q cannot be read", head)
	}
	if start, err = strconv.ParseInt(m[1], 10, 64); err != nil {
		return 0, 0, fmt.Errorf("Content-Range %.60q cannot be read: %w", head, err)
	}
	if m[3] == "*" {
		return start, -1, nil
	}
	if total, err = strconv.ParseInt(m[3], 10, 64); err != nil {
		return 0, 0, fmt.Errorf("Content-Range %.60q cannot be read: %w", head, err)
	}
	return start, total, nil
}

// isFile returns nil for an answer that holds a file. JSON is an error's
// envelope whatever the status, and a web page is the maintenance's.
func (t *transfer) isFile(resp *http.Response) error {
	kind := resp.Header.Get("Content-Type")
	switch {
	case oracle.IsJSON(kind):
		var e envelope
		if err := t.api.Decode(t.call, resp, &e); err != nil {
			return err
		}
		if e.Status.N <= 0 {
			return t.failure(oracle.KindProtocol, "answer is JSON where the file should be. "+string(e.Details))
		}
		return t.failure(oracle.KindRefused, string(e.Details))
	case oracle.IsHTML(kind, nil):
		_ = resp.Body.Close() // it is not read
		return t.failure(oracle.KindUnavailable, "answer is a web page where the file should be")
	}
	return nil
}

func (t *transfer) failure(kind oracle.Kind, message string) error {
	return t.api.Failure(t.call, kind, message)
}
