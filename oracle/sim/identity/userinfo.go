package identity

import (
	"maps"
	"net/http"
	"strings"
)

// userinfo is GET and POST /oauth2/v1/userinfo.
func (d *Domain) userinfo(w http.ResponseWriter, r *http.Request) {
	payload, err := d.access(bearer(r))
	if err != nil {
		writeUnauthorized(w, "The access token is invalid or expired.")
		return
	}
	cfg := d.config()
	s := scopes{names: strings.Fields(payload.text("scope"))}
	user, known := cfg.userByID(payload.text("user_id"))
	if !known || !s.has(scopeOpenID) {
		writeUnauthorized(w, "The access token is not of a user who signed in.")
		return
	}
	entryOf(r).User = user.Name
	answer := claims{"sub": user.Name}
	addProfile(answer, user, s)
	if s.has("profile") {
		maps.Copy(answer, claims{"birthdate": "", "gender": "", "website": "", "updated_at": "2026-01-02T03:04:05Z"})
	}
	if s.has("groups", "get_groups") {
		cfg.addGroups(answer, user)
	}
	if s.has("approles", "get_approles", "groups") {
		answer["appRoles"] = []string{}
	}
	writeJSON(w, http.StatusOK, answer)
}

// introspect is POST /oauth2/v1/introspect.
func (d *Domain) introspect(w http.ResponseWriter, r *http.Request) {
	if _, refusal := d.clientRequest(w, r); refusal != nil {
		writeError(w, refusal)
		return
	}
	token := r.PostForm.Get("token")
	if payload, err := d.access(token); err == nil {
		payload["active"] = true
		writeSecret(w, payload)
		return
	}
	writeSecret(w, map[string]any{"active": d.refreshes.active(token, d.now())})
}

// revoke is POST /oauth2/v1/revoke: a refresh token with all of its chain, or an
// access token. What is no token of the client's is revoked as well as can be.
func (d *Domain) revoke(w http.ResponseWriter, r *http.Request) {
	app, refusal := d.clientRequest(w, r)
	if refusal != nil {
		writeError(w, refusal)
		return
	}
	token := r.PostForm.Get("token")
	if c := d.refreshes.chainOf(token); c != nil && c.clientID == app.ID {
		d.refreshes.revoke(c)
	}
	if payload, err := d.access(token); err == nil && payload.text("client_id") == app.ID {
		ends, _ := payload.at("exp")
		d.revoked.put(payload.text("jti"), struct{}{}, d.now(), ends)
	}
	w.WriteHeader(http.StatusOK)
}
