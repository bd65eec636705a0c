package api_test

import (
	"net/http"
	"testing"
)

// HEAD tells of an answer what GET would, without the body.
func TestHead(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	task := s.waitFinal(s.create(object{"app": "plain", "name": "head", "kind": "noop"}, nil).ID, "succeeded")
	self := "/api/v1/tasks/" + task.ID
	for _, path := range []string{self, self + "/log", "/api/v1/tasks", "/healthz"} {
		resp := s.open(http.MethodHead, path, nil)
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusOK || resp.ContentLength <= 0 {
			t.Errorf("HEAD %s: %d, length %d", path, resp.StatusCode, resp.ContentLength)
		}
	}
	resp := s.open(http.MethodHead, self+"/events", nil)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("HEAD of an event stream: %d", resp.StatusCode)
	}
}
