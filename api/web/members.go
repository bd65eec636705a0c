package web

import (
	"net/url"
	"time"
)

// Members is who may do what with an app.
type Members struct {
	App      string
	List     []Member
	Form     MemberForm // for a new one
	Error    string     // why a change was refused; empty: none was
	Saved    string     // who was just changed; empty: nobody
	Removed  string     // who was just removed; empty: nobody
	SeesData bool       // who asks sees the app's data, and may let others see it
	Local    bool       // nobody but the administrator can sign in
	Known    []string   // people and groups to suggest
	Now      time.Time
}

// Action is where a membership is sent.
func (m *Members) Action() string { return (&App{Name: m.App}).MembersURL() }

// Member is a person, or everybody in a group, with what they may do.
type Member struct {
	App, Kind, Name string // Kind is person or group
	Role            string // viewer, operator or admin
	SeeData         bool
	Fixed           bool // who asks may not change it: it is their own
	AddedBy         string
	ChangedAt       time.Time
}

// ID names the member within the page.
func (m *Member) ID() string { return m.Kind + "-" + url.QueryEscape(m.Name) }

// RoleWord is the role for people.
func (m *Member) RoleWord() string { return label(m.Role) }

// Roles are the roles to choose from.
func (m *Member) Roles() []RoleChoice { return roleChoices(m.Role) }

// Ticked reports whether the box for data is ticked: for a viewer, who sees none, it is as it
// would be after another role was chosen.
func (m *Member) Ticked(allowed bool) bool { return m.SeeData || m.Role == "viewer" && allowed }

// RemoveURL is where one is asked whether to remove the member.
func (m *Member) RemoveURL() string {
	return (&App{Name: m.App}).MembersURL() + "/" + url.PathEscape(m.Kind+":"+m.Name) + "/remove"
}

// MemberForm is the form for a new member, with what was typed when it was refused.
type MemberForm struct {
	Kind, Name, Role string
	SeeData          bool
}

// Roles are the roles to choose from.
func (f MemberForm) Roles() []RoleChoice { return roleChoices(f.Role) }

// RoleChoice is a role to choose.
type RoleChoice struct {
	Name, Word string
	Chosen     bool
}

func roleChoices(chosen string) []RoleChoice {
	var list []RoleChoice
	for _, role := range []string{"viewer", "operator", "admin"} {
		list = append(list, RoleChoice{role, label(role), role == chosen})
	}
	return list
}

// MembersPage is who may do what with an app.
func MembersPage(f Frame, m *Members) View { return View{file: "members.html", page: page{f, m}} }

// AskRemove asks whether a membership is to end.
func AskRemove(m *Member) *Question {
	q := &Question{
		Title: "Remove " + m.Name + "?", Action: m.RemoveURL(), Back: (&App{Name: m.App}).MembersURL(),
		Yes: "Remove", No: "Keep", Danger: true,
	}
	if m.Kind == "group" {
		q.Paragraphs = []string{
			"Whoever may use " + m.App + " only by the group " + m.Name + " does not see the app any more, from now on. Their API tokens do not reach it either.",
		}
		return q
	}
	q.Paragraphs = []string{
		"From now on, only the groups of " + m.Name + " say what they may do with " + m.App + "; if none of them is a member, they do not see the app any more.",
		"To keep a person out whose group is a member, take the group’s place with a membership of their own.",
	}
	return q
}
