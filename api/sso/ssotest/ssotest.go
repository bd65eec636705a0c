// Package ssotest gives tests OpenID providers that are not ours: [Zitadel], the
// example provider of github.com/zitadel/oidc, in this process, and [Node], the npm
// package oidc-provider, in a process of its own. They share no code. Both have one
// application (the one under test) and one web app that calls it with access tokens;
// people, groups, keys and registered addresses change while they run, and they can
// be stopped and started again at the same address. [Browser] signs in through their
// forms without a browser.
//
// Node is installed by longhaul/api/npmtest.
//
// Only tests may import this package.
package ssotest

import (
	"cmp"
	"context"
	"crypto/rand"
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	webAppID = "web-app"
	// webAppRedirect is never visited.
	webAppRedirect = "http://web-app.localhost/callback"
	programID      = "program"
)

// Account is a person at the provider. Jo is there from the start.
type Account struct {
	// Login is typed into the form. At Node it is also the claim sub, at Zitadel that
	// is "id-" before the login.
	Login, Password string
	Name, Email     string
	// Unverified: the provider says so of the e-mail address.
	Unverified bool
	// Groups are the claim groups; nil leaves it out.
	Groups []string
}

// Jo may sign in at every provider.
func Jo() Account {
	return Account{
		Login: "jo@example.com", Password: "verysecure", Name: "Jo Doe", Email: "Jo@Example.com",
		Groups: []string{"finance", "planning users"},
	}
}

// Application is where the application under test is reached.
type Application struct {
	RedirectURL string
	// PostLogoutURL may be empty.
	PostLogoutURL string
	// BackChannelLogoutURL gets the logout tokens; it may be empty. Only Node sends them.
	BackChannelLogoutURL string
}

// Provider is a running provider.
type Provider struct {
	// Issuer is http://localhost with a port.
	Issuer string
	// ClientID and ClientSecret are those of the application under test.
	ClientID, ClientSecret string
	// Audience is whom the access tokens of [Provider.Tokens] are for.
	Audience string

	engine      engine
	webApp      string // its secret
	application Application
	accounts    map[string]Account
}

// state is what a provider is told whenever something changes.
type state struct {
	application Application // no such client while it has no redirect URL
	accounts    map[string]Account
}

// engine is the provider's own side.
type engine interface {
	// start serves at the port, or at any when it is empty, with new keys.
	start(t testing.TB, port string) (issuer string)
	stop(t testing.TB)
	apply(t testing.TB, s state)
	rotate(t testing.TB, kid string)
}

// newProvider starts a provider that ends with the test.
func newProvider(t testing.TB, build func(p *Provider) engine) *Provider {
	t.Helper()
	p := &Provider{
		ClientID: "longhaul", ClientSecret: rand.Text(), webApp: rand.Text(),
		accounts: map[string]Account{Jo().Login: Jo()},
	}
	p.engine = build(p)
	p.Issuer = p.engine.start(t, "")
	t.Cleanup(func() { p.engine.stop(t) })
	p.apply(t)
	return p
}

// Register tells the provider where the application under test is. Nobody can sign in
// to it before.
func (p *Provider) Register(t testing.TB, a Application) {
	t.Helper()
	p.application = a
	p.apply(t)
}

// Put adds an account, or changes it.
func (p *Provider) Put(t testing.TB, a Account) {
	t.Helper()
	p.accounts[a.Login] = a
	p.apply(t)
}

func (p *Provider) apply(t testing.TB) {
	t.Helper()
	p.engine.apply(t, state{application: p.application, accounts: maps.Clone(p.accounts)})
}

// RotateKeys replaces the signing keys; an empty kid gives them a new name.
func (p *Provider) RotateKeys(t testing.TB, kid string) {
	t.Helper()
	p.engine.rotate(t, cmp.Or(kid, rand.Text()))
}

// Stop stops the provider: its address answers nothing.
func (p *Provider) Stop(t testing.TB) {
	t.Helper()
	p.engine.stop(t)
}

// Start starts the provider again at its address, with new keys; its sessions are
// gone, accounts and application are not.
func (p *Provider) Start(t testing.TB) {
	t.Helper()
	u, err := url.Parse(p.Issuer)
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	p.engine.start(t, u.Port())
	p.apply(t)
}

// Tokens signs a person in to the web app, and returns its access token, a JWT for
// [Provider.Audience], and its ID token.
func (p *Provider) Tokens(t testing.TB, who Account) (access, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	config := p.client(ctx, t, webAppID, p.webApp)
	config.RedirectURL = webAppRedirect
	verifier := oauth2.GenerateVerifier()
	address := config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", p.Audience))
	back := NewBrowser(t).SignIn(t, address, who)
	token, err := config.Exchange(ctx, back.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatalf("ssotest: tokens for the web app: %v", err)
	}
	id, _ = token.Extra("id_token").(string)
	return token.AccessToken, id
}

func (p *Provider) client(ctx context.Context, t testing.TB, id, secret string) *oauth2.Config {
	t.Helper()
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, &http.Client{}), p.Issuer)
	if err != nil {
		t.Fatalf("ssotest: discovery: %v", err)
	}
	return &oauth2.Config{
		ClientID: id, ClientSecret: secret, Endpoint: provider.Endpoint(),
		Scopes: []string{"openid", "profile", "email"},
	}
}
