// Package sso talks to one OpenID provider: it sends people there to sign in
// ([Provider.Begin]), takes them back ([Provider.Finish]), checks the provider's
// access tokens ([Provider.AccessToken]) and its word that somebody signed out
// ([Provider.LogoutToken]).
//
// It owns the protocol and nothing else: it stores nothing but the provider's
// own document and keys, and knows no routes, cookies, sessions or rights. The
// caller keeps the [Flow] in the browser between Begin and Finish, remembers
// people by [Person.Issuer] and [Person.Subject], and the logout tokens it has
// seen.
//
// # What is checked
//
// Sign-in is the authorization code flow with PKCE (always S256, whether the
// provider advertises it or not), state and nonce. Of every token: the signature,
// by an asymmetric algorithm that the provider names in its document; the issuer,
// audience, expiry, "not before" and "issued at" with [Leeway] for clocks that
// differ; of an ID token also the authorized party (azp), the nonce, and the hash
// of the access token when it is there. An ID token or a logout token never passes
// as an access token.
//
// # Oracle identity domains
//
// They depart from the standard in ways this package knows (see oracle.go): one
// fixed issuer for all tenants, so that the keys and the tenant of our own domain
// are insisted on; signing keys behind a setting, which the error names; one
// constant name for every key; relative endpoints, endpoints with :443.
//
// # When the provider does not answer
//
// Everything is asked for when it is first needed. The provider's document is read
// again after an hour; a provider that did not answer is left alone for some
// seconds, and an old document serves until there is a new one. Keys are read again
// when a signature does not match those known, whether or not the key's name is
// new, but only so often: forged tokens cannot make this server flood the provider.
// Failures that pass by themselves are [ErrUnavailable], everything else a [Refusal].
package sso
