package identity_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"longhaul/oracle/sim/identity"
)

const (
	devicePath = "/oauth2/v1/device"
	devicePage = "/ui/v1/device"
)

func (d *domain) startDevice(client string, pairs ...string) answer {
	d.t.Helper()
	return d.post(devicePath, client, append([]string{"response_type", "device_code", "scope", epmScope + " offline_access"}, pairs...)...)
}

func (d *domain) poll(client, deviceCode string) answer {
	d.t.Helper()
	return d.post(tokenPath, client, "grant_type", identity.GrantDeviceCode, "device_code", deviceCode)
}

func TestDevice(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	started := d.startDevice("mobile")
	d.want(started, http.StatusOK, "", "")
	if !regexp.MustCompile(`^[B-Z]{4}-[B-Z]{4}$`).MatchString(started.text("user_code")) || started.body["expires_in"] != 300.0 ||
		started.text("verification_uri") != d.url+devicePage || started.body["interval"] != nil || started.body["verification_uri_complete"] != nil {
		t.Errorf("started with %s", started.raw)
	}
	code := started.text("device_code")
	d.want(d.poll("mobile", code), http.StatusBadRequest, "authorization_pending", "")
	d.advance(4 * time.Second)
	d.want(d.poll("mobile", code), http.StatusBadRequest, "slow_down", "")
	d.advance(9 * time.Second)
	d.want(d.poll("mobile", code), http.StatusBadRequest, "slow_down", "")
	d.advance(15 * time.Second)
	d.want(d.poll("mobile", code), http.StatusBadRequest, "authorization_pending", "")
	d.want(d.poll(webClient, code), http.StatusBadRequest, "invalid_grant", "")
	if err := d.ApproveDevice(strings.ToLower(started.text("user_code")), "jo@example.com"); err != nil {
		t.Fatal(err)
	}
	d.advance(15 * time.Second)
	got := d.poll("mobile", code)
	d.want(got, http.StatusOK, "", "")
	if user, ok := d.User(got.text("access_token")); !ok || user != "jo@example.com" || got.text("refresh_token") == "" {
		t.Errorf("token is %s's: %s", user, got.raw)
	}
	d.want(d.poll("mobile", code), http.StatusBadRequest, "invalid_grant", "")
}

func TestDeviceIsDeniedOrExpires(t *testing.T) {
	t.Parallel()
	d := newDomain(t, func(c *identity.Config) { c.DeviceExtras = true })
	denied, expired := d.startDevice("web:web+secret", "client_id", "web"), d.startDevice("mobile")
	if denied.body["interval"] != 5.0 || !strings.HasSuffix(denied.text("verification_uri_complete"), "?user_code="+denied.text("user_code")) {
		t.Errorf("started with %s", denied.raw)
	}
	if err := d.DenyDevice(denied.text("user_code")); err != nil {
		t.Fatal(err)
	}
	d.want(d.poll(webClient, denied.text("device_code")), http.StatusBadRequest, "access_denied", "")
	d.advance(5 * time.Minute)
	d.want(d.poll("mobile", expired.text("device_code")), http.StatusBadRequest, "expired_token", "")
	for name, err := range map[string]error{
		"decided":  d.ApproveDevice(denied.text("user_code"), "jo@example.com"),
		"expired":  d.ApproveDevice(expired.text("user_code"), "jo@example.com"),
		"unknown":  d.DenyDevice("ZZZZ-ZZZZ"),
		"a nobody": d.ApproveDevice(expired.text("user_code"), "nobody"),
	} {
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestDeviceRefuses(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	for name, each := range map[string]struct {
		client string
		form   []string
		code   string
	}{
		"response type":    {"mobile", []string{"response_type", "code"}, "unsupported_response_type"},
		"unknown client":   {"nobody", nil, "invalid_client"},
		"scope":            {"mobile", []string{"scope", "urn:other"}, "invalid_scope"},
		"refresh off":      {"narrow:s3cret", nil, "unauthorized_client"},
		"refresh off, too": {"mobile", []string{"scope", "urn:strict:all offline_access"}, "unauthorized_client"},
	} {
		if got := d.startDevice(each.client, each.form...); got.text("error") != each.code {
			t.Errorf("%s: %d %s", name, got.status, got.raw)
		}
	}
}

func TestDevicePage(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	started := d.startDevice("mobile")
	code := started.text("user_code")
	if form := d.get(devicePage + "?user_code=" + url.QueryEscape(code)); !strings.Contains(form.raw, `value="`+code+`"`) ||
		!strings.Contains(form.raw, `name="password"`) {
		t.Errorf("form: %s", form.raw)
	}
	decide := func(pairs ...string) answer {
		return d.do(d.request(http.MethodPost, devicePage, values(pairs...)))
	}
	if got := decide("user_code", code, "decision", "allow"); got.status != http.StatusUnauthorized {
		t.Errorf("without signing in: %d %s", got.status, got.raw)
	}
	if got := decide("user_code", code, "decision", "allow", "username", "jo@example.com", "password", "x"); got.status != http.StatusUnauthorized {
		t.Errorf("wrong password: %d %s", got.status, got.raw)
	}
	if got := decide("user_code", "<b>", "decision", "allow", "username", "jo@example.com", "password", "welcome1"); got.status != http.StatusBadRequest ||
		strings.Contains(got.raw, "<b>") {
		t.Errorf("wrong code: %d %s", got.status, got.raw)
	}
	if form := d.get(devicePage); !strings.Contains(form.raw, "Signed in as jo@example.com") {
		t.Errorf("form of somebody signed in: %s", form.raw)
	}
	if got := decide("user_code", code, "decision", "allow"); got.status != http.StatusOK || !strings.Contains(got.raw, "allowed") {
		t.Errorf("allow: %d %s", got.status, got.raw)
	}
	d.want(d.poll("mobile", started.text("device_code")), http.StatusOK, "", "")
	other := d.startDevice("mobile")
	if got := decide("user_code", other.text("user_code"), "decision", "deny"); !strings.Contains(got.raw, "denied") {
		t.Errorf("deny: %d %s", got.status, got.raw)
	}
	d.want(d.poll("mobile", other.text("device_code")), http.StatusBadRequest, "access_denied", "")
}
