package ssotest

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2/clientcredentials"

	"longhaul/api/npmtest"
)

//go:embed testdata/oidc-provider/package.json testdata/oidc-provider/package-lock.json
var packageFiles embed.FS

//go:embed testdata/oidc-provider/server.mjs
var serverScript []byte

// Node starts the npm package oidc-provider in a process of its own.
//
// Its ID tokens have everything. Its access tokens for the web app are JWTs with
// e-mail address and groups, for an audience that is no client, and userinfo takes
// them not. Any password is right. It sends logout tokens, and names sessions, to an
// application with an address for them.
func Node(t testing.TB) *Provider {
	t.Helper()
	modules := npmtest.Install(t, packageFiles, "testdata/oidc-provider")
	return newProvider(t, func(p *Provider) engine {
		p.Audience = "https://longhaul.example.com/api"
		return &node{modules: modules, provider: p}
	})
}

// ProgramToken gets an access token of Node for a program, with no person behind it.
func (p *Provider) ProgramToken(t testing.TB) string {
	t.Helper()
	config := clientcredentials.Config{
		ClientID: programID, ClientSecret: p.webApp, TokenURL: p.Issuer + "/token",
		EndpointParams: url.Values{"resource": {p.Audience}},
	}
	token, err := config.Token(t.Context())
	if err != nil {
		t.Fatalf("ssotest: token for a program: %v", err)
	}
	return token.AccessToken
}

// node is the process.
type node struct {
	modules  *npmtest.Modules
	provider *Provider

	address string // of its control routes
	cmd     *exec.Cmd
	stdin   io.Closer // its end ends the process, also when this process is killed
}

func (n *node) start(t testing.TB, port string) string {
	t.Helper()
	if port == "" {
		port = "0"
	}
	script := filepath.Join(t.TempDir(), "server.mjs")
	if err := os.WriteFile(script, serverScript, 0o600); err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	n.cmd = n.modules.Node(context.WithoutCancel(t.Context()), script, n.modules.Path("oidc-provider", "lib", "index.js"), port)
	n.cmd.Stderr = t.Output()
	stdin, err := n.cmd.StdinPipe()
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	n.stdin = stdin
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	n.address = "http://" + net.JoinHostPort("127.0.0.1", announcedPort(t, stdout))
	return strings.Replace(n.address, "127.0.0.1", "localhost", 1)
}

// announcedPort waits for the line with the port.
func announcedPort(t testing.TB, stdout io.Reader) string {
	t.Helper()
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if port, ok := strings.CutPrefix(lines.Text(), "port "); ok {
			go func() { _, _ = io.Copy(io.Discard, stdout) }() // until the process ends
			return port
		}
	}
	t.Fatal("ssotest: oidc-provider ended before it served; its own words are above")
	return ""
}

func (n *node) stop(t testing.TB) {
	t.Helper()
	if n.cmd == nil {
		return
	}
	_ = n.stdin.Close()      // it may have ended by itself
	_ = n.cmd.Process.Kill() // likewise
	if n.cmd.Wait() != nil && n.cmd.ProcessState == nil {
		t.Error("ssotest: oidc-provider did not end")
	}
	n.cmd = nil
}

func (n *node) rotate(t testing.TB, kid string) {
	t.Helper()
	n.control(t, http.MethodPost, "/control/keys?kid="+url.QueryEscape(kid), nil)
}

// clientMetadata is OpenID Connect Dynamic Client Registration 1.0, section 2.
type clientMetadata struct {
	ID                       string   `json:"client_id"`
	Secret                   string   `json:"client_secret"`
	RedirectURIs             []string `json:"redirect_uris"`
	GrantTypes               []string `json:"grant_types"`
	ResponseTypes            []string `json:"response_types"`
	PostLogoutRedirectURIs   []string `json:"post_logout_redirect_uris,omitempty"`
	BackChannelLogoutURI     string   `json:"backchannel_logout_uri,omitempty"`
	BackChannelLogoutSession bool     `json:"backchannel_logout_session_required,omitempty"`
}

func (n *node) apply(t testing.TB, s state) {
	t.Helper()
	person := func(id, secret, redirect string) clientMetadata {
		return clientMetadata{
			ID: id, Secret: secret, RedirectURIs: []string{redirect},
			GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{"code"},
		}
	}
	clients := []clientMetadata{
		person(webAppID, n.provider.webApp, webAppRedirect),
		{ID: programID, Secret: n.provider.webApp, RedirectURIs: []string{}, GrantTypes: []string{"client_credentials"}, ResponseTypes: []string{}},
	}
	if a := s.application; a.RedirectURL != "" {
		c := person(n.provider.ClientID, n.provider.ClientSecret, a.RedirectURL)
		if a.PostLogoutURL != "" {
			c.PostLogoutRedirectURIs = []string{a.PostLogoutURL}
		}
		c.BackChannelLogoutURI, c.BackChannelLogoutSession = a.BackChannelLogoutURL, a.BackChannelLogoutURL != ""
		clients = append(clients, c)
	}
	accounts := make(map[string]map[string]any)
	for login, a := range s.accounts {
		accounts[login] = map[string]any{
			"name": a.Name, "preferred_username": a.Login, "email": a.Email, "email_verified": !a.Unverified,
		}
		if a.Groups != nil {
			accounts[login]["groups"] = a.Groups
		}
	}
	n.control(t, http.MethodPut, "/control/state", map[string]any{"clients": clients, "accounts": accounts})
}

func (n *node) control(t testing.TB, method, path string, body any) {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, n.address+path, bytes.NewReader(encoded))
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	resp, err := new(http.Client).Do(req)
	if err != nil {
		t.Fatalf("ssotest: %v", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusNoContent {
		t.Fatalf("ssotest: %s %s answered %s: %s", method, path, resp.Status, answer)
	}
}
