package sim

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	interopBase = "/interop/rest"
	// firstGeneration is the version segment of the oldest interop calls.
	firstGeneration = "11.1.2.3.600"
)

// interopRoutes are the calls of the interop API. A call in another version is
// not found: the version belongs to the call.
func (e *environment) interopRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+interopBase, e.getInteropVersions)
	mux.HandleFunc("GET "+interopBase+"/{$}", e.getInteropVersions)
	for _, v := range interopVersions {
		mux.HandleFunc("GET "+interopBase+"/"+v.name, e.getInteropVersion)
		mux.HandleFunc("GET "+interopBase+"/"+v.name+"/services", e.getInteropVersion)
	}
	const (
		first  = interopBase + "/" + firstGeneration + "/applicationsnapshots"
		second = interopBase + "/v1/applicationsnapshots"
		v2     = interopBase + "/v2"
	)
	for pattern, handler := range map[string]http.HandlerFunc{
		"GET " + first:                                            e.listFiles,
		"GET " + second:                                           e.listFiles,
		"GET " + v2 + "/files/list":                               e.listFiles,
		"GET " + first + "/{name}":                                e.getSnapshot,
		"DELETE " + first + "/{name}":                             e.deleteNamed,
		"DELETE " + v2 + "/files/delete":                          e.deleteInBody,
		"POST " + interopBase + "/v3/files/delete":                e.deleteInBody,
		"POST " + first + "/{name}/contents":                      e.uploadWhole,
		"GET " + first + "/{name}/contents/status":                e.getUnpacking,
		"POST " + second + "/{name}/contents":                     e.uploadChunk,
		"POST " + v2 + "/files/upload":                            e.createUpload,
		"PATCH " + v2 + "/files/upload/{id}":                      e.appendUpload,
		"POST " + v2 + "/files/upload/{id}/complete":              e.completeUpload,
		"GET " + first + "/{name}/contents":                       e.downloadWhole,
		"GET " + second + "/{name}/contents":                      e.startDownload,
		"GET " + second + "/{name}/contents/{id}":                 e.getDownload,
		"GET " + second + "/{name}/contents/{id}/download":        e.downloadPart,
		"POST " + v2 + "/files/download":                          e.startDownloadV2,
		"GET " + v2 + "/status/download/{id}":                     e.getDownload,
		"GET " + v2 + "/files/download/{id}":                      e.downloadPart,
		"DELETE " + v2 + "/files/download/{id}":                   e.endDownload,
		"GET " + interopBase + "/v1/services/jobs/{id}":           e.getTransfer,
		"GET " + v2 + "/status/jobs/{id}":                         e.getTransfer,
		"GET " + interopBase + "/v1/services/dailymaintenance":    e.getMaintenanceV1,
		"GET " + v2 + "/maintenance/getdailymaintenancestarttime": e.getMaintenanceV2,
	} {
		mux.HandleFunc(pattern, e.administrator(handler))
	}
	return notFoundAsPage(mux)
}

// interopVersions are the versions that version discovery lists.
var interopVersions = []struct {
	name      string
	lifecycle string
	latest    bool
}{
	{firstGeneration, "deprecated", false}, {"v1", "active", false}, {"v2", "active", true}, {"v3", "active", false},
}

// getInteropVersions is GET /interop/rest/; any role.
func (e *environment) getInteropVersions(w http.ResponseWriter, r *http.Request) {
	var items []object
	for _, v := range interopVersions {
		items = append(items, object{
			"version": v.name, "lifecycle": v.lifecycle, "latest": e.odd.truth("latest "+v.name, v.latest),
			"serviceType": "PBCS", "skuType": "EPM_ENTERPRISE", "buildVersion": e.service.Build,
			"links": []object{e.interopLink(r, "version", http.MethodGet, interopBase+"/"+v.name)},
		})
	}
	e.writeEnvelope(w, r, envelope{items: items})
}

// getInteropVersion is GET /interop/rest/{version}; any role.
func (e *environment) getInteropVersion(w http.ResponseWriter, r *http.Request) {
	e.writeEnvelope(w, r, envelope{noItems: true, links: []object{
		e.interopLink(r, "services", http.MethodGet, strings.TrimSuffix(e.selfPath(r), "/services")+"/services"),
	}})
}

// listFiles is GET /interop/rest/v2/files/list and its older forms. Sizes and
// times are text, or null for snapshots; no items is null.
func (e *environment) listFiles(w http.ResponseWriter, r *http.Request) {
	var items []object
	for _, f := range e.repo.list() {
		item := object{"name": f.name, "type": f.kind, "size": nil, "lastmodifiedtime": nil}
		if f.kind == kindFile {
			item["size"] = strconv.FormatInt(f.blob.size, 10)
			item["lastmodifiedtime"] = strconv.FormatInt(f.modified.UnixMilli(), 10)
		}
		items = append(items, item)
	}
	e.writeEnvelope(w, r, envelope{items: items})
}

// pathName returns the name in the address as the repository writes it, or
// answers the request itself.
func (e *environment) pathName(w http.ResponseWriter, r *http.Request) (string, bool) {
	name, err := cleanName(r.PathValue("name"))
	if err != nil {
		e.writeFailure(w, r, "Invalid file : %s", r.PathValue("name"))
		return "", false
	}
	return name, true
}

// bodyName reads {"fileName": "..."}, or answers the request itself.
func (e *environment) bodyName(w http.ResponseWriter, r *http.Request) (string, bool) {
	var body struct {
		FileName string `json:"fileName"`
	}
	if err := decodeJSON(w, r, &body); err != nil {
		writeJSON(w, http.StatusBadRequest, object{"status": 1, "details": "The request body is not valid JSON.", "links": nil})
		return "", false
	}
	name, err := cleanName(body.FileName)
	if err != nil {
		e.writeFailure(w, r, "Invalid file : %s", body.FileName)
		return "", false
	}
	return name, true
}

// snapshotPath is the first-generation address of an entry.
func snapshotPath(version, name string) string {
	return interopBase + "/" + version + "/applicationsnapshots/" + url.PathEscape(name)
}

// getSnapshot is GET /interop/rest/11.1.2.3.600/applicationsnapshots/{name}:
// what can be done with an entry.
func (e *environment) getSnapshot(w http.ResponseWriter, r *http.Request) {
	name, ok := e.pathName(w, r)
	if !ok {
		return
	}
	f, ok := e.repo.get(name)
	if !ok {
		e.writeFailure(w, r, "Invalid file : %s", name)
		return
	}
	snapshot := f.kind == kindSnapshot
	item := object{"name": f.name, "type": f.kind}
	for can, allowed := range map[string]bool{"export": snapshot, "import": snapshot, "upload": true, "download": true} {
		item["can"+can] = e.odd.truth(name+can, allowed)
	}
	path := snapshotPath(firstGeneration, name)
	links := []object{
		e.interopLink(r, "upload", http.MethodPost, path+"/contents"),
		e.interopLink(r, "download", http.MethodGet, path+"/contents"),
		e.interopLink(r, "delete", http.MethodDelete, path),
	}
	e.writeEnvelope(w, r, envelope{items: []object{item}, links: links})
}

// deleteNamed is DELETE /interop/rest/11.1.2.3.600/applicationsnapshots/{name}.
func (e *environment) deleteNamed(w http.ResponseWriter, r *http.Request) {
	if name, ok := e.pathName(w, r); ok {
		e.deleteFile(w, r, name)
	}
}

// deleteInBody is DELETE /interop/rest/v2/files/delete and
// POST /interop/rest/v3/files/delete.
func (e *environment) deleteInBody(w http.ResponseWriter, r *http.Request) {
	if name, ok := e.bodyName(w, r); ok {
		e.deleteFile(w, r, name)
	}
}

func (e *environment) deleteFile(w http.ResponseWriter, r *http.Request, name string) {
	if !e.repo.remove(name) {
		e.writeFailure(w, r, "File not found : %s", name)
		return
	}
	e.writeEnvelope(w, r, envelope{noItems: true})
}

// getMaintenanceV1 is GET /interop/rest/v1/services/dailymaintenance. Its
// status is text in Oracle's example.
func (e *environment) getMaintenanceV1(w http.ResponseWriter, r *http.Request) {
	hour, _, _ := strings.Cut(e.service.MaintenanceStart, ":")
	body := object{
		"status": "0", "details": nil,
		"items": []object{{"amwTime": hour, "buildVersion": e.service.Build}},
		"links": []object{e.interopLink(r, relSelf, http.MethodGet, e.selfPath(r))},
	}
	writeJSON(w, http.StatusOK, body)
}

// getMaintenanceV2 is GET /interop/rest/v2/maintenance/getdailymaintenancestarttime.
func (e *environment) getMaintenanceV2(w http.ResponseWriter, r *http.Request) {
	item := object{"amwTime": e.service.MaintenanceStart, "buildVersion": e.service.Build}
	if r.URL.Query().Get("showTimeZone") == "true" {
		item["timeZone"] = e.service.TimeZone
	}
	e.writeEnvelope(w, r, envelope{items: []object{item}})
}

// getTransfer is GET /interop/rest/v2/status/jobs/{id} and
// GET /interop/rest/v1/services/jobs/{id}: how an unpacking goes.
func (e *environment) getTransfer(w http.ResponseWriter, r *http.Request) {
	t, ok := e.transfers.look(r.PathValue("id"))
	if !ok {
		e.writeFailure(w, r, "Invalid job : %s", r.PathValue("id"))
		return
	}
	e.writeProgress(w, r, t, nil)
}

// writeProgress answers with the state of a transfer: in progress with the link
// to ask again, or done with the given links.
func (e *environment) writeProgress(w http.ResponseWriter, r *http.Request, t transfer, links []object) {
	if t.running {
		links = []object{e.interopLink(r, relJobStatus, http.MethodGet, t.statusPath)}
		e.writeEnvelope(w, r, envelope{status: statusProcessing, details: "In Progress", noItems: true, links: links})
		return
	}
	e.writeEnvelope(w, r, envelope{noItems: true, links: links})
}

// transferID is how an interop job id looks: 16 digits.
func transferID(n uint64) string { return fmt.Sprintf("%016d", 1e15+n%9e15) }
