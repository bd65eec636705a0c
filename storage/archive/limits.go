package archive

// Limits bounds what an archive may unpack to. A field that is zero or less takes
// its value from [DefaultLimits].
type Limits struct {
	// Bytes is the most that all files together may have, unpacked.
	Bytes int64
	// Entries is the most files and folders that an archive may have. Folders that
	// are only implied, by the name of a file in them, count.
	Entries int
	// Ratio is the most unpacked bytes for each packed byte, over all files.
	Ratio int64
	// RatioFloor is how many unpacked bytes are taken at any ratio: a small file of
	// repeated lines packs very well and harms nobody.
	RatioFloor int64
	// Path is the most bytes that a name, with its folders, may have in UTF-8.
	Path int
}

// DefaultLimits returns the limits for archives of business data: 100 GiB in
// 100,000 files and folders with names of 512 bytes, and 200 bytes out of each
// byte once the files have more than 10 MiB. Exports of numbers pack 5 to 50
// times smaller; the most that Deflate can do is 1,032.
func DefaultLimits() Limits {
	return Limits{
		Bytes:      100 << 30,
		Entries:    100_000,
		Ratio:      200,
		RatioFloor: 10 << 20,
		Path:       512,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	if l.Bytes <= 0 {
		l.Bytes = d.Bytes
	}
	if l.Entries <= 0 {
		l.Entries = d.Entries
	}
	if l.Ratio <= 0 {
		l.Ratio = d.Ratio
	}
	if l.RatioFloor <= 0 {
		l.RatioFloor = d.RatioFloor
	}
	if l.Path <= 0 {
		l.Path = d.Path
	}
	return l
}

// directoryBytes is the largest central directory that is read. Each entry has 46
// bytes, its name, and extra fields and a comment that tools keep far below a KiB.
func (l Limits) directoryBytes() int64 {
	return int64(l.Entries) * int64(directoryHeaderLen+l.Path+1024)
}
