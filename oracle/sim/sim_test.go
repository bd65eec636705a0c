package sim_test

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"longhaul/oracle/sim"
)

// client asks a simulated environment over real HTTP and takes its oddities in
// its stride: numbers as text, links that point elsewhere.
type client struct {
	t        *testing.T
	sim      *sim.Sim
	base     string
	prefix   string
	user     string
	password string
}

// newClient starts an environment whose simulated time stands still: it passes
// only when a test says so. change may adjust its configuration.
func newClient(t *testing.T, change ...func(*sim.Config)) *client {
	t.Helper()
	start := time.Date(2026, time.November, 21, 9, 0, 0, 0, time.UTC)
	cfg := sim.Config{
		Now: func() time.Time { return start }, TempDir: t.TempDir(), NoOddities: true, FirstJobID: 100,
	}
	for _, each := range change {
		each(&cfg)
	}
	s, err := sim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &client{t: t, sim: s, base: server.URL, prefix: cfg.Prefix, user: "admin", password: "welcome1"}
}

// odd makes an environment with oddities.
func odd(seed uint64) func(*sim.Config) {
	return func(c *sim.Config) { c.NoOddities, c.Seed = false, seed }
}

type answer struct {
	status int
	header http.Header
	raw    []byte
	body   map[string]any
}

// try sends a request and returns what came back, or the error of the
// connection.
func (c *client) try(method, path string, body []byte, header map[string]string) (answer, error) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+c.prefix+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.SetBasicAuth(c.user, c.password)
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	got := answer{status: resp.StatusCode, header: resp.Header, raw: raw}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") && len(raw) > 0 && err == nil {
		if err := json.Unmarshal(raw, &got.body); err != nil {
			c.t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	return got, err
}

func (c *client) do(method, path string, body []byte, header map[string]string) answer {
	c.t.Helper()
	got, err := c.try(method, path, body, header)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

func (c *client) get(path string) answer { c.t.Helper(); return c.do(http.MethodGet, path, nil, nil) }

// send sends v as JSON.
func (c *client) send(method, path string, v any) answer {
	c.t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.do(method, path, text, map[string]string{"Content-Type": "application/json"})
}

// control sends a control call, which has no prefix and no credentials.
func (c *client) control(method, path string, v any) answer {
	c.t.Helper()
	plain := *c
	plain.prefix, plain.user, plain.password = "", "", ""
	return plain.send(method, "/sim/"+path, v)
}

// advance lets simulated time pass.
func (c *client) advance(d time.Duration) {
	c.t.Helper()
	if got := c.control(http.MethodPost, "clock", map[string]any{"advance": d.String()}); got.status != http.StatusOK {
		c.t.Fatalf("advance: %d %s", got.status, got.raw)
	}
}

// put places a file in the repository.
func (c *client) put(name string, content []byte) {
	c.t.Helper()
	plain := *c
	plain.prefix = ""
	if got := plain.do(http.MethodPut, "/sim/files/"+name, content, nil); got.status != http.StatusNoContent {
		c.t.Fatalf("put %s: %d %s", name, got.status, got.raw)
	}
}

// stored returns a file of the repository.
func (c *client) stored(name string) []byte {
	c.t.Helper()
	plain := *c
	plain.prefix = ""
	got := plain.do(http.MethodGet, "/sim/files/"+name, nil, nil)
	if got.status != http.StatusOK {
		c.t.Fatalf("stored %s: %d %s", name, got.status, got.raw)
	}
	return got.raw
}

const vision = "/HyperionPlanning/rest/v3/applications/Vision"

// start starts a job of Vision and returns its id.
func (c *client) start(jobType, name string, parameters map[string]any) int {
	c.t.Helper()
	got := c.send(http.MethodPost, vision+"/jobs", map[string]any{"jobType": jobType, "jobName": name, "parameters": parameters})
	if got.status != http.StatusOK || number(got.body["status"]) != -1 {
		c.t.Fatalf("start %s %s: %d %s", jobType, name, got.status, got.raw)
	}
	return number(got.body["jobId"])
}

// poll asks for the state of a job.
func (c *client) poll(id int) answer {
	c.t.Helper()
	got := c.get(fmt.Sprintf("%s/jobs/%d", vision, id))
	if got.status != http.StatusOK {
		c.t.Fatalf("poll %d: %d %s", id, got.status, got.raw)
	}
	return got
}

// run starts a job, lets it end and returns its final state.
func (c *client) run(jobType, name string, parameters map[string]any) answer {
	c.t.Helper()
	id := c.start(jobType, name, parameters)
	if first := c.poll(id); number(first.body["status"]) != -1 {
		c.t.Fatalf("the first poll of %s %s is not in progress: %s", jobType, name, first.raw)
	}
	c.advance(time.Hour)
	return c.poll(id)
}

// wantState fails unless a job has a status and its details contain text.
func (c *client) wantState(got answer, status int, text string) {
	c.t.Helper()
	details, _ := got.body["details"].(string)
	if number(got.body["status"]) != status || !strings.Contains(details, text) {
		c.t.Fatalf("got %s, want status %d and details with %q", got.raw, status, text)
	}
}

// number reads an integer that may be text; -99 stands for anything else.
func number(v any) int {
	switch v := v.(type) {
	case float64:
		return int(v)
	case string:
		if n, err := strconv.Atoi(v); err == nil {
			return n
		}
	}
	return -99
}

func items(got answer) []map[string]any {
	list, _ := got.body["items"].([]any)
	var maps []map[string]any
	for _, item := range list {
		maps = append(maps, item.(map[string]any))
	}
	return maps
}

// link returns the path and query of the link with a relation, without the
// prefix, or nothing.
func (c *client) link(body map[string]any, rel string) string {
	c.t.Helper()
	links, _ := body["links"].([]any)
	for _, each := range links {
		l := each.(map[string]any)
		if !strings.EqualFold(strings.TrimSpace(l["rel"].(string)), rel) {
			continue
		}
		address, err := url.Parse(strings.TrimSpace(l["href"].(string)))
		if err != nil {
			c.t.Fatal(err)
		}
		return strings.TrimPrefix(address.RequestURI(), c.prefix)
	}
	return ""
}

// wantLink is link for one that must be there.
func (c *client) wantLink(got answer, rel string) string {
	c.t.Helper()
	path := c.link(got.body, rel)
	if path == "" {
		c.t.Fatalf("no link %q in %s", rel, got.raw)
	}
	return path
}

// archive packs files, given as name and content in turn.
func archive(t *testing.T, files ...string) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := zip.NewWriter(&packed)
	for i := 0; i < len(files); i += 2 {
		entry, err := w.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(entry, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// unpack returns the files of an archive as CSV records by name.
func unpack(t *testing.T, packed []byte) map[string][][]string {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][][]string{}
	for _, f := range r.File {
		content, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(content).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		files[f.Name] = records
	}
	return files
}

// sample reads one of the archives that the README uses.
func sample(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", "samples", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestConfigReportsEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := sim.New(sim.Config{
		Speed: -1, MaxBytes: -1, FirstJobID: -1, RejectStatus: 7, Prefix: "gateway/",
		Users:       []sim.User{{Name: "x"}},
		Faults:      []sim.Fault{{Kind: "earthquake"}},
		Environment: filepath.Join(t.TempDir(), "none.json"),
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"speed", "max bytes", "first job id", "reject status", "prefix", "user 1", "fault 1", "none.json"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not mention %q", err, part)
		}
	}
}

func TestEnvironmentFileReplacesTheEmbeddedOne(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "environment.json")
	text := `{"service":{"build":"1"},"applications":[{"name":"Tiny","type":"PBCS","storage":"ASO",
		"dimensions":[{"name":"Account","type":"Account","members":["A","  B | Bee | store"]}],
		"cubes":[{"name":"C","storage":"ASO","dimensions":["Account"]}],
		"jobs":[{"type":"CUBE_REFRESH","name":"R"}]}]}`
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, func(cfg *sim.Config) { cfg.Environment = name })
	got := c.get("/HyperionPlanning/rest/v3/applications")
	if list := items(got); len(list) != 1 || list[0]["name"] != "Tiny" {
		t.Errorf("applications: %s", got.raw)
	}
	member := c.get("/HyperionPlanning/rest/v3/applications/Tiny/dimensions/Account/members/B")
	if member.body["parentName"] != "A" || member.body["alias"] != "Bee" {
		t.Errorf("member: %s", member.raw)
	}
}

func TestEnvironmentFileMistakesAreNamed(t *testing.T) {
	t.Parallel()
	const application = `{"service":{},"applications":[{"name":"T","dimensions":[{"name":"D","members":[%s]}],"cubes":[%s],"jobs":[%s]}]}`
	for name, each := range map[string]struct{ text, want string }{
		"not JSON":         {`{`, "unexpected EOF"},
		"unknown field":    {`{"products":[]}`, "products"},
		"no applications":  {`{"service":{}}`, "no applications"},
		"indentation":      {fmt.Sprintf(application, `"A","    B"`, "", ""), "indented too far"},
		"member twice":     {fmt.Sprintf(application, `"A","A"`, "", ""), "named twice"},
		"member name":      {fmt.Sprintf(application, `"(A)"`, "", ""), "not allowed"},
		"storage":          {fmt.Sprintf(application, `"A||sometimes"`, "", ""), "data storage"},
		"property":         {fmt.Sprintf(application, `"A|||x"`, "", ""), "property=value"},
		"cube storage":     {fmt.Sprintf(application, "", `{"name":"C"}`, ""), "BSO or ASO"},
		"cube dimension":   {fmt.Sprintf(application, "", `{"name":"C","storage":"BSO","dimensions":["E"]}`, ""), "unknown dimension"},
		"job type":         {fmt.Sprintf(application, "", "", `{"type":"DANCE","name":"x"}`), "unknown type"},
		"job dimension":    {fmt.Sprintf(application, "", "", `{"type":"EXPORT_METADATA","name":"x","dimensions":["E"]}`), "unknown dimension"},
		"job cube":         {fmt.Sprintf(application, "", "", `{"type":"RULES","name":"x","cube":"C"}`), "unknown cube"},
		"job selection":    {fmt.Sprintf(application, "", "", `{"type":"CLEAR_CUBE","name":"x","members":"Foo(A)"}`), "unknown function"},
		"two of one name":  {fmt.Sprintf(application, "", "", `{"type":"RULES","name":"x"},{"type":"RULES","name":"x"}`), "name of its own"},
		"application name": {`{"applications":[{"name":""}]}`, "needs a name"},
		"data":             {`{"applications":[{"name":"T","data":[["x,y"]]}]}`, "not a dimension"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "environment.json")
			if err := os.WriteFile(file, []byte(each.text), 0o600); err != nil {
				t.Fatal(err)
			}
			err := sim.Config{Environment: file}.Validate()
			if err == nil || !strings.Contains(err.Error(), each.want) {
				t.Errorf("got %v, want %q", err, each.want)
			}
		})
	}
}
