package storage

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype/zeronull"
)

var (
	// ErrCursorTooOld says that what has changed since the cursor cannot be told any more: it is no
	// longer kept, or the caller sees other apps than then. Reading starts over, without a cursor.
	ErrCursorTooOld = errors.New("cursor is too old")
	// ErrBadCursor says that a text is not a cursor that was given out.
	ErrBadCursor = errors.New("not a cursor")
)

const (
	// CursorNow is a cursor that asks only where now is.
	CursorNow = "now"
	// numberAtOnce is how many changes get their place in the feed in one transaction.
	numberAtOnce = 10_000
	// windowChanges is how many changes one call looks through at most: most may be those of apps
	// that the caller does not see, or superseded.
	windowChanges = 50_000
)

// Change is one change of a file.
type Change struct {
	App  string
	Path string
	Op   string // put or delete
	File *File  // as it was then; nil for delete
}

// ChangesQuery says which changes are wanted.
type ChangesQuery struct {
	Cursor string // where the last page ended; empty: from the beginning; or CursorNow
	App    string // only of this app; empty: of all within reach
	Limit  int    // at most so many
	// Compact is from how many changes on a reader is far behind, and is told only the last change
	// of each file; zero: it is told all.
	Compact int64
}

// ChangesPage is a piece of the feed.
type ChangesPage struct {
	Items []Change
	Next  string // the cursor for what comes after
	// More is whether the next page can be read at once; it may be so without any item.
	More bool
}

// Changes returns what has changed in the files that the caller may read, in an order in which no
// change that is committed late is left out, and the changes of one file come one after the other as
// they were made. From the beginning it tells first what there is, as puts, then what has changed
// since. ErrNotFound for an app that is
// not within reach, ErrBadCursor, ErrCursorTooOld.
//
// A call that finds nothing new is one small query.
func (s *Scope) Changes(ctx context.Context, q ChangesQuery) (ChangesPage, error) {
	var from cursor
	if q.Cursor != "" && q.Cursor != CursorNow {
		var err error
		if from, err = parseCursor(q.Cursor); err != nil {
			return ChangesPage{}, err
		}
	}
	head, err := s.headOf(ctx, q.App, time.UnixMicro(from.At))
	if err != nil {
		return ChangesPage{}, err
	}
	switch {
	case q.Cursor == CursorNow:
		return ChangesPage{Next: head.cursor().String(), More: head.waiting}, nil
	case q.Cursor == "":
		from = head.cursor()
		from.Listing = &place{}
	case from.Apps != head.appsThen, from.Seq < head.floor, from.Seq > head.last:
		return ChangesPage{}, ErrCursorTooOld
	case from.Listing == nil && from.Seq == head.last:
		return ChangesPage{Next: q.Cursor, More: head.waiting}, nil
	}
	if from.Listing != nil {
		return s.listing(ctx, q, from)
	}
	return s.since(ctx, q, from, head)
}

// feedHead is where the feed is, and what the caller sees, both as of one moment.
type feedHead struct {
	last, floor int64     // see the table change_feed
	waiting     bool      // there are committed changes behind last
	at          time.Time // not before the making of any app that is seen
	apps        string    // digest of the names of the apps that are seen
	appsThen    string    // of those of them that were made until the time that was given
}

func (h *feedHead) cursor() cursor { return cursor{Seq: h.last, At: h.at.UnixMicro(), Apps: h.apps} }

// headOf gives the committed changes that have none their places in the feed, and returns where it
// is then.
func (s *Scope) headOf(ctx context.Context, app string, then time.Time) (feedHead, error) {
	head, err := s.look(ctx, app, then)
	if err != nil || !head.waiting {
		return head, err
	}
	if _, err := s.db.NumberChanges(ctx); err != nil {
		return feedHead{}, err
	}
	return s.look(ctx, app, then)
}

// look reads the head. That all of it is of one snapshot matters: what is made later, an app or a
// change, has its place behind last.
func (s *Scope) look(ctx context.Context, app string, then time.Time) (feedHead, error) {
	var h feedHead
	var seen int
	err := s.db.Pool.QueryRow(ctx, `
		SELECT f.last, f.floor, (SELECT id + 0 FROM changes WHERE seq IS NULL ORDER BY id + 0 LIMIT 1) IS NOT NULL, clock_timestamp(), a.seen, a.now, a.before
		FROM change_feed f, LATERAL (
			SELECT count(*) AS seen, md5(coalesce(string_agg(name, '/' ORDER BY name), '')) AS now,
				md5(coalesce(string_agg(name, '/' ORDER BY name) FILTER (WHERE created_at <= $8), '')) AS before
			FROM apps
			WHERE name IN (SELECT reach($1, $2, $3, $4, $5, $6)) AND ($7 = '' OR name = $7)) AS a`,
		s.reach.values(View|Data, app, then)...).Scan(&h.last, &h.floor, &h.waiting, &h.at, &seen, &h.apps, &h.appsThen)
	if err == nil && app != "" && seen == 0 {
		return feedHead{}, fmt.Errorf("app %s: %w", app, ErrNotFound)
	}
	return h, err
}

// NumberChanges gives up to numberAtOnce committed changes their places in the feed, behind all that
// have one, and returns how many. Only what is committed is seen here; what commits later comes
// behind. Of one file's changes the earlier has the lower id, and was committed before the later was
// written, so that they keep their order.
func (d *DB) NumberChanges(ctx context.Context) (int64, error) {
	var numbered int64
	err := d.InTx(ctx, func(tx pgx.Tx) error {
		var last int64
		if err := tx.QueryRow(ctx, `SELECT last FROM change_feed FOR UPDATE`).Scan(&last); err != nil {
			return err
		}
		// In a statement of its own, to see what was committed while this waited for the lock.
		tag, err := tx.Exec(ctx, `
			UPDATE changes c SET seq = $1 + fresh.n
			FROM (SELECT id, row_number() OVER (ORDER BY id) AS n
				FROM (SELECT id FROM changes WHERE seq IS NULL ORDER BY id + 0 LIMIT $2) AS f) AS fresh
			WHERE c.id = fresh.id`, last, numberAtOnce)
		if numbered = tag.RowsAffected(); err != nil || numbered == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE change_feed SET last = $1`, last+numbered)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("give changes their places in the feed: %w", err)
	}
	return numbered, nil
}

// since returns the changes after a cursor, up to head.
func (s *Scope) since(ctx context.Context, q ChangesQuery, from cursor, head feedHead) (ChangesPage, error) {
	until := min(head.last, from.Seq+windowChanges)
	args := s.reach.values(View|Data, q.App, from.Seq, until, q.Limit)
	last := ""
	if q.Compact > 0 && head.last-from.Seq > q.Compact {
		args = append(args, head.last)
		last = ` AND seq = (SELECT max(seq) FROM changes n WHERE n.app = c.app AND n.path = c.path AND n.seq <= $11)`
	}
	// The floor is of the same snapshot: it tells whether what was looked for was still there. OFFSET 0
	// has the planner go through the feed in its order, not through all of an app.
	rows, err := s.db.Pool.Query(ctx, `
		SELECT feed.floor, c.seq, c.app, c.path, c.op, c.file
		FROM change_feed feed LEFT JOIN LATERAL (
			SELECT * FROM (SELECT * FROM changes WHERE seq > $8 AND seq <= $9 ORDER BY seq OFFSET 0) AS c
			WHERE app = ANY (ARRAY(SELECT reach($1, $2, $3, $4, $5, $6))) AND ($7 = '' OR app = $7)`+last+`
			ORDER BY seq LIMIT $10) AS c ON true
		ORDER BY c.seq`, args...)
	if err != nil {
		return ChangesPage{}, err
	}
	items, seq, err := collectChanges(rows, from.Seq)
	if err != nil {
		return ChangesPage{}, err
	}
	if len(items) < q.Limit {
		seq = until
	}
	next := head.cursor()
	next.Seq = seq
	return ChangesPage{Items: items, Next: next.String(), More: seq < head.last || head.waiting}, nil
}

// collectChanges reads changes, and the place of the last one. ErrCursorTooOld when the feed does not
// have all any more that comes after the given place.
func collectChanges(rows pgx.Rows, after int64) (changes []Change, last int64, err error) {
	var floor int64
	var seq zeronull.Int8
	var app, path, op zeronull.Text
	var file *File
	_, err = pgx.ForEachRow(rows, []any{&floor, &seq, &app, &path, &op, &file}, func() error {
		if floor > after {
			return ErrCursorTooOld
		}
		if file != nil {
			file.ModifiedAt = file.ModifiedAt.UTC()
		}
		if app != "" {
			changes = append(changes, Change{string(app), string(path), string(op), file})
			last = int64(seq)
		}
		file = nil
		return nil
	})
	return changes, last, err
}

// listing returns a page of the files that there are, but for those that have changed since the
// listing began: what comes after it tells of them.
func (s *Scope) listing(ctx context.Context, q ChangesQuery, from cursor) (ChangesPage, error) {
	page := ChangesPage{More: true}
	apps, err := s.appsWithFiles(ctx, q.App, from.Listing.App)
	if err != nil {
		return ChangesPage{}, err
	}
	at := *from.Listing
	from.Listing = nil
	for _, app := range apps {
		if app != at.App {
			at = place{App: app}
		}
		items, err := s.listApp(ctx, at, from.Seq, q.Limit-len(page.Items))
		if err != nil {
			return ChangesPage{}, err
		}
		page.Items = append(page.Items, items...)
		if len(page.Items) == q.Limit {
			at.Path = items[len(items)-1].Path
			from.Listing = &at
			break
		}
	}
	page.Next = from.String()
	return page, nil
}

// appsWithFiles returns the apps within reach that have files, from one on, as bytes compare.
func (s *Scope) appsWithFiles(ctx context.Context, only, from string) ([]string, error) {
	rows, err := s.db.Pool.Query(ctx, `
		SELECT name FROM apps
		WHERE name IN (SELECT reach($1, $2, $3, $4, $5, $6)) AND ($7 = '' OR name = $7) AND name COLLATE "C" >= $8
			AND (SELECT true FROM files WHERE app = name LIMIT 1)
		ORDER BY name COLLATE "C"`, s.reach.values(View|Data, only, from)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// listApp lists the files of an app that are behind a place and have not changed after seq. OFFSET 0
// and the query for the last change have the planner go through the files in their order, and look
// at no more of them than are told.
func (s *Scope) listApp(ctx context.Context, after place, seq int64, limit int) ([]Change, error) {
	rows, err := s.db.Pool.Query(ctx, `
		SELECT feed.floor, 1::bigint, l.app, l.path, 'put', l.file
		FROM change_feed feed LEFT JOIN LATERAL (
			SELECT f.app, f.path, jsonb_build_object('app', f.app, 'path', f.path, 'size', c.size, 'sha256', encode(c.sha256, 'hex'),
				'content_type', f.content_type, 'version', f.version, 'modified_at', f.modified_at, 'modified_by', f.modified_by) AS file
			FROM (SELECT * FROM files WHERE app = $7 AND path > $8 AND $7 IN (SELECT reach($1, $2, $3, $4, $5, $6)) ORDER BY path OFFSET 0) AS f
			JOIN contents c ON c.id = f.content
			WHERE (SELECT seq IS NULL OR seq > $9 FROM changes n WHERE n.app = f.app AND n.path = f.path
				ORDER BY seq DESC LIMIT 1) IS NOT TRUE
			ORDER BY f.path LIMIT $10) AS l ON true
		ORDER BY l.path`, s.reach.values(View|Data, after.App, after.Path, seq, limit)...)
	if err != nil {
		return nil, err
	}
	items, _, err := collectChanges(rows, seq)
	return items, err
}

// cursor is a place in the feed, as it is given out.
type cursor struct {
	Seq     int64  `json:"s"` // what comes after is to be told
	At      int64  `json:"t"` // when it was made, by the clock of the database, in microseconds
	Apps    string `json:"a"` // digest of the apps that were seen then
	Listing *place `json:"l,omitempty"`
}

// place is where a listing of the files has come to.
type place struct {
	App  string `json:"a"`
	Path string `json:"p"`
}

func (c cursor) String() string {
	text, _ := json.Marshal(c) //nolint:errchkjson // numbers and texts cannot fail
	return base64.RawURLEncoding.EncodeToString(text)
}

func parseCursor(text string) (cursor, error) {
	var c cursor
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(decoded, &c)
	}
	if err != nil || c.Seq < 0 || c.Apps == "" {
		return cursor{}, fmt.Errorf("%.100q: %w", text, ErrBadCursor)
	}
	return c, nil
}

// TrimChanges forgets up to limit changes from the beginning of the feed that were made more than
// keep ago, and returns how many. A cursor before them is too old from then on.
func (d *DB) TrimChanges(ctx context.Context, keep time.Duration, limit int) (int64, error) {
	if _, err := d.NumberChanges(ctx); err != nil { // nobody may have read any
		return 0, err
	}
	var trimmed int64
	err := d.InTx(ctx, func(tx pgx.Tx) error {
		var floor int64
		if err := tx.QueryRow(ctx, `SELECT floor FROM change_feed FOR UPDATE`).Scan(&floor); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `
			SELECT coalesce(max(seq), $1) FROM (
				SELECT seq, bool_and(at < now() - $2::interval) OVER (ORDER BY seq) AS old
				FROM (SELECT seq, at FROM changes WHERE seq > $1 ORDER BY seq LIMIT $3) AS first) AS f
			WHERE old`, floor, keep, limit).Scan(&floor)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE change_feed SET floor = $1 WHERE floor < $1`, floor); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM changes WHERE seq <= $1`, floor)
		trimmed = tag.RowsAffected()
		return err
	})
	return trimmed, err
}
