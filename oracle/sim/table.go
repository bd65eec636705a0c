package sim

import (
	"archive/zip"
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	// maxEntryBytes bounds one unpacked file of an import archive.
	maxEntryBytes = 4 << 30
	// maxRecordBytes bounds one record, so that a quote that is never closed
	// does not pull a whole file into memory.
	maxRecordBytes = 4 << 20
)

var errRecordTooLong = errors.New("a record is too long: is a quote not closed?")

// table reads a delimited file with a header record.
type table struct {
	header []string
	reader *csv.Reader
	source *boundedReader
}

// newTable reads the header. A file without one is an error.
func newTable(r io.Reader, delimiter rune) (*table, error) {
	buffered := bufio.NewReader(r)
	if mark, err := buffered.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = buffered.Discard(3) // what was peeked is there
	}
	source := &boundedReader{r: buffered, limit: maxRecordBytes}
	reader := csv.NewReader(source)
	reader.Comma = delimiter
	reader.FieldsPerRecord = -1
	reader.TrimLeadingSpace = true
	t := &table{reader: reader, source: source}
	record, _, err := t.next()
	if err != nil {
		return nil, fmt.Errorf("does not contain a header record: %w", err)
	}
	t.header = record
	return t, nil
}

// next returns a record and the line it begins at; the header is line 1 in a
// file that begins with it. A record that is not well formed comes with a
// *csv.ParseError, and reading can go on; io.EOF and other errors are final.
func (t *table) next() (record []string, row int, err error) {
	t.source.limit = t.reader.InputOffset() + maxRecordBytes
	record, err = t.reader.Read()
	var malformed *csv.ParseError
	switch {
	case errors.As(err, &malformed):
		return record, malformed.StartLine, err
	case err != nil:
		return nil, 0, err
	}
	for i, field := range record {
		record[i] = strings.TrimSpace(field)
	}
	row, _ = t.reader.FieldPos(0)
	return record, row, nil
}

// column returns where the header named name is, or -1. Headers are case
// sensitive.
func (t *table) column(name string) int {
	for i, header := range t.header {
		if header == name {
			return i
		}
	}
	return -1
}

// boundedReader fails once more than limit bytes have been read.
type boundedReader struct {
	r     io.Reader
	read  int64
	limit int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.read > b.limit {
		return 0, errRecordTooLong
	}
	n, err := b.r.Read(p)
	b.read += int64(n)
	return n, err
}

// delimiterRune reads the delimiter of a job: comma, tab, or the character.
func delimiterRune(name string) rune {
	switch strings.ToLower(name) {
	case "", "comma":
		return ','
	case "tab":
		return '\t'
	case "semicolon":
		return ';'
	case "pipe":
		return '|'
	}
	r := []rune(name)[0]
	if r == '"' || r == '\n' || r == '\r' {
		return ','
	}
	return r
}

// openEntry opens a file of an archive, bounded.
func openEntry(f *zip.File) (io.ReadCloser, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r, maxEntryBytes), r}, nil
}

// archiveWriter builds a ZIP of delimited files in the repository.
type archiveWriter struct {
	spool   *spool
	archive *zip.Writer
	current *csv.Writer
	entries int
}

func newArchiveWriter(store *blobStore) *archiveWriter {
	s := store.newSpool()
	return &archiveWriter{spool: s, archive: zip.NewWriter(s)}
}

// begin starts the next file with a header.
func (a *archiveWriter) begin(name string, header []string, delimiter rune) error {
	if err := a.flush(); err != nil {
		return err
	}
	entry, err := a.archive.Create(name)
	if err != nil {
		return err
	}
	a.entries++
	a.current = csv.NewWriter(entry)
	a.current.Comma = delimiter
	return a.current.Write(header)
}

// add appends a record to the current file.
func (a *archiveWriter) add(record []string) error { return a.current.Write(record) }

func (a *archiveWriter) flush() error {
	if a.current == nil {
		return nil
	}
	a.current.Flush()
	return a.current.Error()
}

// finish closes the archive and returns it.
func (a *archiveWriter) finish() (*blob, error) {
	err := a.flush()
	if err == nil {
		err = a.archive.Close()
	}
	if err != nil {
		a.spool.discard()
		return nil, err
	}
	return a.spool.finish(), nil
}

// rejects collects the records an import refused, in one file per dimension,
// with the reason as a last column. Without a name it keeps nothing.
type rejects struct {
	name    string
	store   *blobStore
	archive *archiveWriter
	entry   string
	header  []string
	started bool
	err     error
}

// begin names the file and header that following records belong to. The file
// is made with the first of them.
func (x *rejects) begin(entry string, header []string) {
	x.entry, x.header, x.started = entry, append(slices.Clone(header), "Error Message"), false
}

func (x *rejects) add(record []string, reason string) {
	if x.name == "" || x.err != nil {
		return
	}
	if x.archive == nil {
		x.archive = newArchiveWriter(x.store)
	}
	if !x.started {
		x.started = true
		x.err = x.archive.begin(x.entry, x.header, ',')
	}
	for len(record) < len(x.header)-1 {
		record = append(record, "")
	}
	if x.err == nil {
		x.err = x.archive.add(append(slices.Clone(record), reason))
	}
}

// save puts the archive into the repository if anything was rejected.
func (x *rejects) save(p *repository) error {
	if x.archive == nil {
		return nil
	}
	content, err := x.archive.finish()
	if err = errors.Join(x.err, err); err != nil {
		if content != nil {
			content.remove()
		}
		return fmt.Errorf("error file %s: %w", x.name, err)
	}
	p.put(x.name, kindFile, content)
	return nil
}
