package sim

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// getMember is GET .../dimensions/{dim}/members/{member}.
func (e *environment) getMember(w http.ResponseWriter, r *http.Request, a *application) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	d := a.pathDimension(w, r)
	if d == nil {
		return
	}
	m := d.members[r.PathValue("member")]
	if m == nil {
		writePlanningError(w, http.StatusBadRequest, "InvalidMemberException",
			"The member "+r.PathValue("member")+" does not exist or you do not have access to it.")
		return
	}
	w.Header().Set("X-EPM_ACTION", "Member Retrieve")
	w.Header().Set("X-EPM_OBJECT", url.PathEscape(m.name))
	writeJSON(w, http.StatusOK, e.memberBody(r, a, d, m))
}

func (e *environment) memberBody(r *http.Request, a *application, d *dimension, m *member) object {
	var parent any
	if m.parent != nil {
		parent = m.parent.name
	}
	var children []object
	for _, child := range m.children {
		children = append(children, object{"name": child.name, "description": nilIfEmpty(child.properties["Description"])})
	}
	address := appBase(a) + "/dimensions/" + url.PathEscape(d.name) + "/members/" + url.PathEscape(m.name)
	dataType := m.properties["Data Type"]
	if dataType == "" {
		dataType = "UNSPECIFIED"
	}
	return object{
		"name": m.name, "description": nilIfEmpty(m.properties["Description"]), "alias": nilIfEmpty(m.alias),
		"parentName": parent, "dimName": d.name,
		"dataType": strings.ToUpper(dataType), "dataStorage": storages[m.storage], "objectType": 50,
		"twoPass": strings.EqualFold(m.properties["Two Pass Calculation"], "true"), "type": d.kind,
		"children": children, "links": []object{e.planningLink(r, "self", address)},
	}
}

// addMember is POST .../dimensions/{dim}/members. The parent must be enabled
// for dynamic children, and the cube refreshed since it was.
func (e *environment) addMember(w http.ResponseWriter, r *http.Request, a *application) {
	var body struct {
		MemberName string `json:"memberName"`
		ParentName string `json:"parentName"`
	}
	if err := decodeJSON(w, r, &body); err != nil {
		writePlanningError(w, http.StatusBadRequest, "HspRuntimeException", "The request body is not valid JSON.")
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.pathDimension(w, r)
	if d == nil {
		return
	}
	m, err := a.addDynamic(d, body.MemberName, body.ParentName)
	if err != nil {
		writePlanningError(w, http.StatusBadRequest, "InvalidMemberException", err.Error())
		return
	}
	writeJSON(w, http.StatusOK, e.memberBody(r, a, d, m))
}

func (a *application) addDynamic(d *dimension, name, parentName string) (*member, error) {
	if err := checkMemberName(name); err != nil {
		return nil, err
	}
	parent := d.members[parentName]
	switch {
	case parent == nil:
		return nil, refusef("The member %s does not exist or you do not have access to it.", parentName)
	case a.owner[name] != nil:
		return nil, refusef("The member %s already exists in the dimension %s.", name, a.owner[name].name)
	case !parent.takesDynamicChildren():
		return nil, refusef("The member %s is not enabled for dynamic children.", parentName)
	case !parent.dynamicReady:
		return nil, refusef("The member %s was enabled for dynamic children after the last cube refresh. Refresh the cube.", parentName)
	}
	return a.newMember(d, name, parent), nil
}

// variableScope returns which substitution variables an address is about: of
// a cube, or of the application. It answers the request itself when there is
// no such cube, and returns nothing. It wants a.mu held.
func (a *application) variableScope(w http.ResponseWriter, r *http.Request) string {
	if r.PathValue("cube") == "" {
		return allCubes
	}
	if c := a.pathCube(w, r); c != nil {
		return c.name
	}
	return ""
}

// getVariables is GET .../substitutionvariables, of the application or a cube.
func (e *environment) getVariables(w http.ResponseWriter, r *http.Request, a *application) {
	q, err := parseQ(r.URL.Query().Get("q"))
	if err != nil {
		writePlanningError(w, http.StatusBadRequest, "InvalidParameterException", "The parameter q is invalid.")
		return
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	scope := a.variableScope(w, r)
	if scope == "" {
		return
	}
	items := a.variableItems(scope)
	if scope != allCubes && q["derivedValues"] == "true" {
		for _, item := range a.variableItems(allCubes) {
			if _, own := a.variables[scope][item["name"].(string)]; !own {
				items = append(items, item)
			}
		}
	}
	writeJSON(w, http.StatusOK, e.collection(r, items))
}

func (a *application) variableItems(scope string) []object {
	var items []object
	for name, value := range a.variables[scope] {
		items = append(items, object{"name": name, "value": value, "planType": scope})
	}
	slices.SortFunc(items, func(x, y object) int { return strings.Compare(x["name"].(string), y["name"].(string)) })
	return items
}

// getVariable is GET .../substitutionvariables/{name}. Oracle documents that it
// answers the variable; live environments answered 204 for one that exists.
func (e *environment) getVariable(w http.ResponseWriter, r *http.Request, a *application) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	scope := a.variableScope(w, r)
	if scope == "" {
		return
	}
	name := r.PathValue("name")
	value, ok := a.variables[scope][name]
	switch {
	case !ok:
		writePlanningError(w, http.StatusBadRequest, "InvalidSubstitutionVariableException", "The substitution variable "+name+" is invalid.")
	case e.odd.on:
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, http.StatusOK, object{"name": name, "value": value, "planType": scope})
	}
}

// setVariables is POST .../substitutionvariables: all of the items, or none.
func (e *environment) setVariables(w http.ResponseWriter, r *http.Request, a *application) {
	var body struct {
		Items []struct {
			Name     string `json:"name"`
			Value    string `json:"value"`
			PlanType string `json:"planType"`
		} `json:"items"`
	}
	if err := decodeJSON(w, r, &body); err != nil || len(body.Items) == 0 {
		writePlanningError(w, http.StatusBadRequest, "HspRuntimeException", "The request body needs items with name, value and planType.")
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	scope := a.variableScope(w, r)
	if scope == "" {
		return
	}
	for i, item := range body.Items {
		if item.PlanType == "" || scope != allCubes {
			body.Items[i].PlanType = scope
			continue
		}
		if item.PlanType != allCubes && a.cube(item.PlanType) == nil {
			writePlanningError(w, http.StatusBadRequest, "InvalidPlanTypeException", "The cube "+item.PlanType+" is invalid.")
			return
		}
	}
	for _, item := range body.Items {
		if item.Name == "" {
			writePlanningError(w, http.StatusBadRequest, "InvalidSubstitutionVariableException", "The substitution variable needs a name.")
			return
		}
	}
	for _, item := range body.Items {
		a.setVariable(item.PlanType, item.Name, item.Value)
	}
	w.WriteHeader(http.StatusNoContent)
}
