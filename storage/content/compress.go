package content

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	seekable "github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/SaveTheRbtz/zstd-seekable-format-go/pkg/framecache"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"longhaul/storage"
	"longhaul/storage/files"
)

// leastCompressed is the size from which on compressing is worth it.
const leastCompressed = 64 << 10

// plainTypes and plainEndings are of files that are mostly text, and become a good deal smaller.
// Everything under text/ does, too.
var (
	plainTypes = []string{
		"application/json", "application/jsonl", "application/ld+json", "application/sql", "application/x-ndjson",
		"application/xml", "application/yaml", "image/svg+xml",
	}
	plainEndings = []string{
		".csv", ".dat", ".htm", ".html", ".json", ".jsonl", ".log", ".md", ".ndjson", ".sql", ".svg", ".tsv", ".txt", ".xml", ".yaml", ".yml",
	}
)

// compressible reports whether bytes of which the size is known are stored compressed.
func compressible(hint Hint) bool {
	return hint.Size >= leastCompressed && isPlain(hint)
}

func isPlain(hint Hint) bool {
	if slices.Contains(plainEndings, strings.ToLower(path.Ext(hint.Name))) {
		return true
	}
	mediaType, _, err := mime.ParseMediaType(hint.Type)
	return err == nil && (strings.HasPrefix(mediaType, "text/") || slices.Contains(plainTypes, mediaType))
}

// compresses reports whether what r has is stored compressed. Where the size is not known it looks
// at the beginning; read on from the reader it returns.
func compresses(r io.Reader, hint Hint) (io.Reader, bool, error) {
	if hint.Size >= 0 || !isPlain(hint) {
		return r, compressible(hint), nil
	}
	head, err := piece(r, leastCompressed)
	if errors.Is(err, io.EOF) {
		return bytes.NewReader(head), false, nil
	}
	return io.MultiReader(bytes.NewReader(head), r), true, err
}

// piece reads n bytes, or those up to the end of r: then its error is [io.EOF], and no other.
func piece(r io.Reader, n int64) ([]byte, error) {
	buffer := bytes.NewBuffer(make([]byte, 0, n+bytes.MinRead))
	_, err := io.CopyN(buffer, r, n)
	return buffer.Bytes(), err
}

// One encoder and one decoder serve all: each call brings what it needs.
var (
	encoder = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false)) // the sums are ours
	})
	decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(2*files.SumBlock))
	})
)

// writeCompressed stores what r has in frames of zstd, each of one block of the checksums, in the
// seekable format: any zstd reads it from the beginning, and with the table at its end it can be
// read from any block on.
func writeCompressed(ctx context.Context, id uuid.UUID, w *files.Writer, r io.Reader) (storage.Content, error) {
	enc, err := encoder()
	if err != nil {
		return storage.Content{}, err
	}
	out, err := seekable.NewWriter(w, enc)
	if err != nil {
		return storage.Content{}, err
	}
	var digest files.Digest
	var failed error // of r, as it is
	frames := func() ([]byte, error) {
		frame, err := piece(r, files.SumBlock)
		if err != nil && !errors.Is(err, io.EOF) {
			failed = err
			return nil, err
		}
		_, _ = digest.Write(frame) // it has no errors
		if len(frame) == 0 {
			return nil, nil
		}
		return frame, nil
	}
	err = out.WriteMany(ctx, frames, seekable.WithConcurrency(runtime.GOMAXPROCS(0)))
	if failed != nil {
		return storage.Content{}, failed
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return storage.Content{}, err
	}
	stored, err := w.Commit()
	return storage.Content{
		ID: id, SHA256: digest.SHA256(), Size: digest.Size(), Encoding: storage.Zstd, StoredSize: stored.Size, Sums: digest.Sums(),
	}, err
}

// decompress returns the plain bytes of a file that writeCompressed made. What does not decompress
// is an error that wraps [files.ErrDamaged].
func decompress(file files.File) (files.File, error) {
	dec, err := decoder()
	if err != nil {
		return nil, err
	}
	d := &decompressed{stored: file}
	// Frames are asked for one by one by who verifies them, and keeps them.
	none := framecache.NewFIFO(framecache.Limits{})
	d.Reader, err = seekable.NewReader(nil, dec, seekable.WithReaderEnvironment(&frameReader{file}), seekable.WithReaderFrameCache(none))
	if err != nil {
		return nil, asDamage(err)
	}
	table, err := d.SeekTable()
	d.size = int64(table.Size())
	return d, err
}

type decompressed struct {
	*seekable.Reader
	stored files.File
	size   int64
}

// Size implements [files.File].
func (d *decompressed) Size() int64 { return d.size }

// Close implements [io.Closer].
func (d *decompressed) Close() error { return errors.Join(d.Reader.Close(), d.stored.Close()) }

// Read implements [io.Reader].
func (d *decompressed) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	return n, asDamage(err)
}

// ReadAt implements [io.ReaderAt].
func (d *decompressed) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.Reader.ReadAt(p, off)
	return n, asDamage(err)
}

// frameReader reads the pieces of a compressed file, and marks what goes wrong with the reading.
type frameReader struct{ stored files.File }

// GetFrameByIndex implements [seekable.ReaderEnvironment].
func (f *frameReader) GetFrameByIndex(index seekable.FrameOffsetEntry) ([]byte, error) {
	return f.read(int64(index.CompressedOffset), int64(index.CompressedSize))
}

// ReadFooter implements [seekable.ReaderEnvironment].
func (f *frameReader) ReadFooter() ([]byte, error) {
	const footer = 9 // bytes, see the seekable format
	return f.read(f.stored.Size()-footer, footer)
}

// ReadSkipFrame implements [seekable.ReaderEnvironment].
func (f *frameReader) ReadSkipFrame(fromEnd int64) ([]byte, error) {
	return f.read(f.stored.Size()-fromEnd, fromEnd)
}

func (f *frameReader) read(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || n > f.stored.Size()-off {
		return nil, io.ErrUnexpectedEOF
	}
	p := make([]byte, n)
	if read, err := f.stored.ReadAt(p, off); int64(read) < n {
		return nil, &readError{err}
	}
	return p, nil
}

// readError is an error of the file storage, and says nothing about the bytes.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// asDamage tells what is wrong with compressed bytes from what is wrong with reading them.
func asDamage(err error) error {
	if _, reading := errors.AsType[*readError](err); reading || err == nil || err == io.EOF { //nolint:errorlint // of the reader itself
		return err
	}
	return fmt.Errorf("%w: %w", files.ErrDamaged, err)
}
