package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longhaul/api"
)

// changes reads a page of the feed.
func (s *server) changes(query url.Values) (page api.ChangePage) {
	s.t.Helper()
	s.get("/api/v1/changes?" + query.Encode()).want(http.StatusOK).into(&page)
	return page
}

// follow reads the feed from a cursor on until there is no more at once, and returns what it told.
func (s *server) follow(cursor string) (told []string, next string) {
	s.t.Helper()
	for {
		page := s.changes(url.Values{"cursor": {cursor}, "limit": {"2"}})
		for _, c := range page.Items {
			version := int64(0)
			if c.File != nil {
				version = c.File.Version
			}
			told = append(told, fmt.Sprint(c.App, " ", c.Op, " ", c.Path, " ", version))
		}
		if cursor = page.NextCursor; !page.More {
			return told, cursor
		}
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	s.put("plain", "a", "1")
	s.put("vision", "b", "1")
	s.put("plain", "a", "2")
	start := s.changes(url.Values{"cursor": {"now"}})
	if len(start.Items) != 0 || start.More {
		t.Errorf("now: %+v", start)
	}
	told, cursor := s.follow("")
	if diff := cmp.Diff([]string{"plain put a 2", "vision put b 1"}, told); diff != "" {
		t.Errorf("from the beginning (-want +got):\n%s", diff)
	}
	s.addFile(object{"path": "c", "move_from": "a"}).want(http.StatusCreated)
	s.put("plain", "a", "3")
	want := []string{"plain delete a 0", "plain put c 1", "plain put a 3"}
	for what, from := range map[string]string{"the end of the list": cursor, "now": start.NextCursor} {
		if told, _ = s.follow(from); !cmp.Equal(want, told) && !cmp.Equal([]string{want[1], want[0], want[2]}, told) {
			t.Errorf("from %s:\n%s", what, cmp.Diff(want, told))
		}
	}
	if page := s.changes(url.Values{"app": {"vision"}}); len(page.Items) != 1 || page.Items[0].Path != "b" {
		t.Errorf("of one app: %+v", page.Items)
	}
	s.get("/api/v1/changes?cursor=x").wantField("query.cursor")
	s.get("/api/v1/changes?limit=0").wantField("query.limit")
	s.get("/api/v1/changes?wait=61").wantField("query.wait")
	s.get("/api/v1/changes?app=none").problem(http.StatusNotFound)
	s.exec(`UPDATE change_feed SET floor = last`)
	s.get("/api/v1/changes?cursor=" + cursor).problem(http.StatusGone)
}

// Who is far behind is told only the last change of each file, and who is not of every one.
func TestCompactChanges(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	s.put("plain", "a", "1")
	s.put("vision", "b", "1")
	start := s.changes(url.Values{"cursor": {"now"}}).NextCursor
	again := func(path string, first, last int) {
		s.exec(`INSERT INTO changes (app, path, op, file)
			SELECT app, path, op, jsonb_set(file, '{version}', to_jsonb(v)) FROM changes, generate_series($2::int, $3) AS v
			WHERE path = $1 AND file ->> 'version' = '1' ORDER BY v`, path, first, last)
	}
	again("a", 2, 600)
	again("b", 2, 3)
	again("a", 601, 1200)
	told, cursor := s.follow(start)
	if diff := cmp.Diff([]string{"vision put b 3", "plain put a 1200"}, told); diff != "" {
		t.Errorf("far behind (-want +got):\n%s", diff)
	}
	again("a", 1201, 1203)
	if told, _ = s.follow(cursor); len(told) != 3 {
		t.Errorf("not far behind: %q", told)
	}
}

// Who waits is told of a change at once, by whichever process it is made, and of nothing else.
func TestWaitForChanges(t *testing.T) {
	t.Parallel()
	one, other := twoProcesses(t)
	one.put("plain", "a", "1")
	_, cursor := one.follow("")
	for i, by := range []*server{one, other} {
		waiting, told := one.active.Load()+1, make(chan api.ChangePage, 1)
		go func() {
			var page api.ChangePage
			a := one.get("/api/v1/changes?wait=60&cursor=" + cursor)
			a.into(&page)
			told <- page
		}()
		one.eventually("the request waits", func() bool { return one.active.Load() == waiting })
		by.put("plain", "b", fmt.Sprint(i))
		select {
		case page := <-told:
			if len(page.Items) != 1 || page.Items[0].Path != "b" {
				t.Errorf("told of %+v", page.Items)
			}
			cursor = page.NextCursor
		case <-time.After(patience):
			t.Fatal("nothing was told")
		}
	}
	began := time.Now()
	if page := one.changes(url.Values{"wait": {"1"}, "cursor": {cursor}}); len(page.Items) != 0 || page.NextCursor != cursor || time.Since(began) < time.Second {
		t.Errorf("while nothing changes: %+v after %s", page, time.Since(began))
	}
}
