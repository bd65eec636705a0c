package sso_test

import (
	"strings"
	"testing"

	"longhaul/api/sso"
)

func TestNewChecksTheSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config sso.Config
		want   []string // in the error; none: there is no error
	}{
		{"https", sso.Config{Issuer: "https://login.example.com", ClientID: "c"}, nil},
		{"with a path and a slash", sso.Config{Issuer: "https://login.example.com/realms/x/", ClientID: "c"}, nil},
		{"loopback", sso.Config{Issuer: "http://127.0.0.1:8080", ClientID: "c"}, nil},
		{"nothing at all", sso.Config{}, []string{"issuer: not an address", "client id: is missing"}},
		{"no scheme", sso.Config{Issuer: "login.example.com", ClientID: "c"}, []string{"issuer: not an address"}},
		{"plain http", sso.Config{Issuer: "http://login.example.com", ClientID: "c"}, []string{"plain http to login.example.com"}},
		{"another scheme", sso.Config{Issuer: "ftp://login.example.com", ClientID: "c"}, []string{`the scheme "ftp"`}},
		{"a query", sso.Config{Issuer: "https://login.example.com?x=1", ClientID: "c"}, []string{"only scheme, host and path"}},
		{"a password", sso.Config{Issuer: "https://me:hidden@login.example.com", ClientID: "c"}, []string{"only scheme, host and path"}},
		{"an address for a domain", sso.Config{Issuer: "https://a.example", ClientID: "c", AllowedDomains: []string{"jo@a.example"}}, []string{"allowed domains"}},
		{"an empty group", sso.Config{Issuer: "https://a.example", ClientID: "c", AllowedGroups: []string{""}}, []string{"allowed groups"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := sso.New(c.config)
			if (err == nil) != (c.want == nil) {
				t.Fatalf("New: %v", err)
			}
			if err != nil && (!containsAll(err.Error(), c.want...) || strings.Contains(err.Error(), "hidden")) {
				t.Errorf("error = %v, want it to say %q and no password", err, c.want)
			}
		})
	}
}
