package epm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"longhaul/oracle"
	"longhaul/oracle/epm"
)

const (
	v1Contents     = "/interop/rest/v1/applicationsnapshots/inbox%2Fa%20b.zip/contents"
	v1Job          = v1Contents + "/4321"
	v1Bytes        = "/interop/rest/v1/applicationsnapshots/inbox%2Fa%20b.zip/contents/4321/download"
	directContents = firstGeneration + "/inbox%2Fa%20b.zip/contents"
)

// content is the file of these tests, long enough for many writes.
var content = func() []byte {
	b := make([]byte, 300<<10)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}()

// outlet serves content: how is up to its fields.
type outlet struct {
	steps     map[string]func(w http.ResponseWriter, r *http.Request) // by path, before the bytes
	bytesAt   string
	cutAt     []int // the answers in turn break off at these offsets of the file
	noRange   bool
	chunked   bool                     // no Content-Length
	pieces    int                      // at most so many bytes per ranged answer
	change    func([]byte, int) []byte // the file as of the nth answer
	mangle    func(http.Header)
	served    atomic.Int32
	extension string
}

func (o *outlet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if step, ok := o.steps[r.URL.Path]; ok {
		step(w, r)
		return
	}
	if r.URL.Path != o.bytesAt {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Get("q") == "{download:complete}" {
		w.WriteHeader(http.StatusPartialContent)
		return
	}
	o.serveBytes(w, r)
}

func (o *outlet) serveBytes(w http.ResponseWriter, r *http.Request) {
	n := int(o.served.Add(1))
	file := content
	if o.change != nil {
		file = o.change(file, n)
	}
	start, end := 0, len(file)
	status := http.StatusOK
	w.Header().Set("Content-Type", "application/octet-stream")
	if o.extension != "" {
		w.Header().Set("fileExtension", o.extension)
	}
	if ask := r.Header.Get("Range"); ask != "" && !o.noRange {
		_, _ = fmt.Sscanf(ask, "bytes=%d-", &start)
		if start >= len(file) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		if o.pieces > 0 {
			end = min(end, start+o.pieces)
		}
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, len(file)))
	}
	if !o.chunked {
		w.Header().Set("Content-Length", strconv.Itoa(end-start))
	}
	if o.mangle != nil {
		o.mangle(w.Header())
	}
	w.WriteHeader(status)
	if n <= len(o.cutAt) && o.cutAt[n-1] < end {
		_, _ = w.Write(file[start:max(start, o.cutAt[n-1])])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(file[start:end])
}

// twoSteps is the v1 protocol with links as an environment behind a gateway
// writes them: another host, http, without the prefix.
func twoSteps(o *outlet) *outlet {
	var polls atomic.Int32
	o.bytesAt = v1Bytes
	o.steps = map[string]func(http.ResponseWriter, *http.Request){
		v1Contents: func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 200, `{"status":-1,"details":null,"links":[{"rel":"self","href":"x"},{"rel":"Job Status","href":"http://inner:7001`+v1Job+`"}]}`)
		},
		v1Job: func(w http.ResponseWriter, _ *http.Request) {
			if polls.Add(1) == 1 {
				reply(w, 200, `{"status":"-1","links":[{"rel":"job status","href":" http://inner:7001`+v1Job+`"}]}`)
				return
			}
			reply(w, 200, `{"status":"0","links":[{"rel":"Download link","href":"http://inner:7001`+v1Bytes+`"}]}`)
		},
	}
	return o
}

func download(t *testing.T, o *outlet) ([]byte, epm.Downloaded, *server, error) {
	t.Helper()
	s := newServer(t, o.ServeHTTP)
	var b bytes.Buffer
	last := int64(0)
	got, err := newClient(t, s).Download(t.Context(), "inbox/a b.zip", &b, func(received int64) {
		if received <= last {
			t.Errorf("progress fell from %d to %d", last, received)
		}
		last = received
	})
	if err == nil && last != got.Size {
		t.Errorf("progress ended at %d of %d", last, got.Size)
	}
	return b.Bytes(), got, s, err
}

func TestDownloadTwoSteps(t *testing.T) {
	t.Parallel()
	b, got, s, err := download(t, twoSteps(&outlet{extension: "zip"}))
	if err != nil || !bytes.Equal(b, content) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	diff(t, "result", epm.Downloaded{Size: int64(len(content)), Extension: "zip"}, got)
	diff(t, "requests", []request{
		{Method: "GET", Path: v1Contents, Type: "application/x-www-form-urlencoded"},
		{Method: "GET", Path: v1Job},
		{Method: "GET", Path: v1Job},
		{Method: "GET", Path: v1Bytes},
		{Method: "GET", Path: v1Bytes, Query: url.Values{"q": {"{download:complete}"}}},
	}, s.requests())
}

// TestDownloadPaths holds which form is used when v1 is not as documented.
func TestDownloadPaths(t *testing.T) {
	t.Parallel()
	at := func(path string, f func(http.ResponseWriter)) *outlet {
		return &outlet{bytesAt: path, steps: map[string]func(http.ResponseWriter, *http.Request){
			v1Contents: func(w http.ResponseWriter, _ *http.Request) { f(w) },
		}}
	}
	tests := map[string]*outlet{
		"no v1":        at(directContents, func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }),
		"no v1, page":  at(directContents, func(w http.ResponseWriter) { reply(w, 404, "<html>") }),
		"no GET on v1": at(directContents, func(w http.ResponseWriter) { w.WriteHeader(http.StatusMethodNotAllowed) }),
		"no link":      at(directContents, func(w http.ResponseWriter) { reply(w, 200, `{"status":0,"links":[]}`) }),
		"link at once": at(v1Bytes, func(w http.ResponseWriter) {
			reply(w, 200, `{"status":"0","links":{"Download link":{"href":"https://inner`+v1Bytes+`"}}}`)
		}),
		"bytes at once":      {bytesAt: v1Contents},
		"bytes at once, cut": {bytesAt: v1Contents, cutAt: []int{1000}},
	}
	for name, o := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _, _, err := download(t, o)
			if err != nil || !bytes.Equal(b, content) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
}

func TestDownloadResumes(t *testing.T) {
	t.Parallel()
	direct := func(o *outlet) *outlet { o.bytesAt = directContents; return o }
	tests := map[string]struct {
		o       *outlet
		answers int32
	}{
		"one cut":                   {twoSteps(&outlet{cutAt: []int{70000}}), 2},
		"many cuts":                 {twoSteps(&outlet{cutAt: []int{1, 2, 70000, 70001, 200000, 300000}}), 7},
		"cuts that bring nothing":   {twoSteps(&outlet{cutAt: []int{5000, 0, 0, 0, 9000, 0, 0, 0}}), 9},
		"cut without a length":      {twoSteps(&outlet{cutAt: []int{70000}, chunked: true}), 2},
		"cut, ranges ignored":       {twoSteps(&outlet{cutAt: []int{70000, 100, 90000}, noRange: true}), 4},
		"pieces":                    {twoSteps(&outlet{cutAt: []int{10}, pieces: 100000}), 5},
		"first generation":          {direct(&outlet{cutAt: []int{70000}}), 2},
		"first generation, ignores": {direct(&outlet{cutAt: []int{70000}, noRange: true, chunked: true}), 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, got, _, err := download(t, tt.o)
			if err != nil || !bytes.Equal(b, content) || got.Size != int64(len(content)) {
				t.Errorf("%d bytes, %+v, %v", len(b), got, err)
			}
			if n := tt.o.served.Load(); n != tt.answers {
				t.Errorf("fetched in %d answers; want %d", n, tt.answers)
			}
		})
	}
}

func TestDownloadGivesUp(t *testing.T) {
	t.Parallel()
	grown := func(b []byte, n int) []byte { return append(bytes.Repeat([]byte{'x'}, n), b...) }
	other := func(b []byte, n int) []byte { return append([]byte(strconv.Itoa(n)), b[1:]...) }
	header := func(name, value string) func(http.Header) {
		return func(h http.Header) { h.Set(name, value) }
	}
	tests := map[string]struct {
		o    *outlet
		kind oracle.Kind
		text string
	}{
		"no progress":            {twoSteps(&outlet{cutAt: []int{9, 9, 9, 9, 9, 9, 9, 9, 9, 9}}), oracle.KindUnavailable, "unexpected EOF"},
		"grown meanwhile":        {twoSteps(&outlet{cutAt: []int{9}, change: grown}), oracle.KindProtocol, "changed between"},
		"other bytes meanwhile":  {twoSteps(&outlet{cutAt: []int{9}, change: other, noRange: true}), oracle.KindProtocol, "changed between"},
		"shrunk below the cut":   {twoSteps(&outlet{cutAt: []int{70000}, chunked: true, noRange: true, change: func(b []byte, n int) []byte { return b[:len(b)/n/n/n] }}), oracle.KindProtocol, "changed between"},
		"range from elsewhere":   {twoSteps(&outlet{cutAt: []int{9}, mangle: header("Content-Range", "bytes 5-10/307200")}), oracle.KindProtocol, "asked for bytes from 0, got them from 5"},
		"range without sense":    {twoSteps(&outlet{mangle: header("Content-Range", "pages 1-2")}), oracle.KindProtocol, "cannot be read"},
		"range beyond any file":  {twoSteps(&outlet{mangle: header("Content-Range", "bytes 0-1/99999999999999999999")}), oracle.KindProtocol, "cannot be read"},
		"more than announced":    {twoSteps(&outlet{mangle: header("Content-Range", "bytes 0-9/10")}), oracle.KindProtocol, "307200 bytes came where 10 were announced"},
		"part without its range": {twoSteps(&outlet{cutAt: []int{9}, mangle: func(h http.Header) { h.Del("Content-Range") }}), oracle.KindProtocol, "does not say which"},
		"page for a file":        {twoSteps(&outlet{mangle: header("Content-Type", "text/html")}), oracle.KindUnavailable, "web page"},
		"json for a file":        {twoSteps(&outlet{mangle: header("Content-Type", "application/json")}), oracle.KindUnavailable, "not JSON"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, _, err := download(t, tt.o)
			if e := asError(t, err); e.Kind != tt.kind || !strings.Contains(e.Error(), tt.text) {
				t.Errorf("error is %v, kind %s; want %s, %q", e, e.Kind, tt.kind, tt.text)
			}
		})
	}
}

// TestDownloadAnswers holds what JSON says in place of a file.
func TestDownloadAnswers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		v1, direct string // the bodies; "" is 404
		kind       oracle.Kind
	}{
		"missing":                {`{"status":1,"details":"Invalid file : inbox/a b.zip"}`, "", oracle.KindNotFound},
		"missing, old":           {"", `{"status":"1","details":"Not a valid file."}`, oracle.KindNotFound},
		"missing, both 404":      {"", "", oracle.KindNotFound},
		"refused":                {`{"status":9,"details":"no role"}`, "", oracle.KindRefused},
		"refused, old":           {"", `{"status":9,"details":"no role"}`, oracle.KindRefused},
		"json for no reason":     {"", `{"status":0}`, oracle.KindProtocol},
		"running without a link": {`{"status":-1,"links":null}`, "", oracle.KindProtocol},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				body := tt.direct
				if r.URL.Path == v1Contents {
					body = tt.v1
				}
				if body == "" {
					reply(w, 404, `{"detail":"no such resource"}`)
					return
				}
				reply(w, 200, body)
			})
			_, err := newClient(t, s).Download(t.Context(), "inbox/a b.zip", io.Discard, nil)
			if e := asError(t, err); e.Kind != tt.kind {
				t.Errorf("error is %v, kind %s; want %s", e, e.Kind, tt.kind)
			}
		})
	}
}

// full takes so many bytes and then no more.
type full struct {
	left int
	err  error
}

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	if n < len(p) {
		return n, f.err
	}
	return n, nil
}

func TestDownloadWriterFails(t *testing.T) {
	t.Parallel()
	fire := errors.New("disk is full")
	for _, left := range []int{0, 5000, len(content) - 1} {
		for _, cause := range []error{fire, nil} {
			o := twoSteps(&outlet{})
			s := newServer(t, o.ServeHTTP)
			_, err := newClient(t, s).Download(t.Context(), "inbox/a b.zip", &full{left, cause}, nil)
			want := cause
			if cause == nil {
				want = io.ErrShortWrite
			}
			if !errors.Is(err, want) || o.served.Load() != 1 || !strings.HasPrefix(err.Error(), `download "inbox/a b.zip": write: `) {
				t.Errorf("left %d: %v after %d answers", left, err, o.served.Load())
			}
		}
	}
}

func TestDownloadCancelled(t *testing.T) {
	t.Parallel()
	t.Run("while polling", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		o := twoSteps(&outlet{})
		o.steps[v1Job] = func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 200, `{"status":-1}`)
			time.AfterFunc(10*time.Millisecond, cancel)
		}
		_, err := newClient(t, newServer(t, o.ServeHTTP)).Download(ctx, "inbox/a b.zip", io.Discard, nil)
		if oracle.KindOf(err) != oracle.KindCancelled || !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("while bytes come", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "begin")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		_, err := newClient(t, s).Download(ctx, "inbox/a b.zip", io.Discard, func(int64) { cancel() })
		if oracle.KindOf(err) != oracle.KindCancelled || !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("before going on", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		o := twoSteps(&outlet{cutAt: []int{9, 9, 9}, mangle: func(http.Header) { time.AfterFunc(30*time.Millisecond, cancel) }})
		_, err := newClient(t, newServer(t, o.ServeHTTP)).Download(ctx, "inbox/a b.zip", io.Discard, nil)
		if oracle.KindOf(err) != oracle.KindCancelled || !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})
}
