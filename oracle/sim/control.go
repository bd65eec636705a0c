package sim

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// controlRoutes are the control calls. They need no credentials, so the
// simulator must be reachable from its own machine only.
func (s *Sim) controlRoutes() http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range map[string]controlHandler{
		"GET /sim/log":                getLog,
		"DELETE /sim/log":             clearLog,
		"GET /sim/jobs":               getJobs,
		"GET /sim/jobs/{id}":          getJob,
		"POST /sim/jobs/{id}":         actOnJob,
		"GET /sim/files":              getFiles,
		"GET /sim/files/{name...}":    getFile,
		"PUT /sim/files/{name...}":    putFile,
		"DELETE /sim/files/{name...}": deleteFile,
		"GET /sim/faults":             getFaults,
		"POST /sim/faults":            addFault,
		"DELETE /sim/faults":          clearFaults,
		"DELETE /sim/faults/{id}":     removeFault,
		"GET /sim/maintenance":        getMaintenance,
		"POST /sim/maintenance":       setMaintenance,
		"GET /sim/clock":              getClock,
		"POST /sim/clock":             setClock,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { handler(s.current.Load(), w, r) })
	}
	mux.HandleFunc("POST /sim/reset", s.reset)
	mux.HandleFunc("GET /sim/{$}", index)
	return mux
}

type controlHandler func(e *environment, w http.ResponseWriter, r *http.Request)

// writeControlError answers with what was wrong with a control call.
func writeControlError(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, object{"error": err.Error()})
}

// index is GET /sim/: the control calls there are.
func index(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, object{
		"log": "/sim/log", "jobs": "/sim/jobs", "files": "/sim/files", "faults": "/sim/faults",
		"maintenance": "/sim/maintenance", "clock": "/sim/clock", "reset": "/sim/reset",
	})
}

// reset is POST /sim/reset.
func (s *Sim) reset(w http.ResponseWriter, _ *http.Request) {
	if err := s.Reset(); err != nil {
		writeControlError(w, http.StatusInternalServerError, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// getLog is GET /sim/log?after=<number>&limit=<count>.
func getLog(e *environment, w http.ResponseWriter, r *http.Request) {
	requests := e.requests.after(max(0, queryInt(r, "after", 0)), queryInt(r, "limit", 0))
	writeJSON(w, http.StatusOK, object{"items": requests})
}

// clearLog is DELETE /sim/log.
func clearLog(e *environment, w http.ResponseWriter, _ *http.Request) {
	e.requests.clear()
	w.WriteHeader(http.StatusNoContent)
}

// getJobs is GET /sim/jobs.
func getJobs(e *environment, w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, object{"items": e.console.report()})
}

// getJob is GET /sim/jobs/{id}.
func getJob(e *environment, w http.ResponseWriter, r *http.Request) {
	id := pathID(r)
	for _, j := range e.console.report() {
		if j.ID == id {
			writeJSON(w, http.StatusOK, j)
			return
		}
	}
	writeControlError(w, http.StatusNotFound, errors.New("there is no such job"))
}

// pathID returns the id in the address, 0 if it is none.
func pathID(r *http.Request) int {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return 0
	}
	return id
}

// actOnJob is POST /sim/jobs/{id} with {"action": "cancel"}, and optionally
// details: what a person would do in the job console.
func actOnJob(e *environment, w http.ResponseWriter, r *http.Request) {
	var body struct {
		Action  string `json:"action"`
		Details string `json:"details"`
	}
	if err := decodeJSON(w, r, &body); err != nil {
		writeControlError(w, http.StatusBadRequest, err)
		return
	}
	switch running, known := e.console.act(pathID(r), body.Action, body.Details); {
	case !known:
		writeControlError(w, http.StatusBadRequest, errors.New("action must be cancel, fail, unknown, stick or release"))
	case !running:
		writeControlError(w, http.StatusConflict, errors.New("there is no such job, or it has ended"))
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// getFiles is GET /sim/files.
func getFiles(e *environment, w http.ResponseWriter, _ *http.Request) {
	items := []object{}
	for _, f := range e.repo.list() {
		items = append(items, object{"name": f.name, "type": f.kind, "size": f.blob.size, "modified_at": f.modified.UTC()})
	}
	writeJSON(w, http.StatusOK, object{"items": items})
}

// getFile is GET /sim/files/{name}: its bytes.
func getFile(e *environment, w http.ResponseWriter, r *http.Request) {
	f, content, ok := e.openStored(r.PathValue("name"))
	if !ok {
		writeControlError(w, http.StatusNotFound, errors.New("there is no such file"))
		return
	}
	defer func() { _ = content.Close() }() // only read
	setDownloadHeaders(w, f)
	http.ServeContent(w, r, "", time.Time{}, content)
}

// putFile is PUT /sim/files/{name}: it puts a file in place, over another.
func putFile(e *environment, w http.ResponseWriter, r *http.Request) {
	name, err := cleanName(r.PathValue("name"))
	if err != nil {
		writeControlError(w, http.StatusBadRequest, err)
		return
	}
	s := e.blobs.newSpool()
	if _, err := io.Copy(s, r.Body); err != nil {
		s.discard()
		writeControlError(w, http.StatusInsufficientStorage, err)
		return
	}
	e.repo.put(name, kindFile, s.finish())
	w.WriteHeader(http.StatusNoContent)
}

// deleteFile is DELETE /sim/files/{name}.
func deleteFile(e *environment, w http.ResponseWriter, r *http.Request) {
	if !e.repo.remove(r.PathValue("name")) {
		writeControlError(w, http.StatusNotFound, errors.New("there is no such file"))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// getFaults is GET /sim/faults: the rules in force and how often each struck.
func getFaults(e *environment, w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, object{"items": e.faults.list()})
}

// addFault is POST /sim/faults with a rule.
func addFault(e *environment, w http.ResponseWriter, r *http.Request) {
	var f Fault
	err := decodeJSON(w, r, &f)
	if err == nil {
		f.ID, err = e.faults.add(f)
	}
	if err != nil {
		writeControlError(w, http.StatusBadRequest, err)
		return
	}
	writeJSON(w, http.StatusCreated, f)
}

// clearFaults is DELETE /sim/faults.
func clearFaults(e *environment, w http.ResponseWriter, _ *http.Request) {
	e.faults.clear()
	w.WriteHeader(http.StatusNoContent)
}

// removeFault is DELETE /sim/faults/{id}.
func removeFault(e *environment, w http.ResponseWriter, r *http.Request) {
	if !e.faults.remove(pathID(r)) {
		writeControlError(w, http.StatusNotFound, errors.New("there is no such fault"))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// getMaintenance is GET /sim/maintenance.
func getMaintenance(e *environment, w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, object{"on": e.maintenance.running(e.clock.now())})
}

// setMaintenance is POST /sim/maintenance with {"on": true}, {"on": false} or
// {"minutes": 60} of simulated time. Running jobs are cut off when it begins,
// unless {"keep_jobs": true} says otherwise.
func setMaintenance(e *environment, w http.ResponseWriter, r *http.Request) {
	var body struct {
		On       *bool   `json:"on"`
		Minutes  float64 `json:"minutes"`
		KeepJobs bool    `json:"keep_jobs"`
	}
	if err := decodeJSON(w, r, &body); err != nil {
		writeControlError(w, http.StatusBadRequest, err)
		return
	}
	switch {
	case body.On != nil && !*body.On:
		e.maintenance.stop()
	case body.On == nil && body.Minutes <= 0:
		writeControlError(w, http.StatusBadRequest, errors.New("say on or minutes"))
		return
	default:
		var until time.Time
		if body.Minutes > 0 {
			until = e.clock.now().Add(time.Duration(body.Minutes * float64(time.Minute)))
		}
		e.maintenance.start(until)
		if !body.KeepJobs {
			e.console.cutOff()
		}
	}
	getMaintenance(e, w, r)
}

// getClock is GET /sim/clock.
func getClock(e *environment, w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, object{"now": e.clock.now().UTC(), "speed": e.clock.currentSpeed()})
}

// setClock is POST /sim/clock with {"speed": 60}, {"advance": "10m"} or both;
// a speed of 0 stops simulated time.
func setClock(e *environment, w http.ResponseWriter, r *http.Request) {
	var body struct {
		Speed   *float64 `json:"speed"`
		Advance string   `json:"advance"`
	}
	err := decodeJSON(w, r, &body)
	var advance time.Duration
	if err == nil && body.Advance != "" {
		advance, err = time.ParseDuration(body.Advance)
	}
	if err == nil && (advance < 0 || body.Speed != nil && *body.Speed < 0) {
		err = errors.New("speed and advance must not be negative")
	}
	if err != nil {
		writeControlError(w, http.StatusBadRequest, err)
		return
	}
	if body.Speed != nil {
		e.clock.setSpeed(*body.Speed)
	}
	e.clock.advance(advance)
	e.console.settle()
	getClock(e, w, r)
}
