package api_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"longhaul/api"
	"longhaul/storage"
)

// TestUploadPages sends archives by the form that starts tasks, through what breaks off.
func TestUploadPages(t *testing.T) {
	t.Parallel()
	chrome := startBrowser(t)
	for name, c := range map[string]struct {
		test    func(*site)
		changes func(*config)
	}{
		"pause and go on": {pauseAndGoOn, nil},
		"reload":          {reloadAndGoOn, nil},
		"no connection":   {loseConnection, nil},
		"silence":         {meetSilence, nil},
		"check":           {checkThroughTrouble, idle},
		"cancel":          {cancelUpload, nil},
		"keyboard alone":  {uploadByKeyboard, nil},
		"not used":        {useLater, nil},
		"discard":         {discardUpload, nil},
		"other app":       {otherApp, nil},
		"file of the app": {leaveForFile, nil},
		"without data":    {uploadWithoutData, nil},
		"session ends":    {uploadOutlivesSession, nil},
		"two tabs":        {uploadInTwoTabs, nil},
		"bytes lost":      {loseBytes, nil},
		"look":            {uploadLooks, nil},
		"refused":         {uploadRefused, func(c *config) { c.jobs.UploadQuota = storage.Quota{Person: 1 << 20} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var changes []func(*config)
			if c.changes != nil {
				changes = append(changes, c.changes)
			}
			c.test(newSite(chrome, t, changes...))
		})
	}
}

// zipFile is a zip on the disk that a test chooses.
type zipFile struct {
	path   string
	size   int
	sha256 string
}

// newArchive makes a zip of that many random bytes, which do not compress.
func (s *site) newArchive(name string, bytesIn int64) zipFile {
	s.t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	inner, err := w.CreateHeader(&zip.FileHeader{Name: "random.csv", Method: zip.Store})
	must(s.t, err)
	_, err = io.CopyN(inner, rand.NewChaCha8([32]byte([]byte(strings.Repeat("seed", 8)))), bytesIn)
	must(s.t, err)
	must(s.t, w.Close())
	sum := sha256.Sum256(buf.Bytes())
	a := zipFile{filepath.Join(s.t.TempDir(), name), buf.Len(), hex.EncodeToString(sum[:])}
	must(s.t, os.WriteFile(a.path, buf.Bytes(), 0o600))
	return a
}

func (s *site) chooseFile(path string) {
	s.t.Helper()
	s.steps(chromedp.SetUploadFiles(chromedp.ID("file"), []string{path}))
}

// network makes the tab's connection as slow as that, in bytes a second; -1 is as fast as it is.
func (s *site) network(upload float64, offline bool) {
	s.t.Helper()
	s.steps(
		command(network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
			MatchedNetworkConditions: []*network.Conditions{{DownloadThroughput: -1, UploadThroughput: upload, Offline: offline}},
		}),
		command(network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: offline, DownloadThroughput: -1, UploadThroughput: -1}))
}

// halfway has an upload begin, or go on, until a part of it has come and the page says so. It is so
// slow that what a test does next it does in the middle, on a slow machine as well: archives of
// halfBytes take half a minute. (What is on its way when another speed is set goes on at full speed.)
func (s *site) halfway(begin func()) {
	s.t.Helper()
	s.network(halfBytes/32, false)
	begin()
	s.until(`/^\d+ %, [\d.]+ [kM]B of [\d.]+ MB, [\d.]+ [kM]B\/s, about \d+ s left$/.test(document.querySelector(".sending:not([hidden]) [data-words]").textContent) &&
		document.querySelector(".sending:not([hidden]) [data-bar]").value > 10`)
}

const halfBytes = 8 << 20

// sendHalfway chooses a file that is sent so.
func (s *site) sendHalfway(file zipFile) {
	s.t.Helper()
	s.halfway(func() { s.chooseFile(file.path) })
}

// uploads lists the administrator's uploads.
func (s *site) uploads() []api.Upload {
	s.t.Helper()
	var list struct{ Items []api.Upload }
	s.get("/api/v1/uploads").want(http.StatusOK).into(&list)
	return list.Items
}

// wantWhole checks that the one upload has come as it is on the disk.
func (s *site) wantWhole(a zipFile) {
	s.t.Helper()
	s.untilSays(".sending", "Sent and checked")
	got := s.uploads()
	if len(got) != 1 || got[0].SHA256 == nil || *got[0].SHA256 != a.sha256 || got[0].Filename != filepath.Base(a.path) {
		s.t.Errorf("the upload is %+v, want one with the digest %s", got, a.sha256)
	}
}

// untilStarted waits until the form has started a task, and the task has ended well.
func (s *site) untilStarted() {
	s.t.Helper()
	s.until("location.pathname.startsWith('/tasks/')")
	s.untilSays("#state-title ~ .state-line", "Succeeded")
	if n := s.count("SELECT count(*) FROM uploads WHERE used_at IS NOT NULL"); n != 1 {
		s.t.Errorf("%d uploads were used", n)
	}
}

// quiet waits until the server has nothing to do, and returns how much of the upload has come.
func (s *site) quiet() int {
	s.t.Helper()
	s.eventually("the server is quiet", func() bool { return s.active.Load() == 0 })
	return s.count("SELECT received FROM uploads")
}

func pauseAndGoOn(s *site) {
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("large.zip", halfBytes)
	s.sendHalfway(file)
	s.accessible()
	s.click("[data-toggle]")
	s.untilSays(".sending", "Paused at")
	if came := s.quiet(); came == 0 || came >= file.size {
		s.t.Errorf("%d of %d bytes have come when it is paused", came, file.size)
	}
	if got := js[string](s, "document.activeElement.getAttribute('aria-label')"); got != "Go on: large.zip" {
		s.t.Errorf("the focus is on %q", got)
	}
	s.accessible()
	s.halfway(func() { s.click("[data-toggle]") })
	s.click("#go")
	s.untilSays("#go-state", "The task starts as soon as the archive is there.")
	s.network(-1, false)
	s.untilStarted()
	if n := s.count("SELECT count(*) FROM uploads"); n != 1 {
		s.t.Errorf("%d uploads were made", n)
	}
}

// reloadAndGoOn reloads the page in the middle, which asks first, and chooses the file again.
func reloadAndGoOn(s *site) {
	asked := s.acceptDialogs()
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("large.zip", halfBytes)
	s.sendHalfway(file)
	s.click("h1") // a browser asks only those who have done something on the page
	s.steps(chromedp.Reload())
	if got := <-asked; got != page.DialogTypeBeforeunload {
		s.t.Errorf("the browser asks by %s", got)
	}
	s.untilSays("[data-kept]", "An upload of large.zip stopped at")
	came := s.quiet()
	if want := fmt.Sprintf("stopped at %d %%. Choose the file again to go on.", 100*came/file.size); !strings.Contains(s.text("[data-kept]"), want) {
		s.t.Errorf("the page says %q, want %q", s.text("[data-kept]"), want)
	}
	s.accessible()
	s.run(`window.offsets = [];
		const open = XMLHttpRequest.prototype.open, ask = fetch;
		XMLHttpRequest.prototype.open = function (method, ...rest) {
			if (method === "HEAD") this.addEventListener("load", () => offsets.push(Number(this.getResponseHeader("Upload-Offset"))));
			return open.call(this, method, ...rest);
		};
		window.fetch = async (what, how = {}) => {
			const answer = await ask(what, how);
			if (how.method === "HEAD") offsets.push(Number(answer.headers.get("Upload-Offset")));
			return answer;
		}`)
	s.network(-1, false)
	s.chooseFile(file.path)
	s.wantWhole(file)
	if got := js[[]int](s, "offsets"); len(got) != 1 || got[0] != came || came == 0 {
		s.t.Errorf("it went on at %d, want once at %d", got, came)
	}
	s.until("document.querySelector('[data-kept]').hidden")
	s.click("#go")
	s.untilStarted()
	s.startForm("plain", "noop")
	s.until("!document.querySelector('#file-field [data-kept]').hasChildNodes()")
	if got := js[int](s, "localStorage.length"); got != 0 {
		s.t.Errorf("the browser still remembers %d uploads", got)
	}
}

// acceptDialogs says yes to what the browser asks, and tells what it asked.
func (s *site) acceptDialogs() <-chan page.DialogType {
	s.t.Helper()
	asked := make(chan page.DialogType, 10)
	dialogs := chromedp.Events(s.tab, page.JavascriptDialogOpening)
	go func() {
		for dialog, err := range dialogs {
			if err != nil {
				return
			}
			if _, err := chromedp.Call(s.tab, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true}); err != nil {
				return // the tab is closed
			}
			asked <- dialog.Type
		}
	}()
	return asked
}

// loseConnection cuts the connection in the middle, and mends it.
func loseConnection(s *site) {
	line := s.newLine()
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("large.zip", halfBytes)
	s.sendHalfway(file)
	line.cut()
	s.network(-1, true)
	s.untilSays(".sending", "No connection. Going on as soon as there is one.")
	s.untilSays("[data-say]", "No connection. Going on as soon as there is one.")
	s.accessible()
	came := s.quiet()
	if came == 0 || came >= file.size {
		s.t.Errorf("%d of %d bytes have come", came, file.size)
	}
	line.mend()
	s.network(-1, false)
	s.wantWhole(file)
	s.click("#go")
	s.untilStarted()
}

// meetSilence goes on with an upload when its question how far it is was swallowed on the way.
func meetSilence(s *site) {
	line := s.newLine()
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("large.zip", halfBytes)
	s.sendHalfway(file)
	line.cut()
	s.untilSays(".sending", "No connection. Going on as soon as there is one.")
	line.swallow()
	s.eventually("a question is swallowed", func() bool { return line.swallowed.Load() > 0 })
	line.mend()
	s.network(-1, false)
	s.minuteLater()
	s.wantWhole(file)
	if n := s.count("SELECT count(*) FROM uploads"); n != 1 {
		s.t.Errorf("%d uploads were made", n)
	}
}

// minuteLater has the page believe that a minute has passed.
func (s *site) minuteLater() {
	s.t.Helper()
	s.run("const now = performance.now.bind(performance); performance.now = () => now() + 60000")
}

// checkThroughTrouble waits until the server has looked through an archive, which the page tells from
// a server that is not there, and from one that cannot answer.
func checkThroughTrouble(s *site) {
	line := s.newLine()
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("accounts.zip", 1<<20)
	s.chooseFile(file.path)
	const checks, away = "Sent. The server checks it", "No connection. Going on as soon as there is one."
	s.until("performance.getEntriesByType('resource').some((e) => e.name.endsWith('?wait=30'))") // it knows how the upload is
	line.cut()
	s.untilSays(".sending", away)
	line.mend()
	s.untilSays(".sending", checks) // though nothing has changed
	line.cut()
	s.untilSays(".sending", away)
	s.exec("ALTER TABLE uploads RENAME TO uploads_elsewhere")
	line.mend()
	s.untilSays(".sending", "The server cannot take it just now. Going on as soon as it can.")
	s.accessible()
	s.exec("ALTER TABLE uploads_elsewhere RENAME TO uploads")
	s.untilSays(".sending", checks)
	line.cut()
	s.untilSays(".sending", away)
	line.swallow()
	s.eventually("a question is swallowed", func() bool { return line.swallowed.Load() > 0 })
	line.mend()
	s.minuteLater()
	s.untilSays(".sending", checks)
	s.startEngine()
	s.wantWhole(file)
}

// line is between the browser and the server, and can be cut, or swallow what is sent.
type line struct {
	mu        sync.Mutex
	broken    bool
	deaf      bool
	ends      []net.Conn
	swallowed atomic.Int64 // bytes
}

// newLine puts a line in front of the server.
func (s *site) newLine() *line {
	s.t.Helper()
	l, to := &line{}, strings.TrimPrefix(s.url, "http://")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.t, err)
	s.url = "http://" + listener.Addr().String()
	var open sync.WaitGroup
	open.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			if l.takes(near) {
				open.Go(func() { _, _ = io.Copy(l, near) })
				continue
			}
			far, err := net.Dial("tcp", to)
			if err != nil || !l.join(near, far) {
				_ = near.Close() // it is cut
				continue
			}
			for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
				open.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					_, _ = near.Close(), far.Close()
				})
			}
		}
	})
	s.t.Cleanup(func() {
		must(s.t, listener.Close())
		l.cut()
		open.Wait()
	})
	return l
}

// join notes a connection, unless the line is cut.
func (l *line) join(near, far net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		_ = far.Close()
		return false
	}
	l.ends = append(l.ends, near, far)
	return true
}

// takes notes a connection that leads nowhere, where the line is so.
func (l *line) takes(near net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf {
		l.ends = append(l.ends, near)
	}
	return l.deaf
}

// Write swallows.
func (l *line) Write(p []byte) (int, error) {
	l.swallowed.Add(int64(len(p)))
	return len(p), nil
}

// swallow has what connects from now on lead nowhere, for good.
func (l *line) swallow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = true
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
	for _, end := range l.ends {
		_ = end.Close() // it may be closed already
	}
	l.ends = nil
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken, l.deaf = false, false
}

func cancelUpload(s *site) {
	s.signIn()
	s.startForm("plain", "noop")
	s.sendHalfway(s.newArchive("large.zip", halfBytes))
	s.click("#go")
	s.click("[data-cancel]")
	s.until("document.querySelector('.sending').hidden && !document.getElementById('go').disabled && document.activeElement.id === 'file'")
	s.eventually("nothing stays of the upload", func() bool {
		return s.active.Load() == 0 && len(s.stored()) == 0 && s.count("SELECT count(*) FROM uploads") == 0
	})
	if n := s.count("SELECT count(*) FROM tasks"); n != 0 {
		s.t.Errorf("%d tasks were made", n)
	}
}

// uploadByKeyboard pauses and goes on without the mouse. What a browser asks for a file is its own.
func uploadByKeyboard(s *site) {
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("large.zip", halfBytes)
	s.sendHalfway(file)
	s.run("document.getElementById('kind').focus()")
	s.tabTo("file")
	s.keys(kb.Tab + " ")
	s.untilSays(".sending", "Paused at")
	s.halfway(func() { s.keys(" ") })
	s.network(-1, false)
	s.wantWhole(file)
	if got := js[string](s, "document.activeElement.getAttribute('aria-label')"); got != "Remove: large.zip" {
		s.t.Errorf("when the button Pause is gone, the focus is on %q", got)
	}
	s.tabTo("go")
	s.keys(kb.Enter)
	s.untilStarted()
}

// useLater leaves the form once the archive is there, and comes back.
func useLater(s *site) {
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("accounts.zip", 1<<20)
	s.chooseFile(file.path)
	s.wantWhole(file)
	s.startForm("plain", "noop")
	s.untilSays("[data-kept]", "accounts.zip is here, sent before, and was not used.")
	s.accessible()
	s.click("[data-kept] [data-use]")
	s.until("document.querySelector('[data-kept]').hidden && document.activeElement.id === 'file'")
	s.wantWhole(file)
	s.untilSays("#file-chosen", "accounts.zip, 1.0 MB")
	s.click("#go")
	s.untilStarted()
}

func discardUpload(s *site) {
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("accounts.zip", 1<<20)
	s.chooseFile(file.path)
	s.wantWhole(file)
	s.startForm("plain", "noop")
	s.click("[data-kept] [data-discard]")
	s.until("document.querySelector('[data-kept]').hidden && document.activeElement.id === 'file'")
	s.eventually("nothing stays of the upload", func() bool { return len(s.stored()) == 0 && s.count("SELECT count(*) FROM uploads") == 0 })
}

// otherApp chooses another app, and what takes no file, while an archive is there: it stays, for its app.
func otherApp(s *site) {
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("accounts.zip", 1<<20)
	s.chooseFile(file.path)
	s.wantWhole(file)
	for _, app := range []string{"vision", "plain", "vision"} {
		s.run("document.getElementById('app').focus()")
		s.choose("#app", app)
		s.until("document.querySelector('#file-field')?.dataset.uploadApp === " + quote(app))
		s.untilSays(".sending", "Sent and checked")
		s.until("document.querySelector('[data-kept]').hidden && document.activeElement.id === 'app'")
		s.eventually("the archive is there for both apps", func() bool {
			return s.count("SELECT count(*) FROM uploads WHERE app IN ('plain', 'vision') AND state = 'finished'") == 2
		})
	}
	s.choose("#kind", "epm.refreshCube")
	s.until("!document.querySelector('#file-field') && document.querySelector('#go')")
	s.choose("#kind", "epm.importData")
	s.untilSays("[data-kept]", "accounts.zip is here, sent before")
	if n := s.count("SELECT count(*) FROM uploads"); n != 2 {
		s.t.Errorf("%d uploads were made", n)
	}
}

// leaveForFile takes a file of the app, by one key, while an archive is on its way, and comes back to it.
func leaveForFile(s *site) {
	s.put("plain", "inputs/other.zip", string(accounts(s.t, 5, 0)))
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("large.zip", halfBytes)
	s.sendHalfway(file)
	s.run("document.getElementById('app-file').focus()")
	s.keys(kb.ArrowDown)
	s.until("document.getElementById('app-file').value === 'inputs/other.zip' && document.querySelector('.sending').hidden")
	s.untilSays("[data-kept]", "An upload of large.zip stopped at")
	if got := js[string](s, "document.activeElement.id"); got != "app-file" {
		s.t.Errorf("the focus is on %q", got)
	}
	came := s.quiet()
	s.network(-1, false)
	s.chooseFile(file.path)
	s.wantWhole(file)
	if got := js[string](s, "document.getElementById('app-file').value"); got != "" || came == 0 {
		s.t.Errorf("the task is to take %q as well; %d bytes had come", got, came)
	}
	s.chooseFile(file.path) // again, which makes no other
	s.wantWhole(file)
	s.click("#go")
	s.untilStarted()
}

// uploadWithoutData starts a task as an operator who sees no data.
func uploadWithoutData(s *site) {
	jo := s.person("jo@example.com")
	s.member("plain", "person", jo.login, "operator", false)
	s.signInAs(jo.id)
	s.startForm("plain", "noop")
	s.chooseFile(s.newArchive("accounts.zip", 1<<20).path)
	s.untilSays(".sending", "Sent and checked")
	s.click("#go")
	s.untilStarted()
}

// uploadOutlivesSession goes on with an upload once the person is signed in again.
func uploadOutlivesSession(s *site) {
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("large.zip", halfBytes)
	s.sendHalfway(file)
	s.click("[data-toggle]")
	s.untilSays(".sending", "Paused at")
	s.exec("DELETE FROM sessions")
	s.engine.AccessChanged()
	s.click("[data-toggle]")
	s.untilSays("[data-location=file] .error", "Your session has ended. Sign in again in another tab, then go on here.")
	s.accessible()
	came := s.quiet()
	s.signInAs(storage.LocalAdmin)
	s.network(-1, false)
	s.click("[data-toggle]")
	s.until("!document.querySelector('[data-location=file] .error')")
	s.wantWhole(file)
	if n := s.count("SELECT count(*) FROM uploads"); n != 1 || came == 0 {
		s.t.Errorf("%d uploads were made; %d bytes had come", n, came)
	}
}

// loseBytes begins an upload anew once the server has said that it lost what came of it.
func loseBytes(s *site) {
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("large.zip", halfBytes)
	s.sendHalfway(file)
	s.click("[data-toggle]")
	s.untilSays(".sending", "Paused at")
	s.quiet()
	s.run(`const send = XMLHttpRequest.prototype.send, open = XMLHttpRequest.prototype.open;
		XMLHttpRequest.prototype.open = function (method, ...rest) { this.method = method; return open.call(this, method, ...rest); };
		XMLHttpRequest.prototype.send = function (body) {
			if (this.method === "PATCH" && !window.held) window.held = () => send.call(this, body); else send.call(this, body);
		}`)
	s.click("[data-toggle]")
	s.until("window.held")
	s.exec("UPDATE uploads SET state = 'failed', message = 'What had come of it was lost on the server. Send it again.'")
	s.run("held()")
	s.untilSays("[data-location=file] .error", "What had come of it was lost on the server. Send it again.")
	s.until("localStorage.length === 0") // it is not to be gone on with after a reload
	s.accessible()
	s.network(-1, false)
	s.click("[data-toggle]")
	s.untilSays(".sending", "Sent and checked")
	s.until("!document.querySelector('[data-location=file] .error') && localStorage.length === 1")
	s.click("#go")
	s.untilStarted()
	if n := s.count("SELECT count(*) FROM uploads WHERE state = 'finished'"); n != 1 {
		s.t.Errorf("%d uploads came whole", n)
	}
}

// uploadInTwoTabs leaves an upload to the tab that sends it.
func uploadInTwoTabs(s *site) {
	s.acceptDialogs()
	s.signIn()
	s.startForm("plain", "noop")
	file := s.newArchive("large.zip", halfBytes)
	s.sendHalfway(file)
	s.click("h1") // a browser asks only those who have done something on the page
	s.startForm("plain", "noop")
	s.untilSays("[data-kept]", "stopped at")
	came := s.quiet()
	id := s.uploads()[0].ID
	s.run(`window.sent = [];
		const open = XMLHttpRequest.prototype.open;
		XMLHttpRequest.prototype.open = function (method, ...rest) { sent.push(method); return open.call(this, method, ...rest); }`)
	s.run("window.other = new Promise((held) => navigator.locks.request(" + quote("longhaul upload "+id) + ", () => { held(); return new Promise(() => {}); })); await other")
	s.chooseFile(file.path)
	s.untilSays("[data-location=file] .error", "This file is being sent in another tab of this browser.")
	s.until("document.querySelector('[data-kept]').hidden")
	s.click("[data-toggle]")
	s.untilSays("[data-location=file] .error", "This file is being sent in another tab of this browser.")
	s.click("[data-cancel]")
	s.until("document.querySelector('.sending').hidden")
	if got := s.quiet(); got != came {
		s.t.Errorf("%d bytes had come, and now %d", came, got)
	}
	if got := js[[]string](s, "sent"); len(got) > 0 {
		s.t.Errorf("what the other tab sends was met with %q", got)
	}
}

// uploadRefused is told beside the field why the server does not take a file.
func uploadRefused(s *site) {
	s.signIn()
	s.startForm("plain", "noop")
	s.chooseFile(s.newArchive("large.zip", 2<<20).path)
	s.untilSays("[data-location=file] .error", "there is no room for this one")
	s.accessible()
	s.click("#go")
	s.untilSays("#problems", "The task was not started Zip archive: You have 0 bytes of uploads")
	s.chooseFile(s.newArchive("small.zip", 1<<10).path)
	s.until("!document.querySelector('[data-location=file] .error')")
	s.click("#go")
	s.untilStarted()
}

// uploadLooks looks at an upload on its way, at one that waits and at one that stopped, in both
// widths and both lights.
func uploadLooks(s *site) {
	s.acceptDialogs()
	s.signIn()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{360, 1280} {
			s.look(width, scheme)
			s.startForm("plain", "noop")
			s.sendHalfway(s.newArchive("a-long-name-without-any-place-to-break-it-"+strings.Repeat("x", 50)+".zip", halfBytes))
			s.fits()
			s.accessible()
			s.keepLook(scheme, width, "sending")
			s.click("[data-toggle]")
			s.startForm("plain", "noop")
			s.untilSays("[data-kept]", "stopped at")
			s.fits()
			s.accessible()
			s.keepLook(scheme, width, "stopped")
			s.visit("/apps/plain/files")
			s.untilSays("[data-kept]", "stopped at")
			s.fits()
			s.keepLook(scheme, width, "stopped")
			s.put("plain", "a.txt", "x")
			s.chooseFiles("a.txt")
			s.untilSays("#uploads", "There is a file of this name already")
			s.fits()
			s.accessible()
			s.keepLook(scheme, width, "clash")
		}
	}
}

// keepLook leaves a picture of the page where LONGHAUL_TEST_LOOKS says, for whoever wants to see
// how the pages look.
func (s *site) keepLook(scheme string, width int64, what string) {
	dir := os.Getenv("LONGHAUL_TEST_LOOKS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(s.tab, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	must(s.t, err)
	name := strings.NewReplacer("/", "_", "?", "_", "&", "_", "=", "_").Replace(s.where())
	must(s.t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%s-%d.png", name, what, scheme, width)), png, 0o600))
}
