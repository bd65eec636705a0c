package api_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"longhaul/api"
	"longhaul/jobs"
)

// TestFilePages goes through the files of an app as people do.
func TestFilePages(t *testing.T) {
	t.Parallel()
	chrome := startBrowser(t)
	for name, test := range map[string]func(*site){
		"upload, move and delete": filesByPage, "start with one": startWithFile, "same name": fileClash, "lost answer": loseAnswer, "sent before": useSentBefore, "keep": keepOutputs, "without scripts": filesWithoutScripts,
		"pages of the list": filesInParts, "without data": filesWithoutData, "look and accessibility": fileLooks,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newSite(chrome, t))
		})
	}
}

// fileText is what a file of the app plain has.
func (s *server) fileText(path string) string {
	s.t.Helper()
	return string(s.get(fileURL("plain", path)).want(http.StatusOK).body)
}

// chooseFiles chooses files of those names, each with its name as content.
func (s *site) chooseFiles(names ...string) {
	s.t.Helper()
	dir := s.t.TempDir()
	var paths []string
	for _, name := range names {
		path := filepath.Join(dir, name)
		must(s.t, os.WriteFile(path, []byte("This is "+name), 0o600))
		paths = append(paths, path)
	}
	s.steps(chromedp.SetUploadFiles(chromedp.ID("file"), paths))
}

func filesByPage(s *site) {
	s.signIn()
	s.visit("/apps")
	s.click("section:has(#app-plain) a[href='/apps/plain/files']")
	s.untilSays(".empty", "No files yet Put files here that tasks of plain take again and again")
	s.chooseFiles("accounts.zip", "März & Co.csv")
	s.untilSays("#uploads", "accounts.zip It is here, 20 B. März & Co.csv It is here, 22 B.")
	s.untilSays("#files", "März & Co.csv 22 B just now by admin Move… Delete… accounts.zip 20 B just now by admin Start a task… Move… Delete…")
	if got := s.fileText("März & Co.csv"); got != "This is März & Co.csv" {
		s.t.Errorf("the file has %q", got)
	}
	s.fill("#folder", "/inputs/2026/")
	s.chooseFiles("a.txt")
	s.untilSays("#files", "inputs , folder")
	s.click("#files a[href*='prefix=inputs']")
	s.click("#files a[href*='2026']")
	s.untilAt("/apps/plain/files?prefix=inputs%2F2026%2F")
	s.untilSays(".folders", "plain inputs 2026")
	if got := js[string](s, "document.getElementById('folder').value"); got != "inputs/2026" {
		s.t.Errorf("uploads go to the folder %q", got)
	}

	s.click("#files a[href*='/move']")
	s.untilSays("h1", "Move or rename")
	s.accessible()
	s.fill("#to", "accounts.zip")
	s.keys(kb.Enter)
	s.untilSays("#to-error", "There is a file of this name already. Choose another name, or another folder.")
	s.until("document.activeElement.id === 'to'")
	s.fill("#to", "accounts.zip/a.txt")
	s.keys(kb.Enter)
	s.untilSays("#to-error", "accounts.zip is a file, so that nothing can lie below it")
	s.fill("#to", "inputs//a.txt")
	s.keys(kb.Enter)
	s.untilSays("#to-error", "has an empty part")
	s.accessible()
	s.fill("#to", "archive/b.txt")
	s.keys(kb.Enter)
	s.untilAt("/apps/plain/files?prefix=archive%2F&done=moved")
	s.untilSays("main", "The file was moved.")
	s.untilSays("#files", "b.txt")

	s.click("#files a[data-dialog]")
	s.untilSays("dialog[open]", "Delete b.txt? archive/b.txt is no longer listed")
	s.accessible()
	s.click("dialog .danger")
	s.untilAt("/apps/plain/files?prefix=archive%2F&done=deleted")
	s.untilSays("main", "The file was deleted.")
	s.untilSays(".empty", "Nothing lies in this folder")
	if n := s.count(`SELECT count(*) FROM audit WHERE actor = 'admin' AND action IN ('file.put', 'file.move', 'file.delete')`); n != 5 {
		s.t.Errorf("%d lines of the audit trail tell of it", n)
	}
}

// fileClash uploads what is there already, leaves it once and replaces it once.
func fileClash(s *site) {
	s.put("plain", "a.txt", "old")
	s.signIn()
	s.visit("/apps/plain/files")
	s.chooseFiles("a.txt", "b.txt")
	s.untilSays("#uploads", "a.txt There is a file of this name already. Replace it Leave it")
	s.untilSays("#uploads", "b.txt It is here") // it did not wait for the answer
	s.accessible()
	s.click("[data-leave]")
	s.until("document.querySelectorAll('#uploads li').length === 1")
	if got := s.fileText("a.txt"); got != "old" {
		s.t.Errorf("the file was replaced by %q", got)
	}
	s.until("document.activeElement.id === 'file'")
	s.chooseFiles("a.txt")
	s.click("#uploads li:last-child [data-again]")
	s.untilSays("#uploads li:last-child", "a.txt It is here")
	s.until("document.activeElement === document.querySelector('#uploads li:last-child')")
	if got := s.fileText("a.txt"); got != "This is a.txt" {
		s.t.Errorf("the file has %q", got)
	}
	// Somebody else is faster while it is on its way.
	s.sendHalfway(s.newArchive("c.zip", halfBytes))
	s.put("plain", "c.zip", "theirs")
	s.run("document.querySelector('#uploads li:last-child [data-toggle]').focus()")
	s.network(-1, false)
	s.untilSays("#uploads", "c.zip There is a file of this name already.")
	s.until("document.activeElement === document.querySelector('#uploads li:last-child [data-again]')")
	s.keys(kb.Enter)
	s.untilSays("#uploads", "c.zip It is here, 8.4 MB.")
	s.until("document.activeElement === document.querySelector('#uploads li:last-child')")
	s.accessible()
	if n := s.count("SELECT version FROM files WHERE path = 'c.zip'"); n != 2 {
		s.t.Errorf("the file has version %d, want 2", n)
	}
}

// loseAnswer makes a file of which the page does not hear, and tries again.
func loseAnswer(s *site) {
	s.signIn()
	s.visit("/apps/plain/files")
	s.run(`const ask = fetch;
		window.fetch = async (what, how = {}) => {
			const answer = await ask(what, how);
			if (how.method !== "POST") return answer;
			window.fetch = ask;
			throw new TypeError("lost");
		}`)
	s.chooseFiles("März.txt")
	s.untilSays("#uploads", "März.txt The connection to the server broke off. Try again Leave it")
	s.click("#uploads [data-again]")
	s.untilSays("#uploads", "März.txt It is here, 17 B.")
	if n := s.count("SELECT count(*) FROM files"); n != 1 {
		s.t.Errorf("%d files were made", n)
	}
}

// useSentBefore makes a file of what was sent for a task and not used, by the keyboard.
func useSentBefore(s *site) {
	s.signIn()
	s.startForm("plain", "noop")
	s.chooseFile(s.newArchive("accounts.zip", 1<<20).path)
	s.untilSays(".sending", "Sent and checked")
	s.chooseFile(s.newArchive("more.zip", 1<<20).path)
	s.untilSays("#file-chosen", "more.zip")
	s.untilSays(".sending [data-words]", "Sent and checked")
	s.visit("/apps/plain/files")
	s.untilSays("[data-kept]", "accounts.zip is here")
	s.untilSays("[data-kept]", "more.zip is here")
	s.accessible()
	s.run(`document.querySelector("[aria-label='Use it: accounts.zip']").focus()`)
	s.keys(kb.Enter)
	s.untilSays("#uploads", "accounts.zip It is here, 1.0 MB.")
	s.until("document.activeElement === document.querySelector('#uploads li')")
	s.until("document.querySelectorAll('[data-kept] .kept').length === 1")
	s.run(`document.querySelector("[aria-label='Discard: more.zip']").focus()`)
	s.keys(kb.Enter)
	s.until("document.querySelector('[data-kept]').hidden && document.activeElement.id === 'file'")
	s.eventually("nothing is left to use", func() bool { return s.count("SELECT count(*) FROM uploads WHERE used_at IS NULL") == 0 })
}

// keepOutputs makes files of what a task left.
func keepOutputs(s *site) {
	task := s.create(importTask(nil), accounts(s.t, 20, 3))
	s.waitFinal(task.ID, jobs.Succeeded)
	s.signIn()
	s.visit("/tasks/" + task.ID)
	s.click("section:has(#files-title) li form button")
	s.untilSays(".kept-at", "Kept as outputs/importAccount/")
	s.accessible()
	s.fits()
	s.keepLook("light", 1280, "kept")
	s.click(".kept-at a")
	s.untilSays("#files", "by admin")
	var kept struct{ Items []api.File }
	s.get("/api/v1/apps/vision/files").want(http.StatusOK).into(&kept)
	outputs := s.get(taskPath(task.ID) + "/outputs").want(http.StatusOK).body
	if len(kept.Items) != 1 || !strings.Contains(string(outputs), kept.Items[0].SHA256) {
		s.t.Errorf("kept are %+v of %s", kept.Items, outputs)
	}
	s.exec("UPDATE tasks SET outputs_expire_at = now() - interval '1 minute', version = version + 1")
	s.engine.SweepFiles(s.t.Context())
	s.eventually("the outputs have expired", func() bool { return s.get(taskPath(task.ID)+"/outputs/"+"messages.txt").status == http.StatusGone })
	s.visit("/tasks/" + task.ID)
	s.untilSays("section:has(#files-title)", "These files were deleted when their time was over")
	s.untilSays(".kept-at", "Kept as outputs/importAccount/")
}

// startWithFile starts tasks with a file of the app: from the list of files, and from the form.
func startWithFile(s *site) {
	s.put("vision", "inputs/importAccount.zip", string(accounts(s.t, 5, 0)))
	s.put("vision", "inputs/notes.txt", "none")
	s.signIn()
	s.visit("/apps/vision/files?prefix=inputs/")
	s.click("a[href*='/start?']")
	s.untilAt("/start?app=vision&file=inputs%2FimportAccount.zip")
	s.untilSays("#start .note", "Choose what to do with inputs/importAccount.zip.")
	s.choose("#kind", "epm.importMetadata")
	s.choose("#params-job", "importAccount")
	if got := js[[]string](s, "[...document.querySelectorAll('#app-file option')].map((o) => o.value)"); len(got) != 2 || got[1] != "inputs/importAccount.zip" {
		s.t.Errorf("the form offers %q", got)
	}
	s.click("#go")
	s.untilSays("#say", "All 5 rows imported")

	s.startForm("vision", "epm.importMetadata")
	s.choose("#params-job", "importAccount")
	s.chooseFile(s.newArchive("wrong.zip", 1<<10).path)
	s.untilSays(".sending", "Sent and checked")
	s.choose("#app-file", "inputs/importAccount.zip")
	s.until("document.querySelector('.sending').hidden && document.getElementById('file').files.length === 0")
	s.untilSays("[data-kept]", "wrong.zip is here, sent before, and was not used.")
	s.exec("DELETE FROM files WHERE path = 'inputs/importAccount.zip'")
	s.click("#go")
	s.untilSays("#file-field .error", "The app has no such file")
	s.accessible()
}

// filesWithoutScripts uploads, moves and deletes in a browser that runs no scripts.
func filesWithoutScripts(s *site) {
	s.steps(command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	s.signIn()
	s.visit("/apps/plain/files")
	s.fill("#folder", "inputs")
	s.chooseFiles("a.txt", "b.txt")
	s.click("#upload .primary")
	s.untilAt("/apps/plain/files?prefix=inputs%2F&done=uploaded")
	s.untilSays("#files", "a.txt 13 B just now by admin")
	s.chooseFiles("b.txt")
	s.click("#upload .primary")
	s.untilSays(".problems", "Nothing was changed b.txt: There is a file of this name already.")
	s.chooseFiles("0.txt", "b.txt", "c.txt")
	s.click("#upload .primary")
	s.untilSays(".problems", "Only the first file was stored b.txt: There is a file of this name already.")
	s.chooseFiles("1.txt", "2.txt", "b.txt")
	s.click("#upload .primary")
	s.untilSays(".problems", "Only the first 2 files were stored b.txt: There is a file of this name already.")
	s.untilSays("#files", "2.txt 13 B just now by admin")
	s.exec("DELETE FROM files WHERE path ~ '/[012].txt$'")
	s.chooseFiles("b.txt")
	s.click("#upload [name=replace]")
	s.click("#upload .primary")
	s.untilAt("/apps/plain/files?prefix=inputs%2F&done=uploaded")
	s.click("#files a[href*='/delete']")
	s.untilSays("h1", "Delete a.txt?")
	s.click("main .danger")
	s.untilSays("main", "The file was deleted.")
	s.click("#files a[href*='/move']")
	s.fill("#to", "inputs/b.txt.old")
	s.click("main .primary")
	s.untilSays("main", "The file was moved.")
	if got := s.fileText("inputs/b.txt.old"); got != "This is b.txt" {
		s.t.Errorf("the file has %q", got)
	}
}

func filesInParts(s *site) {
	s.exec(`INSERT INTO contents (id, sha256, size, encoding, stored_size, sums) VALUES (gen_random_uuid(), sha256('x'), 1, 'identity', 1, '')`)
	s.exec(`INSERT INTO files (app, path, version, content, content_type, modified_by)
		SELECT 'plain', 'f' || to_char(n, 'FM000') || '.csv', 1, (SELECT id FROM contents), 'text/csv', 'test' FROM generate_series(1, 150) n`)
	s.signIn()
	s.visit("/apps/plain/files")
	s.untilSays("#files", "f100.csv")
	s.until("document.querySelectorAll('#files tbody tr').length === 100")
	s.click("#files .pages a")
	s.untilAt("/apps/plain/files?after=f100.csv")
	s.until("document.querySelectorAll('#files tbody tr').length === 50")
	s.run("htmx.trigger('#files', 'refresh')")
	s.click("#files .pages a")
	s.untilAt("/apps/plain/files")
	for _, path := range []string{"?prefix=%00", "?prefix=..%2F", "?after=%FF", "/move?path=nothing", "/delete?path=%00"} {
		if got := s.open(http.MethodGet, "/apps/plain/files"+path, nil, "Accept", "text/html").StatusCode; got != http.StatusNotFound {
			s.t.Errorf("%s: %d", path, got)
		}
	}
}

// filesWithoutData has no way to the files.
func filesWithoutData(s *site) {
	jo := s.person("jo@example.com")
	s.member("plain", "person", jo.login, "operator", false)
	s.signInAs(jo.id)
	s.visit("/apps")
	s.untilSays("section:has(#app-plain)", "Its tasks Start a task")
	s.visit("/apps/plain/files")
	s.untilSays("main", "403")
}

// fileLooks looks at every page of files, and at the form with them, in both widths and both lights.
func fileLooks(s *site) {
	for _, path := range []string{"accounts.zip", "inputs/2026/accounts-" + strings.Repeat("x", 80) + ".zip", "inputs/a.csv"} {
		s.put("vision", path, "x")
	}
	task := s.create(importTask(nil), accounts(s.t, 20, 3))
	s.waitFinal(task.ID, jobs.Succeeded)
	s.signIn()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{360, 1280} {
			s.look(width, scheme)
			for _, path := range []string{
				"/apps/vision/files", "/apps/vision/files?prefix=inputs/", "/apps/vision/files?prefix=inputs/2026/", "/apps/vision/files?prefix=none",
				"/apps/plain/files", "/apps/vision/files/move?path=accounts.zip", "/apps/vision/files/delete?path=accounts.zip",
				"/start?app=vision&file=accounts.zip", "/start?app=vision&kind=epm.importData&file=accounts.zip", "/tasks/" + task.ID,
			} {
				s.visit(path)
				s.until("!document.querySelector('[aria-busy=true]')")
				s.fits()
				s.accessible()
				s.keepLook(scheme, width, "")
			}
		}
	}
}
