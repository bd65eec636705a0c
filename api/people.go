package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
)

// Me is who asks, and what they may do.
type Me struct {
	ID       string   `json:"id" format:"uuid"`
	Login    string   `json:"login" doc:"As memberships and the audit trail name you"`
	Name     string   `json:"name"`
	Email    string   `json:"email"`
	Groups   []string `json:"groups" nullable:"false" doc:"As the sign-in provider last told"`
	Instance bool     `json:"instance_admin"`
	Apps     []Access `json:"apps" nullable:"false" doc:"The apps within reach, and what may be done with them"`
	Token    *string  `json:"token" doc:"The name of the API token that was sent; null without one"`
}

// Access is what the caller may do with an app.
type Access struct {
	App    string   `json:"app"`
	Rights []string `json:"rights" nullable:"false" enum:"view,operate,data,manage,instance"`
}

// Person is somebody who has signed in.
type Person struct {
	ID         string    `json:"id" format:"uuid"`
	Login      string    `json:"login"`
	Name       string    `json:"name"`
	Email      string    `json:"email"`
	Groups     []string  `json:"groups" nullable:"false"`
	Instance   bool      `json:"instance_admin"`
	CreatedAt  time.Time `json:"created_at"`
	SignedInAt time.Time `json:"signed_in_at"`
}

type (
	meOutput         struct{ Body Me }
	listPeopleOutput struct{ Body Page[Person] }
	personInput      struct {
		ID string `path:"id" doc:"The person's id"`
	}
	personOutput struct{ Body Person }
)

func (s *Server) peopleRoutes() {
	tags, path := []string{"People"}, "/api/v1/people"
	huma.Register(s.huma, huma.Operation{
		OperationID: "get-me", Method: http.MethodGet, Path: "/api/v1/me", Tags: tags, Summary: "Who you are, and what you may do",
		Errors: []int{http.StatusUnauthorized},
	}, s.getMe)
	huma.Register(s.huma, huma.Operation{
		OperationID: "list-people", Method: http.MethodGet, Path: path, Tags: tags, Summary: "List who has signed in",
		Errors: []int{http.StatusUnauthorized},
	}, s.listPeople)
	huma.Register(s.huma, huma.Operation{
		OperationID: "get-person", Method: http.MethodGet, Path: path + "/{id}", Tags: tags, Summary: "Get a person",
		Errors: []int{http.StatusUnauthorized, http.StatusNotFound},
	}, s.getPerson)
	huma.Register(s.huma, huma.Operation{
		OperationID: "delete-person", Method: http.MethodDelete, Path: path + "/{id}", Tags: tags,
		Summary:       "Forget a person: end their sessions, tokens and memberships",
		Description:   "What they did stays in the audit trail. They can sign in again as long as the provider lets them.",
		DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict},
	}, s.deletePerson)
}

// getMe handles GET /api/v1/me, for whoever is signed in.
func (s *Server) getMe(ctx context.Context, _ *struct{}) (*meOutput, error) {
	r := requestOf(ctx)
	p := &r.identity.person
	me := Me{
		ID: p.ID.String(), Login: p.Login, Name: p.Name, Email: p.Email, Groups: orNone(p.Groups),
		Instance: r.identity.rules(), Apps: []Access{},
	}
	if r.identity.token != nil {
		me.Token = &r.identity.token.Name
	}
	apps, err := s.scope(ctx).Apps(ctx, storage.View)
	if err != nil {
		return nil, err
	}
	for i := range apps {
		me.Apps = append(me.Apps, Access{App: apps[i].Name, Rights: r.identity.rights(apps[i].Name).Words()})
	}
	return &meOutput{Body: me}, nil
}

// listPeople handles GET /api/v1/people, for instance admins.
func (s *Server) listPeople(ctx context.Context, _ *struct{}) (*listPeopleOutput, error) {
	found, err := s.db.People(ctx, s.callers.issuer())
	if err != nil {
		return nil, err
	}
	out := &listPeopleOutput{Body: Page[Person]{Items: []Person{}}}
	for i := range found {
		out.Body.Items = append(out.Body.Items, s.personBody(&found[i]))
	}
	return out, nil
}

// getPerson handles GET /api/v1/people/{id}, for instance admins.
func (s *Server) getPerson(ctx context.Context, in *personInput) (*personOutput, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	found, err := s.db.Person(ctx, id)
	if err != nil {
		return nil, err
	}
	return &personOutput{Body: s.personBody(&found)}, nil
}

// deletePerson handles DELETE /api/v1/people/{id}, for instance admins.
func (s *Server) deletePerson(ctx context.Context, in *personInput) (*struct{}, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, s.forgetPerson(ctx, id)
}

func (s *Server) forgetPerson(ctx context.Context, id uuid.UUID) error {
	if id == storage.LocalAdmin {
		return refuse(ctx, http.StatusConflict, "The administrator of local mode cannot be deleted.")
	}
	return s.changeAccess(ctx, func(tx pgx.Tx) (storage.Audit, error) {
		gone, err := storage.DeletePerson(ctx, tx, id)
		line := requestOf(ctx).caller.Audit("person.delete", "", id.String())
		line.Detail = gone.Login
		return line, err
	})
}

func (s *Server) personBody(p *storage.Person) Person {
	return Person{
		ID: p.ID.String(), Login: p.Login, Name: p.Name, Email: p.Email, Groups: orNone(p.Groups), Instance: s.callers.isAdmin(p),
		CreatedAt: p.CreatedAt.UTC(), SignedInAt: p.SignedInAt.UTC(),
	}
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
