package api

import (
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/text/unicode/norm"

	"longhaul/api/web"
	"longhaul/jobs"
	"longhaul/storage"
)

const (
	// filesPath is the router's name for the page of an app's files.
	filesPath = "/apps/:app/files"
	// pageFiles is how many entries a page of the list has.
	pageFiles = 100
	// maxField bounds a field of a form that is sent with files, in bytes.
	maxField = 4 << 10
)

func (s *Server) filePageRoutes(g *echo.Group) {
	g.GET(filesPath, s.filesPage)
	g.POST(filesPath, s.uploadFromPage)
	g.GET(filesPath+"/move", s.moveFilePage)
	g.POST(filesPath+"/move", s.moveFileFromPage)
	g.GET(filesPath+"/delete", s.askDeleteFile)
	g.POST(filesPath+"/delete", s.deleteFileFromPage)
	g.POST("/tasks/:id/keep", s.keepFromPage)
}

// filesPage handles GET /apps/{app}/files?prefix=&after=, for who sees data.
func (s *Server) filesPage(c echo.Context) error {
	folder, after := norm.NFC.String(c.QueryParam("prefix")), norm.NFC.String(c.QueryParam("after"))
	if folder != "" && !strings.HasSuffix(folder, "/") {
		folder += "/"
	}
	for _, asked := range []string{folder, after} {
		if asked != "" && storage.CheckPath(strings.TrimSuffix(asked, "/")) != nil {
			return storage.ErrNotFound
		}
	}
	list := &web.FileList{Folder: folder, After: after}
	switch c.QueryParam("done") {
	case "uploaded":
		list.Note = "The files are here."
	case "moved":
		list.Note = "The file was moved."
	case "deleted":
		list.Note = "The file was deleted."
	}
	return s.showFiles(c, http.StatusOK, list)
}

func (s *Server) showFiles(c echo.Context, status int, list *web.FileList) error {
	ctx := c.Request().Context()
	list.App, list.Now, list.May = c.Param("app"), time.Now(), requestOf(ctx).may(c.Param("app"))
	entries, err := s.scope(ctx).FileLevel(ctx, storage.FileFilter{App: list.App, Prefix: list.Folder, After: list.After, Limit: pageFiles + 1})
	if err != nil {
		return err
	}
	if len(entries) > pageFiles {
		entries = entries[:pageFiles]
		list.Next = entries[pageFiles-1].Path
	}
	for _, e := range entries {
		list.Entries = append(list.Entries, fileOnPage(list.App, e))
	}
	if partial(c) {
		return s.html(c, status, web.FileRows(list))
	}
	return s.html(c, status, web.FilesPage(s.frame(c, "apps"), list))
}

func fileOnPage(app string, e storage.FileEntry) web.FileEntry {
	shown := web.FileEntry{App: app, Path: e.Path}
	if e.File != nil {
		shown.Size, shown.ModifiedAt, shown.ModifiedBy = e.File.Size, e.File.ModifiedAt, e.File.ModifiedBy
	}
	return shown
}

// fileRefusal says why a file was not changed, where a person can do something about it; other
// errors are returned.
func fileRefusal(ctx context.Context, err error) (words string, status int, _ error) {
	if errors.Is(err, storage.ErrCondition) {
		return "There is a file of this name already. Choose another name, or another folder.", http.StatusConflict, nil
	}
	p := problemOf(ctx, fileProblem(ctx, "path", err))
	if p.Status == http.StatusNotFound || p.Status >= http.StatusInternalServerError && p.Status != http.StatusInsufficientStorage {
		return "", 0, err
	}
	words = p.Detail
	if len(p.Errors) == 1 {
		words = p.Errors[0].Message
	}
	return web.Sentence(words), p.Status, nil
}

// uploadFromPage handles POST /apps/{app}/files, for operators who see data: files that a browser
// without scripts sends, after the fields folder and replace.
func (s *Server) uploadFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	taken, err := s.takeFiles(c)
	if err != nil {
		words, status, err := fileRefusal(ctx, err)
		if err != nil {
			return err
		}
		if storage.CheckPath(strings.TrimSuffix(taken.folder, "/")) != nil {
			taken.folder = ""
		}
		return s.showFiles(c, status, &web.FileList{Folder: taken.folder, Error: words, Stored: taken.stored, Refused: taken.refused})
	}
	return s.toFolder(c, taken.folder, "uploaded")
}

// takenFiles is what came of a form with files.
type takenFiles struct {
	folder  string // that it names
	stored  int    // how many files are in it now
	refused string // the name of the one that was not taken; empty: it was no file that was wrong
}

// takeFiles stores the files of a form in the folder that it names, up to the first that is refused.
func (s *Server) takeFiles(c echo.Context) (taken takenFiles, err error) {
	ctx := c.Request().Context()
	form, err := c.Request().MultipartReader()
	if err != nil {
		return taken, echo.NewHTTPError(http.StatusUnsupportedMediaType, "Send multipart/form-data with the fields folder and file.")
	}
	put := jobs.FilePut{App: c.Param("app"), By: requestOf(ctx).caller, If: storage.Condition{Absent: true}}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return taken, nil
		}
		if err != nil {
			return taken, badRequest(err)
		}
		switch part.FormName() {
		case "folder":
			if taken.folder, err = typedFolder(part); err != nil {
				return taken, err
			}
		case "replace":
			put.If.Absent = false
		case "file":
			if part.FileName() == "" {
				continue // none was chosen
			}
			name := norm.NFC.String(part.FileName())
			put.Path = taken.folder + name
			if _, err := s.Engine.PutFile(ctx, put, s.limited(requestBody{part}), -1); err != nil {
				taken.refused = name
				return taken, err
			}
			taken.stored++
		}
	}
}

// typedFolder reads the field for a folder, and ends it with the /.
func typedFolder(part *multipart.Part) (string, error) {
	raw, err := io.ReadAll(io.LimitReader(requestBody{part}, maxField))
	typed := strings.Trim(norm.NFC.String(strings.TrimSpace(string(raw))), "/")
	if err != nil || typed == "" {
		return "", err
	}
	return typed + "/", nil
}

// toFolder leads to the list of a folder, which says what was done.
func (s *Server) toFolder(c echo.Context, folder, done string) error {
	address := web.FolderURL(c.Param("app"), folder)
	if strings.Contains(address, "?") {
		return c.Redirect(http.StatusSeeOther, address+"&done="+done)
	}
	return c.Redirect(http.StatusSeeOther, address+"?done="+done)
}

// fileOfPage is the file that the page's address names.
func (s *Server) fileOfPage(c echo.Context) (storage.File, error) {
	ctx := c.Request().Context()
	name := norm.NFC.String(c.QueryParam("path"))
	if storage.CheckPath(name) != nil {
		return storage.File{}, storage.ErrNotFound
	}
	return s.scope(ctx).File(ctx, c.Param("app"), name)
}

// moveFilePage handles GET /apps/{app}/files/move?path=, for operators who see data.
func (s *Server) moveFilePage(c echo.Context) error {
	file, err := s.fileOfPage(c)
	if err != nil {
		return err
	}
	return s.html(c, http.StatusOK, web.MovePage(s.frame(c, "apps"), &web.MoveForm{App: file.App, From: file.Path, To: file.Path}))
}

// moveFileFromPage handles POST /apps/{app}/files/move?path=, for operators who see data.
func (s *Server) moveFileFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	file, err := s.fileOfPage(c)
	if err != nil {
		return err
	}
	form := &web.MoveForm{App: file.App, From: file.Path, To: strings.TrimSpace(c.FormValue("to"))}
	put := jobs.FilePut{App: file.App, Path: norm.NFC.String(form.To), By: requestOf(ctx).caller, If: storage.Condition{Absent: true}}
	if put.Path != file.Path {
		_, err = s.Engine.MoveFile(ctx, put, file.Path)
	}
	if err != nil {
		words, status, err := fileRefusal(ctx, err)
		if err != nil {
			return err
		}
		form.Error = words
		return s.html(c, status, web.MovePage(s.frame(c, "apps"), form))
	}
	return s.toFolder(c, put.Path, "moved")
}

// askDeleteFile handles GET /apps/{app}/files/delete?path=, for operators who see data.
func (s *Server) askDeleteFile(c echo.Context) error {
	file, err := s.fileOfPage(c)
	if err != nil {
		return err
	}
	return s.question(c, "apps", web.AskDeleteFile(&web.FileEntry{App: file.App, Path: file.Path}))
}

// deleteFileFromPage handles POST /apps/{app}/files/delete?path=, for operators who see data.
func (s *Server) deleteFileFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	file, err := s.fileOfPage(c)
	if err != nil {
		return err
	}
	if err := s.Engine.DeleteFile(ctx, file.App, file.Path, storage.Condition{}, requestOf(ctx).caller); err != nil {
		return err
	}
	return s.toFolder(c, file.Path, "deleted")
}

// keepFolder is where a task's outputs are kept among the files of its app, unless their keeper says
// otherwise.
func keepFolder(t *storage.Task) string {
	return "outputs/" + norm.NFC.String(t.Name) + "/" + t.CreatedAt.UTC().Format("2006-01-02 150405") + "/"
}

// keepFromPage handles POST /tasks/{id}/keep, for the operators of its app who see data: it makes a
// file of one output, or of each where none is named.
func (s *Server) keepFromPage(c echo.Context) error {
	ctx := c.Request().Context()
	task, err := s.taskOfPage(c)
	if err != nil {
		return err
	}
	asked := c.FormValue("output")
	for _, o := range task.Outputs {
		if asked != "" && asked != o.Path {
			continue
		}
		put := jobs.FilePut{App: task.App, Path: keepFolder(task) + norm.NFC.String(o.Path), By: requestOf(ctx).caller}
		if _, err := s.addOutput(ctx, put, &OutputOf{Task: task.ID.String(), Path: o.Path}); err != nil {
			return fileProblem(ctx, "path", err)
		}
	}
	return c.Redirect(http.StatusSeeOther, "/tasks/"+task.ID.String()+"#files-title")
}

// keptOutputs says which of a task's outputs are among the files of its app, where they were kept
// from its page, and under which path.
func (s *Server) keptOutputs(ctx context.Context, t *storage.Task) (map[string]string, error) {
	if len(t.Outputs) == 0 || !requestOf(ctx).seesData(t.App) {
		return nil, nil
	}
	folder := keepFolder(t)
	found, err := s.scope(ctx).Files(ctx, storage.FileFilter{App: t.App, Prefix: folder, Limit: len(t.Outputs)})
	if err != nil {
		return nil, err
	}
	digests := make(map[string]string, len(found))
	for i := range found {
		digests[found[i].Path] = found[i].SHA256
	}
	kept := make(map[string]string)
	for _, o := range t.Outputs {
		if name := folder + norm.NFC.String(o.Path); digests[name] == o.SHA256 && o.SHA256 != "" {
			kept[o.Path] = name
		}
	}
	return kept, nil
}
