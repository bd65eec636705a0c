package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"longhaul/oracle/sim"
	"longhaul/oracle/sim/identity"
	"longhaul/storage/storagetest"
)

// TestNoSecretIsShown plants secrets wherever a server takes them, lets it do well and badly at
// level debug, and then looks for them in all that anybody can see: what the programs printed and
// answered, the tables, the files, and the log of the environment that they called.
//
// Whoever gives the product a new secret plants it here, and makes the server use it.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	w := newLeakWorld(t)
	server := w.start(t)
	w.signIn(t)
	w.useApps(t)
	w.useConnections(t)
	w.useTasks(t)
	w.sendNonsense(t)
	w.breakServer(t)
	w.readEverything(t)
	server.stop(t)
	w.runCommands(t)
	w.collect(t)
	w.search(t)
}

// leakWorld is a server with secrets, and all that was seen of it.
type leakWorld struct {
	dir, addr string
	env       []string
	pool      *pgxpool.Pool
	log       *syncBuffer // the server's

	sim    *sim.Sim
	simURL string
	simLog *syncBuffer

	password, token string
	cookie          string // of the page's session, as it is sent
	planted         []plantedSecret

	mu    sync.Mutex
	shown []shownText
}

// plantedSecret is a secret and the part of it that no escaping changes.
type plantedSecret struct{ what, value, core string }

// shownText is something that was seen, and where.
type shownText struct{ where, text string }

// plant makes a secret, with what encoders and parsers stumble over around its core.
func (w *leakWorld) plant(what string) string {
	core := strings.ToLower(rand.Text()[:16])
	value := `p&"` + core + `<é/+%`
	w.planted = append(w.planted, plantedSecret{what, value, core})
	return value
}

// plantWord makes a secret that fits into a header, an address or the environment.
func (w *leakWorld) plantWord(what, prefix string) string {
	core := strings.ToLower(rand.Text() + rand.Text())
	w.planted = append(w.planted, plantedSecret{what, prefix + core, core})
	return prefix + core
}

// know plants a secret that was made elsewhere; its first letters may show.
func (w *leakWorld) know(t *testing.T, what, value string, mayShow int) {
	t.Helper()
	if len(value) < mayShow+8 {
		t.Fatalf("%s is too short to be looked for: %d letters", what, len(value))
	}
	w.planted = append(w.planted, plantedSecret{what, value, value[mayShow:]})
}

func (w *leakWorld) show(where, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown = append(w.shown, shownText{where, text})
}

// forms are the ways in which a secret could be written: as it is (JSON, HTML, URLs and Go's
// quoting leave the core alone), in hex, and in base64 at each of the three places where it can
// begin within a longer text, such as user:password.
func (p plantedSecret) forms() []string {
	forms := []string{p.core, hex.EncodeToString([]byte(p.core))}
	for lead := range 3 {
		text := append(bytes.Repeat([]byte{'x'}, lead), p.core...)
		text = text[:len(text)/3*3]
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			encoded := encoding.EncodeToString(text)
			if lead > 0 {
				encoded = encoded[4:] // shares bits with what stands before
			}
			forms = append(forms, strings.ToLower(encoded))
		}
	}
	slices.Sort(forms)
	return slices.Compact(forms)
}

// in returns the form in which the secret stands in a text, or nothing.
func (p plantedSecret) in(lower string) string {
	for _, form := range p.forms() {
		if strings.Contains(lower, strings.ToLower(form)) {
			return form
		}
	}
	return ""
}

func TestSecretForms(t *testing.T) {
	t.Parallel()
	w := &leakWorld{}
	w.plant("password")
	p := w.planted[0]
	inJSON, err := json.Marshal(map[string]string{"password": p.value})
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"plain":         p.value,
		"upper case":    strings.ToUpper(p.value),
		"JSON":          string(inJSON),
		"JSON in JSON":  fmt.Sprintf("%q", inJSON),
		"query":         url.Values{"password": {p.value}}.Encode(),
		"path":          url.PathEscape(p.value),
		"Go":            fmt.Sprintf("%q", p.value),
		"hex":           hex.EncodeToString([]byte("x" + p.value)),
		"bytea":         fmt.Sprintf(`\x%X`, p.value),
		"basic a":       base64.StdEncoding.EncodeToString([]byte("a:" + p.value)),
		"basic ad":      base64.StdEncoding.EncodeToString([]byte("ad:" + p.value)),
		"basic adm":     base64.StdEncoding.EncodeToString([]byte("adm:" + p.value)),
		"raw URL":       base64.RawURLEncoding.EncodeToString([]byte(p.value)),
		"within a text": "x" + base64.URLEncoding.EncodeToString([]byte("?"+p.value+"!")) + "y",
	} {
		if p.in(strings.ToLower(text)) == "" {
			t.Errorf("%s: %s is not found in %s", what, p.value, text)
		}
	}
	if form := p.in("nothing of it here: " + strings.ToLower(base64.StdEncoding.EncodeToString(make([]byte, 100)))); form != "" {
		t.Errorf("%s is found where it is not", form)
	}
}

func newLeakWorld(t *testing.T) *leakWorld {
	t.Helper()
	pool, address := storagetest.DB(t)
	w := &leakWorld{dir: t.TempDir(), addr: freeAddress(t), pool: pool, simLog: &syncBuffer{}}
	if database, err := url.Parse(address); err == nil {
		if password, _ := database.User.Password(); len(password) >= 16 { // one like postgres is everywhere
			w.know(t, "password of the database", password, 0)
		}
	}
	w.password = w.plant("password of an app")
	environment, err := sim.New(sim.Config{
		Speed: 200, Users: []sim.User{{Name: "admin", Password: w.password}},
		Logger: slog.New(slog.NewJSONHandler(w.simLog, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	oracle := httptest.NewServer(environment)
	t.Cleanup(func() {
		oracle.Close()
		if err := environment.Close(); err != nil {
			t.Error(err)
		}
	})
	w.sim, w.simURL = environment, oracle.URL
	w.token = w.plantWord("admin token", "lh_")
	if err := os.WriteFile(filepath.Join(w.dir, "admin-token"), []byte(w.token), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env = append(os.Environ(), asServer+"=1", "LONGHAUL_DATA="+w.dir, "LONGHAUL_DATABASE_URL="+address,
		"LONGHAUL_ADDR="+w.addr, "LONGHAUL_TEST_KINDS=true", "LONGHAUL_DEMO=true", "LONGHAUL_DEMO_SPEED=200", "LONGHAUL_LOG_LEVEL=debug",
		"LONGHAUL_SECRET_KEY="+w.plantWord("secret key", ""), "LONGHAUL_SECRET_KEY_OLD="+w.plantWord("old secret key", ""))
	return w
}

// syncBuffer takes what a program prints while others read it.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// leakServer is the running program.
type leakServer struct {
	w        *leakWorld
	cmd      *exec.Cmd
	out, log *syncBuffer
}

func (w *leakWorld) start(t *testing.T) *leakServer {
	t.Helper()
	s := &leakServer{w: w, cmd: exec.CommandContext(t.Context(), os.Args[0]), out: &syncBuffer{}, log: &syncBuffer{}}
	s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = w.env, s.out, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.log = s.log
	w.eventually(t, "the server is ready", func() bool {
		resp, err := crashClient.Get("http://" + w.addr + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return s
}

// signInLink is the line that shows the admin token, which is its purpose.
var signInLink = regexp.MustCompile(`(?m)^Sign in: http://\S+/sign-in\?token=\S+$`)

func (s *leakServer) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the server did not stop in order: %v", err)
	}
	out := s.out.String()
	if n := len(signInLink.FindAllString(out, -1)); n != 1 {
		t.Errorf("%d sign-in links in %s", n, out)
	}
	s.w.show("the server's output", signInLink.ReplaceAllString(out, ""))
	s.w.show("the server's log", s.log.String())
	for _, line := range []string{`"oracle call"`, `"sim: request"`, `"request"`, "panic: "} {
		if !strings.Contains(s.log.String(), line) {
			t.Errorf("the log has no line with %s: this test does not see what it should", line)
		}
	}
}

// eventually polls until done reports true.
func (w *leakWorld) eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// leakRequest is a request to the server, signed with the admin token unless told otherwise.
type leakRequest struct {
	method, path, contentType, body string
	header                          http.Header
	// private marks an answer that shows a secret to its owner, on purpose.
	private bool
}

type leakAnswer struct {
	status int
	header http.Header
	body   string
}

func (w *leakWorld) send(t *testing.T, r leakRequest) leakAnswer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, "http://"+w.addr+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + w.token}, "Content-Type": {r.contentType}}
	if r.header != nil {
		req.Header = r.header.Clone()
		req.Header.Set("Content-Type", r.contentType)
	}
	resp, err := leakClient.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", r.method, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", r.method, err)
	}
	answer := leakAnswer{resp.StatusCode, resp.Header.Clone(), string(body)}
	if !r.private {
		resp.Header.Del("Set-Cookie") // the session's token goes to its owner so
		path, _, _ := strings.Cut(r.path, "?")
		w.show(fmt.Sprintf("the answer to %s %s: %d", r.method, path, resp.StatusCode), fmt.Sprintf("%v\n%s", resp.Header, body))
	}
	return answer
}

var leakClient = &http.Client{
	Timeout:       30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// want sends a request whose answer must have the status.
func (w *leakWorld) want(t *testing.T, status int, r leakRequest) leakAnswer {
	t.Helper()
	answer := w.send(t, r)
	if answer.status != status {
		t.Errorf("%s %s: %d, not %d: %s", r.method, r.path, answer.status, status, answer.body)
	}
	return answer
}

func (w *leakWorld) json(t *testing.T, method, path string, body any) leakRequest {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return leakRequest{method: method, path: path, contentType: "application/json", body: string(text)}
}

// asPage is what a browser sends that is signed in.
func (w *leakWorld) asPage() http.Header {
	return http.Header{"Cookie": {w.cookie}, "Accept": {"text/html"}}
}

func (w *leakWorld) form(path string, fields url.Values) leakRequest {
	return leakRequest{
		method: http.MethodPost, path: path, contentType: "application/x-www-form-urlencoded",
		body: fields.Encode(), header: w.asPage(),
	}
}

// signIn signs in with right and wrong tokens, and makes an API token.
func (w *leakWorld) signIn(t *testing.T) {
	t.Helper()
	nobody := http.Header{"Accept": {"text/html"}}
	answer := w.want(t, http.StatusSeeOther, leakRequest{method: http.MethodGet, path: "/sign-in?token=" + w.token, header: nobody})
	w.cookie, _, _ = strings.Cut(answer.header.Get("Set-Cookie"), ";")
	_, session, _ := strings.Cut(w.cookie, "=")
	w.know(t, "token of a session", session, 0)

	wrong := w.plantWord("wrong token", "lh_")
	w.want(t, http.StatusUnauthorized, leakRequest{method: http.MethodGet, path: "/sign-in?token=" + wrong, header: nobody})
	r := w.form("/sign-in", url.Values{"token": {w.plant("wrong token in a form")}})
	w.want(t, http.StatusUnauthorized, r)
	w.want(t, http.StatusUnauthorized, leakRequest{
		method: http.MethodGet, path: "/api/v1/tasks", header: http.Header{"Authorization": {"Bearer " + wrong}},
	})
	w.want(t, http.StatusUnauthorized, leakRequest{
		method: http.MethodGet, path: "/api/v1/tasks", header: http.Header{"Cookie": {"longhaul=" + wrong}},
	})
	basic := base64.StdEncoding.EncodeToString([]byte("admin:" + w.plant("password that nobody asked for")))
	w.want(t, http.StatusUnauthorized, leakRequest{
		method: http.MethodGet, path: "/api/v1/tasks", header: http.Header{"Authorization": {"Basic " + basic}},
	})

	r = w.json(t, http.MethodPost, "/api/v1/tokens", map[string]any{"name": "reader", "scopes": []string{"view"}})
	r.private = true
	var made struct {
		ID    string `json:"id"`
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(w.want(t, http.StatusCreated, r).body), &made); err != nil {
		t.Fatal(err)
	}
	w.know(t, "API token", made.Token, len("lh_")+5) // so much is its hint
	header := http.Header{"Authorization": {"Bearer " + made.Token}}
	w.want(t, http.StatusOK, leakRequest{method: http.MethodGet, path: "/api/v1/tasks", header: header})
	w.want(t, http.StatusOK, leakRequest{method: http.MethodGet, path: "/api/v1/tokens"})
	w.want(t, http.StatusNoContent, leakRequest{method: http.MethodDelete, path: "/api/v1/tokens/" + made.ID})
	w.want(t, http.StatusUnauthorized, leakRequest{method: http.MethodGet, path: "/api/v1/tasks", header: header})
}

func leakApp(name, address, password string) map[string]any {
	return map[string]any{
		"name": name, "product": "epm", "url": address, "application": "Vision",
		"auth": map[string]string{"type": "basic", "username": "admin", "password": password},
	}
}

// useApps makes apps that sign in well, with a wrong password, at an address where nothing is,
// and at a service that repeats what it was sent; and checks them, by API and page.
func (w *leakWorld) useApps(t *testing.T) {
	t.Helper()
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		user, password, _ := r.BasicAuth()
		_ = json.NewEncoder(w).Encode(map[string]string{"detail": fmt.Sprintf("bad request of %s with %s: %v", user, password, r.Header)})
	}))
	t.Cleanup(echo.Close)
	for name, app := range map[string]map[string]any{
		"good":    leakApp("good", w.simURL, w.password),
		"refused": leakApp("refused", w.simURL, w.plant("wrong password of an app")),
		"gone":    leakApp("gone", "http://"+freeAddress(t), w.plant("password of an app that is gone")),
		"echo":    leakApp("echo", echo.URL, w.plant("password of an app that repeats it")),
	} {
		w.want(t, http.StatusCreated, w.json(t, http.MethodPost, "/api/v1/apps", app))
		w.want(t, http.StatusConflict, w.json(t, http.MethodPost, "/api/v1/apps", app))
		delete(app, "name")
		w.want(t, http.StatusOK, w.json(t, http.MethodPut, "/api/v1/apps/"+name, app))
		w.want(t, http.StatusOK, leakRequest{method: http.MethodPost, path: "/api/v1/apps/" + name + "/check"})
		w.want(t, http.StatusOK, w.form("/apps/"+name+"/check", nil))
		w.send(t, leakRequest{method: http.MethodGet, path: "/api/v1/apps/" + name + "/job-definitions?kind=epm.importMetadata"})
	}
	w.want(t, http.StatusSeeOther, w.form("/apps/good", url.Values{
		"product": {"epm"}, "url": {w.simURL}, "application": {"Vision"}, "username": {"admin"}, "password": {w.password},
	}))
	w.want(t, http.StatusUnprocessableEntity, w.form("/new-app", url.Values{
		"name": {"Not a name"}, "product": {"epm"}, "url": {"ftp://nowhere"}, "username": {"admin"}, "password": {w.plant("password in a refused form")},
	}))
}

// useConnections connects apps by OAuth 2, well and badly, at an identity domain and at a service
// that repeats what it was sent.
func (w *leakWorld) useConnections(t *testing.T) {
	t.Helper()
	const audience = "urn:opc:serviceInstanceID=1"
	signing, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(signing)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	w.know(t, "private key of an app", strings.Split(text, "\n")[3], 0)
	secret := w.plant("client secret of an app")
	domain, err := identity.New(identity.Config{
		Users:     []identity.User{{Name: "jo@example.com", Password: "welcome1"}},
		Resources: []identity.Resource{{Audience: audience}}, Apps: []identity.App{{ID: "web", Secret: secret}},
		Logger: slog.New(slog.NewJSONHandler(w.simLog, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	tokens := &tokenReader{handler: domain}
	web := httptest.NewServer(tokens)
	t.Cleanup(web.Close)
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = r.ParseForm()
		_ = json.NewEncoder(w).Encode(map[string]string{
			"error": "invalid_request", "error_description": fmt.Sprintf("%s %s %v %v", user, password, r.Header, r.PostForm),
		})
	}))
	t.Cleanup(echo.Close)
	for name, auth := range map[string]map[string]string{
		"consented": {"grant": "device_code", "domain_url": web.URL, "client_secret": secret},
		"mistaken":  {"grant": "device_code", "domain_url": web.URL, "client_secret": w.plant("wrong client secret")},
		"repeating": {"grant": "device_code", "domain_url": echo.URL, "client_secret": w.plant("client secret that is repeated")},
		"told": {
			"grant": "refresh_token", "domain_url": echo.URL, "client_secret": w.plant("client secret beside a refresh token"),
			"refresh_token": w.plant("refresh token that is repeated"),
		},
		"signed": {"grant": "jwt_bearer", "domain_url": echo.URL, "private_key": text, "key_id": "cert1", "username": "jo@example.com"},
	} {
		auth["type"], auth["client_id"], auth["scope"] = "oauth2", "web", audience+identity.ConsumerScope
		app := map[string]any{"name": name, "product": "epm", "url": w.simURL, "application": "Vision", "auth": auth}
		w.want(t, http.StatusCreated, w.json(t, http.MethodPost, "/api/v1/apps", app))
		w.send(t, leakRequest{method: http.MethodPost, path: "/api/v1/apps/" + name + "/consent"})
		w.want(t, http.StatusOK, leakRequest{method: http.MethodPost, path: "/api/v1/apps/" + name + "/check"})
		w.want(t, http.StatusOK, leakRequest{method: http.MethodGet, path: "/api/v1/apps/" + name + "/consent"})
		w.want(t, http.StatusOK, leakRequest{method: http.MethodGet, path: "/apps/" + name, header: w.asPage()})
	}
	w.consent(t, domain)
	w.sql(t, `UPDATE app_connections SET access_at = now() - interval '1 hour', access_until = now() WHERE app = 'consented'`)
	if err := domain.AddFault(identity.Fault{Path: "/oauth2/v1/token", Status: http.StatusServiceUnavailable}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // away, and back
		w.want(t, http.StatusOK, leakRequest{method: http.MethodPost, path: "/api/v1/apps/consented/check"})
	}
	w.readTask(t, w.startExport(t, "consented"), "failed") // the environment takes no tokens
	for what, token := range tokens.given() {
		w.know(t, what, token, 10) // each begins as all do
	}
}

// consent lets a person consent to what the app consented has begun.
func (w *leakWorld) consent(t *testing.T, domain *identity.Domain) {
	t.Helper()
	var consent struct {
		State string `json:"state"`
		Code  string `json:"user_code"`
	}
	read := func() {
		answer := w.want(t, http.StatusOK, leakRequest{method: http.MethodGet, path: "/api/v1/apps/consented/consent"})
		if err := json.Unmarshal([]byte(answer.body), &consent); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if err := domain.ApproveDevice(consent.Code, "jo@example.com"); err != nil {
		t.Fatal(err)
	}
	w.sql(t, `UPDATE app_consents SET next_at = now()`)
	read()
	if consent.State != "connected" {
		t.Errorf("the consent is %s", consent.State)
	}
}

// tokenReader serves an identity domain and keeps the tokens that it gives.
type tokenReader struct {
	handler http.Handler

	mu    sync.Mutex
	seen  map[string]string
	count int
}

func (s *tokenReader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	s.handler.ServeHTTP(answer, r)
	var members map[string]any
	if json.Unmarshal(answer.Body.Bytes(), &members) == nil {
		s.keep(members)
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (s *tokenReader) keep(members map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range []string{"access_token", "refresh_token", "device_code"} {
		if token, ok := members[name].(string); ok {
			if s.seen == nil {
				s.seen = make(map[string]string)
			}
			s.count++
			s.seen[fmt.Sprintf("%s %d", name, s.count)] = token
		}
	}
}

func (s *tokenReader) given() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.seen)
}

// useTasks runs tasks to each sort of end.
func (w *leakWorld) useTasks(t *testing.T) {
	t.Helper()
	echo, gone := w.startExport(t, "echo"), w.startExport(t, "gone")
	w.readTask(t, w.startImport(t, "vision"), "succeeded")
	w.readTask(t, w.startImport(t, "good"), "succeeded")
	w.readTask(t, w.startImport(t, "refused"), "failed")
	var faulty []string // all at once: a lost answer keeps its task busy for half a minute
	for _, fault := range []sim.Fault{
		{Kind: sim.FaultStatus, Count: 1, Status: http.StatusInternalServerError},
		{Kind: sim.FaultExpiredSession, Path: "/jobs/", Count: 1},
		{Kind: sim.FaultReset, Count: 2},
		{Kind: sim.FaultMaintenance, Count: 1},
		{Kind: sim.FaultLostAnswer, Count: 1},
		{Kind: sim.FaultRefuseJob, Count: 1},
		{Kind: sim.FaultFailJob, Count: 1},
	} {
		if _, err := w.sim.AddFault(fault); err != nil {
			t.Fatal(err)
		}
		faulty = append(faulty, w.startExport(t, "good"))
	}
	w.eventually(t, "the task has tried", func() bool {
		return strings.Contains(w.send(t, leakRequest{method: http.MethodGet, path: gone}).body, "does not answer")
	})
	w.want(t, http.StatusAccepted, leakRequest{method: http.MethodPost, path: gone + "/cancel"})
	w.readTask(t, gone, "cancelled")
	w.readTask(t, echo, "failed")
	for _, path := range faulty {
		w.readTask(t, path, "")
	}
}

// startImport starts a task with a file and returns its address.
func (w *leakWorld) startImport(t *testing.T, app string) string {
	t.Helper()
	task, err := json.Marshal(map[string]any{"app": app, "name": "importEntity", "kind": "epm.importMetadata"})
	if err != nil {
		t.Fatal(err)
	}
	contentType, body := multipartTask(t, task, "docs/samples/importEntity.zip")
	r := leakRequest{method: http.MethodPost, path: "/api/v1/tasks", contentType: contentType, body: string(body)}
	return w.want(t, http.StatusAccepted, r).header.Get("Location")
}

// startExport starts a task without one.
func (w *leakWorld) startExport(t *testing.T, app string) string {
	t.Helper()
	r := w.json(t, http.MethodPost, "/api/v1/tasks", map[string]any{"app": app, "name": "exportAccount", "kind": "epm.exportMetadata"})
	return w.want(t, http.StatusAccepted, r).header.Get("Location")
}

// readTask waits for a task's end, in the state if one is given, and reads all there is to read
// about it.
func (w *leakWorld) readTask(t *testing.T, path, state string) {
	t.Helper()
	var now crashTask
	tag := ""
	w.eventually(t, "the task's end", func() bool {
		r := leakRequest{method: http.MethodGet, path: path + "?wait=5", header: http.Header{"Authorization": {"Bearer " + w.token}, "If-None-Match": {tag}}}
		answer := w.send(t, r)
		if answer.status == http.StatusOK {
			tag, now = answer.header.Get("ETag"), crashTask{}
			if err := json.Unmarshal([]byte(answer.body), &now); err != nil {
				t.Fatal(err)
			}
		}
		return now.final()
	})
	if state != "" && now.State != state {
		t.Errorf("the task of %s ended as %s, not %s: %+v", now.App, now.State, state, now.Error)
	}
	for _, part := range []string{"/events", "/log", "/outputs"} {
		w.want(t, http.StatusOK, leakRequest{method: http.MethodGet, path: path + part})
	}
	page := strings.TrimPrefix(path, "/api/v1")
	w.want(t, http.StatusOK, leakRequest{method: http.MethodGet, path: page, header: w.asPage()})
}

// sendNonsense puts secrets where they do not belong; what is wrong is told without them.
func (w *leakWorld) sendNonsense(t *testing.T) {
	t.Helper()
	secret := w.plant("secret in a refused request")
	word := w.plantWord("word in a refused request", "")
	app := func(change func(app map[string]any, auth map[string]any)) leakRequest {
		auth := map[string]any{"type": "basic", "username": "admin", "password": secret}
		app := map[string]any{"name": "nonsense", "product": "epm", "url": w.simURL, "application": "Vision", "auth": auth}
		change(app, auth)
		return w.json(t, http.MethodPost, "/api/v1/apps", app)
	}
	refused := []leakRequest{
		app(func(_, auth map[string]any) { auth["password"] = []string{secret} }),
		app(func(_, auth map[string]any) { auth["pasword"] = secret }),
		app(func(_, auth map[string]any) { auth["type"] = secret }),
		app(func(_, auth map[string]any) { auth["username"] = "" }),
		app(func(app, _ map[string]any) { app["auth"] = secret }),
		app(func(app, _ map[string]any) { app["password"] = secret }),
		app(func(app, _ map[string]any) { app["url"] = "https://admin:" + word + "@epm.example.com" }),
		app(func(app, _ map[string]any) { app["url"] = "https://admin:" + word + "@epm.example.com:x/" }),
		app(func(app, _ map[string]any) { app["product"] = "fusion" }),
		{method: http.MethodPost, path: "/api/v1/apps", contentType: "application/json", body: `{"auth": {"password": "` + secret},
		{method: http.MethodPost, path: "/api/v1/apps", contentType: "application/json", body: `{"auth": {"password": ` + word + `}}`},
		{method: http.MethodPost, path: "/api/v1/apps", contentType: "application/xml", body: "<password>" + word + "</password>"},
		{method: http.MethodPost, path: "/api/v1/apps", contentType: "application/json", body: `{"name": "a\u0000b", "product": "none", "url": "` + word + `"}`},
		{method: http.MethodPost, path: "/api/v1/tasks", contentType: "multipart/form-data; boundary=x", body: "--x\r\n" + word},
		{method: http.MethodPost, path: "/api/v1/tokens", contentType: "application/json", body: `{"name": "x", "scopes": ["` + word + `"]}`},
	}
	for _, r := range refused {
		if answer := w.send(t, r); answer.status < 400 || answer.status >= 500 {
			t.Errorf("%s: %d %s", r.body, answer.status, answer.body)
		}
	}
	w.want(t, http.StatusOK, leakRequest{method: http.MethodGet, path: "/api/v1/tasks?limit=1&token=" + word})
}

// breakServer makes the database refuse, and code panic, while secrets are in hand.
func (w *leakWorld) breakServer(t *testing.T) {
	t.Helper()
	app := leakApp("broken", w.simURL, w.plant("password of an app that breaks the server"))
	app["maintenance"] = map[string]any{"start": "02:00", "minutes": 60, "time_zone": "UTC"}
	create := w.json(t, http.MethodPost, "/api/v1/apps", app)

	w.sql(t, `ALTER TABLE apps RENAME COLUMN auth_sealed TO elsewhere`)
	w.want(t, http.StatusInternalServerError, create)
	w.sql(t, `ALTER TABLE apps RENAME COLUMN elsewhere TO auth_sealed`)

	w.sql(t, `UPDATE apps SET auth_sealed = '\x0102030405' WHERE name = 'refused'`)
	w.want(t, http.StatusOK, leakRequest{method: http.MethodPost, path: "/api/v1/apps/refused/check"})
	again := leakApp("", w.simURL, w.plant("another wrong password of an app"))
	delete(again, "name")
	w.want(t, http.StatusOK, w.json(t, http.MethodPut, "/api/v1/apps/refused", again))

	// Half a maintenance window, which the schema forbids, is a nil pointer to the server.
	w.sql(t, `ALTER TABLE apps DROP CONSTRAINT maintenance_whole`)
	w.sql(t, `CREATE FUNCTION halve() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.name = 'broken' THEN NEW.maintenance_minutes = NULL; END IF; RETURN NEW; END $$`)
	w.sql(t, `CREATE TRIGGER halve BEFORE INSERT OR UPDATE ON apps FOR EACH ROW EXECUTE FUNCTION halve()`)
	w.want(t, http.StatusInternalServerError, create)
	task := w.json(t, http.MethodPost, "/api/v1/tasks", map[string]any{"app": "broken", "name": "exportAccount", "kind": "epm.exportMetadata"})
	w.want(t, http.StatusAccepted, task)
	w.eventually(t, "panics in a request and in a step", func() bool {
		log := w.log.String()
		return strings.Contains(log, "(*Server).createApp") && strings.Contains(log, "(*Engine).gate")
	})
	w.sql(t, `DROP TRIGGER halve ON apps`)
	w.sql(t, `UPDATE apps SET maintenance_start = NULL, maintenance_zone = NULL WHERE name = 'broken'`)
}

func (w *leakWorld) sql(t *testing.T, statement string) {
	t.Helper()
	if _, err := w.pool.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// readEverything asks for all that lists or describes.
func (w *leakWorld) readEverything(t *testing.T) {
	t.Helper()
	for _, path := range []string{
		"/api/v1/tasks", "/api/v1/apps", "/api/v1/apps/good", "/api/v1/kinds", "/api/v1/me", "/api/v1/sessions", "/api/v1/tokens",
		"/api/v1/apps/good/members", "/api/v1/audit", "/openapi.json", "/metrics", "/healthz",
	} {
		w.want(t, http.StatusOK, leakRequest{method: http.MethodGet, path: path})
	}
	for _, path := range []string{"/", "/apps", "/apps/good", "/new-app", "/start?app=good&kind=epm.importMetadata", "/docs", "/sign-in"} {
		w.want(t, http.StatusOK, leakRequest{method: http.MethodGet, path: path, header: w.asPage()})
	}
	w.want(t, http.StatusNotFound, leakRequest{method: http.MethodGet, path: "/nowhere", header: w.asPage()})
	w.want(t, http.StatusSeeOther, w.form("/sign-out", nil))
}

// runCommands runs the program with settings that are wrong, and right.
func (w *leakWorld) runCommands(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		fails bool
		env   []string
		args  []string
	}{
		{false, nil, []string{"rotate-key"}},
		{true, []string{"LONGHAUL_SECRET_KEY_OLD="}, []string{"rotate-key"}},
		{true, []string{"LONGHAUL_SECRET_KEY=" + w.plantWord("another secret key", "")}, []string{"serve"}},
		{true, []string{"LONGHAUL_SECRET_KEY=" + w.plantWord("short secret key", "")[:20]}, []string{"serve"}},
		{true, []string{"LONGHAUL_SECRET_KEY_FILE=" + w.dir}, []string{"serve"}},
		{true, nil, []string{"serve", "--secret-key=" + w.plantWord("secret key in a flag", ""), "--no-such-flag"}},
		{true, []string{"LONGHAUL_DATABASE_URL=postgres://u:" + w.plantWord("password of no database", "") + "@127.0.0.1:1/x"}, []string{"serve"}},
		{true, []string{"LONGHAUL_DATABASE_URL=postgres://u:" + w.plantWord("password in no address", "") + "@:x:y/"}, []string{"rotate-key"}},
		{true, []string{"LONGHAUL_STORAGE_URL=s3://key:" + w.plantWord("secret of a bucket", "") + "@bucket"}, []string{"serve"}},
		{false, nil, []string{"serve", "--help"}},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], c.args...)
		cmd.Env = append(slices.Clone(w.env), c.env...)
		out, err := cmd.CombinedOutput()
		if c.fails == (err == nil) {
			t.Errorf("%s: %v\n%s", c.args[0], err, out)
		}
		w.show(fmt.Sprintf("the output of %s", c.args[0]), string(out))
	}
}

// collect reads what is left when all is done: tables, files, the environment's log.
func (w *leakWorld) collect(t *testing.T) {
	t.Helper()
	w.show("the simulator's log", w.simLog.String())
	requests, err := json.Marshal(w.sim.Requests())
	if err != nil {
		t.Fatal(err)
	}
	w.show("the simulator's list of requests", string(requests))
	rows, err := w.pool.Query(t.Context(), `SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema()`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		var text string
		if err := w.pool.QueryRow(t.Context(), `SELECT coalesce(string_agg(t::text, E'\n'), '') FROM `+table+` t`).Scan(&text); err != nil {
			t.Fatal(err)
		}
		w.show("the table "+table, text)
	}
	err = filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "admin-token" {
			return err
		}
		content, err := os.ReadFile(path)
		w.show("the file "+path, string(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// search looks for every secret in everything.
func (w *leakWorld) search(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Logf("%d secrets, %d places", len(w.planted), len(w.shown))
	told := make(map[string]bool)
	for _, s := range w.shown {
		lower := strings.ToLower(s.text)
		for _, p := range w.planted {
			form := p.in(lower)
			if form == "" || told[p.what+s.where] {
				continue
			}
			told[p.what+s.where] = true
			at := strings.Index(lower, form)
			t.Errorf("%s: shows the %s: …%s…", s.where, p.what, lower[max(0, at-100):min(len(lower), at+len(form)+20)])
		}
	}
}
