package identity

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The kinds of token, as the claim tok_type names them.
const (
	accessToken = "AT"
	idToken     = "IT"
)

// issue is what an answer of the token endpoint is made of.
type issue struct {
	app    App
	user   *User // nil: the client speaks for itself
	scopes scopes
	nonce  string
	// session is that of the sign-in, of grants that have one.
	session *session
	// chain is the chain that a refresh token belongs to; nil begins one.
	chain *chain
	// code is the authorization code that was used.
	code string
}

// issue makes the tokens of an answer.
func (d *Domain) issue(cfg Config, i issue) (answer map[string]any) {
	now := cfg.Now()
	access := d.keys.current().sign(cfg.accessClaims(i, now))
	answer = map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": int(i.scopes.life / time.Second),
	}
	if i.user == nil {
		return answer
	}
	if i.scopes.has(scopeOpenID) {
		answer["id_token"] = d.keys.current().sign(cfg.idClaims(i, access, now))
	}
	if i.scopes.has(scopeOffline) {
		c := i.chain
		if c == nil {
			c = &chain{clientID: i.app.ID, userID: i.user.ID, scope: i.scopes.asked, session: i.session}
		}
		answer["refresh_token"] = d.refreshes.issue(c, now.Add(cfg.RefreshLife))
		if i.code != "" {
			d.spent.put(i.code, c, now, now.Add(cfg.CodeLife))
		}
	}
	return answer
}

// accessClaims is the payload of an access token.
func (c Config) accessClaims(i issue, now time.Time) claims {
	payload := claims{
		"iss": c.tokenIssuer(), "sub": i.app.ID, "tok_type": accessToken, "jti": secret(),
		"iat": now.Unix(), "exp": now.Add(i.scopes.life).Unix(),
		"scope": strings.Join(i.scopes.names, " "), "aud": c.audience(i.scopes),
		"client_id": i.app.ID, "client_name": i.app.Name, "client_tenantname": c.Tenant,
		"user.tenant.name": c.Tenant, "tenant": c.Tenant,
	}
	if i.user != nil {
		payload["sub"] = i.user.Name
		c.describe(payload, *i.user)
	}
	return payload
}

// audience is the claim aud of an access token: a service's as text, the
// domain's own as a list.
func (c Config) audience(s scopes) any {
	if s.audience != "" {
		return s.audience
	}
	return []string{"https://" + c.Tenant + ".identity.oraclecloud.com", "urn:opc:lbaas:logicalguid=" + c.Tenant}
}

// describe adds what access and ID tokens both say of a person.
func (c Config) describe(payload claims, user User) {
	payload["sub_mappingattr"] = "userName"
	payload["user_id"], payload["user_displayname"] = user.ID, user.display()
	payload["user_tenantname"], payload["user_lang"], payload["user_locale"] = c.Tenant, "en", "en"
	if c.GroupsClaim != "" {
		payload[c.GroupsClaim] = append([]string{}, user.Groups...)
	}
}

// idClaims is the payload of an ID token.
func (c Config) idClaims(i issue, access string, now time.Time) claims {
	in := i.session
	if in == nil {
		in = &session{id: secret(), at: now, ends: now.Add(c.SessionLife)}
	}
	half := sha256.Sum256([]byte(access))
	payload := claims{
		"iss": c.tokenIssuer(), "sub": i.user.Name, "aud": []string{i.app.ID, c.tokenIssuer()}, "azp": i.app.ID,
		"tok_type": idToken, "jti": secret(), "iat": now.Unix(), "exp": in.ends.Unix(),
		"auth_time": in.at.Unix(), "session_exp": in.ends.Unix(), "sid": in.id,
		"at_hash": base64url.EncodeToString(half[:16]), // the left half, as OpenID Connect says
		"amr":     []string{"USERNAME_PASSWORD"}, "authn_strength": "2",
		"user_csr": "false", "user_tz": "UTC",
	}
	if i.nonce != "" {
		payload["nonce"] = i.nonce
	}
	c.describe(payload, *i.user)
	if !c.LeanIDToken {
		addProfile(payload, *i.user, i.scopes)
	}
	if i.scopes.has("get_groups", "groups") {
		c.addGroups(payload, *i.user)
	}
	return payload
}

// addProfile adds what the scopes profile and email ask for.
func addProfile(payload claims, user User, s scopes) {
	if s.has("profile") {
		payload["name"], payload["preferred_username"] = user.display(), user.Name
		payload["given_name"], payload["family_name"] = user.Given, user.Family
	}
	if s.has("email") {
		payload["email"], payload["email_verified"] = user.Email, user.Email != ""
	}
}

// addGroups adds the built-in claim groups in its shape.
func (c Config) addGroups(payload claims, user User) {
	switch {
	case c.Groups == GroupsAbsent:
	case c.Groups == GroupsAsObjects:
		list := []any{}
		for _, name := range user.Groups {
			sum := sha256.Sum256([]byte(name))
			id := base64url.EncodeToString(sum[:12])
			list = append(list, map[string]any{"name": name, "display": name, "id": id, "$ref": "/admin/v1/Groups/" + id})
		}
		payload["groups"] = list
	case c.Groups == GroupsAsOneString && len(user.Groups) == 1:
		payload["groups"] = user.Groups[0]
	default:
		payload["groups"] = append([]string{}, user.Groups...)
	}
}

// bearer is the token of a request, or nothing.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// access returns the claims of an access token of the domain that is in force.
func (d *Domain) access(token string) (claims, error) {
	payload, err := d.keys.verify(token)
	if err != nil {
		return nil, err
	}
	now := d.now()
	ends, ok := payload.at("exp")
	if payload.text("tok_type") != accessToken || !ok || !now.Before(ends) {
		return nil, errors.New("token is expired or not an access token")
	}
	if _, gone := d.revoked.get(payload.text("jti"), now); gone {
		return nil, errors.New("token was revoked")
	}
	return payload, nil
}

// User is what a service of the domain does with an access token: it returns the
// login name, and whether the token is signed by the domain, in force, made out
// to one of [Config.Resources], and of a person. A client's own token is none.
func (d *Domain) User(accessToken string) (user string, ok bool) {
	for _, resource := range d.config().Resources {
		if user, ok := d.userOf(accessToken, resource.Audience); ok {
			return user, true
		}
	}
	return "", false
}

// Service returns [Domain.User] for tokens made out to one audience only.
func (d *Domain) Service(audience string) func(accessToken string) (user string, ok bool) {
	return func(token string) (string, bool) { return d.userOf(token, audience) }
}

func (d *Domain) userOf(token, audience string) (string, bool) {
	payload, err := d.access(token)
	if err != nil || payload.text("user_id") == "" || !slices.Contains(payload.texts("aud"), audience) {
		return "", false
	}
	return payload.text("sub"), true
}
