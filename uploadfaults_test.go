package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	faultKills = 100
	// faultUploads is how many uploads are under way at a time.
	faultUploads = 3
	faultSize    = 3 << 20
	faultChunk   = 512 << 10
)

// TestUploadFaults sends uploads through a proxy that cuts, slows, reorders and repeats requests,
// to a server that is killed at seeded random instants. Every upload ends with the bytes that its
// client has, or can be gone on with: there is no third outcome.
func TestUploadFaults(t *testing.T) {
	t.Parallel()
	w := newCrashWorld(t)
	w.program = buildProgram(t)
	proxy := newFaultyProxy(t, w.addr, crashSeed)
	random := rand.New(rand.NewPCG(crashSeed, 1))
	stop := make(chan struct{})
	var finished atomic.Int64
	var clients sync.WaitGroup
	for i := range faultUploads {
		clients.Go(func() {
			for n := 0; ; n++ {
				u := &faultUpload{
					t: t, base: proxy.URL, token: w.token, data: randomBytes(faultSize + i*1000 + n), chunk: faultChunk,
					random: rand.New(rand.NewPCG(uint64(i), uint64(n))),
				}
				u.send()
				finished.Add(1)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range faultKills {
		server := w.start(t)
		if random.IntN(4) > 0 {
			w.waitReady()
		}
		time.Sleep(min(time.Duration(random.ExpFloat64()*float64(250*time.Millisecond)), time.Second))
		server.kill(t)
	}
	close(stop)
	server := w.start(t)
	clients.Wait()
	server.terminate(t)
	t.Logf("%d uploads came whole through %d kills; the proxy: %s", finished.Load(), faultKills, &proxy.did)
	if finished.Load() < faultUploads {
		t.Error("too few uploads ended to tell anything")
	}
}

func randomBytes(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(data) // never fails
	return data
}

// faultUpload is one upload by tus 1.0, by a client that never gives up.
type faultUpload struct {
	t           *testing.T
	base, token string
	data        []byte
	chunk       int64 // the largest piece that is sent at once
	random      *rand.Rand
	address     string
}

// errAgain means that nothing is known of what came of a request.
var errAgain = errors.New("no answer, or none that counts")

var faultClient = &http.Client{Timeout: 20 * time.Second}

func (u *faultUpload) send() {
	deadline := time.Now().Add(3 * time.Minute)
	for offset := int64(-1); offset < int64(len(u.data)); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			u.t.Errorf("%s cannot be gone on with from byte %d", u.address, offset)
			return
		}
		var err error
		switch {
		case u.address == "":
			err = u.create()
		case offset < 0:
			offset, err = u.head()
		default:
			offset, err = u.patch(offset)
		}
		if err != nil {
			offset = -1
		}
		if err != nil && !errors.Is(err, errAgain) {
			u.t.Errorf("upload %s: %v", u.address, err)
			return
		}
	}
	u.waitFinished(deadline)
}

func (u *faultUpload) do(method, address string, body []byte, header map[string]string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(u.t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+u.token)
	req.Header.Set("Tus-Resumable", "1.0.0")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := faultClient.Do(req)
	if err != nil {
		return nil, nil, errAgain
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 500 {
		return nil, nil, errAgain
	}
	return resp, text, nil
}

func (u *faultUpload) create() error {
	resp, text, err := u.do(http.MethodPost, u.base+"/api/v1/uploads", nil, map[string]string{
		"Upload-Length": strconv.Itoa(len(u.data)), "Upload-Metadata": "filename " + base64.StdEncoding.EncodeToString([]byte("data.bin")),
	})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("create: %d %s", resp.StatusCode, text)
	}
	location, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		return err
	}
	u.address = u.base + location.Path // by way of the proxy again
	return nil
}

func (u *faultUpload) head() (int64, error) {
	resp, text, err := u.do(http.MethodHead, u.address, nil, nil)
	if err != nil {
		return -1, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return strconv.ParseInt(resp.Header.Get("Upload-Offset"), 10, 64)
	case http.StatusConflict, http.StatusLocked: // a twin has it
		return -1, errAgain
	}
	return -1, fmt.Errorf("head: %d %s", resp.StatusCode, text)
}

func (u *faultUpload) patch(offset int64) (int64, error) {
	chunk := u.data[offset:min(offset+1+u.random.Int64N(u.chunk), int64(len(u.data)))]
	header := map[string]string{"Upload-Offset": strconv.FormatInt(offset, 10), "Content-Type": "application/offset+octet-stream"}
	if u.random.IntN(2) == 0 {
		sum := sha256.Sum256(chunk)
		header["Upload-Checksum"] = "sha256 " + base64.StdEncoding.EncodeToString(sum[:])
	}
	resp, text, err := u.do(http.MethodPatch, u.address, chunk, header)
	if err != nil {
		return -1, err
	}
	switch resp.StatusCode {
	case http.StatusNoContent:
		return strconv.ParseInt(resp.Header.Get("Upload-Offset"), 10, 64)
	case http.StatusConflict, http.StatusLocked, 460: // a twin was faster, or goes on, or was cut
		return -1, errAgain
	}
	return -1, fmt.Errorf("patch at %d: %d %s", offset, resp.StatusCode, text)
}

// waitFinished waits until the server has checked the upload, and holds its digest against the
// client's.
func (u *faultUpload) waitFinished(deadline time.Time) {
	want := sha256.Sum256(u.data)
	for ; ; time.Sleep(20 * time.Millisecond) {
		_, text, err := u.do(http.MethodGet, u.address, nil, nil)
		var upload struct {
			State, Message, SHA256 string
		}
		if err == nil {
			err = json.Unmarshal(text, &upload)
		}
		switch {
		case err == nil && upload.State == "finished":
			if upload.SHA256 != hex.EncodeToString(want[:]) {
				u.t.Errorf("%s: the digest is %s, want %x", u.address, upload.SHA256, want)
			}
			return
		case err == nil && upload.State == "failed", time.Now().After(deadline):
			u.t.Errorf("%s: %s, %v", u.address, text, err)
			return
		}
	}
}

// faultyProxy is an HTTP proxy that does to requests what a bad network does.
type faultyProxy struct {
	*httptest.Server
	target string
	did    faultCounts

	mu     sync.Mutex
	random *rand.Rand
}

type faultCounts struct{ passed, cut, unanswered, slowed, repeated, delayed atomic.Int64 }

func (c *faultCounts) String() string {
	return fmt.Sprintf("%d passed, %d cut, %d without an answer, %d slowed, %d repeated, %d delayed",
		c.passed.Load(), c.cut.Load(), c.unanswered.Load(), c.slowed.Load(), c.repeated.Load(), c.delayed.Load())
}

func newFaultyProxy(t *testing.T, addr string, seed uint64) *faultyProxy {
	t.Helper()
	p := &faultyProxy{target: addr, random: rand.New(rand.NewPCG(seed, 2))}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *faultyProxy) roll(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.random.IntN(n)
}

// ServeHTTP passes a request on, mostly.
func (p *faultyProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client gave up
	}
	switch p.roll(12) {
	case 0: // the connection to the server breaks in the middle of the request
		p.did.cut.Add(1)
		p.forward(httptest.NewRecorder(), r, io.MultiReader(bytes.NewReader(body[:p.roll(len(body)+1)]), broken{}), len(body))
		panic(http.ErrAbortHandler)
	case 1: // the answer is lost
		p.did.unanswered.Add(1)
		p.forward(httptest.NewRecorder(), r, bytes.NewReader(body), len(body))
		panic(http.ErrAbortHandler)
	case 2: // it crawls
		p.did.slowed.Add(1)
		p.forward(w, r, &crawling{bytes.NewReader(body)}, len(body))
	case 3: // it arrives twice at once
		p.did.repeated.Add(1)
		var twin sync.WaitGroup
		twin.Go(func() { p.forward(httptest.NewRecorder(), r, bytes.NewReader(body), len(body)) })
		p.forward(w, r, bytes.NewReader(body), len(body))
		twin.Wait()
	case 4: // it is given up, and arrives after those that follow it
		p.did.delayed.Add(1)
		time.AfterFunc(time.Duration(p.roll(500))*time.Millisecond, func() {
			p.forward(httptest.NewRecorder(), r, bytes.NewReader(body), len(body))
		})
		panic(http.ErrAbortHandler)
	default:
		p.did.passed.Add(1)
		p.forward(w, r, bytes.NewReader(body), len(body))
	}
}

// forward sends a request to the server, as if it came over a connection of its own.
func (p *faultyProxy) forward(w http.ResponseWriter, r *http.Request, body io.Reader, length int) {
	out := r.Clone(context.WithoutCancel(r.Context()))
	out.URL.Scheme, out.URL.Host, out.Host, out.RequestURI = "http", p.target, "", ""
	out.Body, out.ContentLength = io.NopCloser(body), int64(length)
	resp, err := faultClient.Do(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // what is lost here is lost in a bad network too
}

// broken is where a request breaks off.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// crawling gives its bytes in small pieces.
type crawling struct{ io.Reader }

func (c *crawling) Read(p []byte) (int, error) {
	time.Sleep(2 * time.Millisecond)
	return c.Reader.Read(p[:min(len(p), 16<<10)])
}
