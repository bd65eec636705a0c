package archive

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"time"
)

// Listing is what a checked archive holds.
type Listing struct {
	// Files are the files to unpack, in the order of the archive's directory.
	Files []File
	// Ignored are the names of files that macOS or Windows added for their own use
	// and that are not unpacked.
	Ignored []string
	// Bytes is the size of all Files together, unpacked.
	Bytes int64
}

// File is a file in a checked archive.
type File struct {
	// Name is a path with slashes for which [fs.ValidPath] holds.
	Name           string
	Size           int64 // unpacked, in bytes
	CompressedSize int64 // packed, in bytes
	CRC32          uint32
	// Modified is when the file was changed last, as far as the archive tells:
	// without a time zone it is taken for UTC. Zero when that makes no sense.
	Modified time.Time

	method uint16
	dataAt int64 // where the packed bytes begin in the archive
}

// Methods of packing.
const (
	methodStore     = 0
	methodDeflate   = 8
	methodDeflate64 = 9
	methodAES       = 99
)

// Check reads the directory and the local headers of the zip archive of the given
// size in r, and returns what is in it, or a [*Refusal] when it breaks a rule or a
// limit. Nothing is unpacked; whether the data is sound shows at [Extract]. Another
// error means that r could not be read.
//
// It reads each entry's header on its own, so r should be a local file.
func Check(r io.ReaderAt, size int64, limits Limits) (*Listing, error) {
	limits = limits.withDefaults()
	e, err := readEnd(r, size)
	if err != nil {
		return nil, err
	}
	if e.entries > uint64(limits.Entries) {
		return nil, refuse(RuleTooManyEntries, "has %d entries; at most %d are allowed: send several smaller ones", e.entries, limits.Entries)
	}
	if e.size > limits.directoryBytes() {
		return nil, refuse(RuleDirectoryTooLarge, "has a directory of %d bytes; at most %d are allowed: pack it again without comments and extra attributes", e.size, limits.directoryBytes())
	}
	room := min(int64(limits.Entries), e.size/directoryHeaderLen) // for as many as there can be
	c := &checker{
		limits:  limits,
		local:   localReader{r: r, limit: e.offset},
		tree:    newTree(limits.Entries),
		listing: &Listing{Files: make([]File, 0, room)},
		spans:   make([]span, 0, room),
		latest:  time.Now().Add(24 * time.Hour),
	}
	if err := c.entries(newDirectory(r, e)); err != nil {
		return nil, err
	}
	return c.listing, c.finish(e)
}

// checker holds what is known of an archive while its directory is read.
type checker struct {
	limits  Limits
	local   localReader
	tree    *tree
	listing *Listing
	spans   []span
	packed  int64     // bytes of all files together
	latest  time.Time // the last time of modification that makes sense
}

func (c *checker) entries(d *directory) error {
	for {
		h, err := d.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = c.entry(h)
		}
		if err != nil {
			return err
		}
	}
}

func (c *checker) entry(h header) error {
	name, err := decodeName(h)
	if err != nil {
		return err
	}
	if len(c.spans) == c.limits.Entries {
		return tooManyEntries(name, c.limits.Entries)
	}
	if err := checkName(name, c.limits.Path); err != nil {
		return err
	}
	if err := checkKind(h, name); err != nil {
		return err
	}
	dataAt, s, err := c.local.locate(h, name)
	if err != nil {
		return err
	}
	c.spans = append(c.spans, s)
	return c.list(h, name, dataAt)
}

// list takes the entry h, which is sound in itself, into the listing.
func (c *checker) list(h header, name string, dataAt int64) error {
	if isJunk(name) {
		c.listing.Ignored = append(c.listing.Ignored, name)
		return nil
	}
	if err := c.tree.add(name); err != nil || isFolder(name) {
		return err
	}
	if h.size > uint64(c.limits.Bytes-c.listing.Bytes) {
		return refuseEntry(name, RuleTooManyBytes, "makes the archive unpack to more than the %d bytes allowed; send several smaller ones", c.limits.Bytes)
	}
	c.listing.Bytes += int64(h.size)
	c.packed += int64(h.packed)
	c.listing.Files = append(c.listing.Files, File{
		Name:           name,
		Size:           int64(h.size),
		CompressedSize: int64(h.packed),
		CRC32:          h.crc,
		Modified:       modified(h, c.latest),
		method:         h.method,
		dataAt:         dataAt,
	})
	return nil
}

// checkKind refuses everything but ordinary files and folders that can be unpacked.
func checkKind(h header, name string) error {
	if h.flags&flagsEncrypted != 0 || h.method == methodAES {
		return refuseEntry(name, RuleEncrypted, "is encrypted; pack the archive without a password")
	}
	// The upper half has the mode of Unix, whatever system the entry says it is from.
	switch mode := h.external >> 16 & 0o170000; {
	case mode == 0o120000:
		return refuseEntry(name, RuleLink, "is a symbolic link; put the file itself into the archive")
	case mode == 0o040000 && !isFolder(name):
		return refuseEntry(name, RuleMismatch, "is a folder with the name of a file; pack the archive again")
	case mode != 0 && mode != 0o100000 && mode != 0o040000:
		return refuseEntry(name, RuleSpecialFile, "is a device or the like, not a file; leave it out of the archive")
	}
	switch {
	case isFolder(name) && h.size != 0:
		return refuseEntry(name, RuleMismatch, "is a folder and has data; pack the archive again")
	case h.method == methodDeflate64:
		return refuseEntry(name, RuleUnsupportedMethod, "is packed with Deflate64, as Windows does with files over 2 GiB; pack it with a tool that uses Deflate")
	case h.method != methodStore && h.method != methodDeflate:
		return refuseEntry(name, RuleUnsupportedMethod, "is packed with method %d; pack it with Deflate, the usual one, or store it", h.method)
	case h.method == methodStore && h.size != h.packed:
		return mismatch(name)
	}
	return nil
}

// finish looks at what only all entries together show.
func (c *checker) finish(e end) error {
	if n := uint64(len(c.spans)); n != e.entries && (e.exact || n%(1<<16) != e.entries) {
		return refuse(RuleMismatch, "says that it has %d entries, and has %d; it was damaged: pack it again", e.entries, n)
	}
	if err := c.checkOverlap(); err != nil {
		return err
	}
	if len(c.listing.Files) == 0 {
		return refuse(RuleEmpty, "has no files in it; put at least one in and send it again")
	}
	return c.checkRatio()
}

// checkOverlap refuses entries that share bytes: the way to make a small archive
// with a huge content in which every entry alone packs at an ordinary ratio.
func (c *checker) checkOverlap() error {
	byStart := func(a, b span) int { return cmp.Compare(a.from, b.from) }
	if !slices.IsSortedFunc(c.spans, byStart) {
		slices.SortFunc(c.spans, byStart)
	}
	for i := 1; i < len(c.spans); i++ {
		if c.spans[i].from < c.spans[i-1].to {
			return refuseEntry(c.spans[i].name, RuleOverlap, "shares bytes with entry %q; pack the archive again with an ordinary tool", shown(c.spans[i-1].name))
		}
	}
	return nil
}

func (c *checker) checkRatio() error {
	total := c.listing.Bytes
	if total <= c.limits.RatioFloor || (total-1)/c.limits.Ratio < c.packed {
		return nil
	}
	worst := slices.MaxFunc(c.listing.Files, func(a, b File) int { return cmp.Compare(a.ratio(), b.ratio()) })
	return refuseEntry(worst.Name, RuleRatio, "unpacks to %d times its size, and all files together to more than the %d times allowed; send them less tightly packed, or in smaller archives",
		int64(worst.ratio()), c.limits.Ratio)
}

func (f File) ratio() float64 { return float64(f.Size) / float64(max(1, f.CompressedSize)) }

// modified returns when the file was changed last, or zero when the archive says a
// time after latest or one that cannot be.
func modified(h header, latest time.Time) time.Time {
	const timestampID = 0x5455 // Info-ZIP's: seconds since 1970, in UTC
	t := dosTime(h.dosDate, h.dosTime)
	if field := extraField(h.extra, timestampID); len(field) >= 5 && field[0]&1 != 0 {
		t = time.Unix(int64(le.Uint32(field[1:])), 0).UTC()
	}
	if t.Year() < 1980 || t.After(latest) {
		return time.Time{}
	}
	return t
}

// dosTime reads a date and a time of MS-DOS: years since 1980 in 7 bits, month 4,
// day 5; hour 5, minute 6, seconds/2 5.
func dosTime(date, clock uint16) time.Time {
	month, day := time.Month(date>>5&15), int(date&31)
	if month < 1 || month > 12 || day < 1 {
		return time.Time{}
	}
	return time.Date(int(date>>9)+1980, month, day, int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
}
