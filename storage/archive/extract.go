package archive

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/flate"
	"golang.org/x/sync/errgroup"

	"longhaul/storage/files"
)

// ExtractOptions are what a caller of [Extract] may choose.
type ExtractOptions struct {
	// Parallel is how many files are unpacked at a time; zero or less means as many
	// as there are processors. Each takes about half a MiB of memory.
	Parallel int
	// Progress, when not nil, is called as files are written, with the bytes written
	// so far and [Listing.Bytes]. Calls do not overlap, and done never falls; it is
	// called often, so it should return at once.
	Progress func(done, total int64)
}

// Extract unpacks the files of a checked archive, of which listing is what [Check]
// returned for r, into dst, which it commits. When it returns nil, all files are
// there, whole, with the sizes and CRCs that the archive states, and on disk: a
// crash or a loss of power does not undo them. Files are for their owner alone
// (0600, folders 0700).
//
// After an error dst holds some of the files; the caller removes them and may
// begin again. The error is a [*Refusal] with [RuleCorrupt] when the data of an
// entry is not what the archive says.
func Extract(ctx context.Context, r io.ReaderAt, listing *Listing, dst files.Batch, opts ExtractOptions) error {
	if opts.Parallel <= 0 {
		opts.Parallel = runtime.GOMAXPROCS(0)
	}
	order := largestFirst(listing.Files)
	e := &extraction{
		r:        r,
		dst:      dst,
		progress: progress{total: listing.Bytes, report: opts.Progress},
	}
	// Files that were made go on to the store until they are committed, so the end of the work must
	// not be the end of this context.
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var group errgroup.Group
	var next atomic.Int64
	for range min(opts.Parallel, len(order)) {
		group.Go(func() error {
			err := e.work(working, order, &next)
			if err != nil {
				stop(err)
			}
			return err
		})
	}
	if group.Wait() != nil {
		return context.Cause(working) // the first that went wrong
	}
	if err := dst.Commit(ctx); err != nil {
		return fmt.Errorf("force unpacked files to disk: %w", err)
	}
	return nil
}

// largestFirst returns the files in an order in which no processor is left with a
// large one when the others have nothing to do any more.
func largestFirst(files []File) []*File {
	order := make([]*File, len(files))
	for i := range files {
		order[i] = &files[i]
	}
	slices.SortStableFunc(order, func(a, b *File) int { return cmp.Compare(b.Size, a.Size) })
	return order
}

// extraction is one call of Extract.
type extraction struct {
	r        io.ReaderAt
	dst      files.Batch
	progress progress
}

// work unpacks files until none is left.
func (e *extraction) work(ctx context.Context, files []*File, next *atomic.Int64) error {
	u := unpackers.Get().(*unpacker)
	defer unpackers.Put(u)
	defer u.release()
	for {
		i := next.Add(1) - 1
		if i >= int64(len(files)) {
			return nil
		}
		if err := e.file(ctx, u, files[i]); err != nil {
			return files[i].extractError(err)
		}
	}
}

// extractError says which entry an error is about.
func (f *File) extractError(err error) error {
	var corrupt flate.CorruptInputError
	var internal flate.InternalError // what some bad code lengths are called
	switch {
	case errors.As(err, &corrupt), errors.As(err, &internal), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errNotAsStated):
		return refuseEntry(f.Name, RuleCorrupt, "is damaged: its data is not what was packed; pack the archive again and send it again")
	default:
		return fmt.Errorf("unpack %s: %w", shown(f.Name), err)
	}
}

// errNotAsStated means that an entry unpacked to something else than it says.
var errNotAsStated = errors.New("size or CRC differs from what the archive states")

// file unpacks one file.
func (e *extraction) file(ctx context.Context, u *unpacker, f *File) error {
	out, err := e.dst.Create(ctx, f.Name, f.Size, f.Modified)
	if err != nil {
		return err
	}
	return errors.Join(u.unpack(ctx, out, e.r, f, &e.progress), out.Close())
}

const (
	// inBytes is how much of the archive is read at a time.
	inBytes = 128 << 10
	// outBytes is how much of a file is written at a time.
	outBytes = 256 << 10
)

// unpacker has what unpacking takes, to be used for one file after another.
type unpacker struct {
	in      *bufio.Reader
	inflate io.ReadCloser
	out     []byte
}

var unpackers = sync.Pool{New: func() any {
	return &unpacker{
		in:      bufio.NewReaderSize(nil, inBytes),
		inflate: flate.NewReader(nil),
		out:     make([]byte, outBytes),
	}
}}

// release lets go of the archive.
func (u *unpacker) release() { u.in.Reset(nil) }

// unpack writes the file f of the archive r to out, and at most the bytes that it
// is said to have.
func (u *unpacker) unpack(ctx context.Context, out io.Writer, r io.ReaderAt, f *File, p *progress) error {
	u.in.Reset(io.NewSectionReader(r, f.dataAt, f.CompressedSize))
	var src io.Reader = u.in
	if f.method == methodDeflate {
		if err := u.inflate.(flate.Resetter).Reset(u.in, nil); err != nil {
			return err
		}
		src = u.inflate
	}
	var size int64
	var crc uint32
	for ended := false; !ended; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := fill(src, u.out)
		if ended = errors.Is(err, io.EOF); err != nil && !ended {
			return err
		}
		// What is more than stated is not written, so a lie cannot fill the disk.
		if size += int64(n); size > f.Size {
			return errNotAsStated
		}
		crc = crc32.Update(crc, crc32.IEEETable, u.out[:n])
		if _, err := out.Write(u.out[:n]); err != nil {
			return err
		}
		p.add(n)
	}
	if size != f.Size || crc != f.CRC32 {
		return errNotAsStated
	}
	return nil
}

// fill reads until b is full or r ends. Unlike [io.ReadFull] it keeps the end of r,
// [io.EOF], apart from data that breaks off, [io.ErrUnexpectedEOF].
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

// progress adds up what several goroutines write.
type progress struct {
	mu          sync.Mutex
	done, total int64
	report      func(done, total int64)
}

func (p *progress) add(n int) {
	if p.report == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += int64(n)
	p.report(p.done, p.total)
}
