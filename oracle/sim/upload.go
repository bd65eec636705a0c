package sim

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// maxChunk is the largest piece of a v1 or v2 upload.
const maxChunk = 50 << 20

var errChunk = errors.New("invalid chunk")

// uploadName returns the repository's name for an upload: the name in the
// address, in the folder that extDirPath names. It answers the request itself
// when the name is wrong or taken: an upload never overwrites.
func (e *environment) uploadName(w http.ResponseWriter, r *http.Request, folder string) (string, bool) {
	name, ok := e.pathName(w, r)
	if !ok {
		return "", false
	}
	if folder != "" {
		cleaned, err := cleanName(path.Join(strings.ReplaceAll(folder, `\`, "/"), name))
		if err != nil {
			e.writeFailure(w, r, "Invalid folder : %s", folder)
			return "", false
		}
		name = cleaned
	}
	if e.nameTaken(name) {
		e.writeFailure(w, r, "File %s already exists. Delete it before uploading it again.", name)
		return "", false
	}
	return name, true
}

// nameTaken also looks for the folder that a snapshot would be unpacked to.
func (e *environment) nameTaken(name string) bool {
	return e.repo.taken(name) || e.repo.taken(strings.TrimSuffix(name, ".zip"))
}

// uploadWhole is POST /interop/rest/11.1.2.3.600/applicationsnapshots/{name}/contents:
// the file in one request, or with q in several, each with data.
func (e *environment) uploadWhole(w http.ResponseWriter, r *http.Request) {
	q, err := parseQ(r.URL.Query().Get("q"))
	if err != nil {
		e.writeFailure(w, r, "Invalid q parameter")
		return
	}
	if q["isFirst"] == "" {
		q["isFirst"], q["isLast"] = "true", "true"
	}
	folder := r.URL.Query().Get("extDirPath")
	if folder == "" {
		folder = q["extDirPath"]
	}
	e.uploadPiece(w, r, firstGeneration, folder, q)
}

// uploadChunk is POST /interop/rest/v1/applicationsnapshots/{name}/contents: a
// request without data to begin, one for each chunk, one without data to end.
func (e *environment) uploadChunk(w http.ResponseWriter, r *http.Request) {
	q, err := parseQ(r.URL.Query().Get("q"))
	if err != nil || q["isFirst"] == "" || q["isLast"] == "" || q["fileSize"] == "" {
		e.writeFailure(w, r, "Invalid q parameter: it needs isFirst, isLast, chunkSize and fileSize")
		return
	}
	folder := r.URL.Query().Get("extDirPath")
	if folder == "" {
		folder = q["extDirPath"]
	}
	e.uploadPiece(w, r, "v1", folder, q)
}

// uploadPiece takes one request of an upload by name.
func (e *environment) uploadPiece(w http.ResponseWriter, r *http.Request, version, folder string, q map[string]string) {
	name, ok := e.uploadName(w, r, folder)
	if !ok {
		return
	}
	var u *upload
	if q["isFirst"] == "true" {
		u = e.transfers.beginUpload(name, declaredSize(q["fileSize"]), e.blobs.newSpool(), true)
	} else if u = e.transfers.uploadByName(name); u == nil {
		e.writeFailure(w, r, "The upload of %s has not been initialised", name)
		return
	}
	if err := u.append(r, version, q); err != nil {
		if !errors.Is(err, errChunk) {
			e.transfers.endUpload(u)
			u.drop()
		}
		e.writeFailure(w, r, "Unable to upload %s: %v", name, err)
		return
	}
	if q["isLast"] == "true" {
		e.finishUpload(w, r, u, version)
		return
	}
	e.writeEnvelope(w, r, envelope{noItems: true})
}

func declaredSize(text string) int64 {
	size, err := strconv.ParseInt(text, 10, 64)
	if err != nil || size < 0 {
		return -1
	}
	return size
}

// append adds the body of a request. A wrong chunk is refused before any of it
// is kept, so that the client can send it again; a body that breaks off ends
// the upload, because what arrived of it is kept.
func (u *upload) append(r *http.Request, version string, q map[string]string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.spool == nil {
		return errors.New("the upload has ended")
	}
	if err := u.checkChunk(r, version, q); err != nil {
		return err
	}
	if _, err := io.Copy(u.spool, r.Body); err != nil {
		return fmt.Errorf("receive data: %w", err)
	}
	return nil
}

// checkChunk compares what q says of a chunk with what has arrived. Requests
// that begin and end a v1 upload have no range, and a chunkSize that means
// nothing (Oracle's examples say 14).
func (u *upload) checkChunk(r *http.Request, version string, q map[string]string) error {
	if version == firstGeneration {
		return nil
	}
	if r.ContentLength > maxChunk {
		return fmt.Errorf("%w: %d bytes are more than 52428800", errChunk, r.ContentLength)
	}
	if q["startRange"] == "" {
		if r.ContentLength > 0 {
			return fmt.Errorf("%w: it has no startRange and endRange", errChunk)
		}
		return nil
	}
	start, end := declaredSize(q["startRange"]), declaredSize(q["endRange"])
	switch length := end - start + 1; {
	case start != u.spool.size:
		return fmt.Errorf("%w: it starts at %d, %d bytes have arrived", errChunk, start, u.spool.size)
	case length < 1 || r.ContentLength >= 0 && length != r.ContentLength || strconv.FormatInt(length, 10) != q["chunkSize"]:
		return fmt.Errorf("%w: range, chunkSize and length of the body differ", errChunk)
	case u.declared >= 0 && end >= u.declared:
		return fmt.Errorf("%w: it ends behind fileSize", errChunk)
	}
	return nil
}

// take ends an upload and returns its bytes.
func (u *upload) take() (*blob, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.spool
	if s == nil {
		return nil, errors.New("the upload has ended")
	}
	u.spool = nil
	if u.declared >= 0 && s.size != u.declared {
		s.discard()
		return nil, fmt.Errorf("%d of %d bytes have arrived", s.size, u.declared)
	}
	return s.finish(), nil
}

// finishUpload stores the file. A snapshot goes on being unpacked: its answer
// is in progress, any other file is there at once.
func (e *environment) finishUpload(w http.ResponseWriter, r *http.Request, u *upload, version string) {
	e.transfers.endUpload(u)
	content, err := u.take()
	if err != nil {
		e.writeFailure(w, r, "Unable to upload %s: %v", u.name, err)
		return
	}
	name, kind := u.name, kindFile
	if isSnapshot(content) {
		name, kind = strings.TrimSuffix(u.name, ".zip"), kindSnapshot
	}
	if err := e.repo.add(name, kind, content); err != nil {
		content.remove()
		e.writeFailure(w, r, "File %s already exists. Delete it before uploading it again.", u.name)
		return
	}
	if kind == kindFile && version != "v2" {
		e.writeEnvelope(w, r, envelope{noItems: true})
		return
	}
	takes := unpacking
	if kind == kindFile {
		takes = 0
	}
	t := e.transfers.begin(u.name, nil, takes, func(id string) string {
		switch version {
		case firstGeneration:
			return snapshotPath(version, u.name) + "/contents/status"
		case "v1":
			return interopBase + "/v1/services/jobs/" + id
		default:
			return interopBase + "/v2/status/jobs/" + id
		}
	})
	e.writeProgress(w, r, t, nil)
}

// isSnapshot tells a snapshot of Migration from other archives by the
// description that every one has.
func isSnapshot(content *blob) bool {
	archive, err := openArchive(content)
	if err != nil {
		return false
	}
	defer archive.close()
	for _, f := range archive.File {
		if f.Name == "Import.xml" || f.Name == "Export.xml" {
			return true
		}
	}
	return false
}

// getUnpacking is GET /interop/rest/11.1.2.3.600/applicationsnapshots/{name}/contents/status.
func (e *environment) getUnpacking(w http.ResponseWriter, r *http.Request) {
	name, ok := e.pathName(w, r)
	if !ok {
		return
	}
	t, ok := e.transfers.look(e.transfers.unpackingOf(name))
	if !ok {
		e.writeFailure(w, r, "Invalid file : %s", name)
		return
	}
	e.writeProgress(w, r, t, nil)
}

// createUpload is POST /interop/rest/v2/files/upload.
func (e *environment) createUpload(w http.ResponseWriter, r *http.Request) {
	var body struct {
		FileName string `json:"fileName"`
		FileSize any    `json:"fileSize"`
	}
	if err := decodeJSON(w, r, &body); err != nil {
		writeJSON(w, http.StatusBadRequest, object{"status": 1, "details": "The request body is not valid JSON.", "links": nil})
		return
	}
	name, err := cleanName(body.FileName)
	size, _ := scalarText(body.FileSize)
	if err != nil || e.nameTaken(name) {
		e.writeFailure(w, r, "Invalid file or file already exists : %s", body.FileName)
		return
	}
	u := e.transfers.beginUpload(name, declaredSize(size), e.blobs.newSpool(), false)
	path := interopBase + "/v2/files/upload/" + u.id
	e.writeEnvelope(w, r, envelope{noItems: true, links: []object{
		e.interopLink(r, "upload", http.MethodPatch, path),
		e.interopLink(r, "complete", http.MethodPost, path+"/complete"),
	}})
}

// appendUpload is PATCH /interop/rest/v2/files/upload/{id}: the next bytes.
// Oracle's page names no range, so the order of the requests is that of the
// bytes.
func (e *environment) appendUpload(w http.ResponseWriter, r *http.Request) {
	u := e.transfers.uploadByID(r.PathValue("id"))
	if u == nil {
		e.writeFailure(w, r, "Invalid upload : %s", r.PathValue("id"))
		return
	}
	if r.ContentLength > maxChunk {
		e.writeFailure(w, r, "Unable to upload %s: a chunk is larger than 52428800 bytes", u.name)
		return
	}
	if err := u.append(r, firstGeneration, nil); err != nil {
		e.transfers.endUpload(u)
		u.drop()
		e.writeFailure(w, r, "Unable to upload %s: %v", u.name, err)
		return
	}
	e.writeEnvelope(w, r, envelope{noItems: true})
}

// completeUpload is POST /interop/rest/v2/files/upload/{id}/complete.
func (e *environment) completeUpload(w http.ResponseWriter, r *http.Request) {
	u := e.transfers.uploadByID(r.PathValue("id"))
	if u == nil {
		e.writeFailure(w, r, "Invalid upload : %s", r.PathValue("id"))
		return
	}
	e.finishUpload(w, r, u, "v2")
}
