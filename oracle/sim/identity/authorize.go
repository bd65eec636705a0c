package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"
)

// sessionCookie keeps somebody signed in at the domain.
const sessionCookie = "sim_identity_session"

// session is somebody signed in at the domain.
type session struct {
	id     string
	userID string
	at     time.Time
	ends   time.Time
}

// code is what an authorization code stands for.
type code struct {
	clientID, redirect, challenge, nonce string
	scopes                               scopes
	userID                               string
	session                              session
}

// authorize is GET and POST /oauth2/v1/authorize: it asks who it is unless
// somebody is signed in, and sends them back with a code. The form is posted to
// the address it was shown at, with username and password in the body.
func (d *Domain) authorize(w http.ResponseWriter, r *http.Request) {
	cfg := d.config()
	query := r.URL.Query()
	app, known := cfg.app(query.Get("client_id"))
	entryOf(r).Client = app.ID
	redirect := query.Get("redirect_uri")
	// Nobody is sent to an address that was not registered.
	if !known || !slices.Contains(app.Redirects, redirect) {
		writePage(w, http.StatusBadRequest, page{
			Title: "Error", Message: "The client is unknown, or the redirect URL is not one that was registered for it.",
		})
		return
	}
	s, refusal := cfg.readAuthorization(app, query)
	if refusal != nil {
		d.goBack(w, r, redirect, url.Values{"error": {refusal.code}, "error_description": {refusal.description}})
		return
	}
	in, message := d.whoSignsIn(w, r)
	switch {
	case in == nil && query.Get("prompt") == "none":
		d.goBack(w, r, redirect, url.Values{"error": {"login_required"}, "error_description": {"Nobody is signed in."}})
		return
	case in == nil:
		status := http.StatusOK
		if message != "" {
			status = http.StatusUnauthorized
		}
		writePage(w, status, page{Title: "Sign in", Message: message, Form: true})
		return
	}
	name := secret()
	now := cfg.Now()
	d.codes.put(name, code{
		clientID: app.ID, redirect: redirect, challenge: query.Get("code_challenge"), nonce: query.Get("nonce"),
		scopes: s, userID: in.userID, session: *in,
	}, now, now.Add(cfg.CodeLife))
	d.goBack(w, r, redirect, url.Values{"code": {name}})
}

// readAuthorization checks everything of an authorization request but where it
// goes back to.
func (c Config) readAuthorization(app App, query url.Values) (scopes, *oauthError) {
	for name, values := range query {
		if len(values) > 1 {
			return scopes{}, refuse("invalid_request", "The parameter "+name+" is repeated.")
		}
	}
	switch method, challenge := query.Get("code_challenge_method"), query.Get("code_challenge"); {
	case query.Get("response_type") != "code":
		return scopes{}, refuse("unsupported_response_type", "Only response_type=code is simulated.")
	case !app.allows(GrantAuthorizationCode):
		return scopes{}, refuse("unauthorized_client", "The client is not allowed the grant type authorization_code.")
	case challenge == "" && app.public():
		return scopes{}, refuse("invalid_request", "A public client must send a code_challenge.")
	case challenge != "" && (method != "S256" || len(challenge) != 43):
		return scopes{}, refuse("invalid_request", "The code_challenge_method must be S256.")
	}
	return c.readScope(app, query.Get("scope"))
}

// whoSignsIn returns the session of the browser, a new one when the form was
// filled in; otherwise nil, with what was wrong with the form.
func (d *Domain) whoSignsIn(w http.ResponseWriter, r *http.Request) (in *session, message string) {
	cfg := d.config()
	now := cfg.Now()
	if r.Method == http.MethodPost {
		if refusal := readForm(w, r); refusal != nil {
			return nil, refusal.description
		}
		if r.PostForm.Has("username") {
			user, ok := cfg.signIn(r.PostForm.Get("username"), r.PostForm.Get("password"))
			if !ok {
				return nil, "You entered an incorrect user name or password."
			}
			return d.openSession(w, r, user), ""
		}
	}
	if r.URL.Query().Get("prompt") == "login" {
		return nil, ""
	}
	return d.session(r, now), ""
}

func (d *Domain) openSession(w http.ResponseWriter, r *http.Request, user User) *session {
	cfg := d.config()
	now := cfg.Now()
	in := session{id: secret(), userID: user.ID, at: now, ends: now.Add(cfg.SessionLife)}
	name := secret()
	d.sessions.put(name, in, now, in.ends)
	//nolint:gosec // G124: Secure where there is TLS; on loopback there is none
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: name, Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode,
	})
	return &in
}

// session is that of the browser, or nil. Who has left the domain has none.
func (d *Domain) session(r *http.Request, now time.Time) *session {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil
	}
	in, ok := d.sessions.get(cookie.Value, now)
	if !ok {
		return nil
	}
	if _, ok := d.config().userByID(in.userID); !ok {
		return nil
	}
	return &in
}

// goBack sends the browser to the client with an answer and its state.
func (d *Domain) goBack(w http.ResponseWriter, r *http.Request, redirect string, answer url.Values) {
	target, err := url.Parse(redirect)
	if err != nil {
		writePage(w, http.StatusBadRequest, page{Title: "Error", Message: "The redirect URL cannot be read."})
		return
	}
	query := target.Query()
	for name := range answer {
		query.Set(name, answer.Get(name))
	}
	if state := r.URL.Query().Get("state"); state != "" {
		query.Set("state", state)
	}
	target.RawQuery = query.Encode()
	w.Header().Set("Cache-Control", "no-store")
	//nolint:gosec // G710: callers give addresses that were registered for the client
	http.Redirect(w, r, target.String(), http.StatusFound)
}

var verifierForm = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// proves reports whether a code verifier is that of the challenge (RFC 7636).
func proves(verifier, challenge string) bool {
	if challenge == "" {
		return verifier == ""
	}
	sum := sha256.Sum256([]byte(verifier))
	return verifierForm.MatchString(verifier) &&
		subtle.ConstantTimeCompare([]byte(base64url.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// logout is GET /oauth2/v1/userlogout: it ends the session for all applications.
// Only an ID token of ours and a registered address together send anybody on.
func (d *Domain) logout(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		d.sessions.take(cookie.Value, d.now())
	}
	//nolint:gosec // G124: this cookie is the one that ends another
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true})
	redirect := query.Get("post_logout_redirect_uri")
	hint, err := d.keys.verify(query.Get("id_token_hint"))
	if err == nil && hint.text("tok_type") == idToken {
		app, known := d.config().app(hint.text("azp"))
		if known && slices.Contains(app.LogoutRedirects, redirect) {
			d.goBack(w, r, redirect, nil)
			return
		}
	}
	writePage(w, http.StatusOK, page{Title: "You are signed out"})
}
