package identity

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	adminScope   = "urn:opc:idm:__myscopes__"
	expiryScope  = "urn:opc:resource:expiry="
	scopeOpenID  = "openid"
	scopeOffline = "offline_access"
)

var openIDScopes = map[string]bool{
	scopeOpenID: true, "profile": true, scopeOffline: true, "email": true, "address": true, "phone": true,
	"groups": true, "get_groups": true, "approles": true, "get_approles": true,
}

// scopes is what a client asked for and was found to be allowed.
type scopes struct {
	asked string
	// names is the claim scope: without audiences.
	names []string
	// audience is that of the access token; empty means the domain itself.
	audience string
	// life is that of the access token.
	life      time.Duration
	noRefresh bool
}

func (s scopes) has(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(s.names, name) })
}

// within reports whether everything in asked was asked for before.
func (s scopes) within(before string) bool {
	known := strings.Fields(before)
	return !slices.ContainsFunc(strings.Fields(s.asked), func(word string) bool { return !slices.Contains(known, word) })
}

// readScope finds what app asks for by a scope, or refuses it.
func (c Config) readScope(app App, asked string) (scopes, *oauthError) {
	words := strings.Fields(asked)
	if len(words) == 0 {
		return scopes{}, refuse("invalid_scope", "The scope parameter is required.")
	}
	s := scopes{asked: strings.Join(words, " ")}
	audiences := map[string]bool{}
	var longer time.Duration
	for _, word := range words {
		switch seconds, expiry := strings.CutPrefix(word, expiryScope); {
		case openIDScopes[word]:
			s.names = append(s.names, word)
		case expiry:
			n, err := strconv.Atoi(seconds)
			if err != nil || n < 60 || n > 31_556_952 {
				return scopes{}, refuse("invalid_scope", "The requested expiry must be between 60 and 31556952 seconds.")
			}
			longer = time.Duration(n) * time.Second
		case word == adminScope:
			audiences[""] = true
			s.names = append(s.names, word)
			if !app.mayAsk(word) {
				return scopes{}, refuse("invalid_scope", "The client is not allowed the scope "+word)
			}
		default:
			resource, name, ok := c.resourceScope(word)
			if !ok || !app.mayAsk(resource.Audience+name) {
				return scopes{}, refuse("invalid_scope", "The scope is unknown or not allowed: "+word)
			}
			audiences[resource.Audience] = true
			s.audience, s.life, s.noRefresh = resource.Audience, resource.ExpiresIn, resource.NoRefresh
			s.names = append(s.names, name)
		}
	}
	if len(audiences) > 1 {
		return scopes{}, refuse("invalid_scope", "The scopes are for more than one audience.")
	}
	if s.life == 0 {
		s.life = c.ExpiresIn
	}
	if longer != 0 {
		s.life = longer
	}
	if s.has(scopeOffline) && (s.noRefresh || !app.allows(GrantRefreshToken)) {
		return scopes{}, refuse("unauthorized_client", "The client or the resource does not allow token refresh.")
	}
	return s, nil
}

// resourceScope finds the resource of a scope: audience and name written
// together, or the name alone where only one resource has it.
func (c Config) resourceScope(word string) (Resource, string, bool) {
	var alone []Resource
	for _, resource := range c.Resources {
		for _, name := range resource.Scopes {
			if word == resource.Audience+name {
				return resource, name, true
			}
			if word == name {
				alone = append(alone, resource)
			}
		}
	}
	if len(alone) != 1 {
		return Resource{}, "", false
	}
	return alone[0], word, true
}

func (a App) mayAsk(scope string) bool { return len(a.Scopes) == 0 || slices.Contains(a.Scopes, scope) }
