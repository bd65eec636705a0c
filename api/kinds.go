package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"longhaul/jobs"
)

// Kind is a sort of work that tasks can be started of.
type Kind struct {
	Name      string       `json:"name" doc:"The vendor's own command name, after its product"`
	Title     string       `json:"title"`
	Product   string       `json:"product" enum:"epm,fusion,none"`
	Input     string       `json:"input" enum:"required,optional,none" doc:"Whether tasks take an archive"`
	Params    *huma.Schema `json:"params" doc:"A JSON Schema"`
	Exclusive bool         `json:"exclusive" doc:"Runs alone on its application"`
}

type listKindsOutput struct{ Body Page[Kind] }

func (s *Server) kindRoutes() {
	schema := s.schemaOf(Kind{})
	// What a kind's params may be is a JSON Schema of any shape.
	if kind := s.huma.OpenAPI().Components.Schemas.SchemaFromRef(schema.Ref); kind != nil {
		kind.Properties["params"] = &huma.Schema{Type: "object", Description: "A JSON Schema", AdditionalProperties: true}
	}
	huma.Register(s.huma, huma.Operation{
		OperationID: "list-kinds", Method: http.MethodGet, Path: "/api/v1/kinds", Tags: []string{"Kinds"},
		Summary: "List what can be started", Errors: []int{http.StatusUnauthorized},
	}, s.listKinds)
}

// listKinds handles GET /api/v1/kinds, for whoever is signed in.
func (s *Server) listKinds(context.Context, *struct{}) (*listKindsOutput, error) {
	out := &listKindsOutput{}
	for _, k := range s.Engine.Kinds.All() {
		out.Body.Items = append(out.Body.Items, kindBody(k))
	}
	return out, nil
}

func kindBody(k *jobs.Kind) Kind {
	return Kind{
		Name: k.Name, Title: k.Title, Product: k.Product, Input: string(k.Input),
		Params: k.Schema(), Exclusive: k.Exclusive,
	}
}
