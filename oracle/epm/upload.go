package epm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"longhaul/oracle"
)

// controlChunk is the chunkSize of a request that carries no bytes; the page
// has this number and no reason for it.
const controlChunk = 14

// chunk is the q parameter of an upload's requests. Sizes and ranges of the
// file are strings, those of the chunk numbers, as on the page.
type chunk struct {
	IsFirst    bool   `json:"isFirst"`
	IsLast     bool   `json:"isLast"`
	ChunkSize  int64  `json:"chunkSize"`
	FileSize   string `json:"fileSize"`
	StartRange string `json:"startRange,omitempty"`
	EndRange   string `json:"endRange,omitempty"` // inclusive
	ChunkNo    int64  `json:"chunkNo,omitempty"`  // from 1
}

// Upload calls Upload, v1, in chunks (prest/upload_application_snapshot): it
// puts exactly size bytes of src under name, and where the service then unpacks
// a snapshot it waits for that.
//
// The service never overwrites: delete an older file of the name first. What
// failed may have left a part behind; delete that too before trying again.
// src is read once, in order, and not after Upload returns; its own error, or
// more or fewer bytes than size, ends the upload with [oracle.KindRequest].
// progress may be nil; it is told the bytes sent so far, from other goroutines
// but never two at a time.
func (c *Client) Upload(ctx context.Context, name string, src io.Reader, size int64, progress func(sent int64)) error {
	up := upload{c: c, name: name, size: size, counter: &counter{r: src, told: progress}}
	if size < 0 {
		return up.misused(fmt.Errorf("size %d is negative", size))
	}
	if _, err := up.send(ctx, chunk{IsFirst: true, ChunkSize: controlChunk}, nil); err != nil {
		return err
	}
	return partLeft(up.rest(ctx))
}

// partLeft marks the error of an upload that had begun: whatever the last
// answer said, a part of the file may be there.
func partLeft(err error) error {
	if e, ok := errors.AsType[*oracle.Error](err); ok {
		e.MayHaveHappened = true
	}
	return err
}

// rest sends the bytes, ends the upload and waits until the file can be used.
func (u upload) rest(ctx context.Context) error {
	var number int64
	for start := int64(0); start < u.size; start += u.c.opts.ChunkSize {
		number++
		length := min(u.c.opts.ChunkSize, u.size-start)
		q := chunk{
			ChunkSize:  length,
			StartRange: strconv.FormatInt(start, 10),
			EndRange:   strconv.FormatInt(start+length-1, 10),
			ChunkNo:    number,
		}
		if _, err := u.send(ctx, q, u.counter); err != nil {
			return err
		}
	}
	if err := u.atEnd(); err != nil {
		return err
	}
	last, err := u.send(ctx, chunk{IsLast: true, ChunkSize: controlChunk}, nil)
	if err != nil || !last.running() {
		return err
	}
	_, err = u.c.follow(ctx, u.call(), last)
	return err
}

// upload is one file on its way.
type upload struct {
	c       *Client
	name    string
	size    int64
	counter *counter
}

func (u upload) call() oracle.Call {
	return oracle.Call{
		Op:     fmt.Sprintf("upload %q", u.name),
		Method: http.MethodPost,
		Path:   interop + "/v1/applicationsnapshots/" + oracle.Segment(u.name) + "/contents",
		Header: http.Header{"Content-Type": {"application/octet-stream"}},
	}
}

// send makes one request; src holds the chunk's bytes, nil for none.
func (u upload) send(ctx context.Context, q chunk, src io.Reader) (envelope, error) {
	call := u.call()
	q.FileSize = strconv.FormatInt(u.size, 10)
	text, err := json.Marshal(q)
	if err != nil {
		return envelope{}, u.misused(err)
	}
	call.Query = query("q", string(text))
	if src != nil {
		call.Body, call.Size, call.Transfer = src, q.ChunkSize, true
	}
	return u.c.interop(ctx, call)
}

// atEnd makes sure that src has nothing beyond the size: storing the beginning
// of a file as the whole would go unnoticed.
func (u upload) atEnd() error {
	switch n, err := io.ReadFull(u.counter.r, make([]byte, 1)); {
	case n > 0:
		return u.misused(fmt.Errorf("there is more to read than the %d bytes announced", u.size))
	case errors.Is(err, io.EOF):
		return nil
	default:
		return u.misused(err)
	}
}

func (u upload) misused(err error) error {
	e := u.c.api.Failure(u.call(), oracle.KindRequest, "")
	e.Status, e.Err = 0, err
	return e
}

// counter tells how many bytes were read through it.
type counter struct {
	r    io.Reader
	n    int64
	told func(int64)
}

// Read implements [io.Reader].
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if n > 0 && c.told != nil {
		c.told(c.n)
	}
	return n, err
}
