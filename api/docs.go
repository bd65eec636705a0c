package api

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// docsRoutes serves the API's description. The page to read and try it is in package web.
func (s *Server) docsRoutes(g *echo.Group) {
	g.GET("/openapi.json", func(c echo.Context) error {
		return c.JSON(http.StatusOK, s.huma.OpenAPI())
	})
}
