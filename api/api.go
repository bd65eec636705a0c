package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"longhaul/api/sso"
	"longhaul/api/tus"
	"longhaul/jobs"
	"longhaul/storage"
	"longhaul/storage/files"
)

// Config is what a Server needs. Engine, Files, AdminToken and Logger must be given.
type Config struct {
	Engine *jobs.Engine
	Files  files.Store
	// AdminToken signs in the administrator of local mode. It is not for where Provider is given.
	AdminToken string
	// Provider signs people in; nil means local mode.
	Provider *sso.Provider
	// Issuer is the provider's address: people of another are strangers.
	Issuer string
	// Admins are the logins, in lower case, and AdminGroups the groups of the instance admins.
	Admins, AdminGroups []string
	// SessionIdle is how long a session lasts unused, and SessionLife how long at most. 0 means 12
	// hours, and 7 days.
	SessionIdle, SessionLife time.Duration
	// TokensFor is how long after its owner's last sign-in an API token works; 0 means for ever.
	TokensFor time.Duration
	// PublicURL is the external base URL; empty: taken from each request.
	PublicURL string
	// Hosts are the hosts, in lower case and without port, that requests may name besides loopback;
	// nil: any.
	Hosts []string
	// Origins are those whose pages may call the API with bearer tokens.
	Origins []string
	// Proxies are whose word counts for the address of a client.
	Proxies []netip.Prefix
	// CallerRate and AddressRate are how many requests a second a caller, and an address, may make;
	// for a moment more. MaxWaiting is how many requests of one caller may wait for changes at once.
	// 0 means no limit.
	CallerRate, AddressRate, MaxWaiting int
	// MaxUpload is the largest archive or upload that is taken in, in bytes; 0 means no limit but the disk.
	MaxUpload int64
	Version   string
	Logger    *slog.Logger
	// Metrics collects what /metrics shows; nil means a registry of the server's own.
	Metrics *prometheus.Registry
	// MetricsElsewhere leaves /metrics to a listener of its own.
	MetricsElsewhere bool
	// Ready reports why the process is not ready, or nil, and what the operator should see to all the
	// same, or nothing.
	Ready func(context.Context) (warning string, err error)
}

// Server answers HTTP requests.
type Server struct {
	Config
	db        *storage.DB
	echo      *echo.Echo
	huma      huma.API
	sessions  *sessions
	callers   *callers
	origins   *http.CrossOriginProtection
	limits    *limits
	deadlines deadlines
	nudge     nudge
	tus       *tus.Handler
	stopping  context.Context // ends when requests that wait are to end
	stop      context.CancelFunc
}

// New builds the server with all its routes.
func New(config Config) *Server {
	config.Metrics = cmp.Or(config.Metrics, prometheus.NewRegistry())
	s := &Server{
		Config:  config,
		db:      config.Engine.DB(),
		echo:    echo.New(),
		origins: http.NewCrossOriginProtection(),
		nudge:   make(nudge),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.sessions = newSessions(s.db, cmp.Or(config.SessionIdle, 12*time.Hour), cmp.Or(config.SessionLife, 7*24*time.Hour))
	s.callers = newCallers(s.db, &s.Config, s.sessions)
	config.Engine.OnAccessChange(s.callers.forget)

	s.echo.HideBanner, s.echo.HidePort = true, true
	s.limits, s.deadlines = newLimits(&s.Config), newDeadlines()
	s.echo.IPExtractor = s.clientAddress()
	s.echo.HTTPErrorHandler = s.writeError
	s.echo.Use(s.observe, s.headers, s.inTime, s.onlyHosts, s.cors, s.limitAddress, s.readForm, s.limitCaller)
	s.countRefreshFailures()
	s.routes()
	go s.nudge.wakeUp(s.stopping)
	return s
}

// Router knows all routes, for those who walk or add to them.
func (s *Server) Router() *echo.Echo { return s.echo }

// Handler is the server as an http.Handler.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if method := methodOf(r); method != r.Method {
			r = r.Clone(context.WithValue(r.Context(), headKey{}, r.Method == http.MethodHead))
			r.Method = method
		}
		s.echo.ServeHTTP(w, r)
	})
}

// Stop ends the requests that wait for changes, so that the HTTP server can shut down.
func (s *Server) Stop() { s.stop() }

// routes lists every address by who may ask for it.
func (s *Server) routes() {
	// Anyone.
	s.echo.GET("/healthz", s.healthz)
	s.echo.GET("/readyz", s.readyz)
	s.signInRoutes()

	// Whoever is signed in, as far as the rules allow.
	signedIn := s.echo.Group("", s.authenticate, s.limitWaiting)
	signedIn.RouteNotFound("", s.notFound)
	signedIn.RouteNotFound("/*", s.notFound)
	s.huma = humaecho.NewWithGroup(s.echo, signedIn, s.describe())
	s.taskRoutes(signedIn)
	s.eventRoutes(signedIn)
	s.outputRoutes(signedIn)
	s.uploadRoutes(signedIn)
	s.fileRoutes(signedIn)
	s.appRoutes()
	s.consentRoutes()
	s.kindRoutes()
	s.peopleRoutes()
	s.memberRoutes()
	s.tokenRoutes()
	s.sessionRoutes()
	s.auditRoutes(signedIn)
	s.docsRoutes(signedIn)
	s.onlyStandardWords()
	s.describeForbidden()
	s.describeLimits()
	s.pageRoutes(signedIn)
	if !s.MetricsElsewhere {
		signedIn.GET("/metrics", echo.WrapHandler(s.MetricsHandler()))
	}
	signedIn.POST("/sign-out", s.signOut)
}

// describe is the frame of the OpenAPI description.
func (s *Server) describe() huma.Config {
	config := huma.DefaultConfig("Longhaul", cmp.Or(s.Version, "dev"))
	config.CreateHooks = nil // no $schema fields in answers
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.Info.Description = "Runs long jobs for people who work with Oracle Cloud applications. " +
		"Start a task, get 202 with a place to ask, and ask until it is final."
	config.Info.License = &huma.License{Name: "Apache 2.0", Identifier: "Apache-2.0"}
	config.Servers = []*huma.Server{{URL: "/", Description: "This server"}}
	config.Tags = []*huma.Tag{
		{Name: "Tasks", Description: "Runs of a kind of work for an app."},
		{Name: "Uploads", Description: "Bytes on their way in: resumable, by tus 1.0."},
		{Name: "Files", Description: "An app's lasting files, and the feed of their changes."},
		{Name: "Apps", Description: "Oracle Cloud applications with their connection and limits."},
		{Name: "Kinds", Description: "What tasks can be started."},
		{Name: "Audit", Description: "Who did what, and what came of it."},
		{Name: "People", Description: "Who may do what: people, members of apps, API tokens, sessions."},
	}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "An API token, an access token of the sign-in provider, or in local mode the admin token."},
	}
	config.Security = []map[string][]string{{"token": {}}}
	return config
}

// base is the external address of the server, without a slash at its end.
func (s *Server) base(r *http.Request) string {
	if s.PublicURL != "" {
		return strings.TrimSuffix(s.PublicURL, "/")
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// isHTTPS reports whether an address is reached by https.
func isHTTPS(address string) bool { return strings.HasPrefix(address, "https:") }

// encode renders an answer as JSON. It is read by people too, so that < and & stay what they are.
func encode(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), err
}

// scope is the database as it is for the caller of a request.
func (s *Server) scope(ctx context.Context) *storage.Scope {
	return s.db.For(requestOf(ctx).caller.Reach)
}

type requestKey struct{}

// request is what the handlers of one request share.
type request struct {
	id       string
	caller   jobs.Caller
	identity *identity      // who asks; nil before that is known
	snap     *jobs.Snapshot // the task that the route names, once the caller may view it
	app      string         // the app that the body names, where the route names none
	http     *http.Request
	failed   *Problem // what huma answered for an error of a handler
}

// requestOf returns the request that ctx belongs to.
func requestOf(ctx context.Context) *request {
	r, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		return &request{http: &http.Request{}}
	}
	return r
}
