package api_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// The pages are tested in a real browser. One Chromium serves all tests; each has a profile of
// its own in it, and a server of its own.

// startBrowser starts Chromium, and ends it with the test.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(chromium(t)), chromedp.DisableGPU, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()),
	}
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's sandbox refuses to run for root
	}
	ctx, cancel := chromedp.NewContext(context.Background(), chromedp.WithAllocatorOptions(options...))
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("end Chromium: %v", err)
		}
		cancel()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}

// chromium finds the browser. A machine without one fails the test: a page that nobody looked at
// is not tested.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("Chromium is missing; `make test` installs it, as does `apt-get install chromium-headless-shell`")
	return ""
}

// site is a server with a browser's tab on it. Its methods fail the test by themselves.
type site struct {
	*server
	tab context.Context
}

// newSite starts a server and opens a tab. At the end of the test it fails when the page
// complained: about a script, or about what its Content-Security-Policy forbids.
func newSite(browser context.Context, t *testing.T, changes ...func(*config)) *site {
	t.Helper()
	return openSite(browser, t, newServer(t, changes...))
}

// openSite opens a tab on a server that is there.
func openSite(browser context.Context, t *testing.T, server *server) *site {
	t.Helper()
	s := &site{server: server}
	tab, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	s.tab = tab
	var complaints []string
	var reading sync.WaitGroup
	messages := chromedp.Console(tab)
	reading.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if !expected(m) {
				complaints = append(complaints, m.String())
			}
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			s.keepPicture()
		}
		cancel()
		reading.Wait()
		for _, c := range complaints {
			t.Errorf("the browser says: %s", c)
		}
	})
	return s
}

// expected tells what a browser says about answers that the tests ask for: refusals, and a list's
// refresh that gives way to a filter.
func expected(m chromedp.ConsoleMessage) bool {
	return m.Source == "network" || m.Type == chromedp.ConsoleDebug ||
		strings.HasPrefix(m.Text, "[DOM]") || strings.HasPrefix(m.Text, "htmx:sendAbort") || strings.HasPrefix(m.Text, "htmx:afterRequest") ||
		strings.HasPrefix(m.Text, "Access to fetch at")
}

// keepPicture leaves a picture of the page where LONGHAUL_TEST_PICTURES says, for whoever looks
// at a failure.
func (s *site) keepPicture() {
	dir := os.Getenv("LONGHAUL_TEST_PICTURES")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(s.tab, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(s.t.Name(), "/", "-")+".png"), png, 0o600)
	}
	if err != nil {
		s.t.Logf("picture: %v", err)
	}
}

// steps runs steps in the tab.
func (s *site) steps(steps ...chromedp.Action[chromedp.Void]) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.tab, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		s.t.Fatalf("at %s: %v", s.where(), err)
	}
}

// visit opens a page of the server.
func (s *site) visit(path string) {
	s.t.Helper()
	s.steps(chromedp.Navigate(s.url + path))
}

// signIn signs the tab in with the link.
func (s *site) signIn() {
	s.t.Helper()
	s.visit("/sign-in?token=" + adminToken)
}

// where is the address that the tab shows, without the server's.
func (s *site) where() string {
	ctx, cancel := context.WithTimeout(s.tab, patience)
	defer cancel()
	location, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	return strings.TrimPrefix(location, s.url)
}

// js returns what an expression is in the page.
func js[T any](s *site, expression string) T {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.tab, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		s.t.Fatalf("at %s: %s: %v", s.where(), expression, err)
	}
	return value
}

// run runs a script in the page.
func (s *site) run(script string) {
	s.t.Helper()
	js[chromedp.Void](s, "(async () => {"+script+"})()")
}

// until waits for a condition in the page. The page may be another by then.
func (s *site) until(condition string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.tab, patience)
	defer cancel()
	last := ""
	for ctx.Err() == nil {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+condition+")"))
		if ok {
			return
		}
		if err != nil {
			last = err.Error() // the page is just being replaced, or has not got that far
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatalf("at %s, not in time: %s %s\nthe page says:\n%s", s.where(), condition, last, s.text("body"))
}

// untilAt waits until the tab shows an address that begins so.
func (s *site) untilAt(path string) {
	s.t.Helper()
	s.until("document.readyState === 'complete' && (location.pathname + location.search).startsWith(" + quote(path) + ")")
}

// text is what an element shows.
func (s *site) text(selector string) string {
	s.t.Helper()
	return js[string](s, "(document.querySelector("+quote(selector)+")?.innerText ?? '').replace(/\\s+/g, ' ').trim()")
}

// untilSays waits until an element shows the words.
func (s *site) untilSays(selector, words string) {
	s.t.Helper()
	s.until("(document.querySelector(" + quote(selector) + ")?.innerText ?? '').replace(/\\s+/g, ' ').includes(" + quote(words) + ")")
}

// click clicks the first element that matches, as a person would.
func (s *site) click(selector string) {
	s.t.Helper()
	s.steps(chromedp.WaitVisible(chromedp.CSS(selector)), chromedp.Click(chromedp.CSS(selector)))
}

// choose picks an option of a select.
func (s *site) choose(selector, value string) {
	s.t.Helper()
	s.until("document.querySelector(" + quote(selector+` option[value="`+value+`"]`) + ") || [...document.querySelectorAll(" +
		quote(selector+" option") + ")].some((o) => o.text === " + quote(value) + ")")
	s.run("const e = document.querySelector(" + quote(selector) + "); e.value = " + quote(value) +
		"; e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true}))")
}

// fill types into a field what it is to hold, in place of what it held.
func (s *site) fill(selector, value string) {
	s.t.Helper()
	s.steps(chromedp.WaitVisible(chromedp.CSS(selector)))
	s.run("const e = document.querySelector(" + quote(selector) + "); e.focus(); e.select()")
	s.keys(value)
}

// setFile chooses a file of that content.
func (s *site) setFile(name string, content []byte) {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), name)
	must(s.t, os.WriteFile(path, content, 0o600))
	s.steps(chromedp.SetUploadFiles(chromedp.ID("file"), []string{path}))
}

// keys presses keys.
func (s *site) keys(keys string) {
	s.t.Helper()
	s.steps(chromedp.KeyEvent(keys))
}

// look makes the window as wide as that, and the reader's system light or dark.
func (s *site) look(width int64, scheme string) {
	s.t.Helper()
	s.steps(chromedp.EmulateViewport(width, 800), command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}))
}

// command is a step that gives the browser an order.
func command[P, R any](order cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, order, params)
		return err
	})
}

// violation is what axe-core holds against a page.
type violation struct {
	ID     string `json:"id"`
	Impact string `json:"impact"`
	Help   string `json:"help"`
	Nodes  []struct {
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// accessible checks the page with axe-core.
func (s *site) accessible() {
	s.t.Helper()
	if !js[bool](s, "'axe' in window") {
		source, err := os.ReadFile("testdata/axe-core/axe.min.js")
		must(s.t, err)
		s.run(string(source))
	}
	found := js[[]violation](s, `axe.run({resultTypes: ["violations"]}).then((r) => r.violations)`)
	for _, v := range found {
		for _, node := range v.Nodes {
			s.t.Errorf("%s: %s (%s, %s): %s\n%s", s.where(), v.Help, v.ID, v.Impact, node.HTML, node.Summary)
		}
	}
}

// fits checks that the page is not wider than the window.
func (s *site) fits() {
	s.t.Helper()
	if js[bool](s, "document.documentElement.scrollWidth > document.documentElement.clientWidth") {
		s.t.Errorf("%s scrolls sideways: %v", s.where(), js[[]string](s,
			"[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)"+
				".slice(0, 5).map((e) => e.outerHTML.slice(0, 120))"))
	}
}

// quote writes a text as JavaScript does.
func quote(text string) string {
	raw, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string can be written
	}
	return string(raw)
}
