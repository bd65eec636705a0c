package files

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseBucketURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]BucketConfig{
		"s3://bucket":                         {Bucket: "bucket"},
		"s3://my.bucket-1/":                   {Bucket: "my.bucket-1"},
		"s3://bucket/a/b/?region=eu-west-1":   {Bucket: "bucket", Prefix: "a/b", Region: "eu-west-1"},
		"s3://b_1/a%20b?path_style=true":      {Bucket: "b_1", Prefix: "a b", PathStyle: true},
		"s3://bucket?endpoint=https://x.com":  {Bucket: "bucket", Endpoint: "https://x.com"},
		"s3://bucket?endpoint=http://[::1]:1": {Bucket: "bucket", Endpoint: "http://[::1]:1"},
		"s3://bucket/p?endpoint=http%3A%2F%2F127.0.0.1%3A7070&region=us-east-1&path_style=1": {
			Bucket: "bucket", Prefix: "p", Endpoint: "http://127.0.0.1:7070", Region: "us-east-1", PathStyle: true,
		},
	} {
		got, err := ParseBucketURL(raw)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(BucketConfig{}, "Credentials")); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", raw, err, diff)
		}
	}
	for raw, want := range map[string]string{
		"":                                     "s3://",
		"https://bucket":                       "s3://",
		"s3:bucket":                            "s3://",
		"s3://":                                "name of a bucket",
		"s3://x":                               "name of a bucket",
		"s3://a$b$c":                           "name of a bucket",
		"s3://hunter2:hunter2@bucket":          "credentials",
		"s3://bucket#x":                        "#",
		"s3://bucket/a/../b":                   "folder in the bucket",
		"s3://bucket/.incoming":                "folder in the bucket",
		"s3://bucket?secret=hunter2":           `"secret", which is not known`,
		"s3://bucket?region=a&region=b":        "more than once",
		"s3://bucket?path_style=maybe":         "path_style",
		"s3://bucket?region=%zz":               "behind ?",
		"s3://bucket:hunter2":                  "not a URL",
		"s3://bucket?endpoint=x.com":           "https://",
		"s3://bucket?endpoint=http://x.com":    "this machine",
		"s3://bucket?endpoint=http://10.0.0.1": "this machine",
		"s3://bucket?endpoint=https://u:p@x":   "no credentials",
	} {
		_, err := ParseBucketURL(raw)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q and no secret", raw, err, want)
		}
	}
}

func FuzzParseBucketURL(f *testing.F) {
	f.Add("s3://bucket/prefix?endpoint=http://127.0.0.1:7070&region=us-east-1&path_style=true")
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := ParseBucketURL(raw)
		if err == nil && (c.Bucket == "" || c.Prefix != "" && CheckKey(c.Prefix) != nil) {
			t.Errorf("%q passed: %+v", raw, c)
		}
	})
}

// TestPartCRC holds the CRCs of parts that come from those of blocks against those of the bytes.
func TestPartCRC(t *testing.T) {
	t.Parallel()
	data := random(5*SumBlock + 777)
	sums := newSumsOf(digestOf(data))
	for _, c := range [][2]int64{{0, 0}, {0, SumBlock}, {0, 5 * SumBlock}, {SumBlock, 3 * SumBlock}, {2 * SumBlock, sums.size}, {5 * SumBlock, sums.size}} {
		got, known := sums.part(c[0], c[1])
		if want := crc32.Checksum(data[c[0]:c[1]], castagnoli); !known || got != want {
			t.Errorf("%v: got %x, %t; want %x", c, got, known, want)
		}
	}
	for _, c := range [][2]int64{{1, SumBlock}, {0, SumBlock + 1}, {0, 6 * SumBlock}} {
		if _, known := sums.part(c[0], c[1]); known {
			t.Errorf("%v is known", c)
		}
	}
}

func TestPart(t *testing.T) {
	t.Parallel()
	pool := newPartPool(writeBytes)
	for _, limit := range []int64{1, pieceBytes, 2*pieceBytes + 5} {
		p, err := pool.get(t.Context(), limit)
		if err != nil {
			t.Fatal(err)
		}
		data := random(int(limit) + 10)
		for rest := data; !p.full(); {
			rest = rest[p.fill(rest[:min(len(rest), 300_000)]):]
		}
		got, err := io.ReadAll(p.reader())
		if err != nil || !bytes.Equal(got, data[:limit]) || p.crc() != crc32.Checksum(got, castagnoli) {
			t.Errorf("%d: got %d bytes, %v", limit, len(got), err)
		}
		p.free()
		p.free()
	}
	all, err := pool.get(t.Context(), writeBytes)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := pool.get(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	all.free()
}

// TestLargest adds up how large files can become, and that no part needs more than all memory.
func TestLargest(t *testing.T) {
	t.Parallel()
	s := bucketSink{b: &Bucket{partSize: partBytes}}
	var most int64
	for s.number < maxParts {
		limit := s.nextLimit()
		if limit > writeBytes {
			t.Fatalf("part %d has %d bytes", s.number+1, limit)
		}
		most += limit
		s.number++
	}
	if most < 605<<30 {
		t.Errorf("a file can have %d bytes", most)
	}
	if maxGrowthPart > min(appendBytes, writeBytes) {
		t.Errorf("a part of a file that grows may have %d bytes", maxGrowthPart)
	}
	for hint, want := range map[int64]int64{
		0: 32 << 20, 1: 8 << 20, 50 << 30: 8 << 20, 100 << 30: 12 << 20, 600 << 30: 64 << 20, maxParts * maxGrowthPart: 64 << 20,
	} {
		g := growth{Growth: Growth{SizeHint: hint}, b: s.b}
		if err := g.plan(); err != nil || g.PartSize != want || g.PartSize*maxParts < hint {
			t.Errorf("%d bytes: got parts of %d, %v; want %d", hint, g.PartSize, err, want)
		}
	}
	g := growth{Growth: Growth{SizeHint: maxParts*maxGrowthPart + 1}, b: s.b}
	if err := g.plan(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want %v", err, ErrTooLarge)
	}
	for _, c := range []struct {
		g    Growth
		size int64
		want error
	}{
		{Growth{}, maxParts * partBytes * unknownParts, nil},
		{Growth{}, maxParts*partBytes*unknownParts + 1, ErrTooLarge},
		{Growth{SizeHint: maxParts * maxGrowthPart}, maxParts * maxGrowthPart, nil},
		{Growth{SizeHint: maxParts*maxGrowthPart + 1}, 0, ErrTooLarge},
		{Growth{PartSize: partBytes}, maxParts * partBytes, nil},
		{Growth{PartSize: partBytes}, maxParts*partBytes + 1, ErrTooLarge},
		{Growth{Direct: &Direct{}}, 1 << 40, nil},
	} {
		if err := s.b.Fits(c.g, c.size); !errors.Is(err, c.want) {
			t.Errorf("%d bytes of %+v: got %v, want %v", c.size, c.g, err, c.want)
		}
	}
}

func TestLeftoverRule(t *testing.T) {
	t.Parallel()
	abort := &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(3)}
	later := &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(9)}
	prefix := func(s string) *types.LifecycleRuleFilter { return &types.LifecycleRuleFilter{Prefix: &s} }
	on := types.ExpirationStatusEnabled
	for name, c := range map[string]struct {
		rules []types.LifecycleRule
		want  int
	}{
		"none":          {nil, 0},
		"all":           {[]types.LifecycleRule{{Status: on, AbortIncompleteMultipartUpload: abort}}, 3},
		"the least":     {[]types.LifecycleRule{{Status: on, Filter: prefix(""), AbortIncompleteMultipartUpload: later}, {Status: on, Filter: prefix("a/"), AbortIncompleteMultipartUpload: abort}}, 3},
		"old form":      {[]types.LifecycleRule{{Status: on, Prefix: aws.String("a/b"), AbortIncompleteMultipartUpload: later}}, 9},
		"off":           {[]types.LifecycleRule{{Status: types.ExpirationStatusDisabled, AbortIncompleteMultipartUpload: abort}}, 0},
		"another":       {[]types.LifecycleRule{{Status: on, Filter: prefix("b"), AbortIncompleteMultipartUpload: abort}}, 0},
		"some of it":    {[]types.LifecycleRule{{Status: on, Filter: prefix("a/b/c"), AbortIncompleteMultipartUpload: abort}}, 0},
		"another thing": {[]types.LifecycleRule{{Status: on, Filter: prefix("")}}, 0},
		"with a size":   {[]types.LifecycleRule{{Status: on, Filter: &types.LifecycleRuleFilter{ObjectSizeGreaterThan: aws.Int64(1)}, AbortIncompleteMultipartUpload: abort}}, 0},
	} {
		if got := leftoverDays(c.rules, "a/b/"); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
	// The server of the tests has no such rules.
	if days, known, err := newBucketPlace(t).bucket(t).LeftoverRule(t.Context()); err != nil || known && days != 0 {
		t.Errorf("got %d, %t, %v", days, known, err)
	}
}

// TestCheckSays has what is usually wrong said in plain words.
func TestCheckSays(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	key := func(access, secret string) aws.CredentialsProvider {
		return credentials.NewStaticCredentialsProvider(access, secret, "")
	}
	for name, c := range map[string]struct {
		change func(c *BucketConfig)
		want   string
	}{
		"no bucket":    {func(c *BucketConfig) { c.Bucket = "no-such-bucket" }, "there is no such bucket"},
		"wrong secret": {func(c *BucketConfig) { c.Credentials = key(p.server.AccessKey, "wrong") }, "the secret key does not fit"},
		"wrong key":    {func(c *BucketConfig) { c.Credentials = key("wrong", p.server.SecretKey) }, "does not know the access key"},
		"no secret":    {func(c *BucketConfig) { c.Credentials = key("", "") }, "no credentials"},
		"wrong region": {func(c *BucketConfig) { c.Region = "eu-north-1" }, "another region"},
		"unreachable":  {func(c *BucketConfig) { c.Endpoint = "http://127.0.0.1:1" }, "cannot be reached"},
	} {
		config := p.config
		c.change(&config)
		b, err := OpenBucket(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		err = closeAfter(b, b.Check(t.Context()))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), p.server.SecretKey) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestPresignGet(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	b := p.bucket(t)
	store(t, b, "a/b", []byte("text"))
	signed, err := b.PresignGet(t.Context(), "a/b", `attachment; filename="Marz 1.csv"`, "text/csv", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(signed)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	want := map[string]string{"Content-Type": "text/csv", "Content-Disposition": `attachment; filename="Marz 1.csv"`}
	for name, value := range want {
		if got := resp.Header.Get(name); got != value {
			t.Errorf("%s: got %q, want %q", name, got, value)
		}
	}
	if err != nil || resp.StatusCode != http.StatusOK || string(body) != "text" {
		t.Errorf("got %s, %q, %v", resp.Status, body, err)
	}
	if _, err := b.PresignGet(t.Context(), "../b", "", "", time.Minute); !errors.Is(err, ErrKey) {
		t.Errorf("got %v, want %v", err, ErrKey)
	}
}

func TestCopyInParts(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	b := p.bucket(t)
	b.copyLimit, b.copyPart = 1<<20, testPart
	data := random(2*testPart + 1)
	store(t, b, "a", data)
	if err := b.Copy(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	wantStored(t, b, "b", data)
	if err := b.Copy(t.Context(), "a", "b"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want %v", err, fs.ErrExist)
	}
	wantNothingLeft(t, p)
}

// cuttingProxy passes connections on, and cuts each after that many bytes of the answer.
func cuttingProxy(t testing.TB, target string, after int64) (endpoint string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { passOn(client, target, after) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
	})
	return "http://" + listener.Addr().String()
}

func passOn(client net.Conn, target string, after int64) {
	defer client.Close()
	server, err := net.Dial("tcp", strings.TrimPrefix(target, "http://"))
	if err != nil {
		return
	}
	defer server.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	_, _ = io.CopyN(client, server, after)
	_ = client.Close()
	wg.Wait()
}

// TestBrokenConnections reads over connections that break off all the time.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	data := random(6<<20 + 5)
	store(t, p.open(t), "a", data)
	p.config.Endpoint = cuttingProxy(t, p.server.Endpoint, 1_500_000)
	b := p.bucket(t)
	wantStored(t, b, "a", data)
	f, err := b.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(data))
	if n, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("at once: got %d bytes, %v", n, err)
	}
	if err := b.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(got, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a removed file: got %v, want %v", err, fs.ErrNotExist)
	}
}

// TestCreateEnds ends the context of a writer.
func TestCreateEnds(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := p.open(t).Create(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(random(2*testPart + 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := w.Commit(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if got := keysOf(t, p.open(t), ""); got != nil {
		t.Errorf("listed %q", got)
	}
	wantNothingLeft(t, p)
}

// TestBatchGivenUp leaves a batch in the middle: all memory comes back.
func TestBatchGivenUp(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	b := p.bucket(t)
	batch, err := b.Batch(t.Context(), "a", 3)
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int64{"short": 100, "open": 0, "large": 0} {
		w, err := batch.Create(t.Context(), name, size, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(random(map[string]int{"short": 101, "open": 5, "large": testPart + 1}[name]))
		if (err != nil) != (name == "short") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := batch.Close(); err != nil {
		t.Error(err)
	}
	if !b.writes.room.TryAcquire(writeBytes) {
		t.Error("memory was not given back")
	}
	wantNothingLeft(t, p)
}

// TestSavesParts has a file that takes longer than saveEvery: each state that is saved meanwhile
// is one to go on from.
func TestSavesParts(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	data := random(3*testPart + 100)
	var saved []Growth
	slow := slowReader{bytes.NewReader(data), 15 * time.Millisecond}
	_, err := p.open(t).Append(t.Context(), Growth{Key: "a", SizeHint: int64(len(data))}, slow, func(_ context.Context, g Growth) error {
		saved = append(saved, again(t, g))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(saved) < 3 || saved[0].UploadID == "" {
		t.Fatalf("saved %d times", len(saved))
	}
	for i, g := range saved {
		if i > 0 && i < len(saved)-1 && g.Size%testPart != 0 || g.Digest.SHA256() != digestOf(data[:g.Size]).SHA256() {
			t.Errorf("saved at %d, or with another digest", g.Size)
		}
	}
	g, err := p.open(t).Append(t.Context(), saved[1], bytes.NewReader(data[saved[1].Size:]), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantFinished(t, p, g, data)
}

// TestLostBytes spoils what the bucket has of a file that grows.
func TestLostBytes(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	b := p.bucket(t)
	grow := func(size int) growth {
		now, err := b.Append(t.Context(), Growth{Key: "a", SizeHint: 3 * testPart}, bytes.NewReader(random(size)), nil)
		if err != nil {
			t.Fatal(err)
		}
		g, err := b.growth(now)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	wantError := func(g Growth, want error) {
		t.Helper()
		_, appendErr := b.Append(t.Context(), g, strings.NewReader("x"), nil)
		for _, err := range []error{appendErr, b.Finish(t.Context(), g)} {
			if !errors.Is(err, want) || !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
	}

	g := grow(100)
	spoil(t, p.server.ObjectPath(b.bucket, g.tail()))
	wantError(g.Growth, ErrDamaged)

	g = grow(testPart + 100)
	if err := g.removeTails(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantError(g.Growth, fs.ErrNotExist)

	other := random(testPart)
	other[77] ^= 1
	part := &part{limit: testPart, pool: &b.writes}
	part.fill(other)
	if _, err := g.upload().put(t.Context(), 1, part); err != nil {
		t.Fatal(err)
	}
	wantError(g.Growth, ErrDamaged)

	if err := g.upload().abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantError(g.Growth, errNoUpload)

	// Another file of that name and size is not taken for the one that has grown.
	different := random(testPart + 100)
	different[5] ^= 1
	store(t, b, "a", different)
	wantError(g.Growth, errNoUpload)
}

// spoil changes a byte on disk.
func spoil(t testing.TB, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[rand.IntN(len(data))] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFlippedByte finds a damaged object when it is read.
func TestFlippedByte(t *testing.T) {
	t.Parallel()
	p := newBucketPlace(t)
	b := p.bucket(t)
	stored := store(t, b, "a", random(2*SumBlock))
	spoil(t, p.server.ObjectPath(b.bucket, path.Join(b.prefix, "a")))
	f, err := b.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadAll(Verify(f, "a", stored.Sums, nil)); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want %v", err, ErrDamaged)
	}
}

// TestChecksumThere sees to it that the service keeps the checksums that were sent.
func TestChecksumThere(t *testing.T) {
	t.Parallel()
	b := newBucketPlace(t).bucket(t)
	for _, size := range []int{10, testPart + 10} {
		data := random(size)
		store(t, b, "a", data)
		g := growth{Growth: Growth{Key: "a", Size: int64(size), PartSize: testPart, Digest: *digestOf(data)}, b: b}
		head, err := b.head(t.Context(), path.Join(b.prefix, "a"))
		if err != nil || aws.ToString(head.ChecksumCRC32C) != g.checksum() {
			t.Errorf("%d bytes: got %q, %v; want %q", size, aws.ToString(head.ChecksumCRC32C), err, g.checksum())
		}
	}
}
