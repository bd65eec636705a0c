package web

import (
	"net/url"
	"path"
	"strings"
	"time"
)

// FileList is what lies in a folder of an app's files.
type FileList struct {
	App     string
	Folder  string // with the / at its end; empty: the outermost
	Entries []FileEntry
	After   string // where this part of the list begins; empty: at the first entry
	Next    string // where the next part begins; empty: this is the last
	May     May
	Now     time.Time

	Note  string // what was just done; empty: nothing
	Error string // why a change was refused; empty: none was

	// Of several files that were sent together: how many were stored before one was refused, and which
	// one; empty: none was.
	Stored  int
	Refused string
}

// Outcome says what became of a change that was refused.
func (l *FileList) Outcome() string {
	switch l.Stored {
	case 0:
		return "Nothing was changed"
	case 1:
		return "Only the first file was stored"
	}
	return "Only the first " + Count(int64(l.Stored)) + " files were stored"
}

// FileEntry is a file, or a folder in which files are.
type FileEntry struct {
	App, Path  string // of a folder with the / at its end
	Size       int64  // bytes
	ModifiedAt time.Time
	ModifiedBy string
}

// Crumb is a folder on the way to the one that is shown.
type Crumb struct{ Name, URL string }

// Crumbs lead from the outermost folder to the one that is shown, which is the last.
func (l *FileList) Crumbs() []Crumb {
	crumbs := []Crumb{{l.App, folderURL(l.App, "", "")}}
	for i, c := range l.Folder {
		if c == '/' {
			crumbs = append(crumbs, Crumb{path.Base(l.Folder[:i]), folderURL(l.App, l.Folder[:i+1], "")})
		}
	}
	return crumbs
}

// FolderName is the folder as a person writes it.
func (l *FileList) FolderName() string { return strings.TrimSuffix(l.Folder, "/") }

// MayChange reports whether who asks may upload, move and delete.
func (l *FileList) MayChange() bool { return l.May.Operate && l.May.SeeData }

// URL is where this part of the list is.
func (l *FileList) URL() string { return folderURL(l.App, l.Folder, l.After) }

// FirstURL and NextURL are where other parts of the list are.
func (l *FileList) FirstURL() string { return folderURL(l.App, l.Folder, "") }

// NextURL is where the next part of the list is.
func (l *FileList) NextURL() string { return folderURL(l.App, l.Folder, l.Next) }

// Action is where files are sent by a form.
func (l *FileList) Action() string { return (&App{Name: l.App}).FilesURL() }

// FolderURL is where what lies in the folder of a file, or in a folder, is listed.
func FolderURL(app, file string) string {
	return folderURL(app, file[:strings.LastIndexByte(file, '/')+1], "")
}

func folderURL(app, folder, after string) string {
	query := url.Values{}
	if folder != "" {
		query.Set("prefix", folder)
	}
	if after != "" {
		query.Set("after", after)
	}
	address := (&App{Name: app}).FilesURL()
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	return address
}

// IsFolder reports whether it is a folder.
func (e *FileEntry) IsFolder() bool { return strings.HasSuffix(e.Path, "/") }

// Name is the entry without the folders it lies in.
func (e *FileEntry) Name() string { return path.Base(e.Path) }

// URL is where a folder is listed, or a file downloaded.
func (e *FileEntry) URL() string {
	if e.IsFolder() {
		return folderURL(e.App, e.Path, "")
	}
	return "/api/v1" + (&App{Name: e.App}).FilesURL() + "/" + escaped(e.Path)
}

// escaped is a path as a part of an address.
func escaped(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}

// StartURL is the form for a task with the file.
func (e *FileEntry) StartURL() string {
	return "/start?" + url.Values{"app": {e.App}, "file": {e.Path}}.Encode()
}

// IsZip reports whether a task can take the file.
func (e *FileEntry) IsZip() bool { return IsZip(e.Path) }

// MoveURL is the form for another path.
func (e *FileEntry) MoveURL() string { return fileAction(e.App, "move", e.Path) }

// DeleteURL is where one is asked whether to delete the file.
func (e *FileEntry) DeleteURL() string { return fileAction(e.App, "delete", e.Path) }

func fileAction(app, action, file string) string {
	return (&App{Name: app}).FilesURL() + "/" + action + "?" + url.Values{"path": {file}}.Encode()
}

// IsZip reports whether a file's name is that of an archive which a task can take.
func IsZip(name string) bool { return strings.HasSuffix(strings.ToLower(name), ".zip") }

// FilesPage is what lies in a folder of an app's files.
func FilesPage(f Frame, l *FileList) View { return View{file: "files.html", page: page{f, l}} }

// FileRows is the list alone, for a page that refreshes itself.
func FileRows(l *FileList) View { return View{file: "files.html", part: "list", page: page{Body: l}} }

// MoveForm is the form for another path of a file.
type MoveForm struct {
	App   string
	From  string
	To    string // what was typed
	Error string // why the file was not moved; empty: it was not tried
}

// Action is where the form is sent.
func (m *MoveForm) Action() string { return fileAction(m.App, "move", m.From) }

// Back is where the file is listed.
func (m *MoveForm) Back() string { return FolderURL(m.App, m.From) }

// MovePage asks for another path of a file.
func MovePage(f Frame, m *MoveForm) View { return View{file: "filemove.html", page: page{f, m}} }

// AskDeleteFile asks whether a file is to be deleted.
func AskDeleteFile(e *FileEntry) *Question {
	return &Question{
		Title: "Delete " + e.Name() + "?", Action: e.DeleteURL(), Back: FolderURL(e.App, e.Path),
		Yes: "Delete the file", No: "Keep it", Danger: true,
		Paragraphs: []string{e.Path + " is no longer listed, and no task can take it. What it was can be brought back for a while, by the API."},
	}
}
