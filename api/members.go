package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
)

// Member is what a person, or everybody in a group, may do with an app.
type Member struct {
	Member    string    `json:"member" doc:"person: and a login, or group: and the name of a group of the sign-in provider"`
	Kind      string    `json:"kind" enum:"person,group"`
	Name      string    `json:"name" doc:"The login, or the group's name"`
	Role      string    `json:"role" enum:"viewer,operator,admin"`
	SeeData   bool      `json:"see_data" doc:"May see inputs, outputs, rejected records and logs"`
	AddedBy   string    `json:"added_by"`
	AddedAt   time.Time `json:"added_at"`
	ChangedAt time.Time `json:"changed_at"`
}

// MemberSettings is what a membership is made of.
type MemberSettings struct {
	Role    string `json:"role" enum:"viewer,operator,admin" doc:"viewer: state and history; operator: also starts and cancels; admin: also the connection and the members"`
	SeeData *bool  `json:"see_data,omitempty" doc:"May see inputs, outputs, rejected records and logs; left out: operators and admins may. Viewers never do"`
}

type (
	listMembersOutput struct{ Body Page[Member] }
	memberInput       struct {
		App    string `path:"app" doc:"The app's name"`
		Member string `path:"member" doc:"person: and a login, or group: and the name of a group"`
	}
	putMemberInput struct {
		App    string `path:"app" doc:"The app's name"`
		Member string `path:"member" doc:"person: and a login, or group: and the name of a group"`
		Body   MemberSettings
	}
	memberOutput struct {
		Status int
		Body   Member
	}
)

func (s *Server) memberRoutes() {
	tags, path := []string{"People"}, "/api/v1/apps/{app}/members"
	one := path + "/{member}"
	errs := []int{http.StatusUnauthorized, http.StatusNotFound}
	huma.Register(s.huma, huma.Operation{
		OperationID: "list-members", Method: http.MethodGet, Path: path, Tags: tags, Summary: "List who may do what with an app", Errors: errs,
	}, s.listMembers)
	huma.Register(s.huma, huma.Operation{
		OperationID: "get-member", Method: http.MethodGet, Path: one, Tags: tags, Summary: "Get a member of an app", Errors: errs,
	}, s.getMember)
	huma.Register(s.huma, huma.Operation{
		OperationID: "put-member", Method: http.MethodPut, Path: one, Tags: tags, Summary: "Let somebody use an app, or change what they may do",
		Description: "A person's own membership counts alone where there is one; otherwise all that their groups give. Nobody " +
			"but an instance admin can change their own membership, or let others see data that they do not see.",
		Responses: map[string]*huma.Response{"201": {
			Description: "A new member",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: s.schemaOf(Member{})}},
		}},
		Errors: append(errs, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType),
	}, s.putMember)
	huma.Register(s.huma, huma.Operation{
		OperationID: "delete-member", Method: http.MethodDelete, Path: one, Tags: tags, Summary: "End a membership",
		DefaultStatus: http.StatusNoContent, Errors: errs,
	}, s.deleteMember)
}

// listMembers handles GET /api/v1/apps/{app}/members, for the app's admins.
func (s *Server) listMembers(ctx context.Context, in *appInput) (*listMembersOutput, error) {
	if _, err := s.scope(ctx).App(ctx, in.App); err != nil {
		return nil, err
	}
	found, err := s.scope(ctx).Members(ctx, in.App)
	if err != nil {
		return nil, err
	}
	out := &listMembersOutput{Body: Page[Member]{Items: []Member{}}}
	for i := range found {
		out.Body.Items = append(out.Body.Items, memberBody(&found[i]))
	}
	return out, nil
}

// getMember handles GET /api/v1/apps/{app}/members/{member}, for the app's admins.
func (s *Server) getMember(ctx context.Context, in *memberInput) (*memberOutput, error) {
	kind, name, err := parseMember(in.Member)
	if err != nil {
		return nil, storage.ErrNotFound
	}
	found, err := s.scope(ctx).Member(ctx, in.App, kind, name)
	if err != nil {
		return nil, err
	}
	return &memberOutput{Status: http.StatusOK, Body: memberBody(&found)}, nil
}

// putMember handles PUT /api/v1/apps/{app}/members/{member}, for the app's admins.
func (s *Server) putMember(ctx context.Context, in *putMemberInput) (*memberOutput, error) {
	made, err := s.saveMember(ctx, in.App, in.Member, &in.Body)
	if err != nil {
		return nil, err
	}
	out, err := s.getMember(ctx, &memberInput{in.App, in.Member})
	if err == nil && made {
		out.Status = http.StatusCreated
	}
	return out, err
}

// saveMember makes or changes a membership and reports whether it is new.
func (s *Server) saveMember(ctx context.Context, app, member string, set *MemberSettings) (made bool, err error) {
	r := requestOf(ctx)
	kind, name, err := parseMember(member)
	if err != nil {
		return false, err
	}
	sees := set.Role != "viewer" && (set.SeeData == nil || *set.SeeData)
	if set.Role == "viewer" && set.SeeData != nil && *set.SeeData {
		return false, invalidField("body.see_data", "viewers see state and history only; make them operators, or leave see_data out")
	}
	if err := r.mayChange(app, kind, name, sees); err != nil {
		return false, err
	}
	err = s.changeAccess(ctx, func(tx pgx.Tx) (storage.Audit, error) {
		made, err = storage.PutMember(ctx, tx, r.caller.Reach, &storage.Member{
			App: app, Kind: kind, Member: name, Role: set.Role, SeeData: sees, AddedBy: r.caller.Name,
		})
		line := r.caller.Audit("member.put", app, kind+":"+name)
		line.Detail = set.Role
		if set.Role != "viewer" && !sees {
			line.Detail += ", without data"
		}
		return line, err
	})
	return made, err
}

// mayChange keeps an app's admins from giving themselves or others more than they have.
func (r *request) mayChange(app, kind, name string, sees bool) error {
	if r.identity.rules() {
		return nil
	}
	if kind == "person" && name == r.caller.Name {
		return errOwnMembership
	}
	if sees && !r.seesData(app) {
		return invalidField("body.see_data", "you do not see this app's data yourself and cannot let others see it; an instance admin can")
	}
	return nil
}

// deleteMember handles DELETE /api/v1/apps/{app}/members/{member}, for the app's admins.
func (s *Server) deleteMember(ctx context.Context, in *memberInput) (*struct{}, error) {
	return nil, s.dropMember(ctx, in.App, in.Member)
}

func (s *Server) dropMember(ctx context.Context, app, member string) error {
	r := requestOf(ctx)
	kind, name, err := parseMember(member)
	if err != nil {
		return storage.ErrNotFound
	}
	if err := r.mayChange(app, kind, name, false); err != nil {
		return err
	}
	return s.changeAccess(ctx, func(tx pgx.Tx) (storage.Audit, error) {
		err := storage.DeleteMember(ctx, tx, r.caller.Reach, app, kind, name)
		return r.caller.Audit("member.delete", app, kind+":"+name), err
	})
}

// parseMember reads person:login or group:name. Logins are kept in lower case.
func parseMember(text string) (kind, name string, err error) {
	kind, name, _ = strings.Cut(text, ":")
	name = strings.TrimSpace(name)
	if kind == "person" {
		name = strings.ToLower(name)
	}
	if kind != "person" && kind != "group" || name == "" || len(name) > 300 {
		return "", "", invalidField("path.member", "write person: and a login, or group: and the name of a group, as in person:jo@example.com")
	}
	return kind, name, nil
}

func memberBody(m *storage.Member) Member {
	return Member{
		Member: m.Kind + ":" + m.Member, Kind: m.Kind, Name: m.Member, Role: m.Role, SeeData: m.SeeData,
		AddedBy: m.AddedBy, AddedAt: m.AddedAt.UTC(), ChangedAt: m.ChangedAt.UTC(),
	}
}
