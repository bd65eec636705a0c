package api_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"longhaul/api"
	"longhaul/api/sso"
	"longhaul/storage"
)

// behindProxy lets a test's requests come from any address.
func behindProxy(c *config) {
	c.idle = true
	c.api.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

// untilLimited asks until it is refused for asking too much, and returns that answer and how many
// were given before.
func untilLimited(t *testing.T, ask func(i int) *answer) (a *answer, before int) {
	t.Helper()
	for i := range 60 {
		if a = ask(i); a.status == http.StatusTooManyRequests {
			wantRetryAfter(t, a)
			return a, i
		}
	}
	t.Fatalf("60 requests, and none was refused: %s", a.asked)
	return nil, 0
}

func wantRetryAfter(t *testing.T, a *answer) {
	t.Helper()
	a.problem(http.StatusTooManyRequests)
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 60 {
		t.Errorf("%s: Retry-After is %q", a.asked, a.header.Get("Retry-After"))
	}
}

func TestNeighbourhood(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::1": "2001:db8:1:2::/64", "2001:db8:1:3::1": "2001:db8:1:3::/64",
		"fe80::1%eth0": "fe80::/64", "::1": "::/64", "": "", "pipe": "",
	}
	got := make(map[string]string)
	for address := range want {
		got[address] = api.NeighbourhoodForTest(address)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAddressLimit(t *testing.T) {
	t.Parallel()
	s := newServer(t, behindProxy, func(c *config) { c.api.AddressRate = 1 })
	from := func(address, path string) *answer { return s.get(path, "X-Forwarded-For", address) }
	a, before := untilLimited(t, func(int) *answer { return from("192.0.2.1", "/api/v1/kinds") })
	if before < 5 || !strings.Contains(string(a.body), "your address") {
		t.Errorf("refused after %d: %s", before, a.body)
	}
	from("192.0.2.2", "/api/v1/kinds").want(http.StatusOK)
	from("192.0.2.1", "/healthz").want(http.StatusOK)
	page := from("192.0.2.3", "/sign-in").want(http.StatusOK).body
	_, script, _ := strings.Cut(string(page), `href="/static/`)
	script, _, _ = strings.Cut("/static/"+script, `"`)
	for range 20 {
		from("192.0.2.1", script).want(http.StatusOK)
	}
	// Whoever has an IPv6 address has as many as a /64 holds.
	untilLimited(t, func(i int) *answer { return from(fmt.Sprintf("2001:db8::%x", i+1), "/readyz") })
	from("2001:db8:0:1::1", "/api/v1/kinds").want(http.StatusOK)
	if text := string(from("192.0.2.4", "/metrics").body); !strings.Contains(text, `longhaul_limited_total{limit="address"}`) {
		t.Error("/metrics does not count what was refused")
	}
}

// A right credential that was not seen before is not looked at where too many wrong ones came from;
// one that was, is.
func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	s := newServer(t, behindProxy, func(c *config) { c.api.AddressRate = 1000 })
	jo, kim := s.person("jo@example.com"), s.person("kim@example.com")
	ask := func(token, from string) *answer {
		return s.get("/api/v1/me", "Authorization", "Bearer "+token, "X-Forwarded-For", from)
	}
	const here, elsewhere = "192.0.2.1", "192.0.2.2"
	ask(jo.token, here).want(http.StatusOK)
	for range 5 { // one wrong credential counts once for the address
		ask("lh_mistyped", here).want(http.StatusUnauthorized)
	}
	a, before := untilLimited(t, func(int) *answer { return ask(api.NewTokenForTest(), here) })
	if before < 9 || before > 12 || !strings.Contains(string(a.body), "were wrong") {
		t.Errorf("refused after %d: %s", before, a.body)
	}
	refused := s.count(`SELECT count(*) FROM audit WHERE action = 'sign-in.refuse'`)
	wantRetryAfter(t, ask(kim.token, here))
	ask(kim.token, elsewhere).want(http.StatusOK)
	ask(kim.token, here).want(http.StatusOK)
	ask(jo.token, here).want(http.StatusOK)
	s.get("/sign-in", "Authorization", "", "X-Forwarded-For", here).want(http.StatusOK)
	for range 5 {
		ask(api.NewTokenForTest(), here)
	}
	if n := s.count(`SELECT count(*) FROM audit WHERE action = 'sign-in.refuse'`); n > refused+1 {
		t.Errorf("%d more refusals were noted for credentials that were not to be looked at", n-refused)
	}
	// A wrong credential that is sent on and on has to wait too.
	untilLimited(t, func(int) *answer { return ask("lh_forgotten-script", elsewhere) })
	ask(api.NewTokenForTest(), elsewhere).want(http.StatusUnauthorized)

	// What was right and is not any more counts as any other.
	s.exec(`DELETE FROM tokens WHERE person_id = $1`, jo.id)
	s.engine.AccessChanged()
	_, before = untilLimited(t, func(int) *answer { return ask(jo.token, here) })
	if before < 10 || before > 12 {
		t.Errorf("a revoked token is refused after %d", before)
	}
}

func (a *answer) wantOneOf(statuses ...int) *answer {
	a.t.Helper()
	if !slices.Contains(statuses, a.status) {
		a.t.Fatalf("%s: %d, want one of %v: %s", a.asked, a.status, statuses, a.body)
	}
	return a
}

// Every way of coming in is limited by its own failures.
func TestWrongSignIns(t *testing.T) {
	t.Parallel()
	stranger, err := sso.New(sso.Config{Issuer: "http://localhost:1", ClientID: "longhaul"})
	must(t, err)
	provided := func(c *config) { c.api.Provider, c.api.Issuer, c.api.AdminToken = stranger, "http://localhost:1", "" }
	for name, test := range map[string]struct {
		change func(*config)
		ask    func(s *server, i int) *answer
		wrong  int
	}{
		"typed token": {nil, func(s *server, i int) *answer {
			return s.do(http.MethodPost, "/sign-in", strings.NewReader("token=wrong"+strconv.Itoa(i)),
				"Content-Type", "application/x-www-form-urlencoded", "Authorization", "")
		}, http.StatusUnauthorized},
		"linked token": {nil, func(s *server, i int) *answer {
			return s.get("/sign-in?token=wrong"+strconv.Itoa(i), "Authorization", "")
		}, http.StatusUnauthorized},
		"cookie": {nil, func(s *server, _ int) *answer {
			return s.get("/api/v1/me", "Authorization", "", "Cookie", "longhaul="+uuid.NewString())
		}, http.StatusUnauthorized},
		"callback": {provided, func(s *server, i int) *answer {
			return s.get("/sign-in/callback?state=x&code="+strconv.Itoa(i), "Authorization", "")
		}, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(c *config) { c.idle, c.api.AddressRate = true, 1000 }, func(c *config) {
				if test.change != nil {
					test.change(c)
				}
			})
			a, before := untilLimited(t, func(i int) *answer { return test.ask(s, i).wantOneOf(test.wrong, http.StatusTooManyRequests) })
			if before < 10 || before > 13 {
				t.Errorf("refused after %d: %s", before, a.body)
			}
		})
	}
}

func TestCallerLimit(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *config) { c.idle, c.api.CallerRate = true, 1 })
	jo := s.person("jo@example.com")
	second := s.tokenOf(jo.id, storage.View)
	me := func(token string) *answer { return s.get("/api/v1/me", "Authorization", "Bearer "+token) }
	a, before := untilLimited(t, func(int) *answer { return me(jo.token) })
	if before < 5 || !strings.Contains(string(a.body), "1 times a second") {
		t.Errorf("refused after %d: %s", before, a.body)
	}
	me(second).want(http.StatusOK) // each token has its own limit
	// All browsers of a person have one together, and are told on a page.
	cookies := []string{"longhaul=" + s.sessionOf(jo.id), "longhaul=" + s.sessionOf(jo.id)}
	for i := range 60 {
		resp := s.open(http.MethodGet, "/apps", nil, "Authorization", "", "Cookie", cookies[i%2], "Accept", "text/html")
		must(t, resp.Body.Close())
		if resp.StatusCode == http.StatusTooManyRequests {
			if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/html") || resp.Header.Get("Retry-After") == "" || i < 5 {
				t.Errorf("refused after %d: %v", i, resp.Header)
			}
			return
		}
	}
	t.Error("a browser was not refused")
}

func TestWaitingLimit(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *config) { c.api.MaxWaiting = 2 })
	task := s.waiting()
	came := s.hold(task.ID, etag(&task))
	stream := s.open(http.MethodGet, taskPath(task.ID)+"/events", nil)
	defer stream.Body.Close()
	held := taskPath(task.ID) + "?" + url.Values{"wait": {"60"}}.Encode()
	s.eventually("two wait", func() bool {
		resp := s.open(http.MethodGet, taskPath(task.ID)+"/events", nil)
		must(t, resp.Body.Close())
		return resp.StatusCode == http.StatusTooManyRequests
	})
	a := s.get(held, "If-None-Match", etag(&task))
	wantRetryAfter(t, a)
	if !strings.Contains(string(a.body), "2 of your requests wait") {
		t.Errorf("%s", a.body)
	}
	s.get(taskPath(task.ID)).want(http.StatusOK)
	s.get(taskPath(task.ID) + "?wait=0").want(http.StatusOK)
	jo := s.person("jo@example.com")
	s.member("busy", "person", jo.login, "viewer", false)
	s.get(taskPath(task.ID)+"?wait=1", "Authorization", "Bearer "+jo.token, "If-None-Match", etag(&task)).want(http.StatusNotModified)

	must(t, stream.Body.Close())
	s.eventually("the stream's place is free", func() bool {
		return s.get(taskPath(task.ID)+"?wait=1", "If-None-Match", etag(&task)).status == http.StatusNotModified
	})
	s.act(task.ID, "cancel").want(http.StatusAccepted)
	s.came(came)
}
