package content

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/storage"
	"longhaul/storage/files"
	"longhaul/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// shelf is contents of a database with the app vision, and of a folder.
type shelf struct {
	*testing.T
	*Contents
	dir string
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	pool, _ := storagetest.DB(t)
	dir := t.TempDir()
	folder, err := files.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := folder.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := pool.Exec(t.Context(), `INSERT INTO apps (name, product) VALUES ('vision', 'none')`); err != nil {
		t.Fatal(err)
	}
	return &shelf{t, New(&storage.DB{Pool: pool}, folder, slog.New(slog.NewTextHandler(t.Output(), nil))), dir}
}

func (s *shelf) take(data []byte, hint Hint) storage.Content {
	s.Helper()
	taken, err := s.Take(s.Context(), bytes.NewReader(data), hint)
	if err != nil {
		s.Fatal(err)
	}
	return taken
}

// read returns all bytes of a content.
func (s *shelf) read(c storage.Content) ([]byte, error) {
	file, err := s.Open(s.Context(), c)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(file)
	return data, errors.Join(err, file.Close())
}

// refer makes a file of the app that has the content.
func (s *shelf) refer(path string, id uuid.UUID) error {
	return s.db.InTx(s.Context(), func(tx pgx.Tx) error {
		put := storage.FilePut{App: "vision", Path: path, Content: id}
		_, err := storage.PutFile(s.Context(), tx, storage.Everywhere, put, storage.Audit{Actor: "anna", Action: "file.put"})
		return err
	})
}

// forget deletes a file, and what it was.
func (s *shelf) forget(path string) error {
	return s.db.InTx(s.Context(), func(tx pgx.Tx) error {
		line := storage.Audit{Actor: "anna", Action: "file.delete"}
		if err := storage.DeleteFile(s.Context(), tx, storage.Everywhere, "vision", path, storage.Condition{}, line); err != nil {
			return err
		}
		_, err := tx.Exec(s.Context(), `DELETE FROM file_versions WHERE path = $1`, path)
		return err
	})
}

// there are the keys of all files, and the number of rows.
func (s *shelf) there() (keys []string, rows int) {
	s.Helper()
	for file, err := range s.store.List(s.Context(), "") {
		if err != nil {
			s.Fatal(err)
		}
		keys = append(keys, file.Key)
	}
	if err := s.db.Pool.QueryRow(s.Context(), `SELECT count(*) FROM contents`).Scan(&rows); err != nil {
		s.Fatal(err)
	}
	return keys, rows
}

// expect says which files there are, all with a row.
func (s *shelf) expect(when string, want ...storage.Content) {
	s.Helper()
	keys, rows := s.there()
	var wanted []string
	for _, c := range want {
		wanted = append(wanted, c.Key())
	}
	if diff := cmp.Diff(wanted, keys); diff != "" || rows != len(want) {
		s.Errorf("%s: %d rows, and files (-want +got):\n%s", when, rows, diff)
	}
}

// table is a text of about so many bytes, which compresses.
func table(size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "%d,Net Sales %d,EUR,%d.%02d\n", i, i%7, i*31%10007, i%100)
	}
	return b.Bytes()[:size]
}

func noise(size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // it has no errors
	return data
}

func TestTake(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		data       []byte
		hint       Hint
		compressed bool
	}{
		"nothing":                         {nil, Hint{Name: "a.csv", Size: -1}, false},
		"a small table":                   {table(60 << 10), Hint{Name: "a.csv", Size: -1}, false},
		"a table":                         {table(1<<20 + 5), Hint{Name: "in/A.CSV", Size: 1<<20 + 5}, true},
		"a table of unknown size":         {table(100 << 10), Hint{Name: "a.csv", Size: -1}, true},
		"a table by its type":             {table(100 << 10), Hint{Type: "text/csv; charset=utf-8", Size: 100 << 10}, true},
		"an archive":                      {noise(1<<20 + 1), Hint{Name: "a.zip", Type: "application/zip", Size: -1}, false},
		"noise that says otherwise":       {noise(100 << 10), Hint{Name: "a.txt", Size: -1}, true},
		"bytes of which nothing is known": {table(100 << 10), Hint{Size: -1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			taken := s.take(test.data, test.hint)
			var digest files.Digest
			_, _ = digest.Write(test.data)
			want := storage.Content{
				ID: taken.ID, SHA256: digest.SHA256(), Size: int64(len(test.data)), Encoding: storage.Identity, StoredSize: taken.StoredSize, Sums: digest.Sums(),
			}
			if test.compressed {
				want.Encoding = storage.Zstd
			} else {
				want.StoredSize = want.Size
			}
			if diff := cmp.Diff(want, taken); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
			if got, err := s.db.Content(t.Context(), taken.ID); err != nil || !cmp.Equal(taken, got) {
				t.Errorf("row: %v\n%s", err, cmp.Diff(taken, got))
			}
			file, err := s.Open(t.Context(), taken)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if file.Size() != taken.Size {
				t.Errorf("size %d", file.Size())
			}
			if err := iotest.TestReader(file, test.data); err != nil {
				t.Error(err)
			}
			if again := s.take(test.data, test.hint); !cmp.Equal(taken, again) {
				t.Errorf("taken again: %s", cmp.Diff(taken, again))
			}
			s.expect("the same bytes, twice", taken)
		})
	}
}

// The table, compressed, is a good deal smaller, and any zstd can read it.
func TestCompressedAtRest(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	data := table(4 << 20)
	taken := s.take(data, Hint{Name: "a.csv", Size: -1})
	if taken.StoredSize > taken.Size/2 {
		t.Errorf("%d bytes became %d", taken.Size, taken.StoredSize)
	}
	dec, err := decoder()
	if err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(filepath.Join(s.dir, taken.Key()))
	if err != nil || int64(len(stored)) != taken.StoredSize {
		t.Fatalf("%d bytes stored, %v", len(stored), err)
	}
	if frame, err := dec.DecodeAll(stored[:bytes.Index(stored[4:], stored[:4])+4], nil); err != nil || !bytes.Equal(frame, data[:files.SumBlock]) {
		t.Errorf("the first frame: %d bytes, %v", len(frame), err)
	}
	file, err := s.Open(t.Context(), taken)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for range 50 {
				off := random.Int64N(taken.Size)
				p := make([]byte, random.IntN(300_000))
				n, err := file.ReadAt(p, off)
				if want := data[off:min(off+int64(len(p)), taken.Size)]; !bytes.Equal(want, p[:n]) || (err != nil) != (n < len(p)) {
					t.Errorf("at %d: %d of %d bytes, %v", off, n, len(p), err)
				}
			}
		})
	}
	readers.Wait()
}

// What the reader ends with is told as it is, and nothing is kept.
func TestTakeOfBrokenReader(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	broken := errors.New("broken")
	for _, size := range []int{0, 1000, 100_000, 3 << 20} {
		for _, name := range []string{"a.csv", "a.zip"} {
			r := io.MultiReader(bytes.NewReader(table(size)), iotest.ErrReader(broken))
			if taken, err := s.Take(t.Context(), r, Hint{Name: name, Size: -1}); err != broken { //nolint:errorlint // as it is
				t.Errorf("%s of %d bytes: %+v, %v", name, size, taken, err)
			}
		}
	}
	s.expect("after broken readers")
	swept, err := s.store.Sweep(t.Context(), 0)
	if err != nil || swept.Files != 0 {
		t.Errorf("unfinished files: %+v, %v", swept, err)
	}
}

func TestReleaseAndSweep(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	sweep := func(grace time.Duration, want int64) {
		t.Helper()
		if count, _, err := s.sweep(t.Context(), grace); count != want || err != nil {
			t.Fatalf("swept %d, %v", count, err)
		}
	}
	release := func(c storage.Content) {
		t.Helper()
		if err := s.Release(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
	}
	once := s.take([]byte("once"), Hint{})
	twice := s.take([]byte("twice"), Hint{})
	s.take([]byte("twice"), Hint{})
	used := s.take([]byte("used"), Hint{})
	if err := s.refer("a", used.ID); err != nil {
		t.Fatal(err)
	}
	release(once)
	release(once)
	release(twice) // the other taker may be about to refer to it
	release(used)
	s.expect("released", twice, used)
	sweep(time.Hour, 0)
	sweep(0, 1)
	s.expect("swept", used)
	if err := s.refer("b", twice.ID); !errors.Is(err, storage.ErrContentGone) {
		t.Errorf("refer to what is gone: %v", err)
	}
	other := s.take([]byte("other"), Hint{})
	if err := s.refer("a", other.ID); err != nil {
		t.Fatal(err)
	}
	sweep(0, 0) // the earlier version refers to it
	if n, err := s.db.ExpireVersions(t.Context(), 0, 10); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	sweep(time.Hour, 0)
	sweep(0, 1)
	s.expect("the version is expired", other)
	if err := s.forget("a"); err != nil {
		t.Fatal(err)
	}
	release(other)
	s.expect("forgotten")
}

// A crash left a content doomed, with its file or without.
func TestSweepGoesOn(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	one, two := s.take([]byte("one"), Hint{}), s.take([]byte("two"), Hint{})
	if doomed, looked, err := s.db.DoomContents(t.Context(), 0, 10); len(doomed) != 2 || looked != 2 || err != nil {
		t.Fatal(doomed, looked, err)
	}
	if err := s.store.Remove(t.Context(), one.Key()); err != nil {
		t.Fatal(err)
	}
	anew := s.take([]byte("two"), Hint{})
	if anew.ID == two.ID {
		t.Error("a doomed content was taken up")
	}
	if count, size, err := s.Sweep(t.Context()); count != 2 || size != 6 || err != nil {
		t.Error(count, size, err)
	}
	s.expect("swept", anew)
}

// Files that crashes left without a row go when they are old; others stay.
func TestSweepOrphans(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	kept := s.take([]byte("kept"), Hint{})
	old := func(key string) {
		t.Helper()
		then := time.Now().Add(-2 * orphanAge)
		if err := os.Chtimes(filepath.Join(s.dir, key), then, then); err != nil {
			t.Fatal(err)
		}
	}
	orphan := func(drawn time.Time) string {
		t.Helper()
		id := uuid.Must(uuid.NewV7())
		for i, ms := 5, drawn.UnixMilli(); i >= 0; i, ms = i-1, ms>>8 {
			id[i] = byte(ms)
		}
		if drawnAt(id).UnixMilli() != drawn.UnixMilli() {
			t.Fatalf("drawn at %v", drawnAt(id))
		}
		w, err := s.store.Create(t.Context(), storage.ContentKey(id))
		if err == nil {
			_, err = w.Write([]byte("orphan"))
		}
		if err == nil {
			_, err = w.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		return storage.ContentKey(id)
	}
	past := time.Now().Add(-2 * orphanAge)
	gone := orphan(past)
	young, adopted, growing, whole := orphan(past), orphan(time.Now()), orphan(past), orphan(past)
	for _, key := range []string{kept.Key(), gone, adopted, growing, whole} {
		old(key)
	}
	for _, growth := range []string{`{"key": "` + growing + `"}`, `{"key": "another", "direct": {"from": "` + whole + `"}}`} {
		if _, err := s.db.Pool.Exec(t.Context(), `
			INSERT INTO uploads (id, owner, created_by, protocol, growth, expires_at)
			VALUES (gen_random_uuid(), gen_random_uuid(), 'anna', 'tus', $1::text::json, now())`, growth); err != nil {
			t.Fatal(err)
		}
	}
	if count, size, err := s.SweepOrphans(t.Context()); count != 1 || size != 6 || err != nil {
		t.Errorf("%d files of %d bytes, %v", count, size, err)
	}
	keys, _ := s.there()
	for key, there := range map[string]bool{kept.Key(): true, gone: false, young: true, adopted: true, growing: true, whole: true} {
		if strings.Contains(strings.Join(keys, " "), key) != there {
			t.Errorf("%s: %v", key, !there)
		}
	}
}

// A byte that is flipped on disk is an error, wherever it is, and never other bytes. The same bytes,
// taken in anew, are stored anew.
func TestDamage(t *testing.T) {
	t.Parallel()
	for name, hint := range map[string]Hint{"plain": {Name: "a.bin", Size: -1}, "compressed": {Name: "a.csv", Size: -1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			data := table(2<<20 + 100)
			taken := s.take(data, hint)
			path := filepath.Join(s.dir, taken.Key())
			stored, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewPCG(1, 2))
			for i := range 60 {
				at := random.IntN(len(stored))
				if i < 30 { // the table of the compressed one, and the last block
					at = len(stored) - 1 - i
				}
				damaged := bytes.Clone(stored)
				damaged[at] ^= 1 << random.IntN(8)
				if err := os.WriteFile(path, damaged, 0o600); err != nil {
					t.Fatal(err)
				}
				got, err := s.read(taken)
				if !errors.Is(err, files.ErrDamaged) && !(err == nil && hint.Name == "a.csv") {
					t.Errorf("byte %d of %d: %v", at, len(stored), err)
				}
				// Bits of the format that mean nothing may be flipped; the bytes are right all the same.
				if !bytes.HasPrefix(data, got) || err == nil && len(got) != len(data) {
					t.Fatalf("byte %d of %d: %d bytes that are not those that were stored", at, len(stored), len(got))
				}
			}
			for _, size := range []int{0, 5, len(stored) - 1} {
				if err := os.WriteFile(path, stored[:size], 0o600); err != nil {
					t.Fatal(err)
				}
				if got, err := s.read(taken); !errors.Is(err, files.ErrDamaged) {
					t.Errorf("cut to %d: %d bytes, %v", size, len(got), err)
				}
			}
			if err := s.store.Remove(t.Context(), taken.Key()); err != nil {
				t.Fatal(err)
			}
			if _, err := s.read(taken); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("removed: %v", err)
			}
			anew := s.take(data, hint)
			if got, err := s.read(anew); anew.ID == taken.ID || err != nil || !bytes.Equal(got, data) {
				t.Errorf("taken anew: %d bytes, %v", len(got), err)
			}
		})
	}
}

// Many take in the same few bytes, refer to them, let go and sweep without any grace: what is
// referred to can be read, and in the end nothing is left.
func TestTakersAndSweepers(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	var takers, sweepers sync.WaitGroup
	var gone, referred atomic.Int64
	done := make(chan struct{})
	for range 2 {
		sweepers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, _, err := s.sweep(t.Context(), 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n := range 8 {
		takers.Go(func() {
			random := rand.New(rand.NewPCG(3, uint64(n)))
			for range 40 {
				again, err := s.takeReferRead(fmt.Sprint("file ", n), fmt.Sprint("text ", random.IntN(3)))
				if err != nil {
					t.Error(err)
					return
				}
				gone.Add(again)
				referred.Add(1)
			}
		})
	}
	takers.Wait()
	close(done)
	sweepers.Wait()
	t.Logf("%d were referred to, %d were gone before", referred.Load(), gone.Load())
	if gone.Load() == 0 {
		t.Error("nothing was removed between taking and referring")
	}
	if _, _, err := s.sweep(t.Context(), 0); err != nil {
		t.Error(err)
	}
	s.expect("swept")
}

// takeReferRead takes a text in, refers to it, reads it and lets it go. It returns how often it was
// gone before it was referred to.
func (s *shelf) takeReferRead(path, text string) (gone int64, err error) {
	for {
		taken, err := s.Take(s.Context(), strings.NewReader(text), Hint{})
		if err != nil {
			return gone, err
		}
		err = s.refer(path, taken.ID)
		if errors.Is(err, storage.ErrContentGone) {
			gone++
			continue
		}
		if err != nil {
			return gone, err
		}
		if got, err := s.read(taken); err != nil || string(got) != text {
			return gone, fmt.Errorf("referred to, and read as %q: %w", got, err)
		}
		if err := s.forget(path); err != nil {
			return gone, err
		}
		return gone, s.Release(s.Context(), taken.ID)
	}
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	data := table(3 << 20)
	w, err := s.store.Create(t.Context(), "vision/load/1/outbound/a.csv")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	stored, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	adopted, err := s.Adopt(t.Context(), stored.Key, stored.Size, stored.SHA256, stored.Sums)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Adopt(t.Context(), stored.Key, stored.Size, stored.SHA256, stored.Sums)
	if err != nil || again.ID != adopted.ID {
		t.Errorf("adopted again as %s, %v", again.ID, err)
	}
	if err := s.store.Remove(t.Context(), stored.Key); err != nil {
		t.Fatal(err)
	}
	if got, err := s.read(adopted); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	s.expect("adopted", adopted)
	if _, err := s.Adopt(t.Context(), "nothing", 3, sha256.Sum256(nil), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestFinish(t *testing.T) {
	t.Parallel()
	data := table(2<<20 + 3)
	for name, test := range map[string]struct {
		hint    Hint
		unknown bool // the bytes did not pass through us
		twin    bool // there are such bytes already
	}{
		"plain":                  {hint: Hint{Name: "a.zip"}},
		"plain, unread":          {hint: Hint{Name: "a.zip"}, unknown: true},
		"plain twin":             {hint: Hint{Name: "a.zip"}, twin: true},
		"plain twin, unread":     {hint: Hint{Name: "a.zip"}, unknown: true, twin: true},
		"compressed":             {hint: Hint{Name: "a.csv"}},
		"compressed, unread":     {hint: Hint{Name: "a.csv"}, unknown: true},
		"compressed twin":        {hint: Hint{Name: "a.csv"}, twin: true},
		"compressed unread twin": {hint: Hint{Name: "a.csv"}, unknown: true, twin: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			var twin storage.Content
			if test.twin {
				twin = s.take(data, Hint{Size: -1})
			}
			g := s.grow(data)
			if test.unknown {
				g.Digest = files.Digest{}
			}
			var told int64
			progress := func(_ context.Context, done int64) error { told = done; return nil }
			made, err := s.Finish(t.Context(), g, test.hint, progress)
			if err != nil {
				t.Fatal(err)
			}
			reads := test.unknown || test.hint.Name == "a.csv" && !test.twin
			if want := map[bool]int64{true: g.Size}[reads]; told != want {
				t.Errorf("told %d of %d bytes", told, want)
			}
			if test.twin != (made.ID == twin.ID) || (made.Encoding == storage.Zstd) != (test.hint.Name == "a.csv" && !test.twin) {
				t.Errorf("made %+v", made)
			}
			if got, err := s.read(made); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			again, err := s.Finish(t.Context(), g, test.hint, progress)
			if err != nil || !cmp.Equal(made, again) {
				t.Errorf("finished again: %v\n%s", err, cmp.Diff(made, again))
			}
			s.Discard(t.Context(), g, made)
			s.expect("what had grown is discarded", made)
			if grown, err := os.ReadDir(filepath.Join(s.dir, ".growing")); len(grown) != 0 || err != nil {
				t.Errorf("still growing: %v, %v", grown, err)
			}
		})
	}
}

// Bytes that came stay while the database does not take their row: nobody else has them.
func TestFinishOutlivesTheDatabase(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	told := func(context.Context, int64) error { return nil }
	pool, err := pgxpool.NewWithConfig(t.Context(), s.db.Pool.Config())
	if err != nil {
		t.Fatal(err)
	}
	pool.Close()
	away := New(&storage.DB{Pool: pool}, s.store, s.logger)
	for _, name := range []string{"a.zip", "a.csv"} {
		data := table(1 << 20)
		g := s.grow(data)
		g.Digest = files.Digest{}
		if _, err := away.Finish(t.Context(), g, Hint{Name: name}, told); err == nil {
			t.Error("a row was made in a database that is closed")
		}
		made, err := s.Finish(t.Context(), g, Hint{Name: name}, told)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.read(made); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// Bytes are not given up for a content whose file is gone, or is not what it was.
func TestLostTwin(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(file string) error{
		"gone":  os.Remove,
		"short": func(file string) error { return os.Truncate(file, 5) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			told := func(context.Context, int64) error { return nil }
			for what, again := range map[string]func(data []byte) (storage.Content, error){
				"taken": func(data []byte) (storage.Content, error) {
					return s.Take(t.Context(), bytes.NewReader(data), Hint{Size: -1})
				},
				"finished": func(data []byte) (storage.Content, error) {
					return s.Finish(t.Context(), s.grow(data), Hint{Name: "a.zip"}, told)
				},
				"finished unread": func(data []byte) (storage.Content, error) {
					g := s.grow(data)
					g.Digest = files.Digest{}
					return s.Finish(t.Context(), g, Hint{Name: "a.csv"}, told)
				},
			} {
				data := table(100_000 + len(what))
				twin := s.take(data, Hint{Size: -1})
				if err := lose(filepath.Join(s.dir, twin.Key())); err != nil {
					t.Fatal(err)
				}
				made, err := again(data)
				if err != nil || made.ID == twin.ID {
					t.Errorf("%s: %+v, %v", what, made, err)
				}
				if got, err := s.read(made); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s: %d bytes, %v", what, len(got), err)
				}
			}
		})
	}
}

// A content that was made of an upload stays, however late another worker comes to say so.
func TestSweepWhileFinishing(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	g := s.grow(noise(1000))
	made, err := s.Finish(t.Context(), g, Hint{Name: "a.zip"}, func(context.Context, int64) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Pool.Exec(t.Context(), `
		INSERT INTO uploads (id, owner, created_by, protocol, growth, state, due_at, size, received, expires_at)
		VALUES (gen_random_uuid(), gen_random_uuid(), 'anna', 'tus', jsonb_build_object('key', $1::text), 'finishing', now(), 1000, 1000, now())`, g.Key); err != nil {
		t.Fatal(err)
	}
	sweep := func() {
		t.Helper()
		if _, _, err := s.sweep(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if err := s.Release(t.Context(), made.ID); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	s.expect("while it is finishing", made)
	if _, err := s.db.Pool.Exec(t.Context(), `DELETE FROM uploads`); err != nil {
		t.Fatal(err)
	}
	sweep()
	s.expect("when the upload is gone")
}

// grow makes a file that has grown.
func (s *shelf) grow(data []byte) files.Growth {
	s.Helper()
	g := files.Growth{Key: storage.ContentKey(uuid.Must(uuid.NewV7()))}
	g, err := s.store.Append(s.Context(), g, bytes.NewReader(data), nil)
	if err != nil {
		s.Fatal(err)
	}
	return g
}

func TestFinishRefusals(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	told := func(context.Context, int64) error { return nil }
	if _, err := s.Finish(t.Context(), files.Growth{Key: "vision/a"}, Hint{}, told); err == nil {
		t.Error("a key of another kind was taken")
	}
	lost := errors.New("lost")
	g := s.grow(table(1 << 20))
	for _, name := range []string{"a.zip", "a.csv"} {
		g.Digest = files.Digest{}
		if _, err := s.Finish(t.Context(), g, Hint{Name: name}, func(context.Context, int64) error { return lost }); !errors.Is(err, lost) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What was damaged since it was read in is not compressed into a content.
	g = s.grow(table(1 << 20))
	if err := s.store.Finish(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, g.Key), noise(1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Finish(t.Context(), g, Hint{Name: "a.csv"}, told); !errors.Is(err, files.ErrDamaged) {
		t.Error(err)
	}
	if _, rows := s.there(); rows != 0 {
		t.Errorf("%d rows", rows)
	}
}
