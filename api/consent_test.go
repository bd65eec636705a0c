package api_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"longhaul/api"
	"longhaul/jobs"
	"longhaul/oracle/sim"
	"longhaul/oracle/sim/identity"
	"longhaul/storage"
	"longhaul/storage/storagetest"
)

const (
	audience     = "urn:opc:serviceInstanceID=123456789"
	epmScope     = audience + identity.ConsumerScope
	clientSecret = "idcscs-5ecret-of-the-application"
	jo           = "jo@example.com"

	tokenPath  = "/oauth2/v1/token"
	devicePath = "/oauth2/v1/device"
)

// rsaKey is shared, because making one takes a while.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	made, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return made
})

func privatePEM(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(rsaKey())
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// domain is a simulated identity domain with a clock of its own.
type domain struct {
	*identity.Domain
	url string

	mu  sync.Mutex
	now time.Time
}

func newDomain(t testing.TB) *domain {
	t.Helper()
	d := &domain{now: time.Now()}
	public, err := x509.MarshalPKIXPublicKey(&rsaKey().PublicKey)
	must(t, err)
	keys := map[string]string{"cert1": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}
	d.Domain, err = identity.New(identity.Config{
		Key: rsaKey(), Now: d.clock,
		Users:     []identity.User{{Name: jo, Password: "welcome1"}, {Name: "max@example.com", Password: "welcome1"}},
		Resources: []identity.Resource{{Audience: audience}, {Audience: "urn:strict", NoRefresh: true}},
		Apps:      []identity.App{{ID: "web", Secret: clientSecret, Keys: keys}, {ID: "mobile"}, {ID: "other", Secret: clientSecret}},
	})
	must(t, err)
	web := httptest.NewServer(d.Domain)
	t.Cleanup(web.Close)
	d.url = web.URL
	return d
}

func (d *domain) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *domain) advance(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(by)
}

// asked counts the requests for tokens by a grant; empty counts those for codes.
func (d *domain) asked(grant string) int {
	n := 0
	for _, r := range d.Requests() {
		if grant == "" && r.Path == devicePath || grant != "" && r.Grant == grant {
			n++
		}
	}
	return n
}

// refreshToken is one that a person got elsewhere.
func (d *domain) refreshToken(t testing.TB) string {
	t.Helper()
	form := url.Values{"grant_type": {identity.GrantPassword}, "username": {jo}, "password": {"welcome1"}, "scope": {epmScope + " offline_access"}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+tokenPath, strings.NewReader(form.Encode()))
	must(t, err)
	r.SetBasicAuth("web", clientSecret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"refresh_token"`
	}
	must(t, decodeJSON(resp.Body, &answer))
	return answer.Token
}

// oauthSite is a server with a simulated application that takes the tokens of an identity domain,
// and the app books on it.
type oauthSite struct {
	*server
	domain *domain
}

// trusting lets the simulated application take the tokens of a domain.
func (d *domain) trusting(c *config) {
	c.sim.Bearer = d.Service(audience)
	c.sim.Users = []sim.User{{Name: "admin", Password: simPass}, {Name: jo, Password: "unused"}}
}

func newOAuthSite(t testing.TB, changes ...func(*config)) *oauthSite {
	t.Helper()
	d := newDomain(t)
	return &oauthSite{newServer(t, append([]func(*config){d.trusting}, changes...)...), d}
}

// oauth are credentials of the application web by device code.
func (s *oauthSite) oauth(changes object) object {
	auth := object{
		"type": "oauth2", "grant": "device_code", "domain_url": s.domain.url, "client_id": "web", "client_secret": clientSecret, "scope": epmScope,
	}
	maps.Copy(auth, changes)
	for name, value := range auth {
		if value == nil {
			delete(auth, name)
		}
	}
	return auth
}

func (s *oauthSite) addBooks(auth object) api.App {
	s.t.Helper()
	return s.do(http.MethodPost, "/api/v1/apps", s.appOn(object{"auth": auth, "maintenance": nil})).want(http.StatusCreated).app()
}

// putBooks changes how the app signs in.
func (s *oauthSite) putBooks(auth object) *answer {
	s.t.Helper()
	return s.do(http.MethodPut, "/api/v1/apps/books", s.settings(object{"auth": auth, "maintenance": nil}))
}

func (s *oauthSite) books() api.AppAuth {
	s.t.Helper()
	return s.get("/api/v1/apps/books").want(http.StatusOK).app().Auth
}

const booksConsent = "/api/v1/apps/books/consent"

func (s *oauthSite) start() api.Consent {
	s.t.Helper()
	return s.do(http.MethodPost, booksConsent, nil).want(http.StatusCreated).consent()
}

func (a *answer) consent() api.Consent {
	a.t.Helper()
	var c api.Consent
	a.into(&c)
	return c
}

// due lets the time pass after which the domain may be asked again.
func (s *oauthSite) due() {
	s.t.Helper()
	s.exec(`UPDATE app_consents SET next_at = now()`)
	s.domain.advance(30 * time.Second)
}

func (s *oauthSite) consent() api.Consent {
	s.t.Helper()
	return s.get(booksConsent).want(http.StatusOK).consent()
}

// connect goes the whole way to a connection as a person.
func (s *oauthSite) connect() {
	s.t.Helper()
	must(s.t, s.domain.ApproveDevice(s.start().UserCode, jo))
	s.due()
	if c := s.consent(); c.State != jobs.ConsentConnected || c.ConnectedAs != jo {
		s.t.Fatalf("not connected: %+v", c)
	}
}

// expire ends the access token that is kept.
func (s *oauthSite) expire() {
	s.t.Helper()
	s.exec(`UPDATE app_connections SET access_at = now() - interval '1 hour', access_until = now()`)
}

func (s *oauthSite) checkBooks() api.Check {
	s.t.Helper()
	var check api.Check
	s.do(http.MethodPost, "/api/v1/apps/books/check", nil).want(http.StatusOK).into(&check)
	return check
}

func (s *oauthSite) wantCheck(ok bool, words ...string) {
	s.t.Helper()
	got := s.checkBooks()
	if got.OK != ok {
		s.t.Fatalf("check: %+v", got)
	}
	for _, word := range words {
		if !strings.Contains(got.Message, word) {
			s.t.Errorf("check says %q, without %q", got.Message, word)
		}
	}
}

func (s *oauthSite) export() api.Task {
	s.t.Helper()
	return s.create(object{"app": "books", "name": "exportAccount", "kind": "epm.exportMetadata"}, nil)
}

// From the first click to a finished import; what is secret stays so.
func TestConsentToImport(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t)
	auth := s.addBooks(s.oauth(nil)).Auth
	no := false
	want := api.AppAuth{Type: "oauth2", Grant: "device_code", DomainURL: s.domain.url, ClientID: "web", Scope: epmScope, Connected: &no}
	if diff := cmp.Diff(want, auth); diff != "" {
		t.Errorf("a new app (-want +got):\n%s", diff)
	}
	if c := s.consent(); c.State != jobs.ConsentNone || c.Message == "" {
		t.Errorf("before it begins: %+v", c)
	}
	s.wantCheck(false, "not connected", "admin of the app")

	started := s.do(http.MethodPost, booksConsent, nil).want(http.StatusCreated)
	started.wantHeader("Location", booksConsent)
	started.wantHeader("Retry-After", "5")
	waiting := started.consent()
	if waiting.State != jobs.ConsentWaiting || waiting.VerificationURI != s.domain.url+"/ui/v1/device" || waiting.UserCode == "" ||
		waiting.Interval != 5 || waiting.ExpiresAt == nil || time.Until(*waiting.ExpiresAt) < 4*time.Minute {
		t.Errorf("started: %+v", waiting)
	}
	// Many pages ask, the domain is asked when it is time, and once.
	if diff := cmp.Diff(waiting, s.consent()); diff != "" || s.domain.asked(identity.GrantDeviceCode) != 0 {
		t.Errorf("asked too soon (-started +now):\n%s", diff)
	}
	s.due()
	var pages sync.WaitGroup
	for range 10 {
		pages.Go(func() { s.open(http.MethodGet, booksConsent, nil).Body.Close() })
	}
	pages.Wait()
	if n := s.domain.asked(identity.GrantDeviceCode); n != 1 {
		t.Errorf("ten pages asked the domain %d times", n)
	}
	must(t, s.domain.ApproveDevice(waiting.UserCode, jo))
	s.due()
	connected := s.get(booksConsent).want(http.StatusOK)
	connected.wantHeader("Retry-After", "")
	wantConsent := api.Consent{State: jobs.ConsentConnected, Message: "The app is connected.", ConnectedAs: jo}
	if diff := cmp.Diff(wantConsent, connected.consent(), cmpopts.IgnoreFields(api.Consent{}, "ConnectedAt")); diff != "" {
		t.Errorf("connected (-want +got):\n%s", diff)
	}
	auth = s.books()
	if auth.Connected == nil || !*auth.Connected || auth.ConnectedAs != jo || auth.ConnectedAt == nil ||
		auth.ExpiresAt == nil || time.Until(*auth.ExpiresAt).Round(time.Hour) != 7*24*time.Hour || auth.Problem != "" {
		t.Errorf("the app: %+v", auth)
	}
	s.wantCheck(true, "Signed in")

	task := s.create(importTask(object{"app": "books"}), accounts(t, 100, 3))
	s.waitFinal(task.ID, "succeeded")
	if n := s.domain.asked(identity.GrantRefreshToken); n != 0 {
		t.Errorf("%d refreshes while the first token is good", n)
	}
	for action, detail := range map[string]string{"app.consent.start": "", "app.connect": "as " + jo} {
		if n := s.count(`SELECT count(*) FROM audit WHERE action = $1 AND app = 'books' AND actor = 'admin' AND coalesce(detail, '') = $2`, action, detail); n != 1 {
			t.Errorf("%d lines of audit about %s", n, action)
		}
	}
	s.wantSecret(started, connected)
}

// wantSecret checks that what is secret is in no answer, no log and no table.
func (s *oauthSite) wantSecret(answers ...*answer) {
	s.t.Helper()
	tables := one[string](s.server, `SELECT (SELECT string_agg(c::text, ' ') FROM app_connections c) || (SELECT string_agg(a::text, ' ') FROM apps a)
		|| (SELECT string_agg(l::text, ' ') FROM audit l)`)
	texts := []string{tables, s.logs.String(), string(s.get("/api/v1/apps").body)}
	for _, a := range answers {
		texts = append(texts, string(a.body))
	}
	for _, text := range texts {
		for _, secret := range []string{clientSecret, "eyJ", "AgA", "PRIVATE KEY"} { // how tokens of the domain begin
			if i := strings.Index(text, secret); i >= 0 {
				s.t.Errorf("%q is in %s", secret, text[max(0, i-100):min(len(text), i+50)])
			}
		}
	}
}

// However a consent ends, the page is told in words, and a new one can be begun.
func TestConsentEnds(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t, idle)
	s.addBooks(s.oauth(nil))
	for name, test := range map[string]struct {
		before func(code string)
		state  string
		words  string
	}{
		"denied":             {func(code string) { must(t, s.domain.DenyDevice(code)) }, "denied", "Start again"},
		"expired there":      {func(string) { s.domain.advance(6 * time.Minute) }, "expired", "not entered in time"},
		"expired here":       {func(string) { s.exec(`UPDATE app_consents SET expires_at = now()`) }, "expired", "not entered in time"},
		"used by an earlier": {func(code string) { s.lose(code) }, "failed", "start again"},
	} {
		code := s.start().UserCode
		test.before(code)
		s.due()
		for range 2 { // it stays so
			if c := s.consent(); c.State != test.state || !strings.Contains(c.Message, test.words) || c.UserCode != "" {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
	s.connect()
	// What does not come to an end leaves the connection that there is.
	must(t, s.domain.DenyDevice(s.start().UserCode))
	s.due()
	if c := s.consent(); c.State != jobs.ConsentDenied || c.ConnectedAs != jo || !*s.books().Connected {
		t.Errorf("denied beside a connection: %+v", c)
	}
	s.wantCheck(true)
}

// lose lets the answer get lost that brings the tokens.
func (s *oauthSite) lose(code string) {
	s.t.Helper()
	must(s.t, s.domain.ApproveDevice(code, jo))
	must(s.t, s.domain.AddFault(identity.Fault{Path: tokenPath, Lost: true}))
	s.due()
	if c := s.consent(); c.State != jobs.ConsentWaiting || !strings.Contains(c.Message, "does not answer") {
		s.t.Errorf("a lost answer: %+v", c)
	}
}

// A domain that is asked too often is asked less often, and one that is away is asked again.
func TestConsentIsPatient(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t, idle)
	s.addBooks(s.oauth(object{"client_id": "mobile", "client_secret": nil}))
	code := s.start().UserCode
	for range 2 {
		s.exec(`UPDATE app_consents SET next_at = now()`)
		s.consent()
	}
	if got := s.get(booksConsent); got.consent().Interval != 10 || got.header.Get("Retry-After") != "10" {
		t.Errorf("told to slow down: %s", got.body)
	}
	must(t, s.domain.AddFault(identity.Fault{Path: tokenPath, Status: http.StatusServiceUnavailable}))
	s.due()
	if c := s.consent(); c.State != jobs.ConsentWaiting || !strings.Contains(c.Message, "does not answer") {
		t.Errorf("the domain is away: %+v", c)
	}
	must(t, s.domain.ApproveDevice(code, jo))
	s.due()
	if c := s.consent(); c.State != jobs.ConsentConnected {
		t.Errorf("the domain is back: %+v", c)
	}
}

// What the domain refuses is told with what to change.
func TestConsentRefused(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t, idle)
	s.addBooks(s.oauth(nil))
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	defer elsewhere.Close()
	for name, test := range map[string]struct {
		auth  object
		words string
	}{
		"wrong secret":      {object{"client_secret": "idcscs-wrong"}, "check client id and client secret"},
		"unknown client":    {object{"client_id": "nobody"}, "check client id and client secret"},
		"wrong scope":       {object{"scope": "urn:nothing"}, "copy it from the application's resources"},
		"no token refresh":  {object{"scope": "urn:strict" + identity.ConsumerScope}, `"Allow token refresh"`},
		"not a domain":      {object{"domain_url": elsewhere.URL}, "check the domain URL"},
		"nobody there":      {object{"domain_url": "http://127.0.0.1:1"}, "connection refused"},
		"public, with none": {object{"client_id": "other", "client_secret": nil}, "check client id and client secret"},
	} {
		s.putBooks(s.oauth(test.auth)).want(http.StatusOK)
		p := s.do(http.MethodPost, booksConsent, nil).problem(http.StatusBadGateway)
		if !strings.Contains(p.Detail, test.words) || strings.Contains(p.Detail, "idcscs-") {
			t.Errorf("%s: %s", name, p.Detail)
		}
		if c := s.consent(); c.State != jobs.ConsentNone {
			t.Errorf("%s: %+v", name, c)
		}
	}
	for _, app := range []string{"vision", "plain"} {
		path := "/api/v1/apps/" + app + "/consent"
		for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
			s.do(method, path, nil).problem(http.StatusConflict)
		}
	}
	s.putBooks(s.oauth(object{"grant": "jwt_bearer", "username": jo, "private_key": privatePEM(t), "key_id": "cert1"})).want(http.StatusOK)
	s.do(http.MethodPost, booksConsent, nil).problem(http.StatusConflict)
}

// Only who manages an app sees its consent or begins one.
func TestConsentIsForManagers(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t, idle)
	s.addBooks(s.oauth(nil))
	s.start()
	operator, stranger := s.person("op@example.com"), s.person("stranger@example.com")
	s.member("books", "person", operator.login, "operator", true)
	manager := s.person("manager@example.com")
	s.member("books", "person", manager.login, "admin", false)
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		for who, status := range map[*someone]int{operator: http.StatusForbidden, stranger: http.StatusNotFound} {
			if a := s.do(method, booksConsent, nil, "Authorization", "Bearer "+who.token); a.status != status || strings.Contains(string(a.body), "user_code") {
				t.Errorf("%s as %s: %d %s", method, who.login, a.status, a.body)
			}
		}
	}
	if c := s.get(booksConsent, "Authorization", "Bearer "+manager.token).want(http.StatusOK).consent(); c.State != jobs.ConsentWaiting {
		t.Errorf("the manager sees %+v", c)
	}
	must(t, s.domain.ApproveDevice(s.consent().UserCode, jo))
	s.due()
	s.get(booksConsent, "Authorization", "Bearer "+manager.token).want(http.StatusOK)
	if n := s.count(`SELECT count(*) FROM audit WHERE action = 'app.connect' AND actor = $1 AND detail = 'as jo@example.com, begun by admin'`, manager.login); n != 1 {
		t.Errorf("%d lines of audit tell who connected the app", n)
	}
}

func TestDisconnect(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t, idle)
	s.addBooks(s.oauth(nil))
	s.connect()
	s.start()
	s.do(http.MethodDelete, booksConsent, nil).want(http.StatusNoContent)
	if c := s.consent(); c.State != jobs.ConsentNone || c.ConnectedAs != "" {
		t.Errorf("disconnected: %+v", c)
	}
	if auth := s.books(); *auth.Connected || auth.ExpiresAt != nil {
		t.Errorf("the app: %+v", auth)
	}
	if n := s.count(`SELECT count(*) FROM app_connections WHERE num_nonnulls(access_sealed, refresh_sealed) > 0`); n != 0 {
		t.Error("tokens are left")
	}
	if n := s.count(`SELECT count(*) FROM audit WHERE action = 'app.disconnect' AND detail = 'was connected as jo@example.com'`); n != 1 {
		t.Errorf("%d lines of audit", n)
	}
	s.wantCheck(false, "not connected")
	s.connect()
	s.do(http.MethodDelete, "/api/v1/apps/books", nil).want(http.StatusNoContent)
	if n := s.count(`SELECT count(*) FROM app_connections`) + s.count(`SELECT count(*) FROM app_consents`); n != 0 {
		t.Errorf("%d rows outlive their app", n)
	}
}

// Whatever two processes do at once, a refresh token is used once, and all of them get on.
func TestRefreshOnce(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	pool, _ := storagetest.DB(t)
	dir := t.TempDir()
	first := &oauthSite{startServer(t, pool, dir, d.trusting, idle), d}
	second := &oauthSite{startServer(t, pool, dir, d.trusting, idle), d}
	first.addBooks(first.oauth(nil))
	first.connect()
	const rounds = 5
	for round := range rounds {
		first.expire()
		checks := make(chan api.Check, 20)
		var all sync.WaitGroup
		for range 10 {
			for _, s := range []*oauthSite{first, second} {
				all.Go(func() {
					resp := s.open(http.MethodPost, "/api/v1/apps/books/check", nil)
					defer resp.Body.Close()
					var check api.Check
					if decodeJSON(resp.Body, &check) == nil {
						checks <- check
					}
				})
			}
		}
		all.Wait()
		close(checks)
		good := 0
		for check := range checks {
			if check.OK {
				good++
			} else {
				t.Errorf("round %d: %s", round, check.Message)
			}
		}
		if n := d.asked(identity.GrantRefreshToken); n != round+1 || good != 20 {
			t.Fatalf("round %d: %d of 20 checks are good, and %d refreshes were asked for", round, good, n)
		}
	}
}

// The answer to a refresh is lost: the kept token is tried once more, which tells that it was used
// up, and a person is asked for. Nobody's task waits without a word.
func TestRefreshLost(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t)
	s.addBooks(s.oauth(nil))
	s.connect()
	s.expire()
	must(t, s.domain.AddFault(identity.Fault{Path: tokenPath, Lost: true}))
	s.wantCheck(false, "gives no token at present", "may have been used up")
	if n := s.count(`SELECT count(*) FROM app_connections WHERE unclear_at IS NOT NULL AND refresh_sealed IS NOT NULL AND NOT broken`); n != 1 {
		t.Error("that the outcome is unclear was not written down")
	}
	// Others leave the domain alone for a moment.
	if n := s.domain.asked(identity.GrantRefreshToken); n != 1 {
		t.Errorf("%d refreshes", n)
	}
	s.wantCheck(false, "connect it again", "attempt whose answer was lost")
	auth := s.books()
	if *auth.Connected || auth.ProblemAt == nil || !strings.Contains(auth.Problem, "connect again") {
		t.Errorf("the app: %+v", auth)
	}
	failed := s.waitFinal(s.export().ID, "failed")
	if failed.Error.Code != "unauthorized" || !strings.Contains(failed.Error.Message, "admin of the app must connect it again") {
		t.Errorf("the task: %+v", failed.Error)
	}
	if n := s.domain.asked(identity.GrantRefreshToken); n != 2 {
		t.Errorf("a token that is spent was sent on, %d times", n)
	}
	if n := s.count(`SELECT count(*) FROM audit WHERE action = 'app.refresh.fail' AND outcome = 'failed' AND app = 'books'`); n != 1 {
		t.Errorf("%d lines of audit", n)
	}
	if len(s.logs.lines(`"WARN"`, "no access token", `"broken":true`)) != 1 {
		t.Error("the log does not warn, once")
	}
	if metrics := s.get("/metrics"); !bytes.Contains(metrics.body, []byte("longhaul_refresh_failures_total 1\n")) {
		t.Error("the failure was not counted")
	}
	s.connect()
	if auth := s.books(); auth.Problem != "" {
		t.Errorf("connected again: %+v", auth)
	}
	s.waitFinal(s.export().ID, "succeeded")
	s.wantSecret()
}

// A process died between asking for a token and writing it down. The next one waits until it must be
// dead, and tries.
func TestRefreshAfterCrash(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t, idle)
	s.addBooks(s.oauth(nil))
	s.connect()
	s.expire()
	s.exec(`UPDATE app_connections SET asked_by = 'a process that died', asked_at = now() - interval '88 seconds'`)
	s.wantCheck(true) // the token had not been sent
	if n := s.count(`SELECT count(*) FROM app_connections WHERE num_nonnulls(unclear_at, asked_by, asked_at, problem) > 0`); n != 0 {
		t.Error("the connection is not as good as new")
	}
	// This one had sent it.
	sealed := one[[]byte](s.server, `SELECT refresh_sealed FROM app_connections`)
	s.expire()
	s.wantCheck(true)
	s.exec(`UPDATE app_connections SET refresh_sealed = $1, asked_by = 'another', asked_at = now() - interval '2 minutes'`, sealed)
	s.expire()
	s.wantCheck(false, "connect it again")
}

// Tokens that nobody uses are renewed long before their end; when that comes all the same, those who
// can do something are told.
func TestRefreshBySweep(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t)
	s.addBooks(s.oauth(nil))
	s.connect()
	old := func(hours int) {
		s.exec(`UPDATE app_connections SET refreshed_at = now() - $1 * interval '1 hour', refresh_until = now() + interval '1 hour'`, hours)
	}
	for range 3 {
		old(31)
		s.eventually("the token is renewed", func() bool {
			return s.count(`SELECT count(*) FROM app_connections WHERE refresh_until > now() + interval '6 days' AND problem IS NULL`) == 1
		})
	}
	if n := s.domain.asked(identity.GrantRefreshToken); n != 3 {
		t.Errorf("%d refreshes", n)
	}
	s.domain.advance(7*24*time.Hour + time.Minute)
	old(24 * 8)
	s.eventually("the connection has ended", func() bool { return s.books().Problem != "" })
	if auth := s.books(); *auth.Connected || !strings.Contains(auth.Problem, "too old") || !strings.Contains(auth.Problem, "connect again") {
		t.Errorf("after seven days: %+v", auth)
	}
	if n := s.count(`SELECT count(*) FROM audit WHERE action = 'app.refresh.fail' AND actor = 'longhaul'`); n != 1 {
		t.Errorf("%d lines of audit", n)
	}
	if n := s.domain.asked(identity.GrantRefreshToken); n != 4 {
		t.Errorf("%d refreshes", n)
	}
}

// A domain that is down delays tasks, and says so; the token that is still good is used meanwhile.
func TestDomainIsDown(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t)
	s.addBooks(s.oauth(nil))
	s.connect()
	down := func() {
		must(t, s.domain.AddFault(identity.Fault{Path: tokenPath, Status: http.StatusServiceUnavailable, Times: 1000}))
	}
	down()
	s.exec(`UPDATE app_connections SET access_at = now() - interval '1 hour', access_until = now() + interval '1 minute'`)
	s.wantCheck(true, "Signed in")
	if auth := s.books(); !*auth.Connected || auth.Problem == "" {
		t.Errorf("the domain is down: %+v", auth)
	}
	s.expire()
	task := s.export()
	s.waitUntil(task.ID, "waiting", func(task *api.Task) bool { return strings.Contains(task.Progress.Message, "gives no token at present") })
	s.domain.ClearFaults()
	s.exec(`UPDATE app_connections SET retry_at = NULL`)
	s.waitFinal(task.ID, "succeeded")
	if auth := s.books(); auth.Problem != "" {
		t.Errorf("the domain is back: %+v", auth)
	}
}

// A task whose job runs in the application when the connection ends goes on when there is one
// again.
func TestConnectionEndsUnderTask(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t, func(c *config) { c.sim.Speed = 4 })
	s.addBooks(s.oauth(nil))
	s.connect()
	task := s.create(importTask(object{"app": "books"}), accounts(t, 100, 0))
	s.waitUntil(task.ID, "running there", func(task *api.Task) bool { return task.Remote != nil && task.Remote.JobID != "" })
	s.do(http.MethodDelete, booksConsent, nil).want(http.StatusNoContent)
	s.waitUntil(task.ID, "held up", func(task *api.Task) bool {
		return strings.Contains(task.Progress.Message, "cannot be followed") && strings.Contains(task.Progress.Message, "not connected")
	})
	s.connect()
	s.waitFinal(task.ID, "succeeded")
}

// A token that the application refuses before its time is replaced, once: a read goes on, and what
// is no read is left to its task.
func TestRefusedToken(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t)
	s.addBooks(s.oauth(nil))
	s.connect()
	s.domain.advance(2 * time.Hour) // the domain's clock alone: the token looks good here
	s.wantCheck(false, "does not accept the access token")
	if n := s.domain.asked(identity.GrantRefreshToken); n != 0 {
		t.Errorf("a token that is new was replaced, %d times", n)
	}
	s.exec(`UPDATE app_connections SET access_at = now() - interval '10 minutes'`)
	s.wantCheck(true)
	if n := s.domain.asked(identity.GrantRefreshToken); n != 1 {
		t.Errorf("%d refreshes", n)
	}
	s.domain.advance(2 * time.Hour)
	s.exec(`UPDATE app_connections SET access_at = now() - interval '10 minutes'`)
	s.waitFinal(s.export().ID, "succeeded") // its first request is a start
	if n := s.domain.asked(identity.GrantRefreshToken); n != 2 {
		t.Errorf("%d refreshes", n)
	}
	if jobs := s.sim.Jobs(); len(jobs) != 1 {
		t.Errorf("%d jobs were started", len(jobs))
	}
}

func TestOtherGrants(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t)
	assertion := s.oauth(object{"grant": "jwt_bearer", "username": jo, "private_key": privatePEM(t), "key_id": "cert1"})
	auth := s.addBooks(assertion).Auth
	if !*auth.Connected || auth.Username != jo || auth.KeyID != "cert1" {
		t.Errorf("jwt_bearer: %+v", auth)
	}
	s.waitFinal(s.export().ID, "succeeded")
	if n := s.domain.asked(identity.GrantJWTBearer); n != 1 {
		t.Errorf("%d assertions for one task", n)
	}
	if auth := s.books(); auth.ConnectedAs != jo || auth.ExpiresAt != nil {
		t.Errorf("jwt_bearer, connected: %+v", auth)
	}
	s.putBooks(s.oauth(object{"grant": "jwt_bearer", "username": "nobody@example.com", "key_id": "cert1"})).want(http.StatusOK)
	s.wantCheck(false, "admin of the app must correct it", "check that the user is in this domain")
	if auth := s.books(); *auth.Connected || auth.Problem == "" {
		t.Errorf("jwt_bearer for nobody: %+v", auth)
	}

	told := s.domain.refreshToken(t)
	s.putBooks(s.oauth(object{"grant": "refresh_token"})).wantField("body.auth.refresh_token", "give the refresh token")
	changed := s.putBooks(s.oauth(object{"grant": "refresh_token", "refresh_token": told})).want(http.StatusOK)
	s.eventually("the told token is renewed, and so known to be good", func() bool { return s.books().ConnectedAs == jo })
	s.waitFinal(s.export().ID, "succeeded")
	s.putBooks(s.oauth(object{"grant": "refresh_token", "client_secret": nil})).want(http.StatusOK) // nothing is changed
	s.wantCheck(true)
	s.wantSecret(changed)
}

func TestOAuthRefuses(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t, idle)
	key := privatePEM(t)
	for name, test := range map[string]struct {
		auth  object
		at    string
		words string
	}{
		"client credentials": {object{"grant": "client_credentials"}, "body.auth.grant", "the token must be a person's"},
		"no grant":           {object{"grant": nil}, "body.auth.grant", "device_code"},
		"unknown grant":      {object{"grant": "magic"}, "body.auth.grant", ""},
		"no client":          {object{"client_id": nil}, "body.auth.client_id", "integrated application"},
		"no domain":          {object{"domain_url": nil}, "body.auth.domain_url", "https"},
		"domain by http":     {object{"domain_url": "http://idcs-1.identity.oraclecloud.com"}, "body.auth.domain_url", "https"},
		"domain with secret": {object{"domain_url": "https://web:" + clientSecret + "@idcs-1.identity.oraclecloud.com"}, "body.auth.domain_url", "password"},
		"no scope":           {object{"scope": " "}, "body.auth.scope", "copy the scope"},
		"no person":          {object{"grant": "jwt_bearer", "key_id": "cert1", "private_key": key}, "body.auth.username", "person"},
		"no alias":           {object{"grant": "jwt_bearer", "username": jo, "private_key": key}, "body.auth.key_id", "alias"},
		"no key":             {object{"grant": "jwt_bearer", "username": jo, "key_id": "cert1"}, "body.auth.private_key", "PEM"},
		"wrong key":          {object{"grant": "jwt_bearer", "username": jo, "key_id": "cert1", "private_key": clientSecret}, "body.auth.private_key", "not PEM"},
		"no refresh token":   {object{"grant": "refresh_token"}, "body.auth.refresh_token", "give the refresh token"},
	} {
		t.Run(name, func(t *testing.T) {
			one := &oauthSite{s.in(t), s.domain}
			a := one.do(http.MethodPost, "/api/v1/apps", one.appOn(object{"auth": one.oauth(test.auth)}))
			a.wantField(test.at, test.words)
			if strings.Contains(string(a.body), clientSecret) {
				t.Errorf("the refusal repeats a secret: %s", a.body)
			}
		})
	}
	if n := len(s.domain.Requests()); n != 0 {
		t.Errorf("the domain was asked %d times", n)
	}
}

// Secrets and consents stay where they were given; a change that leaves them their meaning keeps
// them.
func TestOAuthCredentialsStay(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t, idle)
	elsewhere := newDomain(t)
	s.addBooks(s.oauth(nil))
	s.connect()
	connected := func(what string, want bool) {
		t.Helper()
		if auth := s.books(); *auth.Connected != want {
			t.Errorf("%s: %+v", what, auth)
		}
	}
	put := func(changes object) *answer {
		t.Helper()
		return s.do(http.MethodPut, "/api/v1/apps/books", s.settings(changes))
	}
	put(object{"auth": nil, "max_running": 2}).want(http.StatusOK)
	connected("another limit", true)
	put(object{"auth": s.oauth(object{"client_secret": nil})}).want(http.StatusOK)
	connected("the same again", true)
	s.expire()
	s.wantCheck(true) // the client secret is still there
	must(t, s.domain.Change(func(c *identity.Config) { c.Apps[0].Secret = "idcscs-another" }))
	s.expire()
	s.wantCheck(false, "must correct it", "client secret")
	connected("a secret that was changed there", true)
	put(object{"auth": s.oauth(object{"client_secret": "idcscs-another"})}).want(http.StatusOK)
	s.wantCheck(true)

	put(object{"auth": nil, "url": "https://epm.example.com"}).wantField("body.auth", "credentials again")
	put(object{"auth": s.oauth(object{"client_secret": nil}), "url": "https://epm.example.com"}).wantField("body.auth.client_secret", "credentials again")
	put(object{"auth": s.oauth(object{"client_secret": nil, "domain_url": elsewhere.url})}).wantField("body.auth.client_secret", "credentials again")
	connected("refused changes", true)
	if n := len(elsewhere.Requests()); n != 0 {
		t.Errorf("another domain was asked %d times", n)
	}

	for what, changes := range map[string]object{
		"another address": {"auth": s.oauth(nil), "url": strings.Replace(s.simURL, "127.0.0.1", "localhost", 1)},
		"another domain":  {"auth": s.oauth(object{"domain_url": strings.Replace(s.domain.url, "127.0.0.1", "localhost", 1)})},
		"another scope":   {"auth": s.oauth(object{"scope": "urn:strict" + identity.ConsumerScope})},
		"another client":  {"auth": s.oauth(object{"client_id": "mobile", "client_secret": nil})},
		"another type":    {"auth": object{"type": "basic", "username": "admin", "password": simPass}},
	} {
		put(object{"auth": s.oauth(object{"client_secret": "idcscs-another"})}).want(http.StatusOK)
		if !*s.books().Connected {
			s.connect()
		}
		s.start()
		put(changes).want(http.StatusOK)
		if n := s.count(`SELECT count(*) FROM app_connections WHERE num_nonnulls(access_sealed, refresh_sealed) > 0`) + s.count(`SELECT count(*) FROM app_consents`); n != 0 {
			t.Errorf("%s: tokens or a consent stay", what)
		}
	}
}

// When the key is replaced the tokens are sealed anew, and what was sealed for one app does not open
// for another.
func TestConnectionIsSealed(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t, idle)
	s.addBooks(s.oauth(nil))
	s.connect()
	s.start()
	s.do(http.MethodPost, "/api/v1/apps", s.appOn(object{"name": "copy", "auth": s.oauth(nil)})).want(http.StatusCreated)
	s.exec(`UPDATE app_connections c SET (access_sealed, access_at, access_until, refresh_sealed) =
		(SELECT access_sealed, access_at, access_until, refresh_sealed FROM app_connections WHERE app = 'books') WHERE app = 'copy'`)
	var check api.Check
	s.do(http.MethodPost, "/api/v1/apps/copy/check", nil).want(http.StatusOK).into(&check)
	if check.OK {
		t.Error("a token of another app was used")
	}
	s.do(http.MethodDelete, "/api/v1/apps/copy", nil).want(http.StatusNoContent)

	next, err := storage.NewSealer("another secret key for tests, of more than 32 characters", secretKey)
	must(t, err)
	done, err := storage.Reseal(t.Context(), s.pool, next)
	must(t, err)
	if done.Count != 5 || len(done.Stuck) != 0 { // two apps' secrets, access and refresh token, device code
		t.Errorf("sealed anew: %+v", done)
	}
	if n := s.count(`SELECT count(*) FROM app_connections WHERE position($1::bytea IN refresh_sealed) = 1 AND position($1::bytea IN access_sealed) = 1`,
		one[[]byte](s.server, `SELECT substring(auth_sealed FROM 1 FOR 5) FROM apps WHERE name = 'books'`)); n != 1 {
		t.Error("the tokens are not sealed with the new key")
	}
}
