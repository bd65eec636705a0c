package tus

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/tus/tusd/v2/pkg/handler"

	"longhaul/jobs"
	"longhaul/storage"
)

// store is tusd's data store and locker.
type store struct{ config Config }

// NewUpload makes an upload as the request asks, once all of it is found to be right.
func (st *store) NewUpload(ctx context.Context, info handler.FileInfo) (handler.Upload, error) {
	s := sessionOf(ctx)
	n, err := s.request(info)
	if err != nil {
		return nil, s.fail(err)
	}
	if s.hold, err = st.config.Engine.CreateUpload(ctx, *n); errors.Is(err, jobs.ErrPieces) {
		err = &Error{Status: http.StatusBadRequest, Detail: "An upload cannot be put together so: " + err.Error() + "."}
	}
	if err != nil {
		return nil, s.fail(err)
	}
	s.made = true
	return &upload{s, &s.hold.Upload}, nil
}

// request reads what is asked for.
func (s *session) request(info handler.FileInfo) (*jobs.NewUpload, error) {
	meta := info.MetaData
	for key, value := range meta {
		if !isText(key) || !isText(value) {
			return nil, &Error{Status: http.StatusBadRequest, Detail: "A value of Upload-Metadata is no text in UTF-8."}
		}
	}
	n := &jobs.NewUpload{
		App: meta["app"], Filename: cmp.Or(meta["filename"], meta["name"]), ContentType: cmp.Or(meta["filetype"], meta["type"]),
		Metadata: meta, Partial: info.IsPartial, By: s.Caller,
	}
	if !info.SizeIsDeferred {
		n.Size = &info.Size
	}
	if most := s.config.MaxSize; most > 0 && info.Size > most {
		return nil, tooLarge(most)
	}
	if n.App != "" {
		if err := s.MayUse(n.App); err != nil {
			return nil, err
		}
	}
	for _, id := range info.PartialUploads {
		piece, err := parseID(id)
		if err != nil {
			return nil, err
		}
		n.Pieces = append(n.Pieces, piece)
	}
	var err error
	n.SHA256, err = s.announced(meta["sha256"])
	return n, err
}

func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// announced reads the digest that the client expects of the whole: in the metadata, or as
// Repr-Digest.
func (s *session) announced(text string) ([]byte, error) {
	var want []byte
	if text != "" {
		var err error
		if want, err = hex.DecodeString(text); err != nil || len(want) != 32 {
			return nil, &Error{Status: http.StatusBadRequest, Detail: "The metadata sha256 is not 64 hexadecimal digits."}
		}
	}
	digests, err := parseDigests("Repr-Digest", s.header.Values("Repr-Digest"))
	if err != nil {
		return nil, err
	}
	other, sent := digests["sha-256"]
	if sent && want != nil && !bytes.Equal(other, want) {
		return nil, &Error{Status: http.StatusBadRequest, Detail: "The metadata sha256 and Repr-Digest name different digests."}
	}
	if sent {
		want = other
	}
	return want, nil
}

// parseID reads the id of an upload.
func parseID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		return uuid.Nil, handler.ErrNotFound
	}
	return id, nil
}

// GetUpload returns the upload that the request holds, or one to look at.
func (st *store) GetUpload(ctx context.Context, text string) (handler.Upload, error) {
	s := sessionOf(ctx)
	id, err := parseID(text)
	if err != nil {
		return nil, err
	}
	if s.hold != nil && s.hold.Upload.ID == id {
		return &upload{s, &s.hold.Upload}, nil
	}
	row, err := s.find(ctx, id)
	return &upload{s, row}, err
}

// find returns the upload as it is, if the caller may do with it what the request asks.
func (s *session) find(ctx context.Context, id uuid.UUID) (*storage.Upload, error) {
	row, err := s.config.Engine.DB().Upload(ctx, id, s.Caller.Person)
	if err == nil {
		err = s.MayReach(&row)
	}
	if errors.Is(err, storage.ErrNotFound) {
		return nil, handler.ErrNotFound
	}
	return &row, s.fail(err)
}

// AsTerminatableUpload implements handler.TerminaterDataStore.
func (*store) AsTerminatableUpload(u handler.Upload) handler.TerminatableUpload {
	return u.(*upload) //nolint:forcetypeassert // it is one of ours
}

// AsConcatableUpload implements handler.ConcaterDataStore.
func (*store) AsConcatableUpload(u handler.Upload) handler.ConcatableUpload {
	return u.(*upload) //nolint:forcetypeassert // it is one of ours
}

// AsLengthDeclarableUpload implements handler.LengthDeferrerDataStore.
func (*store) AsLengthDeclarableUpload(u handler.Upload) handler.LengthDeclarableUpload {
	return u.(*upload) //nolint:forcetypeassert // it is one of ours
}

// upload is an upload as tusd deals with it. All but GetInfo is for the one that the request holds.
type upload struct {
	session *session
	row     *storage.Upload
}

// GetInfo tells how far the upload is.
func (u *upload) GetInfo(context.Context) (handler.FileInfo, error) {
	row := u.row
	if row.State == storage.UploadFailed {
		return handler.FileInfo{}, u.session.fail(hasFailed(row))
	}
	if row.Protocol == storage.ToBucket {
		return handler.FileInfo{}, u.session.fail(&Error{Status: http.StatusConflict, Detail: "This upload goes straight to the bucket, and not by tus."})
	}
	info := handler.FileInfo{
		ID: row.ID.String(), Offset: row.Received, MetaData: row.Metadata, IsPartial: row.Partial,
		IsFinal: len(row.Pieces) > 0, SizeIsDeferred: row.Size == nil,
	}
	if row.Size != nil {
		info.Size = *row.Size
	}
	for _, piece := range row.Pieces {
		info.PartialUploads = append(info.PartialUploads, piece.String())
	}
	return info, nil
}

// hasFailed says why nothing more can come of an upload.
func hasFailed(row *storage.Upload) *Error {
	return &Error{Status: http.StatusGone, Detail: "This upload has failed: " + row.Message}
}

// WriteChunk takes bytes in.
func (u *upload) WriteChunk(ctx context.Context, at int64, src io.Reader) (int64, error) {
	n, err := u.write(ctx, src)
	if err != nil && u.row.State == storage.UploadFailed {
		u.session.config.Logger.ErrorContext(ctx, "upload: what had come of it is lost", "upload", u.row.ID, "offset", at, "error", err)
		err = hasFailed(u.row)
	}
	return n, u.session.fail(err)
}

func (u *upload) write(ctx context.Context, src io.Reader) (int64, error) {
	s := u.session
	r := io.Reader(&chunk{Reader: src, session: s})
	if most := s.config.MaxSize; most > 0 && u.row.Size == nil {
		r = &limited{r, most - u.row.Received, most}
	}
	if s.check == nil {
		return s.hold.Append(ctx, r, nil)
	}
	return s.hold.Append(ctx, io.TeeReader(r, s.check), func() error {
		if s.waits() {
			return cmp.Or(s.ended(), s.body.err, error(errTaken))
		}
		return s.check.Agree()
	})
}

// chunk is what a request sends, until another takes its upload over.
type chunk struct {
	io.Reader
	session *session
}

// Read hands nothing on that came after the upload was taken over: who has it may be done with it.
func (c *chunk) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if ended := c.session.ended(); ended != nil {
		return 0, ended
	}
	return n, err
}

// limited fails once more than the limit has come. tusd limits uploads of known size alone.
type limited struct {
	io.Reader
	left, most int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, tooLarge(l.most)
	}
	n, err := l.Reader.Read(p[:min(int64(len(p)), l.left+1)])
	if l.left -= int64(n); l.left < 0 {
		return n - 1, tooLarge(l.most)
	}
	return n, err
}

// GetReader is for downloads, which there are none of here.
func (*upload) GetReader(context.Context) (io.ReadCloser, error) {
	return nil, handler.ErrNotImplemented
}

// FinishUpload moves on an upload that has all its bytes, where the last one did not do so.
func (u *upload) FinishUpload(ctx context.Context) error {
	return u.session.fail(u.session.hold.Complete(ctx))
}

// ConcatUploads has nothing to do: the upload was made with its pieces, and a worker puts them
// together.
func (*upload) ConcatUploads(context.Context, []handler.Upload) error { return nil }

// DeclareLength says how large the upload will be.
func (u *upload) DeclareLength(ctx context.Context, length int64) error {
	return u.session.fail(u.session.hold.Declare(ctx, length))
}

// Terminate removes the upload.
func (u *upload) Terminate(ctx context.Context) error {
	return u.session.fail(u.session.config.Engine.RemoveUpload(ctx, u.row.ID, u.session.Caller))
}

// NewLock implements handler.Locker.
func (st *store) NewLock(id string) (handler.Lock, error) {
	return &lock{engine: st.config.Engine, id: id}, nil
}

// lock is one request's hold of an upload.
type lock struct {
	engine  *jobs.Engine
	id      string
	session *session
}

// unlockTime bounds how long letting go of an upload may take. Whoever wants it then takes it.
const unlockTime = 5 * time.Second

// Lock takes the upload from whoever holds it, which nobody is bothered for by one who may not.
//
// tusd's own way to end a request, the function that is not used, races with the beginning of it.
func (l *lock) Lock(ctx context.Context, _ func()) error {
	s := sessionOf(ctx)
	id, err := parseID(l.id)
	if err == nil {
		_, err = s.find(ctx, id)
	}
	if err != nil {
		return err
	}
	held, err := l.engine.HoldUpload(ctx, id, s.Caller, func() { s.stop(errTaken) })
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return handler.ErrNotFound
	case ctx.Err() != nil:
		return handler.ErrLockTimeout
	case err != nil:
		return s.fail(err)
	}
	s.hold, l.session = held, s
	if ended := s.ended(); ended != nil {
		return s.fail(errors.Join(ended, l.Unlock()))
	}
	return nil
}

// Unlock lets go of it.
func (l *lock) Unlock() error {
	ctx, cancel := context.WithTimeout(context.Background(), unlockTime)
	defer cancel()
	return l.session.hold.Release(ctx)
}
