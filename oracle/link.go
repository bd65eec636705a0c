package oracle

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Rebase turns an href from an answer into an address on the configured host.
//
// Whatever host, port or scheme the href names is replaced: behind a gateway
// services write their inner host, some documented examples write http for an
// https service or an explicit :443, and the credentials are for the
// configured host alone. Its path may hold the configured prefix or not, and a
// doubled beginning (/interop/rest/v2/interop/rest/v2/…, in
// prest/upload_application_snapshot_v2) is halved. Query kept, fragment cut.
func (c *Client) Rebase(href string) (*url.URL, error) {
	href = strings.TrimSpace(href)
	u, err := url.Parse(href)
	switch {
	case err != nil || href == "":
		return nil, fmt.Errorf("link %q is not an address", CleanMessage(href))
	case u.Opaque != "" || u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("link is not an http address: " + u.Scheme)
	case hasDotSegment(u.Path):
		return nil, errors.New("link holds . or .. segments")
	}
	path := "/" + strings.TrimLeft(u.EscapedPath(), "/")
	if prefix := c.base.EscapedPath(); prefix != "" && strings.HasPrefix(path, prefix+"/") {
		path = path[len(prefix):]
	}
	return c.at(halve(path), escapeQuery(u.RawQuery))
}

// target returns the address of a call.
func (c *Client) target(call Call) (*url.URL, error) {
	u, err := c.at(call.Path, "")
	if call.Link != "" {
		u, err = c.Rebase(call.Link)
	}
	if err != nil || len(call.Query) == 0 {
		return u, err
	}
	query := u.Query()
	maps.Copy(query, call.Query)
	// Encode writes a space as +, which not every server reads as one.
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u, nil
}

// at returns the address of an escaped path and query below the base.
func (c *Client) at(path, query string) (*url.URL, error) {
	if query != "" {
		query = "?" + query
	}
	u, err := url.Parse(c.base.String() + path + query)
	if err != nil {
		return nil, fmt.Errorf("path is not percent-encoded: %w", plainCause(err))
	}
	return u, nil
}

// Segment escapes a name as one path segment: everything that means something
// in a path, slash included, and +, which some servers read as a space.
func Segment(name string) string {
	return strings.ReplaceAll(url.PathEscape(name), "+", "%2B")
}

// halve cuts the first of two equal beginnings of two to eight segments (the
// known ones have three).
func halve(path string) string {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for n := min(len(segments)/2, 8); n >= 2; n-- {
		if slices.Equal(segments[:n], segments[n:2*n]) {
			return "/" + strings.Join(segments[n:], "/")
		}
	}
	return path
}

// hasDotSegment reports whether a decoded path could climb out of its prefix.
func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(strings.ReplaceAll(path, `\`, "/"), "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// escapeQuery percent-encodes what may not stand in a query, and leaves what
// is encoded already: hrefs come with raw spaces, quotes and braces.
func escapeQuery(raw string) string {
	const allowed = "-._~!$&'()*+,;=:@/?%"
	var b strings.Builder
	for i := range len(raw) {
		ch := raw[i]
		switch {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9',
			strings.IndexByte(allowed, ch) >= 0:
			b.WriteByte(ch)
		default:
			fmt.Fprintf(&b, "%%%02X", ch)
		}
	}
	return b.String()
}

// sameOrigin reports whether both addresses have the same scheme, host and
// port; :443 and :80 may be left out.
func sameOrigin(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" {
			return p
		}
		return map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

// secretWords mark a query parameter, or a JSON text inside one, as secret.
var secretWords = []string{"pass", "pwd", "secret", "token", "credential", "signature", "assertion", "apikey", "privatekey"}

// redact writes an address without user and with secrets in its query masked.
func redact(u *url.URL) string {
	r := *u
	r.User = nil
	query, err := url.ParseQuery(r.RawQuery)
	if err != nil && secret(r.RawQuery) {
		r.RawQuery = "***"
		return r.String()
	}
	for name, values := range query {
		if secret(name + " " + strings.Join(values, " ")) {
			query[name] = []string{"***"}
			r.RawQuery = query.Encode()
		}
	}
	return r.String()
}

func secret(text string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(text, w) })
}
