package files

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
)

// incomingFolder is the folder, directly under the root, that holds files until they
// are committed. No key may begin with it.
const incomingFolder = ".incoming"

const (
	// maxKeyBytes is the longest key S3 takes.
	maxKeyBytes = 1024
	// maxPartBytes is the longest file name of ext4, XFS, Btrfs and APFS.
	maxPartBytes = 255
)

// ErrKey is wrapped by the error of every call given a key that can name no
// file: empty, absolute, escaping, too long, with a backslash or a control
// character, or in a folder of unfinished files.
var ErrKey = errors.New("not a valid file key")

// CheckKey returns nil when key may name a file, and else an error that wraps
// [ErrKey] and says what is wrong with it.
func CheckKey(key string) error {
	if reason := keyFault(key); reason != "" {
		return fmt.Errorf("%w: %.100q %s", ErrKey, key, reason)
	}
	return nil
}

func keyFault(key string) string {
	first, _, _ := strings.Cut(key, "/")
	switch {
	case key == "" || key == ".":
		return "is empty"
	case len(key) > maxKeyBytes:
		return fmt.Sprintf("is longer than %d bytes", maxKeyBytes)
	case strings.ContainsFunc(key, unicode.IsControl):
		return "has a control character"
	case strings.Contains(key, `\`):
		return "has a backslash"
	case !fs.ValidPath(key):
		return "is not a plain relative path in UTF-8"
	case first == incomingFolder || first == growingFolder:
		return "is in the folder of unfinished files"
	}
	for part := range strings.SplitSeq(key, "/") {
		if len(part) > maxPartBytes {
			return fmt.Sprintf("has a part longer than %d bytes", maxPartBytes)
		}
	}
	return ""
}
