// Package api serves Longhaul over HTTP: the REST API under /api/v1, its OpenAPI description,
// health and metrics, and the web page (package api/web).
//
// A handler finds out who asks, decodes, validates, makes one call inward and renders. Handlers
// return errors; errors.go turns every one of them into an answer, in one place.
package api
