package ssotest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Zitadel starts the example provider of github.com/zitadel/oidc in this process.
//
// Its ID tokens have neither e-mail address nor groups: these come from userinfo. Its
// access tokens for the web app are JWTs with the groups, for the web app's own client
// id. It sends no logout tokens.
func Zitadel(t testing.TB) *Provider {
	t.Helper()
	return newProvider(t, func(p *Provider) engine {
		p.Audience = webAppID
		return &zitadel{secrets: map[string]string{p.ClientID: p.ClientSecret, webAppID: p.webApp}, clientID: p.ClientID}
	})
}

// setup keeps a provider from being made while others serve: each writes its paths into
// one variable of the module's, op.DefaultEndpoints.
var setup sync.RWMutex

// zitadel is the provider's users, clients and keys, and its server.
type zitadel struct {
	clientID string
	secrets  map[string]string // of the clients
	server   *http.Server

	mu    sync.Mutex
	state state
	key   signingKey
}

func (z *zitadel) start(t testing.TB, port string) string {
	t.Helper()
	if port == "" {
		port = "0"
	}
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	_, port, err = net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	z.rotate(t, rand.Text())
	clients := make(map[string]*storage.Client)
	for id, secret := range z.secrets {
		clients[id] = storage.WebClient(id, secret)
	}
	issuer := "http://" + net.JoinHostPort("localhost", port)
	store := &zitadelStorage{Storage: storage.NewStorageWithClients(z, clients), zitadel: z}
	setup.Lock()
	handler := exampleop.SetupServer(issuer, store, slog.New(slog.DiscardHandler), false)
	setup.Unlock()
	z.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setup.RLock()
		defer setup.RUnlock()
		handler.ServeHTTP(w, r)
	})}
	go func(s *http.Server) { _ = s.Serve(listener) }(z.server) // ends when it is closed
	return issuer
}

func (z *zitadel) stop(t testing.TB) {
	t.Helper()
	if err := z.server.Close(); err != nil {
		t.Errorf("ssotest: %v", err)
	}
}

func (z *zitadel) apply(t testing.TB, s state) {
	t.Helper()
	z.mu.Lock()
	defer z.mu.Unlock()
	z.state = s
}

func (z *zitadel) rotate(t testing.TB, kid string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.key = signingKey{id: kid, key: key}
}

// ExampleClientID is for the example's storage.
func (z *zitadel) ExampleClientID() string { return programID }

// GetUserByID finds a person by the claim sub.
func (z *zitadel) GetUserByID(id string) *storage.User {
	return z.user(func(u *storage.User) bool { return u.ID == id })
}

// GetUserByUsername finds a person by login.
func (z *zitadel) GetUserByUsername(name string) *storage.User {
	return z.user(func(u *storage.User) bool { return u.Username == name })
}

func (z *zitadel) user(is func(*storage.User) bool) *storage.User {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, a := range z.state.accounts {
		u := &storage.User{
			ID: subjectPrefix + a.Login, Username: a.Login, Password: a.Password,
			FirstName: a.Name, Email: a.Email, EmailVerified: !a.Unverified,
		}
		if is(u) {
			return u
		}
	}
	return nil
}

const subjectPrefix = "id-"

// groups of the person with the subject; nil: the claim is left out.
func (z *zitadel) groups(subject string) []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.state.accounts[subject[min(len(subjectPrefix), len(subject)):]].Groups
}

// zitadelStorage is the example's storage but for what changes while it runs.
type zitadelStorage struct {
	*storage.Storage

	zitadel *zitadel
}

// GetClientByClientID returns a client with the addresses registered now.
func (s *zitadelStorage) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	client, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	if id == webAppID {
		return zitadelClient{Client: client, redirect: webAppRedirect, tokens: op.AccessTokenTypeJWT}, nil
	}
	s.zitadel.mu.Lock()
	defer s.zitadel.mu.Unlock()
	a := s.zitadel.state.application
	return zitadelClient{Client: client, redirect: a.RedirectURL, postLogout: a.PostLogoutURL}, nil
}

// SetUserinfoFromToken adds the groups to userinfo.
func (s *zitadelStorage) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	if groups := s.zitadel.groups(subject); groups != nil {
		info.AppendClaims("groups", groups)
	}
	return s.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin)
}

// GetPrivateClaimsFromScopes adds the groups to access tokens.
func (s *zitadelStorage) GetPrivateClaimsFromScopes(_ context.Context, user, _ string, _ []string) (map[string]any, error) {
	if groups := s.zitadel.groups(user); groups != nil {
		return map[string]any{"groups": groups}, nil
	}
	return nil, nil
}

// SigningKey returns the key of now.
func (s *zitadelStorage) SigningKey(context.Context) (op.SigningKey, error) {
	return s.zitadel.signingKey(), nil
}

// KeySet returns the key of now.
func (s *zitadelStorage) KeySet(context.Context) ([]op.Key, error) {
	return []op.Key{publicKey{s.zitadel.signingKey()}}, nil
}

func (z *zitadel) signingKey() signingKey {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.key
}

// zitadelClient is a client with addresses of its own.
type zitadelClient struct {
	op.Client

	redirect, postLogout string
	tokens               op.AccessTokenType
}

// RedirectURIs is where people may be sent back to.
func (c zitadelClient) RedirectURIs() []string { return []string{c.redirect} }

// PostLogoutRedirectURIs is where people may be sent to when they have signed out.
func (c zitadelClient) PostLogoutRedirectURIs() []string { return []string{c.postLogout} }

// AccessTokenType is a JWT for the web app.
func (c zitadelClient) AccessTokenType() op.AccessTokenType { return c.tokens }

type signingKey struct {
	id  string
	key *rsa.PrivateKey
}

// SignatureAlgorithm is always the same.
func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }

// Key is the private key.
func (k signingKey) Key() any { return k.key }

// ID is the kid.
func (k signingKey) ID() string { return k.id }

type publicKey struct{ private signingKey }

// ID is the kid.
func (k publicKey) ID() string { return k.private.id }

// Algorithm is always the same.
func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }

// Use is for signatures.
func (k publicKey) Use() string { return "sig" }

// Key is the public key.
func (k publicKey) Key() any { return &k.private.key.PublicKey }
