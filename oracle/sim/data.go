package sim

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	columnPOV  = "Point-of-View"
	columnCube = "Data Load Cube Name"
	missing    = "#missing"
	// cellSeparator stands between the member names of a cell's key.
	cellSeparator = "\x1f"
	// maxCells bounds the cells of a cube, which are all in memory.
	maxCells = 2_000_000
)

// key returns the key of a cell: its members in the order of the cube's
// dimensions. names has one member for each dimension.
func (c *cube) key(names map[*dimension]string) string {
	parts := make([]string, len(c.dimensions))
	for i, d := range c.dimensions {
		parts[i] = names[d]
	}
	return strings.Join(parts, cellSeparator)
}

// names is the reverse of key.
func (c *cube) names(key string) map[*dimension]string {
	names := make(map[*dimension]string, len(c.dimensions))
	for i, name := range strings.Split(key, cellSeparator) {
		names[c.dimensions[i]] = name
	}
	return names
}

// selected tells whether the cell lies in set; a dimension that set does not
// name is not restricted.
func (c *cube) selected(key string, set memberSet) bool {
	for d, name := range c.names(key) {
		if allowed := set[d]; allowed != nil && !allowed[name] {
			return false
		}
	}
	return true
}

// store sets a cell; #missing removes it.
func (c *cube) store(key, value string) error {
	if strings.EqualFold(value, missing) {
		delete(c.cells, key)
		return nil
	}
	if !isNumber(value) {
		return refusef("The value %q is not a number.", value)
	}
	if _, exists := c.cells[key]; !exists && len(c.cells) >= maxCells {
		return refusef("The cube %s is full.", c.name)
	}
	c.cells[key] = value
	return nil
}

func isNumber(value string) bool {
	number, err := strconv.ParseFloat(value, 64)
	return err == nil && !math.IsNaN(number) && !math.IsInf(number, 0)
}

// dataLoad applies the records of one data file in Planning's format: a member
// of the load dimension, values for members of the driver dimension, and a
// point of view with one member of each remaining dimension.
type dataLoad struct {
	app       *application
	dimension *dimension // of the first column
	driver    *dimension
	header    []string
	pov, cube int // columns
}

// newDataLoad checks the header. It wants the application's lock held, as does
// apply.
func newDataLoad(a *application, t *table) (*dataLoad, error) {
	load := &dataLoad{app: a, header: t.header, pov: t.column(columnPOV), cube: t.column(columnCube)}
	if load.dimension = a.dimension(t.header[0]); load.dimension == nil {
		return nil, refusef("The first column header %q is not a dimension.", t.header[0])
	}
	if load.pov < 0 || load.cube < 0 {
		return nil, refusef("The header record needs the columns %q and %q.", columnPOV, columnCube)
	}
	var unknown []string
	for i := range t.header {
		if i == 0 || i == load.pov || i == load.cube {
			continue
		}
		d, m := a.member(t.header[i])
		if m == nil || d == load.dimension || load.driver != nil && d != load.driver {
			unknown = append(unknown, strconv.Quote(t.header[i]))
			continue
		}
		load.driver = d
	}
	if len(unknown) > 0 {
		return nil, refusef("Unrecognized column header value(s) were specified: %s", strings.Join(unknown, ", "))
	}
	if load.driver == nil {
		return nil, refusef("Unable to set temporary driver members: the header record names no members.")
	}
	return load, nil
}

// apply stores the values of one record, or none of them and says why.
func (l *dataLoad) apply(record []string) error {
	if len(record) != len(l.header) {
		return refusef("the record has %d fields, the header %d", len(record), len(l.header))
	}
	c := l.app.cube(record[l.cube])
	if c == nil {
		return refusef("Cannot find cube with name %q", record[l.cube])
	}
	names, err := l.pointOfView(c, record)
	if err != nil {
		return err
	}
	values := map[string]string{}
	for i, value := range record {
		if i == 0 || i == l.pov || i == l.cube || value == "" {
			continue
		}
		names[l.driver] = l.header[i]
		values[c.key(names)] = value
	}
	return c.storeAll(values)
}

// storeAll stores cells, and takes none when one of the values is wrong.
func (c *cube) storeAll(values map[string]string) error {
	for _, value := range values {
		if !isNumber(value) && !strings.EqualFold(value, missing) {
			return refusef("The value %q is not a number.", value)
		}
	}
	for key, value := range values {
		if err := c.store(key, value); err != nil {
			return err
		}
	}
	return nil
}

// pointOfView resolves the members of a record but that of the driver.
func (l *dataLoad) pointOfView(c *cube, record []string) (map[*dimension]string, error) {
	names := map[*dimension]string{}
	members := append([]string{record[0]}, strings.Split(record[l.pov], ",")...)
	for i, name := range members {
		name = strings.Trim(strings.TrimSpace(name), `"`)
		d, m := l.app.member(name)
		switch {
		case m == nil, i == 0 && d != l.dimension:
			return nil, refusef("The member %q does not exist in the application", name)
		case !c.has(d) || d == l.driver:
			return nil, refusef("The member %q of the dimension %q does not belong in the point of view of the cube %q", name, d.name, c.name)
		case names[d] != "":
			return nil, refusef("The point of view has two members of the dimension %q", d.name)
		}
		names[d] = name
	}
	for _, d := range c.dimensions {
		if names[d] == "" && d != l.driver {
			return nil, refusef("The point of view has no member of the dimension %q", d.name)
		}
	}
	if !c.has(l.driver) {
		return nil, refusef("The cube %q does not have the dimension %q", c.name, l.driver.name)
	}
	return names, nil
}

// seedData stores the lines of a data file when the application is built.
func (a *application) seedData(lines []string) error {
	t, err := newTable(strings.NewReader(strings.Join(lines, "\n")), ',')
	if err != nil {
		return err
	}
	load, err := newDataLoad(a, t)
	if err != nil {
		return err
	}
	var part jobPart
	if err := part.readAll(t, &rejects{}, load.apply); err != nil {
		return err
	}
	if part.rejected > 0 {
		return errors.New(part.messages[0].text)
	}
	return nil
}

// dataImport is a job of type Import Data.
type dataImport struct {
	env       *environment
	app       *application
	file      string // in the root of the repository
	errorFile string
	delimiter rune
	essbase   bool
	cube      string // for Essbase files
	stop      bool   // at the first rejected record of an Essbase file
}

func prepareImportData(l *launch) plan {
	im := &dataImport{
		env: l.env, app: l.app,
		file:      l.text("importFileName", l.def.File),
		errorFile: l.text("errorFile", ""),
		cube:      l.text("cube", l.def.Cube),
		delimiter: delimiterRune(l.text("delimiter", l.def.Delimiter)),
		essbase:   l.oneOf("sourceType", l.def.Source, "Planning", "Essbase") == "Essbase",
		stop:      l.truth("stopOnError", false),
	}
	l.oneOf("dateFormat", "", "MM-DD-YYYY", "DD-MM-YYYY", "YYYY-MM-DD")
	l.truth("includeMetaData", false)
	if l.def.Name == "" && (im.file == "" || l.text("sourceType", "") == "") {
		l.complain("Required job parameter is missing : importFileName, sourceType")
	}
	if l.def.Name == "" && im.essbase && im.cube == "" {
		l.complain("Required job parameter is missing : cube")
	}
	return plan{takes: l.takes(dataTakes, l.env.inputBytes(im.file)), work: im.run}
}

func (im *dataImport) run() outcome {
	part := jobPart{loadType: "Data Import"}
	rejected := &rejects{name: im.errorFile, store: im.env.blobs}
	err := im.loadFiles(rejected, &part)
	if saveErr := rejected.save(im.env.repo); err == nil {
		err = saveErr
	}
	if err != nil {
		part.failure = err.Error()
		part.log(messageError, part.failure)
		return outcome{status: statusError, details: part.failure, parts: []jobPart{part}}
	}
	part.log(messageInfo, fmt.Sprintf("%d data records were read, %d were accepted for loading, %d were rejected.",
		part.read, part.read-part.rejected, part.rejected))
	return im.env.importOutcome("Data import", []jobPart{part}, im.errorFile)
}

// loadFiles reads the file itself, or every file of an archive by name: the
// names of several carry their sequence, as in data1-3.csv.
func (im *dataImport) loadFiles(rejected *rejects, part *jobPart) error {
	f, ok := im.env.repo.get(im.file)
	if !ok || f.kind != kindFile {
		return refusef("File %s does not exist.", im.file)
	}
	if !strings.EqualFold(path.Ext(im.file), ".zip") {
		content, err := f.blob.open()
		if err != nil {
			return refusef("File %s does not exist.", im.file)
		}
		defer func() { _ = content.Close() }() // only read
		return im.load(content, im.file, rejected, part)
	}
	archive, err := im.env.openInput(im.file)
	if err != nil {
		return err
	}
	defer archive.close()
	extension := ".csv"
	if im.essbase {
		extension = ".txt"
	}
	entries := archive.File[:0:0]
	for _, entry := range archive.File {
		if strings.EqualFold(path.Ext(entry.Name), extension) {
			entries = append(entries, entry)
		}
	}
	if len(entries) == 0 {
		return refusef("The ZIP file %s contains no %s file.", im.file, extension)
	}
	slices.SortFunc(entries, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	for _, entry := range entries {
		content, err := openEntry(entry)
		if err != nil {
			return refusef("Unable to read %s in %s: %v.", entry.Name, im.file, err)
		}
		err = im.load(content, entry.Name, rejected, part)
		_ = content.Close() // only read
		if err != nil {
			return err
		}
	}
	return nil
}

func (im *dataImport) load(r io.Reader, name string, rejected *rejects, part *jobPart) error {
	im.app.mu.Lock()
	defer im.app.mu.Unlock()
	if im.essbase {
		return im.loadEssbase(r, name, rejected, part)
	}
	records, err := newTable(r, im.delimiter)
	if err != nil {
		return refusef("Input file %q %v", name, err)
	}
	load, err := newDataLoad(im.app, records)
	if err != nil {
		return err
	}
	part.dimension = load.dimension.name
	rejected.begin(strings.TrimSuffix(path.Base(name), path.Ext(name))+"_errors.csv", records.header)
	if err := part.readAll(records, rejected, load.apply); err != nil {
		return refusef("Unable to read %s: %v.", name, err)
	}
	return nil
}
