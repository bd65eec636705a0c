package tus

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	old "golang.org/x/exp/slog"
)

const helloSHA256 = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="

func TestParseDigests(t *testing.T) {
	t.Parallel()
	sum := hashes["sha-256"]()
	sum.Write([]byte("hello"))
	hello := map[string][]byte{"sha-256": sum.Sum(nil)}
	for name, test := range map[string]struct {
		fields []string
		want   map[string][]byte // nil: refused
	}{
		"none":           {nil, map[string][]byte{}},
		"one":            {[]string{"sha-256=:" + helloSHA256 + ":"}, hello},
		"among others":   {[]string{"md5=:AAAA:, sha-256=:" + helloSHA256 + ":;q=1, id=5"}, hello},
		"in two fields":  {[]string{"unixsum=3", " sha-256=:" + helloSHA256 + ":"}, hello},
		"no colons":      {[]string{"sha-256=" + helloSHA256}, nil},
		"one colon":      {[]string{"sha-256=:" + helloSHA256}, nil},
		"too short":      {[]string{"sha-256=:AAAA:"}, nil},
		"no Base64":      {[]string{"sha-512=:?:"}, nil},
		"without value":  {[]string{"sha-256"}, nil},
		"in other words": {[]string{"SHA-256=:" + helloSHA256 + ":"}, map[string][]byte{}}, // keys are lower case
	} {
		got, err := parseDigests("Repr-Digest", test.fields)
		if test.want == nil {
			if err == nil || !strings.Contains(err.Error(), "Repr-Digest") {
				t.Errorf("%s: %v, %v", name, got, err)
			}
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func FuzzDigests(f *testing.F) {
	f.Add("sha-256=:" + helloSHA256 + ":, id=1")
	f.Add("sha-512=::;,=,:")
	f.Add("sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=")
	f.Fuzz(func(t *testing.T, text string) {
		digests, err := parseDigests("Content-Digest", []string{text})
		for name, sum := range digests {
			if err != nil || len(sum) != hashes[name]().Size() {
				t.Errorf("%q: %s is %x, %v", text, name, sum, err)
			}
		}
		name, sum, err := parseChecksum(text)
		if err == nil && len(sum) != hashes[name]().Size() {
			t.Errorf("%q: %s is %x", text, name, sum)
		}
	})
}

// A chunk may come with several digests, and all must agree.
func TestSeveralDigests(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPatch, "/", nil)
	r.Header.Set("Upload-Checksum", "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=")
	r.Header.Set("Content-Digest", "sha-256=:"+helloSHA256+":")
	for text, want := range map[string]bool{"hello": true, "hallo": false} {
		c, err := NewCheck(r, uploadChecksum, contentDigest)
		if err != nil || len(c.sums) != 2 {
			t.Fatalf("%+v, %v", c, err)
		}
		_, _ = c.Write([]byte(text)) // it has no errors
		if got := c.Agree(); (got == nil) != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if c, err := NewCheck(httptest.NewRequest(http.MethodPatch, "/", nil), uploadChecksum, contentDigest); c != nil || err != nil {
		t.Errorf("of no digest: %+v, %v", c, err)
	}
}

// tusd's troubles are in the log for who looks closely, and its news is not.
func TestLog(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	logger := logTo(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})))
	logger.With("path", "/x").WithGroup("g").Error("BodyReadError", "error", "gone", old.Int("n", 1))
	logger.Info("UploadCreated")
	got := text.String()
	for _, part := range []string{"level=DEBUG", "msg=tusd", "path=/x", "g.event=BodyReadError", "g.error=gone", "g.n=1"} {
		if !strings.Contains(got, part) {
			t.Errorf("the log does not hold %q: %s", part, got)
		}
	}
	if strings.Contains(got, "UploadCreated") {
		t.Errorf("the log holds news: %s", got)
	}
}
