package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"

	"longhaul/jobs"
)

// Consent is how far an app's connection by device code is.
type Consent struct {
	State                   string     `json:"state" enum:"none,waiting,connected,denied,expired,failed"`
	Message                 string     `json:"message" doc:"What is, or what went wrong and what to do"`
	UserCode                string     `json:"user_code,omitempty" doc:"While it waits: what a person types at verification_uri"`
	VerificationURI         string     `json:"verification_uri,omitempty" doc:"While it waits: where, in the identity domain"`
	VerificationURIComplete string     `json:"verification_uri_complete,omitempty" doc:"The same with the code in it, where the domain gives one"`
	ExpiresAt               *time.Time `json:"expires_at,omitempty" doc:"While it waits: until when the code is good"`
	Interval                int        `json:"interval,omitempty" doc:"While it waits: seconds to let pass before asking again"`
	ConnectedAs             string     `json:"connected_as,omitempty" doc:"Whose consent the app has, in the identity domain: this one, or one before"`
	ConnectedAt             *time.Time `json:"connected_at,omitempty"`
}

type consentOutput struct {
	Location   string `header:"Location"`
	RetryAfter string `header:"Retry-After" doc:"Seconds to let pass before asking again; absent when nothing is waited for"`
	Body       Consent
}

const consentPath = "/api/v1/apps/{app}/consent"

func (s *Server) consentRoutes() {
	tags, errs := []string{"Apps"}, []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict}
	huma.Register(s.huma, huma.Operation{
		OperationID: "start-consent", Method: http.MethodPost, Path: consentPath, Tags: tags, Summary: "Connect an app: ask for a person's consent",
		Description: "For apps that sign in by the grant device_code. Show the answer's user_code and verification_uri to a person of " +
			"the identity domain whom the app is to act for, and ask GET until it is no longer waiting. What connects the app now " +
			"stays until then.",
		DefaultStatus: http.StatusCreated, Errors: append(errs, http.StatusBadGateway),
	}, s.startConsent)
	huma.Register(s.huma, huma.Operation{
		OperationID: "get-consent", Method: http.MethodGet, Path: consentPath, Tags: tags, Summary: "Ask how far an app's consent is",
		Description: "While it waits, this asks the identity domain, as often as that allows. Nothing else does: a consent that nobody " +
			"asks for within the code's life is not taken.",
		Errors: errs,
	}, s.getConsent)
	huma.Register(s.huma, huma.Operation{
		OperationID: "delete-consent", Method: http.MethodDelete, Path: consentPath, Tags: tags, Summary: "Disconnect an app: forget its tokens",
		Description:   "The consent itself is taken back in the identity domain, by the person who gave it or an administrator there.",
		DefaultStatus: http.StatusNoContent, Errors: errs,
	}, s.deleteConsent)
}

// startConsent handles POST /api/v1/apps/{app}/consent, for the app's admins.
func (s *Server) startConsent(ctx context.Context, in *appInput) (*consentOutput, error) {
	found, err := s.Engine.StartConsent(ctx, in.App, requestOf(ctx).caller)
	if err != nil {
		return nil, consentProblem(ctx, err)
	}
	out := consentAnswer(found)
	out.Location = "/api/v1/apps/" + in.App + "/consent"
	return out, nil
}

// getConsent handles GET /api/v1/apps/{app}/consent, for the app's admins.
func (s *Server) getConsent(ctx context.Context, in *appInput) (*consentOutput, error) {
	found, err := s.Engine.Consent(ctx, in.App, requestOf(ctx).caller)
	if err != nil {
		return nil, consentProblem(ctx, err)
	}
	return consentAnswer(found), nil
}

// deleteConsent handles DELETE /api/v1/apps/{app}/consent, for the app's admins.
func (s *Server) deleteConsent(ctx context.Context, in *appInput) (*struct{}, error) {
	return nil, consentProblem(ctx, s.Engine.Disconnect(ctx, in.App, requestOf(ctx).caller))
}

// consentProblem words what the engine refuses.
func consentProblem(ctx context.Context, err error) error {
	if errors.Is(err, jobs.ErrNoConsent) {
		return refuse(ctx, http.StatusConflict, "This app does not sign in by a person's consent. Give it credentials of the type oauth2 with the grant device_code first.")
	}
	if remote, ok := errors.AsType[*jobs.RemoteError](err); ok {
		return refuse(ctx, http.StatusBadGateway, remote.Message)
	}
	return err
}

func consentAnswer(c *jobs.Consent) *consentOutput {
	out := &consentOutput{Body: Consent{
		State: c.State, Message: c.Message, UserCode: c.UserCode,
		VerificationURI: c.VerificationURI, VerificationURIComplete: c.VerificationURIComplete,
		ConnectedAs: orEmpty(c.Connection.ConnectedAs), ConnectedAt: inUTC(c.Connection.ConnectedAt),
	}}
	if c.State == jobs.ConsentWaiting {
		out.Body.ExpiresAt, out.Body.Interval = inUTC(&c.ExpiresAt), int(c.Interval/time.Second)
		out.RetryAfter = strconv.Itoa(out.Body.Interval)
	}
	return out
}

// countRefreshFailures shows in the metrics how often apps lost their connection.
func (s *Server) countRefreshFailures() {
	s.Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "longhaul_refresh_failures_total", Help: "Requests for access tokens of apps that failed so that a person must do something.",
	}, func() float64 { return float64(s.Engine.RefreshFailures()) }))
}
