package identity

import (
	"encoding/hex"
	"errors"
	"html/template"
	"net/http"
	"strconv"
)

// maxForm bounds a form that is posted, in bytes; tokens have up to 16 kB.
const maxForm = 256 << 10

// oauthError is a refusal in OAuth's words.
type oauthError struct {
	status            int
	code, description string
}

// Error implements error.
func (e *oauthError) Error() string { return e.code + ": " + e.description }

func refuse(code, description string) *oauthError {
	return &oauthError{status: http.StatusBadRequest, code: code, description: description}
}

func refuseClient() *oauthError {
	return &oauthError{status: http.StatusUnauthorized, code: "invalid_client", description: "Client authentication failed."}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text := mustJSON(body)
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	//nolint:gosec // G705: JSON, and said to be so
	_, _ = w.Write(text) // a client that went away is no concern of the handler
}

// writeSecret is writeJSON for what nobody may keep.
func writeSecret(w http.ResponseWriter, body any) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	writeJSON(w, http.StatusOK, body)
}

// writeError answers with an error of the token and device endpoints.
func writeError(w http.ResponseWriter, err error) {
	var e *oauthError
	if !errors.As(err, &e) {
		e = &oauthError{status: http.StatusInternalServerError, code: "server_error", description: err.Error()}
	}
	id := hex.EncodeToString([]byte(secret()[:16]))
	w.Header().Set("Opc-Request-Id", id)
	w.Header().Set("Cache-Control", "no-store")
	if e.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="oauth2"`)
	}
	writeJSON(w, e.status, map[string]any{"error": e.code, "error_description": e.description, "ecId": id})
}

// writeUnauthorized answers a bearer token that is missing or no good.
func writeUnauthorized(w http.ResponseWriter, description string) {
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="`+description+`"`)
	writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token", "error_description": description})
}

// readForm reads a posted form; a parameter that comes twice is refused, as
// OAuth says, and the query of the address is not looked at.
func readForm(w http.ResponseWriter, r *http.Request) *oauthError {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return refuse("invalid_request", "The request body is not a form: "+err.Error())
	}
	for name, values := range r.PostForm {
		if len(values) > 1 {
			return refuse("invalid_request", "The parameter "+name+" is repeated.")
		}
	}
	return nil
}

var pages = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title></head>
<body><h1>{{.Title}}</h1>
{{with .Message}}<p role="alert">{{.}}</p>{{end}}
{{if .Form}}<form method="post">
{{if .Code}}<p><label>Code <input name="user_code" value="{{.UserCode}}" autocomplete="off" required></label></p>{{end}}
{{with .SignedIn}}<p>Signed in as {{.}}</p>{{else}}<p><label>User name <input name="username" autocomplete="username" autofocus required></label></p>
<p><label>Password <input type="password" name="password" autocomplete="current-password" required></label></p>{{end}}
<p>{{if .Code}}<button name="decision" value="allow">Allow</button> <button name="decision" value="deny">Deny</button>{{else}}<button>Sign In</button>{{end}}</p>
</form>{{end}}
</body></html>
`))

// page is a page for people.
type page struct {
	Title, Message string
	// Form asks for name and password unless somebody is SignedIn, Code for
	// the code of a device too.
	Form, Code         bool
	SignedIn, UserCode string
}

func writePage(w http.ResponseWriter, status int, p page) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = pages.Execute(w, p) // a client that went away is no concern of the handler
}
