package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"longhaul/jobs"
)

// observe gives every request an id, turns panics and errors into answers, and writes one line
// about it: changes and failures at info, reads that went well at debug, so that thousands of
// polls do not bury what matters. Refusals for asking too much are at debug too, and counted: a
// flood must not fill the log.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		r := c.Request()
		shared := &request{id: uuid.NewString(), http: r}
		shared.caller = jobs.Caller{Address: c.RealIP(), RequestID: shared.id}
		c.SetRequest(r.WithContext(context.WithValue(r.Context(), requestKey{}, shared)))
		shared.http = c.Request()
		c.Response().Header().Set("X-Request-Id", shared.id)
		decodeParams(c)
		if err := s.recovered(next, c); err != nil {
			c.Error(err)
		} else if shared.failed != nil {
			s.report(c.Request().Context(), shared.failed)
		}
		s.noteRefusal(c, shared)
		s.access(c, shared, time.Since(began))
		return nil
	}
}

// decodeParams undoes the percent-encoding of parameters, which the router leaves where an
// address is not written as Go would write it.
func decodeParams(c echo.Context) {
	if c.Request().URL.RawPath == "" {
		return
	}
	values := slices.Clone(c.ParamValues())
	for i, value := range values {
		if decoded, err := url.PathUnescape(value); err == nil {
			values[i] = decoded
		}
	}
	c.SetParamValues(values...)
}

// notFound answers for addresses without a route, and for methods that a route does not take. Who
// is not signed in learns of neither.
func (s *Server) notFound(c echo.Context) error {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		probe := s.echo.NewContext(c.Request(), nil)
		s.echo.Router().Find(method, echo.GetPath(c.Request()), probe)
		if probe.Path() != c.Path() {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return echo.ErrNotFound
	}
	c.Response().Header().Set(echo.HeaderAllow, strings.Join(allowed, ", "))
	return echo.ErrMethodNotAllowed
}

// recovered runs next and turns a panic into an error that is logged with its stack.
func (s *Server) recovered(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		if e, ok := cause.(error); ok && errors.Is(e, http.ErrAbortHandler) {
			panic(cause)
		}
		err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
	}()
	return next(c)
}

func (s *Server) access(c echo.Context, shared *request, took time.Duration) {
	status, method := c.Response().Status, c.Request().Method
	level := slog.LevelInfo
	reads := method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
	if reads && status < http.StatusBadRequest || status == http.StatusTooManyRequests {
		level = slog.LevelDebug
	}
	if !s.Logger.Enabled(c.Request().Context(), level) {
		return
	}
	s.Logger.LogAttrs(c.Request().Context(), level, "request",
		slog.String("request_id", shared.id), slog.String("method", method), slog.String("route", c.Path()),
		slog.Int("status", status), slog.Int64("bytes", c.Response().Size), slog.Duration("took", took),
		slog.String("caller", shared.caller.Name), slog.String("address", shared.caller.Address),
		slog.String("task", c.Param("id")))
}

// MetricsHandler shows the metrics as Prometheus text.
func (s *Server) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{})
}

// healthz handles GET /healthz: the process lives. Anyone may ask.
func (s *Server) healthz(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok", "version": s.Version})
}

var errStopping = errors.New("the server is stopping")

// readyz handles GET /readyz: database and storage reachable, migrations applied, workers running,
// and no stop under way. Anyone may ask.
func (s *Server) readyz(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), 3*time.Second)
	defer cancel()
	err := s.db.Ready(ctx)
	answer := map[string]string{"status": "ready"}
	if err == nil && s.Ready != nil {
		var warning string
		if warning, err = s.Ready(ctx); warning != "" {
			answer["warning"] = warning
		}
	}
	if s.stopping.Err() != nil {
		err = errStopping
	}
	if err != nil {
		s.Logger.WarnContext(ctx, "not ready", "error", err)
		return c.JSON(http.StatusServiceUnavailable, map[string]string{"status": "not ready"})
	}
	return c.JSON(http.StatusOK, answer)
}
