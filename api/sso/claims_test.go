package sso

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGroups(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim string
		want  []string
		known bool
	}{
		{`["a","b"]`, []string{"a", "b"}, true},
		{`["a"," a ","","b"]`, []string{"a", "b"}, true},
		{`[]`, nil, true},
		{`"finance"`, []string{"finance"}, true},
		{`[{"name":"a","value":"1"},{"display":"b","value":"2"},{"value":"3"}]`, []string{"a", "b", "3"}, true},
		{`{"display":"a"}`, []string{"a"}, true},
		{`["a",{"name":"b"}]`, []string{"a", "b"}, true},
		{``, nil, false},
		{`null`, nil, false},
		{`""`, nil, false},
		{`7`, nil, false},
		{`["a",7]`, nil, false},
		{`[{"id":7}]`, nil, false},
		{`[["a"]]`, nil, false},
	} {
		c1 := claims{}
		if c.claim != "" {
			c1["groups"] = json.RawMessage(c.claim)
		}
		got, known := c1.groups("groups")
		if known != c.known || known && cmp.Diff(c.want, got) != "" {
			t.Errorf("groups of %s = %q, %v, want %q, %v", c.claim, got, known, c.want, c.known)
		}
	}
}

func TestIsAccessToken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header, claims string
		ok             bool
	}{
		{"at+jwt", `{}`, true},
		{"jwt", `{"scope":"api"}`, true},
		{"", `{"tok_type":"AT"}`, true},
		{"jwt", `{"typ":"Bearer","scope":"openid"}`, true},
		{"jwt", `{"scp":"api"}`, true},
		{"jwt", `{"cid":"x"}`, true},
		{"jwt", `{"token_use":"access"}`, true},
		{"jwt", `{}`, false},
		{"jwt", `{"tok_type":"IT","scope":"openid"}`, false},
		{"jwt", `{"typ":"ID","scope":"openid"}`, false},
		{"jwt", `{"typ":"Refresh"}`, false},
		{"jwt", `{"token_use":"id"}`, false},
		{"jwt", `{"nonce":"n","scope":"openid"}`, false},
		{"at+jwt", `{"at_hash":"h"}`, false},
		{"at+jwt", `{"c_hash":"h"}`, false},
		{"logout+jwt", `{"client_id":"c"}`, false},
		{"jwt", `{"client_id":"c","events":{"e":{}}}`, false},
		{"secevent+jwt", `{"scope":"x"}`, false},
	} {
		var parsed claims
		if err := json.Unmarshal([]byte(c.claims), &parsed); err != nil {
			t.Fatal(err)
		}
		if err := isAccessToken(c.header, parsed); (err == nil) != c.ok {
			t.Errorf("isAccessToken(%q, %s) = %v", c.header, c.claims, err)
		}
	}
}

func TestIsProgram(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claims string
		want   bool
	}{
		{`{"sub":"jo","client_id":"web"}`, false},
		{`{"sub":"web","client_id":"web"}`, true},
		{`{"sub":"web","azp":"web"}`, true},
		{`{"sub":"web","cid":"web"}`, true},
		{`{"sub":"web","client_id":"web","user_id":"u1"}`, false},
		{`{"client_id":"web","scope":"api"}`, true},
		{`{"sub":"1","idtyp":"app"}`, true},
		{`{"sub":"web@clients","gty":"client-credentials"}`, true},
		{`{"sub":"web","sub_type":"client"}`, true},
	} {
		var parsed claims
		if err := json.Unmarshal([]byte(c.claims), &parsed); err != nil {
			t.Fatal(err)
		}
		if got := isProgram(parsed); got != c.want {
			t.Errorf("isProgram(%s) = %v", c.claims, got)
		}
	}
}

// FuzzClaims reads claims of any shape: the providers' bytes, not ours.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{"groups":["a"],"sub":"jo","iat":1,"email_verified":"false"}`, `{"groups":{"name":"x"},"iat":1e300}`,
		`{"events":{"x":{}},"groups":[[]],"exp":"soon"}`, `{"sub":{},"nbf":-1e19}`, `null`,
	} {
		f.Add(seed, "eyJhbGciOiJub25lIn0.e30.")
	}
	p, err := New(Config{Issuer: "https://login.example.com", ClientID: "c"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body, raw string) {
		_ = tokenType(raw)
		_ = checkForm(raw)
		var c claims
		if json.Unmarshal([]byte(body), &c) != nil {
			return
		}
		who := p.person(&metadata{issuer: OracleIssuer}, c, c)
		if groups, known := c.groups("groups"); !known && len(groups) > 0 {
			t.Errorf("groups %q of a claim that has none", groups)
		}
		if p.login(who.Email, c, nil) == "" && c.text(claimSubject) != "" {
			t.Error("a person with a subject has no login")
		}
		_, _ = isAccessToken("jwt", c), isProgram(c)
		_, _ = p.checkTimes(c), checkTenant("idcs-1", c)
	})
}

// An account is of the allowed domains by all that it names, and at Google by who holds it.
func TestDomains(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		issuer string
		who    Person
		ok     bool
	}{
		{"https://login.example.com", Person{Login: "jo@chosen.example", Email: "jo@example.com"}, false},
		{"https://login.example.com", Person{Login: "jo@example.com", Email: "jo@chosen.example"}, false},
		{"https://login.example.com", Person{Login: "jo@example.com"}, true},
		{"https://login.example.com", Person{Login: "jo", Email: "jo@example.com"}, true},
		{"https://login.example.com", Person{Login: "jo"}, false},
		{"https://accounts.google.com", Person{Login: "jo@example.com", Email: "jo@example.com"}, false},
		{"https://accounts.google.com", Person{Email: "jo@example.com", HostedDomain: "example.com"}, true},
	} {
		p, err := New(Config{Issuer: test.issuer, ClientID: "longhaul", AllowedDomains: []string{"example.com"}})
		if err != nil {
			t.Fatal(err)
		}
		if ok := p.domainsAllowed(p.domains(&test.who)); ok != test.ok {
			t.Errorf("%s, %+v: %t", test.issuer, test.who, ok)
		}
	}
}
