package storage

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Member is a row of the table members: what a person, or everybody in a group, may do with an app.
type Member struct {
	App       string
	Kind      string // person or group
	Member    string // the person's login, or the group's name at the provider
	Role      string // viewer, operator or admin
	SeeData   bool   // never for a viewer
	AddedBy   string
	AddedAt   time.Time
	ChangedAt time.Time
}

const memberColumns = `app, kind, member, role, see_data, added_by, added_at, changed_at`

// Members returns an app's members: groups first, then people, by name.
func (s *Scope) Members(ctx context.Context, app string) ([]Member, error) {
	rows, err := s.db.Pool.Query(ctx, `
		SELECT `+memberColumns+` FROM members WHERE `+inReach+` AND app = $7 ORDER BY kind, member`,
		s.reach.values(Manage, app)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Member])
}

// Member returns one member of an app, or ErrNotFound.
func (s *Scope) Member(ctx context.Context, app, kind, member string) (Member, error) {
	rows, err := s.db.Pool.Query(ctx, `
		SELECT `+memberColumns+` FROM members WHERE `+inReach+` AND app = $7 AND kind = $8 AND member = $9`,
		s.reach.values(Manage, app, kind, member)...)
	if err != nil {
		return Member{}, err
	}
	m, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Member])
	return m, notFound(err, "member", member)
}

// PutMember makes somebody a member of an app, or changes what a member may do. made tells which.
// ErrNotFound when the app is not within reach.
func PutMember(ctx context.Context, tx pgx.Tx, r Reach, m *Member) (made bool, err error) {
	rows, err := tx.Query(ctx, `
		INSERT INTO members (app, kind, member, role, see_data, added_by)
		SELECT $7, $8, $9, $10, $11, $12 WHERE $7 IN (SELECT reach($1, $2, $3, $4, $5, $6))
		ON CONFLICT (app, kind, member) DO UPDATE
		SET role = excluded.role, see_data = excluded.see_data, changed_at = now()
		RETURNING xmax = 0`, r.values(Manage, m.App, m.Kind, m.Member, m.Role, m.SeeData, m.AddedBy)...)
	if err != nil {
		return false, err
	}
	made, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
	return made, notFound(err, "app", m.App)
}

// DeleteMember takes a membership away. ErrNotFound if there is none within reach.
func DeleteMember(ctx context.Context, tx pgx.Tx, r Reach, app, kind, member string) error {
	tag, err := tx.Exec(ctx, `DELETE FROM members WHERE `+inReach+` AND app = $7 AND kind = $8 AND member = $9`,
		r.values(Manage, app, kind, member)...)
	if err == nil && tag.RowsAffected() == 0 {
		return fmt.Errorf("member %s %s of app %s: %w", kind, member, app, ErrNotFound)
	}
	return err
}
