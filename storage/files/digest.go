package files

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"hash/crc32"
)

// SumBlock is how many bytes each of a file's block checksums covers.
const SumBlock = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Digest computes, in one pass over a file's bytes, what is needed to trust them later: the SHA-256
// of all of them, and a CRC-32C of each block of [SumBlock] bytes, so that parts can be checked as
// they are read. Its state can be kept as JSON, and another process can go on with it. The zero
// value is the digest of nothing.
type Digest struct {
	sha  hash.Hash // nil for nothing yet
	size int64
	sums []byte // of whole blocks, four bytes each, big-endian
	crc  uint32 // of the block that is not whole yet
}

// Write takes p in. It returns no error.
func (d *Digest) Write(p []byte) (int, error) {
	if d.sha == nil {
		d.sha = sha256.New()
	}
	d.sha.Write(p)
	for rest := p; len(rest) > 0; {
		n := min(int64(len(rest)), SumBlock-d.size%SumBlock)
		d.crc = crc32.Update(d.crc, castagnoli, rest[:n])
		d.size += n
		rest = rest[n:]
		if d.size%SumBlock == 0 {
			d.sums, d.crc = binary.BigEndian.AppendUint32(d.sums, d.crc), 0
		}
	}
	return len(p), nil
}

// Size is how many bytes were taken in.
func (d *Digest) Size() int64 { return d.size }

// SHA256 is the SHA-256 of the bytes so far.
func (d *Digest) SHA256() [sha256.Size]byte {
	if d.sha == nil {
		return sha256.Sum256(nil)
	}
	return [sha256.Size]byte(d.sha.Sum(nil))
}

// Sums are the checksums of the blocks so far, the last of which may be short.
func (d *Digest) Sums() []byte {
	sums := append([]byte{}, d.sums...)
	if d.size%SumBlock != 0 {
		sums = binary.BigEndian.AppendUint32(sums, d.crc)
	}
	return sums
}

// Clone returns a digest that goes on by itself.
func (d *Digest) Clone() Digest {
	twin := *d
	twin.sums = append([]byte{}, d.sums...)
	if d.sha != nil {
		twin.sha = cloned(d.sha)
	}
	return twin
}

func cloned(h hash.Hash) hash.Hash {
	twin, err := h.(hash.Cloner).Clone()
	if err != nil {
		panic(err) // only of hashes that cannot be cloned, which SHA-256 can
	}
	return twin
}

// digestState is a Digest as JSON.
type digestState struct {
	SHA  []byte `json:"sha,omitempty"`
	Size int64  `json:"size"`
	Sums []byte `json:"sums,omitempty"`
	CRC  uint32 `json:"crc,omitempty"`
}

// MarshalJSON writes the state.
func (d Digest) MarshalJSON() ([]byte, error) {
	state := digestState{Size: d.size, Sums: d.sums, CRC: d.crc}
	if d.sha != nil {
		var err error
		if state.SHA, err = d.sha.(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
			return nil, fmt.Errorf("keep the state of a digest: %w", err)
		}
	}
	return json.Marshal(state)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Digest) UnmarshalJSON(data []byte) error {
	var state digestState
	if err := json.Unmarshal(data, &state); err != nil {
		return err
	}
	*d = Digest{size: state.Size, sums: state.Sums, crc: state.CRC}
	if state.SHA == nil {
		return nil
	}
	d.sha = sha256.New()
	if err := d.sha.(encoding.BinaryUnmarshaler).UnmarshalBinary(state.SHA); err != nil {
		return fmt.Errorf("go on with a digest: %w", err)
	}
	return nil
}
