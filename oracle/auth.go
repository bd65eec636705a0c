package oracle

import (
	"context"
	"errors"
	"net/http"
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

func unsigned(context.Context, *http.Request) error { return nil }
