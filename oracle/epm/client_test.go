package epm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"longhaul/oracle"
	"longhaul/oracle/epm"
)

// prefix is a gateway's: a call that forgets it meets 404.
const prefix = "/gate/way"

// request is what a server saw, its query decoded.
type request struct {
	Method, Path string // the path as sent, below the prefix
	Query        url.Values
	Type, Body   string
}

// server answers as the test says and keeps what it was asked.
type server struct {
	*httptest.Server
	handler http.HandlerFunc
	mu      sync.Mutex
	asked   []request
}

func newServer(t *testing.T, handler http.HandlerFunc) *server {
	t.Helper()
	s := &server{handler: handler}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), prefix)
	if u, p, _ := r.BasicAuth(); !ok || u != "acme.jane" || p != "secret" {
		http.Error(w, "outside the gateway, or unsigned", http.StatusTeapot)
		return
	}
	body, _ := io.ReadAll(r.Body)
	query := r.URL.Query()
	if len(query) == 0 {
		query = nil
	}
	s.mu.Lock()
	s.asked = append(s.asked, request{r.Method, path, query, r.Header.Get("Content-Type"), string(body)})
	s.mu.Unlock()
	r.URL.Path = path
	s.handler(w, r)
}

// base is the address as the client knows it; links below it may differ.
func (s *server) base() string { return s.URL + prefix }

func (s *server) requests() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.asked...)
}

// newClient returns a client of s that polls and retries fast.
func newClient(t *testing.T, s *server, change ...func(*oracle.Config, *epm.Options)) *epm.Client {
	t.Helper()
	transport := oracle.DefaultTransport()
	t.Cleanup(transport.CloseIdleConnections)
	cfg := oracle.Config{
		URL:       s.base(),
		Auth:      oracle.Basic("acme.jane", "secret"),
		Transport: transport,
		Retry:     oracle.Retry{Attempts: 3, Base: time.Millisecond, Max: 5 * time.Millisecond},
		Logger:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	opts := epm.Options{PollInterval: 4 * time.Millisecond, PollLimit: 20 * time.Second}
	for _, f := range change {
		f(&cfg, &opts)
	}
	api, err := oracle.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return epm.New(api, "Vision 1", opts)
}

// reply writes a JSON answer.
func reply(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func asError(t *testing.T, err error) *oracle.Error {
	t.Helper()
	var e *oracle.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v (%T); want an *oracle.Error", err, err)
	}
	return e
}

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestServiceURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://h.example.com":                                "https://h.example.com",
		"https://h.example.com/":                               "https://h.example.com/",
		" https://h.example.com/epmcloud ":                     "https://h.example.com",
		"https://h.example.com/HyperionPlanning/":              "https://h.example.com",
		"https://h.example.com/workspace/index.jsp?x=1#frag":   "https://h.example.com",
		"https://gw.example.com/epm/test/HyperionPlanning/a/b": "https://gw.example.com/epm/test",
		"https://gw.example.com/workspaces/7":                  "https://gw.example.com/workspaces/7",
	} {
		if got := epm.ServiceURL(in); got != want {
			t.Errorf("ServiceURL(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	tests := []struct {
		body string
		want epm.Version
	}{
		{
			`{"status":"0","details":"null","links":[],"items":[
			{"version":"v1","lifecycle":"deprecated","latest":"false","serviceType":"PBCS"},
			{"version":"v2","lifecycle":"active","latest":"true","serverVersion":26.11,"skuType":"EPM","buildVersion":"26.11.40","essbaseVersion":null}]}`,
			epm.Version{API: "v2", ServiceType: "PBCS", Server: "26.11", SKU: "EPM", Build: "26.11.40"},
		},
		{`{"items":[{"version":"11.1.2.3.600","links":null}],"links":null}`, epm.Version{API: "11.1.2.3.600"}},
	}
	for _, tt := range tests {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, tt.body) })
		got, err := newClient(t, s).Version(t.Context())
		if err != nil {
			t.Error(err)
		}
		diff(t, "version", tt.want, got)
		diff(t, "requests", []request{{Method: "GET", Path: "/interop/rest/"}}, s.requests())
	}
	for body, kind := range map[string]oracle.Kind{
		`{"status":1,"details":"no"}`:           oracle.KindRefused,
		`{"status":0,"items":[]}`:               oracle.KindProtocol,
		`{"status":0,"items":{"a":1}}`:          oracle.KindProtocol,
		`<html><title>Welcome</title></html>`:   oracle.KindUnavailable,
		`{"status":0,"items":[{"latest":"?"}]}`: oracle.KindProtocol,
	} {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, body) })
		if _, err := newClient(t, s).Version(t.Context()); oracle.KindOf(err) != kind {
			t.Errorf("%s: %v; want kind %s", body, err, kind)
		}
	}
}

func TestApplications(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, `{"type":"HP","links":null,"items":[
			{"name":"Vision","type":"HP","appType":"EPBCS","adminMode":"true","unicode":true},{"name":"Close","type":"HP","appType":"FCCS"}]}`)
	})
	got, err := newClient(t, s).Applications(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "applications", []epm.Application{{"Vision", "HP", "EPBCS", true}, {"Close", "HP", "FCCS", false}}, got)
	diff(t, "requests", []request{{Method: "GET", Path: "/HyperionPlanning/rest/v3/applications"}}, s.requests())
}

func TestJobDefinitions(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, `{"items":[{"jobType":"IMPORT_METADATA","jobName":"importAccount","links":null}],"links":[],"type":"HP"}`)
	})
	c := newClient(t, s)
	for _, jobType := range []string{"IMPORT_METADATA", ""} {
		got, err := c.JobDefinitions(t.Context(), jobType)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "definitions", []epm.JobDefinition{{"IMPORT_METADATA", "importAccount"}}, got)
	}
	const path = "/HyperionPlanning/rest/v3/applications/Vision%201/jobdefinitions"
	diff(t, "requests", []request{
		{Method: "GET", Path: path, Query: url.Values{"q": {`{"jobType":"IMPORT_METADATA"}`}}},
		{Method: "GET", Path: path},
	}, s.requests())
}

// detailPages serves n messages in pages as asked, or as a peculiar service does.
func detailPages(n int, peculiar string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		offset, limit := 0, 25
		_, _ = fmt.Sscan(r.URL.Query().Get("offset"), &offset)
		_, _ = fmt.Sscan(r.URL.Query().Get("limit"), &limit)
		switch peculiar {
		case "pages of 25":
			limit = 25
		case "no offset":
			offset = 0
		case "all at once":
			offset, limit = 0, n
		}
		items := make([]map[string]any, 0, limit)
		for i := offset; i < min(n, offset+limit); i++ {
			items = append(items, map[string]any{"msgType": "ERROR", "msgText": "row is bad", "row": i + 1})
		}
		text, _ := json.Marshal(map[string]any{"items": items, "links": nil, "type": "HP"})
		reply(w, 200, string(text))
	}
}

func TestDetailPages(t *testing.T) {
	t.Parallel()
	tests := []struct {
		n        int
		peculiar string
		want     int
		more     bool
	}{
		{0, "", 0, false},
		{7, "", 7, false},
		{25, "", 25, false},
		{100, "", 100, false},
		{130, "", 130, false},
		{301, "", 301, false},
		{110, "pages of 25", 110, false},
		{60, "no offset", 60, false},
		{250, "all at once", 250, false},
		{epm.MaxDetails + 1, "", epm.MaxDetails, true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.n, tt.peculiar), func(t *testing.T) {
			t.Parallel()
			s := newServer(t, detailPages(tt.n, tt.peculiar))
			got, err := newClient(t, s).ChildJobDetails(t.Context(), "95", "8", "ERROR")
			if err != nil || len(got.Messages) != tt.want || got.More != tt.more {
				t.Fatalf("%d messages, more %v, %v; want %d, %v", len(got.Messages), got.More, err, tt.want, tt.more)
			}
			for i, m := range got.Messages {
				if m != (epm.Message{Severity: "ERROR", Row: int64(i + 1), Text: "row is bad"}) {
					t.Fatalf("message %d is %+v", i, m)
				}
			}
			first := s.requests()[0]
			diff(t, "first request", request{
				Method: "GET", Path: "/HyperionPlanning/rest/v3/applications/Vision%201/jobs/95/childjobs/8/details",
				Query: url.Values{"q": {`{"messageType":"ERROR"}`}, "offset": {"0"}, "limit": {"100"}},
			}, first)
		})
	}
}

func TestJobDetails(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, `{"type":"HP","links":{},"items":[
			{"recordsRead":10000,"recordsProcessed":"9588","recordsRejected":412,"dimensionName":"Entity","loadType":"Metadata Import",
			 "links":[{"rel":"child-job-details","action":"GET","href":" http://inner:7001/HyperionPlanning/rest/v3/applications/Vision/jobs/95/childjobs/12/details"}]},
			{"recordsRead":"5","recordsRejected":null,"links":null},
			{"MsgType":"error","msgCategory":"Metadata Import","msgText":"com.hyperion.planning.HspException: parent \"E_99\" unknown\n","rowNumber":"17","dimensionName":"Entity"},
			{"severity":"WARNING","message":"careful"},
			{"msgType":"ERROR","msgText":"Row 18: Unable to fetch parent \"E_98\""},
			{"msgType":"INFO","msgText":"Row 99999999999999999999: x"}, {"msgText":"Row 19:"},
			"a bare line", null, {"odd":1}]}`)
	})
	got, err := newClient(t, s).JobDetails(t.Context(), "95", "")
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "details", epm.Details{
		Loads: []epm.Load{
			{Dimension: "Entity", Type: "Metadata Import", Read: 10000, Processed: 9588, Rejected: 412, ChildJobID: "12"},
			{Read: 5},
		},
		Messages: []epm.Message{
			{Severity: "ERROR", Row: 17, Text: `parent "E_99" unknown`, Category: "Metadata Import", Dimension: "Entity"},
			{Severity: "WARNING", Text: "careful"},
			{Severity: "ERROR", Row: 18, Text: `Unable to fetch parent "E_98"`},
			{Severity: "INFO", Text: "Row 99999999999999999999: x"},
			{Text: "Row 19:"},
			{Text: "a bare line"},
			{Text: `{"odd":1}`},
		},
	}, got)
	diff(t, "requests", []request{{
		Method: "GET", Path: "/HyperionPlanning/rest/v3/applications/Vision%201/jobs/95/details",
		Query: url.Values{"offset": {"0"}, "limit": {"100"}},
	}}, s.requests())
}
