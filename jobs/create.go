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

	by  Caller
	key *storage.IdempotencyKey
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
	return &Draft{Task: task, Kind: kind, App: &app, by: n.By}, nil
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
	w, err := e.files.Create(d.Task.Archive())
	if err != nil {
		return err
	}
	defer w.Abort() //nolint:errcheck // what stays is swept
	if _, err := w.ReadFrom(r); err != nil {
		return err
	}
	stored, err := w.Commit()
	if err != nil {
		return err
	}
	d.Task.Input, d.Task.InputSize, d.ArchiveSHA256 = "archive", stored.Size, stored.SHA256[:]
	if err := e.checkArchive(d); err != nil {
		e.Discard(ctx, d)
		return err
	}
	return nil
}

func (e *Engine) checkArchive(d *Draft) error {
	file, err := e.files.Open(d.Task.Archive())
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	d.Listing, err = archive.Check(file, d.Task.InputSize, e.Limits)
	return err
}

// Discard removes what a draft that will not be made left in storage.
func (e *Engine) Discard(ctx context.Context, d *Draft) {
	if d.Task.Input != "archive" {
		return
	}
	if err := e.files.Remove(d.Task.Archive()); err != nil {
		e.logger.WarnContext(ctx, "an archive could not be removed and is left to the sweep", "task", d.Task.ID, "error", err)
	}
}

// Create makes the task of a draft: its row, its River job and its audit line, in one
// transaction. With a key that was used before by the same request it makes nothing and returns
// the first request's task and made as false; storage.ErrKeyReused if that request was another.
// After an error, and when made is false, nothing of the draft stays.
func (e *Engine) Create(ctx context.Context, d *Draft, key *storage.IdempotencyKey) (task *storage.Task, made bool, err error) {
	d.key = key
	if err := d.check(); err != nil {
		e.Discard(ctx, d)
		return nil, false, err
	}
	first, err := e.insert(ctx, d)
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
	e.wakes.Due()
	return d.Task, true, nil
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
		return invalid("file", "%s needs a zip archive; send it as the part file of multipart/form-data, after the part task", d.Kind.Name)
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
		if err == nil {
			task.JobID = &inserted.Job.ID
		}
		return err
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
	file, err := e.files.Open(task.Archive())
	if err != nil {
		return Next{}, err
	}
	defer file.Close() //nolint:errcheck // read only
	inbound := task.Folder() + "/" + inboundFolder
	if err := e.files.RemoveAll(inbound); err != nil {
		return Next{}, err
	}
	root, err := e.files.MakeSub(inbound)
	if err != nil {
		return Next{}, err
	}
	defer root.Close() //nolint:errcheck // a handle of a folder
	listing, err := archive.Check(file, task.InputSize, e.Limits)
	if err != nil {
		return Next{}, refused(err)
	}
	for _, name := range listing.Ignored {
		r.Logf("Ignored %s in the archive", name)
	}
	err = archive.Extract(ctx, file, listing, root, archive.ExtractOptions{
		Progress: func(done, total int64) {
			r.Progress(ctx, int(10*done/max(total, 1)), fmt.Sprintf("Unpacking: %s of %s", byteSize(done), byteSize(total)))
		},
	})
	if err != nil {
		return Next{}, refused(err)
	}
	r.Logf("Unpacked %d files, %s", len(listing.Files), byteSize(listing.Bytes))
	task.Input = "inbound"
	return Next{step: r.kind.First, cleanup: func() { e.removeArchive(ctx, task) }}, nil
}

// removeArchive deletes an extracted archive. A crash before it leaves the archive to the sweep.
func (e *Engine) removeArchive(ctx context.Context, t *storage.Task) {
	if err := e.files.Remove(t.Archive()); err != nil {
		e.logger.WarnContext(ctx, "an extracted archive could not be removed and is left to the sweep", "task", t.ID, "error", err)
	}
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
	case errors.Is(err, files.ErrFull):
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
