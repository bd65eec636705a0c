package epm

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"longhaul/oracle"
)

// Downloaded tells what a download brought.
type Downloaded struct {
	// Size in bytes.
	Size int64
	// Extension is what the service says to save the file as ("zip", "csv");
	// a snapshot comes zipped whatever its name. Often empty.
	Extension string
}

// Download writes the named file, or a snapshot zipped, to w.
//
// It calls Download, v1 (prest/download_application_snapshot): the service
// makes the file ready, is polled until it is, and is told afterwards that the
// copy may go. Where v1 does not exist or offers no such copy, the first
// generation (prest/download) is called instead, which answers at once.
//
// A transfer that breaks off goes on where it stopped, as long as each attempt
// brings some bytes: by a byte range, or by reading the beginning again, which
// must then be the same. Lengths the service names are held against what came.
// After an error w holds a beginning of the file and is of no use. A missing
// file is [oracle.KindNotFound]; an error of w comes back as it is, wrapped.
// progress may be nil; it is told the bytes written so far.
func (c *Client) Download(ctx context.Context, name string, w io.Writer, progress func(received int64)) (Downloaded, error) {
	ready, err := c.prepare(ctx, name)
	if err != nil {
		return Downloaded{}, asNotFound(err)
	}
	t := newTransfer(c.api, ready.call, w, progress)
	if err := t.run(ctx, ready.opened); err != nil {
		return Downloaded{}, asNotFound(err)
	}
	if ready.call.Link != "" {
		c.release(ctx, ready.call)
	}
	return Downloaded{Size: t.received, Extension: t.extension}, nil
}

// ready is a file that can be fetched: how, and the first answer where that
// is there already.
type ready struct {
	call   oracle.Call
	opened *http.Response
}

// prepare asks for a file until its bytes can be had.
func (c *Client) prepare(ctx context.Context, name string) (ready, error) {
	path := "/" + oracle.Segment(name) + "/contents"
	call := oracle.Call{
		Op:     fmt.Sprintf("download %q", name),
		Method: http.MethodGet,
		Path:   interop + "/v1/applicationsnapshots" + path,
		// The page names this media type although nothing is sent.
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	}
	direct := call
	direct.Path, direct.Header = firstGeneration+path, nil
	resp, err := c.api.Open(ctx, call)
	if absent(err) {
		return ready{call: direct}, nil
	}
	if err != nil {
		return ready{}, err
	}
	if !oracle.IsJSON(resp.Header.Get("Content-Type")) {
		return ready{call: call, opened: resp}, nil
	}
	var e envelope
	if err := c.api.Decode(call, resp, &e); err != nil {
		return ready{}, err
	}
	if err := c.check(call, e); err != nil {
		return ready{}, err
	}
	if e.running() {
		if e, err = c.follow(ctx, call, e); err != nil {
			return ready{}, err
		}
	}
	link := e.Links.Find("Download link")
	if link == "" {
		return ready{call: direct}, nil
	}
	return ready{call: oracle.Call{Op: call.Op, Method: call.Method, Link: link}}, nil
}

// releaseTimeout bounds the clean-up: the file is there, nobody should wait long.
const releaseTimeout = 20 * time.Second

// release tells the service that its copy may go (seen: the download link with
// this q answers 206 without a body). What fails here costs the service some
// space until its own clean-up, and the caller nothing.
func (c *Client) release(ctx context.Context, call oracle.Call) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	call.Query = query("q", "{download:complete}")
	if resp, err := c.api.Open(ctx, call); err == nil {
		_ = resp.Body.Close() // nothing in it is of use
	}
}
