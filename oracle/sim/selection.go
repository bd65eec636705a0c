package sim

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var errSelection = errors.New("invalid member selection")

// selector is one item of a member selection: a member, a function of a
// member, or a substitution variable.
type selector struct {
	function string // empty for the member itself
	name     string
	variable bool
}

// memberFunctions are the functions that selections may use, by lower-case
// name: whether the member itself belongs, and which of those below do.
var memberFunctions = map[string]struct{ self, children, descendants, leaves bool }{
	"children":           {children: true},
	"ichildren":          {self: true, children: true},
	"descendants":        {descendants: true},
	"idescendants":       {self: true, descendants: true},
	"lvl0descendants":    {leaves: true},
	"ilvl0descendants":   {leaves: true},
	"level0descendants":  {leaves: true},
	"ilevel0descendants": {leaves: true},
}

// parseSelection reads a list such as ILvl0Descendants(Entity),"Jan",&CurrYear.
// An empty list is no selector.
func parseSelection(s string) ([]selector, error) {
	var selectors []selector
	for rest := strings.TrimSpace(s); rest != ""; {
		item, after, err := cutItem(rest)
		if err != nil {
			return nil, err
		}
		selected, err := parseSelector(strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		selectors = append(selectors, selected)
		rest = strings.TrimSpace(after)
	}
	return selectors, nil
}

// cutItem cuts s at its first comma outside quotes and brackets.
func cutItem(s string) (item, rest string, err error) {
	depth, quoted := 0, false
	for i, r := range s {
		switch {
		case r == '"':
			quoted = !quoted
		case quoted:
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			return s[:i], s[i+1:], nil
		}
		if depth < 0 {
			break
		}
	}
	if depth != 0 || quoted {
		return "", "", fmt.Errorf("%w: %q has an open quote or bracket", errSelection, s)
	}
	return s, "", nil
}

func parseSelector(item string) (selector, error) {
	function, rest, isCall := strings.Cut(item, "(")
	name := item
	if isCall && !strings.HasPrefix(item, `"`) {
		name = strings.TrimSuffix(rest, ")")
		function = strings.TrimSpace(function)
		if _, ok := memberFunctions[strings.ToLower(function)]; !ok {
			return selector{}, fmt.Errorf("%w: unknown function %q", errSelection, function)
		}
	} else {
		function = ""
	}
	name = strings.TrimSpace(name)
	name, variable := strings.CutPrefix(name, "&")
	name = strings.Trim(name, `"`)
	if name == "" || strings.ContainsAny(name, `"(),`) && !strings.HasPrefix(item, `"`) {
		return selector{}, fmt.Errorf("%w: %q", errSelection, item)
	}
	return selector{function: strings.ToLower(function), name: name, variable: variable}, nil
}

// memberSet is the selected members of each dimension.
type memberSet map[*dimension]map[string]bool

// expand turns a selection into members. It fails on a name that is not a
// member of the cube. It wants a.mu held.
func (a *application) expand(c *cube, selection string) (memberSet, error) {
	selectors, err := parseSelection(selection)
	if err != nil {
		return nil, err
	}
	set := memberSet{}
	for _, sel := range selectors {
		name := sel.name
		if sel.variable {
			var ok bool
			if name, ok = a.variable(c.name, sel.name); !ok {
				return nil, refusef("The substitution variable %s is not defined", sel.name)
			}
		}
		d, m := a.member(name)
		if m == nil || !c.has(d) {
			return nil, refusef("The member %s does not exist for the specified cube or you do not have access to it", name)
		}
		set.add(d, m, sel.function)
	}
	return set, nil
}

func (c *cube) has(d *dimension) bool {
	return slices.Contains(c.dimensions, d)
}

func (s memberSet) add(d *dimension, m *member, function string) {
	if s[d] == nil {
		s[d] = map[string]bool{}
	}
	if function == "" {
		s[d][m.name] = true
		return
	}
	f := memberFunctions[function]
	m.walk(func(each *member, level int) {
		leaf := len(each.children) == 0
		if level == 0 && f.self || level == 1 && f.children || level > 0 && f.descendants || leaf && f.leaves {
			s[d][each.name] = true
		}
	})
}

var mdxMember = regexp.MustCompile(`\[([^\[\]]+)\]`)

// expandMDX reads the members an MDX set such as
// Crossjoin({[Apr],[May]},{[Expense1]}) names. Functions of members are not
// evaluated: only the members in brackets count. It wants a.mu held.
func (a *application) expandMDX(c *cube, query string) (memberSet, error) {
	set := memberSet{}
	for _, match := range mdxMember.FindAllStringSubmatch(query, -1) {
		d, m := a.member(match[1])
		if m == nil || !c.has(d) {
			return nil, refusef("Unknown member %s used in the MDX query", match[1])
		}
		set.add(d, m, "")
	}
	if len(set) == 0 {
		return nil, refusef("The MDX query %q selects no members", query)
	}
	return set, nil
}
