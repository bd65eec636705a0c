package tus

import (
	"bytes"
	"crypto/md5"  //nolint:gosec // tus names it; it finds accidents, not attacks
	"crypto/sha1" //nolint:gosec // as above
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"hash/crc32"
	"net/http"
	"slices"
	"strings"
)

// checksumAlgorithms are what Upload-Checksum may name.
var checksumAlgorithms = []string{"sha1", "sha256", "md5", "crc32"}

// digestAlgorithms are those that RFC 9530 calls active.
var digestAlgorithms = []string{"sha-256", "sha-512"}

// hashes make the algorithms of Upload-Checksum and of RFC 9530, by their names there.
var hashes = map[string]func() hash.Hash{
	"sha1":    sha1.New,
	"sha256":  sha256.New,
	"md5":     md5.New,
	"crc32":   func() hash.Hash { return crc32.NewIEEE() },
	"sha-256": sha256.New,
	"sha-512": sha512.New,
}

const (
	uploadChecksum = "Upload-Checksum"
	contentDigest  = "Content-Digest"
)

// Check holds the bytes of a request against the digests that its client sends with them, in the
// header or, where it announces that there, behind the body, in the trailer.
type Check struct {
	sums    map[string]hash.Hash
	claims  []claim
	late    []string    // the fields that are to come in the trailer
	trailer http.Header // complete once the body has ended
}

// claim is a digest that a client told.
type claim struct {
	field, algorithm string
	digest           []byte
}

// NewCheck reads what a request says of its bytes in the given fields: Upload-Checksum, and those of
// RFC 9530. Nil: nothing. The error is an *Error.
func NewCheck(r *http.Request, fields ...string) (*Check, error) {
	claims, err := claimsIn(r.Header, fields)
	if err != nil {
		return nil, err
	}
	c := &Check{sums: make(map[string]hash.Hash), claims: claims, trailer: r.Trailer}
	for _, claim := range claims {
		c.add(claim.algorithm)
	}
	for _, field := range fields {
		if _, announced := r.Trailer[field]; announced {
			c.late = append(c.late, field)
			c.add(algorithmsOf(field)...) // which one it will name is not known before it comes
		}
	}
	if len(c.sums) == 0 {
		return nil, nil //nolint:nilnil // documented
	}
	return c, nil
}

func algorithmsOf(field string) []string {
	if field == uploadChecksum {
		return checksumAlgorithms
	}
	return digestAlgorithms
}

func (c *Check) add(algorithms ...string) {
	for _, name := range algorithms {
		if c.sums[name] == nil {
			c.sums[name] = hashes[name]()
		}
	}
}

// claimsIn reads the digests in fields of a header or a trailer.
func claimsIn(h http.Header, fields []string) ([]claim, error) {
	var claims []claim
	for _, field := range fields {
		digests, err := parseField(field, h.Values(field))
		if err != nil {
			return nil, err
		}
		for algorithm, digest := range digests {
			claims = append(claims, claim{field, algorithm, digest})
		}
	}
	return claims, nil
}

func parseField(field string, values []string) (map[string][]byte, error) {
	switch {
	case field != uploadChecksum:
		return parseDigests(field, values)
	case len(values) == 0 || values[0] == "":
		return nil, nil
	}
	name, sum, err := parseChecksum(values[0])
	return map[string][]byte{name: sum}, err
}

// Write takes in a part of the bytes. It returns no error.
func (c *Check) Write(p []byte) (int, error) {
	for _, sum := range c.sums {
		sum.Write(p)
	}
	return len(p), nil
}

// Agree says, once the body has ended, whether it is what its client sent. Of the trailer only that
// counts which was announced: nothing was made ready for more. The error is an *Error.
func (c *Check) Agree() error {
	for _, field := range c.late {
		if len(c.trailer[field]) == 0 {
			return &Error{Status: http.StatusBadRequest, Field: field, Detail: field + " was announced as a trailer and did not come. Nothing was kept."}
		}
	}
	late, err := claimsIn(c.trailer, c.late)
	if err != nil {
		return err
	}
	for _, claim := range append(late, c.claims...) {
		if !bytes.Equal(c.sums[claim.algorithm].Sum(nil), claim.digest) {
			return &Error{Status: StatusChecksumMismatch, Field: claim.field, Detail: fmt.Sprintf(
				"The %s of the bytes that came is another than the one sent with them: they were changed on their way. Nothing was kept; send them again.", claim.algorithm)}
		}
	}
	return nil
}

// parseChecksum reads the value of Upload-Checksum: the algorithm, a space, the digest as Base64.
func parseChecksum(text string) (name string, sum []byte, err error) {
	name, encoded, _ := strings.Cut(strings.TrimSpace(text), " ")
	if !slices.Contains(checksumAlgorithms, name) {
		known := strings.Join(checksumAlgorithms, ", ")
		return "", nil, &Error{Status: http.StatusBadRequest, Field: uploadChecksum, Detail: "Upload-Checksum names an algorithm that this server does not know. It knows " + known + "."}
	}
	if sum, err = base64.StdEncoding.DecodeString(strings.TrimSpace(encoded)); err != nil || len(sum) != hashes[name]().Size() {
		return "", nil, &Error{Status: http.StatusBadRequest, Field: uploadChecksum, Detail: "Upload-Checksum is not an algorithm, a space, and its digest as Base64."}
	}
	return name, sum, nil
}

// parseDigests reads the fields of a digest header (RFC 9530), a dictionary of byte sequences as in
// sha-256=:…:, and returns those of digestAlgorithms. The error is an *Error.
func parseDigests(header string, fields []string) (map[string][]byte, error) {
	digests := make(map[string][]byte)
	for member := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(member), "=")
		if !slices.Contains(digestAlgorithms, name) {
			continue // to be ignored, says RFC 9530
		}
		value, _, _ = strings.Cut(value, ";") // parameters have no meaning here
		encoded, begins := strings.CutPrefix(strings.TrimSpace(value), ":")
		encoded, ends := strings.CutSuffix(encoded, ":")
		sum, err := base64.StdEncoding.DecodeString(encoded)
		if !begins || !ends || err != nil || len(sum) != hashes[name]().Size() {
			return nil, &Error{Status: http.StatusBadRequest, Field: header, Detail: header + " is not written as RFC 9530 says: " + name + "=:…:, with the digest as Base64."}
		}
		digests[name] = sum
	}
	return digests, nil
}
