package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"longhaul/storage"
)

const (
	// callersKept is how many callers are remembered at once.
	callersKept = 20_000
	// callersFor is how long a caller is remembered. Every change of who may do what makes all
	// processes forget at once; this bounds how long a lost word of it can matter.
	callersFor = 5 * time.Second
	// usedEvery is how often a session or token notes that it was used.
	usedEvery = time.Minute
)

// identity is who a credential stands for and what they may do. It does not change.
type identity struct {
	person  storage.Person
	token   *storage.Token // nil without an API token
	session *storage.Session
	reach   storage.Reach
	grants  map[string]storage.Rights // by app; nil for an instance admin
	until   time.Time                 // when the credential ends; zero: not by itself
}

// rights returns what the caller may do with an app; 0 also where there is no such app.
func (i *identity) rights(app string) storage.Rights {
	if !i.reach.Everything {
		return i.grants[app]
	}
	if i.reach.Apps != nil && !slices.Contains(i.reach.Apps, app) {
		return 0
	}
	return i.reach.Scopes
}

// anywhere reports whether the caller holds the rights on at least one app.
func (i *identity) anywhere(needed storage.Rights) bool {
	if i.reach.Everything {
		return i.reach.Scopes.Has(needed)
	}
	for _, rights := range i.grants {
		if rights.Has(needed) {
			return true
		}
	}
	return false
}

// rules reports whether the caller is an instance admin, and not one with a token for less.
func (i *identity) rules() bool {
	return i.reach.Everything && i.reach.Scopes.Has(storage.Instance) && i.reach.Apps == nil
}

// callers finds out who callers are, and remembers for a moment.
type callers struct {
	db       *storage.DB
	config   *Config
	known    *lru.Cache[[sha256.Size]byte, memory]
	changes  atomic.Int64 // counts changes of who may do what
	admin    [sha256.Size]byte
	local    *identity // who comes with the admin token of local mode
	sessions *sessions
}

// memory is a caller who is remembered until then.
type memory struct {
	*identity
	until time.Time
}

func newCallers(db *storage.DB, config *Config, sessions *sessions) *callers {
	known, _ := lru.New[[sha256.Size]byte, memory](callersKept) // the size is valid
	return &callers{
		db: db, config: config, sessions: sessions,
		admin: sha256.Sum256([]byte(config.AdminToken)), local: &identity{person: localAdmin(), reach: storage.Everywhere},
		known: known,
	}
}

// forget makes every caller be looked up anew.
func (c *callers) forget() {
	c.changes.Add(1)
	c.known.Purge()
}

// bearer returns whose token it is, or errUnauthorized.
func (c *callers) bearer(ctx context.Context, token, address string) (*identity, error) {
	key := sha256.Sum256([]byte(token))
	switch {
	case c.isAdmins(key):
		return c.local, nil
	case strings.HasPrefix(token, tokenPrefix):
		if !wellFormedToken(token) {
			return nil, errUnauthorized
		}
		return c.remembered(ctx, key, func(ctx context.Context) (*identity, error) { return c.byToken(ctx, token, address) })
	case c.config.Provider != nil:
		return c.remembered(ctx, key, func(ctx context.Context) (*identity, error) { return c.byAccessToken(ctx, token) })
	}
	return nil, errUnauthorized
}

// cookie returns whose session it is, or errUnauthorized.
func (c *callers) cookie(ctx context.Context, value, address string) (*identity, error) {
	// Under a key of its own: a cookie is no bearer token, nor the other way round.
	key := sha256.Sum256([]byte("cookie " + value))
	return c.remembered(ctx, key, func(ctx context.Context) (*identity, error) { return c.bySession(ctx, value, address) })
}

// isAdminToken compares digests, so that neither length nor content shows in the time it takes.
func (c *callers) isAdminToken(token string) bool { return c.isAdmins(sha256.Sum256([]byte(token))) }

func (c *callers) isAdmins(digest [sha256.Size]byte) bool {
	return c.config.Provider == nil && c.config.AdminToken != "" && subtle.ConstantTimeCompare(digest[:], c.admin[:]) == 1
}

// remembered returns what is known of the credential with this digest, or what find says and
// remembers that: unless something changed meanwhile.
func (c *callers) remembered(ctx context.Context, key [sha256.Size]byte, find func(context.Context) (*identity, error)) (*identity, error) {
	if found, ok := c.known.Get(key); ok && time.Now().Before(found.until) {
		return found.identity, nil
	}
	before := c.changes.Load()
	found, err := find(ctx)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errUnauthorized
	}
	if err != nil {
		return nil, err
	}
	if found.grants == nil && !found.reach.Everything {
		if found.grants, err = c.db.Grants(ctx, found.reach); err != nil {
			return nil, err
		}
	}
	if c.changes.Load() == before {
		c.remember(key, found)
	}
	return found, nil
}

// remember keeps a caller for a moment, or until the credential ends.
func (c *callers) remember(key [sha256.Size]byte, who *identity) {
	until := time.Now().Add(callersFor)
	if !who.until.IsZero() && who.until.Before(until) {
		until = who.until
	}
	c.known.Add(key, memory{who, until})
}

func (c *callers) byToken(ctx context.Context, raw, address string) (*identity, error) {
	token, owner, err := c.db.TokenOwner(ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := c.checkOwner(&owner); err != nil {
		return nil, err
	}
	if token.UsedAt == nil || time.Since(*token.UsedAt) > usedEvery {
		if err := c.db.TokenUsed(ctx, token.ID, address); err != nil {
			return nil, err
		}
	}
	found := &identity{person: owner, token: &token, reach: c.reach(&owner)}
	found.reach.Scopes, found.reach.Apps = token.Scopes, token.Apps
	if token.ExpiresAt != nil {
		found.until = *token.ExpiresAt
	}
	return found, nil
}

// checkOwner refuses API tokens whose owner could not sign in any more: someone of another
// provider, and someone who has not signed in for so long that nobody knows whether they may.
func (c *callers) checkOwner(p *storage.Person) error {
	if p.Issuer != c.issuer() {
		return errUnauthorized
	}
	if c.config.Provider != nil && c.config.TokensFor > 0 && time.Since(p.SignedInAt) > c.config.TokensFor {
		return errTokenDormant
	}
	return nil
}

func (c *callers) byAccessToken(ctx context.Context, raw string) (*identity, error) {
	who, until, err := c.config.Provider.AccessToken(ctx, raw)
	if err != nil {
		return nil, err
	}
	saved, err := storage.MeetPerson(ctx, c.db.Pool, c.personOf(who), who.GroupsKnown)
	if err != nil {
		return nil, loginTaken(err)
	}
	return &identity{person: saved, reach: c.reach(&saved), until: until}, nil
}

func (c *callers) bySession(ctx context.Context, value, address string) (*identity, error) {
	session, owner, err := c.db.SessionOwner(ctx, value)
	if err != nil {
		return nil, err
	}
	if owner.Issuer != c.issuer() {
		return nil, errUnauthorized
	}
	if time.Since(session.SeenAt) > usedEvery {
		if err := c.sessions.seen(ctx, &session, value, address); err != nil {
			return nil, err
		}
	}
	return &identity{person: owner, session: &session, reach: c.reach(&owner), until: session.Expiry}, nil
}

// reach is what a person may reach by what the provider says of them now.
func (c *callers) reach(p *storage.Person) storage.Reach {
	return storage.Reach{Everything: c.isAdmin(p), Login: p.Login, Groups: p.Groups, Scopes: storage.AllRights}
}

// isAdmin reports whether a person is an instance admin: by the settings, or as the one person of
// local mode.
func (c *callers) isAdmin(p *storage.Person) bool {
	if c.config.Provider == nil {
		return p.ID == storage.LocalAdmin
	}
	return slices.Contains(c.config.Admins, p.Login) ||
		slices.ContainsFunc(p.Groups, func(group string) bool { return slices.Contains(c.config.AdminGroups, group) })
}

// issuer is whose people may come in.
func (c *callers) issuer() string {
	if c.config.Provider == nil {
		return storage.LocalIssuer
	}
	return c.config.Issuer
}

// localAdmin is who comes with the admin token of local mode.
func localAdmin() storage.Person {
	return storage.Person{ID: storage.LocalAdmin, Issuer: storage.LocalIssuer, Subject: "admin", Login: "admin", Name: "Administrator"}
}
