package sso

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// OracleIssuer is what the tokens of every Oracle identity domain name as their
// issuer, whatever the domain's address (published discovery documents of live
// domains show it). Newer domains are said to name their own address.
const OracleIssuer = "https://identity.oraclecloud.com/"

// keysHidden is for the administrator of a domain that keeps its signing keys to
// itself, which is how domains are made.
const keysHidden = "The Oracle identity domain does not show its signing keys, so nobody can sign in. " +
	"Ask its administrator to open Settings → Domain settings → Access signing certificate and turn on " +
	"Configure client access (older consoles: Settings → Default settings → Access Signing Certificate)."

// identityDomain reports whether the host is an Oracle identity domain's.
func identityDomain(host string) bool {
	return strings.HasSuffix(strings.ToLower(host), ".identity.oraclecloud.com")
}

// oracle reports whether the provider is an Oracle identity domain: by its address, or by the
// issuer that most name. A domain can be given another issuer (Security → OAuth).
func (p *Provider) oracle(issuer string) bool {
	return issuer == OracleIssuer || identityDomain(p.base.Hostname())
}

var tenantLabel = regexp.MustCompile(`^idcs-[0-9a-f]+$`)

// tenant is the domain's id where its address shows it, as in
// https://idcs-0123456789abcdef0123456789abcdef.identity.oraclecloud.com.
func tenant(base *url.URL) string {
	label, _, _ := strings.Cut(strings.ToLower(base.Hostname()), ".")
	if identityDomain(base.Hostname()) && tenantLabel.MatchString(label) {
		return label
	}
	return ""
}

// tenantClaims hold the id of the domain a person belongs to; which of them there
// are depends on the kind of token.
var tenantClaims = []string{"user_tenantname", "user.tenant.name", "tenant"}

// checkTenant refuses the token of a person of another domain. The issuer cannot
// tell: it is the same for all domains.
func checkTenant(own string, c claims) error {
	if own == "" {
		return nil
	}
	for _, name := range tenantClaims {
		if got := strings.ToLower(c.text(name)); got != "" && got != own {
			return fmt.Errorf("the claim %s names the identity domain %q, not %q", name, got, own)
		}
	}
	return nil
}

// sameHost compares parsed hosts and ports: Oracle's documents write :443 where
// addresses that people copy do not.
func sameHost(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	default:
		return "443"
	}
}
