package web_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"longhaul/api/web"
)

func static(t *testing.T, path, encoding string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", encoding)
	w := httptest.NewRecorder()
	web.Static(w, r)
	return w.Result()
}

func TestStaticFilesMayBeKeptForGood(t *testing.T) {
	t.Parallel()
	d := render(t, web.DocsPage(web.Frame{}))
	for _, link := range append(d.tags("link"), d.tags("script")...) {
		path := attr(link, "href") + attr(link, "src")
		plain, packed := static(t, path, ""), static(t, path, "br, gzip")
		want, err := io.ReadAll(plain.Body)
		if err != nil || plain.StatusCode != http.StatusOK || !strings.Contains(plain.Header.Get("Cache-Control"), "immutable") {
			t.Fatalf("%s: %d %v", path, plain.StatusCode, plain.Header)
		}
		if packed.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s is not sent packed", path)
		}
		unpacked, err := gzip.NewReader(packed.Body)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(unpacked); err != nil || string(got) != string(want) {
			t.Errorf("%s is another file when packed (%v)", path, err)
		}
		if plain.Header.Get("Content-Type") == "" || strings.HasPrefix(plain.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s is sent as %q", path, plain.Header.Get("Content-Type"))
		}
	}
}

func TestStaticFilesAreFoundByTheirDigestOnly(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/static/app.css", "/static/", "/static/../go.mod", "/static/app.000000000000.css"} {
		if got := static(t, path, "").StatusCode; got != http.StatusNotFound {
			t.Errorf("%s: %d", path, got)
		}
	}
}

// What every page loads must stay small; the page for the API is for developers, who wait for
// its viewer once.
func TestPagesAreLight(t *testing.T) {
	t.Parallel()
	const limit = 45_000 // bytes on the wire
	d := render(t, web.TasksPage(web.Frame{User: "ann"}, &web.TaskList{Now: now}))
	total := 0
	for _, link := range append(d.tags("link"), d.tags("script")...) {
		body, err := io.ReadAll(static(t, attr(link, "href")+attr(link, "src"), "gzip").Body)
		if err != nil {
			t.Fatal(err)
		}
		total += len(body)
	}
	if total > limit {
		t.Errorf("a page loads %d bytes, more than %d", total, limit)
	}
	t.Logf("a page loads %d bytes", total)
}
