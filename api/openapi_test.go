package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"longhaul/storage"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenDescription is the contract as it was last reviewed.
const goldenDescription = "testdata/openapi.json"

// A change of the contract is seen in review: go test ./api -run TestDescription -update
func TestDescription(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	a := s.get("/openapi.json").want(http.StatusOK)
	var doc struct {
		OpenAPI string `json:"openapi"`
		Info    struct {
			Title, Version string
		} `json:"info"`
	}
	a.into(&doc)
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") || doc.Info.Title == "" || doc.Info.Version != "test" {
		t.Errorf("the description: %+v", doc)
	}
	var pretty bytes.Buffer
	must(t, json.Indent(&pretty, a.body, "", "  "))
	pretty.WriteByte('\n')
	if *update {
		must(t, os.WriteFile(goldenDescription, pretty.Bytes(), 0o644))
	}
	golden, err := os.ReadFile(goldenDescription)
	must(t, err)
	if diff := cmp.Diff(strings.Split(string(golden), "\n"), strings.Split(pretty.String(), "\n")); diff != "" {
		t.Errorf("the contract has changed; look at it, and run: go test ./api -run TestDescription -update (-golden +now):\n%s", diff)
	}
}

// Every route of the API is described, and what is described is there.
func TestDescriptionIsComplete(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	var routes, operations []string
	param := regexp.MustCompile(`:([a-z_]+)`)
	for _, route := range s.echo().Routes() {
		if strings.HasPrefix(route.Path, "/api/v1") && route.Method != echo.RouteNotFound {
			path := strings.Replace(param.ReplaceAllString(route.Path, "{$1}"), "/*", "/{path}", 1)
			routes = append(routes, route.Method+" "+path)
		}
	}
	for _, op := range s.contract().operations {
		operations = append(operations, op.method+" "+op.path)
		for _, status := range []string{"401", "500"} {
			if _, ok := op.responses[status]; !ok {
				t.Errorf("%s %s: %s is not described", op.method, op.path, status)
			}
		}
	}
	slices.Sort(routes)
	slices.Sort(operations)
	if diff := cmp.Diff(routes, operations); diff != "" {
		t.Errorf("routes and operations (-routes +described):\n%s", diff)
	}
}

// All schemas of the description are good ones: each compiles, and refuses what is none of its.
func TestDescribedSchemas(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	c := s.contract()
	var doc struct {
		Components struct {
			Schemas map[string]any
		}
	}
	must(t, json.Unmarshal(c.raw, &doc))
	if len(doc.Components.Schemas) < 10 {
		t.Fatalf("only %d schemas", len(doc.Components.Schemas))
	}
	for name := range doc.Components.Schemas {
		c.mu.Lock()
		schema, err := c.from.Compile(contractURL + "#/components/schemas/" + name)
		c.mu.Unlock()
		must(t, err)
		if err := schema.Validate("none of it"); err == nil {
			t.Errorf("the schema %s takes a text", name)
		}
	}
}

// Real answers of every operation are as described: do holds each against its schema, and what is
// described is asked for here at least once.
func TestAnswersAreAsDescribed(t *testing.T) {
	t.Parallel()
	site := newOAuthSite(t)
	s := site.server
	s.do(http.MethodPost, "/api/v1/apps", s.appOn(object{"name": "consents", "auth": site.oauth(nil)})).want(http.StatusCreated)
	imported := s.waitFinal(s.create(importTask(nil), accounts(t, 20, 2)).ID, "succeeded")
	failed := s.waitFinal(s.create(importTask(object{"name": "none"}), zipOf(t, entry{"none.csv", "x"})).ID, "failed")
	_, release := s.stuck()
	defer release()
	asked := make(map[string]bool)
	ask := func(method, path string, body any) *answer {
		asked[s.described(method, path)] = true
		return s.do(method, path, body)
	}
	made := ask(http.MethodPost, "/api/v1/tasks", noop(object{"max_rejected": 1})).want(http.StatusAccepted).task()
	s.waitFinal(made.ID, "succeeded")
	sent := s.uploaded("hello")
	for _, call := range []string{"POST /api/v1/uploads", "HEAD /api/v1/uploads/{id}", "PATCH /api/v1/uploads/{id}"} {
		asked[call] = true // by uploaded and offset
	}
	for _, call := range []string{
		"POST /multipart", "GET /multipart/{id}", "GET /multipart/{id}/{part}", "GET /multipart/{id}/batch",
		"POST /multipart/{id}/complete", "DELETE /multipart/{id}", "GET /params",
	} {
		asked[strings.Replace(call, " ", " /api/v1/uploads/s3", 1)] = true // by TestToBucket and its like
	}
	s.offset(uploadPath(sent.ID))
	sleeping := s.create(noop(object{"kind": "sleep", "params": object{"ms": 3_600_000}}), nil)
	for _, test := range []struct {
		method, path string
		body         any
		status       int
	}{
		{http.MethodGet, "/api/v1/tasks", nil, http.StatusOK},
		{http.MethodGet, taskPath(imported.ID), nil, http.StatusOK},
		{http.MethodGet, taskPath(failed.ID), nil, http.StatusOK},
		{http.MethodGet, taskPath(imported.ID) + "/events", nil, http.StatusOK},
		{http.MethodGet, taskPath(imported.ID) + "/log", nil, http.StatusOK},
		{http.MethodGet, taskPath(imported.ID) + "/outputs", nil, http.StatusOK},
		{http.MethodGet, taskPath(imported.ID) + "/outputs/" + imported.Outputs[0].Path, nil, http.StatusOK},
		{http.MethodGet, taskPath(imported.ID) + "/outputs.zip", nil, http.StatusOK},
		{http.MethodPut, "/api/v1/apps/vision/files/inputs/a.csv", strings.NewReader("a"), http.StatusCreated},
		{http.MethodPut, "/api/v1/apps/vision/files/inputs/a.csv", strings.NewReader("b"), http.StatusOK},
		{http.MethodPost, "/api/v1/apps/vision/files", object{"path": "kept", "output": object{"task": imported.ID, "path": imported.Outputs[0].Path}}, http.StatusCreated},
		{http.MethodGet, "/api/v1/apps/vision/files?delimiter=/", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/apps/vision/files/inputs/a.csv", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/apps/vision/files.zip?path=kept", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/apps/vision/file-versions/inputs/a.csv", nil, http.StatusOK},
		{http.MethodDelete, "/api/v1/apps/vision/files/inputs/a.csv", nil, http.StatusNoContent},
		{http.MethodGet, "/api/v1/changes", nil, http.StatusOK},
		{http.MethodPost, taskPath(sleeping.ID) + "/cancel", nil, http.StatusAccepted},
		{http.MethodPost, taskPath(made.ID) + "/retry", nil, http.StatusAccepted},
		{http.MethodDelete, taskPath(made.ID), nil, http.StatusNoContent},
		{http.MethodPost, "/api/v1/apps", s.appOn(nil), http.StatusCreated},
		{http.MethodGet, "/api/v1/apps", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/apps/books", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/apps/plain", nil, http.StatusOK},
		{http.MethodPut, "/api/v1/apps/books", s.settings(object{"maintenance": nil}), http.StatusOK},
		{http.MethodPost, "/api/v1/apps/books/check", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/apps/books/job-definitions?kind=epm.importData", nil, http.StatusOK},
		{http.MethodDelete, "/api/v1/apps/books", nil, http.StatusNoContent},
		{http.MethodPost, "/api/v1/apps/consents/consent", nil, http.StatusCreated},
		{http.MethodGet, "/api/v1/apps/consents/consent", nil, http.StatusOK},
		{http.MethodDelete, "/api/v1/apps/consents/consent", nil, http.StatusNoContent},
		{http.MethodOptions, "/api/v1/uploads", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/uploads", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/uploads/" + sent.ID, nil, http.StatusOK},
		{http.MethodDelete, "/api/v1/uploads/" + sent.ID, nil, http.StatusNoContent},
		{http.MethodGet, "/api/v1/kinds", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/me", nil, http.StatusOK},
		{http.MethodPut, "/api/v1/apps/plain/members/group:Finance", object{"role": "viewer"}, http.StatusCreated},
		{http.MethodPut, "/api/v1/apps/plain/members/group:Finance", object{"role": "operator", "see_data": false}, http.StatusOK},
		{http.MethodGet, "/api/v1/apps/plain/members", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/apps/plain/members/group:Finance", nil, http.StatusOK},
		{http.MethodDelete, "/api/v1/apps/plain/members/group:Finance", nil, http.StatusNoContent},
		{http.MethodPost, "/api/v1/tokens", object{"name": "nightly", "scopes": []string{"operate"}, "days": 90}, http.StatusCreated},
		{http.MethodGet, "/api/v1/tokens", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/tokens/" + s.tokenRow().String(), nil, http.StatusOK},
		{http.MethodDelete, "/api/v1/tokens/" + s.tokenRow().String(), nil, http.StatusNoContent},
		{http.MethodGet, "/api/v1/sessions?all=true", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/sessions/" + s.sessionRow().String(), nil, http.StatusOK},
		{http.MethodDelete, "/api/v1/sessions/" + s.sessionRow().String(), nil, http.StatusNoContent},
		{http.MethodGet, "/api/v1/people", nil, http.StatusOK},
		{http.MethodGet, "/api/v1/people/" + storage.LocalAdmin.String(), nil, http.StatusOK},
		{http.MethodDelete, "/api/v1/people/" + s.person("gone@example.com").id.String(), nil, http.StatusNoContent},
		{http.MethodGet, "/api/v1/audit?limit=5", nil, http.StatusOK},
	} {
		ask(test.method, test.path, test.body).want(test.status)
	}
	for _, op := range s.contract().operations {
		if !asked[op.method+" "+op.path] {
			t.Errorf("%s %s was not asked", op.method, op.path)
		}
	}
	// The check itself is no empty one.
	schema, err := s.contract().schema(s.contract().operation(http.MethodGet, taskPath(imported.ID)), "200", "application/json")
	must(t, err)
	task, err := jsonschema.UnmarshalJSON(bytes.NewReader(s.get(taskPath(imported.ID)).body))
	must(t, err)
	task.(object)["state"] = "done" //nolint:forcetypeassert // a task is an object
	if schema.Validate(task) == nil {
		t.Error("a state that is none passes the check")
	}
}

// described names the operation that a request is for.
func (s *server) described(method, path string) string {
	s.t.Helper()
	path, _, _ = strings.Cut(path, "?")
	op := s.contract().operation(method, path)
	if op == nil {
		s.t.Fatalf("%s %s is not described", method, path)
	}
	return op.method + " " + op.path
}
