package sim

import (
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// openStored opens an entry of the repository.
func (e *environment) openStored(name string) (file, blobReader, bool) {
	f, ok := e.repo.get(name)
	if !ok {
		return file{}, nil, false
	}
	content, err := f.blob.open()
	return f, content, err == nil
}

// fileExtension is a header of download answers: what to save the file as.
func fileExtension(f file) string {
	if f.kind == kindSnapshot {
		return "zip"
	}
	return strings.TrimPrefix(path.Ext(f.name), ".")
}

func setDownloadHeaders(w http.ResponseWriter, f file) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("fileExtension", fileExtension(f))
}

// downloadWhole is GET /interop/rest/11.1.2.3.600/applicationsnapshots/{name}/contents:
// the bytes, or a JSON envelope with HTTP 200 that says what is wrong.
func (e *environment) downloadWhole(w http.ResponseWriter, r *http.Request) {
	name, ok := e.pathName(w, r)
	if !ok {
		return
	}
	f, content, ok := e.openStored(name)
	if !ok {
		e.writeFailure(w, r, "Invalid file : %s", name)
		return
	}
	defer func() { _ = content.Close() }() // only read
	setDownloadHeaders(w, f)
	w.Header().Set("Content-Length", strconv.FormatInt(f.blob.size, 10))
	w.WriteHeader(http.StatusOK)
	_, _ = io.Copy(w, content) // a client that went away is no concern
}

// startDownload is GET /interop/rest/v1/applicationsnapshots/{name}/contents.
// For some names the answer has the download link at once.
func (e *environment) startDownload(w http.ResponseWriter, r *http.Request) {
	name, ok := e.pathName(w, r)
	if !ok {
		return
	}
	f, ok := e.repo.get(name)
	if !ok {
		e.writeFailure(w, r, "Invalid file : %s", name)
		return
	}
	t := e.transfers.begin(name, f.blob, preparing, func(id string) string {
		return snapshotPath("v1", name) + "/contents/" + id
	})
	if e.odd.pick("download at once", name, 5) {
		e.transfers.finish(t.id)
		t.running = false
	}
	e.writeProgress(w, r, t, e.downloadLinks(r, t))
}

// startDownloadV2 is POST /interop/rest/v2/files/download.
func (e *environment) startDownloadV2(w http.ResponseWriter, r *http.Request) {
	name, ok := e.bodyName(w, r)
	if !ok {
		return
	}
	f, ok := e.repo.get(name)
	if !ok {
		e.writeFailure(w, r, "Invalid file : %s", name)
		return
	}
	t := e.transfers.begin(name, f.blob, preparing, func(id string) string {
		return interopBase + "/v2/status/download/" + id
	})
	e.writeProgress(w, r, t, nil)
}

// downloadLinks leads to the bytes of a download that is ready, in the version
// it was started in.
func (e *environment) downloadLinks(r *http.Request, t transfer) []object {
	address := t.statusPath + "/download"
	if strings.HasPrefix(t.statusPath, interopBase+"/v2/") {
		address = interopBase + "/v2/files/download/" + t.id
	}
	return []object{e.interopLink(r, relDownload, http.MethodGet, address)}
}

// getDownload is GET /interop/rest/v1/applicationsnapshots/{name}/contents/{id}
// and GET /interop/rest/v2/status/download/{id}.
func (e *environment) getDownload(w http.ResponseWriter, r *http.Request) {
	t, ok := e.transfers.look(r.PathValue("id"))
	if !ok || t.content == nil {
		e.writeFailure(w, r, "Invalid download : %s", r.PathValue("id"))
		return
	}
	e.writeProgress(w, r, t, e.downloadLinks(r, t))
}

// downloadPart is the Download link of both versions: the bytes, or the range
// of them that is asked for. With q={download:complete} it ends the download
// and answers 206 with nothing.
func (e *environment) downloadPart(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if isDownloadComplete(r.URL) {
		e.transfers.end(id)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusPartialContent)
		return
	}
	t, ok := e.transfers.ready(id)
	if !ok || t.content == nil {
		e.writeFailure(w, r, "Invalid download : %s", id)
		return
	}
	content, err := t.content.open()
	if err != nil {
		e.writeFailure(w, r, "Invalid file : %s", t.name)
		return
	}
	defer func() { _ = content.Close() }() // only read
	kind := kindFile
	if f, ok := e.repo.get(t.name); ok {
		kind = f.kind
	}
	setDownloadHeaders(w, file{name: t.name, kind: kind})
	http.ServeContent(w, r, "", time.Time{}, content)
}

func isDownloadComplete(address *url.URL) bool {
	q, err := parseQ(address.Query().Get("q"))
	return err == nil && q["download"] == "complete"
}

// endDownload is DELETE /interop/rest/v2/files/download/{id}.
func (e *environment) endDownload(w http.ResponseWriter, r *http.Request) {
	if !e.transfers.end(r.PathValue("id")) {
		e.writeFailure(w, r, "Invalid download : %s", r.PathValue("id"))
		return
	}
	e.writeEnvelope(w, r, envelope{noItems: true})
}
