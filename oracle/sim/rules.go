package sim

import "strings"

// prepareCubeRefresh brings the cubes up to date with the outline. What changes
// is that members enabled for dynamic children take them.
func prepareCubeRefresh(l *launch) plan {
	users := []string{"Administrators", "All Users"}
	l.oneOf("allowedUsersDuringCubeRefresh", "", users...)
	l.oneOf("allowedUsersAfterCubeRefresh", "", users...)
	l.truth("terminateActiveRequestsBeforeCubeRefresh", false)
	l.truth("logOffAllUsersBeforeCubeRefresh", false)
	app := l.app
	return plan{takes: l.takes(refreshTakes, 0), exclusive: true, work: func() outcome {
		app.refreshCubes()
		return outcome{details: "Cube refresh was successful"}
	}}
}

func (a *application) refreshCubes() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.dimensions {
		for _, m := range d.members {
			m.dynamicReady = m.takesDynamicChildren()
		}
	}
}

// prepareRule runs a business rule or ruleset: it takes time and checks the
// members given to runtime prompts, and changes no cells. Names of prompts that
// the rule does not have are ignored, as on the service.
func prepareRule(l *launch) plan {
	app, def := l.app, l.def
	values := make(map[string]string, len(def.Prompts))
	for _, p := range def.Prompts {
		values[p.Name] = l.text(p.Name, p.Default)
	}
	return plan{takes: l.takes(ruleTakes, 0), work: func() outcome {
		for _, p := range def.Prompts {
			if err := app.checkPrompt(p, values[p.Name], def.Cube); err != nil {
				return invalidParameter(err)
			}
		}
		return outcome{details: "Success"}
	}}
}

// checkPrompt checks that a value names members of the prompt's dimension;
// several are separated by commas.
func (a *application) checkPrompt(p prompt, value, cubeName string) error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if value == "" {
		return refusef("The runtime prompt %s needs a value.", p.Name)
	}
	if p.Dimension == "" {
		return nil
	}
	for name := range strings.SplitSeq(value, ",") {
		name = strings.Trim(strings.TrimSpace(name), `"`)
		if variable, ok := strings.CutPrefix(name, "&"); ok {
			if name, ok = a.variable(cubeName, variable); !ok {
				return refusef("The substitution variable %s is not defined.", variable)
			}
		}
		if d, _ := a.member(name); d == nil || d.name != p.Dimension {
			return refusef("The member %s of the runtime prompt %s is not a member of the dimension %s.", name, p.Name, p.Dimension)
		}
	}
	return nil
}

// prepareClearCube empties a cube, or the part of it that a member selection or
// an MDX set names.
func prepareClearCube(l *launch) plan {
	app := l.app
	cubeName := l.text("cube", l.def.Cube)
	members := l.text("members", l.def.Members)
	query := l.text("mdxQuery", "")
	for _, name := range []string{"clearSupportingDetails", "clearComments", "clearAttachments", "clearPhysicalOnEssbase"} {
		l.truth(name, false)
	}
	return plan{takes: l.takes(clearTakes, 0), work: func() outcome {
		if err := app.clearCube(cubeName, members, query); err != nil {
			return invalidParameter(err)
		}
		return outcome{details: "Clear cube was successful"}
	}}
}

func (a *application) clearCube(cubeName, members, query string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.cube(cubeName)
	if c == nil {
		return refusef("The cube %s does not exist.", cubeName)
	}
	var set memberSet
	var err error
	if query != "" {
		set, err = a.expandMDX(c, query)
	} else {
		set, err = a.expand(c, members)
	}
	if err != nil {
		return err
	}
	for key := range c.cells {
		if c.selected(key, set) {
			delete(c.cells, key)
		}
	}
	return nil
}
