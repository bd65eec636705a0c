package sim

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The column headers every metadata file may have; see "Dimension Properties"
// in Oracle's Administering Planning.
const (
	columnParent    = "Parent"
	columnAlias     = "Alias: Default"
	columnStorage   = "Data Storage"
	columnOperation = "Operation"
)

var knownColumns = map[string]bool{
	columnParent: true, columnStorage: true, columnOperation: true,
	"Valid For Consolidations": true, "Two Pass Calculation": true, "Description": true,
	"Formula": true, "Formula Description": true, "UDA": true, "Smart List": true,
	"Data Type": true, "Hierarchy Type": true, "Enable for Dynamic Children": true,
	"Number of Possible Dynamic Children": true, "Access Granted to Member Creator": true,
	"Allow Upper Level Entity Input": true, "Process Management Enabled": true,
	"Account Type": true, "Time Balance": true, "Skip Value": true, "Exchange Rate Type": true,
	"Use 445": true, "Variance Reporting": true, "Source Plan Type": true, "Base Currency": true,
	"Start Period": true, "End Period": true, "Start Yr.": true, "End Yr.": true,
	"BegBal as Time Period": true, "Start Period is BegBal": true, "Enabled for Process Management": true,
	"Solve Order": true, "Hidden": true, "Entity Currency": true, "Fx Name": true,
}

// cubeColumn matches headers given per cube, as in Data Storage (Plan1).
var cubeColumn = regexp.MustCompile(`^(Plan Type|Aggregation|Data Storage|Formula|Formula Description|Solve Order) \((.+)\)$`)

// knownColumn tells whether a metadata file of d may have the header.
func (a *application) knownColumn(d *dimension, header string) bool {
	if match := cubeColumn.FindStringSubmatch(header); match != nil {
		return a.cube(match[2]) != nil
	}
	return header == d.name || knownColumns[header] || strings.HasPrefix(header, "Alias: ") ||
		slices.Contains(d.attributes, header)
}

const maxNameRunes = 80

// badFirst may not begin a member name, badAnywhere not be in it; the rules of
// Essbase, with brackets among the latter because Planning takes a name with
// them for a function.
const (
	badFirst    = "@\\,-=<.'_|{}+"
	badAnywhere = "\"[]()\t\n\r/"
)

func checkMemberName(name string) error {
	switch {
	case name == "":
		return refusef("The member name is missing")
	case !utf8.ValidString(name):
		return refusef("The member name %q is not valid UTF-8", name)
	case utf8.RuneCountInString(name) > maxNameRunes:
		return refusef("The member name %q is longer than %d characters", name, maxNameRunes)
	case strings.ContainsAny(name[:1], badFirst), strings.ContainsAny(name, badAnywhere):
		return refusef("The member name %q is invalid: it contains a character that is not allowed", name)
	}
	return nil
}

// storages maps the data storage of metadata files to that of the member API.
var storages = map[string]string{
	"":                       "STOREDATA",
	"store":                  "STOREDATA",
	"never share":            "NEVERSHARE",
	"dynamic calc":           "DYNAMICCALC",
	"dynamic calc and store": "DYNAMICCALCANDSTORE",
	"label only":             "LABELONLY",
	"shared":                 "SHAREDMEMBER",
}

func validStorage(s string) bool {
	_, ok := storages[strings.ToLower(s)]
	return ok
}

// outlineLoad applies the records of one metadata file to a dimension.
type outlineLoad struct {
	app    *application
	dim    *dimension
	header []string
	seen   map[string]bool // members the file has named
}

// newOutlineLoad checks the header. It wants the application's lock held, as
// does apply.
func newOutlineLoad(a *application, d *dimension, header []string) (*outlineLoad, error) {
	var unknown []string
	for _, name := range header {
		if !a.knownColumn(d, name) {
			unknown = append(unknown, fmt.Sprintf("%q", name))
		}
	}
	if len(unknown) > 0 {
		return nil, refusef("Unrecognized column header value(s) were specified for the %q dimension: %s",
			d.name, strings.Join(unknown, ", "))
	}
	if !slices.Contains(header, d.name) {
		return nil, refusef("The header record does not name the dimension %q", d.name)
	}
	return &outlineLoad{app: a, dim: d, header: header, seen: map[string]bool{}}, nil
}

// apply adds, changes or deletes the member of one record. An error is why the
// record is rejected; the dimension is then as before.
func (l *outlineLoad) apply(record []string) error {
	if len(record) > len(l.header) {
		return refusef("The record has %d fields, the header only %d", len(record), len(l.header))
	}
	fields := make(map[string]string, len(record))
	for i, value := range record {
		fields[l.header[i]] = value
	}
	name := fields[l.dim.name]
	if err := checkMemberName(name); err != nil {
		return err
	}
	if d := l.app.owner[name]; d != nil && d != l.dim {
		return refusef("The member name %q already exists in the dimension %q", name, d.name)
	}
	if !validStorage(fields[columnStorage]) {
		return refusef("Invalid Data Storage %q for member %q", fields[columnStorage], name)
	}
	if operation := strings.ToLower(fields[columnOperation]); operation != "" && operation != "update" {
		return l.remove(name, operation)
	}
	parent, err := l.parentFor(name, fields[columnParent])
	if err != nil {
		return err
	}
	if strings.EqualFold(fields[columnStorage], "shared") {
		return l.share(name, parent)
	}
	if l.seen[name] {
		return refusef("The member %q is specified more than once", name)
	}
	return l.update(name, parent, fields)
}

// parentFor returns the parent a record asks for: the named one, else the one
// the member has, else the dimension.
func (l *outlineLoad) parentFor(name, parentName string) (*member, error) {
	existing := l.dim.members[name]
	if parentName == "" {
		if existing != nil && existing.parent != nil {
			return existing.parent, nil
		}
		return l.dim.root, nil
	}
	parent := l.dim.members[parentName]
	switch {
	case parent == nil:
		return nil, refusef("Unable to fetch/create parent member %q of member %q", parentName, name)
	case existing == l.dim.root:
		return nil, refusef("The dimension %q cannot have a parent", name)
	case existing != nil && parent.below(existing):
		return nil, refusef("The member %q cannot be moved below itself", name)
	}
	return parent, nil
}

func (l *outlineLoad) update(name string, parent *member, fields map[string]string) error {
	l.seen[name] = true
	m := l.dim.members[name]
	if m == nil {
		m = l.app.newMember(l.dim, name, parent)
	} else if m.parent != parent && m != l.dim.root {
		m.detach()
		m.attach(parent)
	}
	for header, value := range fields {
		m.setProperty(l.dim.name, header, value)
	}
	if !m.takesDynamicChildren() {
		m.dynamicReady = false
	}
	return nil
}

// setProperty takes the value of one column; an empty one leaves the member as
// it is, <none> takes an alias away.
func (m *member) setProperty(dimensionName, header, value string) {
	if value == "" {
		return
	}
	switch header {
	case dimensionName, columnParent, columnOperation:
	case columnAlias:
		m.alias = strings.TrimPrefix(value, "<none>")
	case columnStorage:
		m.storage = strings.ToLower(value)
	default:
		m.properties[header] = value
	}
}

func (l *outlineLoad) share(name string, parent *member) error {
	base := l.dim.members[name]
	place := sharedMember{name: name, parent: parent.name}
	switch {
	case base == nil || base == l.dim.root:
		return refusef("The base member of the shared member %q does not exist", name)
	case base.parent == parent:
		return refusef("The shared member %q has the parent of its base member", name)
	case !slices.Contains(l.dim.shared, place):
		l.dim.shared = append(l.dim.shared, place)
	}
	return nil
}

func (l *outlineLoad) remove(name, operation string) error {
	m := l.dim.members[name]
	if m == nil || m == l.dim.root {
		return refusef("The member %q cannot be deleted: it does not exist", name)
	}
	switch operation {
	case "delete level 0":
		if len(m.children) > 0 {
			return refusef("The member %q cannot be deleted: it is not of level 0", name)
		}
		l.app.removeTree(l.dim, m)
	case "delete idescendants":
		l.app.removeTree(l.dim, m)
	case "delete descendants":
		for len(m.children) > 0 {
			l.app.removeTree(l.dim, m.children[len(m.children)-1])
		}
	default:
		return refusef("Invalid Operation %q for member %q", operation, name)
	}
	return nil
}

// outlineRecords returns a dimension as the records of a metadata file, header
// first, parents before their children.
func outlineRecords(d *dimension) (header []string, records [][]string) {
	properties := map[string]bool{}
	d.root.walk(func(m *member, _ int) {
		for name := range m.properties {
			properties[name] = true
		}
	})
	names := make([]string, 0, len(properties))
	for name := range properties {
		names = append(names, name)
	}
	slices.Sort(names)
	header = append([]string{d.name, columnParent, columnAlias, columnStorage}, names...)
	d.root.walk(func(m *member, level int) {
		if level == 0 {
			return
		}
		storage := m.storage
		if storage == "" {
			storage = "store"
		}
		record := []string{m.name, m.parent.name, m.alias, storage}
		for _, name := range names {
			record = append(record, m.properties[name])
		}
		records = append(records, record)
	})
	for _, s := range d.shared {
		record := make([]string, len(header))
		copy(record, []string{s.name, s.parent, "", "shared"})
		records = append(records, record)
	}
	return header, records
}
