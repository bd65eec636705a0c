package identity_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"longhaul/oracle/sim/identity"
)

// These tests use go-oidc and x/oauth2 as their own documentation says, to show
// that the oddities break them, and that the known cures help.

// cured is discovery with the fixed issuer expected.
func (d *domain) cured() *oidc.Provider {
	d.t.Helper()
	provider, err := oidc.NewProvider(oidc.InsecureIssuerURLContext(d.t.Context(), identity.FixedIssuer), d.url)
	if err != nil {
		d.t.Fatal(err)
	}
	return provider
}

func verify(d *domain, provider *oidc.Provider, token string) error {
	_, err := provider.Verifier(&oidc.Config{ClientID: "web", Now: d.clock}).Verify(d.t.Context(), token)
	return err
}

func TestFixedIssuer(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	if _, err := oidc.NewProvider(t.Context(), d.url); err == nil || !strings.Contains(err.Error(), "issuer") {
		t.Errorf("ordinary discovery: %v", err)
	}
	provider := d.cured()
	config := oauth2.Config{
		ClientID: "web", ClientSecret: "web+secret", Endpoint: provider.Endpoint(), RedirectURL: callback,
		Scopes: []string{"openid", "profile"},
	}
	address := config.AuthCodeURL("st&te", oauth2.S256ChallengeOption(verifier), oidc.Nonce("n0nce"))
	form := values("username", "jo@example.com", "password", "welcome1")
	code := d.codeOf(d.do(d.request(http.MethodPost, strings.TrimPrefix(address, d.url), form)))
	token, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := token.Extra("id_token").(string)
	got, err := provider.Verifier(&oidc.Config{ClientID: "web", Now: d.clock}).Verify(t.Context(), raw)
	if err != nil || got.Subject != "jo@example.com" || got.Nonce != "n0nce" {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := got.VerifyAccessToken(token.AccessToken); err != nil {
		t.Error(err)
	}
	info, err := provider.UserInfo(t.Context(), config.TokenSource(t.Context(), token))
	if err != nil || info.Subject != got.Subject {
		t.Errorf("userinfo: %+v, %v", info, err)
	}
}

func TestSigningKeysArePrivateAtFirst(t *testing.T) {
	t.Parallel()
	d := newDomain(t, func(c *identity.Config) { c.KeysPublic = false })
	provider := d.cured()
	token := d.exchange(d.signIn()).text("id_token")
	if err := verify(d, provider, token); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("with private keys: %v", err)
	}
	admin := d.post(tokenPath, webClient, "grant_type", "client_credentials", "scope", "urn:opc:idm:__myscopes__").text("access_token")
	if got := d.bearer(http.MethodGet, "/admin/v1/SigningCert/jwk", admin); got.status != http.StatusOK {
		t.Errorf("with an administrator's token: %d", got.status)
	}
	other := d.post(tokenPath, webClient, "grant_type", "client_credentials", "scope", epmScope).text("access_token")
	if got := d.bearer(http.MethodGet, "/admin/v1/SigningCert/jwk", other); got.status != http.StatusUnauthorized {
		t.Errorf("with another token: %d", got.status)
	}
	d.change(func(c *identity.Config) { c.KeysPublic = true })
	if err := verify(d, provider, token); err != nil {
		t.Errorf("with public keys: %v", err)
	}
}

func TestRotatedKeyKeepsItsName(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	provider := d.cured()
	old := d.exchange(d.signIn()).text("id_token")
	if err := verify(d, provider, old); err != nil {
		t.Fatal(err)
	}
	before := d.get("/admin/v1/SigningCert/jwk")
	if err := d.RotateKey(); err != nil {
		t.Fatal(err)
	}
	after := d.get("/admin/v1/SigningCert/jwk")
	for _, each := range []answer{before, after} {
		keys, _ := each.body["keys"].([]any)
		if len(keys) != 1 || keys[0].(map[string]any)["kid"] != "SIGNING_KEY" {
			t.Errorf("keys: %s", each.raw)
		}
	}
	if before.raw == after.raw {
		t.Error("the key is the same")
	}
	// The library's key set fetches again after any failure, so it survives;
	// one that keeps keys by name would not.
	if err := verify(d, provider, d.exchange(d.signIn()).text("id_token")); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
}

func TestIssuerSwitches(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	d.change(func(c *identity.Config) { c.Issuer = d.url })
	provider, err := oidc.NewProvider(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(d, provider, d.exchange(d.signIn()).text("id_token")); err != nil {
		t.Error(err)
	}
	// The document and the tokens may disagree.
	d.change(func(c *identity.Config) { c.TokenIssuer = identity.FixedIssuer })
	if err := verify(d, provider, d.exchange(d.signIn()).text("id_token")); err == nil {
		t.Error("a token of another issuer was taken")
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	openID, server := d.get("/.well-known/openid-configuration"), d.get("/.well-known/oauth-authorization-server")
	if openID.body["code_challenge_methods_supported"] != nil || strings.Contains(openID.raw, `"none","`) ||
		strings.Contains(openID.raw, "device_code") || openID.text("token_endpoint") != d.url+tokenPath {
		t.Errorf("OpenID: %s", openID.raw)
	}
	if !strings.Contains(server.raw, `"code_challenge_methods_supported":["S256"]`) || !strings.Contains(server.raw, `"client_secret_post","none"]`) {
		t.Errorf("RFC 8414: %s", server.raw)
	}
	if vendor := d.get("/.well-known/idcs-configuration"); vendor.body["openid-configuration"] == nil {
		t.Errorf("vendor: %s", vendor.raw)
	}
	d.change(func(c *identity.Config) { c.RelativeEndpoints = true })
	if got := d.get("/.well-known/openid-configuration"); got.text("token_endpoint") != tokenPath || got.text("jwks_uri") != "/admin/v1/SigningCert/jwk" {
		t.Errorf("relative: %s", got.raw)
	}
}

// Behind its real name a domain writes the port that goes without saying.
func TestExplicitPort(t *testing.T) {
	t.Parallel()
	d, err := identity.New(identity.Config{Key: key(), KeysPublic: true})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(d)
	t.Cleanup(server.Close)
	const name = "idcs-0123456789abcdef0123456789abcdef.identity.oraclecloud.com"
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	t.Cleanup(transport.CloseIdleConnections)
	ctx := oidc.ClientContext(t.Context(), &http.Client{Transport: transport, Timeout: 10 * time.Second})
	provider, err := oidc.NewProvider(oidc.InsecureIssuerURLContext(ctx, identity.FixedIssuer), "https://"+name)
	if err != nil {
		t.Fatal(err)
	}
	if got := provider.Endpoint().TokenURL; got != "https://"+name+":443/oauth2/v1/token" {
		t.Errorf("token endpoint is %s", got)
	}
}
