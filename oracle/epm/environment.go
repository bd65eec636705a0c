package epm

import (
	"context"
	"encoding/json"
	"net/http"

	"longhaul/oracle"
)

// Version is what an environment says of itself. Newer environments say more;
// what they leave out is empty.
type Version struct {
	// API is the newest version of the interop API, such as "v2".
	API string
	// ServiceType is the business process, such as "PBCS".
	ServiceType string
	// Build is the monthly update, such as "26.11.40".
	Build string
	// Server, SKU and Essbase are the versions the service names so.
	Server, SKU, Essbase string
}

// Version calls Get REST API Versions for Migration
// (prest/get_rest_api_versions_for_lcm): any role may, so it is the cheapest
// proof that address and credentials are right.
func (c *Client) Version(ctx context.Context) (Version, error) {
	call := oracle.Call{Op: "read the version", Method: http.MethodGet, Path: interop + "/"}
	var e envelope
	// Not every release puts a status here, so its absence is no failure.
	if err := c.api.Do(ctx, call, &e); err != nil {
		return Version{}, err
	}
	if e.Status.Valid {
		if err := c.check(call, e); err != nil {
			return Version{}, err
		}
	}
	list, err := items[versionItem](c, call, e.Items)
	if err != nil {
		return Version{}, err
	}
	if len(list) == 0 {
		return Version{}, c.api.Failure(call, oracle.KindProtocol, "answer names no version; the address may not be an EPM environment")
	}
	return newestVersion(list), nil
}

type versionItem struct {
	Version oracle.Text `json:"version"`
	Latest  oracle.Flag `json:"latest"`
	Service oracle.Text `json:"serviceType"`
	Server  oracle.Text `json:"serverVersion"`
	SKU     oracle.Text `json:"skuType"`
	Essbase oracle.Text `json:"essbaseVersion"`
	Build   oracle.Text `json:"buildVersion"`
}

// newestVersion takes the API version marked latest, else the last in the
// list, and every other fact from wherever in the list it is told first.
func newestVersion(list []versionItem) Version {
	v := Version{API: string(list[len(list)-1].Version)}
	for _, i := range list {
		if i.Latest {
			v.API = string(i.Version)
		}
		for to, from := range map[*string]oracle.Text{
			&v.ServiceType: i.Service, &v.Server: i.Server, &v.SKU: i.SKU, &v.Essbase: i.Essbase, &v.Build: i.Build,
		} {
			if *to == "" {
				*to = string(from)
			}
		}
	}
	return v
}

// Application is one application of an environment.
type Application struct {
	Name string
	// Type is "HP" for Planning and what is built on it; AppType the business
	// process ("PBCS", "EPBCS", "FCCS", …).
	Type, AppType string
	// AdminMode is on while only administrators may sign in.
	AdminMode bool
}

// Applications calls Get Applications (prest/get_applications): those the user
// may see.
func (c *Client) Applications(ctx context.Context) ([]Application, error) {
	call := oracle.Call{Op: "list applications", Method: http.MethodGet, Path: planning}
	var answer struct {
		Items json.RawMessage `json:"items"`
	}
	if err := c.api.Do(ctx, call, &answer); err != nil {
		return nil, err
	}
	type item struct {
		Name      oracle.Text `json:"name"`
		Type      oracle.Text `json:"type"`
		AppType   oracle.Text `json:"appType"`
		AdminMode oracle.Flag `json:"adminMode"`
	}
	list, err := items[item](c, call, answer.Items)
	apps := make([]Application, 0, len(list))
	for _, i := range list {
		apps = append(apps, Application{string(i.Name), string(i.Type), string(i.AppType), bool(i.AdminMode)})
	}
	return apps, err
}
