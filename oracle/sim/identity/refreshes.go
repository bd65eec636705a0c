package identity

import (
	"sync"
	"time"
)

// chain is one consent: all refresh tokens that came one from another. Its
// fields do not change, but for revoked, which belongs to [refreshes].
type chain struct {
	clientID, userID, scope string
	session                 *session
	revoked                 bool
}

// refreshes are the refresh tokens, the used ones too.
type refreshes struct {
	mu   sync.Mutex
	held map[string]*refresh
}

type refresh struct {
	chain *chain
	ends  time.Time
	spent bool
}

func (r *refreshes) issue(c *chain, ends time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == nil {
		r.held = map[string]*refresh{}
	}
	name := "AgA" + secret()
	r.held[name] = &refresh{chain: c, ends: ends}
	return name
}

// chainOf is the chain of a token in any state, or nil.
func (r *refreshes) chainOf(token string) *chain {
	r.mu.Lock()
	defer r.mu.Unlock()
	if found, ok := r.held[token]; ok {
		return found.chain
	}
	return nil
}

// spend uses a token up. The second use of one revokes its whole chain: either
// the client or a thief holds a copy, and the domain cannot know which.
func (r *refreshes) spend(token string, now time.Time) *oauthError {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.held[token]
	switch {
	case found == nil:
		return refuse("invalid_grant", "The refresh token is invalid.")
	case found.spent:
		found.chain.revoked = true
		return refuse("invalid_grant", "The token has already been consumed")
	case found.chain.revoked:
		return refuse("invalid_grant", "The token has been revoked")
	case !now.Before(found.ends):
		return refuse("invalid_grant", "Token is expired for client : "+found.chain.clientID)
	}
	found.spent = true
	return nil
}

func (r *refreshes) revoke(c *chain) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.revoked = true
}

// active reports whether a token could be used.
func (r *refreshes) active(token string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.held[token]
	return found != nil && !found.spent && !found.chain.revoked && now.Before(found.ends)
}
