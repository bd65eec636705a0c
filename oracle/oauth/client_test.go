package oauth_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"longhaul/oracle"
	"longhaul/oracle/oauth"
	"longhaul/oracle/sim/identity"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]struct {
		cfg  oauth.Config
		text string
	}{
		"no client":  {oauth.Config{DomainURL: "https://idcs-1.identity.oraclecloud.com"}, "client id"},
		"no address": {oauth.Config{ClientID: "web"}, "url"},
		"plain http": {oauth.Config{ClientID: "web", DomainURL: "http://idcs-1.identity.oraclecloud.com"}, "https"},
		"a password": {oauth.Config{ClientID: "web", DomainURL: "https://jo:s3cret@idcs-1.identity.oraclecloud.com"}, "password"},
	} {
		_, err := oauth.New(each.cfg)
		if err == nil || !strings.Contains(err.Error(), each.text) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, address := range []string{"https://idcs-1.identity.oraclecloud.com:443", "https://idcs-1.identity.oraclecloud.com/"} {
		if _, err := oauth.New(oauth.Config{ClientID: "web", DomainURL: address}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestDevice(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"mobile", "web"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			d := newDomain(t)
			c := d.client(id)
			device, err := c.StartDevice(t.Context(), scope+" offline_access")
			if err != nil {
				t.Fatal(err)
			}
			if device.Interval != 5*time.Second || device.ExpiresIn != 5*time.Minute || device.VerificationURI != d.url+"/ui/v1/device" ||
				device.VerificationURIComplete != "" || device.UserCode == "" {
				t.Errorf("device is %v, every %s, for %s", device, device.Interval, device.ExpiresIn)
			}
			if _, err := c.PollDevice(t.Context(), device.DeviceCode); !errors.Is(err, oauth.ErrPending) {
				t.Errorf("first poll: %v", err)
			}
			if _, err := c.PollDevice(t.Context(), device.DeviceCode); !errors.Is(err, oauth.ErrSlowDown) {
				t.Errorf("second poll at once: %v", err)
			}
			if err := d.ApproveDevice(device.UserCode, "jo@example.com"); err != nil {
				t.Fatal(err)
			}
			d.advance(10 * time.Second)
			token, err := c.PollDevice(t.Context(), device.DeviceCode)
			if err != nil {
				t.Fatal(err)
			}
			if user, ok := d.User(token.Access); !ok || user != "jo@example.com" || oauth.Who(token.Access) != user {
				t.Errorf("token is of %q, said to be of %q", user, oauth.Who(token.Access))
			}
			if token.Refresh == "" || !token.ExpiresAt.Equal(d.clock().Add(time.Hour)) || token.Scope != "" {
				t.Errorf("token: %+v", token)
			}
			_, err = c.PollDevice(t.Context(), device.DeviceCode)
			if e := asError(t, err); e.Code != "invalid_grant" || e.Temporary() || !strings.Contains(err.Error(), "start again") {
				t.Errorf("poll after the end: %v", err)
			}
		})
	}
}

func TestDeviceExtras(t *testing.T) {
	t.Parallel()
	d := newDomain(t, func(c *identity.Config) {
		c.DeviceExtras, c.DeviceInterval, c.DeviceLife = true, 7*time.Second, time.Minute
	})
	device, err := d.client("mobile").StartDevice(t.Context(), scope)
	if err != nil {
		t.Fatal(err)
	}
	if device.Interval != 7*time.Second || device.ExpiresIn != time.Minute || !strings.Contains(device.VerificationURIComplete, device.UserCode) {
		t.Errorf("device is %v, %q, every %s, for %s", device, device.VerificationURIComplete, device.Interval, device.ExpiresIn)
	}
}

func TestDeviceEnds(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	c := d.client("mobile")
	for code, end := range map[string]func(userCode string) error{
		"access_denied": d.DenyDevice,
		"expired_token": func(string) error { d.advance(5 * time.Minute); return nil },
	} {
		device, err := c.StartDevice(t.Context(), scope)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(device.UserCode); err != nil {
			t.Fatal(err)
		}
		_, err = c.PollDevice(t.Context(), device.DeviceCode)
		if e := asError(t, err); e.Code != code || e.Temporary() || e.MayHaveHappened || !strings.Contains(e.Advice, "start again") {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestDeviceAnswersThatAreNoGood(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]map[string]any{
		"no code":     {"user_code": "ABCD", "verification_uri": "https://a.example/"},
		"a script":    {"device_code": "x", "user_code": "ABCD", "verification_uri": "javascript:alert(1)"},
		"no address":  {"device_code": "x", "user_code": "ABCD"},
		"a user name": {"device_code": "x", "user_code": "ABCD", "verification_uri": "https://a@b.example/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := answering(t, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, answer) })
			_, err := c.StartDevice(t.Context(), scope)
			if e := asError(t, err); e.Temporary() || oracle.KindOf(err) != oracle.KindProtocol {
				t.Errorf("%v", err)
			}
		})
	}
	c := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"device_code": "x", "user_code": "ABCD", "verification_url": "https://a.example/", "verification_uri_complete": "data:x", "interval": "9",
		})
	})
	device, err := c.StartDevice(t.Context(), scope)
	if err != nil || device.VerificationURIComplete != "" || device.VerificationURI == "" || device.Interval != 9*time.Second {
		t.Errorf("%v, %v", device, err)
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	c := d.client("web")
	first := d.consent(c)
	second, err := c.Refresh(t.Context(), first.Refresh, "")
	if err != nil {
		t.Fatal(err)
	}
	if user, ok := d.User(second.Access); !ok || user != "jo@example.com" || second.Refresh == "" || second.Refresh == first.Refresh {
		t.Errorf("refreshed: of %q, %v", user, second)
	}
	d.advance(8 * 24 * time.Hour)
	_, err = c.Refresh(t.Context(), second.Refresh, scope)
	if e := asError(t, err); e.Code != "invalid_grant" || e.Temporary() || e.MayHaveHappened ||
		!strings.Contains(err.Error(), "7 days") || !strings.Contains(err.Error(), "connect again") {
		t.Errorf("expired: %v", err)
	}
	_, err = c.Refresh(t.Context(), first.Refresh, "")
	if e := asError(t, err); e.Code != "invalid_grant" || !strings.Contains(e.Advice, "used before") {
		t.Errorf("consumed: %v", err)
	}
	_, err = c.Refresh(t.Context(), second.Refresh, "")
	if e := asError(t, err); e.Code != "invalid_grant" || !strings.Contains(e.Advice, "no longer accepts") {
		t.Errorf("revoked: %v", err)
	}
}

// A refresh whose answer is lost is not sent again, and says what it may have done.
func TestRefreshIsSentOnce(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]struct {
		fault           identity.Fault
		temporary, may  bool
		retryAfter      time.Duration
		good            bool // the token is good afterwards
		text            string
		unavailableKind bool
	}{
		"lost":        {identity.Fault{Lost: true}, true, true, 0, false, "may have been used up", true},
		"429":         {identity.Fault{Status: 429, RetryAfter: 9 * time.Second}, true, false, 9 * time.Second, true, "limit of requests", true},
		"429 without": {identity.Fault{Status: 429}, true, false, 0, true, "limit of requests", true},
		"503":         {identity.Fault{Status: 503}, true, false, 0, true, "503", true},
		"502":         {identity.Fault{Status: 502}, true, true, 0, true, "may have been used up", true},
		"500":         {identity.Fault{Status: 500}, true, true, 0, true, "may have been used up", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDomain(t)
			c := d.client("web")
			token := d.consent(c)
			before := d.asked()
			each.fault.Path = tokenPath
			d.fault(each.fault)
			_, err := c.Refresh(t.Context(), token.Refresh, "")
			e := asError(t, err)
			if e.Temporary() != each.temporary || e.MayHaveHappened != each.may || oracle.MayHaveHappened(err) != each.may ||
				e.RetryAfter != each.retryAfter || oracle.IsUnavailable(err) != each.unavailableKind || !strings.Contains(err.Error(), each.text) {
				t.Errorf("%v: temporary %v, may have happened %v, retry after %s", err, e.Temporary(), e.MayHaveHappened, e.RetryAfter)
			}
			if sent := d.asked() - before; sent != 1 {
				t.Errorf("sent %d times", sent)
			}
			if _, err := c.Refresh(t.Context(), token.Refresh, ""); (err == nil) != each.good {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestRefreshWithoutConnection(t *testing.T) {
	t.Parallel()
	c := newClient(t, oauth.Config{DomainURL: "http://127.0.0.1:1", ClientID: "web", ClientSecret: clientKey})
	_, err := c.Refresh(t.Context(), "AgAsecret", "")
	if e := asError(t, err); !e.Temporary() || e.MayHaveHappened || e.Status != 0 {
		t.Errorf("%v: temporary %v, may have happened %v", err, e.Temporary(), e.MayHaveHappened)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Refresh(ctx, "AgAsecret", "")
	if e := asError(t, err); e.Temporary() || e.MayHaveHappened || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	start := func(id, scope string) error { _, err := d.client(id).StartDevice(t.Context(), scope); return err }
	credentials := func(id, secret, scope string) error {
		c := newClient(t, oauth.Config{DomainURL: d.url, ClientID: id, ClientSecret: secret})
		_, err := c.ClientCredentials(t.Context(), scope)
		return err
	}
	for name, each := range map[string]struct {
		err    error
		status int
		code   string
		text   string
	}{
		"refresh is off":  {start("mobile", "urn:strict"+identity.ConsumerScope+" offline_access"), 400, "unauthorized_client", `"Allow token refresh"`},
		"unknown scope":   {start("mobile", "urn:other:all"), 400, "invalid_scope", "copy it"},
		"unknown client":  {start("nobody", scope), 401, "invalid_client", "check client id and client secret"},
		"wrong secret":    {credentials("web", "idcscs-wrong", scope), 401, "invalid_client", "check client id and client secret"},
		"public client":   {credentials("mobile", "", scope), 400, "unauthorized_client", "grant"},
		"assertion alias": {assert(t, d.client("service"), "cert2"), 401, "invalid_client", "alias"},
		"assertion, user": {assert(t, d.client("web"), "cert2"), 400, "invalid_grant", "certificate"},
	} {
		e := asError(t, each.err)
		if e.Code != each.code || e.Status != each.status || e.Temporary() || e.MayHaveHappened || !strings.Contains(each.err.Error(), each.text) ||
			strings.Contains(each.err.Error(), "idcscs") {
			t.Errorf("%s: %v (%s, %d)", name, each.err, e.Code, e.Status)
		}
	}
}

func assert(t *testing.T, c *oauth.Client, alias string) error {
	t.Helper()
	_, err := c.UserAssertion(t.Context(), "jo@example.com", key(), alias, scope)
	return err
}

func TestUserAssertion(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	for _, id := range []string{"web", "service"} {
		for range 2 { // each assertion is another
			token, err := d.client(id).UserAssertion(t.Context(), "jo@example.com", key(), "cert1", scope)
			if err != nil {
				t.Fatalf("%s: %v", id, err)
			}
			if user, ok := d.User(token.Access); !ok || user != "jo@example.com" {
				t.Errorf("%s: token is of %q", id, user)
			}
		}
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	d := newDomain(t, func(c *identity.Config) { c.ExpiresIn = 36004 * time.Second })
	token, err := d.client("web").ClientCredentials(t.Context(), scope)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.User(token.Access); ok || oauth.Who(token.Access) != "" || token.Refresh != "" || !token.ExpiresAt.Equal(d.clock().Add(36004*time.Second)) {
		t.Errorf("token of %q: %v", oauth.Who(token.Access), token)
	}
}

func TestAnswersThatAreNoGood(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]struct {
		handler   http.HandlerFunc
		temporary bool
		may       bool
	}{
		"no token": {func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, 200, map[string]any{"token_type": "Bearer"})
		}, false, true},
		"another type": {func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, 200, map[string]any{"access_token": "x", "token_type": "mac"})
		}, false, true},
		"null": {func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, nil) }, false, true},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"access_token":"`))
			for range 10 << 10 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<10))
			}
		}, false, true},
		"endless refusal": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			for range 1 << 10 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<10))
			}
		}, false, false},
		"a page": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte("<html><title>No</title>"))
		}, false, false},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://thief.example/", http.StatusTemporaryRedirect)
		}, false, true},
		"silent error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := answering(t, each.handler).Refresh(t.Context(), "AgAsecret", "")
			if e := asError(t, err); e.Temporary() != each.temporary || e.MayHaveHappened != each.may || len(err.Error()) > 4000 {
				t.Errorf("%v: temporary %v, may have happened %v", err, e.Temporary(), e.MayHaveHappened)
			}
		})
	}
}

// A life that is missing, text, or nonsense does not make a token last.
func TestLife(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]struct {
		expiresIn any
		want      time.Duration
	}{
		"number": {120, 2 * time.Minute}, "text": {"120", 2 * time.Minute}, "absent": {nil, 5 * time.Minute},
		"negative": {-1, 5 * time.Minute}, "for ever": {int64(1) << 60, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				writeJSON(w, 200, map[string]any{"access_token": "x", "token_type": "bearer", "expires_in": each.expiresIn, "scope": "a b"})
			})
			before := time.Now()
			token, err := c.ClientCredentials(t.Context(), scope)
			if err != nil {
				t.Fatal(err)
			}
			if life := token.ExpiresAt.Sub(before); life < each.want || life > each.want+time.Minute || token.Scope != "a b" {
				t.Errorf("life is %s, scope %q", life, token.Scope)
			}
		})
	}
}

// Nothing secret is in errors, logs, or what printing a value shows, even when
// the domain repeats what it was sent.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d := newDomain(t)
	cfg := oauth.Config{DomainURL: d.url, ClientID: "web", ClientSecret: clientKey, Logger: logger, Now: d.clock}
	c := newClient(t, cfg)
	device, err := c.StartDevice(t.Context(), scope+" offline_access")
	if err != nil {
		t.Fatal(err)
	}
	token := d.consent(c)
	echo := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		_, secret, _ := r.BasicAuth()
		writeJSON(w, 400, map[string]any{"error": "invalid_grant", "error_description": fmt.Sprint("no ", secret, r.PostForm)})
	})
	_, failure := echo.Refresh(t.Context(), token.Refresh, "")
	_, other := c.Refresh(t.Context(), token.Refresh+"x", "")
	logger.InfoContext(t.Context(), "shown", "token", token, "value", *token, "device", device, "config", cfg, "err", failure, "other", other)
	text := log.String() + fmt.Sprintf("%v %+v %#v %v %+v %#v", token, *token, *token, device, *device, *device) +
		fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg) + failure.Error() + fmt.Sprintf("%+v", errors.Unwrap(failure))
	for name, secret := range map[string]string{
		"access token": token.Access, "refresh token": token.Refresh, "device code": device.DeviceCode, "client secret": clientKey,
		"basic": base64.StdEncoding.EncodeToString([]byte("web:" + clientKey)),
	} {
		if strings.Contains(text, secret) {
			t.Errorf("the %s is in\n%s", name, text)
		}
	}
	if !strings.Contains(failure.Error(), "no …") {
		t.Errorf("the echo is %v", failure)
	}
}

func TestWho(t *testing.T) {
	t.Parallel()
	jwt := func(payload string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".AAAA"
	}
	for token, want := range map[string]string{
		"": "", "opaque": "", "a.%%%.c": "", jwt(`[]`): "", jwt(`{"sub":1}`): "", jwt(`{}`): "",
		jwt(`{"sub":"jo@example.com","client_id":"web"}`): "jo@example.com",
		jwt(`{"sub":"web","client_id":"web"}`):            "",
		jwt(`{"sub":"jo\n[31m","client_id":"web"}`):       "jo [31m",
	} {
		if got := oauth.Who(token); got != want {
			t.Errorf("%q is of %q, want %q", token, got, want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, text := range []string{
		`{"access_token":"x","token_type":"Bearer","expires_in":"3600"}`, `{"error":"invalid_grant","error_description":["a"]}`, `null`, `[]`, "\ufeff{}",
	} {
		f.Add(200, text)
		f.Add(400, text)
	}
	f.Fuzz(func(t *testing.T, status int, text string) {
		if status < 200 || status > 599 {
			return
		}
		c, err := oauth.New(oauth.Config{DomainURL: "http://127.0.0.1:1", ClientID: "web", Transport: canned{status, text}})
		if err != nil {
			t.Fatal(err)
		}
		token, err := c.Refresh(t.Context(), "AgAsecret", "")
		if (token == nil) == (err == nil) || token != nil && token.Access == "" {
			t.Errorf("%v, %v", token, err)
		}
		if e := (*oauth.Error)(nil); err != nil && (!errors.As(err, &e) || e.Temporary() && e.Status/100 == 3) {
			t.Errorf("%v", err)
		}
		oauth.Who(text)
	})
}
