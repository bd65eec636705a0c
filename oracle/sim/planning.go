package sim

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

const planningBase = "/HyperionPlanning/rest"

// appBase is the address of an application.
func appBase(a *application) string {
	return planningBase + "/v3/applications/" + url.PathEscape(a.name)
}

// planningRoutes are the calls of the Planning API. The version segment is part
// of every pattern: another version, or V3, is not found.
func (e *environment) planningRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+planningBase, e.getPlanningVersions)
	mux.HandleFunc("GET "+planningBase+"/{$}", e.getPlanningVersions)
	mux.HandleFunc("GET "+planningBase+"/v3", e.getPlanningVersion)
	mux.HandleFunc("GET "+planningBase+"/v3/applications", e.getApplications)
	const app = planningBase + "/v3/applications/{app}"
	for pattern, handler := range map[string]appHandler{
		"GET " + app + "/jobdefinitions":                                e.getJobDefinitions,
		"POST " + app + "/jobs":                                         e.startJob,
		"GET " + app + "/jobs/{id}":                                     e.getJob,
		"GET " + app + "/jobs/{id}/details":                             e.getJobDetails,
		"GET " + app + "/jobs/{id}/childjobs/{child}/details":           e.getChildJobDetails,
		"GET " + app + "/plantypes":                                     e.getPlanTypes,
		"GET " + app + "/plantypes/{cube}/dimensions":                   e.getDimensions,
		"GET " + app + "/plantypes/{cube}/dimensions/{dim}":             e.getDimension,
		"GET " + app + "/dimensions/{dim}/members/{member}":             e.getMember,
		"POST " + app + "/dimensions/{dim}/members":                     e.addMember,
		"GET " + app + "/substitutionvariables":                         e.getVariables,
		"POST " + app + "/substitutionvariables":                        e.setVariables,
		"GET " + app + "/substitutionvariables/{name}":                  e.getVariable,
		"GET " + app + "/plantypes/{cube}/substitutionvariables":        e.getVariables,
		"POST " + app + "/plantypes/{cube}/substitutionvariables":       e.setVariables,
		"GET " + app + "/plantypes/{cube}/substitutionvariables/{name}": e.getVariable,
	} {
		mux.HandleFunc(pattern, e.administrator(e.withApplication(handler)))
	}
	return notFoundAsPage(mux)
}

// notFoundAsPage answers as the servers in front of the service do where mux
// has no route, in place of the mux's plain text and redirects.
func notFoundAsPage(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			other := r.Clone(r.Context())
			other.Method = method
			if _, pattern := mux.Handler(other); pattern != "" {
				writeHTML(w, http.StatusMethodNotAllowed, "Method Not Allowed", "The method is not supported on this address.")
				return
			}
		}
		writeNotFound(w)
	})
}

type appHandler func(w http.ResponseWriter, r *http.Request, a *application)

// withApplication finds the application a request is about.
func (e *environment) withApplication(next appHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := e.application(r.PathValue("app"))
		if a == nil {
			writePlanningError(w, http.StatusBadRequest, "HspException",
				"The application "+r.PathValue("app")+" is invalid or you do not have access to it.")
			return
		}
		next(w, r, a)
	}
}

// getPlanningVersions is GET /HyperionPlanning/rest; any role.
func (e *environment) getPlanningVersions(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, e.collection(r, []object{e.planningVersion(r)}))
}

// getPlanningVersion is GET /HyperionPlanning/rest/v3; any role.
func (e *environment) getPlanningVersion(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, e.planningVersion(r))
}

func (e *environment) planningVersion(r *http.Request) object {
	return object{
		"version": "v3", "lifecycle": "active", "isLatest": e.odd.truth("isLatest", true),
		"links": []object{e.planningLink(r, "self", planningBase+"/v3")},
	}
}

// getApplications is GET /HyperionPlanning/rest/v3/applications; any role.
func (e *environment) getApplications(w http.ResponseWriter, r *http.Request) {
	var items []object
	for _, a := range e.applications {
		items = append(items, object{
			"name": a.name, "type": "HP", "appType": a.kind, "appStorage": a.storage,
			"adminMode": e.odd.truth(a.name+" adminMode", false),
			"unicode":   e.odd.truth(a.name+" unicode", true),
			"hybrid":    e.odd.truth(a.name+" hybrid", true),
			"dpEnabled": false, "theme": "REDWOOD", "webBotDetails": nil,
			"helpServerUrl": "https://www.oracle.com",
		})
	}
	writeJSON(w, http.StatusOK, e.collection(r, items))
}

// getJobDefinitions is GET .../jobdefinitions, with q={"jobType":"RULES"}.
func (e *environment) getJobDefinitions(w http.ResponseWriter, r *http.Request, a *application) {
	q, err := parseQ(r.URL.Query().Get("q"))
	if err != nil {
		writePlanningError(w, http.StatusBadRequest, "InvalidParameterException", "The parameter q is invalid.")
		return
	}
	var items []object
	for _, def := range a.definitions {
		if wanted, given := q["jobType"]; !given || wanted == def.Type {
			items = append(items, object{"jobType": def.Type, "jobName": def.Name, "links": nil})
		}
	}
	w.Header().Set("X-EPM_ACTION", "Job Definitions")
	writeJSON(w, http.StatusOK, e.collection(r, items))
}

// getPlanTypes is GET .../plantypes.
func (e *environment) getPlanTypes(w http.ResponseWriter, r *http.Request, a *application) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var items []object
	for i, c := range a.cubes {
		cubeType := 0
		if c.aggregate {
			cubeType = 1
		}
		items = append(items, object{
			"planTypeName": c.name, "planType": 1 << i, "cubeName": c.name,
			"numDimensions": len(c.dimensions), "cubeType": cubeType,
		})
	}
	writeJSON(w, http.StatusOK, e.collection(r, items))
}

// pathCube finds the cube in the address; it answers the request itself when
// there is none. It wants a.mu held.
func (a *application) pathCube(w http.ResponseWriter, r *http.Request) *cube {
	c := a.cube(r.PathValue("cube"))
	if c == nil {
		writePlanningError(w, http.StatusBadRequest, "InvalidPlanTypeException", "The cube "+r.PathValue("cube")+" is invalid.")
	}
	return c
}

// pathDimension is pathCube for a dimension.
func (a *application) pathDimension(w http.ResponseWriter, r *http.Request) *dimension {
	d := a.dimension(r.PathValue("dim"))
	if d == nil {
		writePlanningError(w, http.StatusBadRequest, "InvalidDimensionException", "The dimension "+r.PathValue("dim")+" is invalid.")
	}
	return d
}

// getDimensions is GET .../plantypes/{cube}/dimensions, paged.
func (e *environment) getDimensions(w http.ResponseWriter, r *http.Request, a *application) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	c := a.pathCube(w, r)
	if c == nil {
		return
	}
	var items []object
	for _, d := range c.dimensions {
		items = append(items, object{
			"name": d.name, "id": d.root.id, "path": d.name, "alias": nilIfEmpty(d.root.alias), "dimType": d.kind,
			"parentName": nil, "level": d.root.depth(), "generation": 1, "links": nil,
		})
	}
	shown, more := page(r, items)
	body := e.collection(r, shown)
	body["totalResults"], body["hasMore"] = len(items), more
	writeJSON(w, http.StatusOK, body)
}

// depth returns the level of a member: 0 for one without children.
func (m *member) depth() int {
	level := 0
	for _, child := range m.children {
		level = max(level, child.depth()+1)
	}
	return level
}

// defaultPage is the documented default of limit.
const defaultPage = 25

// page cuts items by the parameters offset and limit.
func page(r *http.Request, items []object) (shown []object, more bool) {
	offset := max(0, queryInt(r, "offset", 0))
	limit := queryInt(r, "limit", defaultPage)
	if limit <= 0 {
		limit = defaultPage
	}
	rest := items[min(offset, len(items)):]
	return rest[:min(limit, len(rest))], len(rest) > limit
}

func queryInt(r *http.Request, name string, fallback int) int {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil {
		return fallback
	}
	return n
}

// getDimension is GET .../plantypes/{cube}/dimensions/{dim}: its hierarchy.
func (e *environment) getDimension(w http.ResponseWriter, r *http.Request, a *application) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	c := a.pathCube(w, r)
	if c == nil {
		return
	}
	d := a.pathDimension(w, r)
	if d == nil {
		return
	}
	if !slices.Contains(c.dimensions, d) {
		writePlanningError(w, http.StatusBadRequest, "InvalidDimensionException", "The dimension "+d.name+" is invalid.")
		return
	}
	writeJSON(w, http.StatusOK, d.root.hierarchy(""))
}

func (m *member) hierarchy(above string) object {
	path := above + m.name
	node := object{"id": m.id, "name": m.name, "alias": nilIfEmpty(m.alias), "path": path}
	if len(m.children) > 0 {
		children := make([]object, len(m.children))
		for i, child := range m.children {
			children[i] = child.hierarchy(path + ".")
		}
		node["children"] = children
	}
	return node
}

func nilIfEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}
