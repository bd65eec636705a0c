package api

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/labstack/echo/v4"
	"golang.org/x/text/unicode/norm"

	"longhaul/jobs"
	"longhaul/storage"
	"longhaul/storage/archive"
)

// putFile handles PUT /api/v1/apps/{app}/files/{path}, for operators who see data.
func (s *Server) putFile(c echo.Context) error {
	r := c.Request()
	ctx := r.Context()
	put := jobs.FilePut{App: c.Param("app"), Path: filePath(c), By: requestOf(ctx).caller}
	var err error
	if put.If, err = conditionOf(r); err != nil {
		return err
	}
	if put.ContentType, err = s.toldType(c); err != nil {
		return err
	}
	if s.MaxUpload > 0 && r.ContentLength > s.MaxUpload {
		return errBodyTooLarge
	}
	body, err := checked(r, s.limited(requestBody{r.Body}))
	if err != nil {
		return err
	}
	changed, err := s.Engine.PutFile(ctx, put, body, r.ContentLength)
	if err != nil {
		return fileProblem(ctx, "path.path", err)
	}
	status := http.StatusOK
	if changed.Created {
		status = http.StatusCreated
	}
	h := c.Response().Header()
	h.Set("ETag", `"`+changed.File.SHA256+`"`)
	h.Set("Location", address(&changed.File))
	return s.json(c, status, fileBody(&changed.File))
}

// toldType is the media type that a request tells of its body; empty: it tells none. What is not a
// whole file as it is, is refused.
func (s *Server) toldType(c echo.Context) (string, error) {
	h := c.Request().Header
	if coding := h.Get("Content-Encoding"); coding != "" && coding != "identity" {
		c.Response().Header().Set("Accept-Encoding", "identity") // RFC 9110, section 15.5.16
		return "", echo.NewHTTPError(http.StatusUnsupportedMediaType, "Send the file without a Content-Encoding: the bytes are kept as they come.")
	}
	if h.Get("Content-Range") != "" { // which must not be ignored: RFC 9110, section 14.5
		return "", echo.NewHTTPError(http.StatusBadRequest, "A file is sent whole. To send one in parts, or to go on with one, make an upload: POST /api/v1/uploads.")
	}
	kind, params, _ := mime.ParseMediaType(h.Get(echo.HeaderContentType)) // what is none tells nothing
	switch {
	case kind == echo.MIMEOctetStream, kind == echo.MIMEApplicationForm: // which is what curl says of anything
		return "", nil
	case strings.HasPrefix(kind, "multipart/"):
		return "", echo.NewHTTPError(http.StatusUnsupportedMediaType, "Send the file's bytes as the body, without a form around them.")
	}
	return mime.FormatMediaType(kind, params), nil
}

// getFile handles GET /api/v1/apps/{app}/files/{path}, for who sees data.
func (s *Server) getFile(c echo.Context) error {
	ctx := c.Request().Context()
	f, err := s.namedFile(c)
	if err != nil {
		return err
	}
	line := requestOf(ctx).caller.Audit("file.download", f.App, f.Path)
	line.Detail = fmt.Sprintf("version %d", f.Version)
	address, err := s.Engine.FileAddress(ctx, &f, disposition(path.Base(f.Path)))
	if err != nil || address != "" && !isHead(c) {
		return s.sendElsewhere(c, address, err, line)
	}
	file, err := s.Engine.OpenFile(ctx, &f)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	return s.serveDownload(c, file, &download{
		name: path.Base(f.Path), mediaType: f.ContentType, sha256: f.SHA256, modified: f.ModifiedAt, line: line,
	})
}

// namedFile is the file that a request names, or the version of it.
func (s *Server) namedFile(c echo.Context) (storage.File, error) {
	ctx := c.Request().Context()
	version, err := numberParam(c, "version", 0, 0)
	if err != nil {
		return storage.File{}, err
	}
	name, err := existingPath(c)
	switch {
	case err != nil:
		return storage.File{}, err
	case version > 0:
		return s.scope(ctx).FileAt(ctx, c.Param("app"), name, version)
	}
	return s.scope(ctx).File(ctx, c.Param("app"), name)
}

// maxZipped is how many files one archive may hold, which are known before its first byte is sent.
const maxZipped = 10_000

// zipFiles handles GET /api/v1/apps/{app}/files.zip, for who sees data: files as one archive, made
// while it is sent.
func (s *Server) zipFiles(c echo.Context) error {
	ctx := c.Request().Context()
	app, prefix := c.Param("app"), norm.NFC.String(c.QueryParam("prefix"))
	paths := c.QueryParams()["path"]
	found, err := s.chosenFiles(ctx, app, prefix, paths)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return refuse(ctx, http.StatusNotFound, "There are no files to put into the archive.")
	}
	sources := make([]archive.Source, len(found))
	for i := range found {
		sources[i] = archive.Source{Name: found[i].Path, Size: found[i].Size, Open: func(ctx context.Context) (io.ReadCloser, error) {
			return s.Engine.OpenFile(ctx, &found[i])
		}}
	}
	name := app + "-files.zip"
	if folder, isFolder := strings.CutSuffix(prefix, "/"); isFolder {
		name = path.Base(folder) + ".zip"
	}
	return s.serveZip(c, name, sources, zipLines(ctx, app, prefix, found, len(paths) > 0)...)
}

// zipLines are the lines of the audit trail about an archive: one for all below a prefix, and else one
// for each file, because nothing else tells later which they were.
func zipLines(ctx context.Context, app, prefix string, found []storage.File, named bool) []storage.Audit {
	caller := requestOf(ctx).caller
	if !named {
		line := caller.Audit("file.download", app, prefix)
		line.Detail = fmt.Sprintf("%d files as one archive", len(found))
		return []storage.Audit{line}
	}
	lines := make([]storage.Audit, len(found))
	for i, f := range found {
		lines[i] = caller.Audit("file.download", app, f.Path)
		lines[i].Detail = fmt.Sprintf("version %d, in an archive", f.Version)
	}
	return lines
}

// chosenFiles are the files with the paths that are named; without any, all whose paths begin with
// prefix.
func (s *Server) chosenFiles(ctx context.Context, app, prefix string, paths []string) ([]storage.File, error) {
	if len(paths) == 0 {
		return s.filesBelow(ctx, app, prefix)
	}
	if len(paths) > maxZipped {
		return nil, invalidField("query.path", fmt.Sprintf("an archive holds %d files at most", maxZipped))
	}
	var found []storage.File
	seen := make(map[string]bool)
	for _, name := range paths {
		name = norm.NFC.String(name)
		if seen[name] {
			continue
		}
		seen[name] = true
		f, err := s.scope(ctx).File(ctx, app, name)
		if err != nil {
			return nil, missing(err, "query.path", fmt.Sprintf("there is no file %q", name))
		}
		found = append(found, f)
	}
	return found, nil
}

func (s *Server) filesBelow(ctx context.Context, app, prefix string) ([]storage.File, error) {
	found, err := s.scope(ctx).Files(ctx, storage.FileFilter{App: app, Prefix: prefix, Limit: maxZipped + 1})
	if len(found) > maxZipped {
		return nil, invalidField("query.prefix", fmt.Sprintf("more than %d paths begin so, and an archive holds no more. Choose a longer one", maxZipped))
	}
	return found, err
}
