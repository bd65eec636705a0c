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
	"maps"
	"net/http"
	"slices"
	"strings"
)

// checksumAlgorithms are what Upload-Checksum may name.
var checksumAlgorithms = []string{"sha1", "sha256", "md5", "crc32"}

// hashes make the algorithms of Upload-Checksum and of Content-Digest, by their names there.
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

// check holds one chunk against the digests that its client sent with it: Upload-Checksum, and
// Content-Digest, in the header or after the body, in the trailer.
type check struct {
	sums    map[string]hash.Hash
	want    map[string][]byte
	trailer http.Header // complete once the body has ended; nil: none was announced
}

// newCheck reads what a request says of its chunk; nil: nothing. The error is an *Error.
func newCheck(r *http.Request) (*check, error) {
	c := &check{sums: make(map[string]hash.Hash), want: make(map[string][]byte)}
	if err := c.claims(r.Header); err != nil {
		return nil, err
	}
	for name := range c.want {
		c.sums[name] = hashes[name]()
	}
	// Which algorithm a trailer will name is not known before it comes.
	if _, announced := r.Trailer[uploadChecksum]; announced {
		c.add(checksumAlgorithms...)
		c.trailer = r.Trailer
	}
	if _, announced := r.Trailer[contentDigest]; announced {
		c.add("sha-256", "sha-512")
		c.trailer = r.Trailer
	}
	if len(c.sums) == 0 {
		return nil, nil //nolint:nilnil // documented
	}
	return c, nil
}

func (c *check) add(names ...string) {
	for _, name := range names {
		if c.sums[name] == nil {
			c.sums[name] = hashes[name]()
		}
	}
}

// claims reads the digests in a header or a trailer.
func (c *check) claims(h http.Header) error {
	if text := h.Get(uploadChecksum); text != "" {
		name, sum, err := parseChecksum(text)
		if err != nil {
			return err
		}
		c.want[name] = sum
	}
	digests, err := ParseDigests(contentDigest, h.Values(contentDigest))
	maps.Copy(c.want, digests)
	return err
}

// Write takes in a part of the chunk. It returns no error.
func (c *check) Write(p []byte) (int, error) {
	for _, sum := range c.sums {
		sum.Write(p)
	}
	return len(p), nil
}

// agree says, once the chunk has ended, whether it is what its client sent. The error is an *Error.
func (c *check) agree() error {
	if c.trailer != nil {
		for _, name := range []string{uploadChecksum, contentDigest} {
			if sent, announced := c.trailer[name]; announced && len(sent) == 0 {
				return &Error{Status: http.StatusBadRequest, Detail: name + " was announced as a trailer and did not come. Nothing of this chunk was kept."}
			}
		}
		if err := c.claims(c.trailer); err != nil {
			return err
		}
	}
	for name, want := range c.want {
		if !bytes.Equal(c.sums[name].Sum(nil), want) {
			return &Error{Status: StatusChecksumMismatch, Detail: fmt.Sprintf(
				"The %s of the bytes that came is another than the one sent with them: they were changed on their way. Nothing of this chunk was kept; send it again.", name)}
		}
	}
	return nil
}

// parseChecksum reads the value of Upload-Checksum: the algorithm, a space, the digest as Base64.
func parseChecksum(text string) (name string, sum []byte, err error) {
	name, encoded, _ := strings.Cut(strings.TrimSpace(text), " ")
	if !slices.Contains(checksumAlgorithms, name) {
		known := strings.Join(checksumAlgorithms, ", ")
		return "", nil, &Error{Status: http.StatusBadRequest, Detail: "Upload-Checksum names an algorithm that this server does not know. It knows " + known + "."}
	}
	if sum, err = base64.StdEncoding.DecodeString(strings.TrimSpace(encoded)); err != nil || len(sum) != hashes[name]().Size() {
		return "", nil, &Error{Status: http.StatusBadRequest, Detail: "Upload-Checksum is not an algorithm, a space, and its digest as Base64."}
	}
	return name, sum, nil
}

// ParseDigests reads the fields of a digest header (RFC 9530), a dictionary of byte sequences as in
// sha-256=:…:, and returns those of the algorithms that RFC 9530
// calls active, sha-256 and sha-512. The error is an *Error.
func ParseDigests(header string, fields []string) (map[string][]byte, error) {
	digests := make(map[string][]byte)
	for member := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(member), "=")
		if name != "sha-256" && name != "sha-512" {
			continue // to be ignored, says RFC 9530
		}
		value, _, _ = strings.Cut(value, ";") // parameters have no meaning here
		encoded, begins := strings.CutPrefix(strings.TrimSpace(value), ":")
		encoded, ends := strings.CutSuffix(encoded, ":")
		sum, err := base64.StdEncoding.DecodeString(encoded)
		if !begins || !ends || err != nil || len(sum) != hashes[name]().Size() {
			return nil, &Error{Status: http.StatusBadRequest, Detail: header + " is not written as RFC 9530 says: " + name + "=:…:, with the digest as Base64."}
		}
		digests[name] = sum
	}
	return digests, nil
}
