package web

import (
	"fmt"
	"net/url"
	"time"
)

// Connection is how an app is connected by OAuth 2, as its page shows it.
type Connection struct {
	App   string
	Grant string // device_code, refresh_token or jwt_bearer
	// State is that of the consent: none, waiting, connected, denied, expired or failed.
	State   string
	Message string

	Connected bool
	As        string    // whose consent it is
	At        time.Time // when it was given
	Until     time.Time // until when it lasts unused; zero: not known
	Problem   string
	ProblemAt time.Time

	// While a consent is waited for.
	UserCode, VerificationURI, VerificationURIComplete string
	ExpiresAt                                          time.Time

	Refused string // why the last click came to nothing; empty: it did not
	Now     time.Time
}

// Waiting reports whether a person is about to consent.
func (c *Connection) Waiting() bool { return c.State == "waiting" }

// Ended reports whether the last consent that was asked for was not given.
func (c *Connection) Ended() bool {
	return c.State == "denied" || c.State == "expired" || c.State == "failed"
}

// Consents reports whether the app is connected by a consent that is given from here.
func (c *Connection) Consents() bool { return c.Grant == "device_code" }

// Forgets reports whether there is something to disconnect.
func (c *Connection) Forgets() bool { return c.Grant != "jwt_bearer" && c.Connected }

// URL is where the state of the connection is asked for, and a consent is begun.
func (c *Connection) URL() string { return "/apps/" + url.PathEscape(c.App) + "/connection" }

// DisconnectURL is where one is asked whether to disconnect.
func (c *Connection) DisconnectURL() string { return "/apps/" + url.PathEscape(c.App) + "/disconnect" }

// EnterAt is where the person goes: the address that holds the code already, where there is one.
func (c *Connection) EnterAt() string {
	if c.VerificationURIComplete != "" {
		return c.VerificationURIComplete
	}
	return c.VerificationURI
}

// Host is the host of that address, for people to see where they go.
func (c *Connection) Host() string {
	u, err := url.Parse(c.EnterAt())
	if err != nil {
		return ""
	}
	return u.Host
}

// ConnectionPart is the connection alone, for a page that follows it.
func ConnectionPart(c *Connection) View {
	return View{file: "app.html", part: "connection", page: page{Body: c}}
}

// AskDisconnect asks whether an app's tokens are to be forgotten.
func AskDisconnect(a *App) *Question {
	return &Question{
		Title: fmt.Sprintf("Disconnect %s?", a.Name), Action: a.Page() + "/disconnect", Back: a.Page(),
		Yes: "Disconnect", No: "Stay connected", Danger: true,
		Paragraphs: []string{
			"Its tokens are deleted here. Tasks cannot be started, and those that run cannot be followed, until somebody connects the app again.",
			"To take the consent back as well, do so in the identity domain.",
		},
	}
}
