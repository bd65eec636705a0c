package identity

import (
	"crypto/rand"
	"encoding/base64"
	"sync"
	"time"
)

// tickets holds values that end at a time, each under a name nobody can guess.
type tickets[T any] struct {
	mu   sync.Mutex
	held map[string]ticket[T]
}

type ticket[T any] struct {
	value T
	ends  time.Time
}

// put keeps a value until a time, and forgets those that have ended. It reports
// whether the name was free.
func (s *tickets[T]) put(name string, value T, now, ends time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, t := range s.held {
		if !now.Before(t.ends) {
			delete(s.held, name)
		}
	}
	if _, taken := s.held[name]; taken {
		return false
	}
	if s.held == nil {
		s.held = map[string]ticket[T]{}
	}
	s.held[name] = ticket[T]{value: value, ends: ends}
	return true
}

// get returns what is under a name.
func (s *tickets[T]) get(name string, now time.Time) (value T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.held[name]
	if !ok || !now.Before(t.ends) {
		return value, false
	}
	return t.value, true
}

// take is get for once: nobody gets the value again.
func (s *tickets[T]) take(name string, now time.Time) (value T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.held[name]
	delete(s.held, name)
	if !ok || !now.Before(t.ends) {
		return value, false
	}
	return t.value, true
}

// secret is 256 random bits as text.
func secret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, as documented
	return base64.RawURLEncoding.EncodeToString(b[:])
}
