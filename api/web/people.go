package web

import (
	"fmt"
	"time"
)

// People is everybody who has signed in.
type People struct {
	List []Person
	Note string // what was just done; empty: nothing
	Now  time.Time
}

// Person is somebody who has signed in.
type Person struct {
	ID, Login, Name, Email string
	Groups                 []string
	Rules                  bool // an instance admin
	SignedInAt             time.Time
	Sessions               int  // in how many browsers they are signed in
	Fixed                  bool // cannot be forgotten: who asks, or the administrator of local mode
}

// Also is what is known beside the login.
func (p *Person) Also() string {
	switch {
	case p.Email == "" || p.Email == p.Login:
		if p.Name == p.Login {
			return ""
		}
		return p.Name
	case p.Name == "":
		return p.Email
	}
	return p.Name + ", " + p.Email
}

// SomeGroups are the first groups, and More how many there are beside them.
func (p *Person) SomeGroups() []string { return p.Groups[:min(len(p.Groups), shownGroups)] }

// Rest are the groups that SomeGroups leaves out.
func (p *Person) Rest() []string { return p.Groups[min(len(p.Groups), shownGroups):] }

// shownGroups is how many of a person's groups the list shows.
const shownGroups = 4

// AuditURL is what the person did.
func (p *Person) AuditURL() string { return AuditFilter{Actor: p.Login}.URL() }

// ForgetURL is where one is asked whether to forget the person.
func (p *Person) ForgetURL() string { return "/people/" + p.ID + "/forget" }

// PeoplePage is everybody who has signed in.
func PeoplePage(f Frame, p *People) View { return View{file: "people.html", page: page{f, p}} }

// AskForget asks whether a person is to be forgotten.
func AskForget(p *Person) *Question {
	signedIn := "Their API tokens and their own memberships of apps are deleted."
	if p.Sessions > 0 {
		signedIn = fmt.Sprintf("They are signed out (%s), and their API tokens and their own memberships of apps are deleted.", plural(p.Sessions, "browser", "browsers"))
	}
	return &Question{
		Title: "Forget " + p.Login + "?", Action: p.ForgetURL(), Back: "/people", Yes: "Forget", No: "Keep", Danger: true,
		Paragraphs: []string{
			signedIn + " What they did stays in the audit trail, and their tasks go on.",
			"They can sign in again as long as the sign-in provider lets them, and then have what their groups give. To keep somebody out, take them out there first.",
		},
	}
}
