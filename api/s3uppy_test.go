package api_test

import (
	"context"
	"embed"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/chromedp/chromedp"

	"longhaul/api/npmtest"
)

// Files go straight to the bucket with Uppy, as npm has it, in a real browser.

//go:embed testdata/uppy-s3
var uppyS3 embed.FS

// uppyS3Page is a page with both versions of Uppy: the one of now in one piece as web apps have it,
// and the one before as it is put on pages. All else is asked of api.
func uppyS3Page(t *testing.T, api http.Handler) http.Handler {
	t.Helper()
	modules := npmtest.Install(t, uppyS3, "testdata/uppy-s3")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := modules.Program(ctx, "esbuild", "--bundle", "--format=iife", "--global-name=lib", "--target=es2022")
	cmd.Stdin = strings.NewReader(`export {default as Uppy} from "@uppy/core"; export {default as AwsS3} from "@uppy/aws-s3"`)
	cmd.Stderr = t.Output()
	now, err := cmd.Output()
	must(t, err)
	before, err := os.ReadFile(modules.Path("uppy5", "dist", "uppy.min.js"))
	must(t, err)
	page, err := uppyS3.ReadFile("testdata/uppy-s3/uppy.html")
	must(t, err)
	mux := http.NewServeMux()
	for path, file := range map[string]struct {
		mediaType string
		bytes     []byte
	}{"/app": {"text/html", page}, "/uppy.js": {"text/javascript", now}, "/uppy5.js": {"text/javascript", before}} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", file.mediaType)
			_, _ = w.Write(file.bytes) // the browser has gone, else
		})
	}
	mux.Handle("/", api)
	return mux
}

// allow lets pages of an origin send to the bucket, as docs/operations.md says.
func (b *bucketSite) allow(origin string) {
	b.t.Helper()
	_, err := b.client.PutBucketCors(b.t.Context(), &s3.PutBucketCorsInput{Bucket: &b.bucket, CORSConfiguration: &types.CORSConfiguration{
		CORSRules: []types.CORSRule{{
			AllowedOrigins: []string{origin}, AllowedMethods: []string{"GET", "PUT", "POST"}, AllowedHeaders: []string{"*"},
			ExposeHeaders: []string{"ETag", "Location"}, MaxAgeSeconds: aws.Int32(3600),
		}},
	}})
	must(b.t, err)
}

// TestUppyToBucket sends files with Uppy: now from a page of this server's own origin, whose cookie
// signs it in, and before, when it could send a token, from a page of another.
func TestUppyToBucket(t *testing.T) {
	t.Parallel()
	var here http.Handler
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { here.ServeHTTP(w, r) }))
	t.Cleanup(app.Close)
	b := newBucketSite(t, func(c *config) { c.api.Origins = []string{app.URL} })
	b.allow(app.URL)
	api, err := url.Parse(b.url)
	must(t, err)
	here = uppyS3Page(t, &httputil.ReverseProxy{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(api)
		r.Out.Host = r.In.Host
	}})
	browser := startBrowser(t)
	now := fmt.Sprintf("{companionEndpoint: %s, shouldUseMultipart: true}", quote(app.URL+uploadsPath))
	before := fmt.Sprintf("{endpoint: %s, headers: {Authorization: %s}, shouldUseMultipart: true}", quote(b.url+uploadsPath), quote("Bearer "+adminToken))
	const size, parts = 33<<20 + 4711, 7
	for name, test := range map[string]struct {
		plugin, options string
		size, parts     int
		paused          bool
	}{
		"now":                {"lib", now, size, parts, false},
		"now, paused":        {"lib", now, size, parts, true},
		"now, as a whole":    {"lib", strings.Replace(now, "true", "false", 1), 3<<20 + 4711, 0, false},
		"before":             {"Uppy", before, size, parts, false},
		"before, paused":     {"Uppy", before, size, parts, true},
		"before, as a whole": {"Uppy", strings.Replace(before, "true", "false", 1), 3<<20 + 4711, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := openSite(browser, t, b.in(t))
			s.steps(chromedp.Navigate(app.URL + "/sign-in?token=" + adminToken))
			s.steps(chromedp.Navigate(app.URL + "/app"))
			digest := js[string](s, fmt.Sprintf("start(%s, %s, {app: 'plain', size: %d}, %d)", test.plugin, test.options, test.size, test.size))
			if test.paused {
				s.until("uploaded > 1 || failure")
				s.run("uppy.pauseAll()")
				s.run("uppy.resumeAll()")
			}
			s.until("result || failure")
			if failure := js[string](s, "failure"); failure != "" {
				t.Fatal(failure)
			}
			if n := js[int](s, "uploaded"); n != test.parts && !test.paused {
				t.Errorf("%d parts", n)
			}
			path := uploadPath(js[string](s, "id()"))
			if test.paused && s.ended(path).State == "failed" {
				// The gateway keeps a part of which the rest did not come, and Uppy takes it for whole.
				// That is found, and told; never is something else taken for the file.
				s.finished(path, "failed")
				return
			}
			u := s.finished(path, "finished")
			if u.SHA256 == nil || *u.SHA256 != digest || u.Filename != "Übersicht.bin" || *u.App != "plain" {
				t.Errorf("got %+v, want the digest %s", u, digest)
			}
		})
	}
}
