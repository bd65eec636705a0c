package files

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"longhaul/storage/files/s3test"
)

// testPart is the size of parts in a bucket in tests, the smallest that S3 takes.
const testPart = 5 << 20

// place is where a store is, for as many handles as one likes, each as if of another process.
type place interface {
	open(t testing.TB) Store
	// left is what is there besides files with keys.
	left(t testing.TB) []string
}

// places are the kinds of stores that there are.
var places = map[string]func(t testing.TB) place{
	"folder": func(t testing.TB) place { return folderPlace(filepath.Join(t.TempDir(), "files")) },
	"bucket": func(t testing.TB) place { return newBucketPlace(t) },
}

type folderPlace string

func (p folderPlace) open(t testing.TB) Store {
	t.Helper()
	f, err := OpenFolder(string(p))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func (p folderPlace) left(t testing.TB) []string {
	t.Helper()
	var left []string
	for _, name := range onDisk(t, string(p)) {
		first, rest, _ := strings.Cut(name, "/")
		if (first == incomingFolder || first == growingFolder) && rest != "" {
			left = append(left, name)
		}
	}
	return left
}

type bucketPlace struct {
	server *s3test.Server
	config BucketConfig
}

func newBucketPlace(t testing.TB) bucketPlace {
	t.Helper()
	server := s3test.Start(t)
	c, err := ParseBucketURL(server.URL(server.NewBucket(t) + "/some/folder"))
	if err != nil {
		t.Fatal(err)
	}
	c.Credentials = credentials.NewStaticCredentialsProvider(server.AccessKey, server.SecretKey, "")
	return bucketPlace{server, c}
}

func (p bucketPlace) open(t testing.TB) Store { return p.bucket(t) }

func (p bucketPlace) bucket(t testing.TB) *Bucket {
	t.Helper()
	b, err := OpenBucket(t.Context(), p.config)
	if err != nil {
		t.Fatal(err)
	}
	b.partSize = testPart
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func (p bucketPlace) left(t testing.TB) []string {
	t.Helper()
	b := p.bucket(t)
	var left []string
	for object, err := range b.objects(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if CheckKey(strings.TrimPrefix(*object.Key, folderName(b.prefix))) != nil {
			left = append(left, *object.Key)
		}
	}
	uploads, err := b.client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &b.bucket})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range uploads.Uploads {
		left = append(left, "upload of "+*u.Key)
	}
	return left
}

func wantNothingLeft(t testing.TB, p place) {
	t.Helper()
	if left := p.left(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestStores holds each kind of store to what the interface promises.
func TestStores(t *testing.T) {
	t.Parallel()
	for kind, newPlace := range places {
		for name, test := range map[string]func(t *testing.T, p place){
			"store and read":  testStoreAndRead,
			"random reads":    testRandomReads,
			"abort":           testAbort,
			"replace":         testReplace,
			"missing":         testMissing,
			"bad keys":        testBadKeys,
			"list":            testList,
			"remove all":      testRemoveAll,
			"copy":            testCopy,
			"batch":           testBatch,
			"close":           testClose,
			"check":           testCheck,
			"grow":            testGrow,
			"grow and crash":  testGrowAndCrash,
			"grow or nothing": testGrowOrNothing,
			"stop growing":    testStopGrowing,
			"late writer":     testLateWriter,
			"drop":            testDrop,
			"lost":            testLost,
			"finish at once":  testFinishAtOnce,
			"sweep growing":   testSweepGrowing,
			"fits":            testFits,
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				test(t, newPlace(t))
			})
		}
	}
}

func store(t testing.TB, s Store, key string, data []byte) Stored {
	t.Helper()
	w, err := s.Create(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.ReadFrom(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	stored, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func load(t testing.TB, s Store, key string) []byte {
	t.Helper()
	f, err := s.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err := closeAfter(f, err); err != nil {
		t.Fatal(err)
	}
	if f.Size() != int64(len(data)) {
		t.Errorf("%s: read %d bytes, of %d", key, len(data), f.Size())
	}
	return data
}

func wantStored(t testing.TB, s Store, key string, data []byte) {
	t.Helper()
	if got := load(t, s, key); !bytes.Equal(got, data) {
		t.Errorf("%s: got %d bytes, not the %d that were stored", key, len(got), len(data))
	}
}

func keysOf(t testing.TB, s Store, prefix string) []string {
	t.Helper()
	var got []string
	for info, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Key)
	}
	return got
}

func digestOf(data []byte) *Digest {
	var d Digest
	_, _ = d.Write(data) // never fails
	return &d
}

func testStoreAndRead(t *testing.T, p place) {
	s := p.open(t)
	before := time.Now().Add(-2 * time.Second)
	for _, size := range []int{0, 1, cacheBlock, SumBlock + 1, testPart - 1, testPart, testPart + 1, 2*testPart + 99} {
		data, key := random(size), fmt.Sprintf("app/in put/%d+é", size)
		got := store(t, s, key, data)
		want := Stored{Key: key, Size: int64(size), SHA256: digestOf(data).SHA256(), Sums: digestOf(data).Sums()}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d bytes (-want +got):\n%s", size, diff)
		}
		wantStored(t, s, key, data)
		info, err := s.Stat(t.Context(), key)
		if err != nil || info.Key != key || info.Size != int64(size) || info.ModifiedAt.Before(before) {
			t.Errorf("stat: got %+v, %v", info, err)
		}
	}
	if n, err := s.Available(t.Context()); err != nil || n <= 0 {
		t.Errorf("available: got %d, %v", n, err)
	}
	wantNothingLeft(t, p)
}

// testRandomReads reads in all ways at once.
func testRandomReads(t *testing.T, p place) {
	s := p.open(t)
	data := random(4<<20 + 12_345)
	store(t, s, "a", data)
	f, err := s.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { readAtRandom(t, f, data, rand.New(rand.NewPCG(1, uint64(i)))) })
	}
	r := rand.New(rand.NewPCG(2, 0))
	for range 30 {
		at := r.Int64N(int64(len(data)) + 10)
		if got, err := f.Seek(at, io.SeekStart); err != nil || got != at {
			t.Errorf("seek: got %d, %v; want %d", got, err, at)
		}
		part := make([]byte, r.IntN(100_000))
		n, err := io.ReadFull(f, part)
		want := data[min(at, int64(len(data))):min(at+int64(len(part)), int64(len(data)))]
		if !bytes.Equal(part[:n], want) || (err == nil) != (len(part) == len(want)) {
			t.Errorf("%d bytes at %d: got %d, %v", len(part), at, n, err)
		}
	}
	wg.Wait()
	if at, err := f.Seek(-5, io.SeekEnd); err != nil || at != int64(len(data)-5) {
		t.Errorf("seek from the end: got %d, %v", at, err)
	}
	if _, err := f.Seek(-1, io.SeekStart); err == nil {
		t.Error("seek before the beginning")
	}
	if at, err := f.Seek(3, io.SeekCurrent); err != nil || at != int64(len(data)-2) {
		t.Errorf("seek on: got %d, %v", at, err)
	}
	if rest, err := io.ReadAll(f); err != nil || !bytes.Equal(rest, data[len(data)-2:]) {
		t.Errorf("rest: got %q, %v", rest, err)
	}
}

// readAtRandom reads anywhere, small and large, and now and then goes on where it was.
func readAtRandom(t *testing.T, f File, data []byte, r *rand.Rand) {
	var off int64
	for range 40 {
		if r.IntN(3) == 0 {
			off = r.Int64N(int64(len(data)) + 10)
		}
		part := make([]byte, r.IntN([]int{100, cacheBlock, SumBlock}[r.IntN(3)]))
		n, err := f.ReadAt(part, off)
		want := data[min(off, int64(len(data))):min(off+int64(len(part)), int64(len(data)))]
		if !bytes.Equal(part[:n], want) || len(part) > len(want) && !errors.Is(err, io.EOF) || len(part) == len(want) && err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("%d bytes at %d: got %d, %v", len(part), off, n, err)
		}
		off += int64(n)
	}
}

func testAbort(t *testing.T, p place) {
	s := p.open(t)
	store(t, s, "a/file", []byte("old"))
	for _, size := range []int{0, 100, 2*testPart + 1} {
		w, err := s.Create(t.Context(), "a/file")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(random(size)); err != nil {
			t.Fatal(err)
		}
		wantStored(t, s, "a/file", []byte("old"))
		if err := errors.Join(w.Abort(), w.Abort()); err != nil {
			t.Error(err)
		}
		if _, err := w.Commit(); !errors.Is(err, ErrClosed) {
			t.Errorf("commit after abort: got %v, want %v", err, ErrClosed)
		}
	}
	gone := errors.New("client went away")
	w, err := s.Create(t.Context(), "a/upload")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.ReadFrom(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(gone))); err != gone { //nolint:errorlint // the very error is promised
		t.Errorf("got %v, want %v", err, gone)
	}
	if _, err := w.Commit(); !errors.Is(err, gone) {
		t.Errorf("commit: got %v, want %v", err, gone)
	}
	if diff := cmp.Diff([]string{"a/file"}, keysOf(t, s, "")); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	wantNothingLeft(t, p)
}

// testReplace has writers of one key race, and a reader who has the file open: what there is to
// read is always the whole of what one of them wrote.
func testReplace(t *testing.T, p place) {
	s, size := p.open(t), testPart+1000
	old := bytes.Repeat([]byte("0"), size)
	store(t, s, "a/b", old)
	f, err := s.Open(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(io.Discard, f, 10); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			own := p.open(t)
			store(t, own, "a/b", bytes.Repeat([]byte{'a' + byte(i)}, size))
			f, err := own.Open(t.Context(), "a/b")
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			got, err := io.ReadAll(f)
			if errors.Is(err, ErrReplaced) {
				return
			}
			if err != nil || len(got) != size || !bytes.Equal(got, bytes.Repeat(got[:1], size)) {
				t.Errorf("a mixture of two files, or %v", err)
			}
		})
	}
	rest, err := io.ReadAll(f)
	wg.Wait()
	if err == nil && !bytes.Equal(rest, old[10:]) || err != nil && !errors.Is(err, ErrReplaced) {
		t.Errorf("the open file: got %d bytes, %v", len(rest), err)
	}
	last := store(t, s, "a/b", []byte("last"))
	wantStored(t, s, "a/b", []byte("last"))
	if last.Size != 4 {
		t.Errorf("got %d bytes", last.Size)
	}
	wantNothingLeft(t, p)
}

func testMissing(t *testing.T, p place) {
	s := p.open(t)
	store(t, s, "x", nil)
	_, openErr := s.Open(t.Context(), "a/b")
	_, statErr := s.Stat(t.Context(), "a/b")
	for call, err := range map[string]error{"open": openErr, "stat": statErr, "copy": s.Copy(t.Context(), "a/b", "c/d")} {
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "a/b") {
			t.Errorf("%s: got %v, want %v", call, err, fs.ErrNotExist)
		}
	}
	for call, err := range map[string]error{
		"remove": s.Remove(t.Context(), "a/b"), "remove all": s.RemoveAll(t.Context(), "a/b"), "drop": s.Drop(t.Context(), Growth{Key: "a/b"}),
	} {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	if got := keysOf(t, s, "a"); got != nil {
		t.Errorf("listed %q", got)
	}
	if err := s.Remove(t.Context(), "x"); err != nil {
		t.Error(err)
	}
	if _, err := s.Stat(t.Context(), "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

func testBadKeys(t *testing.T, p place) {
	s := p.open(t)
	for _, key := range []string{"", ".", "/a", "a/", "a//b", "../a", `a\b`, "a\nb", "a\xff", incomingFolder + "/a", growingFolder + "/a", strings.Repeat("abc/", 256) + "x"} {
		_, createErr := s.Create(t.Context(), key)
		_, openErr := s.Open(t.Context(), key)
		_, statErr := s.Stat(t.Context(), key)
		_, appendErr := s.Append(t.Context(), Growth{Key: key}, strings.NewReader("x"), nil)
		for call, err := range map[string]error{
			"create": createErr, "open": openErr, "stat": statErr, "append": appendErr,
			"remove": s.Remove(t.Context(), key), "remove all": s.RemoveAll(t.Context(), key),
			"copy from": s.Copy(t.Context(), key, "x"), "copy to": s.Copy(t.Context(), "x", key),
			"finish": s.Finish(t.Context(), Growth{Key: key}), "drop": s.Drop(t.Context(), Growth{Key: key}),
		} {
			if call == "copy to" && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if !errors.Is(err, ErrKey) {
				t.Errorf("%s %.20q: got %v, want %v", call, key, err, ErrKey)
			}
		}
		if key == "" {
			continue // all files
		}
		if _, err := s.Batch(t.Context(), key, 1); !errors.Is(err, ErrKey) {
			t.Errorf("batch %.20q: got %v, want %v", key, err, ErrKey)
		}
		for _, err := range s.List(t.Context(), key) {
			if !errors.Is(err, ErrKey) {
				t.Errorf("list %.20q: got %v, want %v", key, err, ErrKey)
			}
		}
	}
	wantNothingLeft(t, p)
}

func testList(t *testing.T, p place) {
	s := p.open(t)
	for _, key := range []string{"a/c", "a.csv", "a/b/d", "a-b", "b", "ab/x", "a/b.x", "é", "a/b-c/y"} {
		store(t, s, key, []byte(key))
	}
	for prefix, want := range map[string][]string{
		"":    {"a-b", "a.csv", "a/b-c/y", "a/b.x", "a/b/d", "a/c", "ab/x", "b", "é"},
		"a":   {"a/b-c/y", "a/b.x", "a/b/d", "a/c"},
		"a/b": {"a/b/d"},
		"b":   nil,
		"no":  nil,
	} {
		if diff := cmp.Diff(want, keysOf(t, s, prefix)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", prefix, diff)
		}
	}
	for info, err := range s.List(t.Context(), "") {
		if err != nil || info.Key != "a-b" || info.Size != 3 {
			t.Errorf("got %+v, %v", info, err)
		}
		break // and no more is read
	}
}

func testRemoveAll(t *testing.T, p place) {
	s := p.open(t)
	for _, key := range []string{"a/1", "a/b/2", "a/b/c/3", "ab/4", "a-b", "a.c", "d"} {
		store(t, s, key, []byte(key))
	}
	for _, step := range []struct {
		prefix string
		want   []string
	}{
		{"a/b", []string{"a-b", "a.c", "a/1", "ab/4", "d"}},
		{"a", []string{"a-b", "a.c", "ab/4", "d"}},
		{"d", []string{"a-b", "a.c", "ab/4"}},
		{"a", []string{"a-b", "a.c", "ab/4"}},
	} {
		if err := s.RemoveAll(t.Context(), step.prefix); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(step.want, keysOf(t, s, "")); diff != "" {
			t.Errorf("after %q (-want +got):\n%s", step.prefix, diff)
		}
	}
}

func testCopy(t *testing.T, p place) {
	s, one := p.open(t), random(testPart+1)
	store(t, s, "a/file+é %2F&x", one)
	if err := s.Copy(t.Context(), "a/file+é %2F&x", "b/c/file"); err != nil {
		t.Fatal(err)
	}
	if err := s.Copy(t.Context(), "a/file+é %2F&x", "b/c/file"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("onto a file: got %v, want %v", err, fs.ErrExist)
	}
	store(t, s, "a/file+é %2F&x", []byte("two"))
	wantStored(t, s, "b/c/file", one)
	if err := s.Remove(t.Context(), "a/file+é %2F&x"); err != nil {
		t.Fatal(err)
	}
	wantStored(t, s, "b/c/file", one)
	wantNothingLeft(t, p)
}

func testBatch(t *testing.T, p place) {
	s := p.open(t)
	batch, err := s.Batch(t.Context(), "app/1", 30)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"big": random(testPart + 10), "empty": nil}
	for i := range 28 {
		want[fmt.Sprintf("some/%d/file %d", i%3, i)] = random(i * 1000)
	}
	var wg sync.WaitGroup
	for name, data := range want {
		wg.Go(func() {
			w, err := batch.Create(t.Context(), name, int64(len(data)), time.Now())
			if err == nil {
				_, err = io.Copy(w, bytes.NewReader(data))
				err = closeAfter(w, err)
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	if _, err := batch.Create(t.Context(), "../x", 1, time.Time{}); !errors.Is(err, ErrKey) {
		t.Errorf("got %v, want %v", err, ErrKey)
	}
	if err := errors.Join(batch.Commit(t.Context()), batch.Close()); err != nil {
		t.Fatal(err)
	}
	for name, data := range want {
		wantStored(t, s, "app/1/"+name, data)
	}
	if got := keysOf(t, s, ""); len(got) != len(want) {
		t.Errorf("listed %q", got)
	}
	wantNothingLeft(t, p)
}

func testClose(t *testing.T, p place) {
	s := p.open(t)
	store(t, s, "a", []byte("text"))
	f, err := s.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := s.Create(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := w.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("commit: got %v, want %v", err, fs.ErrClosed)
	}
	if got := keysOf(t, p.open(t), ""); !slices.Equal(got, []string{"a"}) {
		t.Errorf("listed %q", got)
	}
}

func testCheck(t *testing.T, p place) {
	if err := p.open(t).Check(t.Context()); err != nil {
		t.Error(err)
	}
	if swept, err := p.open(t).Sweep(t.Context(), 0); err != nil || swept != (Swept{}) {
		t.Errorf("sweep: got %+v, %v", swept, err)
	}
}

// again is the growth as another process reads it.
func again(t testing.TB, g Growth) Growth {
	t.Helper()
	state, err := json.Marshal(g)
	var read Growth
	if err == nil {
		err = json.Unmarshal(state, &read)
	}
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func wantFinished(t testing.TB, p place, g Growth, data []byte) {
	t.Helper()
	finish(t, p, g, data)
	wantNothingLeft(t, p)
}

// finish gives the file its key, and again, and reads it.
func finish(t testing.TB, p place, g Growth, data []byte) {
	t.Helper()
	s := p.open(t)
	if g.Size != int64(len(data)) || g.Digest.SHA256() != digestOf(data).SHA256() || !bytes.Equal(g.Digest.Sums(), digestOf(data).Sums()) {
		t.Errorf("%s: grown to %d bytes, want %d; or the digest differs", g.Key, g.Size, len(data))
	}
	if err := s.Finish(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	wantStored(t, s, g.Key, data)
	if err := p.open(t).Finish(t.Context(), again(t, g)); err != nil {
		t.Errorf("finish again: %v", err)
	}
	wantStored(t, s, g.Key, data)
}

// testGrow has files of sizes around a part, in two pieces.
func testGrow(t *testing.T, p place) {
	s, all := p.open(t), random(2*testPart+99)
	for _, pieces := range [][2]int{{0, 0}, {1, 0}, {100, testPart - 101}, {testPart, 0}, {1000, testPart - 999}, {testPart + 5, testPart + 94}} {
		data := all[:pieces[0]+pieces[1]]
		g := Growth{Key: fmt.Sprintf("a/%d/%d", pieces[0], pieces[1]), SizeHint: int64(len(data))}
		for _, piece := range [][]byte{data[:pieces[0]], data[pieces[0]:]} {
			var saved Growth
			now, err := s.Append(t.Context(), again(t, g), bytes.NewReader(piece), func(_ context.Context, g Growth) error {
				saved = again(t, g)
				return nil
			})
			if err != nil || len(piece) > 0 && saved.Size != now.Size {
				t.Fatalf("%s: got %d bytes, saved %d, %v", g.Key, now.Size, saved.Size, err)
			}
			g = again(t, now)
		}
		if _, err := s.Stat(t.Context(), g.Key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("before it is finished: got %v", err)
		}
		wantFinished(t, p, g, data)
	}
}

// testGrowAndCrash goes on from what was last saved, whatever came between.
func testGrowAndCrash(t *testing.T, p place) {
	data, r := random(3*testPart+12_345), rand.New(rand.NewPCG(3, 0))
	saved := Growth{Key: "a/b", SizeHint: int64(len(data))}
	gone, taken := errors.New("client went away"), errors.New("taken over")
	for tries := 0; saved.Size < int64(len(data)); tries++ {
		if tries > 200 {
			t.Fatalf("still at %d", saved.Size)
		}
		piece := data[saved.Size:min(saved.Size+r.Int64N(testPart), int64(len(data)))]
		before, save := saved.Size, func(_ context.Context, g Growth) error {
			saved = again(t, g)
			return nil
		}
		s, g := p.open(t), again(t, saved)
		switch r.IntN(3) {
		case 0: // all is well
			if now, err := s.Append(t.Context(), g, bytes.NewReader(piece), save); err != nil || now.Size != saved.Size {
				t.Fatalf("got %d bytes, saved %d, %v", now.Size, saved.Size, err)
			}
		case 1: // the client goes away
			cut := io.MultiReader(bytes.NewReader(piece), iotest.ErrReader(gone))
			now, err := s.Append(t.Context(), g, cut, save)
			if err != gone || now.Size != before+int64(len(piece)) || saved.Size != now.Size { //nolint:errorlint // the very error is promised
				t.Fatalf("got %d bytes, saved %d, %v", now.Size, saved.Size, err)
			}
		case 2: // another process has taken over
			_, err := s.Append(t.Context(), g, bytes.NewReader(piece), func(context.Context, Growth) error { return taken })
			if len(piece) > 0 && !errors.Is(err, taken) {
				t.Fatalf("got %v, want %v", err, taken)
			}
		}
		_ = s.Close()
	}
	finish(t, p, saved, data)
	for _, left := range p.left(t) {
		// Whether a save whose error was told was done all the same, nobody knows: the upload that it
		// named is left to the bucket's rule.
		if !strings.HasPrefix(left, "upload of ") {
			t.Errorf("left behind: %q", left)
		}
	}
}

// testGrowOrNothing keeps an Append only when it came to its end.
func testGrowOrNothing(t *testing.T, p place) {
	s, data := p.open(t), random(testPart+777)
	wrong := errors.New("the client's digest differs")
	for _, cut := range []int{100, testPart + 100} {
		g := Growth{Key: fmt.Sprintf("a/%d", cut), SizeHint: int64(len(data))}
		for _, piece := range [][]byte{data[:cut/2], data[cut/2 : cut], data[cut:]} {
			bad := io.MultiReader(bytes.NewReader(random(len(piece)+1000)), iotest.ErrReader(wrong))
			if _, err := s.Append(t.Context(), again(t, g), bad, nil); err != wrong { //nolint:errorlint // the very error is promised
				t.Fatalf("got %v, want %v", err, wrong)
			}
			now, err := s.Append(t.Context(), again(t, g), bytes.NewReader(piece), nil)
			if err != nil {
				t.Fatal(err)
			}
			g = again(t, now)
		}
		wantFinished(t, p, g, data)
	}
}

// testStopGrowing ends the context of an Append: what has come is kept all the same.
func testStopGrowing(t *testing.T, p place) {
	s, data := p.open(t), random(testPart+1000)
	ctx, cancel := context.WithCancel(t.Context())
	var saved Growth
	now, err := s.Append(ctx, Growth{Key: "a", SizeHint: int64(len(data))}, io.MultiReader(bytes.NewReader(data[:testPart+7]), endReader{ctx, cancel}), func(ctx context.Context, g Growth) error {
		saved = again(t, g)
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || now.Size != testPart+7 || saved.Size != now.Size {
		t.Fatalf("got %d bytes, saved %d, %v", now.Size, saved.Size, err)
	}
	now, err = s.Append(t.Context(), saved, bytes.NewReader(data[saved.Size:]), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantFinished(t, p, now, data)
}

// endReader ends its context and itself with it.
type endReader struct {
	ctx context.Context
	end context.CancelFunc
}

func (r endReader) Read([]byte) (int, error) {
	r.end()
	return 0, r.ctx.Err()
}

// testLateWriter has one go on from a state that another has taken over from: what that one has
// stored is not spoiled, as long as the bytes are the same.
func testLateWriter(t *testing.T, p place) {
	data, taken := random(testPart+5000), errors.New("taken over")
	for i, cut := range [][2]int{{100, 2000}, {testPart - 100, testPart + 100}} {
		first := Growth{Key: fmt.Sprint(i), SizeHint: int64(len(data))}
		first, err := p.open(t).Append(t.Context(), first, bytes.NewReader(data[:cut[0]]), nil)
		if err != nil {
			t.Fatal(err)
		}
		next, err := p.open(t).Append(t.Context(), again(t, first), bytes.NewReader(data[cut[0]:cut[1]]), func(context.Context, Growth) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		late := bytes.NewReader(data[cut[0] : cut[1]-50])
		if _, err := p.open(t).Append(t.Context(), again(t, first), late, func(context.Context, Growth) error { return taken }); err == nil {
			t.Error("a late writer was not told")
		}
		last, err := p.open(t).Append(t.Context(), again(t, next), bytes.NewReader(data[cut[1]:]), nil)
		if err != nil {
			t.Fatal(err)
		}
		wantFinished(t, p, last, data)
	}
}

func testDrop(t *testing.T, p place) {
	s := p.open(t)
	for _, size := range []int{0, 100, 2*testPart + 100} {
		g, err := s.Append(t.Context(), Growth{Key: "a", SizeHint: 3 * testPart}, bytes.NewReader(random(size)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Drop(t.Context(), g), s.Drop(t.Context(), g)); err != nil {
			t.Error(err)
		}
		if err := s.Finish(t.Context(), g); err == nil && size > 0 {
			t.Error("finished what was dropped")
		}
		wantNothingLeft(t, p)
	}
}

// testLost has what had come of a file gone: who goes on with it is told, and who finishes it.
func testLost(t *testing.T, p place) {
	s := p.open(t)
	for _, size := range []int{100, 2 * testPart, 2*testPart + 100} {
		g, err := s.Append(t.Context(), Growth{Key: "a", SizeHint: 3 * testPart}, bytes.NewReader(random(size)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.open(t).Drop(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append(t.Context(), again(t, g), strings.NewReader("x"), nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("append to %d bytes: got %v, want %v", size, err, ErrDamaged)
		}
		if err := s.Finish(t.Context(), again(t, g)); !errors.Is(err, ErrDamaged) {
			t.Errorf("finish %d bytes: got %v, want %v", size, err, ErrDamaged)
		}
	}
	wantNothingLeft(t, p)
}

// testFinishAtOnce has several finish one file.
func testFinishAtOnce(t *testing.T, p place) {
	for _, size := range []int{0, 100, testPart + 100} {
		data := random(size)
		g, err := p.open(t).Append(t.Context(), Growth{Key: fmt.Sprint("a/", size), SizeHint: 2 * testPart}, bytes.NewReader(data), nil)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			own, g := p.open(t), again(t, g)
			wg.Go(func() {
				if err := own.Finish(t.Context(), g); err != nil {
					t.Errorf("%d bytes: %v", size, err)
				}
			})
		}
		wg.Wait()
		wantFinished(t, p, g, data)
	}
}

// testSweepGrowing removes what nobody knows of and nobody writes to, and nothing else.
func testSweepGrowing(t *testing.T, p place) {
	s, data := p.open(t), random(1000)
	grown := make(map[string]Growth)
	for _, key := range []string{"a/known", "a/unknown", "unknown"} {
		g, err := s.Append(t.Context(), Growth{Key: key}, bytes.NewReader(data), nil)
		if err != nil {
			t.Fatal(err)
		}
		grown[key] = g
	}
	store(t, s, "a/stored", data)
	for _, c := range []struct {
		idle time.Duration
		want Swept
	}{
		{time.Hour, Swept{}},
		{0, Swept{Files: 2, Bytes: 2000}},
		{0, Swept{}},
	} {
		if got, err := s.SweepGrowing(t.Context(), c.idle, []string{"none", "a/known"}); err != nil || got != c.want {
			t.Errorf("idle for %s: got %+v, %v; want %+v", c.idle, got, err, c.want)
		}
	}
	wantStored(t, s, "a/stored", data)
	if err := s.Finish(t.Context(), grown["unknown"]); !errors.Is(err, ErrDamaged) {
		t.Errorf("finish what was swept: got %v, want %v", err, ErrDamaged)
	}
	wantFinished(t, p, grown["a/known"], data)
}

// testFits holds what is said of how large a file can become against what Append says.
func testFits(t *testing.T, p place) {
	s := p.open(t)
	planned, err := s.Append(t.Context(), Growth{Key: "a", SizeHint: 1000}, bytes.NewReader(random(10)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Fits(planned, 0), s.Fits(planned, testPart*maxParts), s.Fits(Growth{Key: "b"}, testPart*maxParts)); err != nil {
		t.Error(err)
	}
	for _, size := range []int64{testPart*maxParts + 1, maxGrowthPart * maxParts, maxGrowthPart*maxParts + 1} {
		hinted := planned
		hinted.SizeHint = size
		fits := s.Fits(planned, size)
		_, err := s.Append(t.Context(), hinted, bytes.NewReader(nil), nil)
		if (fits == nil) != (err == nil) || fits != nil && !errors.Is(fits, ErrTooLarge) {
			t.Errorf("%d bytes, of what was planned for less: fits: %v; append: %v", size, fits, err)
		}
		anew := Growth{Key: "b", SizeHint: size}
		fits = s.Fits(anew, 0)
		_, err = s.Append(t.Context(), anew, bytes.NewReader(nil), nil)
		if (fits == nil) != (err == nil) || fits != nil && !errors.Is(fits, ErrTooLarge) {
			t.Errorf("%d bytes, from the beginning: fits: %v; append: %v", size, fits, err)
		}
	}
}
