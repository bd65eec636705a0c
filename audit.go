package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"longhaul/storage"
)

type auditCmd struct {
	Verify auditVerifyCmd `cmd:"" help:"Find lines of the audit trail that were changed, removed, added or reordered."`
	Export auditExportCmd `cmd:"" help:"Print the audit trail, oldest line first."`
}

// auditSettings say how long the audit trail is kept; the commands that must agree on it share them.
type auditSettings struct {
	// Two years and two months: when the books of a year are closed and audited, in the first months
	// of the next, all of it and of the year it is compared with is there.
	AuditKeep time.Duration `env:"LONGHAUL_AUDIT_KEEP" default:"19032h" help:"How long lines of the audit trail are kept, in whole months; 0: for ever. Default: 26 months."`
}

// validateAudit reports what is wrong with the settings.
func (s *auditSettings) validateAudit() error {
	if s.AuditKeep < 0 {
		return errors.New("LONGHAUL_AUDIT_KEEP must not be less than 0; 0 keeps the audit trail for ever")
	}
	return nil
}

type auditVerifyCmd struct {
	dataSettings  `embed:""`
	keySettings   `embed:""`
	auditSettings `embed:""`
	Head          string `placeholder:"SEQ:HASH" help:"A seal as an earlier run or the server's log named it: it must still be there."`
}

// toldFindings bounds what verify prints: of a trail that was exchanged, every line is a finding.
const toldFindings = 1000

// Run checks the whole trail and says in words what is wrong with it.
func (c *auditVerifyCmd) Run(ctx context.Context, s *streams) error {
	how := storage.AuditVerify{Keep: c.AuditKeep}
	if c.Head != "" {
		head, err := storage.ParseAuditHead(c.Head)
		if err != nil {
			return fmt.Errorf("--head: %w", err)
		}
		how.Head = head
	}
	if err := c.validateAudit(); err != nil {
		return err
	}
	dir, err := c.dir()
	if err != nil {
		return err
	}
	db, err := joinDatabase(ctx, &c.dataSettings, dir, c.logger(s.err))
	if err != nil {
		return err
	}
	defer db.close()
	if how.Sealer, err = c.sealer(ctx, dir, db.pool); err != nil {
		return err
	}
	told := 0
	how.Found = func(finding string) {
		if told++; told <= toldFindings {
			_, _ = fmt.Fprintln(s.out, finding) // the count at the end is what matters
		}
	}
	check, err := (&storage.DB{Pool: db.pool}).VerifyAudit(ctx, how)
	if err != nil {
		return err
	}
	if more := told - toldFindings; more > 0 {
		_, _ = fmt.Fprintf(s.out, "… and %d more\n", more)
	}
	if _, err := fmt.Fprint(s.out, auditReport(&check)); err != nil {
		return err
	}
	if check.Findings > 0 {
		return fmt.Errorf("the audit trail is not what was sealed: %s", number(check.Findings, "finding"))
	}
	return nil
}

// auditReport is what a check came to, but for its findings.
func auditReport(c *storage.AuditCheck) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s checked against %s\n", number(c.Lines, "line"), number(c.Seals, "seal"))
	if !c.DroppedBefore.IsZero() {
		fmt.Fprintf(&b, "lines before %s were dropped by retention, the last on %s: %s\n",
			c.DroppedBefore.Format(time.DateOnly), c.DroppedAt.Format(time.DateOnly), number(c.Dropped, "line"))
	}
	if c.Unsealed > 0 {
		fmt.Fprintf(&b, "%s after the last seal, since %s: not sealed yet, so not checked\n",
			number(c.Unsealed, "line"), c.UnsealedSince.Format(time.RFC3339))
	}
	if c.Head.Seq > 0 {
		fmt.Fprintf(&b, "head %s\n", c.Head)
	}
	return b.String()
}

// number is a count with its noun.
func number(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}

type auditExportCmd struct {
	dataSettings `embed:""`
	Format       string   `enum:"jsonl,csv" default:"jsonl" help:"jsonl (JSON, a line each) or csv."`
	Since        string   `placeholder:"TIME" help:"Only lines at this time and later: a date (UTC), or a time as in 2026-11-21T16:20:00Z."`
	Until        string   `placeholder:"TIME" help:"Only lines before this time."`
	App          []string `placeholder:"APP" help:"Only lines of this app; may be given more than once."`
}

// Run prints the lines that the flags select.
func (c *auditExportCmd) Run(ctx context.Context, s *streams) error {
	since, sinceErr := parseTime("--since", c.Since)
	until, untilErr := parseTime("--until", c.Until)
	if err := errors.Join(sinceErr, untilErr); err != nil {
		return err
	}
	dir, err := c.dir()
	if err != nil {
		return err
	}
	db, err := joinDatabase(ctx, &c.dataSettings, dir, c.logger(s.err))
	if err != nil {
		return err
	}
	defer db.close()
	lines := (&storage.DB{Pool: db.pool}).AllAuditLines(ctx, storage.AuditFilter{Apps: c.App, Since: since, Until: until})
	out := bufio.NewWriter(s.out)
	if err := storage.WriteAudit(out, c.Format, lines); err != nil {
		return errors.Join(err, out.Flush())
	}
	return out.Flush()
}

// parseTime reads a date or a time; none gives the zero time.
func parseTime(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s %q is not a time; write it like 2026-11-21 or 2026-11-21T16:20:00Z", flag, text)
}
