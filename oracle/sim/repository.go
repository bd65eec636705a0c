package sim

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// The two kinds of entry in the repository, as the list of files names them.
const (
	kindFile     = "EXTERNAL" // a file
	kindSnapshot = "LCM"      // an unpacked snapshot: a folder
)

var (
	errExists  = errors.New("already exists")
	errBadName = errors.New("invalid file name")
)

// file is one entry of the repository.
type file struct {
	name     string
	kind     string
	blob     *blob
	modified time.Time
}

// repository is the file area that Planning jobs and the interop calls share.
// Its root is flat: Planning jobs read their input there and leave their output
// there (their inbox and outbox); inbox/… and outbox/… are areas of Data
// Integration.
type repository struct {
	now func() time.Time

	mu    sync.Mutex
	files map[string]*file
}

func newRepository(now func() time.Time) *repository {
	return &repository{now: now, files: map[string]*file{}}
}

// get returns the entry called name.
func (p *repository) get(name string) (file, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.files[name]; f != nil {
		return *f, true
	}
	return file{}, false
}

// list returns all entries by name.
func (p *repository) list() []file {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]file, 0, len(p.files))
	for _, f := range p.files {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return all
}

// taken tells whether a file or folder called name exists.
func (p *repository) taken(name string) bool {
	_, ok := p.get(name)
	return ok
}

// add stores a new entry and never overwrites; it fails with errExists.
func (p *repository) add(name, kind string, content *blob) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.files[name] != nil {
		return fmt.Errorf("%s: %w", name, errExists)
	}
	p.files[name] = &file{name: name, kind: kind, blob: content, modified: p.now()}
	return nil
}

// put stores an entry in place of any of the same name, as jobs do.
func (p *repository) put(name, kind string, content *blob) {
	p.mu.Lock()
	old := p.files[name]
	p.files[name] = &file{name: name, kind: kind, blob: content, modified: p.now()}
	p.mu.Unlock()
	if old != nil {
		old.blob.remove()
	}
}

// remove deletes the entry and tells whether there was one.
func (p *repository) remove(name string) bool {
	p.mu.Lock()
	old := p.files[name]
	delete(p.files, name)
	p.mu.Unlock()
	if old == nil {
		return false
	}
	old.blob.remove()
	return true
}

// cleanName returns the repository's form of a name, with slashes. A backslash
// separates folders too: Oracle's pages write inbox\x.csv.
func cleanName(raw string) (string, error) {
	name := strings.ReplaceAll(raw, `\`, "/")
	bad := name == "" || len(name) > 255 || path.IsAbs(name) || path.Clean(name) != name ||
		name == "." || name == ".." || strings.HasPrefix(name, "../") ||
		strings.ContainsFunc(name, unicode.IsControl)
	if bad {
		return "", fmt.Errorf("%w: %q", errBadName, raw)
	}
	return name, nil
}
