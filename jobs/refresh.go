package jobs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"longhaul/oracle/oauth"
	"longhaul/storage"
)

const (
	// askTimeout bounds one request for a token.
	askTimeout = 30 * time.Second
	// askWait is how long somebody waits for a token that another asks for.
	askWait = 45 * time.Second
	// lookAgainEvery is how often they look whether it has come.
	lookAgainEvery = 150 * time.Millisecond
	// renewEarly is how much before its end an access token is renewed; half of a short life.
	renewEarly = 2 * time.Minute
	// lastMoment is how much before its end an access token is not used any more.
	lastMoment = 10 * time.Second
	// youngest is how old an access token is at least that is given up because the application
	// refuses it: another one would be refused too.
	youngest = time.Minute

	// refreshAge and refreshSpread are how old a refresh token is when it is renewed although
	// nobody needs it: after 24 to 30 hours, of the seven days that it lives.
	refreshAge, refreshSpread = 24 * time.Hour, 6 * time.Hour
	// refreshBatch bounds how many are renewed in one sweep.
	refreshBatch = 5
	// brokenRest is how long a domain is left alone that wants a person to do something.
	brokenRest = 15 * time.Minute
	// unclearTries is how often answers that cannot be read are taken for a passing trouble.
	unclearTries = 3
	// maxRest is the longest that a domain is left alone that does not answer.
	maxRest = 5 * time.Minute
)

// ConnectionError says why there is no access token for an app. Its words are for the people who
// use the app.
type ConnectionError struct {
	App string
	// Message is a sentence that says what is wrong and who has to do what.
	Message string
	// Passing is true when the same may work later with nothing changed.
	Passing bool
}

func (e *ConnectionError) Error() string { return e.Message }

// connectionError says why a connection gives no token.
func connectionError(c *storage.Connection) *ConnectionError {
	e := &ConnectionError{App: c.App, Passing: !c.Broken && c.Connected()}
	switch {
	case c.Broken && c.RefreshSealed == nil && c.Grant != grantAssertion:
		e.Message = fmt.Sprintf("The connection of the app %s has ended, and an admin of the app must connect it again on its page: %s", c.App, deref(c.Problem))
	case c.Broken:
		e.Message = fmt.Sprintf("The connection of the app %s does not work, and an admin of the app must correct it: %s", c.App, deref(c.Problem))
	case !c.Connected():
		e.Message = fmt.Sprintf("The app %s is not connected: an admin of the app must connect it on its page, by signing in to the identity domain", c.App)
	case c.Problem == nil:
		e.Message = fmt.Sprintf("The connection of the app %s was changed at this moment", c.App)
	default:
		e.Message = fmt.Sprintf("The identity domain of the app %s gives no token at present: %s", c.App, *c.Problem)
	}
	return e
}

// bearer signs the requests of one client with the app's access token. It is the client's
// transport too, to hear when the token is refused.
type bearer struct {
	engine *Engine
	app    *storage.App

	mu   sync.Mutex
	held *accessToken
}

// accessToken is an app's access token, as it is kept in the row of that version.
type accessToken struct {
	text      string
	at, until time.Time
	version   string
}

// String keeps the token out of logs.
func (*accessToken) String() string { return "[access token]" }

// fresh reports whether the token is not to be renewed yet.
func (t *accessToken) fresh(now time.Time) bool {
	return t != nil && now.Add(min(renewEarly, t.until.Sub(t.at)/2)).Before(t.until)
}

// good reports whether the token can be used.
func (t *accessToken) good(now time.Time) bool {
	return t != nil && now.Add(lastMoment).Before(t.until)
}

// token gives the access token to sign a request with.
func (b *bearer) token(ctx context.Context) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held.fresh(b.engine.now()) {
		return b.held.text, nil
	}
	held, err := b.engine.accessToken(ctx, b.app)
	if err != nil {
		return "", err
	}
	b.held = held
	return held.text, nil
}

// RoundTrip sends a request. Where the application refuses the token although it should be good, it
// is given up, and a read is sent once more with another. Anything else is not: whoever
// asked knows by the 401 that it did not happen, and whether to do it again.
func (b *bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.engine.transport.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !b.giveUp(req) {
		return resp, err
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return resp, nil
	}
	text, err := b.token(req.Context())
	if err != nil {
		return resp, nil //nolint:nilerr // the refusal is an answer; why there is no other token is kept with the connection
	}
	_ = resp.Body.Close() // nothing of it is needed
	again := req.Clone(req.Context())
	again.Header.Set("Authorization", "Bearer "+text)
	return b.engine.transport.RoundTrip(again)
}

// giveUp forgets the token that a request was refused with, and reports whether another may do
// better.
func (b *bearer) giveUp(req *http.Request) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := b.held
	if held == nil || req.Header.Get("Authorization") != "Bearer "+held.text {
		return true // another request has seen to it
	}
	if b.engine.now().Sub(held.at) < youngest {
		return false
	}
	b.held = nil
	if err := b.engine.db.DropAccess(req.Context(), b.app.Name, held.version); err != nil {
		b.engine.logger.WarnContext(req.Context(), "connection: a refused token stays", "app", b.app.Name, "error", err)
		return false
	}
	return true
}

// accessToken returns the app's access token: the one that is kept, while it is good, else a new
// one. Of all who need a new one, in all processes, one asks for it and the others wait. The error
// is a ConnectionError when there is none to be had.
//
// It never asks twice: what a request came to is written down, and read again before the next.
func (e *Engine) accessToken(ctx context.Context, app *storage.App) (*accessToken, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	for asked := false; ; {
		c, err := e.db.Connection(ctx, app.Name)
		if errors.Is(err, storage.ErrNotFound) {
			return nil, &ConnectionError{App: app.Name, Message: fmt.Sprintf("The credentials of the app %s are gone: an admin of the app must give them again", app.Name)}
		}
		if err != nil {
			return nil, fmt.Errorf("access token of app %s: %w", app.Name, err)
		}
		held, err := e.openAccess(&c)
		if err != nil {
			return nil, err
		}
		now := e.now()
		switch {
		case held.fresh(now), held.good(now) && (asked || c.Asking || c.Resting || !c.Renewable()):
			return held, nil
		case c.Asking:
			if !wait(ctx, lookAgainEvery) {
				return nil, &ConnectionError{App: app.Name, Passing: true, Message: fmt.Sprintf("The identity domain of the app %s takes long to give a token", app.Name)}
			}
			continue
		case asked, c.Resting, !c.Renewable():
			return nil, connectionError(&c)
		}
		if asked, err = e.askOnce(ctx, app, &c); err != nil {
			return nil, err
		}
	}
}

// openAccess opens the access token that a connection keeps; nil when there is none.
func (e *Engine) openAccess(c *storage.Connection) (*accessToken, error) {
	if c.AccessSealed == nil {
		return nil, nil
	}
	plain, err := e.Sealer.Open(storage.AccessTokenID(c.App), c.AccessSealed)
	if err != nil {
		return nil, err
	}
	return &accessToken{string(plain), *c.AccessAt, *c.AccessUntil, c.Version}, nil
}

// askOnce asks the domain for a token, unless somebody else does, and writes down what came of
// it. It reports whether it asked.
func (e *Engine) askOnce(ctx context.Context, app *storage.App, c *storage.Connection) (asked bool, err error) {
	e.asks.RLock()
	defer e.asks.RUnlock()
	claimed, err := e.db.ClaimConnection(ctx, c, e.Process)
	if err != nil || !claimed {
		return false, err
	}
	// From here on nobody's impatience counts: a token that is lost cannot be had again. Nothing of
	// the caller's context is handed on either, since its tracing would take this request for the
	// one that is to be signed.
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	token, err := e.ask(ctx, app, c)
	return true, e.settleAsk(c, token, err)
}

// ask makes the one request for a token that the connection's grant says.
func (e *Engine) ask(ctx context.Context, app *storage.App, c *storage.Connection) (*oauth.Token, error) {
	s, err := e.openSecrets(app)
	if err != nil {
		return nil, err
	}
	client, err := e.identity(c, s)
	if err != nil {
		return nil, err
	}
	if c.Grant == grantAssertion {
		key, err := oauth.ParseKey([]byte(s.PrivateKey))
		if err != nil {
			return nil, err
		}
		return client.UserAssertion(ctx, c.Username, key, c.KeyID, c.Scope)
	}
	refresh, err := e.Sealer.Open(storage.RefreshTokenID(c.App), c.RefreshSealed)
	if err != nil {
		return nil, err
	}
	return client.Refresh(ctx, string(refresh), "")
}

// settleAsk writes down what a request for a token came to.
func (e *Engine) settleAsk(c *storage.Connection, token *oauth.Token, failed error) error {
	if failed == nil {
		return e.saveTokens(c, token)
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	refusal := refusalOf(c, failed)
	var line *storage.Audit
	if refusal.Broken {
		e.refreshFailures.Add(1)
		if !c.Broken { // told once, however often it is tried again
			line = &storage.Audit{Actor: "longhaul", Action: "app.refresh.fail", App: c.App, Object: c.App, Outcome: "failed", Detail: refusal.Problem}
		}
	}
	e.logger.WarnContext(ctx, "connection: no access token", "app", c.App, "broken", refusal.Broken, "unclear", refusal.Unclear,
		"failures", c.Failures+1, "again_in", refusal.Rest, "error", failed)
	err := e.db.SaveRefusal(ctx, c, refusal, line)
	if errors.Is(err, storage.ErrStale) {
		return nil // it is another connection by now
	}
	return err
}

// saveTokens keeps what the domain gave. Nothing else brings it back, so a database that is away
// for a moment is waited for.
func (e *Engine) saveTokens(c *storage.Connection, token *oauth.Token) error {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	for {
		err := e.db.SaveTokens(ctx, c, e.sealTokens(c.App, token))
		if err == nil {
			return nil
		}
		if errors.Is(err, storage.ErrStale) {
			// Written by a commit whose answer was lost, or of no use to what the app has become.
			e.logger.InfoContext(ctx, "connection: the app was changed while a token was asked for", "app", c.App)
			return nil
		}
		e.logger.WarnContext(ctx, "connection: a new token is not stored yet", "app", c.App, "error", err)
		if !wait(ctx, time.Second) {
			return fmt.Errorf("store the token of app %s: %w", c.App, err)
		}
	}
}

func (e *Engine) sealTokens(app string, token *oauth.Token) *storage.Tokens {
	t := &storage.Tokens{
		AccessSealed: e.Sealer.Seal(storage.AccessTokenID(app), []byte(token.Access)),
		AccessUntil:  token.ExpiresAt, As: oauth.Who(token.Access),
	}
	if token.Refresh != "" {
		t.RefreshSealed = e.Sealer.Seal(storage.RefreshTokenID(app), []byte(token.Refresh))
	}
	return t
}

// refusalOf says what a failed request means for a connection.
func refusalOf(c *storage.Connection, err error) *storage.Refusal {
	r := &storage.Refusal{Problem: askedWords(err), Broken: true, Rest: brokenRest}
	refused, ok := errors.AsType[*oauth.Error](err)
	if !ok {
		return r // nothing was sent: a key that is gone, an address that is none
	}
	refreshes := c.Grant != grantAssertion
	r.Unclear = refreshes && refused.MayHaveHappened
	r.Spent = refreshes && refused.Code == "invalid_grant"
	if refused.Temporary() || r.Unclear && c.Failures < unclearTries {
		r.Broken = false
		r.Rest = max(min(2*time.Second<<min(c.Failures, 10), maxRest), min(refused.RetryAfter, time.Hour))
	}
	return r
}

// askedWords is what a person should read of a failed request to an identity domain; they know
// what was tried.
func askedWords(err error) string {
	text := err.Error()
	if refused, ok := errors.AsType[*oauth.Error](err); ok {
		text = strings.TrimPrefix(text, refused.Op+": ")
	}
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// keepConnected renews refresh tokens until ctx ends, so that those which nobody uses do not end.
func (e *Engine) keepConnected(ctx context.Context) {
	for wait(ctx, e.SweepEvery*retentionEvery) {
		due, err := e.db.RefreshesDue(ctx, refreshAge, refreshSpread, refreshBatch)
		if err != nil {
			e.sweepFailed(ctx, "connections", err)
		}
		for _, name := range due {
			if ctx.Err() != nil {
				return
			}
			if err := e.renew(ctx, name); err != nil {
				e.sweepFailed(ctx, "connections", fmt.Errorf("renew the connection of %s: %w", name, err))
			}
		}
	}
}

// renew asks for new tokens although the old access token may be good.
func (e *Engine) renew(ctx context.Context, name string) error {
	app, err := e.db.App(ctx, name)
	if err != nil {
		return err
	}
	c, err := e.db.Connection(ctx, name)
	if err != nil || c.Asking || c.Resting || c.RefreshSealed == nil {
		return err
	}
	_, err = e.askOnce(ctx, &app, &c)
	return err
}

// finishAsks waits for the requests for tokens that are under way: what they get must be stored
// while there is a database.
func (e *Engine) finishAsks() {
	e.asks.Lock()
	defer e.asks.Unlock()
}

// RefreshFailures counts, in this process, requests for tokens that failed so that a person must
// do something.
func (e *Engine) RefreshFailures() int64 { return e.refreshFailures.Load() }

// unconnected decides about a step that got no access token. A task that has started nothing ends
// when a person must do something first; one whose job runs goes on as soon as they have.
func (e *Engine) unconnected(ctx context.Context, job *river.Job[stepArgs], r *Run, lost *ConnectionError) error {
	task := r.Task
	if !lost.Passing && task.RemoteIntentAt == nil {
		return e.end(ctx, job, r, failureOf(&Failure{
			Code: CodeUnauthorized, Message: lost.Message, Detail: "Start the task again when the app " + task.App + " is connected.",
		}))
	}
	message := lost.Message
	if task.RemoteJobID != nil {
		message = fmt.Sprintf("Job %s was started in the application and cannot be followed. %s", *task.RemoteJobID, lost.Message)
	}
	if task.Message != message {
		r.Logf("%s", message)
	}
	task.Message = message
	return e.save(ctx, job, r, Again(backoff(task.Tries)))
}

// signsInWith names what the application refuses when it refuses to let a task's app in.
func (e *Engine) signsInWith(ctx context.Context, r *Run) string {
	if app, err := r.App(ctx); err == nil && app.AuthType == authOAuth {
		return "the access token"
	}
	return "the user name or password"
}
