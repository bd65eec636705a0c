package sim_test

import (
	"net/http"
	"strings"
	"testing"

	"longhaul/oracle/sim"
)

func TestBearer(t *testing.T) {
	t.Parallel()
	people := map[string]string{"Tadmin": "admin", "Tviewer": "viewer", "Tstranger": "nobody@example.com"}
	withTokens := func(c *sim.Config) {
		c.Bearer = func(token string) (string, bool) { user, ok := people[token]; return user, ok }
	}
	const versions, jobs = "/HyperionPlanning/rest/", vision + "/jobdefinitions"
	for name, each := range map[string]struct {
		token, path string
		off         bool
		status      int
	}{
		"administrator":        {token: "Tadmin", path: jobs, status: http.StatusOK},
		"viewer reads":         {token: "Tviewer", path: versions, status: http.StatusOK},
		"viewer may not":       {token: "Tviewer", path: jobs, status: http.StatusForbidden},
		"not a token":          {token: "Tnone", path: versions, status: http.StatusUnauthorized},
		"nobody's environment": {token: "Tstranger", path: versions, status: http.StatusUnauthorized},
		"empty":                {token: "", path: versions, status: http.StatusUnauthorized},
		"classic":              {token: "Tadmin", path: versions, off: true, status: http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, func(cfg *sim.Config) {
				if !each.off {
					withTokens(cfg)
				}
			})
			got := c.do(http.MethodGet, each.path, nil, map[string]string{"Authorization": "Bearer " + each.token})
			if got.status != each.status {
				t.Fatalf("%d %s, want %d", got.status, got.raw, each.status)
			}
			challenge := got.header.Get("WWW-Authenticate")
			if got.status == http.StatusUnauthorized && !strings.HasPrefix(challenge, "Bearer error=") {
				t.Errorf("challenge is %q", challenge)
			}
			if basic := c.get(versions); basic.status != http.StatusOK {
				t.Errorf("basic authentication beside tokens: %d", basic.status)
			}
		})
	}
}
