package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"longhaul/storage"
)

const changesPath = "/api/v1/changes"

const (
	// changesLook is how often who waits for changes looks for one whose word was lost.
	changesLook = 10 * time.Second
	// changesPause is how long who waits lets pass between two looks, however much goes on.
	changesPause = 50 * time.Millisecond
	// changesFarBehind is how many changes there are to come for who is told only the last one of
	// each file: more than the longest page holds.
	changesFarBehind = 1000
)

// Change is one change of a file.
type Change struct {
	App  string `json:"app"`
	Path string `json:"path"`
	Op   string `json:"op" enum:"put,delete" doc:"A move is both: a put of the one path, a delete of the other"`
	File *File  `json:"file" doc:"As it was then; null where it was deleted"`
}

// TransformSchema completes the description.
func (*Change) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return orNull(s, "file")
}

// ChangePage is a piece of the feed of changes.
type ChangePage struct {
	Items      []Change `json:"items" nullable:"false"`
	NextCursor string   `json:"next_cursor" doc:"For what comes after; there always is one"`
	More       bool     `json:"more" doc:"There is more to be read at once"`
}

// listChanges handles GET /api/v1/changes, for who sees data of any app: the changes of files in the
// apps whose data they see.
func (s *Server) listChanges(c echo.Context) error {
	limit, err := numberParam(c, "limit", 200, 1000)
	if err != nil {
		return err
	}
	wait, err := waitOf(c)
	if err != nil {
		return err
	}
	page, err := s.waitChanges(c, storage.ChangesQuery{
		Cursor: c.QueryParam("cursor"), App: c.QueryParam("app"), Limit: int(limit), Compact: changesFarBehind,
	}, wait)
	switch {
	case errors.Is(err, storage.ErrBadCursor):
		return invalidField("query.cursor", "this cursor is not one that this server gave. Start over without one")
	case errors.Is(err, storage.ErrCursorTooOld):
		return refuse(c.Request().Context(), http.StatusGone,
			"What has changed since this cursor cannot be told any more: it is too old, or you see other apps than then. Start over without a cursor.")
	case err != nil:
		return err
	}
	body := ChangePage{Items: []Change{}, NextCursor: page.Next, More: page.More}
	for i := range page.Items {
		body.Items = append(body.Items, changeBody(&page.Items[i]))
	}
	return s.json(c, http.StatusOK, body)
}

func changeBody(change *storage.Change) Change {
	body := Change{App: change.App, Path: change.Path, Op: change.Op}
	if change.File != nil {
		file := fileBody(change.File)
		body.File = &file
	}
	return body
}

// waitChanges reads the feed, and while there is nothing new holds as long as wait. Whether the
// caller is still who they were is asked before each look.
func (s *Server) waitChanges(c echo.Context, q storage.ChangesQuery, wait time.Duration) (storage.ChangesPage, error) {
	ctx := c.Request().Context()
	held, cancel := s.untilStop(ctx, wait)
	defer cancel()
	reach := requestOf(ctx).caller.Reach
	for {
		next := s.Engine.FilesChange()
		page, err := s.db.For(reach).Changes(ctx, q)
		if err != nil || len(page.Items) > 0 || held.Err() != nil || q.Cursor == storage.CursorNow {
			return page, err
		}
		q.Cursor = page.Next
		sleepUntil(held, changesPause, nil)
		if !page.More {
			sleepUntil(held, changesLook, next)
		}
		found, err := s.identify(c)
		if errors.Is(err, errUnauthorized) {
			return page, err
		}
		if err == nil { // what the database cannot be asked now, it could a moment ago
			reach = found.reach
		}
	}
}

// sleepUntil waits for d, or until ctx ends or wake is closed.
func sleepUntil(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}
