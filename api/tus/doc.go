// Package tus takes in resumable uploads: by tus 1.0 (https://tus.io/protocols/resumable-upload),
// and by the drafts of the IETF's resumable uploads that tusd speaks (Upload-Draft-Interop-Version 3
// to 6).
//
// The protocol is tusd's handler. What it lacks is here, around it: the checksum extension with
// trailers, digest fields (RFC 9530), expiration, and that an answer says what went wrong. Behind it,
// the package is tusd's data store and locker over [jobs.Engine], which keeps the rows, hands uploads
// over from request to request, and finishes them.
//
// Left to others: who the caller is and what they may do, how long a body may take, CORS, and how
// errors are answered.
package tus
