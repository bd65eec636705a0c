package api

import "github.com/danielgtaylor/huma/v2"

// Description is the API's description, as /openapi.json serves it. It is not to be
// changed.
func (s *Server) Description() *huma.OpenAPI { return s.huma.OpenAPI() }

// onlyStandardWords takes out of the description what OpenAPI does not know: huma's word for a
// pattern, which has done its work once the messages are made.
func (s *Server) onlyStandardWords() {
	for _, schema := range s.huma.OpenAPI().Components.Schemas.Map() {
		for _, property := range schema.Properties {
			property.PatternDescription = ""
		}
	}
}
