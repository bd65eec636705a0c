package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// growthParts is in how many parts a file is planned that says how large it will be, so that
	// there are some left when it is larger.
	growthParts = 9000
	// unknownParts is how many times larger parts are where it does not say: 32 MiB, and so up to
	// 312 GiB.
	unknownParts = 4
	// maxGrowthPart is the largest part of a file that grows: up to 625 GiB.
	maxGrowthPart = 64 << 20
)

// A file that grows is a multipart upload of equal parts. Bytes that do not fill a part when an
// Append ends are put as an object of their own, the tail, whose name has the file's size: so one
// state of the file never spoils the tail of another. Which parts and tails count is what the
// Growth says; what lies behind it is written over.

// growth is a file of a bucket that grows.
type growth struct {
	Growth
	b    *Bucket
	name string
}

func (b *Bucket) growth(g Growth) (growth, error) {
	name, err := b.name(g.Key)
	if err != nil {
		return growth{}, err
	}
	started := g.Size > 0 || g.UploadID != ""
	if g.Size < 0 || started && (g.PartSize <= 0 || g.PartSize > maxGrowthPart || g.PartSize%SumBlock != 0) {
		return growth{}, fmt.Errorf("%d bytes in parts of %d are not how far a file in a bucket has come", g.Size, g.PartSize)
	}
	return growth{g, b, name}, nil
}

// plan chooses how large the parts are, once for all.
func (g *growth) plan() error {
	if g.PartSize == 0 {
		g.PartSize = g.b.partSize * unknownParts
		if g.SizeHint > 0 {
			each := (g.SizeHint + growthParts - 1) / growthParts
			g.PartSize = max(g.b.partSize, (each+SumBlock-1)/SumBlock*SumBlock)
		}
		g.PartSize = min(g.PartSize, maxGrowthPart)
	}
	return g.fits(max(g.Size, g.SizeHint))
}

func (g *growth) fits(size int64) error {
	if most := g.PartSize * maxParts; size > most {
		return fmt.Errorf("%w: it would have %d bytes, of at most %d", ErrTooLarge, size, most)
	}
	return nil
}

// Fits implements [Store]. Whether a file that others send straight to the bucket fits, the bucket
// says.
func (b *Bucket) Fits(grown Growth, size int64) error {
	if grown.Direct != nil {
		return nil
	}
	g := growth{Growth: grown, b: b}
	if err := g.plan(); err != nil {
		return err
	}
	return g.fits(size)
}

func (g *growth) upload() upload { return upload{g.b, g.name, g.UploadID} }

// whole is how many whole parts there are.
func (g *growth) whole() int32 {
	if g.PartSize == 0 {
		return 0
	}
	return int32(g.Size / g.PartSize)
}

// boundary is where the tail begins.
func (g *growth) boundary() int64 { return int64(g.whole()) * g.PartSize }

// tail is the name of the object with the bytes behind the boundary.
func (g *growth) tail() string { return fmt.Sprintf("%s%d", g.tails(), g.Size) }

// tails is what the names of all tails of the file begin with.
func (g *growth) tails() string {
	return folderName(growingName(g.b.prefix, g.Key))
}

// loadTail takes the bytes behind the boundary into the part.
func (g *growth) loadTail(ctx context.Context, p *part) error {
	length := g.Size - g.boundary()
	if length == 0 {
		return nil
	}
	s := stream{object: object{b: g.b, ctx: ctx, key: g.Key, name: g.tail()}, end: length}
	_, err := io.Copy(p, &s)
	if err = errors.Join(err, s.close()); err != nil {
		return fmt.Errorf("its last bytes: %w", asGone(err))
	}
	if sum, known := newSumsOf(&g.Digest).part(g.boundary(), g.Size); known && sum != p.crc() {
		return fmt.Errorf("%w: its last %d bytes are not those which were stored", ErrDamaged, length)
	}
	return nil
}

// removeTails removes all tails.
func (g *growth) removeTails(ctx context.Context) error { return g.b.removeObjects(ctx, g.tails()) }

// removeOldTails removes the tails from when the file was smaller than that.
func (g *growth) removeOldTails(ctx context.Context, size int64) error {
	for object, err := range g.b.objects(ctx, g.tails()) {
		if err != nil {
			return err
		}
		was, err := strconv.ParseInt(strings.TrimPrefix(*object.Key, g.tails()), 10, 64)
		if err != nil || was >= size {
			continue
		}
		if err := g.b.removeObject(ctx, *object.Key); err != nil {
			return err
		}
	}
	return nil
}

// parts asks the bucket for the whole parts, from the given one on, and sees to it that all are
// there and are what was stored. last is the one behind them, where there is one of the right length.
func (g *growth) parts(ctx context.Context, from int32) (found []types.CompletedPart, last *types.CompletedPart, err error) {
	listed, err := g.upload().list(ctx, from)
	if err != nil {
		return nil, nil, asGone(err)
	}
	sums := newSumsOf(&g.Digest)
	for number := from; number <= g.whole(); number++ {
		end := int64(number) * g.PartSize
		done, err := listed.find(number, g.PartSize, sums, end-g.PartSize)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, done)
	}
	if rest := g.Size - g.boundary(); rest > 0 {
		if done, err := listed.find(g.whole()+1, rest, sums, g.boundary()); err == nil {
			last = &done
		}
	}
	return found, last, nil
}

// Finish implements [Store].
func (b *Bucket) Finish(ctx context.Context, grown Growth) error {
	if grown.Direct != nil {
		return doing(b.finishDirect(ctx, grown), "finish", grown.Key)
	}
	g, err := b.growth(grown)
	if err == nil {
		err = g.finish(ctx)
	}
	if errors.Is(err, errNoUpload) || errors.Is(err, fs.ErrNotExist) {
		there, headErr := b.isThere(ctx, g.name, g.Size, g.checksum())
		if there || headErr != nil {
			err = headErr
		}
	}
	if err != nil {
		return doing(asGone(err), "finish", grown.Key)
	}
	_ = g.removeTails(ctx) // Drop, or nobody, removes what stays
	return nil
}

func (g *growth) finish(ctx context.Context) error {
	if g.whole() == 0 {
		return g.finishSmall(ctx)
	}
	parts, last, err := g.parts(ctx, 1)
	if err != nil {
		return err
	}
	if g.Size > g.boundary() && last == nil {
		done, err := g.uploadTail(ctx)
		if err != nil {
			return err
		}
		last = &done
	}
	if last != nil {
		parts = append(parts, *last)
	}
	return g.upload().complete(ctx, parts, false)
}

// finishSmall makes the file of its tail, or of nothing.
func (g *growth) finishSmall(ctx context.Context) error {
	p, err := g.tailPart(ctx)
	if err != nil {
		return err
	}
	defer p.free()
	if err := g.b.put(ctx, g.name, p); err != nil {
		return err
	}
	return g.upload().abort(ctx)
}

func (g *growth) uploadTail(ctx context.Context) (types.CompletedPart, error) {
	p, err := g.tailPart(ctx)
	if err != nil {
		return types.CompletedPart{}, err
	}
	defer p.free()
	return g.upload().put(ctx, g.whole()+1, p)
}

// tailPart is the tail. Free it when done.
func (g *growth) tailPart(ctx context.Context) (*part, error) {
	p, err := g.b.writes.get(ctx, g.Size-g.boundary())
	if err != nil {
		return nil, err
	}
	if err := g.loadTail(ctx, p); err != nil {
		p.free()
		return nil, err
	}
	return p, nil
}

// checksum is what S3 says of the finished file; empty when that is not known.
func (g *growth) checksum() string {
	sums := newSumsOf(&g.Digest)
	if g.whole() == 0 {
		sum, known := sums.part(0, g.Size)
		if !known {
			return ""
		}
		return encodeCRC(sum)
	}
	var parts []types.CompletedPart
	for begin := int64(0); begin < g.Size; begin += g.PartSize {
		sum, known := sums.part(begin, min(begin+g.PartSize, g.Size))
		if !known {
			return ""
		}
		encoded := encodeCRC(sum)
		parts = append(parts, types.CompletedPart{ChecksumCRC32C: &encoded})
	}
	return compositeOf(parts)
}

// Drop implements [Store].
func (b *Bucket) Drop(ctx context.Context, grown Growth) error {
	if grown.Direct != nil {
		return doing(b.dropDirect(ctx, grown), "drop", grown.Key)
	}
	g, err := b.growth(grown)
	if err == nil {
		err = errors.Join(g.upload().abort(ctx), g.removeTails(ctx))
	}
	return doing(err, "drop", grown.Key)
}

// doing says of an error what was being done to which file.
func doing(err error, what, key string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s file %s: %w", what, key, err)
}
