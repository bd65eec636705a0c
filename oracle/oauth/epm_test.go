package oauth_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"longhaul/oracle"
	"longhaul/oracle/epm"
	"longhaul/oracle/oauth"
	"longhaul/oracle/sim"
)

// TestEPM goes the whole way: a person consents, the EPM client calls an
// environment with the tokens, one of them expires and is refreshed.
func TestEPM(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	environment, err := sim.New(sim.Config{
		Bearer: d.Service(audience), Users: []sim.User{{Name: "jo@example.com", Password: "unused"}}, TempDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(environment)
	t.Cleanup(func() {
		server.Close()
		if err := environment.Close(); err != nil {
			t.Error(err)
		}
	})
	c := d.client("web")
	look := func(token *oauth.Token) error {
		t.Helper()
		transport := oracle.DefaultTransport()
		transport.Proxy = nil
		t.Cleanup(transport.CloseIdleConnections)
		api, err := oracle.New(oracle.Config{
			URL: server.URL, Transport: transport,
			Auth: oracle.Bearer(func(context.Context) (string, error) { return token.Access, nil }),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = epm.New(api, "Vision", epm.Options{}).ListFiles(t.Context())
		return err
	}
	token := d.consent(c)
	if err := look(token); err != nil {
		t.Fatal(err)
	}
	d.advance(time.Hour)
	if err := look(token); oracle.KindOf(err) != oracle.KindUnauthorized {
		t.Errorf("expired: %v", err)
	}
	if token, err = c.Refresh(t.Context(), token.Refresh, ""); err != nil {
		t.Fatal(err)
	}
	if err := look(token); err != nil {
		t.Errorf("refreshed: %v", err)
	}
	if token, err = c.UserAssertion(t.Context(), "jo@example.com", key(), "cert1", scope); err != nil {
		t.Fatal(err)
	}
	if err := look(token); err != nil {
		t.Errorf("by assertion: %v", err)
	}
	if token, err = c.ClientCredentials(t.Context(), scope); err != nil {
		t.Fatal(err)
	}
	if err := look(token); oracle.KindOf(err) != oracle.KindUnauthorized {
		t.Errorf("an application's own token: %v", err)
	}
}
