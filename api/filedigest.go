package api

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"

	"longhaul/api/tus"
)

// digestHeaders are what a client tells of the bytes that it sends (RFC 9530), before them or in a
// trailer. They are the same for a body that has no Content-Encoding.
var digestHeaders = []string{"Content-Digest", "Repr-Digest"}

// digestAlgorithms are those that RFC 9530 calls active.
var digestAlgorithms = map[string]func() hash.Hash{"sha-256": sha256.New, "sha-512": sha512.New}

// claim is a digest that a client told.
type claim struct {
	header, algorithm string
	digest            []byte
}

// checkedBody is a body that must be what its client says: its end is an error otherwise.
type checkedBody struct {
	io.Reader
	sums    map[string]hash.Hash
	claims  []claim
	trailer http.Header // complete once the body has ended
}

// checked holds a request's body against the digests that come with it.
func checked(r *http.Request, body io.Reader) (io.Reader, error) {
	claims, err := claimsIn(r.Header)
	if err != nil {
		return nil, err
	}
	b := &checkedBody{Reader: body, sums: make(map[string]hash.Hash), claims: claims, trailer: r.Trailer}
	for _, c := range claims {
		b.add(c.algorithm)
	}
	for _, name := range digestHeaders {
		if _, announced := r.Trailer[name]; announced { // with any algorithm
			b.add("sha-256")
			b.add("sha-512")
		}
	}
	if len(b.sums) == 0 {
		return body, nil
	}
	return b, nil
}

func (b *checkedBody) add(algorithm string) {
	if b.sums[algorithm] == nil {
		b.sums[algorithm] = digestAlgorithms[algorithm]()
	}
}

func (b *checkedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	for _, sum := range b.sums {
		sum.Write(p[:n])
	}
	if errors.Is(err, io.EOF) {
		if wrong := b.agree(); wrong != nil {
			err = wrong
		}
	}
	return n, err
}

// agree compares what came with what was told of it.
func (b *checkedBody) agree() error {
	late, err := claimsIn(b.trailer)
	if err != nil {
		return err
	}
	for _, c := range append(b.claims, late...) {
		if !bytes.Equal(b.sums[c.algorithm].Sum(nil), c.digest) {
			return invalidField("header."+c.header, fmt.Sprintf("the %s of the bytes that came is another than the one sent with them: "+
				"they were changed on their way. Nothing was stored; send them again", c.algorithm))
		}
	}
	return nil
}

// claimsIn reads the digests that headers or trailers hold.
func claimsIn(h http.Header) ([]claim, error) {
	var claims []claim
	for _, header := range digestHeaders {
		digests, err := tus.ParseDigests(header, h.Values(header))
		if err != nil {
			return nil, invalidField("header."+header, err.Error())
		}
		for algorithm, digest := range digests {
			claims = append(claims, claim{header, algorithm, digest})
		}
	}
	return claims, nil
}
