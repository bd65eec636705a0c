package ssotest

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// Browser follows redirects, keeps cookies and fills in forms, as far as signing in
// and out takes. It runs no scripts.
type Browser struct{ client *http.Client }

// NewBrowser returns a browser that has been nowhere.
func NewBrowser(t testing.TB) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	return &Browser{client: &http.Client{
		Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// SignIn opens an address of the provider (to sign in, or out), submits every form
// that comes, with the person's login and password where they are asked for, and
// returns the address that the provider sends the browser to in the end, which is not
// visited.
func (b *Browser) SignIn(t testing.TB, address string, who Account) *url.URL {
	t.Helper()
	return b.walk(t, address, func(p page) (method, next string, form url.Values) {
		return p.submit(who)
	})
}

// Cancel opens an address to sign in at Node, and chooses to cancel.
func (b *Browser) Cancel(t testing.TB, address string) *url.URL {
	t.Helper()
	return b.walk(t, address, func(p page) (method, next string, form url.Values) {
		for _, a := range p.elements("a") {
			if strings.HasSuffix(attribute(a, "href"), "/abort") {
				return http.MethodGet, attribute(a, "href"), nil
			}
		}
		return "", "", nil
	})
}

// walk goes on from page to page until the provider sends the browser elsewhere.
func (b *Browser) walk(t testing.TB, address string, act func(page) (method, next string, form url.Values)) *url.URL {
	t.Helper()
	const mostSteps = 30
	at, err := url.Parse(address)
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	home, method, form := at.Host, http.MethodGet, url.Values(nil)
	for range mostSteps {
		resp, body := b.do(t, method, at, form)
		next := resp.Header.Get("Location")
		if method, form = http.MethodGet, nil; next == "" {
			method, next, form = act(parsePage(t, body))
		}
		if method == "" || resp.StatusCode >= http.StatusBadRequest {
			t.Fatalf("ssotest: %s answered %s, where the browser knows nothing to do: %s", at.Redacted(), resp.Status, body)
		}
		if at, err = at.Parse(next); err != nil {
			t.Fatalf("ssotest: %v", err)
		}
		if at.Host != home {
			return at
		}
	}
	t.Fatalf("ssotest: still at %s after %d steps", at.Redacted(), mostSteps)
	return nil
}

func (b *Browser) do(t testing.TB, method string, at *url.URL, form url.Values) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, at.String(), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.client.Do(req)
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	return resp, string(body)
}

// page is a parsed page.
type page struct{ root *html.Node }

func parsePage(t testing.TB, body string) page {
	t.Helper()
	root, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	return page{root: root}
}

func (p page) elements(name string) []*html.Node {
	var found []*html.Node
	for n := range p.root.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			found = append(found, n)
		}
	}
	return found
}

// submit fills in the page's only form; nothing when there is none.
func (p page) submit(who Account) (method, action string, values url.Values) {
	forms := p.elements("form")
	if len(forms) == 0 {
		return "", "", nil
	}
	values = url.Values{}
	for _, input := range append(p.elements("input"), p.elements("button")...) {
		name := attribute(input, "name")
		switch kind := attribute(input, "type"); {
		case name == "" || values.Has(name):
		case kind == "hidden" || kind == "submit":
			values.Set(name, attribute(input, "value"))
		case kind == "password" || name == "password":
			values.Set(name, who.Password)
		default:
			values.Set(name, who.Login)
		}
	}
	return strings.ToUpper(attribute(forms[0], "method")), attribute(forms[0], "action"), values
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
