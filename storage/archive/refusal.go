package archive

import (
	"fmt"
	"strings"
)

// Rule is a stable word for the reason why an archive is refused.
type Rule string

// The rules, in about the order in which they are looked at.
const (
	RuleNotAZip           Rule = "not_a_zip"           // no zip file, or one that was cut off or damaged
	RuleLeadingBytes      Rule = "leading_bytes"       // something comes before the archive, as in a self-extracting one
	RuleSplitArchive      Rule = "split_archive"       // one part of several
	RuleDirectoryTooLarge Rule = "directory_too_large" // the directory has far more bytes than its entries may need
	RuleMismatch          Rule = "directory_mismatch"  // two places in the archive contradict each other
	RuleTooManyEntries    Rule = "too_many_entries"    // more than Limits.Entries
	RuleTooManyBytes      Rule = "too_many_bytes"      // more than Limits.Bytes
	RuleRatio             Rule = "ratio"               // packed more tightly than Limits.Ratio
	RulePathTooLong       Rule = "path_too_long"       // a name longer than Limits.Path, or a part longer than 255 bytes
	RuleInvalidName       Rule = "invalid_name"        // empty, or with an empty or "." part
	RuleNotUTF8           Rule = "not_utf8"            // said to be UTF-8 and is not
	RuleControlCharacter  Rule = "control_character"   // a control character in a name
	RuleBackslash         Rule = "backslash"           // a backslash in a name
	RuleAbsolutePath      Rule = "absolute_path"       // begins with a slash or a drive letter
	RuleEscapingPath      Rule = "escaping_path"       // has a ".." part
	RuleLink              Rule = "link"                // a symbolic link
	RuleSpecialFile       Rule = "special_file"        // a device, a pipe, a socket
	RuleEncrypted         Rule = "encrypted"           // needs a password
	RuleUnsupportedMethod Rule = "unsupported_method"  // packed with anything but Deflate
	RuleDuplicateName     Rule = "duplicate_name"      // the same name twice
	RuleCaseClash         Rule = "case_clash"          // two names that differ only in case or in how accents are written
	RuleFileAndFolder     Rule = "file_and_folder"     // one name as a file and as a folder
	RuleOverlap           Rule = "overlapping_entries" // two entries share bytes
	RuleEmpty             Rule = "empty"               // no files
	RuleCorrupt           Rule = "corrupt"             // the data of an entry cannot be unpacked, or is not what was packed
)

// Refusal is the error for an archive that cannot be taken as it is. It is about
// the archive only; trouble with the disk is another error.
type Refusal struct {
	// Entry is the name of the offending entry, cut after 200 bytes; empty when the
	// archive as a whole offends.
	Entry string
	Rule  Rule
	// Message is for the person who sent the archive: what is wrong with which
	// entry, by which rule, and what to do.
	Message string
}

// Error returns the message.
func (r *Refusal) Error() string { return r.Message }

// refuse returns a refusal of the whole archive.
func refuse(rule Rule, format string, args ...any) *Refusal {
	return &Refusal{Rule: rule, Message: fmt.Sprintf("The archive "+format, args...) + " (rule " + string(rule) + ")."}
}

// refuseEntry returns a refusal because of one entry.
func refuseEntry(name string, rule Rule, format string, args ...any) *Refusal {
	name = shown(name)
	text := fmt.Sprintf("Entry %q of the archive ", name) + fmt.Sprintf(format, args...)
	return &Refusal{Entry: name, Rule: rule, Message: text + " (rule " + string(rule) + ")."}
}

// shown is a name as it can be put into a message: short, and valid UTF-8.
func shown(name string) string {
	const most = 200
	if len(name) > most {
		name = name[:most] + "…"
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}
