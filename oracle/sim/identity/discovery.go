package identity

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
)

// origin is the address of the domain as the client sees it; its port is always
// written, even the one that goes without saying.
func origin(r *http.Request) string {
	scheme, port := "http", "80"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme, port = "https", "443"
	}
	host := r.Host
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	return scheme + "://" + host
}

// endpoints are the addresses of both metadata documents, each with its twin on
// the other host that the domain has for clients with certificates.
func (d *Domain) endpoints(r *http.Request) map[string]any {
	cfg := d.config()
	base := origin(r)
	if cfg.RelativeEndpoints {
		base = ""
	}
	doc := map[string]any{}
	for name, path := range map[string]string{
		"authorization_endpoint": pathAuthorize, "token_endpoint": pathToken, "userinfo_endpoint": pathUserinfo,
		"revocation_endpoint": pathRevoke, "introspection_endpoint": pathIntrospect,
		"end_session_endpoint": pathLogout, "jwks_uri": pathKeys,
	} {
		doc[name] = base + path
		doc["secure_"+name] = "https://" + cfg.Tenant + ".uk-london-idcs-1.secure.identity.oraclecloud.com" + path
	}
	return doc
}

// openID is the OpenID Connect document: it says nothing of PKCE, of device
// codes or of public clients, all of which work.
func (d *Domain) openID(r *http.Request) map[string]any {
	doc := d.endpoints(r)
	maps.Copy(doc, map[string]any{
		"issuer":           d.config().Issuer,
		"scopes_supported": slices.Sorted(maps.Keys(openIDScopes)),
		"response_types_supported": []string{
			"code", "token", "id_token", "code token", "code id_token", "token id_token", "code token id_token",
		},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"claims_supported":                      []string{"aud", "exp", "iat", "iss", "jti", "sub"},
		"grant_types_supported": []string{
			GrantClientCredentials, GrantPassword, GrantRefreshToken, GrantAuthorizationCode, GrantJWTBearer, "tls_cert_auth",
		},
		"token_endpoint_auth_methods_supported":            []string{"client_secret_basic", "private_key_jwt", "client_secret_post"},
		"token_endpoint_auth_signing_alg_values_supported": []string{"RS256"},
		"userinfo_signing_alg_values_supported":            []string{"none"},
		"ui_locales_supported":                             []string{"en"},
		"claims_parameter_supported":                       false,
		"request_parameter_supported":                      false,
		"http_logout_supported":                            true,
		"logout_session_supported":                         false,
		"idcs_id_token":                                    "supported",
		"idcs_logout_v3":                                   "supported",
	})
	return doc
}

// openIDConfiguration is GET /.well-known/openid-configuration.
func (d *Domain) openIDConfiguration(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, d.openID(r))
}

// authorizationServer is GET /.well-known/oauth-authorization-server (RFC 8414),
// which says more than the other.
func (d *Domain) authorizationServer(w http.ResponseWriter, r *http.Request) {
	doc := d.openID(r)
	doc["token_endpoint_auth_methods_supported"] = []string{"client_secret_basic", "private_key_jwt", "client_secret_post", "none"}
	doc["code_challenge_methods_supported"] = []string{"S256"}
	writeJSON(w, http.StatusOK, doc)
}

// vendorConfiguration is GET /.well-known/idcs-configuration.
func (d *Domain) vendorConfiguration(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"openid-configuration": d.openID(r)})
}

// signingKeys is GET /admin/v1/SigningCert/jwk: one key, for everybody only when
// the domain's settings say so, else for who has an administrator's token.
func (d *Domain) signingKeys(w http.ResponseWriter, r *http.Request) {
	if !d.config().KeysPublic && !d.administers(r) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		writeJSON(w, http.StatusUnauthorized, map[string]any{
			"schemas": []string{"urn:ietf:params:scim:api:messages:2.0:Error"},
			"status":  "401", "detail": "Authorization failed. Authentication is required.",
		})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": []any{d.keys.current().jwk()}})
}

// administers reports whether the request's token is for the domain's own API.
func (d *Domain) administers(r *http.Request) bool {
	payload, err := d.access(bearer(r))
	return err == nil && slices.Contains(strings.Fields(payload.text("scope")), adminScope)
}
