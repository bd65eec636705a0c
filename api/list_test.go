package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"longhaul/api"
)

type taskPage = api.Page[api.Task]

func (s *server) list(query string) taskPage {
	s.t.Helper()
	var page taskPage
	s.get("/api/v1/tasks" + query).want(http.StatusOK).into(&page)
	return page
}

// names are the names of tasks, newest first.
func names(page taskPage) []string {
	list := make([]string, 0, len(page.Items))
	for _, task := range page.Items {
		list = append(list, task.Name)
	}
	return list
}

// Pages hold every task once, newest first, also while others are made.
func TestListPages(t *testing.T) {
	t.Parallel()
	const tasks = 250
	s := newServer(t, idle)
	var want []string
	for range tasks {
		want = append(want, s.create(noop(), nil).ID)
	}
	slices.Reverse(want)
	for _, limit := range []int{200, 37} {
		var got []string
		query := fmt.Sprintf("?name=nothing&limit=%d", limit)
		for cursor := ""; ; {
			page := s.list(query + "&cursor=" + url.QueryEscape(cursor))
			if len(page.Items) > limit {
				t.Fatalf("%d items", len(page.Items))
			}
			for _, task := range page.Items {
				got = append(got, task.ID)
			}
			if page.NextCursor == nil {
				break
			}
			if cursor == "" {
				s.create(noop(), nil)
				s.create(noop(), nil)
			}
			cursor = *page.NextCursor
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("with %d on a page (-want +got):\n%s", limit, diff)
		}
		s.exec("DELETE FROM tasks WHERE id > $1", want[0])
	}
	if page := s.list(""); len(page.Items) != 50 || page.NextCursor == nil {
		t.Errorf("without a limit: %d items", len(page.Items))
	}
	// The last full page says that it is the last.
	if page := s.list("?limit=1&cursor=" + want[tasks-2]); len(page.Items) != 1 || page.NextCursor != nil {
		t.Errorf("the last page: %d items, next %v", len(page.Items), page.NextCursor)
	}
	if page := s.list("?cursor=" + want[tasks-1]); len(page.Items) != 0 || page.NextCursor != nil {
		t.Errorf("after the last page: %d items", len(page.Items))
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.addApp("busy", busy())
	running := s.create(object{"app": "busy", "name": "r", "kind": "sleep", "params": object{"ms": 3_600_000}}, nil)
	s.waitUntil(running.ID, "running", func(t *api.Task) bool { return t.State == "running" })
	s.create(object{"app": "busy", "name": "q", "kind": "noop"}, nil)
	s.waitFinal(s.create(noop(object{"name": "s"}), nil).ID, "succeeded")
	cancelled := s.create(object{"app": "busy", "name": "c", "kind": "noop"}, nil)
	s.do(http.MethodPost, taskPath(cancelled.ID)+"/cancel", nil).want(http.StatusAccepted)
	s.waitFinal(cancelled.ID, "cancelled")

	for query, want := range map[string][]string{
		"":                                 {"c", "s", "q", "r"},
		"?app=busy":                        {"c", "q", "r"},
		"?app=plain":                       {"s"},
		"?app=nowhere":                     {},
		"?kind=noop":                       {"c", "s", "q"},
		"?kind=sleep":                      {"r"},
		"?name=s":                          {"s"},
		"?name=S":                          {},
		"?state=running":                   {"r"},
		"?state=queued":                    {"q"},
		"?state=failed":                    {},
		"?state=cancelled,succeeded":       {"c", "s"},
		"?state=queued,running":            {"q", "r"},
		"?app=busy&kind=noop&state=queued": {"q"},
		"?app=busy&name=s":                 {},
	} {
		if diff := cmp.Diff(want, names(s.list(query))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
	// A listed task is the task.
	if diff := cmp.Diff(s.getTask(running.ID), s.list("?name=r").Items[0]); diff != "" {
		t.Errorf("listed, a task is another (-get +list):\n%s", diff)
	}
}

func TestListRefuses(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	for query, at := range map[string]string{
		"limit=0": "query.limit", "limit=201": "query.limit", "limit=-1": "query.limit", "limit=many": "query.limit",
		"cursor=nonsense": "query.cursor", "cursor=1": "query.cursor", "state=done": "query.state[0]", "state=queued,done": "query.state[1]",
	} {
		s.get("/api/v1/tasks?" + query).wantField(at)
	}
}
