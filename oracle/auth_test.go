package oracle_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"longhaul/oracle"
)

func TestBearer(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer tok.2-_~+/==" {
			answer(w, http.StatusOK, "application/json", `{}`)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	c := client(t, address, func(cfg *oracle.Config) {
		cfg.Auth = oracle.Bearer(func(context.Context) (string, error) {
			if asked.Add(1) == 1 {
				return "tok.1", nil
			}
			return "tok.2-_~+/==", nil
		})
	})
	var out struct{}
	if err := c.Do(t.Context(), oracle.Call{Op: "look", Method: http.MethodGet, Path: "/x"}, &out); err != nil {
		t.Fatal(err)
	}
	if asked.Load() != 2 {
		t.Errorf("asked for a token %d times; want it for each attempt", asked.Load())
	}
}

func TestBearerWithoutToken(t *testing.T) {
	t.Parallel()
	sentinel := errors.New("the consent is gone")
	var reached atomic.Bool
	address := serve(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) })
	t.Cleanup(func() { // after the subtests
		if reached.Load() {
			t.Error("a request was sent")
		}
	})
	for name, each := range map[string]struct {
		token string
		err   error
		kind  oracle.Kind
	}{
		"own error":   {err: sentinel, kind: oracle.KindRequest},
		"unavailable": {err: &oracle.Error{Op: "refresh", Kind: oracle.KindUnavailable}, kind: oracle.KindUnavailable},
		"empty":       {kind: oracle.KindRequest},
		"two lines":   {token: "Tsecret\r\nX-Other: y", kind: oracle.KindRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, address, func(cfg *oracle.Config) {
				cfg.Auth = oracle.Bearer(func(context.Context) (string, error) { return each.token, each.err })
			})
			err := c.Do(t.Context(), oracle.Call{Op: "start", Method: http.MethodPost, Path: "/x"}, nil)
			e := asError(t, err)
			if e.Kind != each.kind || e.MayHaveHappened {
				t.Errorf("kind %q, may have happened %v", e.Kind, e.MayHaveHappened)
			}
			if each.err != nil && !errors.Is(err, each.err) {
				t.Errorf("%v does not hold %v", err, each.err)
			}
			if strings.Contains(err.Error(), "Tsecret") {
				t.Errorf("the token is in %v", err)
			}
		})
	}
}
