package api_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"longhaul/api/sso"
	"longhaul/api/sso/ssotest"
	"longhaul/storage"
)

// The tests sign in through two providers that share no code, and neither is ours.
var providers = map[string]func(testing.TB) *ssotest.Provider{"zitadel": ssotest.Zitadel, "node": ssotest.Node}

// withProvider has a server's people sign in with a provider. Jo is nobody special; an instance
// admin is whoever has the login root@example.com.
func withProvider(t testing.TB, p *ssotest.Provider, changes ...func(*sso.Config)) func(*config) {
	t.Helper()
	settings := sso.Config{Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: p.ClientSecret, Audience: p.Audience}
	for _, change := range changes {
		change(&settings)
	}
	provider, err := sso.New(settings)
	must(t, err)
	return func(c *config) {
		c.idle = true
		c.api.Provider, c.api.Issuer, c.api.AdminToken = provider, p.Issuer, ""
		c.api.Admins = []string{"root@example.com"}
	}
}

// withEachProvider tests with a server of its own for each provider.
func withEachProvider(t *testing.T, test func(t *testing.T, p *ssotest.Provider, s *server)) {
	t.Helper()
	for name, start := range providers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			s := newServer(t, withProvider(t, p))
			s.register(p)
			test(t, p, s)
		})
	}
}

// register tells the provider where the server is.
func (s *server) register(p *ssotest.Provider) {
	s.t.Helper()
	p.Register(s.t, ssotest.Application{
		RedirectURL: s.url + "/sign-in/callback", PostLogoutURL: s.url + "/sign-in",
		BackChannelLogoutURL: s.url + "/sign-in/provider-logout",
	})
}

// visitor is a client with cookies that follows no redirects.
type visitor struct {
	*server
	client   *http.Client
	provider *ssotest.Browser
}

func (s *server) visitor() *visitor {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	must(s.t, err)
	client := *s.http
	client.Jar = jar
	return &visitor{s, &client, ssotest.NewBrowser(s.t)}
}

// ask requests a path and returns the answer's status, body and Location.
func (b *visitor) ask(method, path string, form url.Values) *answer {
	b.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = b.url + path
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(form.Encode()))
	must(b.t, err)
	r.Header.Set("Accept", "text/html,application/json")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.client.Do(r)
	must(b.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(b.t, err)
	return &answer{t: b.t, asked: method + " " + path, status: resp.StatusCode, header: resp.Header, body: text}
}

// callback goes to the provider, signs in there, and returns the address it sends back to.
func (b *visitor) callback(who ssotest.Account, next string) string {
	b.t.Helper()
	start := b.ask(http.MethodGet, "/sign-in/start?next="+url.QueryEscape(next), nil).want(http.StatusSeeOther)
	return b.provider.SignIn(b.t, start.header.Get("Location"), who).String()
}

// signIn signs in, and returns where it leads to.
func (b *visitor) signIn(who ssotest.Account, next string) string {
	b.t.Helper()
	return b.ask(http.MethodGet, b.callback(who, next), nil).want(http.StatusSeeOther).header.Get("Location")
}

func (b *visitor) me() *answer { return b.ask(http.MethodGet, "/api/v1/me", nil) }

func TestSignIn(t *testing.T) {
	t.Parallel()
	withEachProvider(t, func(t *testing.T, _ *ssotest.Provider, s *server) {
		s.member("plain", "group", "finance", "operator", true)
		b := s.visitor()
		b.me().want(http.StatusUnauthorized)
		if next := b.signIn(ssotest.Jo(), "/tasks/x?y=1"); next != "/tasks/x?y=1" {
			t.Errorf("signing in leads to %q", next)
		}
		var me struct {
			Login, Name, Email string
			Groups             []string
			Instance           bool `json:"instance_admin"`
			Apps               []struct {
				App    string
				Rights []string
			}
		}
		b.me().want(http.StatusOK).into(&me)
		if me.Login != "jo@example.com" || me.Name != "Jo Doe" || me.Instance {
			t.Errorf("who is signed in: %+v", me)
		}
		if diff := cmp.Diff([]string{"finance", "planning users"}, me.Groups); diff != "" {
			t.Error(diff)
		}
		if len(me.Apps) != 1 || me.Apps[0].App != "plain" || strings.Join(me.Apps[0].Rights, ",") != "view,operate,data" {
			t.Errorf("what Jo may do: %+v", me.Apps)
		}
		if s.count(`SELECT count(*) FROM audit WHERE action = 'sign-in' AND actor = 'jo@example.com' AND outcome = 'ok'`) != 1 {
			t.Error("the sign-in is not in the audit trail")
		}
		b.ask(http.MethodPost, "/sign-out", url.Values{}).want(http.StatusSeeOther)
		b.me().want(http.StatusUnauthorized)
	})
}

// A sign-in counts once, in the browser that began it, as it was begun.
func TestSignInIsRefused(t *testing.T) {
	t.Parallel()
	withEachProvider(t, func(t *testing.T, _ *ssotest.Provider, s *server) {
		for what, spoil := range map[string]func(b *visitor, back *url.URL){
			"wrong state": func(_ *visitor, back *url.URL) { set(back, "state", "made-up") },
			"no state":    func(_ *visitor, back *url.URL) { set(back, "state", "") },
			"wrong code":  func(_ *visitor, back *url.URL) { set(back, "code", "made-up") },
			"another browser": func(b *visitor, _ *url.URL) {
				b.client.Jar = s.visitor().client.Jar
			},
			"another browser's sign-in": func(b *visitor, _ *url.URL) {
				other := s.visitor()
				other.ask(http.MethodGet, "/sign-in/start", nil).want(http.StatusSeeOther)
				b.client.Jar = other.client.Jar
			},
			"provider's error": func(_ *visitor, back *url.URL) {
				set(back, "code", "")
				set(back, "error", "access_denied")
			},
		} {
			b := s.visitor()
			back, err := url.Parse(b.callback(ssotest.Jo(), "/"))
			must(t, err)
			spoil(b, back)
			if a := b.ask(http.MethodGet, back.String(), nil); a.status != http.StatusForbidden {
				t.Errorf("%s: %d", what, a.status)
			}
			b.me().want(http.StatusUnauthorized)
		}
		if s.count(`SELECT count(*) FROM audit WHERE action = 'sign-in.refuse' AND outcome = 'refused'`) < 6 {
			t.Error("refusals are not in the audit trail")
		}
	})
}

func set(u *url.URL, name, value string) {
	query := u.Query()
	query.Del(name)
	if value != "" {
		query.Set(name, value)
	}
	u.RawQuery = query.Encode()
}

// An address that the provider sent back to serves once, whatever cookies come with it.
func TestReplayedCode(t *testing.T) {
	t.Parallel()
	withEachProvider(t, func(t *testing.T, _ *ssotest.Provider, s *server) {
		b := s.visitor()
		back := b.callback(ssotest.Jo(), "/")
		at, err := url.Parse(s.url)
		must(t, err)
		kept := b.client.Jar.Cookies(at)
		b.ask(http.MethodGet, back, nil).want(http.StatusSeeOther)
		thief := s.visitor()
		thief.client.Jar.SetCookies(at, kept)
		thief.ask(http.MethodGet, back, nil).want(http.StatusForbidden)
		thief.me().want(http.StatusUnauthorized)
	})
}

// While the provider is down nobody can sign in, and who is signed in works on.
func TestProviderDown(t *testing.T) {
	t.Parallel()
	withEachProvider(t, func(t *testing.T, p *ssotest.Provider, s *server) {
		b, late := s.visitor(), s.visitor()
		b.signIn(ssotest.Jo(), "/")
		back := late.callback(ssotest.Jo(), "/")
		p.Stop(t)
		b.me().want(http.StatusOK)
		a := late.ask(http.MethodGet, back, nil).want(http.StatusServiceUnavailable)
		if !strings.Contains(string(a.body), "does not answer") {
			t.Errorf("the page does not say why: %s", a.body)
		}
		p.Start(t) // with other keys
		b.me().want(http.StatusOK)
		// Its keys are read anew at most once a second.
		s.eventually("a sign-in after the provider is back", func() bool {
			begun := s.visitor()
			return begun.ask(http.MethodGet, "/sign-in/start", nil).status == http.StatusSeeOther &&
				begun.ask(http.MethodGet, begun.callback(ssotest.Jo(), "/"), nil).status == http.StatusSeeOther
		})
	})
}

// What the provider says of groups counts from the next sign-in on.
func TestGroupsChange(t *testing.T) {
	t.Parallel()
	withEachProvider(t, func(t *testing.T, p *ssotest.Provider, s *server) {
		s.member("plain", "group", "finance", "viewer", false)
		b := s.visitor()
		b.signIn(ssotest.Jo(), "/")
		b.ask(http.MethodGet, "/api/v1/apps/plain", nil).want(http.StatusOK)
		moved := ssotest.Jo()
		moved.Groups = []string{"sales"}
		p.Put(t, moved)
		s.visitor().signIn(moved, "/")
		b.ask(http.MethodGet, "/api/v1/apps/plain", nil).want(http.StatusNotFound)
	})
}

// A company's own web app sends its people's access tokens; other tokens of theirs are none.
func TestAccessToken(t *testing.T) {
	t.Parallel()
	withEachProvider(t, func(t *testing.T, p *ssotest.Provider, s *server) {
		s.member("plain", "person", "jo@example.com", "operator", true)
		access, id := p.Tokens(t, ssotest.Jo())
		s.get("/api/v1/apps/plain", "Authorization", "Bearer "+access).want(http.StatusOK)
		s.get("/api/v1/apps/vision", "Authorization", "Bearer "+access).want(http.StatusNotFound)
		s.get("/api/v1/me", "Authorization", "Bearer "+id).problem(http.StatusUnauthorized)
		s.get("/api/v1/me", "Authorization", "Bearer "+access[:len(access)-4]+"AAAA").problem(http.StatusUnauthorized)
		s.get("/api/v1/me", "Authorization", "Bearer "+adminToken).problem(http.StatusUnauthorized)
	})
}

// Signing in makes a new session, and ends the one that was there.
func TestSessionIsRotated(t *testing.T) {
	t.Parallel()
	p := ssotest.Zitadel(t)
	s := newServer(t, withProvider(t, p))
	s.register(p)
	b := s.visitor()
	b.signIn(ssotest.Jo(), "/")
	at, err := url.Parse(s.url)
	must(t, err)
	before := b.client.Jar.Cookies(at)
	b.signIn(ssotest.Jo(), "/")
	b.me().want(http.StatusOK)
	old := s.visitor()
	old.client.Jar.SetCookies(at, before)
	old.me().want(http.StatusUnauthorized)
}

// The provider ends sessions by itself: the npm provider sends logout tokens.
func TestProviderLogout(t *testing.T) {
	t.Parallel()
	p := ssotest.Node(t)
	s := newServer(t, withProvider(t, p))
	s.register(p)
	b := s.visitor()
	b.signIn(ssotest.Jo(), "/")
	_, away, _ := strings.Cut(b.ask(http.MethodPost, "/sign-out", url.Values{"everywhere": {"1"}}).want(http.StatusOK).header.Get("Refresh"), "url=")
	if !strings.HasPrefix(away, p.Issuer) {
		t.Fatalf("signing out everywhere leads to %q", away)
	}
	second := s.visitor()
	second.provider = b.provider // the same session at the provider
	second.signIn(ssotest.Jo(), "/")
	second.me().want(http.StatusOK)
	b.provider.SignIn(t, away, ssotest.Jo())
	s.eventually("the provider's logout", func() bool { return second.me().status == http.StatusUnauthorized })
	forged := s.visitor().ask(http.MethodPost, "/sign-in/provider-logout", url.Values{"logout_token": {"made-up"}})
	forged.want(http.StatusBadRequest)
}

// A login that passes to another person does not bring them the first one's memberships.
func TestLoginOfAnother(t *testing.T) {
	t.Parallel()
	p := ssotest.Zitadel(t)
	s := newServer(t, withProvider(t, p))
	s.register(p)
	s.visitor().signIn(ssotest.Jo(), "/")
	other := ssotest.Jo()
	other.Login, other.Name = "new.jo@example.com", "New Jo"
	p.Put(t, other)
	b := s.visitor()
	a := b.ask(http.MethodGet, b.callback(other, "/"), nil).want(http.StatusForbidden)
	if !strings.Contains(string(a.body), "Another person") {
		t.Errorf("the page does not say why: %s", a.body)
	}
	b.me().want(http.StatusUnauthorized)
}

// Somebody whom the provider renames keeps what they may do, and the next with the old login gets
// nothing of it.
func TestRenamedPerson(t *testing.T) {
	t.Parallel()
	p := ssotest.Zitadel(t)
	s := newServer(t, withProvider(t, p))
	s.register(p)
	s.member("plain", "person", "jo@example.com", "operator", true)
	b := s.visitor()
	b.signIn(ssotest.Jo(), "/")
	renamed := ssotest.Jo()
	renamed.Email = "jo.married@example.com"
	p.Put(t, renamed)
	b = s.visitor()
	b.signIn(renamed, "/")
	b.ask(http.MethodGet, "/api/v1/apps/plain", nil).want(http.StatusOK)
	heir := ssotest.Jo()
	heir.Login = "other.jo@example.com"
	p.Put(t, heir)
	b = s.visitor()
	b.signIn(heir, "/")
	b.ask(http.MethodGet, "/api/v1/apps/plain", nil).want(http.StatusNotFound)
	if s.count(`SELECT count(*) FROM audit WHERE action = 'person.rename' AND detail = 'was jo@example.com'`) != 1 {
		t.Error("the new name is not in the audit trail")
	}
}

// Who is not of the company does not come in.
func TestAllowedDomains(t *testing.T) {
	t.Parallel()
	p := ssotest.Zitadel(t)
	s := newServer(t, withProvider(t, p, func(c *sso.Config) { c.AllowedDomains = []string{"another.example"} }))
	s.register(p)
	b := s.visitor()
	b.ask(http.MethodGet, b.callback(ssotest.Jo(), "/"), nil).want(http.StatusForbidden)
	b.me().want(http.StatusUnauthorized)
}

// API tokens reach no further than their owner does now, and end when they are revoked.
func TestTokenFollowsItsOwner(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	jo := s.person("jo@example.com")
	bearer := "Bearer " + jo.token
	s.get("/api/v1/apps/plain", "Authorization", bearer).problem(http.StatusNotFound)
	s.member("plain", "person", jo.login, "operator", true)
	s.get("/api/v1/apps/plain", "Authorization", bearer).want(http.StatusOK)
	s.do(http.MethodPut, "/api/v1/apps/plain/members/person:jo@example.com", object{"role": "viewer"}).want(http.StatusOK)
	s.do(http.MethodPost, "/api/v1/tasks", noop(nil), "Authorization", bearer).problem(http.StatusForbidden)
	s.do(http.MethodDelete, "/api/v1/apps/plain/members/person:jo@example.com", nil).want(http.StatusNoContent)
	s.get("/api/v1/apps/plain", "Authorization", bearer).problem(http.StatusNotFound)
	s.exec(`DELETE FROM tokens WHERE person_id = $1`, jo.id)
	s.engine.AccessChanged()
	s.get("/api/v1/me", "Authorization", bearer).problem(http.StatusUnauthorized)
}

// Lists show what the caller reaches, and nothing of others.
func TestListsAreScoped(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	s.create(noop(nil), nil)
	s.create(noop(object{"app": "vision"}), nil)
	jo := s.person("jo@example.com")
	s.member("plain", "person", jo.login, "operator", false)
	for path, want := range map[string]string{"/api/v1/tasks": "app", "/api/v1/apps": "name"} {
		var page struct {
			Items []map[string]any `json:"items"`
		}
		s.get(path, "Authorization", "Bearer "+jo.token).want(http.StatusOK).into(&page)
		if len(page.Items) != 1 || page.Items[0][want] != "plain" {
			t.Errorf("GET %s shows %v", path, page.Items)
		}
	}
	s.get("/api/v1/audit", "Authorization", "Bearer "+jo.token).problem(http.StatusForbidden)
	// What the handler refuses leaves a line as well as what the rule of the route does.
	s.member("vision", "person", jo.login, "viewer", false)
	s.do(http.MethodPost, "/api/v1/tasks", noop(object{"app": "vision"}), "Authorization", "Bearer "+jo.token).problem(http.StatusForbidden)
	if n := s.count(`SELECT count(*) FROM audit WHERE action = 'request.refuse' AND actor = $1 AND app = 'vision'`, jo.login); n != 1 {
		t.Errorf("%d lines tell of the task that was refused", n)
	}
	s.exec(`DELETE FROM members WHERE app = 'vision'`)
	s.engine.AccessChanged()
	s.do(http.MethodPost, "/api/v1/tasks", noop(object{"app": "vision"}), "Authorization", "Bearer "+jo.token).problem(http.StatusUnprocessableEntity)
}

// Who does not see data sees no log, no outputs and no words that quote records.
func TestWithoutData(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.waitFinal(s.create(importTask(nil), accounts(t, 20, 2)).ID, "succeeded")
	blind := s.person("blind@example.com")
	s.member("vision", "person", blind.login, "operator", false)
	bearer := "Bearer " + blind.token
	for _, path := range []string{taskPath(task.ID), taskPath(task.ID) + "/events", "/api/v1/tasks"} {
		a := s.get(path, "Authorization", bearer).want(http.StatusOK)
		for _, word := range []string{"E_99", "outbound", ".csv", "event: log"} {
			if strings.Contains(string(a.body), word) {
				t.Errorf("%s shows %q to who may not see data: %s", path, word, a.body)
			}
		}
	}
	for _, path := range []string{"/log", "/outputs", "/outputs.zip", "/outputs/" + task.Outputs[0].Path} {
		s.get(taskPath(task.ID)+path, "Authorization", bearer).problem(http.StatusForbidden)
	}
	if n := s.count(`SELECT count(*) FROM audit WHERE action = 'request.refuse' AND app = 'vision' AND actor = $1`, blind.login); n != 4 {
		t.Errorf("%d refusals are in the audit trail", n)
	}
}

// A wrong token is refused without a word on why.
func TestTokenShape(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	token := s.tokenOf(storage.LocalAdmin, storage.AllRights)
	s.get("/api/v1/me", "Authorization", "Bearer "+token).want(http.StatusOK)
	for _, wrong := range []string{token + "A", token[:len(token)-1], strings.ToUpper(token), "lh_", "lh_" + strings.Repeat("A", 48)} {
		s.get("/api/v1/me", "Authorization", "Bearer "+wrong).problem(http.StatusUnauthorized)
	}
}

// A token whose owner has not signed in for long rests, says so, and works again after they do.
func TestTokensRest(t *testing.T) {
	t.Parallel()
	const issuer = "https://login.example.com"
	s := newServer(t, func(c *config) {
		provider, err := sso.New(sso.Config{Issuer: issuer, ClientID: "longhaul"})
		must(t, err)
		c.idle, c.api.Provider, c.api.Issuer, c.api.TokensFor = true, provider, issuer, time.Hour
	})
	p, err := storage.MeetPerson(t.Context(), s.pool, &storage.Person{Issuer: issuer, Subject: "jo", Login: "jo@example.com"}, true)
	must(t, err)
	bearer := "Bearer " + s.tokenOf(p.ID, storage.AllRights)
	s.get("/api/v1/me", "Authorization", bearer).want(http.StatusOK)
	s.exec(`UPDATE people SET signed_in_at = now() - interval '2 hours' WHERE id = $1`, p.ID)
	s.engine.AccessChanged()
	if problem := s.get("/api/v1/me", "Authorization", bearer).problem(http.StatusUnauthorized); !strings.Contains(problem.Detail, "rests") {
		t.Errorf("the refusal does not say why: %s", problem.Detail)
	}
	s.exec(`UPDATE people SET signed_in_at = now() WHERE id = $1`, p.ID)
	s.engine.AccessChanged()
	s.get("/api/v1/me", "Authorization", bearer).want(http.StatusOK)
	// Somebody of another provider is a stranger, whatever tokens are left of them.
	s.get("/api/v1/me", "Authorization", "Bearer "+s.person("local@example.com").token).problem(http.StatusUnauthorized)
}

// People end their own sessions, and instance admins everybody's.
func TestEndSessionsOfOthers(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	jo := s.person("jo@example.com")
	cookie := "longhaul=" + s.sessionOf(jo.id)
	s.get("/api/v1/me", "Authorization", "", "Cookie", cookie).want(http.StatusOK)
	s.do(http.MethodDelete, "/api/v1/sessions/"+s.sessionRow().String(), nil, "Authorization", "", "Cookie", cookie).problem(http.StatusNotFound)
	s.get("/api/v1/sessions?all=true", "Authorization", "", "Cookie", cookie).problem(http.StatusForbidden)
	s.do(http.MethodDelete, "/api/v1/sessions/"+one[uuid.UUID](s, `SELECT id FROM sessions WHERE person_id = $1`, jo.id).String(), nil).want(http.StatusNoContent)
	s.get("/api/v1/me", "Authorization", "", "Cookie", cookie).problem(http.StatusUnauthorized)
}
