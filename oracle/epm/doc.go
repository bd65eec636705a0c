// Package epm calls Oracle EPM Cloud (Planning and the business processes
// built on it): jobs of one application, and the files of its environment.
//
// Each call is one operation of the vendor's REST API, named in its comment
// with the page that describes it; "prest/x" is
// https://docs.oracle.com/en/cloud/saas/enterprise-performance-management-common/prest/x.html.
// Facts marked "seen" are not on those pages but were observed by public
// clients.
//
// It owns the paths, the answers' shapes, the meaning of status numbers, and
// the protocols that take more than one request (chunked upload, two-step
// download). It leaves requests, retries and errors to package oracle, and
// following a job over minutes or hours to its caller: every call here is
// either short, or moves one file.
//
// An error is an [oracle.Error] unless said otherwise. After [Client.Execute],
// ask [oracle.MayHaveHappened] before doing anything else.
package epm
