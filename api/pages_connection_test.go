package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"longhaul/oracle/sim/identity"
)

// TestConnectionPages goes through the connection of an app in Chromium.
func TestConnectionPages(t *testing.T) {
	t.Parallel()
	chrome := startBrowser(t)
	for name, test := range map[string]func(*site, *oauthSite){
		"connect": connectByPage, "trouble": connectionTrouble, "looks": connectionLooks,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDomain(t)
			s := newSite(chrome, t, d.trusting, idle)
			s.signIn()
			test(s, &oauthSite{s.server, d})
		})
	}
}

// connectByPage goes from a new app to a connected one, and back.
func connectByPage(s *site, books *oauthSite) {
	s.visit("/new-app")
	s.until("getComputedStyle(document.querySelector('.when-oauth')).display === 'none'")
	s.fill("#name", "books")
	s.fill("#url", s.simURL)
	s.fill("#application", "Vision")
	s.click("label:has(#sign-in-device_code)")
	s.until("getComputedStyle(document.querySelector('.two.when-basic')).display === 'none'")
	s.fill("#domain_url", "http://idcs-1.identity.oraclecloud.com")
	s.fill("#client_id", "web")
	s.fill("#client_secret", clientSecret)
	s.fill("#scope", epmScope)
	s.click("#app-form .primary")
	s.untilSays("#domain_url-error", "use https")
	s.until("document.querySelector('#sign-in-device_code').checked && document.querySelector('#client_secret').value === ''")
	s.accessible()
	s.fill("#domain_url", books.domain.url)
	s.fill("#client_secret", clientSecret)
	s.click("#app-form .primary")
	s.untilAt("/apps/books?saved=1")
	s.untilSays("#connection", "Not connected yet")

	s.visit("/")
	s.untilSays("main .note.bad", "The connection of the app books needs you: it is not connected")
	s.accessible()
	s.click("main .note.bad a")
	s.untilAt("/apps/books")
	s.click("#connect")
	s.untilSays("#connection", "Waiting for a person to enter the code")
	s.accessible()
	link := js[string](s, "document.querySelector('.consent-steps a').href + ' ' + document.querySelector('.consent-steps a').target")
	if link != books.domain.url+"/ui/v1/device _blank" {
		s.t.Errorf("the link leads to %s", link)
	}
	must(s.t, books.domain.ApproveDevice(s.text("#user-code"), jo))
	books.due()
	s.untilSays("#connection", "Connected as "+jo+" since")
	s.until("!document.querySelector('#user-code')")
	s.until("document.querySelector('#connection').getAttribute('hx-trigger') === 'refresh'")
	s.visit("/apps")
	s.untilSays("section:has(#app-books)", "OAuth 2, with the consent of "+jo)
	s.click("section:has(#app-books) form button")
	s.untilSays("#check-books", "Signed in. Vision")

	s.click("section:has(#app-books) a[href='/apps/books']")
	s.until("document.querySelector('#client_id').value === 'web'")
	s.fill("#max_running", "2") // secrets that are not typed stay
	s.click("#app-form .primary")
	s.untilSays("main", "books is saved")
	s.untilSays("#connection", "Connected as "+jo)
	s.click("#disconnect")
	s.untilSays("dialog[open]", "Disconnect books?")
	s.click("dialog .danger")
	s.untilSays("#connection", "Not connected yet")
	if page := js[string](s, "document.documentElement.outerHTML"); strings.Contains(page, clientSecret) || strings.Contains(page, "eyJ") {
		s.t.Error("a secret is on the page")
	}
	s.visit("/apps")
	s.untilSays("section:has(#app-books)", "The app is not connected")
}

// connectionTrouble looks at what a person reads when a consent or a connection comes to nothing.
func connectionTrouble(s *site, books *oauthSite) {
	books.addBooks(books.oauth(object{"client_secret": "idcscs-wrong"}))
	s.visit("/apps/books")
	s.click("#connect")
	s.untilSays("#connection .bad", "check client id and client secret")
	s.fill("#client_secret", clientSecret)
	s.click("#app-form .primary")
	s.untilAt("/apps/books?saved=1")
	s.click("#connect")
	s.untilSays("#user-code", "-")
	must(s.t, books.domain.DenyDevice(s.text("#user-code")))
	books.due()
	s.untilSays("#connection", "The person denied the request")
	s.untilSays("#connect", "Start again")
	s.accessible()

	books.connect()
	must(s.t, books.domain.AddFault(identity.Fault{Path: tokenPath, Lost: true}))
	for range 2 {
		books.expire()
		books.checkBooks()
	}
	s.visit("/apps/books")
	s.untilSays("#connection .bad", "connect again, by signing in once more")
	s.accessible()
	s.visit("/apps")
	s.untilSays("section:has(#app-books) .bad", "connect again, by signing in once more")
	s.click("section:has(#app-books) .bad a")
	s.untilAt("/apps/books")
	s.click("label:has(#sign-in-jwt_bearer)")
	s.fill("#person", jo)
	s.fill("#key_id", "cert1")
	s.fill("#private_key", "nothing of the kind")
	s.click("#app-form .primary")
	s.untilSays("#private_key-error", "is not PEM")
	s.run("document.querySelector('#private_key').value = " + quote(privatePEM(s.t)))
	s.click("#app-form .primary")
	s.untilAt("/apps?saved=books")
	s.click("section:has(#app-books) form button")
	s.untilSays("#check-books", "Signed in. Vision")
}

// connectionLooks looks at the page in both widths and both lights.
func connectionLooks(s *site, books *oauthSite) {
	books.addBooks(books.oauth(nil))
	look := func() {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 1280} {
				s.look(width, scheme)
				s.visit("/apps/books")
				s.fits()
				s.accessible()
			}
		}
	}
	look()
	books.start()
	look()
	s.visit("/") // or the page would ask whether they have agreed, between connect's questions
	books.connect()
	look()
}

// Without scripts, the page is sent and loaded as a whole.
func TestConnectionWithoutScripts(t *testing.T) {
	t.Parallel()
	s := newOAuthSite(t, idle)
	post := func(path string, fields url.Values) *http.Response {
		t.Helper()
		resp := s.open(http.MethodPost, path, strings.NewReader(fields.Encode()),
			"Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html")
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	fields := url.Values{
		"name": {"books"}, "product": {"epm"}, "url": {s.simURL}, "application": {"Vision"}, "sign_in": {"device_code"},
		"domain_url": {s.domain.url}, "client_id": {"web"}, "client_secret": {clientSecret}, "scope": {epmScope},
	}
	if at := post("/new-app", fields).Header.Get("Location"); at != "/apps/books?saved=1#connection" {
		t.Errorf("saved, it leads to %q", at)
	}
	if resp := post("/apps/books/connection", nil); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/apps/books#connection" {
		t.Errorf("begun: %s %s", resp.Status, resp.Header.Get("Location"))
	}
	code := s.consent().UserCode
	if page := s.get("/apps/books", "Accept", "text/html"); !strings.Contains(string(page.body), code) {
		t.Error("the page does not show the code")
	}
	must(t, s.domain.ApproveDevice(code, jo))
	s.due()
	if page := s.get("/apps/books", "Accept", "text/html"); !strings.Contains(string(page.body), "Connected as "+jo) {
		t.Error("the page does not find that the person has agreed")
	}
	if resp := post("/apps/books/disconnect", nil); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("disconnect: %s", resp.Status)
	}
	must(t, s.domain.AddFault(identity.Fault{Path: devicePath, Status: http.StatusServiceUnavailable}))
	if resp := post("/apps/books/connection", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("the domain is away: %s", resp.Status)
	}
}
