package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"longhaul/api/web"
	"longhaul/storage"
)

// peoplePage handles GET /people, for instance admins.
func (s *Server) peoplePage(c echo.Context) error {
	ctx := c.Request().Context()
	people, err := s.db.People(ctx, s.callers.issuer())
	if err != nil {
		return err
	}
	sessions, err := s.sessionCounts(ctx)
	if err != nil {
		return err
	}
	list := &web.People{Now: time.Now()}
	if c.QueryParam("done") == "forgotten" {
		list.Note = "The person is forgotten."
	}
	for i := range people {
		list.List = append(list.List, s.personOnPage(ctx, &people[i], sessions[people[i].ID]))
	}
	return s.html(c, http.StatusOK, web.PeoplePage(s.frame(c, "people"), list))
}

// sessionCounts is how many sessions each person has.
func (s *Server) sessionCounts(ctx context.Context) (map[uuid.UUID]int, error) {
	sessions, err := s.db.Sessions(ctx, uuid.Nil)
	counts := make(map[uuid.UUID]int)
	for i := range sessions {
		counts[sessions[i].PersonID]++
	}
	return counts, err
}

func (s *Server) personOnPage(ctx context.Context, p *storage.Person, sessions int) web.Person {
	return web.Person{
		ID: p.ID.String(), Login: p.Login, Name: p.Name, Email: p.Email, Groups: p.Groups, Rules: s.callers.isAdmin(p),
		SignedInAt: p.SignedInAt, Sessions: sessions, Fixed: p.ID == storage.LocalAdmin || p.ID == requestOf(ctx).caller.Person,
	}
}

// askForgetPerson handles GET /people/{id}/forget, for instance admins.
func (s *Server) askForgetPerson(c echo.Context) error {
	ctx := c.Request().Context()
	id, err := parseID(c.Param("id"))
	if err != nil {
		return err
	}
	person, err := s.db.Person(ctx, id)
	if err != nil {
		return err
	}
	sessions, err := s.db.Sessions(ctx, id)
	if err != nil {
		return err
	}
	shown := s.personOnPage(ctx, &person, len(sessions))
	return s.question(c, "people", web.AskForget(&shown))
}

// forgetPersonFromPage handles POST /people/{id}/forget, for instance admins.
func (s *Server) forgetPersonFromPage(c echo.Context) error {
	id, err := parseID(c.Param("id"))
	if err != nil {
		return err
	}
	if err := s.forgetPerson(c.Request().Context(), id); err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/people?done=forgotten")
}
