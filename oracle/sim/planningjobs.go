package sim

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// startJob is POST .../jobs.
func (e *environment) startJob(w http.ResponseWriter, r *http.Request, a *application) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	}
	var body struct {
		JobType    string `json:"jobType"`
		JobName    string `json:"jobName"`
		Parameters object `json:"parameters"`
	}
	if err := decodeJSON(w, r, &body); err != nil {
		writePlanningError(w, http.StatusBadRequest, "HspRuntimeException", "The request body is not valid JSON.")
		return
	}
	kind := findJobType(body.JobType)
	if kind == nil {
		writePlanningError(w, http.StatusBadRequest, "InvalidJobTypeException", "The job type "+body.JobType+" is invalid.")
		return
	}
	l := &launch{env: e, app: a, name: body.JobName, parameters: body.Parameters}
	def := a.definition(kind.code, body.JobName)
	switch {
	case def != nil:
		l.def = *def
	case !kind.label:
		writePlanningError(w, http.StatusBadRequest, "InvalidJobNameException",
			"Unable to find a job of type "+kind.code+" with the name "+body.JobName+".")
		return
	case l.name == "":
		l.name = kind.title
	}
	e.launchJob(w, r, kind, l)
}

// launchJob starts a job whose type and definition are known.
func (e *environment) launchJob(w http.ResponseWriter, r *http.Request, kind *jobType, l *launch) {
	prepared := kind.prepare(l)
	fault := e.faults.strikeJob(r, kind.code, l.name)
	if l.err != nil || fault == FaultRefuseJob {
		e.refuseLaunch(w, r, fault, l)
		return
	}
	user, _ := e.signIn(r) // route has checked it
	j := &job{
		app: l.app, kind: kind.code, name: l.name, user: user.Name, parameters: l.parameters,
		exclusive: prepared.exclusive, work: prepared.work, fault: fault,
	}
	e.console.start(j, prepared.takes)
	entry := entryOf(r)
	entry.JobID = j.id
	if fault != "" {
		entry.Fault = fault
	}
	e.log.InfoContext(r.Context(), "sim: job started", "job_id", j.id, "application", l.app.name,
		"type", j.kind, "name", j.name, "fault", fault)
	started, _ := e.console.look(l.app, j.id, false)
	w.Header().Set("X-EPM_ACTION", "Job Execute")
	writeJSON(w, http.StatusOK, e.jobBody(r, started, true))
}

// refuseLaunch answers with the body that some refusals have, at a status that
// is sometimes 200, or with the general one.
func (e *environment) refuseLaunch(w http.ResponseWriter, r *http.Request, fault string, l *launch) {
	status := http.StatusBadRequest
	if e.odd.pick("refused with 200", l.app.name+l.name, 2) {
		status = http.StatusOK
	}
	if fault == "" && status == http.StatusBadRequest {
		writePlanningError(w, status, "InvalidParameterException", l.err.Error())
		return
	}
	if fault != "" {
		entryOf(r).Fault = fault
	}
	writeJSON(w, status, object{
		"descriptiveStatus": "Error", "jobId": -1, "status": 1, "details": nil, "jobName": nil, "links": nil,
	})
}

func jobPath(j job) string { return appBase(j.app) + "/jobs/" + strconv.Itoa(j.id) }

// detailed tells whether a job has details: Oracle names the four types.
func (j job) detailed() bool {
	return strings.HasPrefix(j.kind, "IMPORT_") || strings.HasPrefix(j.kind, "EXPORT_")
}

// consoleCodes are the finer states of the job console. That detailedStatus
// carries them is an inference from Oracle's readiness note.
var consoleCodes = map[int]int{
	statusProcessing: 1, statusSuccess: 2, statusError: 3, statusInvalidParameter: 3,
	statusUnknown: 4, statusCancelPending: 6, statusCancelled: 7,
}

// jobBody describes a job. The answer to the start and to the first poll says
// that it is in progress, however short the job is.
func (e *environment) jobBody(r *http.Request, j job, fresh bool) object {
	result := j.outcome
	if fresh && j.ended() {
		result = outcome{status: statusProcessing}
	}
	if result.description == "" {
		result.description = descriptions[result.status]
	}
	code := consoleCodes[result.status]
	if result.description == completedWithErrors {
		code = 8
	}
	key := strconv.Itoa(j.id) + " " + strconv.Itoa(result.status)
	if e.odd.pick("newline after status", key, 3) {
		result.description += "\n"
	}
	described := "descriptiveStatus"
	if result.status == statusError && e.odd.pick("jobStatus", key, 4) {
		described = "jobStatus"
	}
	links := []object{e.planningLink(r, "self", jobPath(j))}
	if j.detailed() {
		links = append(links, e.planningLink(r, "job-details", jobPath(j)+"/details"))
	}
	return object{
		"status": e.odd.number(key, result.status), "details": e.odd.text(key, result.details),
		"jobId": j.id, "jobName": j.name, described: result.description, "detailedStatus": code, "links": links,
	}
}

// pathJob finds the job in the address; it answers the request itself when
// there is none: with 500, as live environments do.
func (e *environment) pathJob(w http.ResponseWriter, r *http.Request, a *application, poll bool) (job, bool) {
	id, err := strconv.Atoi(r.PathValue("id"))
	j, ok := e.console.look(a, id, poll)
	if err != nil || !ok {
		writePlanningError(w, http.StatusInternalServerError, "HspRuntimeException", "An internal error occurred: no job with the ID "+r.PathValue("id")+".")
		return job{}, false
	}
	return j, true
}

// getJob is GET .../jobs/{id}.
func (e *environment) getJob(w http.ResponseWriter, r *http.Request, a *application) {
	j, ok := e.pathJob(w, r, a, true)
	if !ok {
		return
	}
	w.Header().Set("X-EPM_ACTION", "Job Status")
	writeJSON(w, http.StatusOK, e.jobBody(r, j, j.polls == 1))
}

// messageFilter reads q={"messageType":"ERROR"}; the parameter table of the
// page calls it msgType.
func messageFilter(r *http.Request) (string, error) {
	q, err := parseQ(r.URL.Query().Get("q"))
	if err != nil {
		return "", err
	}
	if kind := q["messageType"]; kind != "" {
		return kind, nil
	}
	return q["msgType"], nil
}

// getJobDetails is GET .../jobs/{id}/details: for metadata an item per
// dimension, for data one item and the messages.
func (e *environment) getJobDetails(w http.ResponseWriter, r *http.Request, a *application) {
	j, ok := e.pathJob(w, r, a, false)
	if !ok {
		return
	}
	filter, err := messageFilter(r)
	if err != nil || !j.detailed() {
		writePlanningError(w, http.StatusBadRequest, "InvalidParameterException", "Details are not available for this job or filter.")
		return
	}
	var items []object
	for _, part := range j.outcome.parts {
		if part.childID != 0 {
			if filter == "" || len(messageItems(part, filter)) > 0 {
				items = append(items, e.partItem(r, j, part))
			}
			continue
		}
		if filter == "" {
			items = append(items, e.partItem(r, j, part))
		}
		items = append(items, messageItems(part, filter)...)
	}
	e.writePage(w, r, items)
}

// partItem counts the records of one dimension.
func (e *environment) partItem(r *http.Request, j job, part jobPart) object {
	item := object{
		"recordsRead": part.read, "recordsProcessed": part.read - part.rejected, "recordsRejected": part.rejected,
		"dimensionName": nilIfEmpty(part.dimension), "loadType": part.loadType, "links": nil,
	}
	if part.childID != 0 {
		path := jobPath(j) + "/childjobs/" + strconv.Itoa(part.childID) + "/details"
		item["links"] = []object{e.planningLink(r, "child-job-details", path)}
	}
	return item
}

func messageItems(part jobPart, kind string) []object {
	var items []object
	for _, m := range part.messages {
		if kind == "" || m.kind == kind {
			items = append(items, object{"msgType": m.kind, "msgCategory": m.category, "msgText": m.text})
		}
	}
	return items
}

// getChildJobDetails is GET .../jobs/{id}/childjobs/{child}/details: the
// messages of one dimension.
func (e *environment) getChildJobDetails(w http.ResponseWriter, r *http.Request, a *application) {
	j, ok := e.pathJob(w, r, a, false)
	if !ok {
		return
	}
	filter, err := messageFilter(r)
	if err != nil {
		writePlanningError(w, http.StatusBadRequest, "InvalidParameterException", "The parameter q is invalid.")
		return
	}
	for _, part := range j.outcome.parts {
		if part.childID != 0 && strconv.Itoa(part.childID) == r.PathValue("child") {
			e.writePage(w, r, messageItems(part, filter))
			return
		}
	}
	writePlanningError(w, http.StatusInternalServerError, "HspRuntimeException", "An internal error occurred: no child job with the ID "+r.PathValue("child")+".")
}

// writePage answers with the items that offset and limit ask for, and a link
// to the next ones.
func (e *environment) writePage(w http.ResponseWriter, r *http.Request, items []object) {
	shown, more := page(r, items)
	body := e.collection(r, shown)
	if more {
		query := r.URL.Query()
		query.Set("offset", strconv.Itoa(max(0, queryInt(r, "offset", 0))+len(shown)))
		next := e.selfPath(r) + "?" + query.Encode()
		body["links"] = append(body["links"].([]object), e.planningLink(r, "next", next))
	}
	writeJSON(w, http.StatusOK, body)
}
