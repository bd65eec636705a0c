package epm_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"longhaul/oracle"
	"longhaul/oracle/epm"
)

const uploadPath = "/interop/rest/v1/applicationsnapshots/inbox%2Fa%20b.zip/contents"

func chunksOf(n int64) func(*oracle.Config, *epm.Options) {
	return func(_ *oracle.Config, o *epm.Options) { o.ChunkSize = n }
}

func uploadRequest(q, body string) request {
	return request{Method: "POST", Path: uploadPath, Query: url.Values{"q": {q}}, Type: "application/octet-stream", Body: body}
}

func TestUploadProtocol(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, `{"status":"0","details":null,"links":[]}`)
	})
	var told []int64
	err := newClient(t, s, chunksOf(4)).Upload(t.Context(), "inbox/a b.zip", iotest.OneByteReader(strings.NewReader("0123456789")), 10,
		func(sent int64) { told = append(told, sent) })
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "requests", []request{
		uploadRequest(`{"isFirst":true,"isLast":false,"chunkSize":14,"fileSize":"10"}`, ""),
		uploadRequest(`{"isFirst":false,"isLast":false,"chunkSize":4,"fileSize":"10","startRange":"0","endRange":"3","chunkNo":1}`, "0123"),
		uploadRequest(`{"isFirst":false,"isLast":false,"chunkSize":4,"fileSize":"10","startRange":"4","endRange":"7","chunkNo":2}`, "4567"),
		uploadRequest(`{"isFirst":false,"isLast":false,"chunkSize":2,"fileSize":"10","startRange":"8","endRange":"9","chunkNo":3}`, "89"),
		uploadRequest(`{"isFirst":false,"isLast":true,"chunkSize":14,"fileSize":"10"}`, ""),
	}, s.requests())
	diff(t, "progress", []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, told)
}

func TestUploadEmptyFile(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, `{"status":0}`) })
	if err := newClient(t, s).Upload(t.Context(), "inbox/a b.zip", strings.NewReader(""), 0, nil); err != nil {
		t.Fatal(err)
	}
	diff(t, "requests", []request{
		uploadRequest(`{"isFirst":true,"isLast":false,"chunkSize":14,"fileSize":"0"}`, ""),
		uploadRequest(`{"isFirst":false,"isLast":true,"chunkSize":14,"fileSize":"0"}`, ""),
	}, s.requests())
}

// unpacking ends an upload with status -1 and lets the test answer the polls.
func unpacking(t *testing.T, poll func(w http.ResponseWriter, number int32)) *server {
	t.Helper()
	var polls atomic.Int32
	return newServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet && r.URL.Path == "/interop/rest/v1/services/jobs/1234567890123456":
			poll(w, polls.Add(1))
		case r.Method == http.MethodPost && strings.Contains(r.URL.Query().Get("q"), `"isLast":true`):
			reply(w, 200, `{"status":-1,"details":null,"links":[{"rel":"self","href":"x"},
				{"rel":"Job' 'Status","href":" http://inner:443/interop/rest/v1/services/jobs/1234567890123456","action":"GET"}]}`)
		default:
			reply(w, 200, `{"status":0}`)
		}
	})
}

func TestUploadWaitsForUnpacking(t *testing.T) {
	t.Parallel()
	s := unpacking(t, func(w http.ResponseWriter, number int32) {
		switch number {
		case 1: // no links this time: the first one still holds
			reply(w, 200, `{"status":"-1","links":null}`)
		case 2:
			reply(w, 404, `<html>maintenance`)
		case 3:
			reply(w, 500, `{"detail":"starting"}`)
		default:
			reply(w, 200, `{"status":0,"links":null}`)
		}
	})
	if err := newClient(t, s).Upload(t.Context(), "s.zip", strings.NewReader("zip"), 3, nil); err != nil {
		t.Fatal(err)
	}
}

func TestUploadUnpackingFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		poll string
		kind oracle.Kind
		text string
	}{
		{"told", `{"status":1,"details":"not a snapshot"}`, oracle.KindRefused, "not a snapshot"},
		{"never ends", `{"status":-1}`, oracle.KindUnavailable, "was not done within 30ms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := unpacking(t, func(w http.ResponseWriter, _ int32) { reply(w, 200, tt.poll) })
			c := newClient(t, s, func(_ *oracle.Config, o *epm.Options) {
				if tt.kind == oracle.KindUnavailable {
					o.PollLimit = 30e6
				}
			})
			err := c.Upload(t.Context(), "s.zip", strings.NewReader("zip"), 3, nil)
			if e := asError(t, err); e.Kind != tt.kind || !strings.Contains(e.Message, tt.text) || !e.MayHaveHappened {
				t.Errorf("error is %v, kind %s", e, e.Kind)
			}
		})
	}
}

func TestUploadFails(t *testing.T) {
	t.Parallel()
	fire := errors.New("disk on fire")
	tests := []struct {
		name   string
		src    io.Reader
		size   int64
		fail   string // the q of the request that fails
		kind   oracle.Kind
		happen bool
		asked  int
	}{
		{"name is taken", strings.NewReader("0123456789"), 10, `"isFirst":true`, oracle.KindRefused, false, 1},
		{"second chunk", strings.NewReader("0123456789"), 10, `"chunkNo":2`, oracle.KindRefused, true, 3},
		{"last", strings.NewReader("0123456789"), 10, `"isLast":true`, oracle.KindRefused, true, 5},
		{"source too short", strings.NewReader("01234"), 10, "-", oracle.KindRequest, true, 3},
		{"source too long", strings.NewReader("0123456789+"), 10, "-", oracle.KindRequest, true, 4},
		{"source breaks", io.MultiReader(strings.NewReader("01234"), iotest.ErrReader(fire)), 10, "-", oracle.KindRequest, true, 3},
		{"source breaks after the end", io.MultiReader(strings.NewReader("0123456789"), iotest.ErrReader(fire)), 10, "-", oracle.KindRequest, true, 4},
		{"negative size", strings.NewReader(""), -1, "-", oracle.KindRequest, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Query().Get("q"), tt.fail) {
					reply(w, 200, `{"status":1,"details":"File already exists"}`)
					return
				}
				reply(w, 200, `{"status":0}`)
			})
			err := newClient(t, s, chunksOf(4)).Upload(t.Context(), "a.zip", tt.src, tt.size, nil)
			if e := asError(t, err); e.Kind != tt.kind || e.MayHaveHappened != tt.happen {
				t.Errorf("error is %v, kind %s, may have happened %v", e, e.Kind, e.MayHaveHappened)
			}
			if n := len(s.requests()); n != tt.asked && n != tt.asked-1 { // a chunk that broke off may not have been seen
				t.Errorf("asked %d times; want %d", n, tt.asked)
			}
		})
	}
}

// TestUploadIsNotRepeated: one chunk lost is the whole upload's end, since
// sending it again might store it twice.
func TestUploadIsNotRepeated(t *testing.T) {
	t.Parallel()
	var chunks atomic.Int32
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Query().Get("q"), "chunkNo") && chunks.Add(1) == 2 {
			panic(http.ErrAbortHandler)
		}
		reply(w, 200, `{"status":0}`)
	})
	err := newClient(t, s, chunksOf(4)).Upload(t.Context(), "a.zip", strings.NewReader("0123456789"), 10, nil)
	if e := asError(t, err); e.Kind != oracle.KindUnavailable || !e.MayHaveHappened || chunks.Load() != 2 {
		t.Errorf("error is %v after %d chunks", e, chunks.Load())
	}
}

// TestTransfersHoldNoFile moves far more than may be held. It is not parallel:
// what it measures is the whole process's.
func TestTransfersHoldNoFile(t *testing.T) {
	const size, most = 120 << 20, 16 << 20
	s := newServer(t, nil)
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Content-Length", strconv.Itoa(size))
			_, _ = io.CopyN(w, zeros{}, size)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		reply(w, 200, `{"status":0}`)
	})
	c := newClient(t, s)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := c.Upload(t.Context(), "a.zip", io.LimitReader(zeros{}, size), size, nil); err != nil {
		t.Error(err)
	}
	if got, err := c.Download(t.Context(), "a.zip", io.Discard, nil); err != nil || got.Size != size {
		t.Errorf("downloaded %d bytes, %v", got.Size, err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > most {
		t.Errorf("allocated %d bytes for twice %d", n, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
