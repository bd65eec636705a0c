package tus

import (
	"context"
	"log/slog"

	old "golang.org/x/exp/slog"
)

// logTo makes a logger as tusd wants it of ours. tusd tells of each request, which our own log does
// too, and of what goes wrong, which the answer's error says: so its words are for looking closely.
func logTo(logger *slog.Logger) *old.Logger { return old.New(oldHandler{logger}) }

// oldHandler passes records of the package from which log/slog came on to log/slog.
type oldHandler struct{ to *slog.Logger }

// Enabled leaves out what is no trouble.
func (h oldHandler) Enabled(ctx context.Context, level old.Level) bool {
	return level >= old.LevelWarn && h.to.Enabled(ctx, slog.LevelDebug)
}

// Handle passes a record on, at debug.
func (h oldHandler) Handle(ctx context.Context, record old.Record) error {
	attrs := []slog.Attr{slog.String("event", record.Message)}
	record.Attrs(func(a old.Attr) bool {
		attrs = append(attrs, slog.String(a.Key, a.Value.String()))
		return true
	})
	h.to.LogAttrs(ctx, slog.LevelDebug, "tusd", attrs...)
	return nil
}

// WithAttrs keeps the attributes.
func (h oldHandler) WithAttrs(attrs []old.Attr) old.Handler {
	with := make([]any, 0, len(attrs))
	for _, a := range attrs {
		with = append(with, slog.String(a.Key, a.Value.String()))
	}
	return oldHandler{h.to.With(with...)}
}

// WithGroup keeps the group.
func (h oldHandler) WithGroup(name string) old.Handler { return oldHandler{h.to.WithGroup(name)} }
