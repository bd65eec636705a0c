package sso_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longhaul/api/sso"
	"longhaul/api/sso/ssotest"
)

const callback = "http://127.0.0.1:1/sign-in/callback"

// bothProviders are not ours. Most tests here run against both.
var bothProviders = []struct {
	name    string
	start   func(testing.TB) *ssotest.Provider
	subject string // of Jo
}{
	{name: "zitadel", start: ssotest.Zitadel, subject: "id-jo@example.com"},
	{name: "node", start: ssotest.Node, subject: "jo@example.com"},
}

// session is a provider and ours that talks to it.
type session struct {
	*sso.Provider

	at *ssotest.Provider
}

func connect(t *testing.T, at *ssotest.Provider, change func(*sso.Config)) session {
	t.Helper()
	at.Register(t, ssotest.Application{RedirectURL: callback, PostLogoutURL: "http://127.0.0.1:1/"})
	config := sso.Config{Issuer: at.Issuer, ClientID: at.ClientID, ClientSecret: at.ClientSecret, Audience: at.Audience}
	if change != nil {
		change(&config)
	}
	p, err := sso.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return session{Provider: p, at: at}
}

// back signs in at the provider, up to the redirect.
func (s session) back(t *testing.T, who ssotest.Account) (*sso.Flow, url.Values) {
	t.Helper()
	address, flow, err := s.Begin(t.Context(), callback)
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	back := ssotest.NewBrowser(t).SignIn(t, address, who)
	if got := back.Scheme + "://" + back.Host + back.Path; got != callback {
		t.Fatalf("the provider sends the browser to %s", back)
	}
	return flow, back.Query()
}

func (s session) signIn(t *testing.T, who ssotest.Account) (*sso.Person, error) {
	t.Helper()
	flow, query := s.back(t, who)
	return s.Finish(t.Context(), throughCookie(t, flow), query)
}

// throughCookie is what keeping a flow in a cookie does to it.
func throughCookie(t *testing.T, flow *sso.Flow) *sso.Flow {
	t.Helper()
	raw, err := json.Marshal(flow)
	if err != nil {
		t.Fatal(err)
	}
	kept := new(sso.Flow)
	if err := json.Unmarshal(raw, kept); err != nil {
		t.Fatal(err)
	}
	return kept
}

// wantRefusal fails the test unless err is a refusal with the code, and returns what it
// says to the person.
func wantRefusal(t *testing.T, err error, code string) (message string) {
	t.Helper()
	refusal, ok := errors.AsType[*sso.Refusal](err)
	if !ok || refusal.Code != code {
		t.Fatalf("error = %v, want a refusal %s", err, code)
	}
	if errors.Is(err, sso.ErrUnavailable) {
		t.Errorf("the refusal %v is also ErrUnavailable", err)
	}
	return refusal.Message
}

// eventually waits for what must not fail for long: the library's key set gives the old
// answer again to who asks in the instant after it came.
func eventually(t *testing.T, do func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		if err = do(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, sso.ErrUnavailable) {
		t.Fatalf("error = %v, want ErrUnavailable", err)
	}
}

func TestRealProviders(t *testing.T) {
	t.Parallel()
	for _, r := range bothProviders {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			at := r.start(t)
			s := connect(t, at, nil)

			jo, err := s.signIn(t, ssotest.Jo())
			if err != nil {
				t.Fatal(err)
			}
			idToken := jo.IDToken
			jo.IDToken = ""
			want := &sso.Person{
				Issuer: at.Issuer, Subject: r.subject, Login: "jo@example.com", Name: "Jo Doe", Email: "Jo@Example.com",
				Groups: []string{"finance", "planning users"}, GroupsKnown: true,
			}
			if diff := cmp.Diff(want, jo); diff != "" {
				t.Errorf("person (-want +got):\n%s", diff)
			}

			t.Run("another state", func(t *testing.T) {
				flow, query := s.back(t, ssotest.Jo())
				query.Set("state", "x"+query.Get("state")[1:])
				_, err := s.Finish(t.Context(), flow, query)
				wantRefusal(t, err, sso.CodeStartAgain)
			})
			t.Run("another browser", func(t *testing.T) {
				_, query := s.back(t, ssotest.Jo())
				_, err := s.Finish(t.Context(), nil, query)
				wantRefusal(t, err, sso.CodeStartAgain)
			})
			t.Run("another provider's answer", func(t *testing.T) {
				flow, query := s.back(t, ssotest.Jo())
				query.Set("iss", "https://login.example.com")
				_, err := s.Finish(t.Context(), flow, query)
				wantRefusal(t, err, sso.CodeStartAgain)
			})
			t.Run("code used twice", func(t *testing.T) {
				flow, query := s.back(t, ssotest.Jo())
				if _, err := s.Finish(t.Context(), flow, query); err != nil {
					t.Fatal(err)
				}
				_, err := s.Finish(t.Context(), flow, query)
				wantRefusal(t, err, sso.CodeStartAgain)
			})
			t.Run("another verifier", func(t *testing.T) {
				flow, query := s.back(t, ssotest.Jo())
				flow.Verifier = "0123456789012345678901234567890123456789012345"
				_, err := s.Finish(t.Context(), flow, query)
				wantRefusal(t, err, sso.CodeStartAgain)
			})
			t.Run("another nonce", func(t *testing.T) {
				flow, query := s.back(t, ssotest.Jo())
				flow.Nonce = "another"
				_, err := s.Finish(t.Context(), flow, query)
				wantRefusal(t, err, sso.CodeInvalidToken)
			})
			for _, off := range []time.Duration{50 * second, -50 * second, 2 * time.Hour, -2 * time.Hour} {
				t.Run("our clock off by "+off.String(), func(t *testing.T) {
					s := connect(t, at, func(c *sso.Config) { c.Now = func() time.Time { return time.Now().Add(off) } })
					_, err := s.signIn(t, ssotest.Jo())
					if off.Abs() < sso.Leeway && err != nil {
						t.Error(err)
					} else if off.Abs() > sso.Leeway {
						if message := wantRefusal(t, err, sso.CodeInvalidToken); !containsAll(message, "clock") {
							t.Errorf("message = %q", message)
						}
					}
				})
			}
			t.Run("sign out there", func(t *testing.T) {
				out := s.LogoutURL(t.Context(), idToken, "http://127.0.0.1:1/")
				if got := ssotest.NewBrowser(t).SignIn(t, out, ssotest.Jo()); got.String() != "http://127.0.0.1:1/" {
					t.Errorf("after signing out the browser is sent to %s", got)
				}
			})
		})
	}
}

func TestRealProvidersWrongSecret(t *testing.T) {
	t.Parallel()
	for _, r := range bothProviders {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			s := connect(t, r.start(t), func(c *sso.Config) { c.ClientSecret = "not-the-secret" })
			_, err := s.signIn(t, ssotest.Jo())
			wantRefusal(t, err, sso.CodeSetup)
		})
	}
}

// TestRealProvidersChange changes the people, the keys and the provider itself while
// ours runs on.
func TestRealProvidersChange(t *testing.T) {
	t.Parallel()
	for _, r := range bothProviders {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			at := r.start(t)
			var time clock
			s := connect(t, at, func(c *sso.Config) {
				c.AllowedGroups, c.AllowedDomains, c.Now = []string{"finance"}, []string{"EXAMPLE.com"}, time.now
			})
			signIn := func(who ssotest.Account) *sso.Person {
				t.Helper()
				var person *sso.Person
				eventually(t, func() (err error) {
					person, err = s.signIn(t, who)
					return err
				})
				return person
			}
			signIn(ssotest.Jo())

			moved := ssotest.Jo()
			moved.Groups = []string{"sales", "finance"}
			at.Put(t, moved)
			if got := signIn(moved).Groups; !cmp.Equal(got, moved.Groups) {
				t.Errorf("groups at the next sign-in are %q", got)
			}
			moved.Groups = []string{"sales"}
			at.Put(t, moved)
			_, err := s.signIn(t, moved)
			wantRefusal(t, err, sso.CodeNotAllowed)
			moved.Groups = nil
			at.Put(t, moved)
			_, err = s.signIn(t, moved)
			wantRefusal(t, err, sso.CodeNotAllowed)

			stranger := ssotest.Account{Login: "kim@other.example", Password: "secret", Email: "kim@other.example", Groups: []string{"finance"}}
			at.Put(t, stranger)
			_, err = s.signIn(t, stranger)
			wantRefusal(t, err, sso.CodeNotAllowed)
			at.Put(t, ssotest.Jo())

			for _, kid := range []string{"", "constant", "constant"} {
				at.RotateKeys(t, kid)
				time.advance(2 * second) // the least between two readings of keys
				signIn(ssotest.Jo())
			}

			flow, query := s.back(t, ssotest.Jo())
			at.Stop(t)
			_, err = s.Finish(t.Context(), flow, query)
			if !errors.Is(err, sso.ErrUnavailable) {
				t.Errorf("provider down: %v", err)
			}
			late := connectionTo(t, at)
			if _, _, err := late.Begin(t.Context(), callback); !errors.Is(err, sso.ErrUnavailable) {
				t.Errorf("begin while the provider is down: %v", err)
			}
			at.Start(t) // with new keys
			time.advance(2 * second)
			signIn(ssotest.Jo())
		})
	}
}

const second = time.Second

func connectionTo(t *testing.T, at *ssotest.Provider) *sso.Provider {
	t.Helper()
	p, err := sso.New(sso.Config{Issuer: at.Issuer, ClientID: at.ClientID, ClientSecret: at.ClientSecret})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRealAccessTokens(t *testing.T) {
	t.Parallel()
	for _, r := range bothProviders {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			at := r.start(t)
			var time clock
			s := connect(t, at, func(c *sso.Config) { c.Now = time.now })
			access, id := at.Tokens(t, ssotest.Jo())
			who, expires, err := s.AccessToken(t.Context(), access)
			if err != nil {
				t.Fatal(err)
			}
			want := &sso.Person{
				Issuer: at.Issuer, Subject: r.subject, Login: who.Login, Name: who.Name, Email: who.Email,
				Groups: []string{"finance", "planning users"}, GroupsKnown: true,
			}
			if diff := cmp.Diff(want, who); diff != "" || who.Login != "jo@example.com" {
				t.Errorf("person %q (-want +got):\n%s", who.Login, diff)
			}
			if left := expires.Sub(time.now()); left <= 0 || left > 2*3600*second {
				t.Errorf("expires in %s", left)
			}

			_, _, err = s.AccessToken(t.Context(), id)
			wantRefusal(t, err, sso.CodeInvalidToken)

			at.RotateKeys(t, "")
			_, _, err = s.AccessToken(t.Context(), access) // known keys serve on
			if err != nil {
				t.Error(err)
			}
			access, _ = at.Tokens(t, ssotest.Jo())
			_, _, err = s.AccessToken(t.Context(), access)
			wantRefusal(t, err, sso.CodeInvalidToken) // too soon to read the keys again
			time.advance(11 * second)
			eventually(t, func() error {
				_, _, err := s.AccessToken(t.Context(), access)
				return err
			})
			time.advance(3 * 3600 * second)
			_, _, err = s.AccessToken(t.Context(), access)
			wantRefusal(t, err, sso.CodeInvalidToken)

			other := connect(t, at, func(c *sso.Config) { c.Audience = "https://other.example.com" })
			_, _, err = other.AccessToken(t.Context(), access)
			wantRefusal(t, err, sso.CodeInvalidToken)
			none := connect(t, at, func(c *sso.Config) { c.Audience = "" })
			_, _, err = none.AccessToken(t.Context(), access)
			wantRefusal(t, err, sso.CodeInvalidToken)
		})
	}
}

// TestNodeAlone is what only this provider does.
func TestNodeAlone(t *testing.T) {
	t.Parallel()
	at := ssotest.Node(t)
	received := make(chan string, 2)
	logout := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(raw))
		received <- form.Get("logout_token")
	}))
	t.Cleanup(logout.Close)
	s := connect(t, at, nil)
	at.Register(t, ssotest.Application{RedirectURL: callback, PostLogoutURL: callback, BackChannelLogoutURL: logout.URL})

	t.Run("a program's token", func(t *testing.T) {
		_, _, err := s.AccessToken(t.Context(), at.ProgramToken(t))
		if message := wantRefusal(t, err, sso.CodeInvalidToken); !containsAll(message, "API token") {
			t.Errorf("message = %q", message)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		address, flow, err := s.Begin(t.Context(), callback)
		if err != nil {
			t.Fatal(err)
		}
		back := ssotest.NewBrowser(t).Cancel(t, address)
		_, err = s.Finish(t.Context(), flow, back.Query())
		wantRefusal(t, err, sso.CodeDenied)
	})
	t.Run("an address that is not verified", func(t *testing.T) {
		kim := ssotest.Account{Login: "Kim", Password: "x", Email: "boss@example.com", Unverified: true}
		at.Put(t, kim)
		who, err := s.signIn(t, kim)
		if err != nil {
			t.Fatal(err)
		}
		if who.Login != "kim" || who.Email != "" || who.GroupsKnown {
			t.Errorf("person = %+v", who)
		}
	})
	t.Run("back-channel logout", func(t *testing.T) {
		browser := ssotest.NewBrowser(t)
		address, flow, err := s.Begin(t.Context(), callback)
		if err != nil {
			t.Fatal(err)
		}
		jo, err := s.Finish(t.Context(), flow, browser.SignIn(t, address, ssotest.Jo()).Query())
		if err != nil {
			t.Fatal(err)
		}
		browser.SignIn(t, s.LogoutURL(t.Context(), jo.IDToken, callback), ssotest.Jo())
		raw := <-received // it is sent before the browser is sent on
		got, err := s.LogoutToken(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		if got.Issuer != jo.Issuer || got.Subject != jo.Subject || got.SID != jo.SID || jo.SID == "" || got.ID == "" || got.ExpiresAt.Before(time.Now()) {
			t.Errorf("logout = %+v of the session %q of %q", got, jo.SID, jo.Subject)
		}
		_, err = s.LogoutToken(t.Context(), jo.IDToken)
		wantRefusal(t, err, sso.CodeInvalidToken)
		_, _, err = s.AccessToken(t.Context(), raw)
		wantRefusal(t, err, sso.CodeInvalidToken)
	})
}
