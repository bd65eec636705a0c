package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// maxPathBytes is the longest key that S3 takes, and what the table files takes.
	maxPathBytes = 1024
	// maxPartBytes is the longest file name of ext4, XFS, Btrfs and APFS, so that every client can
	// keep what is here in a folder.
	maxPartBytes = 255
	// maxParts bounds how many locks a writer takes: one for each folder above the file.
	maxParts = 40
)

// ErrPath is wrapped by the error of every call given a path that can name no file.
var ErrPath = errors.New("not a valid path")

// CheckPath returns nil when path may name a file of an app, and else an error that wraps [ErrPath]
// and says what is wrong with it. Names are in Unicode's normal form NFC, so that one that looks the
// same is the same; callers bring them into it.
func CheckPath(path string) error {
	if reason := pathFault(path); reason != "" {
		return fmt.Errorf("%w: %.100q %s", ErrPath, path, reason)
	}
	return nil
}

func pathFault(path string) string {
	switch {
	case path == "" || path == ".":
		return "is empty"
	case len(path) > maxPathBytes:
		return fmt.Sprintf("is longer than %d bytes", maxPathBytes)
	case !utf8.ValidString(path):
		return "is not in UTF-8"
	case strings.ContainsFunc(path, unicode.IsControl):
		return "has a control character"
	case strings.Contains(path, `\`):
		return "has a backslash; folders are parted by /"
	case !norm.NFC.IsNormalString(path):
		return "is not in Unicode's normal form NFC"
	case !fs.ValidPath(path):
		return `begins or ends with /, or has an empty part, "." or ".."`
	case strings.Count(path, "/") >= maxParts:
		return fmt.Sprintf("has more than %d parts", maxParts)
	}
	for part := range strings.SplitSeq(path, "/") {
		if len(part) > maxPartBytes {
			return fmt.Sprintf("has a part longer than %d bytes", maxPartBytes)
		}
	}
	return ""
}

// foldersOf returns the folders in which the file of that path lies, the outermost first.
func foldersOf(path string) []string {
	folders := []string{}
	for i, c := range path {
		if c == '/' {
			folders = append(folders, path[:i])
		}
	}
	return folders
}

// behind returns the first text, as bytes compare, that is behind all texts which begin with prefix;
// "" where there is none.
func behind(prefix string) string {
	for prefix != "" {
		last, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch last {
		case unicode.MaxRune:
		case 0xD7FF: // what follows is for UTF-16
			return prefix + "\uE000"
		default:
			return prefix + string(last+1)
		}
	}
	return ""
}
