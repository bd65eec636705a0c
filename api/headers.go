package api

import (
	"html"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

const (
	// pagePolicy is for pages: nothing on them is inline, and nothing comes from elsewhere.
	pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	// answerPolicy is for everything else: whoever shows it as a page gets nothing to run.
	answerPolicy = "default-src 'none'; frame-ancestors 'none'"
	// transportPolicy makes browsers come by https alone for a year. Other hosts of the domain are
	// not ours to speak for.
	transportPolicy = "max-age=31536000"
	// noFeatures takes from pages, and from what they might be made to embed, what browsers could
	// do for them with the person's devices. Names that browsers do not know make them complain.
	noFeatures = "accelerometer=(), camera=(), clipboard-read=(), display-capture=(), geolocation=(), gyroscope=(), " +
		"hid=(), magnetometer=(), microphone=(), midi=(), payment=(), publickey-credentials-get=(), screen-wake-lock=(), serial=(), " +
		"usb=(), xr-spatial-tracking=()"
)

// standing are the headers of every answer; a handler that needs another value sets it. The slices
// are shared: setting a header replaces its slice, and adding to it copies. The first ones are for
// all, the rest is for what can be shown as a page, which an answer of the API cannot: nothing
// in it runs, leads on or is embedded.
var standing = []struct {
	name  string
	value []string
}{
	{"X-Content-Type-Options", []string{"nosniff"}},
	{"Content-Security-Policy", []string{answerPolicy}},
	// Read by other origins' no-cors requests alone: those that CORS lets in are not in question.
	{"Cross-Origin-Resource-Policy", []string{"same-origin"}},
	{"Cache-Control", []string{"no-store"}},

	{"Referrer-Policy", []string{"same-origin"}},
	{"Cross-Origin-Opener-Policy", []string{"same-origin"}},
	{"Permissions-Policy", []string{noFeatures}},
}

// ofAnswers is how many of them answers of the API have. They are asked for by the thousand, and
// each header costs.
const ofAnswers = 4

// headers gives every answer what browsers are to keep to.
func (s *Server) headers(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h, set := c.Response().Header(), standing
		if strings.HasPrefix(c.Request().URL.Path, "/api/") {
			set = standing[:ofAnswers]
		}
		for i := range set {
			h[set[i].name] = set[i].value
		}
		if s.secure(c) {
			h.Set("Strict-Transport-Security", transportPolicy)
		}
		return next(c)
	}
}

// onlyHosts refuses requests that name a host which this server is not, where Hosts names those it
// is. A page of a stranger can point its own name at this address and read what is here as its own
// (DNS rebinding); the browser still says which name it means.
func (s *Server) onlyHosts(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if s.Hosts == nil || c.Path() == "/healthz" || c.Path() == "/readyz" || s.isHere(c.Request().Host) {
			return next(c)
		}
		return refuse(c.Request().Context(), http.StatusMisdirectedRequest,
			"This server does not answer to this name. Use localhost, or set LONGHAUL_PUBLIC_URL to the address that people use.")
	}
}

// isHere reports whether a Host header names this server.
func (s *Server) isHere(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return true
	}
	return host == "localhost" || slices.Contains(s.Hosts, host)
}

// corsMaxAge is how many seconds a browser may remember what another origin may do: the most that
// Chromium takes.
const corsMaxAge = "7200"

var (
	corsMethods = strings.Join([]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, ", ")
	corsTakes   = strings.Join([]string{
		"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "If-Range", "Range", "Last-Event-ID",
		"Tus-Resumable", "Upload-Length", "Upload-Defer-Length", "Upload-Offset", "Upload-Metadata", "Upload-Concat", "Upload-Checksum",
		"Upload-Complete", "Upload-Incomplete", "Upload-Draft-Interop-Version", "X-HTTP-Method-Override", "Content-Digest", "Repr-Digest",
	}, ", ")
	corsShows = strings.Join([]string{
		"Content-Disposition", "Content-Range", "Digest", "ETag", "Location", "Repr-Digest", "Retry-After", "X-Request-Id",
		"Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm",
		"Upload-Length", "Upload-Defer-Length", "Upload-Offset", "Upload-Metadata", "Upload-Concat", "Upload-Expires",
		"Upload-Complete", "Upload-Incomplete", "Upload-Draft-Interop-Version", "Upload-Limit",
	}, ", ")
)

// cors lets the pages of the origins in Origins call the API with bearer tokens. Their cookies are
// not asked for, and count for nothing that changes anything: see identify.
func (s *Server) cors(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, h := c.Request(), c.Response().Header()
		if len(s.Origins) == 0 || !strings.HasPrefix(r.URL.Path, "/api/v1/") && r.URL.Path != "/openapi.json" {
			return next(c)
		}
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if !slices.Contains(s.Origins, origin) {
			return next(c)
		}
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", corsShows)
		if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
			return next(c)
		}
		h.Set("Access-Control-Allow-Methods", corsMethods)
		h.Set("Access-Control-Allow-Headers", corsTakes)
		h.Set("Access-Control-Max-Age", corsMaxAge)
		return c.NoContent(http.StatusNoContent)
	}
}

// leave leads a browser that posted a form on to another origin. A redirect will not do: Chromium
// holds the form-action of the page's policy against each address that the form is led to, and the
// provider may lead it on to others yet.
func leave(c echo.Context, address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return c.Redirect(http.StatusSeeOther, address)
	}
	c.Response().Header().Set("Refresh", "0; url="+u.String())
	return c.HTML(http.StatusOK, `<!doctype html><html lang="en"><title>Signing out</title><a href="`+html.EscapeString(u.String())+`">Sign out there too</a></html>`)
}
