package storage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/storage"
)

// follower reads the feed and keeps what it was told.
type follower struct {
	scope *storage.Scope
	query storage.ChangesQuery
	told  []string         // op, file and version of each change
	files map[string]int64 // versions of what there is, by app and path
}

func (a *fileArea) follower(q storage.ChangesQuery) *follower {
	return &follower{scope: a.db.For(storage.Everywhere), query: q, files: map[string]int64{}}
}

// next reads a page and reports whether there may be more.
func (f *follower) next(ctx context.Context) (more bool, err error) {
	page, err := f.scope.Changes(ctx, f.query)
	if err != nil {
		return false, err
	}
	f.query.Cursor = page.Next
	for _, c := range page.Items {
		name := c.App + " " + c.Path
		if c.File == nil {
			f.told = append(f.told, fmt.Sprintf("%s %s", c.Op, name))
			delete(f.files, name)
			continue
		}
		f.told = append(f.told, fmt.Sprintf("%s %s %d", c.Op, name, c.File.Version))
		f.files[name] = c.File.Version
	}
	return page.More, nil
}

// catchUp reads to the end and returns what it was told on the way.
func (f *follower) catchUp(t *testing.T) []string {
	t.Helper()
	before := len(f.told)
	for {
		more, err := f.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return f.told[before:]
		}
	}
}

// present are the versions of the files that there are.
func (a *fileArea) present() map[string]int64 {
	a.Helper()
	rows, err := a.db.Pool.Query(a.Context(), `SELECT app || ' ' || path, version FROM files`)
	if err != nil {
		a.Fatal(err)
	}
	files := map[string]int64{}
	var name string
	var version int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &version}, func() error {
		files[name] = version
		return nil
	}); err != nil {
		a.Fatal(err)
	}
	return files
}

func TestChanges(t *testing.T) {
	t.Parallel()
	a := newFileArea(t)
	early := a.follower(storage.ChangesQuery{Limit: 2})
	if told := early.catchUp(t); told != nil {
		t.Error(told)
	}
	a.mustPut("a", "one")
	a.mustPut("b", "one")
	a.mustPut("a", "two")
	late := a.follower(storage.ChangesQuery{Limit: 2})
	now := a.follower(storage.ChangesQuery{Limit: 2, Cursor: storage.CursorNow})
	if err := a.delete("b", storage.Condition{}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		f    *follower
		want []string
	}{
		{"from before all", early, []string{"put vision a 1", "put vision b 1", "put vision a 2", "delete vision b"}},
		{"from the beginning", late, []string{"put vision a 2"}},
		{"from now", now, nil},
	} {
		if diff := cmp.Diff(test.want, test.f.catchUp(t)); diff != "" {
			t.Errorf("%s (-want +told):\n%s", test.name, diff)
		}
	}
	file := a.mustPut("c", "three")
	page, err := early.scope.Changes(t.Context(), early.query)
	if err != nil {
		t.Fatal(err)
	}
	again, err := early.scope.Changes(t.Context(), storage.ChangesQuery{Cursor: page.Next, Limit: 2})
	if err != nil || again.Next != page.Next || again.More || again.Items != nil {
		t.Errorf("nothing new: %+v, %v", again, err)
	}
	file.Content = [16]byte{}
	want := storage.ChangesPage{Items: []storage.Change{{App: "vision", Path: "c", Op: "put", File: &file}}, Next: page.Next}
	if diff := cmp.Diff(want, page); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
	for _, f := range []*follower{early, late, now} {
		if diff := cmp.Diff([]string{"put vision c 1"}, f.catchUp(t)); diff != "" {
			t.Error(diff)
		}
	}
}

// What changes while the files are listed is told once, after the list.
func TestListingWhileChanging(t *testing.T) {
	t.Parallel()
	a := newFileArea(t)
	for _, path := range []string{"a", "b", "c", "d"} {
		a.mustPut(path, "one")
	}
	f := a.follower(storage.ChangesQuery{Limit: 1})
	if _, err := f.next(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.mustPut("a", "two")
	a.mustPut("b", "two")
	a.mustPut("b", "three")
	if err := a.delete("c", storage.Condition{}); err != nil {
		t.Fatal(err)
	}
	a.mustPut("e", "one")
	f.catchUp(t)
	if diff := cmp.Diff([]string{
		"put vision a 1", "put vision d 1", "put vision a 2", "put vision b 2", "put vision b 3", "delete vision c", "put vision e 1",
	}, f.told); diff != "" {
		t.Error(diff)
	}
}

// The files of all apps are listed, one app after the other.
func TestListingOfApps(t *testing.T) {
	t.Parallel()
	a := newFileArea(t)
	exec(t, a.db, `INSERT INTO apps (name, product) VALUES ('a', 'none'), ('a-1', 'none'), ('b', 'none'), ('c', 'none')`)
	exec(t, a.db, `
		INSERT INTO files (app, path, version, content, content_type, modified_by)
		SELECT app, path, 1, $1, '', 'jo' FROM unnest('{a,a,a-1,c,c,c}'::text[], '{1,2,1,1,2,3}'::text[]) AS f (app, path)`, a.content("one"))
	changed := "put vision changed 1"
	for limit := 1; limit <= 8; limit++ {
		f := a.follower(storage.ChangesQuery{Limit: limit})
		if limit == 1 { // and then it is listed
			if _, err := f.next(t.Context()); err != nil {
				t.Fatal(err)
			}
			a.mustPut("changed", "one")
		}
		f.catchUp(t)
		want := []string{"put a 1 1", "put a 2 1", "put a-1 1 1", "put c 1 1", "put c 2 1", "put c 3 1", changed}
		if diff := cmp.Diff(want, f.told); diff != "" {
			t.Errorf("by %d (-want +told):\n%s", limit, diff)
		}
		one := a.follower(storage.ChangesQuery{Limit: limit, App: "c"})
		if diff := cmp.Diff(want[3:6], one.catchUp(t)); diff != "" {
			t.Errorf("one app, by %d (-want +told):\n%s", limit, diff)
		}
	}
}

func TestCursors(t *testing.T) {
	t.Parallel()
	a := newFileArea(t)
	exec(t, a.db, `INSERT INTO members (app, kind, member, role, see_data, added_by) VALUES ('vision', 'person', 'jo', 'operator', true, 'anna')`)
	jo := a.db.For(storage.Reach{Login: "jo", Scopes: storage.AllRights})
	read := func(cursor, app string) (storage.ChangesPage, error) {
		return jo.Changes(t.Context(), storage.ChangesQuery{Cursor: cursor, App: app, Limit: 10})
	}
	now := func() string {
		t.Helper()
		page, err := read(storage.CursorNow, "")
		if err != nil {
			t.Fatal(err)
		}
		return page.Next
	}
	for _, bad := range []string{"x", "!", "bnVsbA", "e30", "eyJzIjotMSwiYSI6ImEifQ", now() + "x"} {
		if _, err := read(bad, ""); !errors.Is(err, storage.ErrBadCursor) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
	if _, err := read("", "ledger"); !errors.Is(err, storage.ErrNotFound) {
		t.Error(err)
	}
	a.mustPut("a", "one")
	cursor := now()
	if _, err := read(cursor, "vision"); err != nil { // it is the same apps
		t.Error(err)
	}
	// A new app's files come all after the cursor; those of one that was there do not.
	exec(t, a.db, `INSERT INTO apps (name, product) VALUES ('new', 'none')`)
	exec(t, a.db, `INSERT INTO members (app, kind, member, role, see_data, added_by) VALUES ('new', 'person', 'jo', 'operator', true, 'anna')`)
	if _, err := read(cursor, ""); err != nil {
		t.Errorf("after an app was made: %v", err)
	}
	cursor = now()
	exec(t, a.db, `UPDATE members SET app = 'ledger' WHERE app = 'new'`)
	if _, err := read(cursor, ""); !errors.Is(err, storage.ErrCursorTooOld) {
		t.Errorf("other apps: %v", err)
	}
	if _, err := read(now(), "vision"); !errors.Is(err, storage.ErrCursorTooOld) {
		t.Errorf("fewer apps: %v", err)
	}
	// What was trimmed is missing only to who has not read it.
	page, err := read("", "vision")
	if err != nil || len(page.Items) != 1 {
		t.Fatal(page, err)
	}
	listed := page.Next
	for _, path := range []string{"b", "c", "d"} {
		a.mustPut(path, "one")
	}
	page, err = jo.Changes(t.Context(), storage.ChangesQuery{Cursor: listed, App: "vision", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := a.db.TrimChanges(t.Context(), time.Hour, 10); n != 0 || err != nil {
		t.Error(n, err)
	}
	exec(t, a.db, `UPDATE changes SET at = at - interval '2 hours' WHERE path <> 'd'`)
	if n, err := a.db.TrimChanges(t.Context(), time.Hour, 2); n != 2 || err != nil {
		t.Error(n, err)
	}
	if _, err := read(listed, "vision"); !errors.Is(err, storage.ErrCursorTooOld) {
		t.Errorf("trimmed: %v", err)
	}
	if page, err = read(page.Next, "vision"); err != nil || len(page.Items) != 2 {
		t.Errorf("after b: %+v, %v", page, err)
	}
	if n, err := a.db.TrimChanges(t.Context(), time.Hour, 10); n != 1 || err != nil {
		t.Error(n, err)
	}
	// A database that was restored from a copy of before: what it tells is not what comes next.
	exec(t, a.db, `UPDATE change_feed SET last = last - 1`)
	if _, err := read(page.Next, "vision"); !errors.Is(err, storage.ErrCursorTooOld) {
		t.Errorf("from the future: %v", err)
	}
}

// Sixteen writers change a few hundred files, hold their commits back, and give some up.
func TestChangesOfManyWriters(t *testing.T) {
	t.Parallel()
	const writers, transactions, paths, times = 16, 160, 8, 5 // 102,400 changes, but for those that are given up
	a := newBusyArea(t)
	a.mustPut("file 007", "one")
	now := func() *follower {
		f := a.follower(storage.ChangesQuery{Cursor: storage.CursorNow, Limit: 700})
		f.files["vision file 007"] = 1
		f.catchUp(t)
		return f
	}
	start, behind, left := now(), now(), now()
	behind.query.Compact = 1000

	begin := time.Now()
	var writing, reading sync.WaitGroup
	done, half := make(chan struct{}), make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			random := rand.New(rand.NewPCG(4, uint64(w)))
			for i := range transactions {
				if err := a.writeMany(random, paths, times); err != nil {
					t.Error(err)
					return
				}
				if w == 0 && i == transactions/2 {
					close(half)
				}
			}
		})
	}
	middle := a.follower(storage.ChangesQuery{Limit: 50, Compact: 1000})
	for _, f := range []*follower{start, left, middle} {
		reading.Go(func() {
			if f == middle {
				select {
				case <-half:
				case <-done:
				}
			}
			follow(t, f, done)
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	t.Logf("written and read in %v", time.Since(begin))

	want := a.toldByFile()
	for _, f := range []*follower{start, left} {
		if diff := cmp.Diff(want, byFile(f.told)); diff != "" {
			t.Errorf("made and told (-made +told):\n%.2000s", diff)
		}
	}
	if len(start.told) < 80_000 {
		t.Errorf("only %d changes", len(start.told))
	}
	if told := behind.catchUp(t); len(told) > 1000 {
		t.Errorf("who is far behind is told %d changes", len(told))
	}
	present := a.present()
	for name, f := range map[string]*follower{"from the start": start, "beside it": left, "from the middle": middle, "far behind": behind} {
		if diff := cmp.Diff(present, f.files); diff != "" {
			t.Errorf("%s (-there +told):\n%.2000s", name, diff)
		}
	}
	for name, told := range byFile(middle.told) {
		puts := slices.DeleteFunc(told, func(change string) bool { return change[0] != 'p' })
		if !slices.IsSorted(puts) {
			t.Errorf("from the middle, %s: %v", name, told)
		}
	}
}

// newBusyArea is a file area with connections for all.
func newBusyArea(t *testing.T) *fileArea {
	t.Helper()
	a := newFileArea(t)
	config := a.db.Pool.Config()
	config.MaxConns = 24
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	a.db = &storage.DB{Pool: pool}
	return a
}

var errGivenUp = errors.New("given up")

// writeMany changes some files several times each in one transaction, one of them as callers do,
// and gives up one in ten.
func (a *fileArea) writeMany(random *rand.Rand, paths, times int) error {
	names := make([]string, paths)
	for i := range names {
		names[i] = fmt.Sprintf("file %03d", random.IntN(400))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	content, other := a.content(fmt.Sprint(random.IntN(5))), a.content(fmt.Sprint(random.IntN(5)))
	err := a.db.InTx(a.Context(), func(tx pgx.Tx) error {
		if err := storage.LockPaths(a.Context(), tx, storage.Everywhere, "vision", nil, names...); err != nil {
			return err
		}
		_, err := tx.Exec(a.Context(), `
			WITH put AS (
				INSERT INTO files AS f (app, path, version, content, content_type, modified_by)
				SELECT 'vision', p, $2 + coalesce((SELECT max(version) FROM file_versions WHERE app = 'vision' AND path = p), 0), $3, '', 'jo'
				FROM unnest($1::text[]) AS p
				ON CONFLICT (app, path) DO UPDATE SET version = f.version + $2
				RETURNING path, version)
			INSERT INTO changes (app, path, op, file)
			SELECT 'vision', path, 'put', jsonb_build_object('version', version - $2 + k) FROM put, generate_series(1, $2::int) AS k ORDER BY k, path`,
			names, times, content)
		if err != nil {
			return err
		}
		if random.IntN(5) == 0 {
			if err := a.writeOne(tx, names[random.IntN(len(names))], other, random.IntN(3) == 0); err != nil {
				return err
			}
		}
		time.Sleep(time.Duration(random.IntN(8)) * time.Millisecond) // the commit comes late
		if random.IntN(10) == 0 {
			return errGivenUp
		}
		return nil
	})
	if errors.Is(err, errGivenUp) {
		return nil
	}
	return err
}

// writeOne puts or deletes a file.
func (a *fileArea) writeOne(tx pgx.Tx, path string, content uuid.UUID, gone bool) error {
	if gone {
		return storage.DeleteFile(a.Context(), tx, storage.Everywhere, "vision", path, storage.Condition{}, byAnna)
	}
	put := storage.FilePut{App: "vision", Path: path, Content: content}
	_, err := storage.PutFile(a.Context(), tx, storage.Everywhere, put, byAnna)
	return err
}

// follow reads until done is closed and there is nothing more.
func follow(t *testing.T, f *follower, done <-chan struct{}) {
	for ended := false; ; {
		more, err := f.next(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		if more {
			continue
		}
		if ended {
			return
		}
		select {
		case <-done:
			ended = true
		case <-time.After(time.Millisecond):
		}
	}
}

// toldByFile are the changes of each file in the order in which they were made.
func (a *fileArea) toldByFile() map[string][]string {
	a.Helper()
	rows, err := a.db.Pool.Query(a.Context(), `
		SELECT concat_ws(' ', op, app, path, file ->> 'version') FROM changes WHERE id > 1 ORDER BY id`)
	if err != nil {
		a.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		a.Fatal(err)
	}
	return byFile(all)
}

// byFile parts changes, as told has them, by the file.
func byFile(told []string) map[string][]string {
	parted := map[string][]string{}
	for _, change := range told {
		op, rest, _ := strings.Cut(change, " ")
		path, version := rest[:len("vision file 000")], rest[len("vision file 000"):] // a delete has no version
		parted[path] = append(parted[path], fmt.Sprintf("%s %7s", op, version))
	}
	return parted
}
