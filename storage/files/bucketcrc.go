package files

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// zeroBlock is what a CRC is moved over.
var zeroBlock [SumBlock]byte

// blockShift says what a block of zeros makes of each bit of the CRC of what comes before it. A CRC
// is linear, so that is enough to know what it makes of any.
var blockShift = sync.OnceValue(func() (shift [32]uint32) {
	for i := range shift {
		shift[i] = shiftCRC(1<<i, SumBlock)
	}
	return shift
})

// shiftCRC moves a CRC over n bytes, at most a block, so that theirs can be added.
func shiftCRC(sum uint32, n int64) uint32 {
	zeros := zeroBlock[:n]
	return crc32.Update(sum, castagnoli, zeros) ^ crc32.Checksum(zeros, castagnoli)
}

// joinCRC is the CRC of bytes with the CRC before, and after them n bytes, at most a block, with
// the CRC after.
func joinCRC(before, after uint32, n int64) uint32 {
	if n < SumBlock {
		return shiftCRC(before, n) ^ after
	}
	shift := blockShift()
	for rest := before; rest != 0; rest &= rest - 1 {
		after ^= shift[bits.TrailingZeros32(rest)]
	}
	return after
}

// sumsOf is the checksums of a file's blocks, to compute those of its parts.
type sumsOf struct {
	size int64
	sums []byte
}

func newSumsOf(d *Digest) sumsOf { return sumsOf{d.Size(), d.Sums()} }

// part is the CRC-32C of the bytes from begin, where a block begins, to end; false where that is
// not known.
func (s sumsOf) part(begin, end int64) (sum uint32, known bool) {
	if begin%SumBlock != 0 || end > s.size || end%SumBlock != 0 && end != s.size {
		return 0, false
	}
	for at := begin; at < end; at += SumBlock {
		block := binary.BigEndian.Uint32(s.sums[at/SumBlock*4:])
		sum = joinCRC(sum, block, min(SumBlock, end-at))
	}
	return sum, true
}

// compositeOf is S3's checksum of a file that was put in these parts: the CRC-32C of their CRC-32Cs.
func compositeOf(parts []types.CompletedPart) string {
	var all []byte
	for _, p := range parts {
		sum, err := base64.StdEncoding.DecodeString(aws.ToString(p.ChecksumCRC32C))
		if err != nil || len(sum) != crc32.Size {
			return "" // not known
		}
		all = append(all, sum...)
	}
	return fmt.Sprintf("%s-%d", encodeCRC(crc32.Checksum(all, castagnoli)), len(parts))
}
