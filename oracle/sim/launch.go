package sim

import (
	"archive/zip"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// jobType is a type of Planning job that can be started.
type jobType struct {
	code  string // as job definitions name it
	title string // the other accepted spelling
	// label says that jobName may be any text; otherwise it must be the name
	// of a saved definition.
	label   bool
	prepare func(l *launch) plan
}

// jobTypes are the types the simulator runs. Both spellings are accepted, and
// case matters.
var jobTypes = []jobType{
	{code: "IMPORT_METADATA", title: "Import Metadata", prepare: prepareImportMetadata},
	{code: "EXPORT_METADATA", title: "Export Metadata", prepare: prepareExportMetadata},
	{code: "IMPORT_DATA", title: "Import Data", label: true, prepare: prepareImportData},
	{code: "EXPORT_DATA", title: "Export Data", label: true, prepare: prepareExportData},
	{code: "CUBE_REFRESH", title: "Cube Refresh", prepare: prepareCubeRefresh},
	{code: "RULES", title: "Rules", prepare: prepareRule},
	{code: "RULESET", title: "Ruleset", prepare: prepareRule},
	{code: "CLEAR_CUBE", title: "Clear Cube", prepare: prepareClearCube},
}

func findJobType(name string) *jobType {
	i := slices.IndexFunc(jobTypes, func(t jobType) bool { return t.code == name || t.title == name })
	if i < 0 {
		return nil
	}
	return &jobTypes[i]
}

// plan is a job ready to be started.
type plan struct {
	takes     time.Duration // simulated
	exclusive bool          // not beside another exclusive job of the application
	work      func() outcome
}

// How long jobs take in simulated time where the definition does not say.
const (
	metadataTakes = 8 * time.Second
	dataTakes     = 6 * time.Second
	exportTakes   = 5 * time.Second
	refreshTakes  = 8 * time.Second
	ruleTakes     = 6 * time.Second
	clearTakes    = 4 * time.Second
	// bytesPerSecond is how fast imports read, longestRead the most it adds.
	bytesPerSecond = 250_000
	longestRead    = 10 * time.Minute
)

// launch is a job being prepared: its definition and the parameters that
// override it. The first parameter of a wrong type or value is kept as err.
type launch struct {
	env        *environment
	app        *application
	def        definition
	name       string
	parameters object
	err        error
}

func (l *launch) complain(format string, args ...any) {
	if l.err == nil {
		l.err = refusef(format, args...)
	}
}

// text returns a parameter, or fallback when it was not given.
func (l *launch) text(name, fallback string) string {
	value, given := l.parameters[name]
	if !given || value == nil {
		return fallback
	}
	text, ok := scalarText(value)
	if !ok {
		l.complain("The value of the parameter %s is not a string.", name)
	}
	return text
}

// truth returns a boolean parameter, which may come as text.
func (l *launch) truth(name string, fallback bool) bool {
	text := l.text(name, strconv.FormatBool(fallback))
	value, err := strconv.ParseBool(text)
	if err != nil {
		l.complain("The value %q of the parameter %s is not true or false.", text, name)
	}
	return value
}

// oneOf returns a parameter that has few values.
func (l *launch) oneOf(name, fallback string, allowed ...string) string {
	text := l.text(name, fallback)
	if text != fallback && !slices.Contains(allowed, text) {
		l.complain("The value %q of the parameter %s is not one of %s.", text, name, strings.Join(allowed, ", "))
	}
	return text
}

// takes returns what the definition says, else usual and the time to read.
func (l *launch) takes(usual time.Duration, inputBytes int64) time.Duration {
	if l.def.Seconds > 0 {
		return time.Duration(l.def.Seconds * float64(time.Second))
	}
	read := float64(inputBytes) / bytesPerSecond * float64(time.Second)
	return usual + time.Duration(math.Min(read, float64(longestRead)))
}

// inputBytes is how much an import will read: the unpacked size of an archive,
// the size of another file, 0 when there is none.
func (e *environment) inputBytes(name string) int64 {
	f, ok := e.repo.get(name)
	if !ok {
		return 0
	}
	archive, err := openArchive(f.blob)
	if err != nil {
		return f.blob.size
	}
	defer archive.close()
	var total uint64
	for _, entry := range archive.File {
		total += entry.UncompressedSize64
	}
	return int64(min(total, math.MaxInt64>>1))
}

// openedArchive is a ZIP in the repository, open for reading.
type openedArchive struct {
	*zip.Reader
	source blobReader
}

func openArchive(content *blob) (*openedArchive, error) {
	source, err := content.open()
	if err != nil {
		return nil, err
	}
	archive, err := zip.NewReader(source, content.size)
	if err != nil {
		_ = source.Close() // it was only read
		return nil, err
	}
	return &openedArchive{Reader: archive, source: source}, nil
}

// close releases the file; it was only read, so an error says nothing.
func (a *openedArchive) close() { _ = a.source.Close() }

// openInput opens an archive that a job reads from the root of the repository.
func (e *environment) openInput(name string) (*openedArchive, error) {
	f, ok := e.repo.get(name)
	if !ok || f.kind != kindFile {
		return nil, refusef("File %s does not exist.", name)
	}
	archive, err := openArchive(f.blob)
	if err != nil {
		return nil, refusef("File %s is not a valid ZIP file.", name)
	}
	return archive, nil
}

// invalidParameter is how a job ends that was started with a parameter whose
// value turns out to name nothing.
func invalidParameter(err error) outcome {
	return outcome{status: statusInvalidParameter, details: err.Error()}
}

// savedAs says that content, if there was no error, is in the repository.
func (e *environment) save(name string, content *blob, err error) error {
	if err != nil {
		return fmt.Errorf("Unable to write %s: %w", name, err) //nolint:staticcheck // ST1005: shown as the job's details
	}
	e.repo.put(name, kindFile, content)
	return nil
}
