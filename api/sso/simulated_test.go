package sso_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"longhaul/api/sso"
	"longhaul/api/sso/ssotest"
	"longhaul/oracle/sim/identity"
)

const apiScope = audience + identity.ConsumerScope

// simulated is an identity domain that the provider under test reaches by its real
// name, and a browser at a loopback address.
type simulated struct {
	*identity.Domain

	transport http.RoundTripper
	address   string // for the browser
}

func simulate(t *testing.T, change func(*identity.Config)) *simulated {
	t.Helper()
	config := identity.Config{
		Tenant: domainID, KeysPublic: true, Key: signingKey(),
		Users: []identity.User{{
			Name: "jo.doe", Password: "welcome1", ID: "0a1b2c", Given: "Jo", Family: "Doe", Email: "Jo.Doe@Example.com",
			Groups: []string{"finance", "EPM users"},
		}},
		Apps:      []identity.App{{ID: clientID, Secret: "our-secret", Redirects: []string{redirectTo}, LogoutRedirects: []string{redirectTo}}},
		Resources: []identity.Resource{{Audience: audience}},
	}
	if change != nil {
		change(&config)
	}
	domain, err := identity.New(config)
	if err != nil {
		t.Fatal(err)
	}
	named, plain := httptest.NewTLSServer(domain), httptest.NewServer(domain)
	t.Cleanup(named.Close)
	t.Cleanup(plain.Close)
	tls := named.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	tls.ServerName = "example.com" // the certificate's
	return &simulated{Domain: domain, address: plain.URL, transport: &http.Transport{
		TLSClientConfig: tls,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, named.Listener.Addr().String())
		},
	}}
}

func (d *simulated) provider(t *testing.T, change func(*sso.Config)) *sso.Provider {
	t.Helper()
	f := fake{url: domainURL, transport: d.transport}
	return f.provider(t, change)
}

var joDoe = ssotest.Account{Login: "jo.doe", Password: "welcome1"}

func (d *simulated) signIn(t *testing.T, p *sso.Provider) (*sso.Person, error) {
	t.Helper()
	address, flow, err := p.Begin(t.Context(), redirectTo)
	if err != nil {
		return nil, err
	}
	address, found := strings.CutPrefix(address, domainURL)
	if !found {
		t.Fatalf("the sign-in is at %s", address)
	}
	back := ssotest.NewBrowser(t).SignIn(t, d.address+strings.TrimPrefix(address, ":443"), joDoe)
	return p.Finish(t.Context(), flow, back.Query())
}

// token gets an access token by a grant.
func (d *simulated) token(t *testing.T, form url.Values) (access, id string) {
	t.Helper()
	form.Set("client_id", clientID)
	form.Set("client_secret", "our-secret")
	resp, err := http.PostForm(d.address+"/oauth2/v1/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Access string `json:"access_token"`
		ID     string `json:"id_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Access == "" {
		t.Fatalf("token: %s, %v", resp.Status, err)
	}
	return got.Access, got.ID
}

func (d *simulated) personToken(t *testing.T) (access, id string) {
	t.Helper()
	return d.token(t, url.Values{
		"grant_type": {identity.GrantPassword}, "username": {joDoe.Login}, "password": {joDoe.Password},
		"scope": {"openid profile email groups " + apiScope},
	})
}

func TestSimulatedDomain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		domain func(*identity.Config)
		config func(*sso.Config)
		groups []string
		known  bool
	}{
		{"as it is", nil, nil, []string{"finance", "EPM users"}, true},
		{"relative endpoints", func(c *identity.Config) { c.RelativeEndpoints = true }, nil, []string{"finance", "EPM users"}, true},
		{"lean ID tokens", func(c *identity.Config) { c.LeanIDToken = true }, nil, []string{"finance", "EPM users"}, true},
		{"groups as objects", func(c *identity.Config) { c.Groups = identity.GroupsAsObjects }, nil, []string{"finance", "EPM users"}, true},
		{"one group", func(c *identity.Config) {
			c.Groups, c.Users[0].Groups = identity.GroupsAsOneString, []string{"finance"}
		}, nil, []string{"finance"}, true},
		{"no groups", func(c *identity.Config) { c.Groups = identity.GroupsAbsent }, nil, nil, false},
		{"groups in a custom claim", func(c *identity.Config) {
			c.Groups, c.GroupsClaim = identity.GroupsAbsent, "iam_groups"
		}, func(c *sso.Config) { c.GroupsClaim = "iam_groups" }, []string{"finance", "EPM users"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := simulate(t, c.domain)
			p := d.provider(t, c.config)
			who, err := d.signIn(t, p)
			if err != nil {
				t.Fatal(err)
			}
			if who.SID == "" || who.IDToken == "" {
				t.Errorf("session %q, ID token %q", who.SID, who.IDToken)
			}
			want := &sso.Person{
				Issuer: sso.OracleIssuer, Subject: "0a1b2c", Login: "jo.doe@example.com", Name: "Jo Doe", Email: "Jo.Doe@Example.com",
				Groups: c.groups, GroupsKnown: c.known, SID: who.SID, IDToken: who.IDToken,
			}
			if diff := cmp.Diff(want, who); diff != "" {
				t.Errorf("person at sign-in (-want +got):\n%s", diff)
			}
			access, id := d.personToken(t)
			who, _, err = p.AccessToken(t.Context(), access)
			if err != nil {
				t.Fatal(err)
			}
			want.SID, want.IDToken = "", ""
			if diff := cmp.Diff(want, who); diff != "" {
				t.Errorf("person of an access token (-want +got):\n%s", diff)
			}
			_, _, err = p.AccessToken(t.Context(), id)
			wantRefusal(t, err, sso.CodeInvalidToken)
		})
	}
}

func TestSimulatedDomainSignsOut(t *testing.T) {
	t.Parallel()
	d := simulate(t, nil)
	p := d.provider(t, nil)
	who, err := d.signIn(t, p)
	if err != nil {
		t.Fatal(err)
	}
	out := strings.Replace(p.LogoutURL(t.Context(), who.IDToken, redirectTo), domainURL+":443", d.address, 1)
	if got := ssotest.NewBrowser(t).SignIn(t, out, joDoe); got.String() != redirectTo {
		t.Errorf("after signing out the browser is sent to %s", got)
	}
}

func TestSimulatedDomainHidesItsKeys(t *testing.T) {
	t.Parallel()
	d := simulate(t, func(c *identity.Config) { c.KeysPublic = false })
	var now clock
	p := d.provider(t, func(c *sso.Config) { c.Now = now.now })
	_, err := d.signIn(t, p)
	message := wantRefusal(t, err, sso.CodeSetup)
	if !containsAll(message, "Domain settings", "Access signing certificate", "Configure client access", "Access Signing Certificate") {
		t.Errorf("message = %q", message)
	}
	access, _ := d.personToken(t)
	_, _, err = p.AccessToken(t.Context(), access)
	wantRefusal(t, err, sso.CodeSetup)
	if err := d.Change(func(c *identity.Config) { c.KeysPublic = true }); err != nil {
		t.Fatal(err)
	}
	now.advance(2 * second)
	eventually(t, func() error { // with the setting on
		_, err := d.signIn(t, p)
		return err
	})
	if err := d.RotateKey(); err != nil { // it keeps its name
		t.Fatal(err)
	}
	now.advance(2 * second)
	eventually(t, func() error { // with a new key
		_, err := d.signIn(t, p)
		return err
	})
}

func TestSimulatedDomainRefusals(t *testing.T) {
	t.Parallel()
	t.Run("another tenant with our keys", func(t *testing.T) {
		t.Parallel()
		d := simulate(t, func(c *identity.Config) { c.Tenant = "idcs-ffffffffffffffffffffffffffffffff" })
		p := d.provider(t, nil)
		_, err := d.signIn(t, p)
		wantRefusal(t, err, sso.CodeInvalidToken)
		access, _ := d.personToken(t)
		_, _, err = p.AccessToken(t.Context(), access)
		wantRefusal(t, err, sso.CodeInvalidToken)
	})
	t.Run("another tenant with its own keys", func(t *testing.T) {
		t.Parallel()
		other := simulate(t, func(c *identity.Config) { c.Key = newKey() })
		access, _ := other.personToken(t)
		_, _, err := simulate(t, nil).provider(t, nil).AccessToken(t.Context(), access)
		wantRefusal(t, err, sso.CodeInvalidToken)
	})
	t.Run("a program", func(t *testing.T) {
		t.Parallel()
		d := simulate(t, nil)
		access, _ := d.token(t, url.Values{"grant_type": {identity.GrantClientCredentials}, "scope": {apiScope}})
		_, _, err := d.provider(t, nil).AccessToken(t.Context(), access)
		if message := wantRefusal(t, err, sso.CodeInvalidToken); !containsAll(message, "API token") {
			t.Errorf("message = %q", message)
		}
	})
	t.Run("a domain whose tokens name another issuer than its document", func(t *testing.T) {
		t.Parallel()
		d := simulate(t, func(c *identity.Config) { c.TokenIssuer = domainURL })
		_, err := d.signIn(t, d.provider(t, nil))
		wantRefusal(t, err, sso.CodeInvalidToken)
		if _, err := d.signIn(t, d.provider(t, func(c *sso.Config) { c.ExpectedIssuer = domainURL })); err != nil {
			t.Errorf("with the issuer expected: %v", err)
		}
	})
	t.Run("a code used twice", func(t *testing.T) {
		t.Parallel()
		d := simulate(t, nil)
		p := d.provider(t, nil)
		address, flow, err := p.Begin(t.Context(), redirectTo)
		if err != nil {
			t.Fatal(err)
		}
		back := ssotest.NewBrowser(t).SignIn(t, strings.Replace(address, domainURL+":443", d.address, 1), joDoe)
		if _, err := p.Finish(t.Context(), flow, back.Query()); err != nil {
			t.Fatal(err)
		}
		_, err = p.Finish(t.Context(), flow, back.Query())
		wantRefusal(t, err, sso.CodeStartAgain)
	})
	t.Run("a domain in maintenance", func(t *testing.T) {
		t.Parallel()
		d := simulate(t, nil)
		if err := d.AddFault(identity.Fault{Path: "/oauth2/v1/token", Status: http.StatusServiceUnavailable}); err != nil {
			t.Fatal(err)
		}
		_, err := d.signIn(t, d.provider(t, nil))
		wantUnavailable(t, err)
	})
}
