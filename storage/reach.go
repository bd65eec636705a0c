package storage

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Rights is what somebody may do, as bits. The tables members and tokens keep the same bits.
type Rights int

const (
	// View shows tasks, their state and history, and the app itself.
	View Rights = 1 << iota
	// Operate starts, cancels, retries and deletes tasks.
	Operate
	// Data shows what tasks are about: inputs, outputs, rejected records and the log.
	Data
	// Manage changes an app's connection and members.
	Manage
	// Instance rules the whole server: makes and deletes apps, sees all people and all audit lines.
	Instance

	// AllRights is every right there is.
	AllRights = View | Operate | Data | Manage | Instance
)

// rightWords are the names of the rights, in the order of their bits.
var rightWords = []string{"view", "operate", "data", "manage", "instance"}

// Has reports whether r holds all of needed.
func (r Rights) Has(needed Rights) bool { return r&needed == needed }

// Words lists the rights by name.
func (r Rights) Words() []string {
	words := []string{}
	for i, word := range rightWords {
		if r.Has(1 << i) {
			words = append(words, word)
		}
	}
	return words
}

// String lists the rights by name, parted by commas.
func (r Rights) String() string { return strings.Join(r.Words(), ",") }

// ParseRights reads what Words wrote; unknown words are left out.
func ParseRights(words []string) Rights {
	var r Rights
	for i, word := range rightWords {
		if slices.Contains(words, word) {
			r |= 1 << i
		}
	}
	return r
}

// Reach says which apps a caller may reach, and with which rights. Every query on behalf of a
// caller is scoped by it, in SQL: see the function reach in migrations.
type Reach struct {
	Everything bool     // an instance admin: every right on every app
	Login      string   // of the person, as memberships name them
	Groups     []string // of the person, at the provider
	Apps       []string // a token's apps; nil: all that its owner reaches
	Scopes     Rights   // a token's; AllRights without a token
}

// Everywhere is the reach of the server itself.
var Everywhere = Reach{Everything: true, Scopes: AllRights}

// inReach is the condition that the column app is within the reach whose values are the first
// six arguments of the query.
const inReach = `app IN (SELECT reach($1, $2, $3, $4, $5, $6))`

// everywhere is the condition, with the same arguments, that the reach is every app there is. It
// spares who rules the server the look at each.
const everywhere = `($1 AND $4::text[] IS NULL AND ($5::int & $6::int) = $6::int)`

// values are the first six arguments of a query with inReach, followed by more.
func (r Reach) values(needed Rights, more ...any) []any {
	return append([]any{r.Everything, r.Login, noneNil(r.Groups), r.Apps, r.Scopes, needed}, more...)
}

// Grants returns what the caller may do with each app within reach.
func (d *DB) Grants(ctx context.Context, r Reach) (map[string]Rights, error) {
	rows, err := d.Pool.Query(ctx, `
		SELECT a.name, CASE WHEN $1 THEN $5 ELSE coalesce(r.rights, 0) & $5 END
		FROM apps a LEFT JOIN rights_of($2, $3) r ON r.app = a.name
		WHERE a.name IN (SELECT reach($1, $2, $3, $4, $5, $6))`, r.values(View)...)
	if err != nil {
		return nil, err
	}
	grants := make(map[string]Rights)
	var app string
	var rights Rights
	_, err = pgx.ForEachRow(rows, []any{&app, &rights}, func() error {
		grants[app] = rights
		return nil
	})
	return grants, err
}
