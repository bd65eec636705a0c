package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"longhaul/api/web"
)

// docsRoutes serves the API's description, and the page to read and try it.
func (s *Server) docsRoutes(g *echo.Group) {
	g.GET("/openapi.json", func(c echo.Context) error {
		return c.JSON(http.StatusOK, s.Description())
	})
	g.GET("/docs", s.docsPage)
}

// docsPage handles GET /docs, for whoever is signed in.
func (s *Server) docsPage(c echo.Context) error {
	return s.html(c, http.StatusOK, web.DocsPage(s.frame(c, "docs")))
}
