package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// contract is the API's own description, to hold real answers against.
type contract struct {
	raw        []byte
	operations []*operation

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema // compiled, by where they stand
	from    *jsonschema.Compiler
}

// operation is one operation of the description.
type operation struct {
	method, path string
	matches      *regexp.Regexp
	responses    map[string]response
}

type response struct {
	Content map[string]any `json:"content"`
}

// described is the description that all servers of the test binary share, read by the first test
// that asks.
var described struct {
	once sync.Once
	*contract
}

// contract reads the description.
func (s *server) contract() *contract {
	s.t.Helper()
	described.once.Do(func() {
		resp := s.open(http.MethodGet, "/openapi.json", nil)
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		must(s.t, err)
		described.contract = readContract(s.t, raw)
	})
	if described.contract == nil {
		s.t.Fatal("the API's description could not be read, as another test told")
	}
	return described.contract
}

// zoned is a time with an offset from UTC.
var zoned = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]+[+-]\d\d:\d\d"`)

const contractURL = "file:///openapi.json"

func readContract(t testing.TB, raw []byte) *contract {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]response `json:"responses"`
		} `json:"paths"`
	}
	must(t, json.Unmarshal(raw, &doc))
	c := &contract{raw: raw, schemas: make(map[string]*jsonschema.Schema), from: jsonschema.NewCompiler()}
	for path, methods := range doc.Paths {
		// Only outputs have slashes in a parameter, as their description says.
		pattern := regexp.MustCompile(`\\\{[^}]*\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "[^/]+")
		if strings.HasSuffix(path, "/{path}") {
			pattern = strings.TrimSuffix(pattern, "[^/]+") + ".+"
		}
		for method, op := range methods {
			c.operations = append(c.operations, &operation{
				method: strings.ToUpper(method), path: path, responses: op.Responses,
				matches: regexp.MustCompile("^" + pattern + "$"),
			})
		}
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	must(t, err)
	c.from.DefaultDraft(jsonschema.Draft2020)
	c.from.AssertFormat()
	must(t, c.from.AddResource(contractURL, parsed))
	return c
}

// operation is what a request is for: of several, the one whose path says most.
func (c *contract) operation(method, path string) *operation {
	var found *operation
	for _, op := range c.operations {
		if op.method == method && op.matches.MatchString(path) && (found == nil || strings.Count(op.path, "{") < strings.Count(found.path, "{")) {
			found = op
		}
	}
	return found
}

// schema compiles the schema of an answer.
func (c *contract) schema(op *operation, status, mediaType string) (*jsonschema.Schema, error) {
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	at := contractURL + "#/paths/" + escape.Replace(op.path) + "/" + strings.ToLower(op.method) + "/responses/" + status +
		"/content/" + escape.Replace(mediaType) + "/schema"
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.schemas[at]; known != nil {
		return known, nil
	}
	schema, err := c.from.Compile(at)
	c.schemas[at] = schema
	return schema, err
}

// checkContract holds an answer against the description: the status and the media type are
// described for the operation, and JSON is as its schema says.
func (s *server) checkContract(method string, a *answer, path string) {
	s.t.Helper()
	if !strings.HasPrefix(path, "/api/v1") {
		return
	}
	c := s.contract()
	op := c.operation(method, path)
	if op == nil {
		if a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed && a.status != http.StatusUnauthorized {
			s.t.Errorf("%s answers %d and is not described", a.asked, a.status)
		}
		return
	}
	status := strconv.Itoa(a.status)
	answers, ok := op.responses[status]
	if !ok {
		s.t.Errorf("%s: the status %d is not described for %s %s: %s", a.asked, a.status, method, op.path, a.body)
		return
	}
	if len(a.body) == 0 {
		if len(answers.Content) > 0 && a.header.Get("Content-Type") == "" {
			s.t.Errorf("%s: %d without the body that is described", a.asked, a.status)
		}
		return
	}
	mediaType, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	must(s.t, err)
	if _, ok := answers.Content[mediaType]; !ok {
		if _, anyType := answers.Content["application/octet-stream"]; !anyType {
			s.t.Errorf("%s: the media type %s is not described for status %d", a.asked, mediaType, a.status)
		}
		return
	}
	if !strings.HasSuffix(mediaType, "json") {
		return
	}
	if zone := zoned.Find(a.body); zone != nil {
		s.t.Errorf("%s: a time that is not in UTC: %s", a.asked, zone)
	}
	schema, err := c.schema(op, status, mediaType)
	must(s.t, err)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.body))
	must(s.t, err)
	if err := schema.Validate(value); err != nil {
		s.t.Errorf("%s: the answer is not as described: %v\n%.2000s", a.asked, err, a.body)
	}
}
