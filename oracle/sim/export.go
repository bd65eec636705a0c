package sim

import (
	"fmt"
	"slices"
	"strings"
)

// dataExport is a job of type Export Data.
type dataExport struct {
	env       *environment
	app       *application
	jobName   string
	file      string
	cube      string
	selection [3]string // rows, columns, point of view
	delimiter rune
	missing   string
}

func prepareExportData(l *launch) plan {
	x := &dataExport{
		env: l.env, app: l.app, jobName: l.name,
		file: l.text("exportFileName", l.name+".zip"),
		cube: l.text("cube", l.def.Cube),
		selection: [3]string{
			l.text("rowMembers", l.def.Rows), l.text("columnMembers", l.def.Columns), l.text("povMembers", l.def.POV),
		},
		delimiter: delimiterRune(l.oneOf("delimiter", l.def.Delimiter, "comma", "tab")),
		missing:   l.text("customMissingValue", missing),
	}
	l.oneOf("exportSmartListAs", "", "label", "name")
	l.truth("includeDynamicMembers", false)
	for i, name := range []string{"rowMembers", "columnMembers", "povMembers"} {
		if x.selection[i] == "" {
			l.complain("Required job parameter is missing : %s", name)
		}
	}
	if x.cube == "" {
		l.complain("Required job parameter is missing : cube")
	}
	return plan{takes: l.takes(exportTakes, 0), work: x.run}
}

func (x *dataExport) run() outcome {
	header, records, dimensionName, err := x.collect()
	if err != nil {
		return invalidParameter(err)
	}
	archive := newArchiveWriter(x.env.blobs)
	err = archive.begin(x.jobName+".csv", header, x.delimiter)
	for i := 0; err == nil && i < len(records); i++ {
		err = archive.add(records[i])
	}
	if err != nil {
		archive.spool.discard()
		return failed(err)
	}
	content, err := archive.finish()
	if err := x.env.save(x.file, content, err); err != nil {
		return failed(err)
	}
	part := jobPart{dimension: dimensionName, loadType: "Data Export", read: len(records)}
	part.log(messageInfo, fmt.Sprintf("%d data records were exported.", len(records)))
	return outcome{details: "Data export was successful", parts: []jobPart{part}}
}

// collect returns the selected cells in the form Import Data reads.
func (x *dataExport) collect() (header []string, records [][]string, dimensionName string, err error) {
	x.app.mu.RLock()
	defer x.app.mu.RUnlock()
	c := x.app.cube(x.cube)
	if c == nil {
		return nil, nil, "", refusef("The cube %s does not exist.", x.cube)
	}
	var axes [3]memberSet
	all := memberSet{}
	for i, selection := range x.selection {
		if axes[i], err = x.app.expand(c, selection); err != nil {
			return nil, nil, "", err
		}
		for d, members := range axes[i] {
			if all[d] != nil {
				return nil, nil, "", refusef("The dimension %s is selected on two axes.", d.name)
			}
			all[d] = members
		}
	}
	for _, d := range c.dimensions {
		if all[d] == nil {
			return nil, nil, "", refusef("No members are selected for the dimension %s.", d.name)
		}
	}
	if len(axes[1]) != 1 {
		return nil, nil, "", refusef("The columns must be members of one dimension.")
	}
	load := firstOf(c, axes[0])
	header, records = c.grid(all, load, firstOf(c, axes[1]), x.missing)
	return header, records, load.name, nil
}

// firstOf returns the first of the cube's dimensions that set has members of.
func firstOf(c *cube, set memberSet) *dimension {
	i := slices.IndexFunc(c.dimensions, func(d *dimension) bool { return set[d] != nil })
	return c.dimensions[i]
}

// grid lays out the stored cells of set: one record for each member of load and
// point of view, one column for each member of driver.
func (c *cube) grid(set memberSet, load, driver *dimension, missingText string) (header []string, records [][]string) {
	columns := []string{}
	driver.root.walk(func(m *member, _ int) {
		if set[driver][m.name] {
			columns = append(columns, m.name)
		}
	})
	header = append(append([]string{load.name}, columns...), columnPOV, columnCube)
	rows := map[[2]string]map[string]string{}
	for key, value := range c.cells {
		if !c.selected(key, set) {
			continue
		}
		names := c.names(key)
		row := [2]string{names[load], c.povText(names, load, driver)}
		if rows[row] == nil {
			rows[row] = map[string]string{}
		}
		rows[row][names[driver]] = value
	}
	for row, values := range rows {
		record := []string{row[0]}
		for _, column := range columns {
			value, ok := values[column]
			if !ok {
				value = missingText
			}
			record = append(record, value)
		}
		records = append(records, append(record, row[1], c.name))
	}
	slices.SortFunc(records, slices.Compare)
	return header, records
}

func (c *cube) povText(names map[*dimension]string, load, driver *dimension) string {
	var pov []string
	for _, d := range c.dimensions {
		if d != load && d != driver {
			pov = append(pov, names[d])
		}
	}
	return strings.Join(pov, ",")
}
