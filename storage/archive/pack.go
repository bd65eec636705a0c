package archive

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"
)

// PackOptions are what a caller of [Pack] may choose.
type PackOptions struct {
	// Modified is when all files are said to have been changed; zero means the
	// beginning of zip's calendar, 1980. It is one time for all, so that equal files
	// give an equal archive whenever they were written.
	Modified time.Time
	// Progress, when not nil, is called as files are read, with the bytes read so
	// far. It is called often, so it should return at once.
	Progress func(done int64)
}

// packLevel is the level of Deflate: about a third of the time of the standard
// library's default for the same size within a few percent.
const packLevel = 5

// alreadyPacked are the endings of files that Deflate makes no smaller.
var alreadyPacked = map[string]bool{
	".7z": true, ".br": true, ".bz2": true, ".docx": true, ".gif": true, ".gz": true,
	".jar": true, ".jpeg": true, ".jpg": true, ".lz4": true, ".mp3": true, ".mp4": true,
	".ods": true, ".odt": true, ".pdf": true, ".png": true, ".pptx": true, ".rar": true,
	".tgz": true, ".webp": true, ".xlsx": true, ".xz": true, ".zip": true, ".zst": true,
}

// Source is a file to be packed.
type Source struct {
	Name string // in the archive
	Open func(context.Context) (io.ReadCloser, error)
	Size int64 // in bytes; only PackedSize needs it
}

// Pack writes the sources to w as a zip archive, in their order, as a stream and with
// zip64 where it is needed. The same names and contents give the same bytes.
//
// Files that are packed already are not packed again. They are still written as
// Deflate, in blocks that are stored: a stored entry whose size follows it cannot be
// read as a stream, and Java's ZipInputStream refuses it.
//
// After an error w has part of an archive, which no program takes for a whole one.
func Pack(ctx context.Context, w io.Writer, sources []Source, opts PackOptions) error {
	if opts.Modified.IsZero() {
		opts.Modified = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)
	}
	zw := zip.NewWriter(w)
	p := &packing{zip: zw, opts: opts}
	zw.RegisterCompressor(zip.Deflate, p.compressor)
	buf := make([]byte, outBytes)
	for _, source := range sources {
		if err := p.file(ctx, source, buf); err != nil {
			return fmt.Errorf("pack %s: %w", source.Name, err)
		}
	}
	if err := zw.Close(); err != nil {
		return fmt.Errorf("pack archive: %w", err)
	}
	return nil
}

// packing is one call of Pack.
type packing struct {
	zip   *zip.Writer
	opts  PackOptions
	done  int64
	store bool // whether the file being packed is packed already
}

func (p *packing) file(ctx context.Context, source Source, buf []byte) error {
	src, err := source.Open(ctx)
	if err != nil {
		return err
	}
	err = p.copy(ctx, source.Name, src, buf)
	return errors.Join(err, src.Close())
}

func (p *packing) copy(ctx context.Context, name string, src io.Reader, buf []byte) error {
	p.store = packedAlready(name)
	dst, err := p.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: p.opts.Modified})
	if err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, readErr := src.Read(buf)
		if _, err := dst.Write(buf[:n]); err != nil {
			return err
		}
		p.add(n)
		if errors.Is(readErr, io.EOF) {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}

func (p *packing) add(n int) {
	p.done += int64(n)
	if p.opts.Progress != nil {
		p.opts.Progress(p.done)
	}
}

// compressor returns the writer that packs the data of one file.
func (p *packing) compressor(w io.Writer) (io.WriteCloser, error) {
	pool := &deflaters
	if p.store {
		pool = &storers
	}
	fw := pool.Get().(*flate.Writer)
	fw.Reset(w)
	return &pooledWriter{fw, pool}, nil
}

var (
	deflaters = sync.Pool{New: func() any { return newFlateWriter(packLevel) }}
	storers   = sync.Pool{New: func() any { return newFlateWriter(flate.NoCompression) }}
)

func newFlateWriter(level int) *flate.Writer {
	fw, err := flate.NewWriter(nil, level)
	if err != nil {
		panic(err) // only for a level that does not exist
	}
	return fw
}

// pooledWriter gives its flate writer back when it is closed.
type pooledWriter struct {
	*flate.Writer
	pool *sync.Pool
}

// Close ends the data of the file.
func (p *pooledWriter) Close() error {
	err := p.Writer.Close()
	p.pool.Put(p.Writer)
	return err
}
