package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"longhaul/storage"
	"longhaul/storage/archive"
	"longhaul/storage/content"
	"longhaul/storage/files"
)

// queueDeadline is how long a task may wait for its application.
const queueDeadline = 24 * time.Hour

// Caller says who asks, for the task's row and the audit trail, and what they may reach.
type Caller struct {
	Name      string    // the person's login
	Person    uuid.UUID // uuid.Nil for the server itself
	Token     string    // the name of the API token they came with; empty without one
	Address   string
	RequestID string
	Reach     storage.Reach
}

// Audit makes the line of the audit trail about what the caller did.
func (c *Caller) Audit(action, app, object string) storage.Audit {
	return storage.Audit{
		Actor: c.Name, Token: c.Token, Action: action, App: app, Object: object, Address: c.Address, RequestID: c.RequestID,
	}
}

// NewTask is a request for a task.
type NewTask struct {
	App         string
	Name        string
	Kind        string
	Params      json.RawMessage
	MaxRejected *int64
	Upload      *uuid.UUID // a finished upload of the caller's, whose bytes are the archive
	File        string     // the path of a file of the app's, whose bytes are; empty: none
	By          Caller
}

// Draft is a task that was asked for and checked, and not made yet. Its archive may be taken in
// before it is made.
type Draft struct {
	Task    *storage.Task
	Kind    *Kind
	App     *storage.App
	Listing *archive.Listing // what the archive holds; nil without one
	// ArchiveSHA256 is the digest of the archive's bytes; nil without one.
	ArchiveSHA256 []byte

	by     Caller
	key    *storage.IdempotencyKey
	upload *uuid.UUID // that becomes the archive; nil without one
	file   string     // the path of the file that does; empty without one
}

// namePattern is what a task's name may be: a name of a saved job, usable as a folder.
var namePattern = regexp.MustCompile(`^[^\p{Cc}/\\:*?"<>|]+$`)

// checkName refuses names that cannot be folders.
func checkName(name string) error {
	switch {
	case name == "":
		return invalid("body.name", "give the task a name, such as the name of the saved job: importAccount")
	case len(name) > 100:
		return invalid("body.name", "is %d bytes long; 100 are allowed", len(name))
	case !utf8.ValidString(name) || !namePattern.MatchString(name):
		return invalid("body.name", `holds a character that a folder cannot have: / \ : * ? " < > | or a control character`)
	case strings.Trim(name, ". ") != name:
		return invalid("body.name", "begins or ends with a dot or a space")
	}
	return nil
}

// Draft checks a request for a task against its app and its kind. Whether the caller may start
// tasks of the app is for who calls to know; the insert asks again. The error is an Invalid, or one
// of the database.
func (e *Engine) Draft(ctx context.Context, n NewTask) (*Draft, error) {
	kind, err := e.Kinds.Get(n.Kind)
	if err != nil {
		return nil, invalid("body.kind", "%q is not offered; GET /api/v1/kinds lists what is", n.Kind)
	}
	app, err := e.app(ctx, n.App)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, NoSuchApp(n.App)
	}
	if err != nil {
		return nil, err
	}
	if kind.Product != "none" && kind.Product != app.Product {
		return nil, invalid("body.kind", "%s needs an app of the product %s; %s is of %s", kind.Name, kind.Product, app.Name, app.Product)
	}
	if err := checkName(n.Name); err != nil {
		return nil, err
	}
	params, err := kind.checkParams(n.Params)
	if err != nil {
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	now := e.now().Truncate(time.Microsecond) // as Postgres keeps it
	deadline := now.Add(queueDeadline)
	task := &storage.Task{
		ID: id, App: app.Name, Name: n.Name, Kind: kind.Name, Params: params, MaxRejected: n.MaxRejected,
		Exclusive: kind.Exclusive, Gated: gated(&app), Attempt: 1, CreatedBy: n.By.Name,
		State: Queued, CreatedAt: now, DueAt: &now, DeadlineAt: &deadline,
		Work: json.RawMessage(`{}`), Input: "none", Version: 1, Fence: 1,
	}
	return &Draft{Task: task, Kind: kind, App: &app, by: n.By, upload: n.Upload, file: n.File}, nil
}

// NoSuchApp refuses a task for an app that is not there, or that the caller may not know of.
func NoSuchApp(name string) error {
	return invalid("body.app", "there is no app %q; GET /api/v1/apps lists them", name)
}

const (
	// appsKept is how many apps are remembered at once.
	appsKept = 1000
	// appsFor is how long an app is remembered: it bounds how long a lost word of a change matters.
	appsFor = 5 * time.Second
)

// appMemory is an app that is remembered until then.
type appMemory struct {
	storage.App
	until time.Time
}

// app returns an app as it was a moment ago: every change makes all processes forget it.
func (e *Engine) app(ctx context.Context, name string) (storage.App, error) {
	if known, ok := e.apps.Get(name); ok && time.Now().Before(known.until) {
		return known.App, nil
	}
	before := e.changes.Load()
	found, err := e.db.App(ctx, name)
	if err == nil && e.changes.Load() == before {
		e.apps.Add(name, appMemory{found, time.Now().Add(appsFor)})
	}
	return found, err
}

// gated reports whether the app's tasks wait for anything before they start.
func gated(app *storage.App) bool {
	return app.Product != "none" || app.MaxRunning > 0 || app.MaintenanceStart != nil
}

// TakeArchive streams the draft's archive to storage and checks it. The error is an
// *archive.Refusal or an Invalid when the archive is not acceptable; then, as after any error,
// nothing of it stays.
func (e *Engine) TakeArchive(ctx context.Context, d *Draft, r io.Reader) error {
	if d.Kind.Input == InputNone {
		return invalid("file", "%s takes no file", d.Kind.Name)
	}
	taken, err := e.contents.Take(ctx, r, content.Hint{Type: "application/zip", Size: -1, Alone: true})
	if err != nil {
		return err
	}
	d.Task.Input, d.Task.InputSize, d.Task.Content, d.ArchiveSHA256 = "archive", taken.Size, &taken.ID, taken.SHA256[:]
	if err := e.checkArchive(ctx, d); err != nil {
		e.Discard(ctx, d)
		return err
	}
	return nil
}

func (e *Engine) checkArchive(ctx context.Context, d *Draft) error {
	file, err := e.openArchive(ctx, d.Task)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	d.Listing, err = archive.Check(file, d.Task.InputSize, e.Limits)
	return err
}

// openArchive opens a task's archive, to be closed when done.
func (e *Engine) openArchive(ctx context.Context, t *storage.Task) (files.File, error) {
	stored, err := e.db.Content(ctx, *t.Content)
	if err != nil {
		return nil, err
	}
	return e.contents.Open(ctx, stored)
}

// Discard removes what a draft that will not be made left in storage.
func (e *Engine) Discard(ctx context.Context, d *Draft) {
	if d.Task.Content != nil {
		e.release(ctx, d.Task.ID, *d.Task.Content)
	}
}

// release removes an archive that its task needs no more, unless somebody else does. A crash before
// it leaves that to the sweep.
func (e *Engine) release(ctx context.Context, task, archive uuid.UUID) {
	if err := e.contents.Release(context.WithoutCancel(ctx), archive); err != nil { // whoever sent it may be gone
		e.logger.WarnContext(ctx, "an archive could not be removed and is left to the sweep", "task", task, "error", err)
	}
}

// Create makes the task of a draft: its row, its River job and its audit line, in one
// transaction. With a key that was used before by the same request it makes nothing and returns
// the first request's task and made as false; storage.ErrKeyReused if that request was another.
// After an error, and when made is false, nothing of the draft stays.
func (e *Engine) Create(ctx context.Context, d *Draft, key *storage.IdempotencyKey) (task *storage.Task, made bool, err error) {
	d.key = key
	err = e.takeUpload(ctx, d)
	if err == nil {
		err = e.takeFile(ctx, d)
	}
	if err == nil {
		err = d.check()
	}
	first := d.Task.ID
	if err != nil {
		err = fmt.Errorf("%w: %w", errNotMade, err)
	} else {
		first, err = e.insert(ctx, d)
	}
	if use, ok := errors.AsType[*storage.UploadUseError](err); key != nil && (ok && use.Upload.UsedAt != nil || errors.Is(err, errNoFile)) {
		first, err = e.repeated(ctx, d, err)
	}
	if err != nil || first != d.Task.ID {
		// An unclear commit error may hide a task that was made: then its archive must stay,
		// and the sweep decides.
		if err == nil || !unclear(err) {
			e.Discard(ctx, d)
		}
		if err != nil {
			return nil, false, err
		}
		old, err := e.db.Task(ctx, first)
		return &old, false, err
	}
	e.changed(d.Task.ID)
	if d.upload != nil {
		e.uploadChanged(&storage.Upload{ID: *d.upload})
	}
	e.wakes.Due()
	return d.Task, true, nil
}

// takeUpload makes the archive of the upload that the draft names, and checks it. It is used when
// the task is made.
func (e *Engine) takeUpload(ctx context.Context, d *Draft) error {
	switch {
	case d.upload == nil:
		return nil
	case d.Task.Content != nil:
		return invalid("body.upload", "name an upload or send the part file, not both")
	case d.Kind.Input == InputNone:
		return invalid("body.upload", "%s takes no file", d.Kind.Name)
	}
	upload, err := e.usableUpload(ctx, *d.upload, d.by, d.Task.App)
	if errors.Is(err, storage.ErrNotFound) {
		return invalid("body.upload", "you have no such upload; GET /api/v1/uploads lists yours")
	}
	if err != nil {
		return err
	}
	d.Task.Input, d.Task.InputSize, d.Task.Content, d.ArchiveSHA256 = "archive", *upload.Size, upload.Content, upload.SHA256
	return e.checkArchive(ctx, d)
}

// takeFile makes the archive of the app's file that the draft names, and checks it.
func (e *Engine) takeFile(ctx context.Context, d *Draft) error {
	switch {
	case d.file == "":
		return nil
	case d.Task.Content != nil:
		return invalid("body.file", "name a file or an upload, or send the part file: one of them")
	case d.Kind.Input == InputNone:
		return invalid("body.file", "%s takes no file", d.Kind.Name)
	}
	f, err := e.db.For(d.by.Reach).File(ctx, d.Task.App, d.file)
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%w: %w", errNoFile, invalid("body.file", "the app has no such file; GET /api/v1/apps/%s/files lists them", d.Task.App))
	}
	if err != nil {
		return err
	}
	d.Task.Input, d.Task.InputSize, d.Task.Content = "archive", f.Size, &f.Content
	return e.checkArchive(ctx, d)
}

// errNoFile says that the app has no file of the path that a draft names.
var errNoFile = errors.New("no such file")

// repeated returns the task that the same request made before of the upload, which is used up since
// then, or of the file, which is gone, or the error that says so.
func (e *Engine) repeated(ctx context.Context, d *Draft, used error) (uuid.UUID, error) {
	first, err := e.db.TaskOfKey(ctx, *d.key)
	if errors.Is(err, storage.ErrNotFound) {
		return d.Task.ID, used
	}
	return first, err
}

// unclear reports whether a transaction that ended with err may have been committed.
func unclear(err error) bool {
	return !errors.Is(err, storage.ErrKeyReused) && !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, errNotMade)
}

// errNotMade marks errors from before the commit.
var errNotMade = errors.New("the task was not made")

// check holds the draft and its archive against its kind.
func (d *Draft) check() error {
	if d.Kind.Input == InputRequired && d.Task.Input == "none" {
		return invalid("file", "%s needs a zip archive; send it as the part file of multipart/form-data, after the part task, or name a finished upload, or a file", d.Kind.Name)
	}
	if d.Kind.Check != nil {
		return d.Kind.Check(d)
	}
	return nil
}

// insert writes a draft and returns the task that stands for its key: itself, or an older one.
func (e *Engine) insert(ctx context.Context, d *Draft) (uuid.UUID, error) {
	task := d.Task
	task.Step = d.Kind.firstStep(task)
	if task.Gated {
		task.Step = stepGate
	}
	committing, err := e.db.InShortTx(ctx, func(tx pgx.Tx) error {
		inserted, err := e.river.InsertTx(ctx, tx, stepArgs{TaskID: task.ID}, &river.InsertOpts{})
		if err != nil {
			return err
		}
		task.JobID = &inserted.Job.ID
		if d.file != "" {
			return storage.HoldContent(ctx, tx, *task.Content)
		}
		if d.upload == nil {
			return nil
		}
		return storage.UseUpload(ctx, tx, *d.upload, d.by.Person, task.App, task.ID.String(), *task.Content)
	}, func(batch *pgx.Batch) {
		storage.QueueTask(batch, d.by.Reach, task, d.by.audit("task.create", task))
		if d.key != nil {
			storage.QueueIdempotencyKey(batch, *d.key, task.ID)
		}
	})
	switch {
	case err == nil:
		return task.ID, nil
	case d.key != nil && storage.IsTaken(err):
		return e.db.TaskOfKey(ctx, *d.key) // what was inserted is rolled back; the older task stands
	case !committing:
		return task.ID, fmt.Errorf("%w: %w", errNotMade, storage.NotStored(err, task))
	}
	return task.ID, err
}

// unpack extracts a task's archive into its folder inbound/, and then deletes the archive. It
// begins anew each time: what a crash left half is removed first.
func (e *Engine) unpack(ctx context.Context, r *Run) (Next, error) {
	task := r.Task
	file, err := e.openArchive(ctx, task)
	if err != nil {
		return Next{}, err
	}
	defer file.Close() //nolint:errcheck // read only
	inbound := task.Folder() + "/" + inboundFolder
	if err := e.files.RemoveAll(ctx, inbound); err != nil {
		return Next{}, err
	}
	listing, err := archive.Check(file, task.InputSize, e.Limits)
	if err != nil {
		return Next{}, refused(err)
	}
	for _, name := range listing.Ignored {
		r.Logf("Ignored %s in the archive", name)
	}
	batch, err := e.files.Batch(ctx, inbound, len(listing.Files))
	if err != nil {
		return Next{}, refused(err)
	}
	defer batch.Close() //nolint:errcheck // a handle of a folder
	err = archive.Extract(ctx, file, listing, batch, archive.ExtractOptions{
		Progress: func(done, total int64) {
			r.Progress(ctx, int(10*done/max(total, 1)), fmt.Sprintf("Unpacking: %s of %s", byteSize(done), byteSize(total)))
		},
	})
	if err != nil {
		return Next{}, refused(err)
	}
	r.Logf("Unpacked %d files, %s", len(listing.Files), byteSize(listing.Bytes))
	unpacked := *task.Content
	task.Input, task.Content = "inbound", nil
	return Next{step: r.kind.First, cleanup: func(ctx context.Context) { e.release(ctx, task.ID, unpacked) }}, nil
}

// refused turns the refusal of an archive into the end of its task.
func refused(err error) error {
	var refusal *archive.Refusal
	switch {
	case errors.As(err, &refusal):
		return &Failure{
			Code: CodeInvalidInput, Message: "The archive cannot be used: " + refusal.Error(),
			Detail: "Make the archive anew and start the task again.",
		}
	case errors.Is(err, files.ErrDamaged):
		return &Failure{
			Code: CodeInternal, Message: "The archive was damaged while it lay on the server: " + err.Error(),
			Detail: "Start the task again with the archive, and tell the operator of this server.",
		}
	case files.IsFull(err):
		return &Failure{Code: CodeInternal, Message: "The server's disk is full", Detail: "Tell the operator of this server."}
	}
	return err
}

// byteSize words a number of bytes for people.
func byteSize(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, suffix := float64(n)/unit, "kMGTPE"
	for value >= unit && len(suffix) > 1 {
		value, suffix = value/unit, suffix[1:]
	}
	return fmt.Sprintf("%.1f %cB", value, suffix[0])
}
