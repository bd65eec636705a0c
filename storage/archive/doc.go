// Package archive reads the zip archives that people send, and writes those that
// they get.
//
// An archive from outside is hostile until [Check] has read it. Check looks at
// the central directory and at every local header, without unpacking anything,
// and either refuses the archive with a [Refusal], which names the entry and the
// rule, or returns a [Listing] of the files in it. [Extract] then unpacks a
// listing into a rooted folder. What holds for a checked archive:
//
//   - It is one plain zip file from its first byte to its last, not split, not
//     behind other bytes, and there is only one way to read it: the directory has
//     as many entries as it says, local headers say what the directory says, and
//     no two entries share bytes.
//   - Names are relative, in UTF-8, with slashes; no two of them are one file on
//     a disk that ignores case or the way accents are written.
//   - All entries are ordinary files or folders, not encrypted, stored or deflated.
//   - It keeps within [Limits].
//
// Zip64, entries that were streamed (whose sizes follow the data), and names in
// UTF-8 or in CP437 are understood. What macOS and Windows leave in archives
// unasked (__MACOSX, .DS_Store, Thumbs.db) is not listed as a file. Entries for
// folders are checked, and otherwise not needed: folders are made where a file
// needs one.
//
// [Pack] writes an archive as a stream: the same files give the same bytes.
//
// The package keeps no file whole in memory and, per entry of an archive, little
// more than the entry's name. Where archives are kept, what becomes of them and
// what may be in the files is left to others.
package archive
