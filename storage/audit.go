package storage

import "context"

// Audit is one line of the audit trail: who did what to what.
type Audit struct {
	Actor     string
	Action    string // noun.verb, as in task.create
	App       string
	Object    string // id or name of what it was done to
	Address   string // the caller's network address
	RequestID string
}

// InsertAudit writes a line of the audit trail, in the transaction of the change it tells of.
func InsertAudit(ctx context.Context, q Querier, a Audit) error {
	_, err := q.Exec(ctx, insertAudit, a.values()...)
	return err
}

const insertAudit = `
	INSERT INTO audit (actor, action, app, object, address, request_id)
	VALUES ($1, $2, nullif($3, ''), nullif($4, ''), nullif($5, ''), nullif($6, ''))`

func (a Audit) values() []any {
	return []any{a.Actor, a.Action, a.App, a.Object, a.Address, a.RequestID}
}
