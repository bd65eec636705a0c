package identity_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"longhaul/oracle/sim/identity"
)

func fuzzDomain(f *testing.F) *identity.Domain {
	f.Helper()
	d, err := identity.New(identity.Config{
		Key: key(), Resources: []identity.Resource{{Audience: epm}}, Users: []identity.User{{Name: "jo", Password: "x"}},
		Apps: []identity.App{
			{ID: "mobile", Redirects: []string{callback}}, {ID: "service", Keys: map[string]string{"cert1": publicPEM()}},
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	return d
}

// FuzzForms: whatever is posted is answered with JSON and no 5xx.
func FuzzForms(f *testing.F) {
	for _, form := range []string{
		"client_id=mobile&grant_type=refresh_token&refresh_token=AgA",
		"client_id=mobile&grant_type=urn:ietf:params:oauth:grant-type:device_code&device_code=x",
		"client_id=mobile&response_type=device_code&scope=" + epmScope + "+offline_access",
		"client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion=e30.e30.",
		"a=%zz&;=", "token=x&token=y", "client_id=mobile&grant_type=authorization_code&code=%00",
	} {
		f.Add(form)
	}
	d := fuzzDomain(f)
	f.Fuzz(func(t *testing.T, form string) {
		for _, path := range []string{tokenPath, devicePath, "/oauth2/v1/introspect", "/oauth2/v1/revoke"} {
			req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			got := httptest.NewRecorder()
			d.ServeHTTP(got, req)
			if got.Code >= 500 || got.Code >= 400 && !strings.HasPrefix(got.Header().Get("Content-Type"), "application/json") {
				t.Errorf("%s with %q: %d %s", path, form, got.Code, got.Body)
			}
		}
	})
}

// FuzzAuthorize: nobody is sent to an address that was not registered.
func FuzzAuthorize(f *testing.F) {
	f.Add(strings.TrimPrefix(authorizePath("client_id", "mobile"), "/oauth2/v1/authorize?"), "username=jo&password=x")
	f.Add("client_id=mobile&redirect_uri=https://evil.example", "username=jo&password=x")
	f.Add("client_id=mobile&redirect_uri="+callback+"&redirect_uri=https://evil.example", "")
	d := fuzzDomain(f)
	f.Fuzz(func(t *testing.T, query, form string) {
		req := httptest.NewRequest(http.MethodPost, "/oauth2/v1/authorize", strings.NewReader(form))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.URL.RawQuery = query
		got := httptest.NewRecorder()
		d.ServeHTTP(got, req)
		to := got.Header().Get("Location")
		if got.Code >= 500 || to != "" && to != callback && !strings.HasPrefix(to, callback+"?") {
			t.Errorf("%q: %d to %q", query, got.Code, to)
		}
	})
}

// FuzzAccessToken: only what the domain signed is of anybody.
func FuzzAccessToken(f *testing.F) {
	f.Add("eyJhbGciOiJSUzI1NiJ9.e30.AAAA")
	f.Add("eyJhbGciOiJub25lIn0.eyJzdWIiOiJqbyJ9.")
	f.Add("bnVsbA.bnVsbA.")
	f.Add("..")
	d := fuzzDomain(f)
	f.Fuzz(func(t *testing.T, token string) {
		if user, ok := d.User(token); ok {
			t.Errorf("%q is a token of %s", token, user)
		}
		req := httptest.NewRequest(http.MethodGet, "/oauth2/v1/userinfo", nil)
		req.Header["Authorization"] = []string{"Bearer " + token}
		got := httptest.NewRecorder()
		d.ServeHTTP(got, req)
		if got.Code != http.StatusUnauthorized {
			t.Errorf("%q: userinfo answers %d", token, got.Code)
		}
	})
}
