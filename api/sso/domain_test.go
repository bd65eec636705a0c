package sso_test

import (
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"longhaul/api/sso"
)

// domainClaims are what tokens of an Oracle identity domain have beside the standard's.
func domainClaims(change map[string]any) map[string]any {
	claims := map[string]any{
		"sub": "jo.doe", "user_id": "0a1b2c", "user_displayname": "Jo Doe", "user_tenantname": domainID,
		"user.tenant.name": domainID, "sub_mappingattr": "userName", "tok_type": "IT", "name": nil, "email": nil, "groups": nil,
	}
	maps.Copy(claims, change) // what is nil is taken away when these go over others
	return claims
}

func TestIdentityDomain(t *testing.T) {
	t.Parallel()
	f := newDomain(t)
	f.userinfo = map[string]any{
		"sub": "jo.doe", "name": "Jo", "email": "Jo.Doe@Example.com", "email_verified": true,
		"groups": []any{map[string]any{"name": "finance", "value": "77"}, map[string]any{"display": "EPM users"}},
	}
	p := f.provider(t, nil)
	who, err := f.signIn(t, p, func(nonce string) string { return f.sign(t, f.idToken(nonce, domainClaims(nil))) })
	if err != nil {
		t.Fatal(err)
	}
	who.IDToken = ""
	want := &sso.Person{
		Issuer: sso.OracleIssuer, Subject: "0a1b2c", Login: "jo.doe@example.com", Name: "Jo Doe", Email: "Jo.Doe@Example.com",
		Groups: []string{"finance", "EPM users"}, GroupsKnown: true, SID: "session-1",
	}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Errorf("person (-want +got):\n%s", diff)
	}
	if f.infoReads != 1 {
		t.Errorf("userinfo was read %d times", f.infoReads)
	}

	access := func(change map[string]any) map[string]any {
		return with(f.accessToken(domainClaims(map[string]any{"tok_type": "AT", "groups": "finance", "email": "jo@example.com"})), change)
	}
	for _, c := range []struct {
		name   string
		change map[string]any
		ok     bool
	}{
		{"right", nil, true},
		{"without a tenant", map[string]any{"user_tenantname": nil, "user.tenant.name": nil}, true},
		{"another tenant's person", map[string]any{"user_tenantname": "idcs-ff"}, false},
		{"another tenant", map[string]any{"user.tenant.name": "idcs-ff"}, false},
		{"another tenant, newer name", map[string]any{"tenant": "idcs-ff"}, false},
		{"an ID token", map[string]any{"tok_type": "IT"}, false},
		{"a client", map[string]any{"sub": "web-app", "user_id": nil, "user_displayname": nil, "email": nil}, false},
	} {
		who, _, err := p.AccessToken(t.Context(), f.sign(t, access(c.change)))
		if c.ok && (err != nil || who.Subject != "0a1b2c") {
			t.Errorf("%s: %+v, %v", c.name, who, err)
		} else if !c.ok {
			wantRefusal(t, err, sso.CodeInvalidToken)
		}
	}
	_, err = f.signIn(t, p, func(nonce string) string {
		return f.sign(t, f.idToken(nonce, domainClaims(map[string]any{"user_tenantname": "idcs-ff"})))
	})
	wantRefusal(t, err, sso.CodeInvalidToken)

	out, err := url.Parse(p.LogoutURL(t.Context(), "the-id-token", "https://longhaul.example.com/"))
	if err != nil || out.Path != "/oauth2/v1/userlogout" || out.Query().Get("id_token_hint") != "the-id-token" {
		t.Errorf("logout = %v, %v", out, err)
	}
}

func TestUserinfo(t *testing.T) {
	t.Parallel()
	bare := map[string]any{"email": nil, "groups": nil, "name": nil}
	for _, c := range []struct {
		name     string
		status   int
		userinfo map[string]any
		want     sso.Person
		code     string
	}{
		{
			"everything", 200,
			map[string]any{"sub": "jo", "email": "J@x.example", "given_name": "Jo", "family_name": "Doe", "groups": "finance"},
			sso.Person{Login: "j@x.example", Email: "J@x.example", Name: "Jo Doe", Groups: []string{"finance"}, GroupsKnown: true},
			"",
		},
		{
			"an address that is not verified", 200,
			map[string]any{"sub": "jo", "email": "j@x.example", "email_verified": "false", "groups": []string{}},
			sso.Person{Login: "jo", Name: "jo", GroupsKnown: true},
			"",
		},
		{"nothing", 200, map[string]any{"sub": "jo"}, sso.Person{Login: "jo", Name: "jo"}, ""},
		{"refused", 403, nil, sso.Person{Login: "jo", Name: "jo"}, ""},
		{"not readable", 200, map[string]any{"sub": 7}, sso.Person{Login: "jo", Name: "jo"}, ""},
		{"somebody else", 200, map[string]any{"sub": "kim", "groups": []string{"finance"}}, sso.Person{}, sso.CodeInvalidToken},
		{"nobody", 200, map[string]any{"groups": []string{"finance"}}, sso.Person{}, sso.CodeInvalidToken},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, plainURL)
			f.infoCode, f.userinfo = c.status, c.userinfo
			who, err := f.signIn(t, f.provider(t, nil), func(nonce string) string { return f.sign(t, f.idToken(nonce, bare)) })
			if c.code != "" {
				wantRefusal(t, err, c.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c.want.Issuer, c.want.Subject, c.want.SID, who.IDToken = plainURL, "jo", "session-1", ""
			if diff := cmp.Diff(&c.want, who); diff != "" {
				t.Errorf("person (-want +got):\n%s", diff)
			}
			if f.infoReads != 1 {
				t.Errorf("userinfo was read %d times", f.infoReads)
			}
		})
	}
}

func TestWhoMayComeIn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config sso.Config
		claims map[string]any
		ok     bool
	}{
		{"anybody", sso.Config{}, nil, true},
		{"the domain", sso.Config{AllowedDomains: []string{"other.example", "Example.com"}}, nil, true},
		{"another domain", sso.Config{AllowedDomains: []string{"ample.com"}}, nil, false},
		{"a subdomain", sso.Config{AllowedDomains: []string{"example.com"}}, map[string]any{"email": "jo@sub.example.com"}, false},
		{"two domains in one", sso.Config{AllowedDomains: []string{"example.com"}}, map[string]any{"email": "jo@example.com@evil.example"}, false},
		{"the domain of an address that is not verified", sso.Config{AllowedDomains: []string{"example.com"}}, map[string]any{"email_verified": false}, false},
		{"the address of a login without domain", sso.Config{LoginClaim: "preferred_username", AllowedDomains: []string{"example.com"}}, map[string]any{"preferred_username": "jo"}, true},
		{"a login of another domain", sso.Config{LoginClaim: "preferred_username", AllowedDomains: []string{"example.com"}}, map[string]any{"preferred_username": "jo@evil.example"}, false},
		{"no domain at all", sso.Config{AllowedDomains: []string{"example.com"}}, map[string]any{"email": nil}, false},
		{"the group", sso.Config{AllowedGroups: []string{"x", "finance"}}, nil, true},
		{"another group", sso.Config{AllowedGroups: []string{"Finance"}}, nil, false},
		{"groups unknown", sso.Config{AllowedGroups: []string{"finance"}}, map[string]any{"groups": nil}, false},
		{"groups of another claim", sso.Config{GroupsClaim: "iam_groups", AllowedGroups: []string{"a"}}, map[string]any{"iam_groups": "a"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, plainURL)
			f.userinfo = map[string]any{"sub": "jo"}
			p := f.provider(t, func(config *sso.Config) {
				config.AllowedDomains, config.AllowedGroups = c.config.AllowedDomains, c.config.AllowedGroups
				config.LoginClaim, config.GroupsClaim = c.config.LoginClaim, c.config.GroupsClaim
			})
			who, err := f.signIn(t, p, func(nonce string) string { return f.sign(t, f.idToken(nonce, c.claims)) })
			if c.ok && err != nil {
				t.Fatalf("%+v: %v", who, err)
			} else if !c.ok {
				if message := wantRefusal(t, err, sso.CodeNotAllowed); !strings.Contains(message, "administrator") {
					t.Errorf("message = %q", message)
				}
			}
		})
	}
}
