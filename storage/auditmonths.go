package storage

import (
	"context"
	"fmt"
	"time"
)

// AddAuditMonths makes the audit trail's partitions of this month and the next two. moved is how
// many lines had been written in a month without one: nobody swept for months, or a clock was wrong.
func (d *DB) AddAuditMonths(ctx context.Context) (moved int64, err error) {
	if err := d.Pool.QueryRow(ctx, `SELECT audit_add_months()`).Scan(&moved); err != nil {
		return 0, fmt.Errorf("add months to the audit trail: %w", err)
	}
	return moved, nil
}

// DropAuditMonths drops the months of the audit trail that ended longer than keep ago, and returns
// how many lines they had. It drops no month that has lines without a seal, and none that must be
// kept by what [GrantServer] was told; each leaves a line of its own in the trail.
func (d *DB) DropAuditMonths(ctx context.Context, keep time.Duration) (lines int64, err error) {
	if err := d.Pool.QueryRow(ctx, `SELECT audit_drop_months($1)`, keep).Scan(&lines); err != nil {
		return 0, fmt.Errorf("drop months of the audit trail: %w", err)
	}
	return lines, nil
}
