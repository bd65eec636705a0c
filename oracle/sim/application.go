package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// application is one Planning application: dimensions with members, cubes with
// cells, substitution variables and saved jobs.
type application struct {
	name    string
	kind    string // PBCS, EPBCS, FCCS, ...
	storage string // Multidim, ASO, ...
	// definitions do not change after the application is built.
	definitions []definition

	mu         sync.RWMutex
	dimensions []*dimension
	cubes      []*cube
	// owner tells which dimension a member name belongs to: names are unique
	// in an application.
	owner map[string]*dimension
	// variables are substitution variables by cube, ALL standing for all.
	variables map[string]map[string]string
	nextID    int
}

// allCubes is the planType of a substitution variable of the application.
const allCubes = "ALL"

// dimension is a tree of members below one that has the dimension's name.
type dimension struct {
	name       string
	kind       string
	attributes []string
	root       *member
	members    map[string]*member
	shared     []sharedMember
}

// member is one member. Its properties keep the column headers of metadata
// files as keys.
type member struct {
	id         int
	name       string
	alias      string
	storage    string
	parent     *member
	children   []*member
	properties map[string]string
	// dynamicReady says that the member took dynamic children at the last
	// cube refresh.
	dynamicReady bool
}

// sharedMember is a second place of a member in its dimension.
type sharedMember struct{ name, parent string }

// cube holds cells by the names of their members, in the order of dimensions.
type cube struct {
	name       string
	aggregate  bool // ASO
	dimensions []*dimension
	cells      map[string]string
}

func newApplication(as applicationSeed) *application {
	a := &application{
		name: as.Name, kind: as.Type, storage: as.Storage,
		owner:     map[string]*dimension{},
		variables: map[string]map[string]string{allCubes: {}},
	}
	maps.Copy(a.variables[allCubes], as.Variables)
	return a
}

// The lookups below want a.mu held.

func (a *application) dimension(name string) *dimension {
	for _, d := range a.dimensions {
		if d.name == name {
			return d
		}
	}
	return nil
}

func (a *application) cube(name string) *cube {
	for _, c := range a.cubes {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (a *application) member(name string) (*dimension, *member) {
	d := a.owner[name]
	if d == nil {
		return nil, nil
	}
	return d, d.members[name]
}

// definition finds a saved job; definitions do not change, so no lock is needed.
func (a *application) definition(typeCode, name string) *definition {
	for i := range a.definitions {
		if def := &a.definitions[i]; def.Type == typeCode && def.Name == name {
			return def
		}
	}
	return nil
}

func (a *application) addDimension(ds dimensionSeed) error {
	if ds.Name == "" || a.owner[ds.Name] != nil {
		return errors.New("needs a name of its own")
	}
	d := &dimension{name: ds.Name, kind: ds.Type, attributes: ds.Attributes, members: map[string]*member{}}
	d.root = a.newMember(d, ds.Name, nil)
	a.dimensions = append(a.dimensions, d)
	above := []*member{d.root}
	for _, line := range ds.Members {
		text := strings.TrimLeft(line, " ")
		level := (len(line)-len(text))/2 + 1
		fields := strings.Split(text, "|")
		name := strings.TrimSpace(fields[0])
		if level > len(above) || (len(line)-len(text))%2 != 0 {
			return fmt.Errorf("member %q: indented too far", name)
		}
		if err := checkMemberName(name); err != nil {
			return err
		}
		if a.owner[name] != nil {
			return fmt.Errorf("member %q: named twice", name)
		}
		m := a.newMember(d, name, above[level-1])
		if err := m.setSeedFields(fields[1:]); err != nil {
			return err
		}
		above = append(above[:level], m)
	}
	return nil
}

// setSeedFields takes alias, data storage and property=value, all optional.
func (m *member) setSeedFields(fields []string) error {
	for i, field := range fields {
		field = strings.TrimSpace(field)
		switch i {
		case 0:
			m.alias = field
		case 1:
			if !validStorage(field) {
				return fmt.Errorf("member %q: data storage %q", m.name, field)
			}
			m.storage = strings.ToLower(field)
		default:
			key, value, ok := strings.Cut(field, "=")
			if !ok {
				return fmt.Errorf("member %q: %q is not property=value", m.name, field)
			}
			m.properties[key] = value
		}
	}
	m.dynamicReady = m.takesDynamicChildren()
	return nil
}

func (a *application) addCube(cs cubeSeed) error {
	if cs.Name == "" || a.cube(cs.Name) != nil {
		return errors.New("needs a name of its own")
	}
	if cs.Storage != "BSO" && cs.Storage != "ASO" {
		return fmt.Errorf("storage %q: must be BSO or ASO", cs.Storage)
	}
	c := &cube{name: cs.Name, aggregate: cs.Storage == "ASO", cells: map[string]string{}}
	for _, name := range cs.Dimensions {
		d := a.dimension(name)
		if d == nil {
			return fmt.Errorf("unknown dimension %q", name)
		}
		c.dimensions = append(c.dimensions, d)
	}
	a.cubes = append(a.cubes, c)
	return nil
}

// newMember puts a member under parent, or as root where parent is nil.
func (a *application) newMember(d *dimension, name string, parent *member) *member {
	a.nextID++
	m := &member{id: a.nextID, name: name, properties: map[string]string{}}
	d.members[name] = m
	a.owner[name] = d
	if parent != nil {
		m.attach(parent)
	}
	return m
}

func (m *member) attach(parent *member) {
	m.parent = parent
	parent.children = append(parent.children, m)
}

func (m *member) detach() {
	i := slices.Index(m.parent.children, m)
	m.parent.children = slices.Delete(m.parent.children, i, i+1)
	m.parent = nil
}

// below tells whether m is other or one of its descendants.
func (m *member) below(other *member) bool {
	for ; m != nil; m = m.parent {
		if m == other {
			return true
		}
	}
	return false
}

func (m *member) takesDynamicChildren() bool {
	return strings.EqualFold(m.properties["Enable for Dynamic Children"], "true")
}

// removeTree deletes m and everything below it, shared places included.
func (a *application) removeTree(d *dimension, m *member) {
	for len(m.children) > 0 {
		a.removeTree(d, m.children[len(m.children)-1])
	}
	m.detach()
	delete(d.members, m.name)
	delete(a.owner, m.name)
	d.shared = slices.DeleteFunc(d.shared, func(s sharedMember) bool { return s.name == m.name || s.parent == m.name })
}

// walk visits m and everything below it, parents first. level is 0 for m.
func (m *member) walk(visit func(m *member, level int)) { m.walkFrom(0, visit) }

func (m *member) walkFrom(level int, visit func(m *member, level int)) {
	visit(m, level)
	for _, child := range m.children {
		child.walkFrom(level+1, visit)
	}
}

// setVariable sets a substitution variable of the application or a cube.
func (a *application) setVariable(planType, name, value string) {
	if a.variables[planType] == nil {
		a.variables[planType] = map[string]string{}
	}
	a.variables[planType][name] = value
}

// variable returns what &name stands for in a cube: the cube's value, or the
// application's.
func (a *application) variable(cubeName, name string) (string, bool) {
	if value, ok := a.variables[cubeName][name]; ok {
		return value, true
	}
	value, ok := a.variables[allCubes][name]
	return value, ok
}
