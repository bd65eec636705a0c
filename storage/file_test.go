package storage_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
	"longhaul/storage/storagetest"
)

// fileArea is a database with the apps vision and ledger, and what a test does with their files.
type fileArea struct {
	*testing.T
	db *storage.DB
}

func newFileArea(t *testing.T) *fileArea {
	t.Helper()
	pool, _ := storagetest.DB(t)
	a := &fileArea{t, &storage.DB{Pool: pool}}
	exec(t, a.db, `INSERT INTO apps (name, product) VALUES ('vision', 'none'), ('ledger', 'none')`)
	return a
}

// content stores a row for a content with this text; there is no file.
func (a *fileArea) content(text string) uuid.UUID {
	a.Helper()
	c, err := a.db.KeepContent(a.Context(), &storage.Content{
		ID: uuid.Must(uuid.NewV7()), SHA256: sha256.Sum256([]byte(text)), Size: int64(len(text)), Encoding: storage.Identity, StoredSize: int64(len(text)),
	})
	if err != nil {
		a.Fatal(err)
	}
	return c.ID
}

func digestOf(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}

var byAnna = storage.Audit{Actor: "anna", Action: "file.put", App: "vision"}

func (a *fileArea) put(path, text string, cond storage.Condition) (changed storage.Changed, err error) {
	put := storage.FilePut{App: "vision", Path: path, Content: a.content(text), ContentType: "text/plain", If: cond}
	err = a.db.InTx(a.Context(), func(tx pgx.Tx) error {
		changed, err = storage.PutFile(a.Context(), tx, storage.Everywhere, put, byAnna)
		return err
	})
	return changed, err
}

func (a *fileArea) mustPut(path, text string) storage.File {
	a.Helper()
	changed, err := a.put(path, text, storage.Condition{})
	if err != nil {
		a.Fatalf("put %s: %v", path, err)
	}
	return changed.File
}

func (a *fileArea) delete(path string, cond storage.Condition) error {
	return a.db.InTx(a.Context(), func(tx pgx.Tx) error {
		return storage.DeleteFile(a.Context(), tx, storage.Everywhere, "vision", path, cond, byAnna)
	})
}

func (a *fileArea) move(from, to string) (changed storage.Changed, err error) {
	err = a.db.InTx(a.Context(), func(tx pgx.Tx) error {
		changed, err = storage.MoveFile(a.Context(), tx, storage.Everywhere, storage.FileMove{App: "vision", From: from, To: to}, byAnna)
		return err
	})
	return changed, err
}

func (a *fileArea) copy(from, to string) error {
	return a.db.InTx(a.Context(), func(tx pgx.Tx) error {
		_, err := storage.CopyFile(a.Context(), tx, storage.Everywhere, storage.FileMove{App: "vision", From: from, To: to}, byAnna)
		return err
	})
}

// told are the changes so far, and how many lines the audit trail has.
func (a *fileArea) told() (changes []string, lines int) {
	a.Helper()
	rows, err := a.db.Pool.Query(a.Context(), `SELECT concat_ws(' ', op, path, file ->> 'version') FROM changes ORDER BY id`)
	if err != nil {
		a.Fatal(err)
	}
	if changes, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		a.Fatal(err)
	}
	if err := a.db.Pool.QueryRow(a.Context(), `SELECT count(*) FROM audit`).Scan(&lines); err != nil {
		a.Fatal(err)
	}
	return changes, lines
}

func (a *fileArea) paths() []string {
	a.Helper()
	files, err := a.db.For(storage.Everywhere).Files(a.Context(), storage.FileFilter{App: "vision", Limit: 1000})
	if err != nil {
		a.Fatal(err)
	}
	paths := []string{}
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	return paths
}

func TestFileChanges(t *testing.T) {
	t.Parallel()
	a := newFileArea(t)
	s := a.db.For(storage.Everywhere)
	first, err := a.put("in/a.csv", "one", storage.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	want := storage.Changed{Created: true, Told: true, File: storage.File{
		App: "vision", Path: "in/a.csv", Size: 3, SHA256: digestOf("one"), ContentType: "text/plain", Version: 1, ModifiedBy: "anna", Content: first.File.Content,
	}}
	if diff := cmp.Diff(want, first, cmpopts.IgnoreFields(storage.File{}, "ModifiedAt")); diff != "" || time.Since(first.File.ModifiedAt) > time.Minute {
		t.Errorf("first put (-want +got):\n%s", diff)
	}
	if got, err := s.File(t.Context(), "vision", "in/a.csv"); err != nil || !cmp.Equal(first.File, got) {
		t.Errorf("read: %v\n%s", err, cmp.Diff(first.File, got))
	}
	same, err := a.put("in/a.csv", "one", storage.Condition{})
	if err != nil || !cmp.Equal(storage.Changed{File: first.File}, same) {
		t.Errorf("the same bytes: %v\n%+v", err, same)
	}
	second := a.mustPut("in/a.csv", "two")
	if _, err := a.move("in/a.csv", "in/a.csv/b.csv"); err != nil { // the file makes place for the folder
		t.Fatal(err)
	}
	if err := a.copy("in/a.csv/b.csv", "c.csv"); err != nil {
		t.Fatal(err)
	}
	if err := a.delete("in/a.csv/b.csv", storage.Condition{Match: []string{digestOf("two")}}); err != nil {
		t.Fatal(err)
	}
	a.mustPut("in/a.csv", "three")
	if _, err := a.move("in/a.csv", "c.csv"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.put("d.csv", "three", storage.Condition{}); err != nil {
		t.Fatal(err)
	}
	if changed, err := a.move("c.csv", "d.csv"); err != nil || !changed.Told { // which has these bytes already
		t.Fatal(changed, err)
	}
	changes, lines := a.told()
	if diff := cmp.Diff([]string{
		"put in/a.csv 1", "put in/a.csv 2", "delete in/a.csv", "put in/a.csv/b.csv 1", "put c.csv 1", "delete in/a.csv/b.csv",
		"put in/a.csv 3", "delete in/a.csv", "put c.csv 2", "put d.csv 1", "delete c.csv",
	}, changes); diff != "" || lines != 9 {
		t.Errorf("%d lines; told (-want +got):\n%s", lines, diff)
	}
	if diff := cmp.Diff([]string{"d.csv"}, a.paths()); diff != "" {
		t.Error(diff)
	}
	versions, err := s.FileVersions(t.Context(), "vision", "in/a.csv", 0, 2)
	if err != nil || len(versions) != 2 || versions[0].Version != 3 || versions[1].Version != 2 || versions[1].ReplacedAt == nil {
		t.Errorf("versions %+v, %v", versions, err)
	}
	if rest, err := s.FileVersions(t.Context(), "vision", "in/a.csv", 2, 2); err != nil || len(rest) != 1 || rest[0].SHA256 != digestOf("one") {
		t.Errorf("versions before 2: %+v, %v", rest, err)
	}
	if old, err := s.FileAt(t.Context(), "vision", "in/a.csv", 2); err != nil || !cmp.Equal(second, old) {
		t.Errorf("version 2: %v\n%s", err, cmp.Diff(second, old))
	}
	if n, err := a.db.ExpireVersions(t.Context(), 0, 4); n != 4 || err != nil {
		t.Error(n, err)
	}
	if n, err := a.db.ExpireVersions(t.Context(), 0, 100); n != 2 || err != nil {
		t.Error(n, err)
	}
	if _, err := s.FileAt(t.Context(), "vision", "in/a.csv", 2); !errors.Is(err, storage.ErrNotFound) {
		t.Error(err)
	}
}

func TestFileRefusals(t *testing.T) {
	t.Parallel()
	a := newFileArea(t)
	a.mustPut("in/a.csv", "one")
	for name, test := range map[string]struct {
		path string
		cond storage.Condition
		want error
	}{
		"below a file":            {"in/a.csv/deep/b.csv", storage.Condition{}, storage.ErrConflict},
		"where a folder is":       {"in", storage.Condition{}, storage.ErrConflict},
		"there already":           {"in/a.csv", storage.Condition{Absent: true}, storage.ErrCondition},
		"not there":               {"in/b.csv", storage.Condition{Exists: true}, storage.ErrCondition},
		"not there to match":      {"in/b.csv", storage.Condition{Match: []string{digestOf("one")}}, storage.ErrCondition},
		"another digest":          {"in/a.csv", storage.Condition{Match: []string{digestOf("two")}}, storage.ErrCondition},
		"one of the digests":      {"in/a.csv", storage.Condition{Match: []string{digestOf("two"), digestOf("one")}}, nil},
		"a neighbour of a folder": {"in.csv", storage.Condition{Absent: true}, nil},
		"a bad path":              {"../x", storage.Condition{}, storage.ErrPath},
	} {
		if _, err := a.put(test.path, "two of "+name, test.cond); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := a.delete("in/b.csv", storage.Condition{}); !errors.Is(err, storage.ErrNotFound) {
		t.Error(err)
	}
	if err := a.delete("in/a.csv", storage.Condition{Match: []string{digestOf("one")}}); !errors.Is(err, storage.ErrCondition) {
		t.Error(err)
	}
	if _, err := a.move("nothing", "somewhere"); !errors.Is(err, storage.ErrNotFound) {
		t.Error(err)
	}
	if _, err := a.move("in/a.csv", "in/a.csv"); !errors.Is(err, storage.ErrConflict) {
		t.Error(err)
	}
	if err := a.copy("in/a.csv", "in.csv/x"); !errors.Is(err, storage.ErrConflict) {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"in.csv", "in/a.csv"}, a.paths()); diff != "" {
		t.Error(diff)
	}
	if changes, lines := a.told(); len(changes) != 3 || lines != 3 {
		t.Errorf("%d lines, told %q", lines, changes)
	}
}

// What a caller may do with files is what the rights on the app say.
func TestFileRights(t *testing.T) {
	t.Parallel()
	a := newFileArea(t)
	a.mustPut("a", "one")
	exec(t, a.db, `
		INSERT INTO members (app, kind, member, role, see_data, added_by) VALUES
			('vision', 'person', 'reader', 'operator', true, 'anna'), ('vision', 'person', 'operator', 'operator', false, 'anna')`)
	for login, reads := range map[string]bool{"reader": true, "operator": false, "stranger": false} {
		reach := storage.Reach{Login: login, Scopes: storage.View | storage.Data} // by a token that only reads
		s := a.db.For(reach)
		_, fileErr := s.File(t.Context(), "vision", "a")
		_, atErr := s.FileAt(t.Context(), "vision", "a", 1)
		_, listErr := s.Files(t.Context(), storage.FileFilter{App: "vision", Limit: 1})
		_, levelErr := s.FileLevel(t.Context(), storage.FileFilter{App: "vision", Limit: 1})
		_, versionsErr := s.FileVersions(t.Context(), "vision", "a", 0, 1)
		_, changesErr := s.Changes(t.Context(), storage.ChangesQuery{App: "vision", Limit: 1})
		for i, err := range []error{fileErr, atErr, listErr, levelErr, versionsErr, changesErr} {
			if reads != (err == nil) || !reads && !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s, reading %d: %v", login, i, err)
			}
		}
		page, err := s.Changes(t.Context(), storage.ChangesQuery{Limit: 10})
		if err != nil || reads != (len(page.Items) == 1) {
			t.Errorf("%s is told %+v, %v", login, page, err)
		}
		err = a.db.InTx(t.Context(), func(tx pgx.Tx) error {
			return storage.DeleteFile(t.Context(), tx, reach, "vision", "a", storage.Condition{}, byAnna)
		})
		if !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s deletes: %v", login, err)
		}
	}
	if files, err := a.db.For(storage.Reach{Login: "reader", Scopes: storage.AllRights}).Files(t.Context(), storage.FileFilter{App: "vision", Prefix: "b", Limit: 1}); err != nil || len(files) != 0 {
		t.Error(files, err)
	}
}

func TestFileLists(t *testing.T) {
	t.Parallel()
	a := newFileArea(t)
	all := []string{"a", "a b", "a.txt", "b-/x", "b/1", "b/2", "b/c/3", "b/c/4", "b/d/5", "b0", "ü/ß", "\U0010FFFF"}
	for _, path := range all {
		a.mustPut(path, path)
	}
	s := a.db.For(storage.Everywhere)
	for _, limit := range []int{1, 2, 3, 100} {
		for prefix, want := range map[string][]string{
			"": all, "a": all[:3], "b/": all[4:9], "b/c": all[6:8], "c": nil, "\U0010FFFF": all[11:], "\uD7FF": nil,
		} {
			var got []string
			q := storage.FileFilter{App: "vision", Prefix: prefix, Limit: limit}
			for {
				page, err := s.Files(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range page {
					got = append(got, f.Path)
				}
				if len(page) < limit {
					break
				}
				q.After = got[len(got)-1]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("prefix %q by %d (-want +got):\n%s", prefix, limit, diff)
			}
		}
		for prefix, want := range map[string][]string{
			"":     {"a", "a b", "a.txt", "b-/", "b/", "b0", "ü/", "\U0010FFFF"},
			"b/":   {"b/1", "b/2", "b/c/", "b/d/"},
			"b/c":  {"b/c/"},
			"b/c/": {"b/c/3", "b/c/4"},
			"b":    {"b-/", "b/", "b0"},
			"c/":   nil,
		} {
			var got []string
			q := storage.FileFilter{App: "vision", Prefix: prefix, Limit: limit}
			for {
				page, err := s.FileLevel(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range page {
					got = append(got, e.Path)
					if (e.File == nil) != strings.HasSuffix(e.Path, "/") || e.File != nil && e.File.SHA256 != digestOf(e.Path) {
						t.Errorf("entry %s has %+v", e.Path, e.File)
					}
				}
				if len(page) < limit {
					break
				}
				q.After = got[len(got)-1]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("level %q by %d (-want +got):\n%s", prefix, limit, diff)
			}
		}
	}
}

func TestCheckPath(t *testing.T) {
	t.Parallel()
	for path, ok := range map[string]bool{
		"a":                                    true,
		"in/März 2026/Überleitung (1).csv":     true,
		strings.Repeat("a", 255):               true,
		strings.Repeat("a/", 39) + "a":         true,
		strings.Repeat("a/", 40) + "a":         false,
		strings.Repeat("a", 256):               false,
		strings.Repeat("aaaaaaa/", 128) + "ab": false,
		"":                                     false,
		".":                                    false,
		"a/./b":                                false,
		"../a":                                 false,
		"/a":                                   false,
		"a/":                                   false,
		"a//b":                                 false,
		`a\b`:                                  false,
		"a\x00":                                false,
		"a\u0085":                              false,
		"\xff":                                 false,
		"U\u0308berleitung":                    false, // decomposed
	} {
		if err := storage.CheckPath(path); (err == nil) != ok || err != nil && !errors.Is(err, storage.ErrPath) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

// Many make one path, and what would be folders above and files below it: they come one after the
// other, and never both a file and a folder. Moves in both directions between them get through too.
func TestFileRaces(t *testing.T) {
	t.Parallel()
	a := newFileArea(t)
	var all sync.WaitGroup
	var done, refused atomic.Int64
	paths := []string{"a", "a/b", "a/b/c", "d"}
	for w := range 8 {
		all.Go(func() {
			for i := range 30 {
				path, other := paths[(w+i)%4], paths[(w*3+i*7)%4]
				var err error
				switch i % 3 {
				case 0:
					_, err = a.put(path, fmt.Sprint(w, i), storage.Condition{})
				case 1:
					_, err = a.move(path, other)
				default:
					err = a.delete(path, storage.Condition{})
				}
				switch {
				case err == nil:
					done.Add(1)
				case errors.Is(err, storage.ErrConflict), errors.Is(err, storage.ErrNotFound):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if done.Load() < 20 {
		t.Errorf("%d done, %d refused", done.Load(), refused.Load())
	}
	// The changes, one after the other, are possible and lead to what is there.
	changes, _ := a.told()
	there := map[string]bool{}
	for _, change := range changes {
		op, path, _ := strings.Cut(change, " ")
		path, _, _ = strings.Cut(path, " ")
		if op == "delete" && !there[path] {
			t.Fatalf("%s: it was not there", change)
		}
		if there[path] = op == "put"; !there[path] {
			delete(there, path)
		}
	}
	got := map[string]bool{}
	for _, path := range a.paths() {
		got[path] = true
		if strings.HasPrefix(path, "a/") && got["a"] || path == "a/b/c" && got["a/b"] {
			t.Errorf("both a file and a folder: %v", got)
		}
	}
	if diff := cmp.Diff(there, got); diff != "" {
		t.Errorf("told, and there:\n%s", diff)
	}
}

// One path is made by many who hold back their commits: the feed has them in the order of their
// versions.
func TestCreationsAreInOrder(t *testing.T) {
	t.Parallel()
	a := newFileArea(t)
	var all sync.WaitGroup
	for w := range 8 {
		content := a.content(fmt.Sprint(w))
		all.Go(func() {
			err := a.db.InTx(t.Context(), func(tx pgx.Tx) error {
				put := storage.FilePut{App: "vision", Path: "a/b", Content: content}
				if _, err := storage.PutFile(t.Context(), tx, storage.Everywhere, put, byAnna); err != nil {
					return err
				}
				_, err := tx.Exec(t.Context(), `SELECT pg_sleep(random() * 0.02)`)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	changes, _ := a.told()
	want := []string{}
	for v := range 8 {
		want = append(want, fmt.Sprint("put a/b ", v+1))
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Error(diff)
	}
}
