package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
	"longhaul/storage/files"
)

// partsAhead is how many parts may be signed for and not be there yet.
const partsAhead = 16

// ErrNoBucket says that files are kept in a folder, to which nobody can send straight.
var ErrNoBucket = errors.New("files are kept in a folder, and not in a bucket")

// PartsError says what is wrong with the parts of an upload that goes straight to the bucket, in
// words for whoever sends them.
type PartsError struct {
	Detail string
	// TooLarge: it has, or would have, more bytes than it may.
	TooLarge bool
}

func (e *PartsError) Error() string { return e.Detail }

func partsError(format string, args ...any) error {
	return &PartsError{Detail: fmt.Sprintf(format, args...)}
}

func tooMuch(most int64) error {
	return &PartsError{Detail: fmt.Sprintf("The upload is to have %d bytes at most, and would have more with this.", most), TooLarge: true}
}

func cameTooMuch(most int64) error {
	return &PartsError{Detail: fmt.Sprintf("More came than the %d bytes that the upload is to have at most. All of it was removed; begin it anew.", most), TooLarge: true}
}

// NewDirect is a request for an upload that goes straight to the bucket.
type NewDirect struct {
	NewUpload
	// Most is the largest that is taken in, in bytes; 0 means no limit.
	Most int64
	// Checksum is what each part is to be bound to: [files.CRC32C], [files.SHA256], or nothing.
	Checksum string
}

// Direct is an upload that goes straight to the bucket.
type Direct struct {
	Upload storage.Upload
	// Object is the name under which its bytes come to the bucket. Its last part is the upload's id.
	Object string

	engine *Engine
	bucket *files.Bucket
	by     Caller
	growth files.Growth
}

// StartDirect makes an upload that comes in parts. The errors are those of CreateUpload, and
// ErrNoBucket.
func (e *Engine) StartDirect(ctx context.Context, n NewDirect) (*Direct, error) {
	d, err := e.newDirect(&n)
	if err != nil {
		return nil, err
	}
	d.growth.Key = storage.ContentKey(d.Upload.ID)
	if d.growth.UploadID, err = d.bucket.StartParts(ctx, d.growth.Key, n.Checksum); err != nil {
		return nil, err
	}
	return d, d.insert(ctx, n.App)
}

func (e *Engine) newDirect(n *NewDirect) (*Direct, error) {
	bucket, ok := e.files.(*files.Bucket)
	if !ok {
		return nil, ErrNoBucket
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	d := &Direct{engine: e, bucket: bucket, by: n.By, Upload: storage.Upload{
		ID: id, Owner: n.By.Person, CreatedBy: n.By.Name, Protocol: storage.ToBucket, Filename: n.Filename, ContentType: n.ContentType,
		Metadata: n.Metadata, Size: n.Size, SHA256: n.SHA256, State: storage.UploadReceiving,
	}}
	if n.App != "" {
		d.Upload.App = &n.App
	}
	d.growth.Direct = &files.Direct{Most: n.Most, Checksum: n.Checksum}
	if n.Size != nil {
		if n.Most > 0 && *n.Size > n.Most {
			return nil, tooMuch(n.Most)
		}
		d.growth.Direct.Most = *n.Size
	}
	d.Object, err = bucket.ObjectName(storage.ContentKey(id))
	return d, err
}

// insert stores a new upload. What was begun of one that cannot be, is undone.
func (d *Direct) insert(ctx context.Context, app string) error {
	h := d.hold()
	err := d.engine.db.InTx(ctx, func(tx pgx.Tx) error { return h.insert(ctx, tx) })
	if err != nil {
		if errors.Is(err, storage.ErrNotFound) {
			err = NoSuchApp(app)
		}
		if dropped := d.bucket.Drop(ctx, d.growth); dropped != nil {
			d.engine.logger.WarnContext(ctx, "upload: what was begun in the bucket is left to its rule", "upload", d.Upload.ID, "error", dropped)
		}
		return err
	}
	d.Upload = h.Upload
	d.engine.uploadChanged(&d.Upload)
	return nil
}

// hold is the upload as the functions of other uploads take it.
func (d *Direct) hold() *UploadHold {
	return &UploadHold{engine: d.engine, by: d.by, Upload: d.Upload, growth: d.growth}
}

// Direct returns the caller's upload that goes straight to the bucket. [storage.ErrNotFound] if there
// is none, or another upload has that id; ErrNoBucket.
func (e *Engine) Direct(ctx context.Context, id uuid.UUID, by Caller) (*Direct, error) {
	if _, ok := e.files.(*files.Bucket); !ok {
		return nil, ErrNoBucket
	}
	u, err := e.db.DirectUpload(ctx, id, by.Person)
	if err != nil {
		return nil, err
	}
	return e.direct(u, by)
}

func (e *Engine) direct(u storage.Upload, by Caller) (*Direct, error) {
	bucket, ok := e.files.(*files.Bucket)
	if !ok {
		return nil, ErrNoBucket
	}
	d := &Direct{engine: e, bucket: bucket, by: by, Upload: u}
	if err := json.Unmarshal(u.Growth, &d.growth); err != nil {
		return nil, err
	}
	if d.growth.Direct == nil { // it is finished, and a content now
		d.growth.Direct = &files.Direct{}
	}
	var err error
	d.Object, err = bucket.ObjectName(storage.ContentKey(u.ID))
	return d, err
}

// Checksum is what each part is bound to; empty: nothing.
func (d *Direct) Checksum() string { return d.growth.Direct.Checksum }

// receiving refuses what can only be done while bytes may come, in parts.
func (d *Direct) receiving() error {
	if d.Upload.State != storage.UploadReceiving {
		return &storage.UploadUseError{Upload: d.Upload}
	}
	if d.growth.UploadID == "" {
		return partsError("This upload comes as a whole, by a form, and has no parts.")
	}
	return nil
}

// Parts returns the parts that the bucket has, by their numbers.
func (d *Direct) Parts(ctx context.Context) ([]files.Part, error) {
	if err := d.receiving(); err != nil {
		return nil, err
	}
	parts, err := d.list(ctx, 0)
	if err != nil {
		return nil, err
	}
	return parts, d.see(ctx, parts)
}

// list asks the bucket for the parts behind a number.
func (d *Direct) list(ctx context.Context, after int32) ([]files.Part, error) {
	parts, err := d.bucket.Parts(ctx, d.growth, after)
	if errors.Is(err, files.ErrParts) {
		return nil, partsError("The bucket has removed what came of this upload. Begin it anew.")
	}
	return parts, err
}

// see notes how far the upload has come: how many bytes all its parts have, and which of these are
// there up to the first gap. Where that is more than it may have, it is refused.
func (d *Direct) see(ctx context.Context, parts []files.Part) error {
	g, seen := d.growth, d.growth.Direct.Seen
	direct := *g.Direct
	g.Direct = &direct
	total := g.Size
	for _, p := range parts {
		if p.Number > seen {
			total += p.Size
		}
		if p.Number == direct.Seen+1 {
			direct.Seen = p.Number
			g.Size += p.Size
		}
	}
	if most, limited := d.most(); limited && total > most {
		return d.refuseFor(ctx, cameTooMuch(most))
	}
	d.growth = g
	if total <= d.Upload.Received {
		return nil
	}
	growth, err := json.Marshal(g)
	if err != nil {
		return err
	}
	e := d.engine
	err = e.db.InTx(ctx, func(tx pgx.Tx) error {
		return storage.SeenUpload(ctx, tx, &d.Upload, total, growth, e.UploadQuota, e.KeepUploads)
	})
	if storage.IsOverQuota(err) {
		return d.refuseFor(ctx, err)
	}
	if err == nil {
		e.uploadChanged(&d.Upload)
	}
	return err
}

// most is how many bytes the upload may have, if there is a limit: an announced size may be 0.
func (d *Direct) most() (most int64, limited bool) {
	if d.Upload.Size != nil {
		return *d.Upload.Size, true
	}
	return d.growth.Direct.Most, d.growth.Direct.Most > 0
}

// refuseFor ends the upload because of an error that says that too much of it has come, and returns
// that. What has come would else stay, and room would be given for as much again.
func (d *Direct) refuseFor(ctx context.Context, tooMuch error) error {
	message := "More bytes came than it may have."
	if storage.IsOverQuota(tooMuch) {
		message = tooMuchKept
	}
	if err := d.refuse(ctx, message); err != nil {
		return err
	}
	return tooMuch
}

// SignParts signs requests that send parts: of those which are not there yet only a few, and none
// with which the upload would have more bytes than it may. The error is a *PartsError, a
// *[storage.UploadUseError] for one that is not being received, a *[storage.OverQuotaError], or
// [storage.ErrStale].
func (d *Direct) SignParts(ctx context.Context, orders []files.PartOrder) ([]files.Signed, error) {
	if err := d.receiving(); err != nil {
		return nil, err
	}
	if len(orders) > partsAhead {
		return nil, partsError("%d parts are asked for at once; %d are signed at most.", len(orders), partsAhead)
	}
	after := d.growth.Direct.Seen
	for _, order := range orders {
		if order.Number < 1 || order.Number > files.MostParts {
			return nil, partsError("There is no part %d: the parts of a file are numbered from 1 to %d.", order.Number, files.MostParts)
		}
		after = min(after, order.Number-1)
	}
	before := d.growth
	parts, err := d.list(ctx, after)
	if err == nil {
		err = d.see(ctx, parts)
	}
	if err == nil {
		err = d.mayCome(before, parts, orders)
	}
	if err != nil {
		return nil, err
	}
	signed := make([]files.Signed, len(orders))
	for i, order := range orders {
		if signed[i], err = d.bucket.SignPart(ctx, d.growth, order); err != nil {
			return nil, err
		}
	}
	return signed, nil
}

// mayCome holds parts that are to come against those that are there: as they were seen before, and
// listed now.
func (d *Direct) mayCome(before files.Growth, listed []files.Part, orders []files.PartOrder) error {
	sizes := make(map[int32]int64, len(listed))
	total, count := before.Size, before.Direct.Seen
	most, limited := d.most()
	for _, p := range listed {
		sizes[p.Number] = p.Size
		if p.Number > before.Direct.Seen {
			total += p.Size
			count++
		}
	}
	for _, order := range orders {
		switch {
		case order.Number > count+partsAhead:
			return partsError("Part %d is too far ahead: %d parts are there, and only %d more are signed for at a time. Send those before it first.",
				order.Number, count, partsAhead)
		case order.Length < 0 || order.Length > files.MostPart:
			return partsError("A part has from 1 to %d bytes, and not %d.", int64(files.MostPart), order.Length)
		case d.growth.Direct.Checksum != "" && order.Sum == "":
			return partsError("Say with %s what the checksum of part %d is: this upload was begun with that.", d.growth.Direct.Checksum, order.Number)
		case d.growth.Direct.Checksum == "" && order.Sum != "":
			return partsError("This upload was begun without checksums. Begin one with checksum, and then say that of each part.")
		}
		least := int64(1)
		if limited {
			least = min(least, most) // what is empty is one empty part
		}
		total += max(order.Length, least) - sizes[order.Number]
		if limited && total > most {
			return tooMuch(most)
		}
	}
	return nil
}

// NamedPart is a part as its sender knows it.
type NamedPart struct {
	Number int32
	ETag   string
}

// Complete moves on an upload whose parts have all been sent, once the bucket has said the same: a
// worker puts it together and checks it. Doing it again is fine. The errors are those of SignParts.
func (d *Direct) Complete(ctx context.Context, named []NamedPart) error {
	if s := d.Upload.State; s == storage.UploadFinishing || s == storage.UploadFinished {
		return nil
	}
	if err := d.receiving(); err != nil {
		return err
	}
	listed, err := d.list(ctx, 0)
	if err != nil {
		return err
	}
	parts, size, err := agreeing(named, listed)
	switch {
	case err != nil:
		return err
	case d.Upload.Size != nil && size != *d.Upload.Size:
		return partsError("The parts have %d bytes together, and %d were announced. Send what is missing, or begin anew.", size, *d.Upload.Size)
	case d.growth.Direct.Most > 0 && size > d.growth.Direct.Most:
		return d.refuseFor(ctx, cameTooMuch(d.growth.Direct.Most))
	}
	d.growth.Direct.Parts = parts
	err = d.arrived(ctx, size)
	if storage.IsOverQuota(err) {
		return d.refuseFor(ctx, err)
	}
	return err
}

// agreeing holds the parts that the sender names against those that the bucket has.
func agreeing(named []NamedPart, listed []files.Part) (parts []files.Part, size int64, err error) {
	if len(named) == 0 {
		return nil, 0, partsError("No parts are named.")
	}
	there := make(map[int32]files.Part, len(listed))
	for _, p := range listed {
		there[p.Number] = p
	}
	for i, n := range named {
		p, ok := there[n.Number]
		switch {
		case n.Number != int32(i)+1:
			return nil, 0, partsError("The parts must be named in order and without a gap: where part %d should be, part %d is.", i+1, n.Number)
		case !ok:
			return nil, 0, partsError("The bucket has no part %d. Send it, and complete the upload again.", n.Number)
		case !p.Same(n.ETag):
			return nil, 0, partsError("Part %d has another ETag in the bucket than the one that is named: other bytes came. Send it again.", n.Number)
		case i < len(named)-1 && p.Size < files.LeastPart:
			return nil, 0, partsError("Part %d has %d bytes; all but the last must have %d at least.", n.Number, p.Size, int64(files.LeastPart))
		}
		parts, size = append(parts, p), size+p.Size
	}
	return parts, size, nil
}

// arrived moves the upload on to the workers.
func (d *Direct) arrived(ctx context.Context, size int64) error {
	d.growth.Size = size
	growth, err := json.Marshal(d.growth)
	if err != nil {
		return err
	}
	e, h := d.engine, d.hold()
	err = e.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := storage.ArrivedUpload(ctx, tx, &h.Upload, size, growth, e.UploadQuota, e.KeepUploads); err != nil {
			return err
		}
		return h.received(ctx, tx)
	})
	if err == nil {
		d.Upload = h.Upload
		e.uploadChanged(&d.Upload)
	}
	return err
}
