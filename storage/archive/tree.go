package archive

import (
	"crypto/sha256"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// tree is the files and folders that an archive unpacks to. It finds names that
// would be one file on a disk that ignores case, as those of Windows and macOS do,
// or that takes the ways of writing an accent for the same, as that of macOS does.
type tree struct {
	// nodes has them by a digest of the folded name: digests are as good for finding
	// clashes and need far less room than long names.
	nodes map[[16]byte]node
	fold  cases.Caser
	limit int // of nodes
}

type node struct {
	name   string
	folder bool
}

func newTree(limit int) *tree {
	return &tree{nodes: make(map[[16]byte]node), fold: cases.Fold(), limit: limit}
}

// add puts the entry called name in, with the folders above it.
func (t *tree) add(name string) error {
	folder := isFolder(name)
	plain := strings.TrimSuffix(name, "/")
	folded := t.folded(plain)
	known, err := t.put(name, plain, folded, folder)
	for err == nil && !known {
		// Folding neither makes nor removes slashes, so both are cut at the same one.
		i, j := strings.LastIndexByte(plain, '/'), strings.LastIndexByte(folded, '/')
		if i < 0 || j < 0 {
			break
		}
		plain, folded = plain[:i], folded[:j]
		known, err = t.put(name, plain, folded, true)
	}
	return err
}

// put adds one file or folder, for the sake of entry, and reports whether it was
// there already; the folders above it are there too then.
func (t *tree) put(entry, name, folded string, folder bool) (known bool, err error) {
	sum := sha256.Sum256([]byte(folded))
	key := [16]byte(sum[:16])
	old, ok := t.nodes[key]
	switch {
	case !ok && len(t.nodes) >= t.limit:
		return false, tooManyEntries(entry, t.limit)
	case !ok:
		t.nodes[key] = node{name, folder}
		return false, nil
	case old.name != name:
		return false, refuseEntry(entry, RuleCaseClash, "has a name that differs from %q only in case or accents; rename one of them and pack again", shown(old.name))
	case old.folder != folder:
		return false, refuseEntry(entry, RuleFileAndFolder, "needs %q to be a folder and a file at once; rename one of them and pack again", shown(name))
	case !folder:
		return false, refuseEntry(entry, RuleDuplicateName, "is in the archive twice; remove one of them and pack again")
	}
	return true, nil
}

// folded returns what all spellings of name have in common.
func (t *tree) folded(name string) string {
	if isLowerASCII(name) {
		return name // most names, which spares them three passes
	}
	return norm.NFC.String(t.fold.String(norm.NFD.String(name)))
}

func isLowerASCII(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

func tooManyEntries(entry string, limit int) error {
	return refuseEntry(entry, RuleTooManyEntries, "is one too many: an archive may have %d files and folders; send several smaller ones", limit)
}
