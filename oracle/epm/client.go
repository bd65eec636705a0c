package epm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"longhaul/oracle"
)

// Options are for those who know why; the zero value is right for Oracle.
type Options struct {
	// ChunkSize of uploads in bytes, at most and by default 50 MiB, the most
	// the service takes (prest/upload_application_snapshot).
	ChunkSize int64
	// PollInterval is the longest wait between two looks at the service's own
	// work on a file (packing before a download, unpacking after an upload);
	// the first looks come sooner. Default 2 s.
	PollInterval time.Duration
	// PollLimit is how long that work is waited for. Default 10 min.
	PollLimit time.Duration
}

const maxChunk = 50 << 20

func (o Options) withDefaults() Options {
	if o.ChunkSize <= 0 || o.ChunkSize > maxChunk {
		o.ChunkSize = maxChunk
	}
	if o.PollInterval <= 0 {
		o.PollInterval = 2 * time.Second
	}
	if o.PollLimit <= 0 {
		o.PollLimit = 10 * time.Minute
	}
	return o
}

// Client calls one application of one environment. It may be used from many
// goroutines.
type Client struct {
	api         *oracle.Client
	application string
	opts        Options
}

// New returns a client for the named application, whose case counts. The calls
// that concern the environment (version, applications, files) need no name.
func New(api *oracle.Client, application string, opts Options) *Client {
	return &Client{api: api, application: application, opts: opts.withDefaults()}
}

// context matches the web application's own context, with which people copy
// the address from their browser.
var webContext = regexp.MustCompile(`(?i)/(epmcloud|HyperionPlanning|workspace)(/.*)?$`)

// ServiceURL cuts from the address of an environment the context of its web
// pages (/epmcloud, /HyperionPlanning, /workspace and what follows), query and
// fragment, since [oracle.Config.URL] must be without them
// (prest/url_structure_overview). A gateway's own prefix stays.
func ServiceURL(address string) string {
	address, _, _ = strings.Cut(strings.TrimSpace(address), "#")
	address, _, _ = strings.Cut(address, "?")
	return webContext.ReplaceAllString(address, "")
}

const (
	planning = "/HyperionPlanning/rest/v3/applications"
	interop  = "/interop/rest"
	// firstGeneration files API; each operation exists in its own versions
	// only, so the version is part of the operation.
	firstGeneration = interop + "/11.1.2.3.600/applicationsnapshots"
)

// app returns a path below the application.
func (c *Client) app(path string) string {
	return planning + "/" + oracle.Segment(c.application) + path
}

// envelope is every JSON answer of the interop API (prest/lcm_status_codes).
type envelope struct {
	Status  oracle.Number   `json:"status"`
	Details oracle.Text     `json:"details"`
	Links   oracle.Links    `json:"links"`
	Items   json.RawMessage `json:"items"`
}

// running reports whether the work goes on and is to be polled.
func (e envelope) running() bool { return e.Status.Valid && e.Status.N < 0 }

// check turns a failure told in an envelope, which comes with HTTP 200, into
// an error. Positive numbers are failures, which one is not documented.
func (c *Client) check(call oracle.Call, e envelope) error {
	switch {
	case e.Status.Valid && e.Status.N > 0:
		message := string(e.Details)
		if message == "" {
			message = "refused without a reason"
		}
		return c.api.Failure(call, oracle.KindRefused, message)
	case !e.Status.Valid && len(e.Items) == 0:
		err := c.api.Failure(call, oracle.KindProtocol, "answer has no status")
		err.MayHaveHappened = call.Method != http.MethodGet
		return err
	}
	return nil
}

// interop makes a call of the interop API and checks its envelope.
func (c *Client) interop(ctx context.Context, call oracle.Call) (envelope, error) {
	var e envelope
	if err := c.api.Do(ctx, call, &e); err != nil {
		return envelope{}, err
	}
	return e, c.check(call, e)
}

// items decodes the items of a collection, which may be null or missing.
func items[T any](c *Client, call oracle.Call, raw json.RawMessage) ([]T, error) {
	var list []T
	if len(raw) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		e := c.api.Failure(call, oracle.KindProtocol, "items cannot be read as the list they should be")
		e.Err = err
		return nil, e
	}
	return list, nil
}

// absent reports whether err says that the operation does not exist in this
// version of the API on this environment, so that an older one is worth a try.
// It is a matter of the status alone: the body may be a framework's page.
func absent(err error) bool {
	var e *oracle.Error
	return errors.As(err, &e) && (e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed)
}

// missingFile are the service's words for a file that is not there
// (prest/download, cepma/epm_auto_delete_file).
var missingFile = regexp.MustCompile(`(?i)\b(invalid file|not a valid file|file not found|no such file|does not exist|could not be found)\b`)

// asNotFound gives errors that tell of a missing file in words their kind.
func asNotFound(err error) error {
	var e *oracle.Error
	if errors.As(err, &e) && (e.Kind == oracle.KindRefused || e.Kind == oracle.KindServer) && missingFile.MatchString(e.Message) {
		e.Kind = oracle.KindNotFound
	}
	return err
}

// query returns a query of one parameter.
func query(name, value string) url.Values { return url.Values{name: {value}} }
