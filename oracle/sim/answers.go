package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// refusal is what the environment says when it refuses something, in the words
// its caller reads.
type refusal string

func (r refusal) Error() string { return string(r) }

func refusef(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// object is a JSON object of an answer.
type object map[string]any

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		// Everything marshalled here is built of strings, numbers and maps.
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that went away is no concern of the handler
}

// writeHTML answers with a page, as the servers in front of the service do.
func writeHTML(w http.ResponseWriter, status int, title, text string) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!DOCTYPE html>\n<html><head><title>%d %s</title></head>\n<body><h1>%s</h1><p>%s</p></body></html>\n",
		status, title, title, text)
}

func writeNotFound(w http.ResponseWriter) {
	writeHTML(w, http.StatusNotFound, "Not Found", "The requested URL was not found on this server.")
}

// writePlanningError answers with the general failure body of the Planning API.
func writePlanningError(w http.ResponseWriter, status int, class, detail string) {
	message := "com.hyperion.planning." + class + ": " + detail
	writeJSON(w, status, object{
		"detail": detail, "status": status, "message": message, "localizedMessage": message,
	})
}

// origin returns scheme and host as the client sees them, and the prefix.
func (e *environment) origin(r *http.Request, key string) string {
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	host, prefix := r.Host, e.cfg.Prefix
	switch {
	case e.odd.pick("explicit port", key, 5):
		name := (&url.URL{Host: host}).Hostname()
		if strings.Contains(name, ":") {
			name = "[" + name + "]"
		}
		scheme, host = "https", name+":443"
	case scheme == "https" && e.odd.pick("http for https", key, 3):
		scheme = "http"
	}
	if e.odd.pick("no prefix", key, 4) {
		prefix = ""
	}
	return scheme + "://" + host + prefix
}

// href makes an absolute address of path, with the oddities seen in links:
// the port 443 made explicit, http for https, a proxy's prefix left out, a
// blank in front.
func (e *environment) href(r *http.Request, path string) string {
	href := e.origin(r, path) + path
	if e.odd.pick("blank before href", path, 4) {
		href = " " + href
	}
	return href
}

// planningLink is a link of the Planning API. All of them are to be got.
func (e *environment) planningLink(r *http.Request, rel, path string) object {
	return object{"rel": rel, "href": e.href(r, path), "action": http.MethodGet}
}

// collection is a collection of the Planning API.
func (e *environment) collection(r *http.Request, items []object) object {
	if items == nil {
		items = []object{}
	}
	return object{"items": items, "type": "HP", "links": []object{e.planningLink(r, "self", e.selfPath(r))}}
}

// selfPath is the address asked for, without prefix and query.
func (e *environment) selfPath(r *http.Request) string { return r.URL.EscapedPath() }

// interopLink is a link of the interop API.
func (e *environment) interopLink(r *http.Request, rel, method, path string) object {
	if rel == relJobStatus && e.odd.pick("rel in lower case", path, 5) {
		rel = "Job status"
	}
	return object{"rel": rel, "href": e.href(r, path), "action": method, "data": nil}
}

// Relations of interop links that clients follow.
const (
	relSelf      = "self"
	relJobStatus = "Job Status"
	relDownload  = "Download link"
)

// envelope is an answer of the interop API.
type envelope struct {
	status  int
	details string
	// items is left out when noItems; nil is null.
	items   []object
	noItems bool
	links   []object
}

// writeEnvelope answers with HTTP 200 whatever the status in the envelope is,
// as the interop API does.
func (e *environment) writeEnvelope(w http.ResponseWriter, r *http.Request, answer envelope) {
	key := r.Method + " " + r.URL.EscapedPath()
	self := e.interopLink(r, relSelf, r.Method, e.oddSelf(r))
	body := object{
		"status":  e.odd.number(key, answer.status),
		"details": e.odd.text(key, answer.details),
		"links":   append([]object{self}, answer.links...),
	}
	if !answer.noItems {
		body["items"] = answer.items
	}
	writeJSON(w, http.StatusOK, body)
}

// oddSelf is the address asked for; that of a v2 call may be doubled, as an
// example of Oracle's shows it.
func (e *environment) oddSelf(r *http.Request) string {
	path := e.selfPath(r)
	if strings.HasPrefix(path, "/interop/rest/v2/") && e.odd.pick("doubled self", path, 3) {
		return "/interop/rest/v2" + path
	}
	return path
}

// writeFailure answers with a failed envelope.
func (e *environment) writeFailure(w http.ResponseWriter, r *http.Request, format string, args ...any) {
	e.writeEnvelope(w, r, envelope{status: 1, details: fmt.Sprintf(format, args...), noItems: true})
}

// decodeJSON reads a body of at most a megabyte into v.
func decodeJSON(w http.ResponseWriter, r *http.Request, v any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	decoder.UseNumber()
	if err := decoder.Decode(v); err != nil {
		return fmt.Errorf("read JSON body: %w", err)
	}
	return nil
}
