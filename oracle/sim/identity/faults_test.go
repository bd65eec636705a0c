package identity_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"longhaul/oracle/sim/identity"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	for _, f := range []identity.Fault{
		{Path: tokenPath, Status: http.StatusTooManyRequests, RetryAfter: 7 * time.Second, Times: 2},
		{Path: tokenPath, Status: http.StatusTooManyRequests},
		{Status: http.StatusServiceUnavailable},
	} {
		if err := d.AddFault(f); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []struct {
		path       string
		status     int
		retryAfter string
	}{
		{tokenPath, 429, "7"},
		{"/.well-known/openid-configuration", 503, ""},
		{tokenPath, 429, "7"},
		{tokenPath, 429, ""},
		{tokenPath, 401, ""},
		{"/.well-known/openid-configuration", 405, ""},
	} {
		got := d.post(want.path, "nobody:x")
		if got.status != want.status || got.header.Get("Retry-After") != want.retryAfter {
			t.Errorf("request %d: %d, Retry-After %q; want %d, %q", i+1, got.status, got.header.Get("Retry-After"), want.status, want.retryAfter)
		}
	}
	if err := d.AddFault(identity.Fault{Status: http.StatusTeapot, Times: 100}); err != nil {
		t.Fatal(err)
	}
	d.ClearFaults()
	if got := d.get("/.well-known/openid-configuration"); got.status != http.StatusOK {
		t.Errorf("cleared: %d", got.status)
	}
	for _, bad := range []identity.Fault{{}, {Status: 200}, {Status: 600}, {Status: 429, Lost: true}, {Lost: true, Times: -1}} {
		if err := d.AddFault(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestLostAnswer(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	token := d.consent()
	if err := d.AddFault(identity.Fault{Path: tokenPath, Lost: true}); err != nil {
		t.Fatal(err)
	}
	form := values("grant_type", "refresh_token", "refresh_token", token)
	req := d.request(http.MethodPost, tokenPath, form)
	req.SetBasicAuth("web", "web%2Bsecret")
	req.GetBody = nil
	if resp, err := d.browser.Do(req); err == nil {
		t.Fatalf("an answer came: %d", resp.StatusCode)
	}
	d.want(d.refresh(token), http.StatusBadRequest, "invalid_grant", "consumed")
}

func TestRequests(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	token := d.consent()
	d.refresh(token)
	d.get("/nowhere?token=" + token)
	log := d.Requests()
	if len(log) != 3 {
		t.Fatalf("log is %+v", log)
	}
	got := log[1]
	want := identity.Request{
		Number: 2, At: d.clock().UTC(), Method: http.MethodPost, Path: tokenPath, Client: "web", Grant: "refresh_token", User: "jo@example.com", Status: 200,
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if last := log[2]; last.Status != http.StatusNotFound || strings.Contains(last.Path, token) {
		t.Errorf("last is %+v", last)
	}
}
