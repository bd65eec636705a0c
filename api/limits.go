package api

import (
	"crypto/sha256"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"longhaul/api/web"
)

const (
	// burstFactor is how many seconds' worth of requests may come at once.
	burstFactor = 5
	// wrongAtOnce is how many credentials of an address may be refused before it has to wait, and
	// wrongEvery how long it waits for another try.
	wrongAtOnce = 10
	wrongEvery  = 6 * time.Second
	// limitsKept is how many addresses, callers and credentials are counted at once, each. Whoever
	// was not heard of for longest is forgotten first, and begins anew.
	limitsKept = 20_000
	// waitingPause is what a caller is told to wait who has too many requests waiting.
	waitingPause = 5 * time.Second
)

// limits bound how much a caller, and an address, may ask for. They count what comes to this
// process: of two, each gives as much.
type limits struct {
	byAddress, byCaller *buckets
	wrong               *buckets // by address: credentials that were refused
	// trusted are credentials that were right when they were last looked at, with their caller.
	// They are looked at although others of their address are refused: a company shares one.
	trusted *lru.Cache[fingerprint, string]
	// refused are credentials that were wrong. Each has a bucket of its own, so that a forgotten
	// script, or a page whose session is over, does not use up that of its address.
	refused *buckets
	waiting waiting
	refusal *prometheus.CounterVec
}

// fingerprint stands for a credential: nothing here holds one.
type fingerprint = [sha256.Size]byte

func newLimits(config *Config) *limits {
	trusted, _ := lru.New[fingerprint, string](limitsKept) // the size is valid
	l := &limits{
		byAddress: newBuckets(rate.Limit(config.AddressRate), config.AddressRate*burstFactor),
		byCaller:  newBuckets(rate.Limit(config.CallerRate), config.CallerRate*burstFactor),
		trusted:   trusted,
		waiting:   waiting{most: config.MaxWaiting, now: make(map[string]int)},
		refusal: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "longhaul_limited_total", Help: "Requests that were refused because of a limit: of the address, the caller, wrong credentials, or waiting requests.",
		}, []string{"limit"}),
	}
	if config.AddressRate > 0 {
		l.wrong, l.refused = newBuckets(rate.Every(wrongEvery), wrongAtOnce), newBuckets(rate.Every(wrongEvery), wrongAtOnce)
	}
	config.Metrics.MustRegister(l.refusal)
	return l
}

// buckets are token buckets by name. The nil ones are never empty.
type buckets struct {
	kept  *lru.Cache[string, *rate.Limiter]
	limit rate.Limit
	burst int
}

// newBuckets returns nil, which limits nothing, for a limit of 0.
func newBuckets(limit rate.Limit, burst int) *buckets {
	if limit <= 0 {
		return nil
	}
	kept, _ := lru.New[string, *rate.Limiter](limitsKept) // the size is valid
	return &buckets{kept, limit, burst}
}

func (b *buckets) of(name string) *rate.Limiter {
	if known, ok := b.kept.Get(name); ok {
		return known
	}
	made := rate.NewLimiter(b.limit, b.burst)
	if known, ok, _ := b.kept.PeekOrAdd(name, made); ok {
		return known // another request was faster
	}
	return made
}

// has reports whether the bucket is there already.
func (b *buckets) has(name string) bool { return b != nil && b.kept.Contains(name) }

// take takes a token; when there is none it returns how long until there is.
func (b *buckets) take(name string) time.Duration {
	if b == nil || b.of(name).Allow() {
		return 0
	}
	return max(b.left(name), time.Millisecond)
}

// left returns 0 when there is a token to take, and otherwise how long until there is.
func (b *buckets) left(name string) time.Duration {
	if b == nil {
		return 0
	}
	missing := 1 - b.of(name).Tokens()
	return max(0, time.Duration(missing/float64(b.limit)*float64(time.Second)))
}

// neighbourhood is whom an address is counted with: an IPv4 address alone, an IPv6 address with its
// /64, because each customer and each machine has as many as that. What is no address is counted as
// one.
func neighbourhood(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	ip = ip.WithZone("").Unmap()
	if ip.Is4() {
		return ip.String()
	}
	net, _ := ip.Prefix(64) // valid of every IPv6 address
	return net.String()
}

// limitAddress refuses addresses that ask too much, before anything is done for them. What is
// answered from memory to anyone is free.
func (s *Server) limitAddress(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Path() == "/healthz" || strings.HasPrefix(c.Path(), web.StaticPrefix) || s.limits.byAddress == nil {
			return next(c)
		}
		if wait := s.limits.byAddress.take(neighbourhood(c.RealIP())); wait > 0 {
			return s.tooMany(c, "address", "Too many requests come from your address. Wait as long as Retry-After says.", wait)
		}
		return next(c)
	}
}

// limitCaller refuses callers who ask too much, and addresses from which too many wrong credentials
// came, both before the credential is looked at. Who the caller is, it knows from the request
// before; the first one is counted once it is answered.
func (s *Server) limitCaller(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		l := s.limits
		if l.byCaller == nil && l.wrong == nil {
			return next(c)
		}
		credential, sent := s.credential(c)
		if !sent {
			return next(c)
		}
		key, from := sha256.Sum256([]byte(credential)), neighbourhood(c.RealIP())
		caller, trusted := l.trusted.Get(key)
		if trusted {
			if wait := l.byCaller.take(caller); wait > 0 {
				return s.tooMany(c, "caller", fmt.Sprintf("You ask more than the %d times a second that this server allows a caller. "+
					"Wait as long as Retry-After says. To follow a task, hold the request with wait, or read its events.", s.CallerRate), wait)
			}
		} else if wait := l.untilLook(key, from); wait > 0 {
			return s.tooMany(c, "credentials", "Too many sign-ins or tokens from your address were wrong. "+
				"Wait as long as Retry-After says, and check what you send.", wait)
		}
		err := next(c)
		switch who := requestOf(c.Request().Context()).identity; {
		case who != nil && !trusted:
			l.trusted.Add(key, who.key())
			l.byCaller.take(who.key())
		case who == nil && refusedCredential(c, err):
			l.trusted.Remove(key)
			l.countWrong(key, from)
		}
		return err
	}
}

// untilLook returns 0 when a credential may be looked at, and otherwise how long that takes.
// Requests that are under way are not counted: of many that come at once after a start, most are
// right.
func (l *limits) untilLook(key fingerprint, from string) time.Duration {
	if name := string(key[:]); l.refused.has(name) {
		return l.refused.left(name)
	}
	return l.wrong.left(from)
}

// countWrong counts a credential that was refused: the first time for its address, and then for
// itself.
func (l *limits) countWrong(key fingerprint, from string) {
	name := string(key[:])
	if !l.refused.has(name) {
		l.wrong.take(from)
	}
	l.refused.take(name)
}

// credential returns what a request wants to be known by, and whether it wants to be where it goes.
func (s *Server) credential(c echo.Context) (text string, sent bool) {
	switch c.Path() {
	case "/healthz", "/readyz", "/sign-in/start", web.StaticPrefix + "*":
		return "", false
	case "/sign-in":
		token := c.FormValue("token")
		return token, token != "" && s.Provider == nil
	case "/sign-in/callback":
		return c.QueryParam("code"), true
	case "/sign-in/provider-logout":
		return c.FormValue("logout_token"), true
	}
	if scheme, token, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " "); strings.EqualFold(scheme, "Bearer") {
		return token, true
	}
	return s.sessionCookie(c)
}

// refusedCredential reports whether what a request wanted to be known by was found wrong.
func refusedCredential(c echo.Context, err error) bool {
	if err != nil {
		return problemOf(c.Request().Context(), err).Status == http.StatusUnauthorized
	}
	switch c.Response().Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest:
		return strings.HasPrefix(c.Path(), "/sign-in")
	}
	return false
}

// key is what a caller is counted by: an API token alone, all of a person's sessions together.
func (i *identity) key() string {
	if i.token != nil {
		return i.token.ID.String()
	}
	return i.person.ID.String()
}

// tooMany refuses a request because of a limit.
func (s *Server) tooMany(c echo.Context, limit, detail string, wait time.Duration) error {
	s.limits.refusal.WithLabelValues(limit).Inc()
	c.Response().Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	return refuse(c.Request().Context(), http.StatusTooManyRequests, detail)
}

// waiting counts the requests of each caller that wait for changes.
type waiting struct {
	most int // 0: no limit
	mu   sync.Mutex
	now  map[string]int
}

func (w *waiting) begin(caller string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now[caller] >= w.most {
		return false
	}
	w.now[caller]++
	return true
}

func (w *waiting) end(caller string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now[caller]--; w.now[caller] == 0 {
		delete(w.now, caller)
	}
}

// limitWaiting bounds how many requests of one caller wait for changes at once: each holds memory
// here. It comes after the caller is known.
func (s *Server) limitWaiting(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if s.limits.waiting.most <= 0 || !waits(c) {
			return next(c)
		}
		caller := requestOf(c.Request().Context()).identity.key()
		if !s.limits.waiting.begin(caller) {
			return s.tooMany(c, "waiting", fmt.Sprintf("%d of your requests wait here for changes, and this server holds no more for one caller. "+
				"Let some end, or ask without wait.", s.limits.waiting.most), waitingPause)
		}
		defer s.limits.waiting.end(caller)
		return next(c)
	}
}

// waits reports whether a request is one that may be held: a long poll, or an event stream.
func waits(c echo.Context) bool {
	if strings.HasSuffix(c.Path(), "/events") {
		return true
	}
	if c.Request().URL.RawQuery == "" {
		return false
	}
	wait := c.QueryParam("wait")
	return wait != "" && wait != "0"
}

// describeLimits adds to every operation that it may be asked for too often.
func (s *Server) describeLimits() {
	answer := s.problemResponse("Too many requests")
	answer.Headers = map[string]*huma.Param{"Retry-After": header("Seconds to wait before asking again")}
	slow := s.problemResponse("The request's body came too slowly")
	for _, op := range s.operations() {
		op.Responses[strconv.Itoa(http.StatusTooManyRequests)] = answer
		if op.RequestBody != nil {
			op.Responses[strconv.Itoa(http.StatusRequestTimeout)] = slow
		}
	}
}
