package identity_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longhaul/oracle/sim/identity"
)

// assertion signs claims with key; a nil value takes one away.
func (d *domain) assertion(head map[string]any, change map[string]any) string {
	d.t.Helper()
	payload := map[string]any{
		"iss": "service", "sub": "jo@example.com", "aud": []string{"oauth.idm.oracle.com", "https://identity.oraclecloud.com/"},
		"iat": d.clock().Unix(), "exp": d.clock().Add(time.Minute).Unix(), "jti": rand.Text(),
	}
	for name, value := range change {
		if payload[name] = value; value == nil {
			delete(payload, name)
		}
	}
	if head == nil {
		head = map[string]any{"alg": "RS256", "typ": "JWT", "kid": "cert1"}
	}
	var parts []string
	for _, part := range []map[string]any{head, payload} {
		text, err := json.Marshal(part)
		if err != nil {
			d.t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	signed := strings.Join(parts, ".")
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key(), crypto.SHA256, digest[:])
	if err != nil {
		d.t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// asService is the form by which service signs in with a client assertion.
func (d *domain) asService(pairs ...string) []string {
	return append([]string{
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
		"client_assertion", d.assertion(nil, map[string]any{"sub": "service"}),
	}, pairs...)
}

func TestGrants(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	refresh := d.post(tokenPath, webClient, "grant_type", "password", "username", "jo@example.com", "password", "welcome1",
		"scope", epmScope+" offline_access").text("refresh_token")
	type want struct {
		Subject, Audience, Scope any
		ExpiresIn                float64
		Refresh, ID              bool
	}
	jo := want{"jo@example.com", epm, "urn:opc:resource:consumer::all", 3600, false, false}
	for name, each := range map[string]struct {
		client string
		form   []string
		want   want
	}{
		"client credentials": {webClient, []string{"grant_type", "client_credentials", "scope", epmScope}, want{"web", epm, "urn:opc:resource:consumer::all", 3600, false, false}},
		"life of a resource": {webClient, []string{"grant_type", "client_credentials", "scope", fusion + "consumer::all"}, want{"web", fusion, "consumer::all", 27261, false, false}},
		"life asked for":     {webClient, []string{"grant_type", "client_credentials", "scope", epmScope + " urn:opc:resource:expiry=90"}, want{"web", epm, "urn:opc:resource:consumer::all", 90, false, false}},
		"scope alone":        {webClient, []string{"grant_type", "client_credentials", "scope", "consumer::all"}, want{"web", fusion, "consumer::all", 27261, false, false}},
		"no refresh for a client": {
			webClient,
			[]string{"grant_type", "client_credentials", "scope", epmScope + " offline_access"},
			want{"web", epm, "urn:opc:resource:consumer::all offline_access", 3600, false, false},
		},
		"password": {webClient, []string{"grant_type", "password", "username", "JO@example.com", "password", "welcome1", "scope", epmScope}, jo},
		"password, OpenID": {
			webClient,
			[]string{"grant_type", "password", "username", "jo@example.com", "password", "welcome1", "scope", "openid"},
			want{"jo@example.com", []any{"https://idcs-0123456789abcdef0123456789abcdef.identity.oraclecloud.com", "urn:opc:lbaas:logicalguid=idcs-0123456789abcdef0123456789abcdef"}, "openid", 3600, false, true},
		},
		"user assertion":  {"both:s3cret", []string{"grant_type", identity.GrantJWTBearer, "assertion", d.assertion(nil, map[string]any{"iss": "both"}), "scope", epmScope}, jo},
		"both assertions": {"", d.asService("grant_type", identity.GrantJWTBearer, "assertion", d.assertion(nil, nil), "scope", epmScope), jo},
		"secret in the form": {
			"",
			[]string{"client_id", "web", "client_secret", "web+secret", "grant_type", "client_credentials", "scope", epmScope},
			want{"web", epm, "urn:opc:resource:consumer::all", 3600, false, false},
		},
		"refresh": {
			webClient,
			[]string{"grant_type", "refresh_token", "refresh_token", refresh},
			want{"jo@example.com", epm, "urn:opc:resource:consumer::all offline_access", 3600, true, false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := d.post(tokenPath, each.client, each.form...)
			d.want(got, http.StatusOK, "", "")
			claims := payload(t, got.text("access_token"))
			life, _ := got.body["expires_in"].(float64)
			has := want{claims["sub"], claims["aud"], claims["scope"], life, got.body["refresh_token"] != nil, got.body["id_token"] != nil}
			if diff := cmp.Diff(each.want, has); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if claims["tok_type"] != "AT" || claims["iss"] != identity.FixedIssuer {
				t.Errorf("claims are %v", claims)
			}
		})
	}
}

func TestTokenRefuses(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	credentials := []string{"grant_type", "client_credentials", "scope", epmScope}
	assert := func(change map[string]any) []string {
		return d.asService("grant_type", identity.GrantJWTBearer, "scope", epmScope, "assertion", d.assertion(nil, change))
	}
	once := d.assertion(nil, map[string]any{"jti": "once"})
	d.want(d.post(tokenPath, "", d.asService("grant_type", identity.GrantJWTBearer, "scope", epmScope, "assertion", once)...), http.StatusOK, "", "")
	for name, each := range map[string]struct {
		client string
		form   []string
		code   string
		text   string
	}{
		"wrong secret":               {"web:no", credentials, "invalid_client", ""},
		"unknown client":             {"nobody:x", credentials, "invalid_client", ""},
		"no client":                  {"", credentials, "invalid_client", ""},
		"confidential without":       {"web", credentials, "invalid_client", ""},
		"assertions only":            {"service", credentials, "invalid_client", ""},
		"two ways":                   {webClient, append([]string{"client_secret", "web+secret"}, credentials...), "invalid_request", "more than one way"},
		"another client id":          {webClient, append([]string{"client_id", "both"}, credentials...), "invalid_request", "client_id"},
		"unknown grant":              {webClient, []string{"grant_type", "dance"}, "unsupported_grant_type", "dance"},
		"no grant":                   {webClient, nil, "unsupported_grant_type", ""},
		"grant not allowed":          {"narrow:s3cret", []string{"grant_type", "password"}, "unauthorized_client", "password"},
		"public credentials":         {"mobile", credentials, "unauthorized_client", ""},
		"public assertion":           {"mobile", []string{"grant_type", identity.GrantJWTBearer, "assertion", once, "scope", epmScope}, "unauthorized_client", ""},
		"unknown scope":              {webClient, []string{"grant_type", "client_credentials", "scope", "urn:other:all"}, "invalid_scope", "urn:other:all"},
		"scope not allowed":          {"narrow:s3cret", []string{"grant_type", "client_credentials", "scope", fusion + "consumer::all"}, "invalid_scope", ""},
		"admin scope not allowed":    {"narrow:s3cret", []string{"grant_type", "client_credentials", "scope", "urn:opc:idm:__myscopes__"}, "invalid_scope", ""},
		"no scope":                   {webClient, []string{"grant_type", "client_credentials"}, "invalid_scope", "required"},
		"two audiences":              {webClient, []string{"grant_type", "client_credentials", "scope", epmScope + " " + fusion + "consumer::all"}, "invalid_scope", "more than one"},
		"admin and a service":        {webClient, []string{"grant_type", "client_credentials", "scope", epmScope + " urn:opc:idm:__myscopes__"}, "invalid_scope", "more than one"},
		"too long a life":            {webClient, []string{"grant_type", "client_credentials", "scope", epmScope + " urn:opc:resource:expiry=31556953"}, "invalid_scope", "expiry"},
		"refresh off at the service": {webClient, []string{"grant_type", "client_credentials", "scope", "urn:strict:all offline_access"}, "unauthorized_client", "refresh"},
		"refresh off at the app":     {"narrow:s3cret", []string{"grant_type", "client_credentials", "scope", epmScope + " offline_access"}, "unauthorized_client", "refresh"},
		"wrong password":             {webClient, []string{"grant_type", "password", "username", "jo@example.com", "password", "x", "scope", epmScope}, "invalid_grant", "password"},
		"unknown refresh token":      {webClient, []string{"grant_type", "refresh_token", "refresh_token", "AgAguess"}, "invalid_grant", ""},
		"assertion used twice":       {"", d.asService("grant_type", identity.GrantJWTBearer, "scope", epmScope, "assertion", once), "invalid_grant", "used before"},
		"assertion, own domain":      {"", assert(map[string]any{"aud": d.url}), "invalid_grant", "audience"},
		"assertion, no slash":        {"", assert(map[string]any{"aud": "https://identity.oraclecloud.com"}), "invalid_grant", "audience"},
		"assertion, expired":         {"", assert(map[string]any{"exp": d.clock().Unix()}), "invalid_grant", "expired"},
		"assertion, of tomorrow":     {"", assert(map[string]any{"iat": d.clock().Unix() + 61}), "invalid_grant", "future"},
		"assertion, no id":           {"", assert(map[string]any{"jti": nil}), "invalid_grant", "lacks"},
		"assertion, no end":          {"", assert(map[string]any{"exp": nil}), "invalid_grant", "lacks"},
		"assertion, issuer":          {"", assert(map[string]any{"iss": "web"}), "invalid_grant", "issuer"},
		"assertion, nobody":          {"", assert(map[string]any{"sub": "nobody"}), "invalid_grant", "not a user"},
		"assertion, unknown key": {"", d.asService("grant_type", identity.GrantJWTBearer, "scope", epmScope, "assertion",
			d.assertion(map[string]any{"alg": "RS256", "kid": "cert2"}, nil)), "invalid_grant", "no certificate"},
		"assertion, no algorithm": {"", d.asService("grant_type", identity.GrantJWTBearer, "scope", epmScope, "assertion",
			d.assertion(map[string]any{"alg": "none", "kid": "cert1"}, nil)), "invalid_grant", "RS256"},
		"assertion, spoilt": {"", d.asService("grant_type", identity.GrantJWTBearer, "scope", epmScope, "assertion",
			d.assertion(nil, nil)+"AAAA"), "invalid_grant", "signature"},
		"assertion, no token": {"", d.asService("grant_type", identity.GrantJWTBearer, "scope", epmScope, "assertion", "x"), "invalid_grant", "three parts"},
		"client assertion of a person": {"", []string{
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
			"client_assertion", d.assertion(nil, nil), "grant_type", "client_credentials", "scope", epmScope,
		}, "invalid_client", ""},
		"client assertion of no type": {"", []string{"client_assertion", d.assertion(nil, nil), "grant_type", "client_credentials"}, "invalid_request", "client_assertion_type"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status := http.StatusBadRequest
			if each.code == "invalid_client" {
				status = http.StatusUnauthorized
			}
			got := d.post(tokenPath, each.client, each.form...)
			d.want(got, status, each.code, each.text)
			if got.header.Get("Opc-Request-Id") == "" || got.text("ecId") == "" || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%v %s", got.header, got.raw)
			}
		})
	}
}

func TestAssertionByThumbprint(t *testing.T) {
	t.Parallel()
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key().PublicKey, key())
	if err != nil {
		t.Fatal(err)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	d := newDomain(t, func(c *identity.Config) { c.Apps[2].Keys = map[string]string{"cert1": certificate} })
	short, long := sha1.Sum(der), sha256.Sum256(der)
	for name, value := range map[string]string{
		"x5t": base64.RawURLEncoding.EncodeToString(short[:]), "x5t#S256": base64.RawURLEncoding.EncodeToString(long[:]),
	} {
		text := d.assertion(map[string]any{"alg": "RS256", name: value}, nil)
		got := d.post(tokenPath, "", d.asService("grant_type", identity.GrantJWTBearer, "scope", epmScope, "assertion", text)...)
		if got.status != http.StatusOK {
			t.Errorf("%s: %d %s", name, got.status, got.raw)
		}
	}
}

func TestRepeatedParameter(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	form := values("grant_type", "client_credentials", "client_id", "web", "client_secret", "web+secret")
	form["scope"] = []string{epmScope, epmScope}
	d.want(d.do(d.request(http.MethodPost, tokenPath, form)), http.StatusBadRequest, "invalid_request", "scope")
	// What stands in the address is not a parameter.
	got := d.post(tokenPath+"?grant_type=client_credentials", webClient, "scope", epmScope)
	d.want(got, http.StatusBadRequest, "unsupported_grant_type", "")
}

// consent returns the refresh token of a new chain.
func (d *domain) consent() string {
	d.t.Helper()
	got := d.post(tokenPath, webClient, "grant_type", "password", "username", "jo@example.com", "password", "welcome1", "scope", epmScope+" offline_access")
	d.want(got, http.StatusOK, "", "")
	return got.text("refresh_token")
}

func (d *domain) refresh(token string, pairs ...string) answer {
	d.t.Helper()
	return d.post(tokenPath, webClient, append([]string{"grant_type", "refresh_token", "refresh_token", token}, pairs...)...)
}

func TestRefreshTokensAreUsedOnce(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	first := d.consent()
	second := d.refresh(first).text("refresh_token")
	third := d.refresh(second, "scope", epmScope).text("refresh_token")
	if second == "" || third == "" || first == second || second == third {
		t.Fatalf("tokens are %q, %q, %q", first, second, third)
	}
	d.want(d.refresh(first), http.StatusBadRequest, "invalid_grant", "The token has already been consumed")
	d.want(d.refresh(third), http.StatusBadRequest, "invalid_grant", "revoked")
	// Another consent is not touched.
	d.want(d.refresh(d.consent()), http.StatusOK, "", "")
}

func TestRefreshTokenIsKeptByARefusal(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	token := d.consent()
	d.want(d.refresh(token, "scope", epmScope+" openid"), http.StatusBadRequest, "invalid_scope", "not granted")
	got := d.post(tokenPath, "both:s3cret", "grant_type", "refresh_token", "refresh_token", token)
	d.want(got, http.StatusBadRequest, "invalid_grant", "")
	d.want(d.refresh(token), http.StatusOK, "", "")
}

func TestRefreshTokenExpires(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	token := d.consent()
	d.advance(7*24*time.Hour - time.Second)
	token = d.refresh(token).text("refresh_token")
	d.advance(7 * 24 * time.Hour)
	d.want(d.refresh(token), http.StatusBadRequest, "invalid_grant", "Token is expired for client : web")
}

func TestRefreshTokenOfSomebodyWhoLeft(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	token := d.consent()
	d.change(func(c *identity.Config) { c.Users = c.Users[1:] })
	d.want(d.refresh(token), http.StatusBadRequest, "invalid_grant", "user")
}

func TestConcurrentRefreshes(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	token := d.consent()
	answers := make([]answer, 8)
	var group sync.WaitGroup
	for i := range answers {
		group.Go(func() { answers[i] = d.refresh(token) })
	}
	group.Wait()
	good := 0
	for _, got := range answers {
		if got.status == http.StatusOK {
			good++
			d.want(d.refresh(got.text("refresh_token")), http.StatusBadRequest, "invalid_grant", "revoked")
		}
	}
	if good != 1 {
		t.Errorf("%d of %d refreshes by one token succeeded", good, len(answers))
	}
}

func TestRevokeAndIntrospect(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	tokens := d.exchange(d.signIn())
	active := func(token string) string {
		got := d.post("/oauth2/v1/introspect", webClient, "token", token)
		d.want(got, http.StatusOK, "", "")
		return fmt.Sprint(got.body["active"], " ", got.body["sub"])
	}
	access, refresh := tokens.text("access_token"), tokens.text("refresh_token")
	if a, r := active(access), active(refresh); a != "true jo@example.com" || r != "true <nil>" {
		t.Errorf("before: access %s, refresh %s", a, r)
	}
	d.want(d.post("/oauth2/v1/revoke", "both:s3cret", "token", refresh), http.StatusOK, "", "")
	if r := active(refresh); r != "true <nil>" {
		t.Errorf("another client revoked it: %s", r)
	}
	for _, token := range []string{access, refresh, "nonsense"} {
		d.want(d.post("/oauth2/v1/revoke", webClient, "token", token), http.StatusOK, "", "")
		if got := active(token); got != "false <nil>" {
			t.Errorf("after: %s", got)
		}
	}
	d.want(d.refresh(refresh), http.StatusBadRequest, "invalid_grant", "revoked")
	d.want(d.post("/oauth2/v1/introspect", "web:no", "token", access), http.StatusUnauthorized, "invalid_client", "")
	d.want(d.post("/oauth2/v1/revoke", "web:no", "token", access), http.StatusUnauthorized, "invalid_client", "")
}

func TestUserOfAccessTokens(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	person := func(scope string) string {
		return d.post(tokenPath, webClient, "grant_type", "password", "username", "jo@example.com", "password", "welcome1", "scope", scope).text("access_token")
	}
	forEPM, forFusion := person(epmScope), person(fusion+"consumer::all")
	machine := d.post(tokenPath, webClient, "grant_type", "client_credentials", "scope", epmScope).text("access_token")
	signedIn := d.exchange(d.signIn())
	for name, token := range map[string]string{
		"client's own": machine, "for the domain itself": person("openid"), "ID token": signedIn.text("id_token"),
		"refresh token": signedIn.text("refresh_token"), "nothing": "", "another domain's": payloadSwapped(forEPM, machine),
	} {
		if user, ok := d.User(token); ok {
			t.Errorf("%s: is %s", name, user)
		}
	}
	if user, ok := d.User(forEPM); !ok || user != "jo@example.com" {
		t.Errorf("user is %q, %v", user, ok)
	}
	service := d.Service(epm)
	if _, ok := service(forEPM); !ok {
		t.Error("the service refuses its own token")
	}
	if _, ok := service(forFusion); ok {
		t.Error("the service takes a token of another audience")
	}
	if err := d.RotateKey(); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.User(forEPM); !ok {
		t.Error("a token is not good any more once keys were rotated")
	}
	d.advance(time.Hour)
	if _, ok := d.User(forEPM); ok {
		t.Error("an expired token is good")
	}
}

// payloadSwapped is a token with the payload of another.
func payloadSwapped(token, other string) string {
	a, b := strings.Split(token, "."), strings.Split(other, ".")
	return strings.Join([]string{b[0], a[1], b[2]}, ".")
}
