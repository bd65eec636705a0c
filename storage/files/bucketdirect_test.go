package files

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// sendDirect sends a part as it is signed.
func sendDirect(t *testing.T, b *Bucket, g Growth, number int32, text string) {
	t.Helper()
	signed, err := b.SignPart(t.Context(), g, PartOrder{Number: number, Length: int64(len(text))})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, signed.URL, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("part %d: %s, %v", number, resp.Status, err)
	}
}

// A file that was sent straight to the bucket is finished as often as one likes, and not when its
// parts are others by then.
func TestDirect(t *testing.T) {
	t.Parallel()
	place := newBucketPlace(t)
	b := place.bucket(t)
	begin := func(key string) Growth {
		g := Growth{Key: key, Direct: &Direct{}}
		var err error
		if g.UploadID, err = b.StartParts(t.Context(), key, ""); err != nil {
			t.Fatal(err)
		}
		first, last := strings.Repeat("x", LeastPart), "the end"
		sendDirect(t, b, g, 1, first)
		sendDirect(t, b, g, 2, last)
		g.Size = int64(len(first) + len(last))
		if g.Direct.Parts, err = b.Parts(t.Context(), g, 0); err != nil || len(g.Direct.Parts) != 2 {
			t.Fatalf("the parts: %v, %v", g.Direct.Parts, err)
		}
		return g
	}
	whole := begin("whole")
	for range 2 {
		if err := b.Finish(t.Context(), whole); err != nil {
			t.Fatal(err)
		}
	}
	replaced := begin("replaced")
	sendDirect(t, b, replaced, 2, "the END")
	if err := b.Finish(t.Context(), replaced); !errors.Is(err, ErrParts) {
		t.Errorf("with another part: %v", err)
	}
	for range 2 {
		if err := b.Drop(t.Context(), replaced); err != nil {
			t.Error(err)
		}
	}
	if err := b.Finish(t.Context(), replaced); !errors.Is(err, ErrParts) {
		t.Errorf("of what was dropped: %v", err)
	}
	if _, err := b.Parts(t.Context(), replaced, 0); !errors.Is(err, ErrParts) {
		t.Errorf("the parts of what was dropped: %v", err)
	}
	if left := place.left(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// A file that came as a whole is copied to its key, once.
func TestDirectWhole(t *testing.T) {
	t.Parallel()
	b := newBucketPlace(t).bucket(t)
	keep(t, b, "from", "some text")
	g := Growth{Key: "to", Size: 9, Direct: &Direct{From: "from"}}
	for range 2 {
		if err := b.Finish(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Stat(t.Context(), "from"); err == nil {
		t.Error("it is where it was, too")
	}
	if err := b.Finish(t.Context(), Growth{Key: "none", Size: 9, Direct: &Direct{From: "from"}}); !errors.Is(err, ErrParts) {
		t.Errorf("of nothing: %v", err)
	}
	keep(t, b, "from", "some text")
	g.Key, g.Size = "shorter", 8
	if err := b.Finish(t.Context(), g); !errors.Is(err, ErrParts) {
		t.Errorf("of another size: %v", err)
	}
}

func keep(t *testing.T, s Store, key, text string) {
	t.Helper()
	w, err := s.Create(t.Context(), key)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		_, err = w.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Probe finds nothing wrong with a bucket that is all right, and leaves nothing.
func TestProbe(t *testing.T) {
	t.Parallel()
	b := newBucketPlace(t).bucket(t)
	trials, _ := b.Probe(t.Context())
	for _, trial := range trials {
		if trial.Err != nil {
			t.Errorf("%s: %v", trial.What, trial.Err)
		}
	}
	for info, err := range b.List(t.Context(), "") {
		t.Errorf("left: %s, %v", info.Key, err)
	}
}

func TestCheckParts(t *testing.T) {
	t.Parallel()
	tag := func(text string) string {
		sum := md5.Sum([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	for name, test := range map[string]struct {
		tags [3]string
		good bool
	}{
		"all agree":  {[3]string{tag("abc"), tag("def"), tag("g")}, true},
		"one not":    {[3]string{tag("abc"), tag("d"), tag("g")}, false},
		"none":       {[3]string{tag("1"), tag("2"), tag("3")}, true},
		"no digests": {[3]string{tag("abc"), "x-1", tag("3")}, true},
	} {
		g := Growth{Direct: &Direct{Parts: []Part{{1, 3, test.tags[0], ""}, {2, 3, test.tags[1], ""}, {3, 1, test.tags[2], ""}}}}
		for _, r := range []io.Reader{strings.NewReader("abcdefg"), iotest.OneByteReader(strings.NewReader("abcdefg"))} {
			got, err := io.ReadAll(CheckParts(r, g))
			if !bytes.Equal(got, []byte("abcdefg")) || test.good != (err == nil) || !test.good && !errors.Is(err, ErrParts) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	}
}

func TestCORSLacks(t *testing.T) {
	t.Parallel()
	good := types.CORSRule{
		AllowedOrigins: []string{"https://*.example.com"}, AllowedMethods: []string{"GET", "PUT", "POST"},
		AllowedHeaders: []string{"*"}, ExposeHeaders: []string{"etag"},
	}
	change := func(f func(*types.CORSRule)) []types.CORSRule {
		rule := good
		f(&rule)
		return []types.CORSRule{rule}
	}
	for name, test := range map[string]struct {
		rules []types.CORSRule
		want  string
	}{
		"good":          {[]types.CORSRule{good}, ""},
		"none":          {nil, "a rule for GET, a rule for PUT, a rule for POST"},
		"other origin":  {change(func(r *types.CORSRule) { r.AllowedOrigins = []string{"https://example.org"} }), "a rule for GET, a rule for PUT, a rule for POST"},
		"any origin":    {change(func(r *types.CORSRule) { r.AllowedOrigins = []string{"*"} }), ""},
		"no POST":       {change(func(r *types.CORSRule) { r.AllowedMethods = []string{"GET", "PUT"} }), "a rule for POST"},
		"no ETag":       {change(func(r *types.CORSRule) { r.ExposeHeaders = nil }), "ETag among the ExposeHeaders for PUT"},
		"no checksums":  {change(func(r *types.CORSRule) { r.AllowedHeaders = []string{"content-type"} }), "x-amz-checksum-* (or *) among the AllowedHeaders for PUT"},
		"first decides": {append(change(func(r *types.CORSRule) { r.ExposeHeaders = nil }), good), "ETag among the ExposeHeaders for PUT"},
	} {
		if got := corsLacks(test.rules, "https://a.example.com"); got != test.want {
			t.Errorf("%s: lacks %q, want %q", name, got, test.want)
		}
	}
}

// A form is for the announced size, also when that is 0, and none is signed for more than the bucket
// takes at once.
func TestSignForm(t *testing.T) {
	t.Parallel()
	b := newBucketPlace(t).bucket(t)
	g := Growth{Key: "to", Direct: &Direct{From: "from"}}
	for _, c := range []struct {
		most    int64
		exactly bool
		want    string
	}{
		{0, false, "0,5368709120"},
		{100, false, "0,100"},
		{MostPart + 1, false, "0,5368709120"},
		{0, true, "0,0"},
		{100, true, "100,100"},
		{MostPart, true, "5368709120,5368709120"},
	} {
		signed, err := b.SignForm(t.Context(), g, c.most, c.exactly)
		if err != nil {
			t.Fatal(err)
		}
		policy, err := base64.StdEncoding.DecodeString(signed.Fields["policy"])
		if want := `["content-length-range",` + c.want + `]`; err != nil || !strings.Contains(string(policy), want) {
			t.Errorf("%d, exactly %t: %s, %v; want %s", c.most, c.exactly, policy, err, want)
		}
	}
	if _, err := b.SignForm(t.Context(), g, MostPart+1, true); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want %v", err, ErrTooLarge)
	}
}
