package api

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"longhaul/storage"
)

// BenchmarkAuthorization is what finding out who asks, and whether they may, takes of a request:
// without the task itself, which a GET of a task needs anyway. A whole such request, over HTTP on
// one core, takes some 20 µs: see bench/README.md.
func BenchmarkAuthorization(b *testing.B) {
	token := newToken()
	s := &Server{echo: echo.New()}
	s.callers = newCallers(nil, &s.Config, nil)
	who := &identity{person: storage.Person{ID: uuid.New(), Login: "jo@example.com"}, reach: storage.Reach{Scopes: storage.View}}
	who.grants = map[string]storage.Rights{"plain": storage.View}
	who.until = time.Now().Add(time.Hour)
	s.callers.remember(sha256.Sum256([]byte(token)), who)
	handler := s.authenticate(func(echo.Context) error { return nil })
	r := httptest.NewRequest(http.MethodGet, "/api/v1/apps", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	c := s.echo.NewContext(r, httptest.NewRecorder())
	c.SetPath("/api/v1/apps")
	for b.Loop() {
		if err := handler(c); err != nil {
			b.Fatal(err)
		}
	}
}
