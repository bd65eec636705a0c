package identity

import (
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// assertionType is the client_assertion_type of a JWT (RFC 7523).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// clientRequest reads a posted form and finds which client sent it.
func (d *Domain) clientRequest(w http.ResponseWriter, r *http.Request) (App, *oauthError) {
	if refusal := readForm(w, r); refusal != nil {
		return App{}, refusal
	}
	app, refusal := d.authenticate(r)
	entryOf(r).Client = app.ID
	return app, refusal
}

// authenticate finds the client by basic authentication, by client_secret or
// client_assertion in the form, or for a public one by client_id alone.
func (d *Domain) authenticate(r *http.Request) (App, *oauthError) {
	cfg, form := d.config(), r.PostForm
	id, password, basic := r.BasicAuth()
	ways := 0
	for _, used := range []bool{basic, form.Has("client_secret"), form.Has("client_assertion")} {
		if used {
			ways++
		}
	}
	switch {
	case ways > 1:
		return App{}, refuse("invalid_request", "The client authenticates in more than one way.")
	case form.Has("client_assertion"):
		return d.authenticateByAssertion(cfg, form)
	case basic && form.Has("client_id") && form.Get("client_id") != id:
		return App{}, refuse("invalid_request", "The client_id is not that of the Authorization header.")
	case basic:
		id, password = unescape(id), unescape(password)
	default:
		id, password = form.Get("client_id"), form.Get("client_secret")
	}
	app, known := cfg.app(id)
	if !known || app.Secret == "" && !app.public() || ways > 0 && app.public() ||
		subtle.ConstantTimeCompare([]byte(password), []byte(app.Secret)) != 1 {
		return App{}, refuseClient()
	}
	return app, nil
}

// unescape undoes the form encoding that RFC 6749 asks for in basic
// authentication, where a client did it.
func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

func (d *Domain) authenticateByAssertion(cfg Config, form url.Values) (App, *oauthError) {
	if form.Get("client_assertion_type") != assertionType {
		return App{}, refuse("invalid_request", "The client_assertion_type must be "+assertionType)
	}
	parsed, err := parseJWT(form.Get("client_assertion"))
	if err != nil {
		return App{}, refuseClient()
	}
	app, known := cfg.app(parsed.payload.text("iss"))
	if !known || form.Has("client_id") && form.Get("client_id") != app.ID {
		return App{}, refuseClient()
	}
	subject, err := d.checkAssertion(cfg, app, form.Get("client_assertion"))
	if err != nil || subject != app.ID {
		return App{}, refuseClient()
	}
	return app, nil
}

// clockSkew is how far in the future an assertion may have been made.
const clockSkew = time.Minute

// checkAssertion verifies an assertion of app's and returns its subject. It is
// good once.
func (d *Domain) checkAssertion(cfg Config, app App, text string) (subject string, err error) {
	parsed, err := parseJWT(text)
	if err != nil {
		return "", err
	}
	key, ok := app.keyOf(parsed.head)
	if !ok {
		return "", errors.New("it names no certificate that was uploaded to the application")
	}
	if parsed.verify(key) != nil {
		return "", errors.New("its signature is wrong")
	}
	payload, now := parsed.payload, cfg.Now()
	made, hasMade := payload.at("iat")
	ends, hasEnd := payload.at("exp")
	id := payload.text("jti")
	switch {
	case payload.text("iss") != app.ID:
		return "", errors.New("its issuer is not the client")
	case !slices.Contains(payload.texts("aud"), FixedIssuer):
		return "", errors.New("its audience is not " + FixedIssuer)
	case !hasMade || !hasEnd || id == "":
		return "", errors.New("it lacks iat, exp or jti")
	case !now.Before(ends):
		return "", errors.New("it is expired")
	case made.After(now.Add(clockSkew)):
		return "", errors.New("it was made in the future")
	case !d.assertions.put(app.ID+" "+id, struct{}{}, now, ends):
		return "", errors.New("it was used before")
	}
	return payload.text("sub"), nil
}

// keyOf finds the key that the head of an assertion names: by its alias, or by a
// thumbprint of its certificate.
func (a App) keyOf(head claims) (*rsa.PublicKey, bool) {
	for alias, text := range a.Keys {
		key, err := parsePublicKey(text)
		if err != nil {
			continue
		}
		if kid := head.text("kid"); kid != "" {
			if kid == alias {
				return key.key, true
			}
			continue
		}
		short, long := thumbprints(key.certificate)
		if key.certificate != nil && (head.text("x5t") == short || head.text("x5t#S256") == long) {
			return key.key, true
		}
	}
	return nil, false
}
