package sim_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"longhaul/oracle/sim"
)

func TestEveryRequestNeedsCredentials(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *sim.Config) { cfg.IdentityDomain = "contoso" })
	for _, each := range []struct {
		user, password string
		status         int
	}{
		{"admin", "welcome1", http.StatusOK},
		{"contoso.admin", "welcome1", http.StatusOK},
		{"acme.admin", "welcome1", http.StatusUnauthorized},
		{"admin", "wrong", http.StatusUnauthorized},
		{"nobody", "welcome1", http.StatusUnauthorized},
		{"", "", http.StatusUnauthorized},
	} {
		c.user, c.password = each.user, each.password
		for _, path := range []string{"/HyperionPlanning/rest/v3/applications", "/interop/rest/"} {
			if got := c.get(path); got.status != each.status {
				t.Errorf("%s as %q: %d, want %d", path, each.user, got.status, each.status)
			} else if got.status == http.StatusUnauthorized && got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: 401 without WWW-Authenticate", path)
			}
		}
	}
}

func TestOtherRolesReadVersionsAndApplicationsOnly(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.user = "viewer"
	for path, want := range map[string]int{
		"/HyperionPlanning/rest/":                http.StatusOK,
		"/HyperionPlanning/rest/v3":              http.StatusOK,
		"/HyperionPlanning/rest/v3/applications": http.StatusOK,
		"/interop/rest/":                         http.StatusOK,
		"/interop/rest/v2":                       http.StatusOK,
		vision + "/jobdefinitions":               http.StatusForbidden,
		"/interop/rest/v2/files/list":            http.StatusForbidden,
	} {
		if got := c.get(path); got.status != want {
			t.Errorf("%s: %d, want %d", path, got.status, want)
		}
	}
}

func TestVersionsAndMethods(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for _, each := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/HyperionPlanning/rest", http.StatusOK},
		{"GET", "/interop/rest", http.StatusOK},
		{"GET", "/interop/rest/v2/services", http.StatusOK},
		{"GET", "/HyperionPlanning/rest/V3/applications", http.StatusNotFound},
		{"GET", "/HyperionPlanning/rest/v2/applications", http.StatusNotFound},
		{"GET", "/interop/rest/v1/files/list", http.StatusNotFound},
		{"GET", "/interop/rest/V2/files/list", http.StatusNotFound},
		{"POST", "/interop/rest/v2/files/delete", http.StatusMethodNotAllowed},
		{"DELETE", "/interop/rest/v3/files/delete", http.StatusMethodNotAllowed},
		{"DELETE", vision + "/jobs", http.StatusMethodNotAllowed},
		{"GET", "/elsewhere", http.StatusNotFound},
		{"GET", "/HyperionPlanning/rest/v3/applications/Nope/jobdefinitions", http.StatusBadRequest},
	} {
		if got := c.do(each.method, each.path, nil, nil); got.status != each.want {
			t.Errorf("%s %s: %d, want %d", each.method, each.path, got.status, each.want)
		}
	}
	versions := c.get("/interop/rest/")
	latest := map[string]any{}
	for _, item := range items(versions) {
		latest[item["version"].(string)] = item["latest"]
	}
	if len(latest) != 4 || latest["v2"] != true || latest["11.1.2.3.600"] != false {
		t.Errorf("versions: %s", versions.raw)
	}
	if got := c.get("/HyperionPlanning/rest/v3"); got.body["isLatest"] != true {
		t.Errorf("v3: %s", got.raw)
	}
}

func TestPrefixOfAProxy(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *sim.Config) { cfg.Prefix = "/gateway/epm" })
	got := c.get(vision + "/jobdefinitions")
	if got.status != http.StatusOK || !strings.Contains(string(got.raw), "/gateway/epm/HyperionPlanning/") {
		t.Errorf("with prefix: %d %s", got.status, got.raw)
	}
	c.prefix = ""
	if got := c.get(vision + "/jobdefinitions"); got.status != http.StatusNotFound {
		t.Errorf("without prefix: %d", got.status)
	}
	if got := c.get("/gateway/epmother/HyperionPlanning/rest"); got.status != http.StatusNotFound {
		t.Errorf("longer prefix: %d", got.status)
	}
	c.prefix = "/gateway/epm"
	c.put("inbox/a b.csv", []byte("x"))
	if got := c.get("/interop/rest/11.1.2.3.600/applicationsnapshots/inbox%2Fa%20b.csv/contents"); string(got.raw) != "x" {
		t.Errorf("encoded name behind a prefix: %d %s", got.status, got.raw)
	}
}

func TestApplicationsCubesAndDimensions(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	var names []string
	for _, item := range items(c.get("/HyperionPlanning/rest/v3/applications")) {
		names = append(names, item["name"].(string)+" "+item["appType"].(string))
	}
	if got := strings.Join(names, ", "); got != "Vision PBCS, Sales EPBCS" {
		t.Errorf("applications: %s", got)
	}
	cubes := items(c.get(vision + "/plantypes"))
	if len(cubes) != 2 || cubes[0]["planTypeName"] != "Plan1" || number(cubes[0]["numDimensions"]) != 7 || number(cubes[1]["cubeType"]) != 1 {
		t.Errorf("cubes: %v", cubes)
	}
	dimensions := c.get(vision + "/plantypes/Plan1/dimensions?limit=2&offset=1")
	if list := items(dimensions); len(list) != 2 || list[0]["name"] != "Period" || dimensions.body["hasMore"] != true {
		t.Errorf("dimensions: %s", dimensions.raw)
	}
	tree := c.get(vision + "/plantypes/Plan1/dimensions/Version")
	children, _ := tree.body["children"].([]any)
	if tree.body["name"] != "Version" || len(children) != 5 {
		t.Errorf("hierarchy: %s", tree.raw)
	}
	if leaf := children[0].(map[string]any); leaf["children"] != nil || leaf["path"] != "Version.Working" {
		t.Errorf("leaf: %v", leaf)
	}
	for _, path := range []string{"/plantypes/Nope/dimensions", "/plantypes/Plan1/dimensions/Nope", "/plantypes/VisASO/dimensions/Product"} {
		if got := c.get(vision + path); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d", path, got.status)
		}
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	got := c.get(vision + "/dimensions/Entity/members/E_110")
	if got.status != http.StatusOK || got.body["parentName"] != "E_100" || got.body["dimName"] != "Entity" ||
		got.body["dataStorage"] != "DYNAMICCALC" || len(got.body["children"].([]any)) != 3 {
		t.Errorf("member: %d %s", got.status, got.raw)
	}
	if got.header.Get("X-EPM_ACTION") != "Member Retrieve" {
		t.Errorf("headers: %v", got.header)
	}
	for path, want := range map[string]string{
		"/dimensions/Entity/members/E_99": "The member E_99 ",
		"/dimensions/Tyme/members/Jan":    "The dimension Tyme is invalid.",
	} {
		got := c.get(vision + path)
		if detail, _ := got.body["detail"].(string); got.status != http.StatusBadRequest || !strings.HasPrefix(detail, want) || number(got.body["status"]) != 400 {
			t.Errorf("%s: %d %s", path, got.status, got.raw)
		}
	}
}

func TestAddingDynamicMembers(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	add := func(name, parent string) answer {
		return c.send(http.MethodPost, vision+"/dimensions/Product/members", map[string]any{"memberName": name, "parentName": parent})
	}
	if got := add("P_999", "New Products"); got.status != http.StatusOK || got.body["parentName"] != "New Products" {
		t.Errorf("add: %d %s", got.status, got.raw)
	}
	if got := c.get(vision + "/dimensions/Product/members/P_999"); got.status != http.StatusOK {
		t.Errorf("added member: %d", got.status)
	}
	for _, each := range []struct{ name, parent, want string }{
		{"P_999", "New Products", "already exists"},
		{"Jan", "New Products", "already exists in the dimension Period"},
		{"P_1", "P_TP3", "not enabled"},
		{"P_1", "Nope", "does not exist"},
		{"(P)", "New Products", "not allowed"},
	} {
		if got := add(each.name, each.parent); got.status != http.StatusBadRequest || !strings.Contains(string(got.raw), each.want) {
			t.Errorf("add %s below %s: %d %s", each.name, each.parent, got.status, got.raw)
		}
	}
	c.put("p.zip", archive(t, "importProduct.csv", "Product,Parent,Enable for Dynamic Children\nP_TP3,P_TP1,true\n"))
	c.wantState(c.run("IMPORT_METADATA", "importProduct", map[string]any{"importZipFileName": "p.zip"}), 0, "successful")
	if got := add("P_1", "P_TP3"); got.status != http.StatusBadRequest || !strings.Contains(string(got.raw), "Refresh the cube") {
		t.Errorf("before the refresh: %d %s", got.status, got.raw)
	}
	c.wantState(c.run("CUBE_REFRESH", "Refresh Database", nil), 0, "successful")
	if got := add("P_1", "P_TP3"); got.status != http.StatusOK {
		t.Errorf("after the refresh: %d %s", got.status, got.raw)
	}
}

func TestSubstitutionVariables(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	const path = vision + "/substitutionvariables"
	values := func(path string) string {
		var all []string
		for _, item := range items(c.get(path)) {
			all = append(all, item["planType"].(string)+"."+item["name"].(string)+"="+item["value"].(string))
		}
		return strings.Join(all, " ")
	}
	set := func(path string, item ...map[string]any) int {
		return c.send(http.MethodPost, path, map[string]any{"items": item}).status
	}
	if got := values(path); got != "ALL.CurrMonth=Nov ALL.CurrYear=FY26 ALL.PlanYear=FY27" {
		t.Errorf("at first: %s", got)
	}
	if got := set(path, map[string]any{"name": "CurrYear", "value": "FY27", "planType": "ALL"}, map[string]any{"name": "X", "value": "1", "planType": "Plan1"}); got != http.StatusNoContent {
		t.Errorf("set: %d", got)
	}
	if got := set(vision+"/plantypes/Plan1/substitutionvariables", map[string]any{"name": "CurrMonth", "value": "Dec"}); got != http.StatusNoContent {
		t.Errorf("set in a cube: %d", got)
	}
	if got := values(vision + "/plantypes/Plan1/substitutionvariables"); got != "Plan1.CurrMonth=Dec Plan1.X=1" {
		t.Errorf("of the cube: %s", got)
	}
	const derived = vision + "/plantypes/Plan1/substitutionvariables?q=%7B%22derivedValues%22%3Atrue%7D"
	if got := values(derived); got != "Plan1.CurrMonth=Dec Plan1.X=1 ALL.CurrYear=FY27 ALL.PlanYear=FY27" {
		t.Errorf("derived: %s", got)
	}
	for name, status := range map[string]int{
		"no items":    c.send(http.MethodPost, path, map[string]any{}).status,
		"no name":     set(path, map[string]any{"value": "1", "planType": "ALL"}),
		"wrong cube":  set(path, map[string]any{"name": "a", "value": "1", "planType": "Nope"}),
		"wrong scope": set(vision+"/plantypes/Nope/substitutionvariables", map[string]any{"name": "a", "value": "1"}),
		"not there":   c.get(path + "/Nope").status,
		"bad q":       c.get(path + "?q=%7B").status,
	} {
		if status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, status)
		}
	}
	if got := c.get(path + "/CurrYear"); got.body["value"] != "FY27" {
		t.Errorf("one: %d %s", got.status, got.raw)
	}
	strange := newClient(t, odd(1))
	if got := strange.get(path + "/CurrYear"); got.status != http.StatusNoContent {
		t.Errorf("one, as observed: %d", got.status)
	}
}

func TestJobDefinitions(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	all := items(c.get(vision + "/jobdefinitions"))
	rules := items(c.get(vision + `/jobdefinitions?q=%7B%22jobType%22%3A%22RULES%22%7D`))
	if len(all) < 12 || len(rules) != 3 {
		t.Errorf("%d definitions, %d rules", len(all), len(rules))
	}
	types := map[any]bool{}
	for _, item := range all {
		types[item["jobType"]] = true
	}
	for _, want := range []string{"IMPORT_METADATA", "EXPORT_METADATA", "IMPORT_DATA", "EXPORT_DATA", "CUBE_REFRESH", "RULES", "RULESET", "CLEAR_CUBE"} {
		if !types[want] {
			t.Errorf("no definition of type %s", want)
		}
	}
	if none := c.get(vision + `/jobdefinitions?q=%7B%22jobType%22%3A%22SORT%22%7D`); len(items(none)) != 0 || none.body["items"] == nil {
		t.Errorf("none: %s", none.raw)
	}
	if got := c.get(vision + "/jobdefinitions?q=x"); got.status != http.StatusBadRequest {
		t.Errorf("bad q: %d", got.status)
	}
}

func TestSpeedOfSimulatedTime(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *sim.Config) { cfg.Speed, cfg.Now = 100_000, time.Now })
	id := c.start("RULES", "Aggregate VisASO", nil)
	deadline := time.Now().Add(10 * time.Second)
	for number(c.poll(id).body["status"]) == -1 {
		if time.Now().After(deadline) {
			t.Fatal("the job does not end")
		}
	}
}
