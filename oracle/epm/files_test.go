package epm_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"longhaul/oracle"
	"longhaul/oracle/epm"
)

const firstGeneration = "/interop/rest/11.1.2.3.600/applicationsnapshots"

const fileList = `{"status":"0","details":null,"links":{},"items":[
	{"name":"importAccount.zip","type":"EXTERNAL","size":"18446","lastmodifiedtime":"1447121376523"},
	{"name":"inbox/a b.csv","type":"EXTERNAL","size":7,"lastmodifiedtime":null},
	{"name":"Artifact Snapshot","type":"LCM","size":null,"lastmodifiedtime":"null"}]}`

var filesListed = []epm.File{
	{Name: "importAccount.zip", Size: 18446, ModifiedAt: time.Date(2015, 11, 10, 2, 9, 36, 523e6, time.UTC)},
	{Name: "inbox/a b.csv", Size: 7},
	{Name: "Artifact Snapshot", Snapshot: true, Size: -1},
}

func TestListFiles(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		v2    int
		body  string
		want  []epm.File
		asked int
		kind  oracle.Kind
	}{
		{"v2", 200, fileList, filesListed, 1, ""},
		{"first generation", 404, fileList, filesListed, 2, ""},
		{"no files", 200, `{"status":0,"items":null}`, nil, 1, ""},
		{"no status", 200, `{"items":[]}`, nil, 1, ""},
		{"refused", 200, `{"status":8,"details":"not your role"}`, nil, 1, oracle.KindRefused},
		{"refused without a reason", 200, `{"status":"1","details":"null"}`, nil, 1, oracle.KindRefused},
		{"neither", 200, `{"a":1}`, nil, 1, oracle.KindProtocol},
		{"odd items", 200, `{"status":0,"items":{}}`, nil, 1, oracle.KindProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/interop/rest/v2/files/list" && tt.v2 != 200 {
					w.WriteHeader(tt.v2)
					return
				}
				reply(w, 200, tt.body)
			})
			got, err := newClient(t, s).ListFiles(t.Context())
			if oracle.KindOf(err) != tt.kind {
				t.Errorf("error is %v", err)
			}
			diff(t, "files", tt.want, got)
			all := []request{{Method: "GET", Path: "/interop/rest/v2/files/list"}, {Method: "GET", Path: firstGeneration}}
			diff(t, "requests", all[:tt.asked], s.requests())
		})
	}
}

func TestExists(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, fileList) })
	c := newClient(t, s)
	for name, want := range map[string]bool{"importAccount.zip": true, "importaccount.zip": false, "b": false} {
		if got, err := c.Exists(t.Context(), name); err != nil || got != want {
			t.Errorf("Exists(%q) = %v, %v", name, got, err)
		}
	}
}

func TestDeleteFile(t *testing.T) {
	t.Parallel()
	const done, missing = `{"status":0,"details":null,"links":[]}`, `{"status":1,"details":"Invalid file : inbox/a b.csv"}`
	v3 := request{Method: "POST", Path: "/interop/rest/v3/files/delete", Type: "application/json", Body: `{"fileName":"inbox/a b.csv"}`}
	old := request{Method: "DELETE", Path: firstGeneration + "/inbox%2Fa%20b.csv"}
	tests := []struct {
		name            string
		v3              int
		v3Body, oldBody string
		asked           []request
		kind            oracle.Kind
		happen          bool
	}{
		{"v3", 200, done, "", []request{v3}, "", false},
		{"v3, missing", 200, missing, "", []request{v3}, oracle.KindNotFound, false},
		{"v3, missing with 400", 400, missing, "", []request{v3}, oracle.KindNotFound, false},
		{"v3, in use", 200, `{"status":1,"details":"file is in use"}`, "", []request{v3}, oracle.KindRefused, false},
		{"no v3", 404, "", done, []request{v3, old}, "", false},
		{"no v3, page", 404, "<html>", done, []request{v3, old}, "", false},
		{"no POST", 405, "", missing, []request{v3, old}, oracle.KindNotFound, false},
		{"maintenance", 503, "<html>", "", []request{v3}, oracle.KindUnavailable, false},
		{"broken", 502, "<html>", "", []request{v3}, oracle.KindUnavailable, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					reply(w, tt.v3, tt.v3Body)
					return
				}
				reply(w, 200, tt.oldBody)
			})
			err := newClient(t, s).DeleteFile(t.Context(), "inbox/a b.csv")
			if oracle.KindOf(err) != tt.kind || oracle.MayHaveHappened(err) != tt.happen {
				t.Errorf("error is %v, kind %s, may have happened %v", err, oracle.KindOf(err), oracle.MayHaveHappened(err))
			}
			diff(t, "requests", tt.asked, s.requests())
		})
	}
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 404, `{"detail":"File not found"}`) })
	if err := newClient(t, s).DeleteFile(t.Context(), strings.Repeat("x", 9)); !oracle.IsNotFound(err) {
		t.Errorf("404 from both: %v", err)
	}
}
