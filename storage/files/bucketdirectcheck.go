package files

import (
	"crypto/md5" //nolint:gosec // what S3 calls an ETag; it finds accidents, not attacks
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// CheckParts returns a reader of a finished file, from its beginning, that holds each part against
// its ETag, and at the end fails with an error that wraps [ErrParts] where some agree and others do
// not. With most services an ETag is the MD5 of the bytes that came, and some keep a part of which
// the rest did not come, as long as was announced. Where none agrees, ETags are something else, as
// of objects that are encrypted with a key of the customer's. Of files that did not come in parts the
// reader is returned as it is.
func CheckParts(r io.Reader, g Growth) io.Reader {
	if g.Direct == nil || len(g.Direct.Parts) < 2 {
		return r
	}
	for _, p := range g.Direct.Parts {
		if sum, err := hex.DecodeString(p.ETag); err != nil || len(sum) != md5.Size {
			return r
		}
	}
	return &partChecker{r: r, parts: g.Direct.Parts, sum: md5.New()} //nolint:gosec // G401: as above
}

type partChecker struct {
	r     io.Reader
	parts []Part // that are not whole yet
	read  int64  // of the first of them
	sum   hash.Hash

	agree bool  // some do
	wrong int32 // the number of the first that does not
}

// Read implements [io.Reader].
func (c *partChecker) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	for rest := p[:n]; len(rest) > 0 && len(c.parts) > 0; {
		take := min(int64(len(rest)), c.parts[0].Size-c.read)
		c.sum.Write(rest[:take])
		c.read += take
		rest = rest[take:]
		if c.read == c.parts[0].Size {
			c.next()
		}
	}
	if errors.Is(err, io.EOF) && c.agree && c.wrong > 0 {
		err = fmt.Errorf("%w: the bytes of part %d are not those of its ETag", ErrParts, c.wrong)
	}
	return n, err
}

func (c *partChecker) next() {
	if hex.EncodeToString(c.sum.Sum(nil)) == c.parts[0].ETag {
		c.agree = true
	} else if c.wrong == 0 {
		c.wrong = c.parts[0].Number
	}
	c.sum.Reset()
	c.parts, c.read = c.parts[1:], 0
}
