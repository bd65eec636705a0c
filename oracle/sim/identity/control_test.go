package identity_test

import (
	"net/http"
	"strings"
	"testing"
)

func (d *domain) control(method, path, body string) answer {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.url+"/sim/"+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	return d.do(req)
}

func TestControl(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	allowed, denied := d.startDevice("mobile"), d.startDevice("mobile")
	keys := d.get("/admin/v1/SigningCert/jwk").raw
	for _, each := range []struct {
		method, path, body string
		status             int
	}{
		{http.MethodPost, "faults", `{"path":"/oauth2/v1/token","status":429,"retry_after":3}`, 204},
		{http.MethodPost, "faults", `{"status":503}`, 204},
		{http.MethodDelete, "faults", "", 204},
		{http.MethodPost, "faults", `{}`, 400},
		{http.MethodPost, "faults", `nonsense`, 400},
		{http.MethodPost, "keys", "", 204},
		{http.MethodPost, "devices/" + allowed.text("user_code"), `{"user":"jo@example.com"}`, 204},
		{http.MethodPost, "devices/" + denied.text("user_code"), `{"deny":true}`, 204},
		{http.MethodPost, "devices/" + denied.text("user_code"), `{"user":"jo@example.com"}`, 400},
		{http.MethodPost, "devices/" + denied.text("user_code"), `{}`, 400},
	} {
		if got := d.control(each.method, each.path, each.body); got.status != each.status {
			t.Errorf("%s %s %s: %d %s", each.method, each.path, each.body, got.status, got.raw)
		}
	}
	d.want(d.poll("mobile", allowed.text("device_code")), http.StatusOK, "", "")
	d.want(d.poll("mobile", denied.text("device_code")), http.StatusBadRequest, "access_denied", "")
	if d.get("/admin/v1/SigningCert/jwk").raw == keys {
		t.Error("the key was not rotated")
	}
	log := d.control(http.MethodGet, "log", "")
	if items, _ := log.body["items"].([]any); len(items) != 6 || strings.Contains(log.raw, "/sim/") {
		t.Errorf("log: %s", log.raw)
	}
}
