package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"golang.org/x/text/unicode/norm"

	"longhaul/jobs"
	"longhaul/storage"
)

const (
	appPath = "/api/v1/apps/{app}"
	// fileRoute is the router's name for a file.
	fileRoute = "/api/v1/apps/:app/files/*"
)

func (s *Server) fileRoutes(g *echo.Group) {
	huma.Register(s.huma, huma.Operation{
		OperationID: "list-files", Method: http.MethodGet, Path: appPath + "/files", Tags: []string{"Files"},
		Summary: "List an app's files, by path",
		Description: "Paths are sorted as their bytes compare. With delimiter=/ only one level of folders is listed: what lies " +
			"deeper is in folders, each with the / at its end, once. The files of a folder are those with its name, and the /, as prefix.",
		Errors: []int{http.StatusUnauthorized, http.StatusNotFound},
	}, s.listFiles)
	huma.Register(s.huma, huma.Operation{
		OperationID: "add-file", Method: http.MethodPost, Path: appPath + "/files", Tags: []string{"Files"},
		Summary: "Make a file of bytes that are here already",
		Description: "Of a finished upload, which is used by that; of another file of the app, or an earlier version of one; by moving a " +
			"file; or of a task's output, which then outlives the task. No bytes move. What the path had stays as an earlier version.",
		Responses: map[string]*huma.Response{"201": s.fileResponse("A new file")},
		Errors: []int{
			http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict, http.StatusGone, http.StatusPreconditionFailed,
			http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusServiceUnavailable, http.StatusInsufficientStorage,
		},
	}, s.addFile)
	g.PUT(fileRoute, s.putFile)
	g.GET(fileRoute, s.getFile)
	g.DELETE(fileRoute, s.deleteFile)
	g.GET("/api/v1/apps/:app/file-versions/*", s.listFileVersions)
	g.GET("/api/v1/apps/:app/files.zip", s.zipFiles)
	g.GET(changesPath, s.listChanges)
	s.describeFiles()
}

// File is one of an app's lasting files.
type File struct {
	App         string    `json:"app"`
	Path        string    `json:"path" example:"reports/2026/März.csv" doc:"Its name, with the folders it lies in, parted by /"`
	Size        int64     `json:"size" doc:"In bytes"`
	SHA256      string    `json:"sha256" doc:"Hexadecimal; in quotation marks it is the ETag"`
	ContentType string    `json:"content_type" example:"text/csv"`
	Version     int64     `json:"version" doc:"Rises with each content that the path gets"`
	ModifiedAt  time.Time `json:"modified_at"`
	ModifiedBy  string    `json:"modified_by"`
}

// FileVersion is what a file is, or was.
type FileVersion struct {
	File
	ReplacedAt *time.Time `json:"replaced_at" doc:"When it was replaced or deleted; null: it is so now"`
}

// FilePage is a part of a list of files.
type FilePage struct {
	Items      []File   `json:"items" nullable:"false"`
	Folders    []string `json:"folders" nullable:"false" example:"[\"reports/\"]" doc:"With delimiter: the folders of this level, each with the / at its end"`
	NextCursor *string  `json:"next_cursor" doc:"For the next page; null on the last"`
}

func fileBody(f *storage.File) File {
	return File{
		App: f.App, Path: f.Path, Size: f.Size, SHA256: f.SHA256, ContentType: f.ContentType, Version: f.Version,
		ModifiedAt: f.ModifiedAt, ModifiedBy: f.ModifiedBy,
	}
}

// address is where a file is.
func address(f *storage.File) string {
	parts := strings.Split(f.Path, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return "/api/v1/apps/" + f.App + "/files/" + strings.Join(parts, "/")
}

type (
	listFilesInput struct {
		App       string `path:"app" doc:"The app's name"`
		Prefix    string `query:"prefix" doc:"Only paths that begin so" example:"reports/"`
		Delimiter string `query:"delimiter" enum:"/" doc:"Only this level of folders"`
		Limit     int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many, with the folders"`
		Cursor    string `query:"cursor" doc:"The next_cursor of the page before"`
	}
	listFilesOutput struct{ Body FilePage }
)

// listFiles handles GET /api/v1/apps/{app}/files, for who sees data.
func (s *Server) listFiles(ctx context.Context, in *listFilesInput) (*listFilesOutput, error) {
	after, err := base64.RawURLEncoding.DecodeString(in.Cursor)
	if err != nil {
		return nil, invalidField("query.cursor", "this cursor is not one that this server gave. Start again without one")
	}
	filter := storage.FileFilter{App: in.App, Prefix: norm.NFC.String(in.Prefix), After: string(after), Limit: in.Limit + 1}
	entries, err := s.fileEntries(ctx, filter, in.Delimiter != "")
	if err != nil {
		return nil, err
	}
	out := &listFilesOutput{Body: FilePage{Items: []File{}, Folders: []string{}}}
	if len(entries) > in.Limit {
		entries = entries[:in.Limit]
		cursor := base64.RawURLEncoding.EncodeToString([]byte(entries[in.Limit-1].Path))
		out.Body.NextCursor = &cursor
	}
	for _, e := range entries {
		if e.File == nil {
			out.Body.Folders = append(out.Body.Folders, e.Path)
		} else {
			out.Body.Items = append(out.Body.Items, fileBody(e.File))
		}
	}
	return out, nil
}

// fileEntries lists files, and with level only those of one level, and folders.
func (s *Server) fileEntries(ctx context.Context, filter storage.FileFilter, level bool) ([]storage.FileEntry, error) {
	if level {
		return s.scope(ctx).FileLevel(ctx, filter)
	}
	files, err := s.scope(ctx).Files(ctx, filter)
	entries := make([]storage.FileEntry, len(files))
	for i := range files {
		entries[i] = storage.FileEntry{Path: files[i].Path, File: &files[i]}
	}
	return entries, err
}

// NewFile is a request for a file of bytes that are here already.
type NewFile struct {
	Path     string    `json:"path" minLength:"1" maxLength:"1024" example:"inputs/accounts.zip" doc:"Its name, with the folders it is to lie in, parted by /"`
	Upload   string    `json:"upload,omitempty" format:"uuid" doc:"A finished upload of yours"`
	CopyOf   string    `json:"copy_of,omitempty" doc:"The path of another file of the app"`
	Version  int64     `json:"version,omitempty" minimum:"1" doc:"With copy_of: this version of it. It is how an earlier version, or a deleted file, comes back"`
	MoveFrom string    `json:"move_from,omitempty" doc:"The path of the file that is to have this one"`
	Output   *OutputOf `json:"output,omitempty" doc:"A task's output"`
}

// OutputOf names an output.
type OutputOf struct {
	Task string `json:"task" format:"uuid" doc:"The task's id"`
	Path string `json:"path" doc:"The output's path"`
}

type (
	addFileInput struct {
		App         string `path:"app" doc:"The app's name"`
		IfMatch     string `header:"If-Match" doc:"ETags, or *: only if the path has a file, with one of them"`
		IfNoneMatch string `header:"If-None-Match" doc:"*: only if the path has none"`
		Body        NewFile
	}
	addFileOutput struct {
		Status   int
		ETag     string `header:"ETag" doc:"Names the bytes"`
		Location string `header:"Location" doc:"The file's address"`
		Body     File
	}
)

// addFile handles POST /api/v1/apps/{app}/files, for operators who see data.
func (s *Server) addFile(ctx context.Context, in *addFileInput) (*addFileOutput, error) {
	cond, err := condition(in.IfMatch, in.IfNoneMatch)
	if err != nil {
		return nil, err
	}
	put := jobs.FilePut{App: in.App, Path: norm.NFC.String(in.Body.Path), If: cond, By: requestOf(ctx).caller}
	changed, err := s.addFrom(ctx, put, &in.Body)
	if err != nil {
		return nil, fileProblem(ctx, "body.path", err)
	}
	out := &addFileOutput{Status: http.StatusOK, ETag: `"` + changed.File.SHA256 + `"`, Location: address(&changed.File), Body: fileBody(&changed.File)}
	if changed.Created {
		out.Status = http.StatusCreated
	}
	return out, nil
}

// addFrom makes the file of the one thing that the request names.
func (s *Server) addFrom(ctx context.Context, put jobs.FilePut, in *NewFile) (storage.Changed, error) {
	named := 0
	for _, given := range []bool{in.Upload != "", in.CopyOf != "", in.MoveFrom != "", in.Output != nil} {
		if given {
			named++
		}
	}
	switch {
	case named != 1:
		return storage.Changed{}, invalidField("body", "give exactly one of upload, copy_of, move_from and output")
	case in.Version != 0 && in.CopyOf == "":
		return storage.Changed{}, invalidField("body.version", "only copy_of has versions")
	case in.MoveFrom != "" && norm.NFC.String(in.MoveFrom) == put.Path:
		return storage.Changed{}, invalidField("body.move_from", "is the path that the file is to have")
	case in.Upload != "":
		return s.addUpload(ctx, put, in.Upload)
	case in.Output != nil:
		return s.addOutput(ctx, put, in.Output)
	case in.CopyOf != "":
		changed, err := s.Engine.CopyFile(ctx, put, norm.NFC.String(in.CopyOf), in.Version)
		return changed, missing(err, "body.copy_of", "there is no such file, or it has no such version any more; "+
			"GET /api/v1/apps/{app}/file-versions/{path} lists what there is")
	}
	changed, err := s.Engine.MoveFile(ctx, put, norm.NFC.String(in.MoveFrom))
	return changed, missing(err, "body.move_from", "there is no such file")
}

func (s *Server) addUpload(ctx context.Context, put jobs.FilePut, text string) (storage.Changed, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return storage.Changed{}, invalidField("body.upload", "is not the id of an upload")
	}
	changed, err := s.Engine.PutUpload(ctx, put, id)
	return changed, missing(err, "body.upload", "you have no such upload; GET /api/v1/uploads lists yours")
}

func (s *Server) addOutput(ctx context.Context, put jobs.FilePut, from *OutputOf) (storage.Changed, error) {
	var task storage.Task
	id, err := parseID(from.Task)
	if err == nil {
		task, err = s.scope(ctx).Task(ctx, id, storage.View|storage.Data)
	}
	if err != nil {
		return storage.Changed{}, missing(err, "body.output.task", "there is no such task, or you may not see its data")
	}
	if err := outputsKept(&task); err != nil {
		return storage.Changed{}, err
	}
	for _, o := range task.Outputs {
		if o.Path == from.Path {
			changed, err := s.Engine.PutOutput(ctx, put, &task, o)
			return changed, goneWithout(err)
		}
	}
	return storage.Changed{}, invalidField("body.output.path", "the task has no such output; GET /api/v1/tasks/{id}/outputs lists them")
}

// missing says of what was not found where the request names it.
func missing(err error, location, message string) error {
	if errors.Is(err, storage.ErrNotFound) {
		return invalidField(location, message)
	}
	return err
}

// deleteFile handles DELETE /api/v1/apps/{app}/files/{path}, for operators who see data.
func (s *Server) deleteFile(c echo.Context) error {
	ctx := c.Request().Context()
	cond, err := conditionOf(c.Request())
	if err != nil {
		return err
	}
	name, err := existingPath(c)
	if err == nil {
		err = s.Engine.DeleteFile(ctx, c.Param("app"), name, cond, requestOf(ctx).caller)
	}
	if err != nil {
		return fileProblem(ctx, "path.path", err)
	}
	return c.NoContent(http.StatusNoContent)
}

// listFileVersions handles GET /api/v1/apps/{app}/file-versions/{path}, for who sees data.
func (s *Server) listFileVersions(c echo.Context) error {
	ctx := c.Request().Context()
	limit, err := numberParam(c, "limit", 50, 200)
	if err != nil {
		return err
	}
	before, err := numberParam(c, "cursor", 0, 0)
	if err != nil {
		return err
	}
	name, err := existingPath(c)
	if err != nil {
		return err
	}
	found, err := s.scope(ctx).FileVersions(ctx, c.Param("app"), name, before, int(limit)+1)
	if err != nil {
		return err
	}
	if len(found) == 0 && before == 0 {
		return storage.ErrNotFound
	}
	page := Page[FileVersion]{Items: []FileVersion{}}
	if len(found) > int(limit) {
		found = found[:limit]
		cursor := strconv.FormatInt(found[limit-1].Version, 10)
		page.NextCursor = &cursor
	}
	for i := range found {
		page.Items = append(page.Items, FileVersion{File: fileBody(&found[i].File), ReplacedAt: inUTC(found[i].ReplacedAt)})
	}
	return s.json(c, http.StatusOK, page)
}

// json answers with a value as JSON.
func (s *Server) json(c echo.Context, status int, value any) error {
	body, err := encode(value)
	if err != nil {
		return err
	}
	return c.JSONBlob(status, body)
}

// numberParam reads a number from 1 to most; 0: as large as numbers are. Left out it is otherwise.
func numberParam(c echo.Context, name string, otherwise, most int64) (int64, error) {
	text := c.QueryParam(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || most > 0 && n > most {
		message := "is not a number from 1 on"
		if most > 0 {
			message = fmt.Sprintf("is not a number from 1 to %d", most)
		}
		return 0, invalidField("query."+name, message)
	}
	return n, nil
}

// filePath is the path that a request names, in the form in which paths are kept.
func filePath(c echo.Context) string { return norm.NFC.String(c.Param("*")) }

// existingPath is the path of a file that must be there: what can name none is not found.
func existingPath(c echo.Context) (string, error) {
	name := filePath(c)
	if storage.CheckPath(name) != nil {
		return "", storage.ErrNotFound
	}
	return name, nil
}

// condition reads what a change of a file asks of what the path has (RFC 9110, section 13.1).
func condition(ifMatch, ifNoneMatch string) (storage.Condition, error) {
	cond := storage.Condition{Exists: strings.TrimSpace(ifMatch) == "*", Absent: strings.TrimSpace(ifNoneMatch) == "*"}
	if ifNoneMatch != "" && !cond.Absent {
		return cond, invalidField("header.If-None-Match", "only * is understood here: it asks for a path that has no file yet")
	}
	if ifMatch != "" && !cond.Exists {
		for tag := range strings.SplitSeq(ifMatch, ",") { // a weak one matches nothing
			cond.Match = append(cond.Match, strings.Trim(strings.TrimSpace(tag), `"`))
		}
	}
	return cond, nil
}

func conditionOf(r *http.Request) (storage.Condition, error) {
	if r.Header.Get("If-Unmodified-Since") != "" && r.Header.Get("If-Match") == "" {
		return storage.Condition{}, invalidField("header.If-Unmodified-Since", "is not understood here; send If-Match with the file's ETag")
	}
	return condition(strings.Join(r.Header.Values("If-Match"), ","), strings.Join(r.Header.Values("If-None-Match"), ","))
}

// fileProblem words why a file was not changed. location is where the request names its path.
func fileProblem(ctx context.Context, location string, err error) error {
	switch {
	case errors.Is(err, storage.ErrPath):
		return invalidField(location, strings.TrimPrefix(err.Error(), storage.ErrPath.Error()+": "))
	case errors.Is(err, storage.ErrCondition):
		return refuse(ctx, http.StatusPreconditionFailed, "Nothing was changed: "+because(err, storage.ErrCondition)+
			", and your condition asks for something else. Look at it again, and decide anew.")
	case errors.Is(err, storage.ErrConflict) && because(err, storage.ErrConflict) != storage.ErrConflict.Error():
		return refuse(ctx, http.StatusConflict, "Nothing was changed: "+because(err, storage.ErrConflict)+". Choose another path, or move what is in the way.")
	}
	return useProblem(ctx, err)
}

// because is what an error says of its case, without the words for its sort.
func because(err, sort error) string { return strings.TrimSuffix(err.Error(), ": "+sort.Error()) }
