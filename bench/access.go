package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	benchTokens   = 100_000
	benchSessions = 1_000
)

// measureAccess compares GET /api/v1/tasks/{id} by an API token, one of many in the database,
// with the same by the admin token, which is compared in memory; before there are many tokens and
// sessions, and when there are.
func measureAccess(ctx context.Context, b *bench) (lines []line, err error) {
	s, err := b.serve(ctx, "access")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.setWorking(ctx, false); err != nil {
		return nil, err
	}
	t, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	token, err := s.makeToken(ctx)
	if err != nil {
		return nil, err
	}
	path := "/api/v1/tasks/" + t.ID
	byAdmin := s.raw(http.MethodGet, path, "")
	byToken := []byte(strings.Replace(string(byAdmin), s.token, token, 1))
	few, err := b.compareAccess(ctx, s, "get, by an API token", byToken, byAdmin)
	if err != nil {
		return nil, err
	}
	_, err = s.db.Exec(ctx, `
		INSERT INTO tokens (person_id, name, sha256, hint, scopes)
		SELECT p.id, 'bench', sha256(n::text::bytea), '', 1 FROM people p, generate_series(1, $1) n WHERE p.login = 'admin'`, benchTokens)
	if err != nil {
		return nil, err
	}
	_, err = s.db.Exec(ctx, `
		INSERT INTO sessions (token, data, expiry, person_id)
		SELECT 'bench' || n, '', now() + interval '1 hour', p.id FROM people p, generate_series(1, $1) n WHERE p.login = 'admin'`, benchSessions)
	if err != nil {
		return nil, err
	}
	many, err := b.compareAccess(ctx, s, fmt.Sprintf("get, by one of %d tokens", benchTokens), byToken, byAdmin)
	return []line{few, many}, err
}

// makeToken makes an API token that sees the bench's app.
func (s *server) makeToken(ctx context.Context) (string, error) {
	status, body, err := s.call(ctx, http.MethodPost, "/api/v1/tokens", `{"name": "bench", "scopes": ["view"], "apps": ["`+benchApp+`"]}`)
	if err != nil {
		return "", err
	}
	var made struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(body, &made); err != nil || status != http.StatusCreated {
		return "", fmt.Errorf("make a token: %d %s", status, body)
	}
	return made.Token, nil
}

// compareAccess has the two requests answered in turns.
func (b *bench) compareAccess(ctx context.Context, s *server, name string, byToken, byAdmin []byte) (line, error) {
	d := either(b, 3*time.Second, time.Second)
	var turns rivals
	for range either(b, 7, 1) {
		mine, err := load(ctx, s.addr, byToken, http.StatusOK, d)
		if err != nil {
			return line{}, err
		}
		other, err := load(ctx, s.addr, byAdmin, http.StatusOK, d)
		if err != nil {
			return line{}, err
		}
		turns.add(mine.perSecond(), other.perSecond())
	}
	b.logf("%s: GET/s to those by the admin token: %s", name, turns.words())
	return turns.compared(line{
		name: name, measured: fmt.Sprintf("%.0f/s", median(turns.ours)), against: fmt.Sprintf("by the admin token %.0f/s", median(turns.theirs)),
	}, 0.9), nil
}
