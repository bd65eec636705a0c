package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"longhaul/oracle/oauth"
	"longhaul/storage"
)

// The states of a Consent.
const (
	ConsentNone      = "none"
	ConsentWaiting   = "waiting"
	ConsentConnected = "connected"
	ConsentDenied    = "denied"
	ConsentExpired   = "expired"
	ConsentFailed    = "failed"
)

// Consent is how far an app's connection by device code is.
type Consent struct {
	State string
	// Message says in a sentence what is, or what went wrong and what to do.
	Message string

	// While it waits: the code that a person types at VerificationURI, which the complete one holds
	// already where it is not empty.
	UserCode, VerificationURI, VerificationURIComplete string
	ExpiresAt                                          time.Time
	Interval                                           time.Duration // how often to ask

	// Connection is how the app is connected, by this consent or one before.
	Connection storage.Connection
}

// ErrNoConsent says that an app does not sign in by a consent.
var ErrNoConsent = errors.New("the app does not sign in by a person's consent")

// offlineAccess is the scope without which no refresh token comes.
const offlineAccess = "offline_access"

// StartConsent asks the identity domain of an app for a code, which a person is to enter there. An
// older code is given up; the connection that there is stays until the new one is made. The error
// is ErrNoConsent for an app of another grant, or a RemoteError.
func (e *Engine) StartConsent(ctx context.Context, name string, by Caller) (*Consent, error) {
	app, c, err := e.connectionOf(ctx, name, by)
	if err != nil {
		return nil, err
	}
	if c.Grant != grantDevice {
		return nil, ErrNoConsent
	}
	s, err := e.openSecrets(app)
	if err != nil {
		return nil, &RemoteError{Message: "The client secret cannot be read; give the app's credentials again", Err: err}
	}
	client, err := e.identity(c, s)
	if err != nil {
		return nil, err
	}
	scope := c.Scope
	if !strings.Contains(" "+scope+" ", " "+offlineAccess+" ") {
		scope += " " + offlineAccess
	}
	device, err := client.StartDevice(ctx, scope)
	if err != nil {
		return nil, &RemoteError{Message: askedWords(err), Err: err}
	}
	err = e.db.InTx(ctx, func(tx pgx.Tx) error {
		err := storage.StartConsent(ctx, tx, by.Reach, &storage.Consent{
			App: name, StartedBy: by.Name, UserCode: device.UserCode, VerificationURI: device.VerificationURI,
			VerificationURIComplete: device.VerificationURIComplete, IntervalSeconds: int(device.Interval / time.Second),
			DeviceSealed: e.Sealer.Seal(storage.DeviceCodeID(name), []byte(device.DeviceCode)),
		}, c, device.ExpiresIn)
		if err != nil {
			return err
		}
		return storage.InsertAudit(ctx, tx, by.Audit("app.consent.start", name, name))
	})
	if err != nil {
		return nil, err
	}
	return e.consent(ctx, name, c, by)
}

// Consent tells how far an app's consent is. While it waits, this asks the domain, at most as often
// as the domain allows, however many ask here; nothing asks when nobody does. The error is
// ErrNoConsent for an app that does not sign in by OAuth 2.
func (e *Engine) Consent(ctx context.Context, name string, by Caller) (*Consent, error) {
	app, c, err := e.connectionOf(ctx, name, by)
	if err != nil {
		return nil, err
	}
	waiting, err := e.db.ClaimPoll(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		return e.consent(ctx, name, c, by)
	}
	if err != nil {
		return nil, err
	}
	if err := e.poll(app, c, &waiting, by); err != nil {
		return nil, err
	}
	_, c, err = e.connectionOf(ctx, name, by)
	if err != nil {
		return nil, err
	}
	return e.consent(ctx, name, c, by)
}

// Disconnect forgets an app's tokens, and a code that waits. ErrNoConsent for an app that does not
// sign in by OAuth 2.
func (e *Engine) Disconnect(ctx context.Context, name string, by Caller) error {
	_, c, err := e.connectionOf(ctx, name, by)
	if err != nil {
		return err
	}
	return e.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := storage.Disconnect(ctx, tx, by.Reach, name); err != nil {
			return err
		}
		line := by.Audit("app.disconnect", name, name)
		if c.ConnectedAs != nil {
			line.Detail = "was connected as " + *c.ConnectedAs
		}
		return storage.InsertAudit(ctx, tx, line)
	})
}

// connectionOf returns an app with its connection, for who may manage it.
func (e *Engine) connectionOf(ctx context.Context, name string, by Caller) (*storage.App, *storage.Connection, error) {
	app, err := e.db.For(by.Reach).App(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if app.AuthType != authOAuth {
		return nil, nil, ErrNoConsent
	}
	c, err := e.db.For(by.Reach).Connection(ctx, name, storage.View|storage.Manage)
	return &app, &c, err
}

// consent reads how far an app's consent is.
func (e *Engine) consent(ctx context.Context, name string, c *storage.Connection, by Caller) (*Consent, error) {
	now := &Consent{State: ConsentNone, Message: "The app is not connected.", Connection: *c}
	if c.Connected() {
		now.State, now.Message = ConsentConnected, "The app is connected."
	}
	found, err := e.db.For(by.Reach).Consent(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		return now, nil
	}
	if err != nil {
		return nil, err
	}
	now.State = found.State
	switch {
	case found.State == ConsentWaiting:
		now.Message = "Waiting for a person to enter the code."
		if found.Problem != nil {
			now.Message += " " + *found.Problem
		}
		now.UserCode, now.VerificationURI, now.VerificationURIComplete = found.UserCode, found.VerificationURI, found.VerificationURIComplete
		now.ExpiresAt, now.Interval = found.ExpiresAt, time.Duration(found.IntervalSeconds)*time.Second
	case found.Problem != nil:
		now.Message = *found.Problem
	default:
		now.Message = "The code was not entered in time. Start again."
	}
	return now, nil
}

// poll asks the domain once whether a consent was given, and writes down what it says. It ends in
// a time of its own: the answer that brings the tokens comes once.
func (e *Engine) poll(app *storage.App, c *storage.Connection, waiting *storage.Consent, by Caller) error {
	e.asks.RLock()
	defer e.asks.RUnlock()
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	token, err := e.pollDevice(ctx, app, c, waiting)
	saving, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	var refused *oauth.Error
	switch {
	case err == nil:
		return e.connected(saving, waiting, token, by)
	case errors.Is(err, oauth.ErrPending):
		return e.db.PollAgain(saving, waiting, 0, 0, "")
	case errors.Is(err, oauth.ErrSlowDown):
		return e.db.PollAgain(saving, waiting, 5, 0, "") // RFC 8628, 3.5
	case errors.As(err, &refused) && (refused.Temporary() || refused.MayHaveHappened && refused.Code == ""):
		e.logger.WarnContext(saving, "consent: the identity domain was not heard", "app", waiting.App, "error", err)
		return e.db.PollAgain(saving, waiting, 0, min(refused.RetryAfter, time.Minute), "The identity domain does not answer at present.")
	case errors.As(err, &refused) && refused.Code == "access_denied":
		return storage.FailConsent(saving, e.db.Pool, waiting, ConsentDenied, "The person denied the request. Start again to ask once more.")
	case errors.As(err, &refused) && refused.Code == "expired_token":
		return storage.FailConsent(saving, e.db.Pool, waiting, ConsentExpired, "The code was not entered in time. Start again.")
	}
	e.logger.WarnContext(saving, "consent: failed", "app", waiting.App, "error", err)
	return storage.FailConsent(saving, e.db.Pool, waiting, ConsentFailed, askedWords(err))
}

func (e *Engine) pollDevice(ctx context.Context, app *storage.App, c *storage.Connection, waiting *storage.Consent) (*oauth.Token, error) {
	s, err := e.openSecrets(app)
	if err != nil {
		return nil, err
	}
	client, err := e.identity(c, s)
	if err != nil {
		return nil, err
	}
	code, err := e.Sealer.Open(storage.DeviceCodeID(waiting.App), waiting.DeviceSealed)
	if err != nil {
		return nil, err
	}
	token, err := client.PollDevice(ctx, string(code))
	if err == nil && token.Refresh == "" {
		return nil, errNoRefreshToken
	}
	return token, err
}

var errNoRefreshToken = errors.New(`the identity domain gave no refresh token: switch "Allow token refresh" on in the ` +
	"service (Oracle Cloud Services) and the grant type \"Refresh token\" in the application, and start again")

// connected keeps the tokens of a consent that was given.
func (e *Engine) connected(ctx context.Context, waiting *storage.Consent, token *oauth.Token, by Caller) error {
	tokens := e.sealTokens(waiting.App, token)
	err := e.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := storage.GiveConsent(ctx, tx, waiting, tokens); err != nil {
			return err
		}
		line := by.Audit("app.connect", waiting.App, waiting.App)
		line.Detail = "as " + tokens.As
		if waiting.StartedBy != by.Name {
			line.Detail += fmt.Sprintf(", begun by %s", waiting.StartedBy)
		}
		return storage.InsertAudit(ctx, tx, line)
	})
	if errors.Is(err, storage.ErrStale) {
		return nil // another code took its place, or the app is another: what there is now is told
	}
	if err == nil {
		e.logger.InfoContext(ctx, "consent: the app is connected", "app", waiting.App)
	}
	return err
}
