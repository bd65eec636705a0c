package oracle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"time"
)

// maxJSON bounds how much of a JSON answer is read, in bytes. The largest
// known ones are file lists and pages of job messages, well under a megabyte.
const maxJSON = 8 << 20

// Client calls one environment. It may be used from many goroutines.
type Client struct {
	cfg  Config
	base *url.URL
	http *http.Client
}

// New returns a client, or an error that says what is wrong with the address.
// It sends nothing.
func New(cfg Config) (*Client, error) {
	base, err := parseBase(cfg.URL)
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c := &Client{cfg: cfg, base: base}
	c.http = &http.Client{Transport: cfg.Transport, CheckRedirect: c.redirect}
	return c, nil
}

// Call describes one request.
type Call struct {
	// Op is put before every error: what is tried, with its arguments.
	Op     string
	Method string
	// Path is the percent-encoded path below the configured URL, beginning
	// with a slash. Link, an href from an answer, takes its place.
	Path, Link string
	// Query is added to the address; its values replace those of the link.
	Query  url.Values
	Header http.Header
	// JSON is encoded as the body. Body, of exactly Size bytes, takes its
	// place and is sent as application/octet-stream.
	JSON any
	Body io.Reader
	Size int64
	// Transfer marks a call that moves a file's bytes: it is bounded by
	// [Config.IdleTimeout] in place of [Config.Timeout].
	Transfer bool
}

// Do makes a call whose answer is JSON and decodes it into out. An answer
// without a body is left alone where the status is 204; anything else that is
// not JSON is [KindUnavailable]. The error is an [*Error].
func (c *Client) Do(ctx context.Context, call Call, out any) error {
	return c.cfg.Retry.run(ctx, func() error {
		resp, src, err := c.send(ctx, call)
		if err == nil {
			err = c.Decode(call, resp, out)
		}
		return c.checkSource(call, src, err)
	})
}

// Open makes a call whose answer may be a file and returns it as soon as its
// head is there. The caller reads and closes the body, whose read errors are
// of type [*Error]; the idle timeout runs until it is closed.
func (c *Client) Open(ctx context.Context, call Call) (*http.Response, error) {
	call.Transfer = true
	var resp *http.Response
	err := c.cfg.Retry.run(ctx, func() (err error) {
		var src *source
		resp, src, err = c.send(ctx, call)
		return c.checkSource(call, src, err)
	})
	return resp, err
}

// Decode reads the JSON of an answer from [Client.Open] into out and closes it.
func (c *Client) Decode(call Call, resp *http.Response, out any) error {
	defer func() { _ = resp.Body.Close() }() // nothing is left to lose
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON+1))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusNoContent:
		return nil
	case len(text) > maxJSON:
		return c.answerError(call, resp, KindProtocol, fmt.Sprintf("answer is larger than %d bytes", maxJSON))
	case !looksJSON(text):
		return c.answerError(call, resp, KindUnavailable, "answer is not JSON"+excerpt(text))
	}
	if err := json.Unmarshal(trimBOM(text), out); err != nil {
		e := c.answerError(call, resp, KindProtocol, "answer cannot be read as the JSON it should be")
		e.Err = err
		return e
	}
	return nil
}

// send makes one attempt and returns an answer with a 2xx status.
func (c *Client) send(ctx context.Context, call Call) (*http.Response, *source, error) {
	if ctx.Err() != nil {
		return nil, nil, c.newError(call, nil).cancelled(ctx)
	}
	var sent trace
	reqCtx, dog := c.watch(sent.attach(ctx), call)
	req, src, err := c.request(reqCtx, call, dog)
	if err != nil {
		dog.stop()
		return nil, nil, c.requestError(ctx, call, err)
	}
	began := time.Now()
	resp, err := c.http.Do(req)
	c.log(ctx, call, req, resp, began, err)
	if err != nil {
		err = c.transportError(ctx, reqCtx, call, req, err, sent.mayHaveReached(reqCtx))
		dog.stop()
		return nil, src, err
	}
	resp.Body = &body{ReadCloser: resp.Body, dog: dog, fail: func(err error) error {
		return c.transportError(ctx, reqCtx, call, req, err, true)
	}}
	if resp.StatusCode/100 != 2 {
		defer func() { _ = resp.Body.Close() }() // the error is what counts
		return nil, src, c.statusError(call, resp)
	}
	return resp, src, nil
}

// request builds and signs one request.
func (c *Client) request(ctx context.Context, call Call, dog *watchdog) (*http.Request, *source, error) {
	target, err := c.target(call)
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, call.Method, target.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json, */*;q=0.5")
	var src *source
	switch {
	case call.Body != nil:
		src = newSource(call.Body, call.Size, dog)
		req.Header.Set("Content-Type", "application/octet-stream")
	case call.JSON != nil:
		text, err := json.Marshal(call.JSON)
		if err != nil {
			return nil, nil, fmt.Errorf("encode the parameters: %w", err)
		}
		src = newSource(bytes.NewReader(text), int64(len(text)), dog)
		req.Header.Set("Content-Type", "application/json")
	}
	if src != nil {
		// GetBody stays nil: without it no transport can send the body a
		// second time on its own.
		req.Body, req.ContentLength = src, src.left
	}
	maps.Copy(req.Header, call.Header)
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if err := c.cfg.Auth(ctx, req); err != nil {
		return nil, nil, fmt.Errorf("sign the request: %w", err)
	}
	return req, src, nil
}

// checkSource puts the failure of the reader that fed the request before what
// the transport made of it, and refuses a success that did not take it all.
func (c *Client) checkSource(call Call, src *source, err error) error {
	left, failed := src.end()
	var e *Error
	switch {
	case failed != nil && errors.As(err, &e) && e.Kind != KindCancelled:
		e.Kind, e.Err, e.Message = KindRequest, failed, "reading what was to be sent"
	case err == nil && left > 0:
		e = c.newError(call, nil)
		e.Kind, e.Message = KindProtocol, fmt.Sprintf("answered with success before reading the last %d bytes", left)
		e.MayHaveHappened = true
		return e
	}
	return err
}

// redirect follows a read to another path of the same host, and nothing else:
// the credentials are for this host only, and a start must not be sent again
// to wherever an answer points.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	if !sameOrigin(req.URL, c.base) || !repeatable(via[0].Method) || len(via) > 5 {
		return http.ErrUseLastResponse
	}
	return nil
}

func (c *Client) log(ctx context.Context, call Call, req *http.Request, resp *http.Response, began time.Time, err error) {
	attrs := []slog.Attr{
		slog.String("op", call.Op),
		slog.String("method", call.Method),
		slog.String("url", redact(req.URL)),
		slog.Duration("took", time.Since(began)),
	}
	if resp != nil {
		attrs = append(attrs, slog.Int("status", resp.StatusCode))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", plainCause(err).Error()))
	}
	c.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "oracle call", attrs...)
}
