// Package identity is one simulated Oracle identity domain (OCI IAM, formerly
// IDCS), served over real HTTP, with its state in memory: OpenID Connect for
// people who sign in, and the OAuth 2 token endpoint with the grants that
// Fusion and EPM Cloud document.
//
// [New] makes a [Domain] from a [Config]; a Domain is an [http.Handler]. It has
// the oddities that break ordinary clients: one fixed issuer for all tenants
// that is not the address of the discovery document, endpoints with an explicit
// port, signing keys that answer 401 until somebody makes them public, one key
// name for ever, PKCE that works without being advertised, refresh tokens that
// can be used once. Its switches are the fields of Config, and may be changed
// while it runs ([Domain.Change]); faults are added by [Domain.AddFault].
//
// Nothing runs in the background, and time is [Config.Now]. Each concern keeps
// its own state behind its own lock, and none calls another while it holds one:
// keyring, tickets (codes, sessions, used assertions, revoked tokens), refreshes,
// devices, faults, requestLog.
//
// The README says of each behaviour whether it is documented, was observed on a
// live domain, or is inferred. The package imports nothing of the project's: a
// simulator that shared code with the client would share its mistakes.
package identity
