package web_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longhaul/api/web"
)

func TestFilesPage(t *testing.T) {
	t.Parallel()
	list := &web.FileList{
		App: "vision", Folder: "in & out/2026/", Next: "in & out/2026/z.csv", Now: now, May: web.May{Operate: true, SeeData: true},
		Entries: []web.FileEntry{
			{App: "vision", Path: "in & out/2026/old/"},
			{App: "vision", Path: "in & out/2026/100 %.ZIP", Size: 1_300_000, ModifiedAt: now.Add(-2 * time.Hour), ModifiedBy: "ann"},
		},
	}
	d := render(t, web.FilesPage(web.Frame{User: "ann"}, list))
	d.says("Files of vision", "old, folder", "100 %.ZIP 1.3 MB 2 h ago by ann")
	links := map[string]string{}
	for _, words := range []string{"vision", "in & out", "2026", "old, folder", "100 %.ZIP", "Start a task…", "Move…", "Delete…", "More"} {
		links[words] = d.link(words)
	}
	want := map[string]string{
		"vision": "/apps/vision/files", "in & out": "/apps/vision/files?prefix=in+%26+out%2F", "2026": "/apps/vision/files?prefix=in+%26+out%2F2026%2F",
		"old, folder":   "/apps/vision/files?prefix=in+%26+out%2F2026%2Fold%2F",
		"100 %.ZIP":     "/api/v1/apps/vision/files/in%20&%20out/2026/100%20%25.ZIP",
		"Start a task…": "/start?app=vision&file=in+%26+out%2F2026%2F100+%25.ZIP",
		"Move…":         "/apps/vision/files/move?path=in+%26+out%2F2026%2F100+%25.ZIP",
		"Delete…":       "/apps/vision/files/delete?path=in+%26+out%2F2026%2F100+%25.ZIP",
		"More":          "/apps/vision/files?after=in+%26+out%2F2026%2Fz.csv&prefix=in+%26+out%2F2026%2F",
	}
	if diff := cmp.Diff(want, links); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	if got := attr(d.id("folder"), "value"); got != "in & out/2026" {
		t.Errorf("uploads go to %q", got)
	}
}

// Whoever may only read is offered nothing else, and nothing is loaded for it.
func TestFilesPageForReaders(t *testing.T) {
	t.Parallel()
	list := &web.FileList{App: "vision", Now: now, May: web.May{SeeData: true}, Entries: []web.FileEntry{{App: "vision", Path: "a.zip"}}}
	d := render(t, web.FilesPage(web.Frame{User: "ann"}, list))
	d.says("a.zip")
	d.silent("Start a task…", "Move…", "Delete…", "Upload files")
	for _, script := range d.tags("script") {
		if src := attr(script, "src"); len(src) > 12 && src[:12] == "/static/tus." {
			t.Errorf("the page loads %s", src)
		}
	}
}

func TestEmptyFolders(t *testing.T) {
	t.Parallel()
	render(t, web.FilesPage(web.Frame{}, &web.FileList{App: "vision"})).says("No files yet", "tasks of vision")
	render(t, web.FilesPage(web.Frame{}, &web.FileList{App: "vision", Folder: "a/"})).says("Nothing lies in this folder")
}

func TestKeptOutputs(t *testing.T) {
	t.Parallel()
	view := &web.TaskView{
		Task: web.Task{ID: "1", App: "vision", State: "succeeded", Outputs: []web.Output{{Path: "a.csv"}, {Path: "b.csv"}, {Path: "c.csv"}}},
		Now:  now, May: web.May{Operate: true, SeeData: true}, Kept: map[string]string{"b.csv": "outputs/b.csv"},
	}
	d := render(t, web.TaskPage(web.Frame{}, view))
	d.says("a.csv 0 B Keep b.csv 0 B Kept as outputs/b.csv", "Keep all")
	if got := d.link("outputs/b.csv"); got != "/apps/vision/files?prefix=outputs%2F" {
		t.Errorf("what is kept is at %s", got)
	}
	view.OutputsDeleted = true
	d = render(t, web.TaskPage(web.Frame{}, view))
	d.says("a.csv 0 B b.csv 0 B Kept as outputs/b.csv")
	d.silent("Keep all")
	view.OutputsDeleted, view.May.Operate = false, false
	render(t, web.TaskPage(web.Frame{}, view)).silent("Keep all", "0 B Keep ")
}

func TestStartFormOffersFiles(t *testing.T) {
	t.Parallel()
	form := &web.StartForm{
		Apps: []web.AppChoice{{Name: "vision"}}, App: "vision", UploadApp: "vision", File: "in/b.zip", MoreFiles: true,
		Kind:  &web.StartKind{Name: "epm.importData", Input: "required"},
		Files: []web.AppFile{{Path: "in/b.zip", Size: 20}, {Path: "a.zip", Size: 1}},
	}
	d := render(t, web.StartPage(web.Frame{}, form))
	d.says("or take a file of this app", "None in/b.zip, 20 B a.zip, 1 B", "Only the first are listed.")
	for _, option := range d.tags("option") {
		if has(option, "selected") && text(option) != "in/b.zip, 20 B" && attr(option, "value") != "vision" {
			t.Errorf("%q is chosen", text(option))
		}
	}
	if got := attr(d.id("with-file"), "value"); got != "in/b.zip" {
		t.Errorf("another kind would be asked for with the file %q", got)
	}
}
