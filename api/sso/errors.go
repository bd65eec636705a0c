package sso

import (
	"context"
	"errors"
	"fmt"
)

// ErrUnavailable means that the provider does not answer, or not as one should;
// it is wrapped with the cause. Trying later may help.
var ErrUnavailable = errors.New("the sign-in provider does not answer")

// The codes of a [Refusal].
const (
	// CodeStartAgain: the sign-in was not finished the way it was begun (another
	// browser, a link used twice, too long ago). A new one may work.
	CodeStartAgain = "start_again"
	// CodeDenied: the provider did not let the person in.
	CodeDenied = "denied"
	// CodeNotAllowed: the provider did, but the settings of this server do not:
	// the domain or the groups.
	CodeNotAllowed = "not_allowed"
	// CodeInvalidToken: a token is not to be trusted, or not for this server.
	CodeInvalidToken = "invalid_token" // as RFC 6750 calls it
	// CodeProvider: the provider reports an error of its own.
	CodeProvider = "provider_error"
	// CodeSetup: a setting is wrong, here or at the provider; an administrator
	// has to change it.
	CodeSetup = "setup"
)

// Refusal is why somebody may not come in, found with [errors.As]. Neither it nor
// its cause holds a secret or a token.
type Refusal struct {
	// Code is one of the codes above.
	Code string
	// Message is for the person, or for who sent the token: what happened, and
	// what to do.
	Message string
	// Err is the cause, for the log; it may be nil.
	Err error
}

// Error is for the log: the message and the cause.
func (r *Refusal) Error() string {
	if r.Err == nil {
		return r.Message
	}
	return fmt.Sprintf("%s (%v)", r.Message, r.Err)
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

func refuse(code, message string, cause error) *Refusal {
	return &Refusal{Code: code, Message: message, Err: cause}
}

// unavailable wraps what went wrong on the way to the provider. That the caller
// went away is not the provider's failure.
func unavailable(ctx context.Context, op string, cause error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, cause)
}
