package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"longhaul/oracle"
)

// ErrPending says that the person has not decided yet: poll again after
// [Device.Interval].
var ErrPending = errors.New("the person has not decided yet")

// ErrSlowDown is [ErrPending] for who polls too fast: add five seconds to the
// interval from now on (RFC 8628, 3.5).
var ErrSlowDown = errors.New("the person has not decided yet, and the domain asks to poll more slowly")

// operation says what was tried; it begins every error.
type operation string

const (
	opStartDevice       operation = "start the device sign-in"
	opPollDevice        operation = "ask for the device's token"
	opRefresh           operation = "refresh the access token"
	opUserAssertion     operation = "get a token by user assertion"
	opClientCredentials operation = "get a token by client credentials" //nolint:gosec // G101: words, not a secret
)

// Error is every failure of a request to the domain, found with [errors.As].
// It holds no secret.
type Error struct {
	// Op says what was tried.
	Op string
	// Code is OAuth's (RFC 6749, 5.2): invalid_grant and the like. Empty where
	// the domain did not refuse in OAuth's words.
	Code string
	// Description is the domain's own text.
	Description string
	// Advice tells an administrator what is wrong and what to change.
	Advice string
	// Status is the HTTP status, 0 where no answer came.
	Status int
	// RetryAfter is how long the domain asked to be left alone; 0 if it did not.
	RetryAfter time.Duration
	// MayHaveHappened is true unless it is certain that the domain did not
	// act, as [oracle.Error.MayHaveHappened]: the refresh token or device code
	// that was sent may be spent, and must not be sent again.
	MayHaveHappened bool
	// Err is the [*oracle.Error] below, or the cause of one.
	Err error

	passing bool
}

// Error says what was tried, what to do about it, and the domain's own words.
func (e *Error) Error() string {
	var own []string
	for _, s := range []string{e.Code, e.Description} {
		if s != "" {
			own = append(own, s)
		}
	}
	switch {
	case e.Code == "" && e.Err != nil:
		if e.Advice == "" {
			return e.Err.Error()
		}
		return fmt.Sprintf("%v; %s", e.Err, e.Advice)
	case e.Advice == "":
		return fmt.Sprintf("%s: %s", e.Op, strings.Join(own, ": "))
	}
	return fmt.Sprintf("%s: %s (%s)", e.Op, e.Advice, strings.Join(own, ": "))
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same may work later with nothing changed: no
// answer came, 429, or 5xx. Before sending a refresh token or a device code
// again look at MayHaveHappened too.
func (e *Error) Temporary() bool { return e.passing }

// codeOf is OAuth's code of an error, or nothing.
func codeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// newError tells what an error of the request core means here.
func newError(what operation, code string, err error) error {
	e := &Error{Op: string(what), Code: code, Err: err}
	below, ok := errors.AsType[*oracle.Error](err)
	if !ok {
		e.MayHaveHappened = true
		return e
	}
	e.Status, e.RetryAfter, e.MayHaveHappened = below.Status, below.RetryAfter, below.MayHaveHappened
	if code != "" && below.Message != code {
		e.Description = below.Message
	}
	e.passing = passing(below)
	e.Advice = advise(what, e)
	return e
}

func passing(e *oracle.Error) bool {
	switch e.Kind {
	case oracle.KindUnavailable, oracle.KindServer:
		// A redirect, or a page where the endpoint should be, says that the
		// address is wrong.
		return e.Status == 0 || e.Status == http.StatusTooManyRequests ||
			e.Status == http.StatusRequestTimeout || e.Status >= http.StatusInternalServerError
	}
	return false
}

// Words that are said more than once.
const (
	connectAgain = "connect again, by signing in once more"
	refreshOff   = `the identity domain does not let this application have refresh tokens, or use this grant: ` +
		`in the application switch the grant type on, with "Refresh token" for unattended work, ` +
		`and switch "Allow token refresh" on in the service too (Oracle Cloud Services)`
)

// advise says what to change.
func advise(what operation, e *Error) string {
	switch e.Code {
	case "invalid_grant":
		return adviseGrant(what, strings.ToLower(e.Description))
	case "unauthorized_client":
		return refreshOff
	case "invalid_scope":
		return "the scope is not one that this application may ask for: copy it from the application's resources in the " +
			"identity domain, audience and scope written together, of one service only"
	case "invalid_client":
		if what == opUserAssertion {
			return "the identity domain does not know the application: check client id, client secret, and that the " +
				"certificate is uploaded to it under the alias given here"
		}
		return "the identity domain does not know the application: check client id and client secret, and that the " +
			"application is activated"
	case "access_denied":
		return "the person denied the request; start again to ask once more"
	case "expired_token":
		return "the code was not entered in time; start again"
	case "unsupported_grant_type", "unsupported_response_type":
		return "the identity domain does not offer this way to sign in; choose another"
	}
	return adviseStatus(e)
}

func adviseStatus(e *Error) string {
	switch {
	case e.Status == http.StatusTooManyRequests:
		return "the identity domain's limit of requests is reached; wait before trying again"
	case e.Status/100 == 3, e.Status == http.StatusNotFound:
		return "check the domain URL: this is not the token service of an identity domain"
	case e.MayHaveHappened && e.Op == string(opRefresh):
		return "the refresh token may have been used up by this; if the next refresh says that it was consumed, " + connectAgain
	}
	return ""
}

// adviseGrant tells the refusals of a grant apart, by what grant it is and by
// the texts that Oracle documents for refresh tokens.
func adviseGrant(what operation, text string) string {
	switch {
	case what == opPollDevice:
		return "the device code is no longer good; start again"
	case what == opUserAssertion:
		return "the identity domain does not accept the assertion: check that the user is in this domain, that the " +
			"certificate is uploaded to the application under the alias given here, and that this server's clock is right"
	case what != opRefresh:
		return ""
	case strings.Contains(text, "consumed"):
		return "the refresh token was used before, by another program or by an attempt whose answer was lost, " +
			"and the identity domain has revoked the consent; " + connectAgain
	case strings.Contains(text, "expired"):
		return "the refresh token is too old (an identity domain keeps one for 7 days unless told otherwise); " + connectAgain
	}
	return "the identity domain no longer accepts the refresh token; " + connectAgain
}
