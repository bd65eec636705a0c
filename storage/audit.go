package storage

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Audit is one line of the audit trail to be written: who did what to what, and what came of it.
type Audit struct {
	Actor     string // the person's login; "longhaul" for the server itself
	Token     string // name of the API token they came with
	Action    string // noun.verb, as in task.create
	App       string
	Object    string // id or name of what it was done to
	Outcome   string // ok, refused or failed; empty: ok
	Detail    string // a few words, such as why it was refused; never a secret
	Address   string // the caller's network address
	RequestID string
}

// InsertAudit writes a line of the audit trail, in the transaction of the change it tells of. A
// refusal or a failure, which has no change, is written with the pool.
func InsertAudit(ctx context.Context, q Querier, a Audit) error {
	_, err := q.Exec(ctx, insertAudit, a.values()...)
	return err
}

// InsertAudits writes several lines of the audit trail, or none.
func (d *DB) InsertAudits(ctx context.Context, lines []Audit) error {
	var batch pgx.Batch
	for _, line := range lines {
		batch.Queue(insertAudit, line.values()...)
	}
	return d.Pool.SendBatch(ctx, &batch).Close()
}

const insertAudit = `
	INSERT INTO audit (actor, token, action, app, object, outcome, detail, address, request_id)
	VALUES ($1, nullif($2, ''), $3, nullif($4, ''), nullif($5, ''), coalesce(nullif($6, ''), 'ok'),
		nullif($7, ''), nullif($8, ''), nullif($9, ''))`

func (a Audit) values() []any {
	return []any{a.Actor, a.Token, a.Action, a.App, a.Object, a.Outcome, a.Detail, a.Address, a.RequestID}
}

// AuditLine is a line of the audit trail as it is read; what a line does not have is empty.
type AuditLine struct {
	ID        int64     `json:"id"`
	At        time.Time `json:"at"`
	Actor     string    `json:"actor"`
	Token     string    `json:"token"`
	Action    string    `json:"action"`
	App       string    `json:"app"`
	Object    string    `json:"object"`
	Outcome   string    `json:"outcome"`
	Detail    string    `json:"detail"`
	Address   string    `json:"address"`
	RequestID string    `json:"request_id"`
}

const auditColumns = `id, at, actor, coalesce(token, ''), action, coalesce(app, ''), coalesce(object, ''), outcome,
	coalesce(detail, ''), coalesce(address, ''), coalesce(request_id, '')`

func scanAuditLine(row pgx.CollectableRow) (AuditLine, error) {
	var l AuditLine
	err := row.Scan(&l.ID, &l.At, &l.Actor, &l.Token, &l.Action, &l.App, &l.Object, &l.Outcome, &l.Detail, &l.Address, &l.RequestID)
	l.At = l.At.UTC()
	return l, err
}

// AuditFilter selects lines of the audit trail; zero fields select all.
type AuditFilter struct {
	// Apps are those whose lines may be seen. Nil: all lines, those without an app too.
	Apps   []string
	App    string
	Actor  string
	Action string
	// Outcome is ok, refused or failed.
	Outcome string
	Since   time.Time // lines at this time and later
	Until   time.Time // lines before this time
	Before  int64     // lines with a lower id: the page after the one that ended with it
	Limit   int       // at most so many; must be given to AuditLines

	after int64 // lines with a higher id
}

// AuditLines returns the lines that f selects, newest first. The order is that of ids, which are
// drawn when a line is written: a line of a transaction that commits late appears among those
// already read, as in any list that is read while it grows.
func (d *DB) AuditLines(ctx context.Context, f AuditFilter) ([]AuditLine, error) {
	return d.auditLines(ctx, f, "DESC")
}

// exportPage is how many lines an export reads at once. Each page is a query of its own, so that
// an export of hours holds neither a lock nor a snapshot.
const exportPage = 1000

// AllAuditLines yields the lines that f selects, oldest first, f.Limit not counting. It ends after
// the first error.
func (d *DB) AllAuditLines(ctx context.Context, f AuditFilter) iter.Seq2[AuditLine, error] {
	f.Limit = exportPage
	return func(yield func(AuditLine, error) bool) {
		for {
			page, err := d.auditLines(ctx, f, "ASC")
			if err != nil {
				yield(AuditLine{}, fmt.Errorf("read the audit trail: %w", err))
				return
			}
			for _, line := range page {
				if !yield(line, nil) {
					return
				}
				f.after = line.ID
			}
			if len(page) < f.Limit {
				return
			}
		}
	}
}

func (d *DB) auditLines(ctx context.Context, f AuditFilter, order string) ([]AuditLine, error) {
	args := pgx.NamedArgs{"limit": f.Limit}
	where := f.conditions(args)
	newest := `SELECT * FROM audit WHERE ` + strings.Join(where, ` AND `) + ` ORDER BY id ` + order + ` LIMIT @limit`
	if f.Apps != nil {
		// For each app its own, then of these: who sees few of many lines need not wait until all
		// others' are passed over.
		args["apps"] = f.Apps
		newest = `SELECT l.* FROM (SELECT DISTINCT unnest(@apps::text[])) AS a (seen) CROSS JOIN LATERAL (
			SELECT * FROM audit WHERE app = a.seen AND ` + strings.Join(where, ` AND `) + ` ORDER BY id ` + order + ` LIMIT @limit) AS l`
	}
	rows, err := d.Pool.Query(ctx, `SELECT `+auditColumns+` FROM (`+newest+`) AS l ORDER BY id `+order+` LIMIT @limit`, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanAuditLine)
}

// conditions puts what f selects by into args and returns it as conditions on the table audit.
func (f *AuditFilter) conditions(args pgx.NamedArgs) []string {
	where := []string{"true"}
	add := func(given bool, condition, name string, value any) {
		if given {
			where = append(where, condition)
			args[name] = value
		}
	}
	add(f.App != "", "app = @app", "app", f.App)
	add(f.Actor != "", "actor = @actor", "actor", f.Actor)
	add(f.Action != "", "action = @action", "action", f.Action)
	add(f.Outcome != "", "outcome = @outcome", "outcome", f.Outcome)
	add(!f.Since.IsZero(), "at >= @since", "since", f.Since)
	add(!f.Until.IsZero(), "at < @until", "until", f.Until)
	add(f.Before > 0, "id < @before", "before", f.Before)
	add(f.after > 0, "id > @after", "after", f.after)
	return where
}
