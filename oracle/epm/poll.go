package epm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"longhaul/oracle"
)

// follow polls the link of work the service does on a file until its envelope
// no longer says "in progress". Answers of 404 and 5xx may be the daily
// maintenance and are waited out, up to [Options.PollLimit].
func (c *Client) follow(ctx context.Context, call oracle.Call, started envelope) (envelope, error) {
	poll := oracle.Call{Op: call.Op, Method: http.MethodGet}
	limit := time.Now().Add(c.opts.PollLimit)
	wait := c.opts.PollInterval / 40
	last := started
	for {
		if next := last.Links.Find("Job Status"); next != "" {
			poll.Link = next
		}
		if poll.Link == "" {
			err := c.api.Failure(call, oracle.KindProtocol, "answer says in progress but has no Job Status link")
			err.MayHaveHappened = call.Method != http.MethodGet
			return envelope{}, err
		}
		wait = min(2*wait, c.opts.PollInterval)
		if err := oracle.Sleep(ctx, wait); err != nil {
			return envelope{}, interrupted(c.api, poll, err)
		}
		e, err := c.interop(ctx, poll)
		switch {
		case err == nil && !e.running():
			return e, nil
		case err == nil:
			last = e
		case !passing(err):
			return envelope{}, err
		}
		if time.Now().After(limit) {
			return envelope{}, c.overdue(poll, err)
		}
	}
}

// overdue is the error of work that did not end in time.
func (c *Client) overdue(poll oracle.Call, last error) error {
	e := c.api.Failure(poll, oracle.KindUnavailable, fmt.Sprintf("the service was not done within %s", c.opts.PollLimit))
	e.Err = last
	return e
}

// interrupted is the error of a wait that the caller's context ended.
func interrupted(api *oracle.Client, call oracle.Call, err error) error {
	e := api.Failure(call, oracle.KindCancelled, "")
	e.Status, e.Err = 0, err
	return e
}

// passing reports whether a failed look may go better later.
func passing(err error) bool {
	var e *oracle.Error
	return errors.As(err, &e) &&
		(e.Kind == oracle.KindUnavailable || e.Kind == oracle.KindServer || e.Status == http.StatusNotFound)
}
