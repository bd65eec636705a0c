package sim

import (
	"archive/zip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// metadataImport is a job of type Import Metadata.
type metadataImport struct {
	env       *environment
	app       *application
	def       definition
	archive   string // in the root of the repository
	errorFile string
	refresh   bool
}

func prepareImportMetadata(l *launch) plan {
	im := &metadataImport{
		env: l.env, app: l.app, def: l.def,
		archive:   l.text("importZipFileName", l.def.File),
		errorFile: l.text("errorFile", ""),
		refresh:   l.truth("refreshCube", l.def.RefreshCube),
	}
	takes := l.takes(metadataTakes, l.env.inputBytes(im.archive))
	if im.refresh {
		takes += refreshTakes
	}
	return plan{takes: takes, exclusive: true, work: im.run}
}

func (im *metadataImport) run() outcome {
	archive, err := im.env.openInput(im.archive)
	if err != nil {
		return failed(err)
	}
	defer archive.close()
	rejected := &rejects{name: im.errorFile, store: im.env.blobs}
	var parts []jobPart
	for _, d := range im.app.dimensionsOf(im.def.Files) {
		parts = append(parts, im.load(archive.Reader, d, rejected))
	}
	if err := rejected.save(im.env.repo); err != nil {
		return outcome{status: statusError, details: err.Error(), parts: parts}
	}
	result := im.env.importOutcome("Metadata import", parts, im.errorFile)
	if im.refresh && result.status == statusSuccess {
		im.app.refreshCubes()
	}
	return result
}

// dimensionsOf returns the dimensions that files has an entry for, in the order
// of the application.
func (a *application) dimensionsOf(files map[string]string) []*dimension {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var dimensions []*dimension
	for _, d := range a.dimensions {
		if files[d.name] != "" {
			dimensions = append(dimensions, d)
		}
	}
	return dimensions
}

// load imports one dimension; it is one child job.
func (im *metadataImport) load(archive *zip.Reader, d *dimension, rejected *rejects) jobPart {
	part := jobPart{childID: im.env.console.newChildID(), dimension: d.name, loadType: "Metadata Import"}
	if err := im.loadFile(archive, d, rejected, &part); err != nil {
		part.failure = err.Error()
		part.log(messageError, part.failure)
	}
	part.log(messageInfo, fmt.Sprintf("%d records were read, %d records were processed, %d records were rejected.",
		part.read, part.read-part.rejected, part.rejected))
	return part
}

// entryFor finds the file of a dimension: named as in the definition, or ending
// in _<dimension>.csv.
func entryFor(archive *zip.Reader, fileName, dimensionName string) *zip.File {
	for _, f := range archive.File {
		if f.Name == fileName || strings.HasSuffix(f.Name, "_"+dimensionName+".csv") {
			return f
		}
	}
	return nil
}

func (im *metadataImport) loadFile(archive *zip.Reader, d *dimension, rejected *rejects, part *jobPart) error {
	fileName := im.def.Files[d.name]
	entry := entryFor(archive, fileName, d.name)
	if entry == nil {
		return refusef("File %s does not exist in %s; neither does a file whose name ends in _%s.csv.", fileName, im.archive, d.name)
	}
	content, err := openEntry(entry)
	if err != nil {
		return refusef("Unable to read %s in %s: %v.", entry.Name, im.archive, err)
	}
	defer func() { _ = content.Close() }() // only read
	records, err := newTable(content, delimiterRune(im.def.Delimiter))
	if err != nil {
		return refusef("Input file %q %v", entry.Name, err)
	}
	im.app.mu.Lock()
	defer im.app.mu.Unlock()
	load, err := newOutlineLoad(im.app, d, records.header)
	if err != nil {
		return err
	}
	rejected.begin(d.name+"_errors.csv", records.header)
	if err := part.readAll(records, rejected, load.apply); err != nil {
		return refusef("Unable to read %s in %s: %v.", entry.Name, im.archive, err)
	}
	return nil
}

// readAll gives every record to apply, counts, and keeps the refused ones with
// their reasons. It stops at an error of the file itself.
func (p *jobPart) readAll(records *table, rejected *rejects, apply func(record []string) error) error {
	for {
		record, row, err := records.next()
		var malformed *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &malformed):
			err = refusef("The record is not well formed: %v", malformed.Err)
		case err != nil:
			return err
		default:
			err = apply(record)
		}
		p.read++
		if err != nil {
			p.rejected++
			reason := fmt.Sprintf("Row %d: %v", row, err)
			p.log(messageError, reason)
			rejected.add(record, reason)
		}
	}
}

// importOutcome says how an import ended: in error when a part failed, with
// errors when records were rejected.
func (e *environment) importOutcome(what string, parts []jobPart, errorFile string) outcome {
	read, rejected := 0, 0
	for _, part := range parts {
		if part.failure != "" {
			return outcome{status: statusError, details: "One or more child jobs have failed: " + part.failure, parts: parts}
		}
		read += part.read
		rejected += part.rejected
	}
	if rejected == 0 {
		return outcome{details: what + " was successful", parts: parts}
	}
	details := fmt.Sprintf("%s finished with errors: %d of %d records were rejected.", what, rejected, read)
	if errorFile != "" {
		details += " See " + errorFile + " in the outbox."
	}
	return outcome{status: e.cfg.RejectStatus, description: completedWithErrors, details: details, parts: parts}
}

// prepareExportMetadata writes one CSV file per dimension of the definition, in
// the form that Import Metadata reads.
func prepareExportMetadata(l *launch) plan {
	name := l.text("exportZipFileName", l.def.Name+".zip")
	app, env, def := l.app, l.env, l.def
	return plan{takes: l.takes(exportTakes, 0), work: func() outcome {
		archive := newArchiveWriter(env.blobs)
		var parts []jobPart
		for _, dimensionName := range def.Dimensions {
			part := jobPart{childID: env.console.newChildID(), dimension: dimensionName, loadType: "Metadata Export"}
			count, err := app.exportDimension(archive, def.Name, dimensionName)
			if err != nil {
				archive.spool.discard()
				return failed(err)
			}
			part.read = count
			part.log(messageInfo, fmt.Sprintf("%d records were exported.", count))
			parts = append(parts, part)
		}
		content, err := archive.finish()
		if err := env.save(name, content, err); err != nil {
			return failed(err)
		}
		return outcome{details: "Metadata export was successful", parts: parts}
	}}
}

func (a *application) exportDimension(archive *archiveWriter, jobName, dimensionName string) (int, error) {
	a.mu.RLock()
	header, records := outlineRecords(a.dimension(dimensionName))
	a.mu.RUnlock()
	if err := archive.begin(jobName+"_"+dimensionName+".csv", header, ','); err != nil {
		return 0, err
	}
	for _, record := range records {
		if err := archive.add(record); err != nil {
			return 0, err
		}
	}
	return len(records), nil
}
