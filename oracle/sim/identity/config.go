package identity

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// FixedIssuer is the issuer that identity domains give to all tenants, and the
// audience that assertions are made out to. The slash at its end belongs to it.
const FixedIssuer = "https://identity.oraclecloud.com/"

// The grant types of the token endpoint.
const (
	GrantClientCredentials = "client_credentials"
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token"
	GrantPassword          = "password"
	GrantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer" //nolint:gosec // G101: a name, not a secret
	GrantDeviceCode        = "urn:ietf:params:oauth:grant-type:device_code"
)

// ConsumerScope is the scope that services have when they name no other.
const ConsumerScope = "urn:opc:resource:consumer::all"

// GroupShape is how the groups of a user are written into tokens and userinfo.
type GroupShape string

// The shapes of the built-in claim groups. Oracle documents none of them.
const (
	// GroupsAsStrings writes ["Planners"].
	GroupsAsStrings GroupShape = "strings"
	// GroupsAsObjects writes [{"name":"Planners","display":"Planners", …}].
	GroupsAsObjects GroupShape = "objects"
	// GroupsAsOneString writes "Planners" for a single group, and an array of
	// strings for several.
	GroupsAsOneString GroupShape = "one string"
	// GroupsAbsent writes no claim, as an application that was not given them.
	GroupsAbsent GroupShape = "absent"
)

// User is a person of the domain.
type User struct {
	// Name is the login name, which may be changed.
	Name     string
	Password string
	// ID never changes; empty derives it from the name.
	ID string
	// Given, Family and Email are what the scopes profile and email show.
	Given, Family, Email string
	Groups               []string
}

// Resource is a service for which access tokens are given out.
type Resource struct {
	// Audience is the primary audience, for example
	// urn:opc:serviceInstanceID=123456789.
	Audience string
	// Scopes are without the audience; empty means [ConsumerScope]. A client
	// asks for audience and scope written together with nothing between.
	Scopes []string
	// ExpiresIn is the life of its access tokens; 0 means [Config.ExpiresIn].
	ExpiresIn time.Duration
	// NoRefresh switches "Allow token refresh" off.
	NoRefresh bool
}

// App is an integrated application, in OAuth's words a client.
type App struct {
	Name string
	ID   string
	// Secret is empty for a public application, and for one that signs
	// client assertions only.
	Secret string
	// Keys are the uploaded certificates or public keys in PEM, by alias.
	Keys map[string]string
	// Grants are the allowed grant types; empty allows all.
	Grants []string
	// Redirects and LogoutRedirects must match exactly.
	Redirects, LogoutRedirects []string
	// Scopes are those it may ask for, written together with the audience;
	// empty allows those of all resources.
	Scopes []string
}

func (a App) public() bool { return a.Secret == "" && len(a.Keys) == 0 }

func (a App) allows(grant string) bool {
	return len(a.Grants) == 0 || slices.Contains(a.Grants, grant)
}

// Config says what kind of domain to simulate. The zero value is a domain with
// every oddity on and nobody in it.
type Config struct {
	// Tenant is the name idcs-<32 hex digits>; empty makes one up.
	Tenant string
	// Issuer is what the discovery document names; empty means [FixedIssuer].
	Issuer string
	// TokenIssuer is the issuer in tokens; empty means Issuer. Some domains
	// are said to write their own address here.
	TokenIssuer string
	Users       []User
	Apps        []App
	Resources   []Resource
	// KeysPublic is the switch "Access signing certificate": off, the signing
	// keys answer 401 to everybody without an administrator's token.
	KeysPublic bool
	// RelativeEndpoints writes the endpoints of the metadata without scheme
	// and host, as in an older sample of Oracle's; they are absolute, with
	// the port always there, otherwise.
	RelativeEndpoints bool
	// Groups is the shape of the claim groups; empty means [GroupsAsStrings].
	Groups GroupShape
	// GroupsClaim names a custom claim with the group names, as an array of
	// strings, in ID and access tokens. The name groups is reserved.
	GroupsClaim string
	// LeanIDToken leaves what profile and email ask for to userinfo.
	LeanIDToken bool
	// ExpiresIn is the life of access tokens; 0 means one hour.
	ExpiresIn time.Duration
	// RefreshLife is the life of refresh tokens; 0 means seven days.
	RefreshLife time.Duration
	// CodeLife is the life of authorization codes; 0 means three minutes.
	CodeLife time.Duration
	// SessionLife is the life of a sign-in at the domain, and of ID tokens;
	// 0 means eight hours.
	SessionLife time.Duration
	// DeviceLife is the life of device codes; 0 means five minutes.
	DeviceLife time.Duration
	// DeviceInterval is how far apart polls must be; 0 means five seconds.
	DeviceInterval time.Duration
	// DeviceExtras adds interval and verification_uri_complete to the answer
	// of the device endpoint, which it need not have.
	DeviceExtras bool
	// Key signs tokens; nil makes one, which takes a moment.
	Key *rsa.PrivateKey
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger is told about every request; nil discards.
	Logger *slog.Logger
}

// Validate reports everything that is wrong with c, one problem per line.
func (c Config) Validate() error {
	var problems []error
	complain := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf(format, args...))
	}
	for i, user := range c.Users {
		if user.Name == "" || user.Password == "" {
			complain("user %d: needs a name and a password", i+1)
		}
	}
	seen := map[string]bool{}
	for i, app := range c.Apps {
		if app.ID == "" || seen[app.ID] {
			complain("app %d: needs an id of its own", i+1)
		}
		seen[app.ID] = true
		for alias, text := range app.Keys {
			if _, err := parsePublicKey(text); err != nil {
				complain("app %d: key %q: %w", i+1, alias, err)
			}
		}
	}
	for i, resource := range c.Resources {
		if resource.Audience == "" {
			complain("resource %d: needs an audience", i+1)
		}
	}
	switch c.Groups {
	case "", GroupsAsStrings, GroupsAsObjects, GroupsAsOneString, GroupsAbsent:
	default:
		complain("groups %q: must be %q, %q, %q or %q", c.Groups, GroupsAsStrings, GroupsAsObjects, GroupsAsOneString, GroupsAbsent)
	}
	if c.GroupsClaim == "groups" {
		complain(`groups claim "groups": the name is reserved`)
	}
	for name, life := range map[string]time.Duration{
		"expires in": c.ExpiresIn, "refresh life": c.RefreshLife, "code life": c.CodeLife,
		"session life": c.SessionLife, "device life": c.DeviceLife, "device interval": c.DeviceInterval,
	} {
		if life < 0 {
			complain("%s %s: must not be negative", name, life)
		}
	}
	return errors.Join(problems...)
}

func (c Config) withDefaults() Config {
	c.Users, c.Apps, c.Resources = slices.Clone(c.Users), slices.Clone(c.Apps), slices.Clone(c.Resources)
	if c.Tenant == "" {
		c.Tenant = "idcs-0123456789abcdef0123456789abcdef"
	}
	if c.Issuer == "" {
		c.Issuer = FixedIssuer
	}
	if c.Groups == "" {
		c.Groups = GroupsAsStrings
	}
	for i, user := range c.Users {
		if user.ID == "" {
			sum := sha256.Sum256([]byte(user.Name))
			c.Users[i].ID = hex.EncodeToString(sum[:16])
		}
	}
	for i, resource := range c.Resources {
		if len(resource.Scopes) == 0 {
			c.Resources[i].Scopes = []string{ConsumerScope}
		}
	}
	for life, standard := range map[*time.Duration]time.Duration{
		&c.ExpiresIn: time.Hour, &c.RefreshLife: 7 * 24 * time.Hour, &c.CodeLife: 3 * time.Minute,
		&c.SessionLife: 8 * time.Hour, &c.DeviceLife: 5 * time.Minute, &c.DeviceInterval: 5 * time.Second,
	} {
		if *life == 0 {
			*life = standard
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// tokenIssuer is the issuer of tokens.
func (c Config) tokenIssuer() string {
	if c.TokenIssuer != "" {
		return c.TokenIssuer
	}
	return c.Issuer
}

func (c Config) app(id string) (App, bool) {
	for _, app := range c.Apps {
		if app.ID == id {
			return app, true
		}
	}
	return App{}, false
}

// userByName finds a person by login name, of which case does not matter.
func (c Config) userByName(name string) (User, bool) {
	for _, user := range c.Users {
		if strings.EqualFold(user.Name, name) {
			return user, true
		}
	}
	return User{}, false
}

func (c Config) userByID(id string) (User, bool) {
	for _, user := range c.Users {
		if user.ID == id {
			return user, true
		}
	}
	return User{}, false
}

// signIn checks a name and password.
func (c Config) signIn(name, password string) (User, bool) {
	user, ok := c.userByName(name)
	return user, ok && user.Password == password
}

// display is the name for people.
func (u User) display() string {
	if name := strings.TrimSpace(u.Given + " " + u.Family); name != "" {
		return name
	}
	return u.Name
}
