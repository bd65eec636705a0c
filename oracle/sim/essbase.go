package sim

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"
)

// loadEssbase reads lines of member names, quoted where they hold blanks, with
// the value at the end. Each line names a member of every dimension.
func (im *dataImport) loadEssbase(r io.Reader, name string, rejected *rejects, part *jobPart) error {
	c := im.app.cube(im.cube)
	if c == nil {
		return refusef("Cannot find cube with name %q", im.cube)
	}
	rejected.begin(strings.TrimSuffix(path.Base(name), path.Ext(name))+"_errors.csv", []string{"Record"})
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxRecordBytes)
	for row := 1; lines.Scan(); row++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		part.read++
		err := im.app.storeEssbase(c, essbaseFields(line))
		if err == nil {
			continue
		}
		part.rejected++
		reason := fmt.Sprintf("Row %d: %v", row, err)
		part.log(messageError, reason)
		rejected.add([]string{line}, reason)
		if im.stop {
			return refusef("The data load stopped at the first error. %s", reason)
		}
	}
	if err := lines.Err(); err != nil {
		return refusef("Unable to read %s: %v.", name, err)
	}
	return nil
}

// essbaseFields splits a line at blanks outside double quotes.
func essbaseFields(line string) []string {
	var fields []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		if rest, quoted := strings.CutPrefix(line, `"`); quoted {
			field, after, _ := strings.Cut(rest, `"`)
			fields, line = append(fields, field), after
			continue
		}
		end := strings.IndexAny(line, " \t")
		if end < 0 {
			end = len(line)
		}
		fields, line = append(fields, line[:end]), line[end:]
	}
	return fields
}

func (a *application) storeEssbase(c *cube, fields []string) error {
	if len(fields) == 0 {
		return refusef("The record is empty")
	}
	names := map[*dimension]string{}
	for _, name := range fields[:len(fields)-1] {
		d, m := a.member(name)
		if m == nil || !c.has(d) || names[d] != "" {
			return refusef("Unknown member or second member of a dimension: %q", name)
		}
		names[d] = name
	}
	if len(names) != len(c.dimensions) {
		return refusef("The record names %d of %d dimensions", len(names), len(c.dimensions))
	}
	return c.store(c.key(names), fields[len(fields)-1])
}
