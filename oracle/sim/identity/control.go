package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// controlRoutes adds the control calls, for tests in other languages. They need
// no credentials, so the domain must be reachable from its own machine only.
func (d *Domain) controlRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /sim/log", d.getLog)
	mux.HandleFunc("POST /sim/faults", d.postFault)
	mux.HandleFunc("DELETE /sim/faults", d.deleteFaults)
	mux.HandleFunc("POST /sim/keys", d.postKey)
	mux.HandleFunc("POST /sim/devices/{code}", d.postDevice)
}

// controlled answers a control call that has nothing to say but whether it went well.
func controlled(w http.ResponseWriter, err error) {
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// getLog is GET /sim/log: what the domain was asked.
func (d *Domain) getLog(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"items": d.Requests()})
}

// postFault is POST /sim/faults with the fields of a [Fault]; retry_after is in
// seconds.
func (d *Domain) postFault(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Path       string `json:"path"`
		Times      int    `json:"times"`
		Status     int    `json:"status"`
		RetryAfter int    `json:"retry_after"`
		Lost       bool   `json:"lost"`
	}
	err := readJSON(w, r, &body)
	if err == nil {
		err = d.AddFault(Fault{
			Path: body.Path, Times: body.Times, Status: body.Status, Lost: body.Lost,
			RetryAfter: time.Duration(body.RetryAfter) * time.Second,
		})
	}
	controlled(w, err)
}

// deleteFaults is DELETE /sim/faults.
func (d *Domain) deleteFaults(w http.ResponseWriter, _ *http.Request) {
	d.ClearFaults()
	controlled(w, nil)
}

// postKey is POST /sim/keys: it rotates the signing key.
func (d *Domain) postKey(w http.ResponseWriter, _ *http.Request) { controlled(w, d.RotateKey()) }

// postDevice is POST /sim/devices/{user code} with {"user": "jo@example.com"} to
// allow the device, or {"deny": true}.
func (d *Domain) postDevice(w http.ResponseWriter, r *http.Request) {
	var body struct {
		User string `json:"user"`
		Deny bool   `json:"deny"`
	}
	err := readJSON(w, r, &body)
	switch code := r.PathValue("code"); {
	case err != nil:
	case body.Deny == (body.User != ""):
		err = errors.New("say either user or deny")
	case body.Deny:
		err = d.DenyDevice(code)
	default:
		err = d.ApproveDevice(code, body.User)
	}
	controlled(w, err)
}

func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxForm)).Decode(v); err != nil {
		return fmt.Errorf("read JSON body: %w", err)
	}
	return nil
}
