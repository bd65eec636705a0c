package jobs

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"longhaul/oracle"
	"longhaul/oracle/epm"
	"longhaul/oracle/oauth"
	"longhaul/storage"
)

// The kinds of Credentials.
const (
	authBasic = "basic"
	authOAuth = "oauth2"
	authNone  = "none"
)

// The grants of OAuth 2 by which an app may get its tokens.
const (
	grantDevice            = "device_code"   // a person consents; refreshed from then on
	grantRefresh           = "refresh_token" // the same, with a consent that was given elsewhere
	grantAssertion         = "jwt_bearer"    // the server signs for a person, by a certificate
	grantClientCredentials = "client_credentials"
)

// Credentials sign in to an app. Those that are secret are sealed as soon as they are taken.
type Credentials struct {
	Type string // basic, oauth2 or none

	Username string // basic; and of oauth2 jwt_bearer: who the tokens are for
	Password string // basic

	// For oauth2.
	Grant        string // device_code, refresh_token or jwt_bearer; client_credentials is refused
	DomainURL    string // of the identity domain
	ClientID     string
	ClientSecret string // empty for a public application
	Scope        string // of the service, as the domain's console shows it
	RefreshToken string // refresh_token
	PrivateKey   string // jwt_bearer: PEM
	KeyID        string // jwt_bearer: the alias of the certificate
}

// String keeps credentials out of logs.
func (Credentials) String() string { return "[credentials]" }

// GoString is the same for %#v.
func (c Credentials) GoString() string { return c.String() }

// LogValue implements [slog.LogValuer]: it shows nothing.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// secrets are what is sealed with an app.
type secrets struct {
	Type         string `json:"type"`
	Username     string `json:"username,omitempty"`
	Password     string `json:"password,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"`
	PrivateKey   string `json:"private_key,omitempty"`
}

// String keeps secrets out of logs.
func (secrets) String() string { return "[secrets]" }

// GoString is the same for %#v.
func (s secrets) GoString() string { return s.String() }

// sealID is what an app's sealed credentials are bound to.
func sealID(app string) string { return "app/" + app }

func (e *Engine) sealSecrets(app string, s *secrets) ([]byte, error) {
	plain, err := json.Marshal(s) //nolint:gosec // G117: sealed in the next line
	return e.Sealer.Seal(sealID(app), plain), err
}

func (e *Engine) openSecrets(app *storage.App) (*secrets, error) {
	plain, err := e.Sealer.Open(sealID(app.Name), app.AuthSealed)
	if err != nil {
		return nil, err
	}
	var s secrets
	err = json.Unmarshal(plain, &s)
	return &s, err
}

// appDraft is an app that is about to be stored.
type appDraft struct {
	app storage.App
	// connection is how the app signs in by OAuth 2; nil when it does not.
	connection *storage.Connection
	// keep lets the tokens stay that the app has.
	keep bool
	// before is what the app was; the zero value for a new one.
	before struct {
		url        string
		connection *storage.Connection
		secrets    *secrets
	}
}

// fillAuth puts checked credentials into an app; without any, it keeps those that it has.
func (e *Engine) fillAuth(d *appDraft, set *Credentials) error {
	if set == nil {
		d.connection, d.keep = d.before.connection, true
		return nil
	}
	d.app.AuthType, d.app.AuthSealed = set.Type, nil
	switch set.Type {
	case authNone:
		return nil
	case authOAuth:
		return e.fillOAuth(d, set)
	}
	if set.Username == "" || set.Password == "" {
		return invalid("body.auth", "give the user name and the password")
	}
	var err error
	d.app.AuthSealed, err = e.sealSecrets(d.app.Name, &secrets{Type: authBasic, Username: set.Username, Password: set.Password})
	return err
}

// fillOAuth is fillAuth for OAuth 2. Secrets that are left out stay, as long as the app and the
// domain to which they were told stay where they are; so do the tokens.
func (e *Engine) fillOAuth(d *appDraft, set *Credentials) error {
	c := &storage.Connection{
		App: d.app.Name, Grant: set.Grant, ClientID: strings.TrimSpace(set.ClientID),
		DomainURL: strings.TrimRight(strings.TrimSpace(set.DomainURL), "/"),
		Scope:     strings.Join(strings.Fields(set.Scope), " "),
	}
	if set.Grant == grantAssertion {
		c.Username, c.KeyID = strings.TrimSpace(set.Username), strings.TrimSpace(set.KeyID)
	}
	if err := checkGrant(c); err != nil {
		return err
	}
	kept := &secrets{Type: authOAuth, ClientSecret: set.ClientSecret, PrivateKey: set.PrivateKey}
	if err := d.carrySecrets(c, kept); err != nil {
		return err
	}
	d.connection, d.keep = c, d.sameConsent(c) && set.RefreshToken == "" && set.PrivateKey == ""
	switch set.Grant {
	case grantAssertion:
		if err := checkAssertion(c, kept); err != nil {
			return err
		}
	case grantRefresh:
		if set.RefreshToken == "" && !d.keep {
			return invalid("body.auth.refresh_token", "give the refresh token; it is not shown again, and is used up by its first use")
		}
		kept.PrivateKey = ""
		if set.RefreshToken != "" {
			c.RefreshSealed = e.Sealer.Seal(storage.RefreshTokenID(c.App), []byte(strings.TrimSpace(set.RefreshToken)))
		}
	default:
		kept.PrivateKey = ""
	}
	var err error
	d.app.AuthSealed, err = e.sealSecrets(d.app.Name, kept)
	return err
}

// checkGrant holds a connection against what its client takes, and its product.
func checkGrant(c *storage.Connection) error {
	switch c.Grant {
	case grantDevice, grantRefresh, grantAssertion:
	case grantClientCredentials:
		return invalid("body.auth.grant", "EPM Cloud takes no token of an application's own, which client_credentials gives: "+
			"the token must be a person's; choose device_code, and let a service user consent, or jwt_bearer")
	default:
		return invalid("body.auth.grant", "give the grant: device_code, refresh_token or jwt_bearer")
	}
	if c.ClientID == "" {
		return invalid("body.auth.client_id", "give the client id of the integrated application in the identity domain")
	}
	if _, err := oauth.New(oauth.Config{DomainURL: c.DomainURL, ClientID: c.ClientID}); err != nil {
		return invalid("body.auth.domain_url", "%v; write it like https://idcs-….identity.oraclecloud.com", err)
	}
	if c.Scope == "" {
		return invalid("body.auth.scope", "copy the scope from the application's resources in the identity domain; it begins like urn:opc:serviceInstanceID=")
	}
	return nil
}

// checkAssertion checks what a JWT assertion is made of.
func checkAssertion(c *storage.Connection, s *secrets) error {
	if c.Username == "" {
		return invalid("body.auth.username", "give the login name, in the identity domain, of the person whom the tokens are for")
	}
	if c.KeyID == "" {
		return invalid("body.auth.key_id", "give the alias under which the certificate was uploaded to the application in the identity domain")
	}
	if s.PrivateKey == "" {
		return invalid("body.auth.private_key", "give the private key of the certificate, in PEM")
	}
	if _, err := oauth.ParseKey([]byte(s.PrivateKey)); err != nil {
		return invalid("body.auth.private_key", "%v", err)
	}
	return nil
}

// sameClient reports whether a connection is of the client that the app had before, at the same
// domain and for the same address.
func (d *appDraft) sameClient(c *storage.Connection) bool {
	old := d.before.connection
	return old != nil && d.before.url == d.app.URL && old.DomainURL == c.DomainURL && old.ClientID == c.ClientID
}

// sameConsent reports whether the tokens that the app has would be good for a connection.
func (d *appDraft) sameConsent(c *storage.Connection) bool {
	old := d.before.connection
	return d.sameClient(c) && old.Grant == c.Grant && old.Scope == c.Scope && old.Username == c.Username
}

// carrySecrets takes over what was told before of the same client. A secret is not carried to
// another place: it would be sent to where it was not meant for.
func (d *appDraft) carrySecrets(c *storage.Connection, s *secrets) error {
	old := d.before.secrets
	if d.before.connection == nil || old == nil || d.before.connection.ClientID != c.ClientID {
		return nil
	}
	moved := !d.sameClient(c)
	if s.ClientSecret == "" && old.ClientSecret != "" {
		if moved {
			return invalid("body.auth.client_secret", "the address changed; give the credentials again")
		}
		s.ClientSecret = old.ClientSecret
	}
	if s.PrivateKey == "" && !moved {
		s.PrivateKey = old.PrivateKey
	}
	return nil
}

// connect makes a client for an app. It sends nothing.
func (e *Engine) connect(app *storage.App) (*epm.Client, error) {
	config := oracle.Config{URL: app.URL, Transport: e.transport, Logger: e.logger.With("app", app.Name)}
	switch app.AuthType {
	case authBasic:
		s, err := e.openSecrets(app)
		if err != nil {
			return nil, err
		}
		config.Auth = oracle.Basic(s.Username, s.Password)
	case authOAuth:
		b := &bearer{engine: e, app: app}
		config.Auth, config.Transport = oracle.Bearer(b.token), b
	}
	client, err := oracle.New(config)
	if err != nil {
		return nil, fmt.Errorf("connect to app %s: %w", app.Name, err)
	}
	return epm.New(client, app.Application, epm.Options{}), nil
}

// identity makes a client for the identity domain of an app. It sends nothing.
func (e *Engine) identity(c *storage.Connection, s *secrets) (*oauth.Client, error) {
	return oauth.New(oauth.Config{
		DomainURL: c.DomainURL, ClientID: c.ClientID, ClientSecret: s.ClientSecret,
		Transport: e.transport, Logger: e.logger.With("app", c.App),
	})
}
