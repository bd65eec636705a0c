package sso

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Person is who the provider says somebody is.
type Person struct {
	// Issuer and Subject together are the person, for ever; everything else may
	// change. Subject is the claim sub; at an Oracle identity domain, where that is
	// a name which can be changed, it is user_id.
	Issuer, Subject string
	// Login is what people call the account, in lower case: the claim of
	// [Config.LoginClaim], else the claim sub. An access token often lacks the
	// claim: do not take its login for a change of name.
	Login string
	// Name is for showing; the login where the provider tells no other.
	Name string
	// Email is empty where the provider tells none, or says that it is not verified.
	Email string
	// Groups are as the provider spells them, each once.
	Groups []string
	// GroupsKnown is false where the provider said nothing of groups, which is not
	// the same as none.
	GroupsKnown bool
	// SID names the session at the provider, as a later [Logout] does; often empty.
	SID string
	// IDToken is for [Provider.LogoutURL]; empty for a person of an access token.
	// Keep it like a secret: it holds all of the above.
	IDToken string
	// HostedDomain is the claim hd: the Google Workspace that the account belongs to.
	HostedDomain string
}

// person reads who it is from a token's claims and, where the token does not say,
// from those of userinfo.
func (p *Provider) person(m *metadata, token, info claims) *Person {
	who := &Person{
		Issuer:       token.text("iss"),
		Subject:      p.subject(m, token),
		Email:        verifiedEmail(token, info),
		SID:          token.text("sid"),
		HostedDomain: token.text("hd"),
	}
	who.Login = strings.ToLower(p.login(who.Email, token, info))
	const display = "user_displayname" // Oracle's
	who.Name = either(token.first("name", display), info.first("name", display), fullName(token), fullName(info), who.Login)
	if who.Groups, who.GroupsKnown = token.groups(p.config.GroupsClaim); !who.GroupsKnown {
		who.Groups, who.GroupsKnown = info.groups(p.config.GroupsClaim)
	}
	return who
}

func (p *Provider) subject(m *metadata, token claims) string {
	if p.oracle(m.issuer) && token.has("user_id") {
		return token.text("user_id")
	}
	return token.text(claimSubject)
}

func (p *Provider) login(email string, token, info claims) string {
	claim := p.config.LoginClaim
	if claim == claimEmail {
		return either(email, token.text(claimSubject))
	}
	return either(token.text(claim), info.text(claim), token.text(claimSubject))
}

// verifiedEmail is the address, unless either source says that it is not verified.
func verifiedEmail(token, info claims) string {
	if token.denies(claimEmailVerified) || info.denies(claimEmailVerified) {
		return ""
	}
	return either(token.text(claimEmail), info.text(claimEmail))
}

func fullName(c claims) string {
	return strings.TrimSpace(c.text("given_name") + " " + c.text("family_name"))
}

func either(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// allowed holds a person against the settings.
func (p *Provider) allowed(who *Person) error {
	if domains := p.domains(who); !p.domainsAllowed(domains) {
		return refuse(CodeNotAllowed, "Your account is not of a domain that may use this server. "+
			"Sign in with your company's account, or ask the administrator to allow its domain.",
			fmt.Errorf("the domains %q of %q are not all allowed", domains, who.Login))
	}
	wanted := p.config.AllowedGroups
	if len(wanted) == 0 || slices.ContainsFunc(who.Groups, func(g string) bool { return slices.Contains(wanted, g) }) {
		return nil
	}
	if !who.GroupsKnown {
		return refuse(CodeNotAllowed, "Only members of certain groups may use this server, and the sign-in provider does not tell your groups. "+
			"Ask the administrator to have it send them.", errors.New("no groups in the claim "+p.config.GroupsClaim))
	}
	return refuse(CodeNotAllowed, "Your account is not a member of a group that may use this server. "+
		"Ask the administrator to add you to one.", fmt.Errorf("%q is in none of the allowed groups", who.Login))
}

// googleHost is where Google signs people in.
const googleHost = "accounts.google.com"

// domains are those that a person's account is of: of the address that the provider vouches for, and
// of the login, which people can choose at some. At Google anybody can have an account with an
// address of any company; only the claim hd says that the company holds it.
func (p *Provider) domains(who *Person) []string {
	if p.base.Hostname() == googleHost {
		return []string{who.HostedDomain}
	}
	var found []string
	for _, address := range []string{who.Email, who.Login} {
		if at := strings.LastIndexByte(address, '@'); at >= 0 {
			found = append(found, address[at+1:])
		}
	}
	return found
}

// domainsAllowed reports whether there are domains, and all are allowed.
func (p *Provider) domainsAllowed(domains []string) bool {
	allowed := p.config.AllowedDomains
	stranger := func(domain string) bool {
		return !slices.ContainsFunc(allowed, func(d string) bool { return strings.EqualFold(d, domain) })
	}
	return len(allowed) == 0 || len(domains) > 0 && !slices.ContainsFunc(domains, stranger)
}
