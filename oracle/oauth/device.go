package oauth

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"longhaul/oracle"
)

// Device is a consent that waits for a person.
type Device struct {
	// DeviceCode is a secret, for [Client.PollDevice].
	DeviceCode string
	// UserCode is what the person types at VerificationURI, which
	// VerificationURIComplete holds already; the latter may be empty.
	UserCode, VerificationURI, VerificationURIComplete string
	// ExpiresIn is how long the code is good.
	ExpiresIn time.Duration
	// Interval is how long to wait between polls: what the domain says, else
	// five seconds (RFC 8628, 3.2).
	Interval time.Duration
}

// String leaves out the device code.
func (d Device) String() string { return "device " + d.UserCode + " at " + d.VerificationURI }

// GoString is the same for %#v.
func (d Device) GoString() string { return d.String() }

// LogValue implements [slog.LogValuer] without the codes.
func (d Device) LogValue() slog.Value {
	return slog.GroupValue(slog.String("verification_uri", d.VerificationURI), slog.Duration("expires_in", d.ExpiresIn))
}

const (
	pathDevice      = "/oauth2/v1/device"
	defaultInterval = 5 * time.Second
	// defaultDeviceLife is Oracle's own, for an answer that does not say.
	defaultDeviceLife = 5 * time.Minute
)

// StartDevice begins the device flow (RFC 8628) for a scope. For unattended work
// the scope ends in " offline_access", without which no refresh token comes.
func (c *Client) StartDevice(ctx context.Context, scope string) (*Device, error) {
	var answer struct {
		DeviceCode              string        `json:"device_code"`
		UserCode                string        `json:"user_code"`
		VerificationURI         string        `json:"verification_uri"`
		VerificationURL         string        `json:"verification_url"` // before RFC 8628
		VerificationURIComplete string        `json:"verification_uri_complete"`
		ExpiresIn               oracle.Number `json:"expires_in"`
		Interval                oracle.Number `json:"interval"`
	}
	// With a secret the client id is in the header; the domain wants it in
	// the form all the same.
	form := url.Values{"response_type": {"device_code"}, "scope": {scope}, "client_id": {c.cfg.ClientID}}
	if err := c.post(ctx, opStartDevice, pathDevice, form, &answer); err != nil {
		return nil, err
	}
	d := &Device{
		DeviceCode: answer.DeviceCode, UserCode: oracle.CleanMessage(answer.UserCode),
		VerificationURI: answer.VerificationURI, VerificationURIComplete: answer.VerificationURIComplete,
		ExpiresIn: seconds(answer.ExpiresIn, defaultDeviceLife), Interval: seconds(answer.Interval, defaultInterval),
	}
	if d.VerificationURI == "" {
		d.VerificationURI = answer.VerificationURL
	}
	switch {
	case d.DeviceCode == "" || d.UserCode == "" || !webAddress(d.VerificationURI):
		return nil, c.unusable(opStartDevice, "the answer holds no code, or no web address to enter it at")
	case !webAddress(d.VerificationURIComplete):
		d.VerificationURIComplete = ""
	}
	return d, nil
}

// seconds reads a duration of the domain's, at most a day.
func seconds(n oracle.Number, otherwise time.Duration) time.Duration {
	if !n.Valid || n.N <= 0 || n.N > 86_400 {
		return otherwise
	}
	return time.Duration(n.N) * time.Second
}

// webAddress reports whether text may be shown to people as a link.
func webAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil &&
		!strings.ContainsAny(text, " \t\r\n")
}

// PollDevice asks once whether the person has consented. The error is
// [ErrPending], [ErrSlowDown] or an [*Error]; the code is spent by the answer
// that brings the token, so that the rule of [Error.MayHaveHappened] holds here
// too.
func (c *Client) PollDevice(ctx context.Context, deviceCode string) (*Token, error) {
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {deviceCode}, "client_id": {c.cfg.ClientID},
	}
	t, err := c.token(ctx, opPollDevice, form)
	switch codeOf(err) {
	case "authorization_pending":
		return nil, ErrPending
	case "slow_down":
		return nil, ErrSlowDown
	}
	return t, err
}
