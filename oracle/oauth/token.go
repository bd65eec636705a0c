package oauth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"longhaul/oracle"
)

// Token is what the domain gave.
type Token struct {
	// Access is the access token: a JWT, to be treated as opaque.
	Access string
	// Refresh is the refresh token, empty where none was given. After
	// [Client.Refresh] it takes the place of the one that was sent, which is
	// worth nothing any more.
	Refresh string
	// ExpiresAt is when the access token ends, counted from before it was
	// asked for. Use it until a minute or so before.
	ExpiresAt time.Time
	// Scope is what was granted, or what was asked for where the domain does
	// not say.
	Scope string
}

// String says when the token ends, not what it is.
func (t Token) String() string {
	return "token until " + t.ExpiresAt.UTC().Format(time.RFC3339)
}

// GoString is the same for %#v.
func (t Token) GoString() string { return t.String() }

// LogValue implements [slog.LogValuer] without the tokens.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(slog.Time("expires_at", t.ExpiresAt), slog.Bool("refreshable", t.Refresh != ""), slog.String("scope", t.Scope))
}

// pathToken is the token endpoint.
const pathToken = "/oauth2/v1/token" //nolint:gosec // G101: a path, not a token

// unknownLife is how long an access token is taken to live where the domain
// does not say, which it always does.
const unknownLife = 5 * time.Minute

// tokenAnswer is the answer of the token endpoint (RFC 6749, 5.1).
type tokenAnswer struct {
	AccessToken  string        `json:"access_token"`
	TokenType    string        `json:"token_type"`
	ExpiresIn    oracle.Number `json:"expires_in"`
	RefreshToken string        `json:"refresh_token"`
	Scope        oracle.Text   `json:"scope"`
}

// token asks the token endpoint, once.
func (c *Client) token(ctx context.Context, what operation, form url.Values) (*Token, error) {
	asked := c.cfg.Now()
	var answer tokenAnswer
	if err := c.post(ctx, what, pathToken, form, &answer); err != nil {
		return nil, err
	}
	if answer.AccessToken == "" || !strings.EqualFold(answer.TokenType, "Bearer") {
		return nil, c.unusable(what, "the answer holds no bearer token")
	}
	life := unknownLife
	if answer.ExpiresIn.Valid && answer.ExpiresIn.N > 0 && answer.ExpiresIn.N < maxLife {
		life = time.Duration(answer.ExpiresIn.N) * time.Second
	}
	t := &Token{
		Access: answer.AccessToken, Refresh: answer.RefreshToken,
		ExpiresAt: asked.Add(life), Scope: string(answer.Scope),
	}
	if t.Scope == "" {
		t.Scope = form.Get("scope")
	}
	return t, nil
}

// maxLife is the longest life of a token that a client may ask for, a year, in
// seconds; what is beyond is a mistake.
const maxLife = 31_556_952 + 1

// Refresh trades a refresh token, once, for a new access token and a new refresh
// token. The one sent is spent with the first attempt that reaches the domain:
// after an error with [Error.MayHaveHappened] do not try again with it, and
// never use one from two places. An empty scope asks for what was granted.
func (c *Client) Refresh(ctx context.Context, refreshToken, scope string) (*Token, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}
	if scope != "" {
		form.Set("scope", scope)
	}
	return c.token(ctx, opRefresh, form)
}

// ClientCredentials gets a token for the application itself. Fusion takes it
// where a Fusion user is named like the client id; EPM Cloud does not, since it
// wants a person.
func (c *Client) ClientCredentials(ctx context.Context, scope string) (*Token, error) {
	return c.token(ctx, opClientCredentials, url.Values{"grant_type": {"client_credentials"}, "scope": {scope}})
}

// Who returns the login name of the person an access token was given out for,
// empty for an application's own token and for what is no JWT.
//
// It checks no signature: give it only what came from the domain itself over
// TLS, as the tokens of this package did, and use the answer to show people who
// consented, not to let anybody in.
func Who(accessToken string) string {
	parts := strings.Split(accessToken, ".")
	if len(parts) != 3 {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject  string `json:"sub"`
		ClientID string `json:"client_id"`
	}
	if json.Unmarshal(text, &claims) != nil || claims.Subject == claims.ClientID {
		return ""
	}
	return oracle.CleanMessage(claims.Subject)
}
