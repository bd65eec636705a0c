package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"longhaul/storage"
)

// progressEvery bounds how often a step that goes on writes its progress.
const progressEvery = 400 * time.Millisecond

// Run is one worker's hold on a task during one step. What a step changes in Task, remembers
// and logs is written when the step ends, all at once or not at all.
type Run struct {
	Task   *storage.Task
	engine *Engine
	kind   *Kind
	app    *storage.App
	log    strings.Builder
	saved  time.Time
}

// Now is the engine's clock.
func (r *Run) Now() time.Time { return r.engine.now() }

// Logger is for what the operator of the process should know; Logf is for the task's owner.
func (r *Run) Logger() *slog.Logger {
	return r.engine.logger.With("task", r.Task.ID, "kind", r.Task.Kind, "step", r.Task.Step)
}

const (
	// maxLog bounds a task's log, in bytes; it is kept in the task's row.
	maxLog = 8 << 20
	// maxLogLine bounds one entry of it, in bytes: remote texts may have any length.
	maxLogLine = 16 << 10
)

// Logf adds a line to the task's log. A log that is full takes no more.
func (r *Run) Logf(format string, args ...any) {
	if r.Task.LogSize+int64(r.log.Len()) > maxLog {
		return
	}
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n    ")
	if len(line) > maxLogLine {
		line = line[:maxLogLine] + " …"
	}
	// Postgres takes neither zero bytes nor broken UTF-8, and remote texts may hold both.
	line = strings.ToValidUTF8(strings.ReplaceAll(line, "\x00", ""), "�")
	r.log.WriteString(r.Now().UTC().Format("2006-01-02T15:04:05Z "))
	r.log.WriteString(line)
	r.log.WriteByte('\n')
}

// Params decodes the task's parameters, which were checked when the task was made.
func (r *Run) Params(into any) error { return json.Unmarshal(r.Task.Params, into) }

// Recall decodes what earlier steps remembered.
func (r *Run) Recall(into any) error { return json.Unmarshal(r.Task.Work, into) }

// Remember keeps what later steps need to know.
func (r *Run) Remember(what any) error {
	work, err := json.Marshal(what)
	r.Task.Work = work
	return err
}

// Progress shows how far a long step is. It writes now and then, so it may be called often;
// percent counts within the whole task and stays below 100.
func (r *Run) Progress(ctx context.Context, percent int, message string) {
	r.Task.Percent = max(r.Task.Percent, min(percent, 99))
	r.Task.Message = message
	if now := r.Now(); now.Sub(r.saved) < progressEvery {
		return
	}
	r.saved = r.Now()
	text := r.log.String()
	err := r.engine.db.SaveProgress(ctx, r.Task, text)
	if err != nil {
		// The step goes on: its end writes the same, and a lost claim is found by the heartbeat.
		r.Logger().DebugContext(ctx, "progress", "error", err)
		return
	}
	r.log.Reset()
	r.engine.changed(r.Task.ID)
}

// App is the task's app.
func (r *Run) App(ctx context.Context) (*storage.App, error) {
	if r.app == nil {
		app, err := r.engine.db.App(ctx, r.Task.App)
		if err != nil {
			return nil, err
		}
		r.app = &app
	}
	return r.app, nil
}

// The folders in a task's folder.
const (
	inboundFolder  = "inbound"
	outboundFolder = "outbound"
	logsFolder     = "logs"
	workFolder     = "work" // what a step needs on disk for a while
)
