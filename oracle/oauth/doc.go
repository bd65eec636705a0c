// Package oauth is the client side of an Oracle identity domain's token
// endpoint: it gets the access tokens with which the other clients sign their
// requests ([longhaul/oracle.Bearer]).
//
// It owns the requests of four grants (device code, refresh token, JWT user
// assertion, client credentials), the reading of their answers, and the words
// that tell an administrator what to change when the domain refuses
// ([Error.Advice]). It keeps nothing: storing tokens, doing one refresh at a
// time, and doing it early enough is its callers' work.
//
// A refresh token can be used once, and using it twice revokes the consent of
// the person who gave it. So nothing here is ever sent twice on its own, and
// after a failure [Error.MayHaveHappened] says whether the token may be gone.
// Save the new refresh token before using the access token that came with it.
//
// Not here: signing people in (OpenID Connect), which is the API's.
package oauth
