package identity_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"longhaul/oracle/sim/identity"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	if form := d.get(authorizePath()); form.status != http.StatusOK || !strings.Contains(form.raw, `name="password"`) {
		t.Fatalf("no login form: %d %s", form.status, form.raw)
	}
	wrong := d.do(d.request(http.MethodPost, authorizePath(), values("username", "jo@example.com", "password", "no")))
	if wrong.status != http.StatusUnauthorized || !strings.Contains(wrong.raw, "incorrect user name or password") {
		t.Fatalf("wrong password: %d %s", wrong.status, wrong.raw)
	}
	got := d.exchange(d.signIn())
	d.want(got, http.StatusOK, "", "")
	if got.header.Get("Cache-Control") != "no-store" || got.body["expires_in"] != 3600.0 || got.text("token_type") != "Bearer" ||
		!strings.HasPrefix(got.text("refresh_token"), "AgA") {
		t.Errorf("%v %s", got.header, got.raw)
	}
	// Whoever is signed in is not asked again, unless the client wants it.
	d.codeOf(d.get(authorizePath()))
	d.codeOf(d.get(authorizePath("prompt", "none")))
	if again := d.get(authorizePath("prompt", "login")); again.status != http.StatusOK {
		t.Errorf("prompt=login: %d", again.status)
	}
	d.newBrowser()
	if back := d.sentBack(d.get(authorizePath("prompt", "none"))); back.Get("error") != "login_required" || back.Get("state") != "st&te" {
		t.Errorf("prompt=none sends back %v", back)
	}
}

func TestIDToken(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	got := payload(t, d.exchange(d.signIn()).text("id_token"))
	now := float64(d.clock().Unix())
	want := map[string]any{
		"iss": "https://identity.oraclecloud.com/", "sub": "jo@example.com", "azp": "web",
		"aud":      []any{"web", "https://identity.oraclecloud.com/"},
		"tok_type": "IT", "nonce": "n0nce", "iat": now, "exp": now + 8*3600, "auth_time": now, "session_exp": now + 8*3600,
		"amr": []any{"USERNAME_PASSWORD"}, "authn_strength": "2", "sub_mappingattr": "userName",
		"user_displayname": "Jo Doe", "user_csr": "false", "user_lang": "en", "user_locale": "en", "user_tz": "UTC",
		"user_tenantname": "idcs-0123456789abcdef0123456789abcdef",
		"name":            "Jo Doe", "preferred_username": "jo@example.com", "given_name": "Jo", "family_name": "Doe",
		"email": "jo@example.com", "email_verified": true, "groups": []any{"Planners", "Close Team"},
	}
	unguessable := cmpopts.IgnoreMapEntries(func(name string, _ any) bool {
		return name == "jti" || name == "sid" || name == "at_hash" || name == "user_id"
	})
	if diff := cmp.Diff(want, got, unguessable); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for _, name := range []string{"jti", "sid", "at_hash", "user_id"} {
		if got[name] == "" || got[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestSwitchesOfTokens(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]struct {
		change func(*identity.Config)
		user   string
		claim  string
		access bool
		want   any
	}{
		"groups as strings":     {func(c *identity.Config) { c.Groups = identity.GroupsAsStrings }, "jo", "groups", false, []any{"Planners", "Close Team"}},
		"groups absent":         {func(c *identity.Config) { c.Groups = identity.GroupsAbsent }, "jo", "groups", false, nil},
		"one group":             {func(c *identity.Config) { c.Groups = identity.GroupsAsOneString }, "max", "groups", false, "Planners"},
		"one string of several": {func(c *identity.Config) { c.Groups = identity.GroupsAsOneString }, "jo", "groups", false, []any{"Planners", "Close Team"}},
		"custom claim":          {func(c *identity.Config) { c.GroupsClaim = "iam_groups" }, "max", "iam_groups", false, []any{"Planners"}},
		"custom claim, access":  {func(c *identity.Config) { c.GroupsClaim = "iam_groups" }, "max", "iam_groups", true, []any{"Planners"}},
		"no groups in access":   {func(*identity.Config) {}, "jo", "groups", true, nil},
		"lean ID token":         {func(c *identity.Config) { c.LeanIDToken = true }, "jo", "email", false, nil},
		"other issuer":          {func(c *identity.Config) { c.TokenIssuer = "https://idcs-x.example" }, "jo", "iss", false, "https://idcs-x.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDomain(t, each.change)
			form := values("username", each.user+"@example.com", "password", "welcome1")
			got := d.exchange(d.codeOf(d.do(d.request(http.MethodPost, authorizePath(), form))))
			kind := "id_token"
			if each.access {
				kind = "access_token"
			}
			if diff := cmp.Diff(each.want, payload(t, got.text(kind))[each.claim]); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestGroupsAsObjects(t *testing.T) {
	t.Parallel()
	d := newDomain(t, func(c *identity.Config) { c.Groups = identity.GroupsAsObjects })
	list, _ := payload(t, d.exchange(d.signIn()).text("id_token"))["groups"].([]any)
	if len(list) != 2 {
		t.Fatalf("groups are %v", list)
	}
	first, _ := list[0].(map[string]any)
	if first["name"] != "Planners" || first["display"] != "Planners" || first["id"] == "" {
		t.Errorf("first group is %v", first)
	}
}

func TestAuthorizeRefuses(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	// Not sent anywhere: the address may be a thief's.
	for name, path := range map[string]string{
		"unknown client":      authorizePath("client_id", "nobody"),
		"other redirect":      authorizePath("redirect_uri", callback+"/"),
		"no redirect":         authorizePath("redirect_uri", ""),
		"longer redirect":     authorizePath("redirect_uri", callback+"?x=1"),
		"client without any":  authorizePath("client_id", "service"),
		"redirect of a thief": authorizePath("redirect_uri", "https://evil.example/callback"),
	} {
		if got := d.get(path); got.status != http.StatusBadRequest || got.header.Get("Location") != "" {
			t.Errorf("%s: %d to %q", name, got.status, got.header.Get("Location"))
		}
	}
	for name, each := range map[string]struct{ path, code string }{
		"implicit":               {authorizePath("response_type", "token"), "unsupported_response_type"},
		"plain challenge":        {authorizePath("code_challenge_method", "plain"), "invalid_request"},
		"no method":              {authorizePath("code_challenge_method", ""), "invalid_request"},
		"public without PKCE":    {authorizePath("client_id", "mobile", "code_challenge", "", "code_challenge_method", ""), "invalid_request"},
		"unknown scope":          {authorizePath("scope", "openid payroll"), "invalid_scope"},
		"no scope":               {authorizePath("scope", ""), "invalid_scope"},
		"refresh not allowed":    {authorizePath("scope", "openid offline_access urn:strict:all"), "unauthorized_client"},
		"a parameter that twice": {authorizePath() + "&nonce=other", "invalid_request"},
	} {
		if back := d.sentBack(d.get(each.path)); back.Get("error") != each.code || back.Get("state") != "st&te" || back.Has("code") {
			t.Errorf("%s: sent back with %v", name, back)
		}
	}
}

func TestCode(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	for name, each := range map[string]struct {
		form []string
		wait time.Duration
		text string
	}{
		"wrong verifier": {form: []string{"code_verifier", strings.Repeat("x", 43)}, text: "code_verifier"},
		"no verifier":    {form: []string{"code_verifier", ""}, text: "code_verifier"},
		"other redirect": {form: []string{"redirect_uri", goodbye}, text: "redirect_uri"},
		"unknown":        {form: []string{"code", "guess"}, text: "invalid, expired or already used"},
		"too old":        {wait: 3 * time.Minute, text: "invalid, expired or already used"},
	} {
		code := d.signIn()
		d.advance(each.wait)
		got := d.exchange(code, each.form...)
		if got.status != http.StatusBadRequest || got.text("error") != "invalid_grant" || !strings.Contains(got.text("error_description"), each.text) {
			t.Errorf("%s: %d %s", name, got.status, got.raw)
		}
		if again := d.exchange(code); name == "wrong verifier" && again.status != http.StatusBadRequest {
			t.Errorf("%s: the code was good afterwards", name)
		}
	}
	got := d.post(tokenPath, "both:s3cret", "grant_type", "authorization_code", "code", d.signIn(), "redirect_uri", callback, "code_verifier", verifier)
	d.want(got, http.StatusBadRequest, "invalid_grant", "another client")
}

// A code that comes twice takes back what came of its first use.
func TestCodeTwice(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	code := d.signIn()
	first := d.exchange(code)
	d.want(first, http.StatusOK, "", "")
	d.want(d.exchange(code), http.StatusBadRequest, "invalid_grant", "already used")
	got := d.post(tokenPath, webClient, "grant_type", "refresh_token", "refresh_token", first.text("refresh_token"))
	d.want(got, http.StatusBadRequest, "invalid_grant", "revoked")
}

func TestPublicClient(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	form := []string{"grant_type", "authorization_code", "code", d.signIn("client_id", "mobile"), "redirect_uri", callback, "code_verifier", verifier}
	got := d.post(tokenPath, "mobile", form...)
	d.want(got, http.StatusOK, "", "")
	if d.post(tokenPath, "mobile:", form...).status != http.StatusUnauthorized {
		t.Error("a public client with an empty password was taken")
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	path := func(hint, to string) string {
		return "/oauth2/v1/userlogout?" + values("id_token_hint", hint, "post_logout_redirect_uri", to, "state", "s").Encode()
	}
	tokens := d.exchange(d.signIn())
	hint := tokens.text("id_token")
	for name, each := range map[string]struct{ path, to string }{
		"both":                 {path(hint, goodbye), goodbye + "?state=s"},
		"no hint":              {path("", goodbye), ""},
		"an access token":      {path(tokens.text("access_token"), goodbye), ""},
		"address of a thief":   {path(hint, "https://evil.example/"), ""},
		"somebody else's hint": {path(hint[:len(hint)-8]+"AAAAAAAA", goodbye), ""},
	} {
		if got := d.get(each.path); got.header.Get("Location") != each.to {
			t.Errorf("%s: %d to %q, want %q", name, got.status, got.header.Get("Location"), each.to)
		}
	}
	d.signIn()
	d.get("/oauth2/v1/userlogout")
	if form := d.get(authorizePath()); form.status != http.StatusOK {
		t.Errorf("signed in after signing out: %d", form.status)
	}
	d.advance(24 * time.Hour)
	if got := d.get(path(hint, goodbye)); got.header.Get("Location") == "" {
		t.Error("an expired hint does not send anybody on")
	}
}

func TestSessionEnds(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	d.signIn()
	d.advance(8 * time.Hour)
	if form := d.get(authorizePath()); form.status != http.StatusOK {
		t.Errorf("signed in after eight hours: %d", form.status)
	}
	d.signIn()
	d.change(func(c *identity.Config) { c.Users = c.Users[1:] })
	if form := d.get(authorizePath()); form.status != http.StatusOK {
		t.Errorf("signed in as somebody who left: %d", form.status)
	}
}

func TestUserinfo(t *testing.T) {
	t.Parallel()
	d := newDomain(t, func(c *identity.Config) { c.LeanIDToken = true })
	tokens := d.exchange(d.signIn())
	got := d.bearer(http.MethodGet, "/oauth2/v1/userinfo", tokens.text("access_token"))
	want := map[string]any{
		"sub": "jo@example.com", "name": "Jo Doe", "given_name": "Jo", "family_name": "Doe", "preferred_username": "jo@example.com",
		"email": "jo@example.com", "email_verified": true, "birthdate": "", "gender": "", "website": "",
		"updated_at": "2026-01-02T03:04:05Z", "appRoles": []any{}, "groups": []any{"Planners", "Close Team"},
	}
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	machine := d.post(tokenPath, webClient, "grant_type", "client_credentials", "scope", epmScope).text("access_token")
	for name, token := range map[string]string{
		"none": "", "an ID token": tokens.text("id_token"), "a client's": machine, "spoilt": tokens.text("access_token") + "x",
	} {
		if got := d.bearer(http.MethodPost, "/oauth2/v1/userinfo", token); got.status != http.StatusUnauthorized ||
			!strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	d.advance(time.Hour)
	if got := d.bearer(http.MethodGet, "/oauth2/v1/userinfo", tokens.text("access_token")); got.status != http.StatusUnauthorized {
		t.Errorf("expired: %d", got.status)
	}
}

func TestRedirectKeepsItsQuery(t *testing.T) {
	t.Parallel()
	const address = "http://127.0.0.1:1/callback?keep=1"
	d := newDomain(t, func(c *identity.Config) { c.Apps[0].Redirects = []string{address} })
	got := d.do(d.request(http.MethodPost, authorizePath("redirect_uri", address), values("username", "jo@example.com", "password", "welcome1")))
	target, err := url.Parse(got.header.Get("Location"))
	if err != nil || target.Query().Get("keep") != "1" || target.Query().Get("code") == "" {
		t.Errorf("sent to %q, %v", got.header.Get("Location"), err)
	}
}
