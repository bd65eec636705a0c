package api

import "github.com/labstack/echo/v4"

// signInPage shows where to type the token.
func (s *Server) signInPage(c echo.Context, status int, problem string) error {
	return c.String(status, problem)
}
