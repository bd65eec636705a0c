package storage

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
)

// Lines of the trail about the trail; the first is written by the function audit_drop_months.
const (
	actionDrop   = "audit.drop"
	actionBroken = "audit.broken"
)

// AuditVerify says how the audit trail is to be checked.
type AuditVerify struct {
	Sealer *Sealer
	// Head is a seal that is known from elsewhere to have been there; zero: none is known.
	Head AuditHead
	// Keep is how long lines must have been kept; dropping them sooner is a finding. Zero: for ever.
	Keep time.Duration
	// Found is called with each thing that is wrong, in words.
	Found func(finding string)
}

// AuditCheck is what checking the audit trail came to.
type AuditCheck struct {
	Findings int64
	Seals    int64
	Lines    int64 // checked against their seal
	Head     AuditHead
	// Unsealed are the lines after the last seal, the oldest of UnsealedSince: of the last second,
	// or of the time since the server was stopped.
	Unsealed      int64
	UnsealedSince time.Time
	// Dropped lines were removed by retention, which ran last at DroppedAt: all those from before
	// DroppedBefore.
	Dropped                  int64
	DroppedBefore, DroppedAt time.Time
}

// VerifyAudit walks the whole audit trail and tells which lines and seals are not what was sealed.
// It sees the database as it is at its begin, and takes the same memory for any number of lines.
func (d *DB) VerifyAudit(ctx context.Context, how AuditVerify) (AuditCheck, error) {
	v := &auditVerifier{AuditVerify: how, prev: auditSeal{Hash: make([]byte, sha256.Size)}, low: math.MinInt64}
	err := pgx.BeginTxFunc(ctx, d.Pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		v.tx = tx
		return v.all(ctx)
	})
	if err != nil {
		return v.check, fmt.Errorf("verify the audit trail: %w", err)
	}
	return v.check, nil
}

type auditVerifier struct {
	AuditVerify
	tx    pgx.Tx
	key   AuditKey
	check AuditCheck

	prev     auditSeal // the seal before
	broken   bool      // prev was changed, or is not the one before: where its lines end is not known
	low      int64     // the last line of the last good seal
	headSeen bool

	gone      int64 // missing lines in a row that were not told yet
	firstGone auditEntry
	lastGone  auditEntry
}

func (v *auditVerifier) found(format string, args ...any) {
	v.check.Findings++
	v.Found(fmt.Sprintf(format, args...))
}

func (v *auditVerifier) all(ctx context.Context) error {
	// Before the snapshot is taken: retention drops nothing from under it.
	if _, err := v.tx.Exec(ctx, `LOCK TABLE audit, audit_seals IN ACCESS SHARE MODE`); err != nil {
		return err
	}
	var err error
	v.key, err = OpenAuditKey(ctx, v.tx, v.Sealer)
	if errors.Is(err, ErrNotFound) {
		err = v.withoutKey(ctx)
	}
	if err != nil {
		return err
	}
	if err := v.ownLines(ctx); err != nil {
		return err
	}
	for more := true; more && v.key.key != nil; {
		if more, err = v.batch(ctx); err != nil {
			return err
		}
	}
	if v.Head.Seq > 0 && !v.headSeen {
		v.found("seal %d, which was given as the head, is gone: the trail was cut off, and now ends with seal %d", v.Head.Seq, v.prev.Seq)
	}
	v.check.Head = AuditHead{v.prev.Seq, v.prev.Hash}
	var since *time.Time
	err = v.tx.QueryRow(ctx, `SELECT count(*), min(at) FROM audit WHERE id > $1`, v.prev.LastID).Scan(&v.check.Unsealed, &since)
	if since != nil {
		v.check.UnsealedSince = since.UTC()
	}
	return err
}

// withoutKey is for a database without the key: right as long as nothing was sealed.
func (v *auditVerifier) withoutKey(ctx context.Context) error {
	last, err := lastSeal(ctx, v.tx)
	if err == nil && last.Seq > 0 {
		v.prev = *last
		v.found("the key of the seals is gone from the table secrets: none of them can be checked")
	}
	return err
}

// ownLines reads what the trail says about itself: which months were dropped, and where a server
// missed a seal.
func (v *auditVerifier) ownLines(ctx context.Context) error {
	rows, err := v.tx.Query(ctx, `
		SELECT at, action, coalesce(object, '') FROM audit WHERE action IN ('`+actionDrop+`', '`+actionBroken+`') ORDER BY id`)
	if err != nil {
		return err
	}
	var at time.Time
	var action, object string
	_, err = pgx.ForEachRow(rows, []any{&at, &action, &object}, func() error {
		if action == actionDrop {
			v.drop(at.UTC(), object)
		} else {
			v.found("on %s the server found that the seal %s, which it had seen, was gone or changed", when(at), object)
		}
		return nil
	})
	return err
}

// drop takes note of a month that was dropped. Months are dropped in their order, so all before it
// are gone too.
func (v *auditVerifier) drop(at time.Time, object string) {
	month, err := time.Parse("2006-01", object)
	if err != nil {
		v.found("on %s a month was dropped whose name is not one: %q", when(at), object)
		return
	}
	end := month.AddDate(0, 1, 0)
	if end.After(v.check.DroppedBefore) {
		v.check.DroppedBefore, v.check.DroppedAt = end, at
	}
	switch {
	case v.Keep == 0:
		v.found("the lines of %s were dropped on %s, although lines are to be kept for ever", object, when(at))
	case at.Before(end.Add(v.Keep)):
		v.found("the lines of %s were dropped on %s, although they were to be kept until %s", object, when(at), when(end.Add(v.Keep)))
	}
}

// sealsAtOnce bounds the seals in memory: at 32 kB each, to 2 MB.
const sealsAtOnce = 64

// batch checks the next seals with their lines, and reports whether there may be more.
func (v *auditVerifier) batch(ctx context.Context) (more bool, err error) {
	rows, err := v.tx.Query(ctx, `SELECT `+sealColumns+` FROM audit_seals WHERE seq > $1 ORDER BY seq LIMIT $2`, v.prev.Seq, sealsAtOnce)
	if err != nil {
		return false, err
	}
	seals, err := pgx.CollectRows(rows, pgx.RowToStructByPos[auditSeal])
	if err != nil {
		return false, err
	}
	var good []vouched
	for i := range seals {
		if low, ok := v.link(&seals[i]); ok {
			good = append(good, vouched{&seals[i], low})
		}
	}
	if len(good) > 0 {
		err = v.lines(ctx, good)
	}
	return len(seals) == sealsAtOnce, err
}

// vouched is a seal that is what it was.
type vouched struct {
	*auditSeal
	low int64 // lines with an id up to this are not its business
}

// link checks a seal and its place in the chain.
func (v *auditVerifier) link(s *auditSeal) (low int64, good bool) {
	v.check.Seals++
	low = math.MinInt64
	if s.Seq != v.prev.Seq+1 {
		v.found("the seals after %d and before %d are missing: nothing vouches for the lines between %d and %d", v.prev.Seq, s.Seq, v.prev.LastID, s.FirstID)
		v.broken = true
	}
	if s.Seq == v.Head.Seq {
		v.headSeen = true
		if !bytes.Equal(s.Hash, v.Head.Hash) {
			v.found("seal %d is not the one that was given as the head: it and what follows were made anew", s.Seq)
		}
	}
	good = hmac.Equal(v.key.hash(s), s.Hash)
	switch {
	case !good:
		v.found("seal %d (lines %d to %d, %s) was changed: nothing vouches for its lines", s.Seq, s.FirstID, s.LastID, when(s.SealedAt))
	case !v.broken && !bytes.Equal(s.Previous, v.prev.Hash):
		v.found("seal %d (lines %d to %d, %s) does not follow seal %d: they are of different trails", s.Seq, s.FirstID, s.LastID, when(s.SealedAt), v.prev.Seq)
		low = s.FirstID - 1
	case v.broken:
		low = s.FirstID - 1
	}
	v.prev, v.broken = *s, !good
	v.prev.Digests = nil
	return low, good
}

// lines checks the lines of seals against them.
func (v *auditVerifier) lines(ctx context.Context, seals []vouched) error {
	last := seals[len(seals)-1].LastID
	rows, err := v.tx.Query(ctx, `SELECT `+auditSealColumns+` FROM audit WHERE id > $1 AND id <= $2 ORDER BY id, at`, v.low, last)
	if err != nil {
		return err
	}
	defer rows.Close()
	in := &lineReader{rows: rows}
	in.next()
	for _, s := range seals {
		v.compare(s, in)
	}
	v.addedBefore(in, v.low, math.MaxInt64)
	v.low = last
	return in.err
}

// lineReader holds one line of a result.
type lineReader struct {
	rows pgx.Rows
	line *sealedLine // nil after the last
	err  error
}

func (r *lineReader) next() {
	r.line = nil
	if r.err != nil || !r.rows.Next() {
		r.err = errors.Join(r.err, r.rows.Err())
		return
	}
	line, err := scanSealedLine(r.rows)
	if err != nil {
		r.err = err
		return
	}
	r.line = &line
}

// compare holds a seal against the lines that there are: both are in the order of ids.
func (v *auditVerifier) compare(s vouched, in *lineReader) {
	entries := s.entries()
	for i := range entries {
		want := &entries[i]
		v.addedBefore(in, s.low, want.id)
		if in.err != nil {
			return // what was not read is not missing
		}
		if in.line == nil || in.line.id > want.id {
			v.missing(want)
			continue
		}
		v.tellMissing()
		if got := v.key.entry(in.line); got.digest != want.digest {
			v.changed(in.line, &got, entries)
		}
		v.check.Lines++
		in.next()
	}
	v.tellMissing()
}

// addedBefore tells the lines with an id below limit, which no seal knows; those up to low are
// passed over, since they are of a seal that is gone.
func (v *auditVerifier) addedBefore(in *lineReader, low, limit int64) {
	for ; in.line != nil && in.line.id < limit; in.next() {
		if in.line.id > low {
			v.found("line %d (%s) was added after the lines around it were sealed", in.line.id, when(in.line.at))
		}
	}
}

// changed tells of a line that is not the sealed one; one that is the sealed line of another id was moved.
func (v *auditVerifier) changed(line *sealedLine, got *auditEntry, entries []auditEntry) {
	for i := range entries {
		if entries[i].digest == got.digest {
			v.found("line %d (%s) was line %d when it was sealed: lines were reordered", line.id, when(line.at), entries[i].id)
			return
		}
	}
	v.found("line %d (%s) was changed after it was sealed", line.id, when(line.at))
}

func (v *auditVerifier) missing(e *auditEntry) {
	if e.at.Before(v.check.DroppedBefore) {
		v.check.Dropped++
		return
	}
	if v.gone == 0 {
		v.firstGone = *e
	}
	v.gone++
	v.lastGone = *e
}

// tellMissing tells the missing lines in a row as one finding.
func (v *auditVerifier) tellMissing() {
	switch v.gone {
	case 0:
	case 1:
		v.found("line %d (%s) is missing", v.firstGone.id, when(v.firstGone.at))
	default:
		v.found("%d lines, from %d (%s) to %d (%s), are missing", v.gone, v.firstGone.id, when(v.firstGone.at), v.lastGone.id, when(v.lastGone.at))
	}
	v.gone = 0
}

// when writes a time for people.
func when(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999Z") }
