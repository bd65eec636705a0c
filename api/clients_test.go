package api_test

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/chromedp/chromedp"

	"longhaul/api/npmtest"
)

// Uploads are sent here by clients that others wrote, as npm has them.

//go:embed testdata/upload-clients
var uploadClients embed.FS

func installClients(t testing.TB) *npmtest.Modules {
	t.Helper()
	return npmtest.Install(t, uploadClients, "testdata/upload-clients")
}

// clientFile is larger than a client's chunk, and no multiple of it.
const (
	clientFileSize = 20<<20 + 4711
	clientChunk    = 4 << 20
)

// nodeTus is tus-js-client, each time in a new process.
type nodeTus struct {
	*server
	modules      *npmtest.Modules
	script, file string
	digest       string
	draft        bool // of the IETF's is spoken, in place of tus
}

func newNodeTus(t *testing.T) *nodeTus {
	t.Helper()
	n := &nodeTus{server: newServer(t), modules: installClients(t), script: filepath.Join(t.TempDir(), "tus.mjs"), file: filepath.Join(t.TempDir(), "export.bin")}
	script, err := uploadClients.ReadFile("testdata/upload-clients/tus.mjs")
	must(t, err)
	must(t, os.WriteFile(n.script, script, 0o600))
	content := noise(t, clientFileSize)
	must(t, os.WriteFile(n.file, []byte(content), 0o600))
	n.digest = hexSum(content)
	return n
}

// in is the client for a subtest.
func (n *nodeTus) in(t *testing.T) *nodeTus {
	sub := *n
	sub.server = n.server.in(t)
	return &sub
}

// told is what the client says of an upload.
type told struct {
	URL       string `json:"url"`
	ResumedAt int    `json:"resumed_at"` // byte
	Requests  int    `json:"requests"`
}

// send sends the file to its end, or until so many bytes have been sent.
func (n *nodeTus) send(until int, options object) told {
	n.t.Helper()
	options["endpoint"] = n.url + uploadsPath
	options["headers"] = object{"Authorization": "Bearer " + adminToken}
	options["metadata"] = object{"filename": "März.bin", "filetype": "application/octet-stream"}
	argument, err := json.Marshal(object{
		"module": n.modules.Path("tus-js-client", "lib.esm", "node", "index.js"), "file": n.file, "options": options, "until": until,
	})
	must(n.t, err)
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	cmd := n.modules.Node(ctx, n.script, string(argument))
	cmd.Stderr = n.t.Output()
	out, err := cmd.Output()
	if err != nil {
		n.t.Fatalf("tus-js-client: %v: %s", err, out)
	}
	var what told
	must(n.t, json.Unmarshal(out, &what))
	return what
}

// wantWhole checks that the server has the file that the client has.
func (n *nodeTus) wantWhole(what told) {
	n.t.Helper()
	path, ours := strings.CutPrefix(what.URL, n.url)
	if !ours {
		n.t.Fatalf("the client was led to %q", what.URL)
	}
	u := n.finished(path, "finished")
	if u.SHA256 == nil || *u.SHA256 != n.digest {
		n.t.Errorf("got %+v, want the digest %s", u, n.digest)
	}
	if u.Filename != "März.bin" && !n.draft { // the drafts have no place for it
		n.t.Errorf("it is named %q", u.Filename)
	}
}

func TestTusJSClient(t *testing.T) {
	t.Parallel()
	n := newNodeTus(t)
	chunks := (clientFileSize + clientChunk - 1) / clientChunk
	for name, c := range map[string]struct {
		options  object
		requests int
	}{
		"at once":          {object{}, 2},
		"in chunks":        {object{"chunkSize": clientChunk}, 1 + chunks},
		"with creation":    {object{"chunkSize": clientChunk, "uploadDataDuringCreation": true}, chunks},
		"size told late":   {object{"chunkSize": clientChunk, "uploadLengthDeferred": true}, 1 + chunks},
		"in parallel":      {object{"parallelUploads": 3}, 3*2 + 1},
		"draft 03":         {object{"protocol": "ietf-draft-03"}, 2},
		"draft 03, chunks": {object{"protocol": "ietf-draft-03", "chunkSize": clientChunk}, 1 + chunks},
		"draft 05":         {object{"protocol": "ietf-draft-05"}, 2},
		"draft 05, chunks": {object{"protocol": "ietf-draft-05", "chunkSize": clientChunk}, 1 + chunks},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := n.in(t)
			n.draft = c.options["protocol"] != nil
			what := n.send(0, c.options)
			n.wantWhole(what)
			if what.Requests != c.requests {
				t.Errorf("%d requests, want %d", what.Requests, c.requests)
			}
		})
	}
}

// A client that knows nothing but the address goes on where another was cut off.
func TestTusJSClientGoesOn(t *testing.T) {
	t.Parallel()
	n := newNodeTus(t)
	for _, protocol := range []string{"tus-v1", "ietf-draft-03", "ietf-draft-05"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			n := n.in(t)
			n.draft = protocol != "tus-v1"
			cut := n.send(2*clientChunk, object{"chunkSize": clientChunk, "protocol": protocol})
			goneOn := n.send(0, object{"protocol": protocol, "uploadUrl": cut.URL})
			if goneOn.ResumedAt < 2*clientChunk || goneOn.ResumedAt >= clientFileSize {
				t.Errorf("it went on at byte %d", goneOn.ResumedAt)
			}
			n.wantWhole(goneOn)
		})
	}
}

// TestUppy sends a file with Uppy from a web app of another origin, with a token, and pauses it.
func TestUppy(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(uppyPage(t, installClients(t)))
	t.Cleanup(app.Close)
	s := newSite(startBrowser(t), t, func(c *config) { c.api.Origins = []string{app.URL} })
	s.steps(chromedp.Navigate(app.URL))
	digest := js[string](s, fmt.Sprintf("start({endpoint: %s, headers: {Authorization: %s}, chunkSize: %d}, %d)",
		quote(s.url+uploadsPath), quote("Bearer "+adminToken), clientChunk, clientFileSize))
	s.until("sent > 0")
	s.run("uppy.pauseAll()")
	sent := js[int](s, "sent")
	s.run("uppy.resumeAll()")
	s.until("result || failure")
	if failure := js[string](s, "failure"); failure != "" || sent >= clientFileSize {
		t.Fatalf("after %d bytes: %s", sent, failure)
	}
	u := s.finished(strings.TrimPrefix(js[string](s, "result.successful[0].uploadURL"), s.url), "finished")
	if u.SHA256 == nil || *u.SHA256 != digest || u.Filename != "Übersicht.bin" {
		t.Errorf("got %+v, want the digest %s", u, digest)
	}
}

// uppyPage is a page with Uppy, in one piece as web apps have it.
func uppyPage(t *testing.T, modules *npmtest.Modules) http.Handler {
	t.Helper()
	page, err := uploadClients.ReadFile("testdata/upload-clients/uppy.html")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := modules.Program(ctx, "esbuild", "--bundle", "--format=iife", "--global-name=lib", "--target=es2022")
	cmd.Stdin = strings.NewReader(`export {default as Uppy} from "@uppy/core"; export {default as Tus} from "@uppy/tus"`)
	cmd.Stderr = t.Output()
	script, err := cmd.Output()
	must(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write(page) // the browser has gone, else
	})
	mux.HandleFunc("GET /uppy.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(script) // likewise
	})
	return mux
}

// TestAWSSDK downloads a file with the parts of AWS's SDK for Go: its HTTP client asks the address
// that the server signed, in ranges, and its S3 client asks for the object.
func TestAWSSDK(t *testing.T) {
	t.Parallel()
	b := newBucketSite(t, func(c *config) { c.jobs.SignedDownloads = true })
	content := noise(t, clientFileSize)
	u := b.uploaded(content)
	b.addFile(object{"path": "März.bin", "upload": u.ID}).want(http.StatusCreated)
	a := b.get(fileURL("plain", "März.bin")).want(http.StatusTemporaryRedirect)
	signed, err := url.Parse(a.header.Get("Location"))
	must(t, err)

	var parts strings.Builder
	client := awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) { tr.DisableKeepAlives = true })
	for at := 0; at < clientFileSize; at += clientChunk {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, signed.String(), http.NoBody)
		must(t, err)
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", at, at+clientChunk-1))
		resp, err := client.Do(req)
		must(t, err)
		_, err = io.Copy(&parts, resp.Body)
		must(t, errors.Join(err, resp.Body.Close()))
		if resp.StatusCode != http.StatusPartialContent {
			t.Fatalf("from byte %d: %s", at, resp.Status)
		}
		if got := resp.Header.Get("Content-Disposition"); got != `attachment; filename="Marz.bin"; filename*=UTF-8''M%C3%A4rz.bin` {
			t.Fatalf("it is named %s", got)
		}
	}
	if parts.String() != content {
		t.Errorf("the ranges together are not the file: %d bytes", parts.Len())
	}

	key := strings.TrimPrefix(signed.Path, "/"+b.bucket+"/")
	object, err := b.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &b.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
	must(t, err)
	whole, err := io.ReadAll(object.Body)
	must(t, errors.Join(err, object.Body.Close()))
	if string(whole) != content {
		t.Errorf("the object is not the file: %d bytes", len(whole))
	}
}
