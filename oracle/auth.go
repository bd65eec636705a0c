package oracle

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
)

// Auth signs a request by setting its headers, just before it is sent. An
// implementation that must fetch a token first does so here, under ctx; its
// error means that nothing was sent. It may be called from many goroutines.
type Auth func(ctx context.Context, req *http.Request) error

// Basic signs with HTTP basic authentication, in UTF-8. On EPM Cloud's classic
// platform user must be "identitydomain.username"; on OCI the plain user name
// does as well (prest/authentication_overview).
func Basic(user, password string) Auth {
	return func(_ context.Context, req *http.Request) error {
		if strings.Contains(user, ":") {
			return errors.New("user name holds a colon, which basic authentication cannot carry")
		}
		req.SetBasicAuth(user, password)
		return nil
	}
}

// Bearer signs with an OAuth 2 access token (RFC 6750). The token function is
// asked before every attempt, those of a read that is tried again too, so it
// must be cheap while the token it keeps is good, and must not itself spend a
// refresh token twice. Its error is found in that of the call, which was not
// sent then.
func Bearer(token func(ctx context.Context) (string, error)) Auth {
	return func(ctx context.Context, req *http.Request) error {
		text, err := token(ctx)
		if err != nil {
			return err
		}
		if !bearerForm.MatchString(text) {
			return errors.New("access token is empty or holds what no header can carry")
		}
		req.Header.Set("Authorization", "Bearer "+text)
		return nil
	}
}

// bearerForm is b64token of RFC 6750, 2.1.
var bearerForm = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

func unsigned(context.Context, *http.Request) error { return nil }
