package files

import (
	"context"
	"crypto/sha256"
	"io"
	"iter"
	"time"
)

// Store keeps files by key: in a folder ([Folder]) or in a bucket of a service that speaks S3
// ([Bucket]). Both behave the same, as far as this interface tells; one suite of tests holds them
// to it. Methods may be called from several goroutines, and several processes may use one store.
//
// A key names a whole file or none, and a file under a key never changes; it is only replaced.
type Store interface {
	// Create starts a file that is to have the given key. A file that has it keeps it until
	// Commit; of several writers of one key, the last to commit wins. Every writer is ended by
	// Commit or Abort; `defer w.Abort()` is right in all cases. Its error wraps [ErrKey] for a bad
	// key and [ErrFull] where there is no room.
	Create(ctx context.Context, key string) (*Writer, error)
	// Batch starts many files, about n, that are put under prefix together; see [Batch].
	Batch(ctx context.Context, prefix string, n int) (Batch, error)
	// Open opens a file for reading; close it when done. Its error wraps [io/fs.ErrNotExist] when no
	// file has that key. What is read later ends with ctx.
	Open(ctx context.Context, key string) (File, error)
	// Stat describes the file with that key. Its error wraps [io/fs.ErrNotExist] when there is none.
	Stat(ctx context.Context, key string) (Info, error)
	// Copy gives the file from a second key, and no bytes pass through this process where that can
	// be had. It replaces nothing: when to is taken, its error wraps [io/fs.ErrExist].
	Copy(ctx context.Context, from, to string) error
	// Remove removes the file with that key. Nothing there is no error. A removal may be undone by
	// a loss of power, so callers that must be sure remove again.
	Remove(ctx context.Context, key string) error
	// RemoveAll removes all files whose keys are below prefix, and the one that is named so.
	RemoveAll(ctx context.Context, prefix string) error
	// List yields the files below prefix ("" for all), sorted by key as bytes compare. Files that
	// come or go meanwhile may or may not be in it. After an error it ends.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]

	// Append adds what r has to a file that grows, from g.Size on, and returns how far it has come
	// durably. What lies behind g.Size, of an Append that was not kept, is written over. About once
	// a second, and at the end, it calls save with how far it has come then: from there the next
	// Append goes on, in this process or another. A nil save is for who takes all or nothing. An
	// error of save ends it and is returned. An error of r is returned as it is, when what came
	// before it is durable and saved; so is the end of ctx, for which r must end too. Where what had
	// come before is not there any more, or is not what was stored, its error wraps [ErrDamaged]. In a
	// folder another who still writes to the file is waited for, some seconds at most; then its error,
	// as that of Finish, wraps [ErrBusy].
	Append(ctx context.Context, g Growth, r io.Reader, save func(context.Context, Growth) error) (Growth, error)
	// Finish gives a file that has grown its key. It may take minutes in a bucket. It can be
	// repeated: where the file has its key already, that is fine. Where it has not, and what had come
	// is not there any more, or is not what was stored, its error wraps [ErrDamaged].
	Finish(ctx context.Context, g Growth) error
	// Fits returns an error that wraps [ErrTooLarge] when a file that grows cannot come to have that
	// many bytes: in a bucket its parts are as large as was chosen from SizeHint when it began. With 0,
	// for a size that is not known yet, it holds what g says.
	Fits(g Growth, size int64) error
	// Drop removes a file that has grown and is not to be finished. Nothing there is no error.
	Drop(ctx context.Context, g Growth) error

	// Available returns how many bytes may still be written, as it is known now.
	Available(ctx context.Context) (int64, error)
	// Sweep removes unfinished files of [Store.Create] to which nothing was written for the given
	// time: what a crash or a client that went away has left.
	Sweep(ctx context.Context, idle time.Duration) (Swept, error)
	// SweepGrowing removes files that grow to which nothing was written for the given time and whose
	// keys are not among the known ones: what a loss of power left, or one who was late to see that his
	// file was finished or dropped. One that was begun after known was asked for is safe when idle is
	// longer than that takes. What cannot be removed is told in the error; the rest is removed all the
	// same.
	SweepGrowing(ctx context.Context, idle time.Duration, known []string) (Swept, error)
	// Check reports what keeps the store from working, or nil.
	Check(ctx context.Context) error
	// Close lets go of the store. Files opened from it stay open; writers cannot commit any more.
	Close() error
}

// File is an open file. ReadAt may be called from several goroutines.
type File interface {
	io.ReadSeekCloser
	io.ReaderAt
	// Size is the length in bytes.
	Size() int64
}

// Info describes a stored file.
type Info struct {
	Key        string
	Size       int64 // in bytes
	ModifiedAt time.Time
}

// Stored describes the bytes of a file that was committed.
type Stored struct {
	Key    string
	Size   int64 // in bytes
	SHA256 [sha256.Size]byte
	// Sums are checksums of its blocks, for [Verify].
	Sums []byte
}

// Batch is many files that are made together, which is faster than one by one. They are there,
// whole and durable, when Commit returns; after an error some may be. Its methods may be called
// from several goroutines.
type Batch interface {
	// Create starts the file of that name below the batch's prefix. The writer's Close ends it. A
	// name is used once; modified may be kept with the file, where it is not zero.
	Create(ctx context.Context, name string, size int64, modified time.Time) (io.WriteCloser, error)
	// Commit makes all files durable.
	Commit(ctx context.Context) error
	// Close ends the batch, committed or not.
	Close() error
}

// Growth is a file that grows over several calls, perhaps of several processes: how far it has
// come. Who grows it keeps this, as JSON, and lets no two grow one file at a time. A new one has
// only its Key, and SizeHint where that is known.
type Growth struct {
	// Key is what the file will have when it is finished.
	Key string `json:"key"`
	// Size is how many bytes are taken in and durable.
	Size int64 `json:"size"`
	// SizeHint is how many bytes are expected; zero when that is not known.
	SizeHint int64 `json:"size_hint,omitempty"`
	// Digest is of these bytes.
	Digest Digest `json:"digest"`
	// UploadID and PartSize are of the multipart upload in a bucket.
	UploadID string `json:"upload_id,omitempty"`
	PartSize int64  `json:"part_size,omitempty"`
	// Direct is of a file that others send straight to the bucket; nil for all others.
	Direct *Direct `json:"direct,omitempty"`
}
