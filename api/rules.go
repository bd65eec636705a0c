package api

import (
	"longhaul/storage"
)

// needs is what a caller must be, or hold, for a route.
type needs struct {
	who   who
	right storage.Rights
}

type who int

const (
	nobody    who = iota
	everybody     // signed in or not
	signedIn      // whoever has a session or a token
	inPerson      // signed in, and not by an API token: those cannot make more of themselves
	instance      // an instance admin
	withRight     // holds the right on the app or task that the route names, or on any, when it names none
	owner         // holds the right on any app; what is another's, or is for an app out of reach, does not exist
)

var (
	anyone  = needs{who: everybody}
	known   = needs{who: signedIn}
	person  = needs{who: inPerson}
	ruler   = needs{who: instance, right: storage.Instance}
	view    = needs{withRight, storage.View}
	operate = needs{withRight, storage.View | storage.Operate}
	data    = needs{withRight, storage.View | storage.Data}
	manage  = needs{withRight, storage.View | storage.Manage}
	store   = needs{withRight, storage.View | storage.Operate | storage.Data}
	sender  = needs{owner, storage.View | storage.Operate}
)

// rules says what each route needs: the one table, from which the server answers and against which
// the tests hold it. A route that is not here answers nobody.
//
// Roles give rights: a viewer may view; an operator view and operate; an admin of an app view,
// operate and manage. Operators and admins see data unless that was taken from them. An instance
// admin has every right. What a caller may not view, they may not know: 404. What they may
// view and not do: 403.
//
// Where a route names no app or task (a list, POST /api/v1/tasks), the right is asked for on at
// least one app here, and the query itself is scoped to the apps that the caller reaches.
var rules = map[string]needs{
	"GET /healthz":                  anyone,
	"GET /readyz":                   anyone,
	"GET /static/*":                 anyone,
	"GET /sign-in":                  anyone,
	"POST /sign-in":                 anyone,
	"GET /sign-in/start":            anyone,
	"GET /sign-in/callback":         anyone,
	"POST /sign-in/provider-logout": anyone, // its body is signed by the provider

	"GET /openapi.json": known,
	"GET /docs":         known,
	"GET /metrics":      ruler,

	"GET /api/v1/tasks":                              known,
	"POST /api/v1/tasks":                             operate,
	"GET /api/v1/tasks/:id":                          view,
	"DELETE /api/v1/tasks/:id":                       operate,
	"POST /api/v1/tasks/:id/cancel":                  operate,
	"POST /api/v1/tasks/:id/retry":                   operate,
	"GET /api/v1/tasks/:id/events":                   view, // without the log's text for who sees no data
	"GET /api/v1/tasks/:id/log":                      data,
	"GET /api/v1/tasks/:id/outputs":                  data,
	"GET /api/v1/tasks/:id/outputs/*":                data,
	"GET /api/v1/tasks/:id/outputs.zip":              data,
	"OPTIONS /api/v1/uploads":                        known,
	"POST /api/v1/uploads":                           operate, // and data on the app that it names
	"GET /api/v1/uploads":                            known,   // the caller's own; of an app, with a view of that
	"GET /api/v1/uploads/:id":                        known,   // as above
	"HEAD /api/v1/uploads/:id":                       known,   // as above
	"PATCH /api/v1/uploads/:id":                      sender,  // the caller's own; of an app, with operate and data on that
	"DELETE /api/v1/uploads/:id":                     sender,  // as above
	"POST /api/v1/uploads/s3/multipart":              operate, // and data on the app that it names
	"GET /api/v1/uploads/s3/multipart/:id":           known,   // as GET of the upload
	"GET /api/v1/uploads/s3/multipart/:id/:part":     sender,  // as PATCH of the upload
	"GET /api/v1/uploads/s3/multipart/:id/batch":     sender,  // as above
	"POST /api/v1/uploads/s3/multipart/:id/complete": sender,  // as above
	"DELETE /api/v1/uploads/s3/multipart/:id":        sender,  // as above
	"GET /api/v1/uploads/s3/params":                  operate, // and data on the app that it names
	"GET /api/v1/apps/:app/files":                    data,
	"POST /api/v1/apps/:app/files":                   store,
	"GET /api/v1/apps/:app/files/*":                  data,
	"PUT /api/v1/apps/:app/files/*":                  store,
	"DELETE /api/v1/apps/:app/files/*":               store,
	"GET /api/v1/apps/:app/files.zip":                data,
	"GET /api/v1/apps/:app/file-versions/*":          data,
	"GET /api/v1/changes":                            data,
	"GET /api/v1/kinds":                              known,
	"GET /api/v1/apps":                               known,
	"POST /api/v1/apps":                              ruler,
	"GET /api/v1/apps/:app":                          view,
	"PUT /api/v1/apps/:app":                          manage,
	"DELETE /api/v1/apps/:app":                       ruler,
	"POST /api/v1/apps/:app/check":                   operate,
	"GET /api/v1/apps/:app/job-definitions":          operate,
	"GET /api/v1/apps/:app/consent":                  manage,
	"POST /api/v1/apps/:app/consent":                 manage,
	"DELETE /api/v1/apps/:app/consent":               manage,
	"GET /api/v1/apps/:app/members":                  manage,
	"GET /api/v1/apps/:app/members/:member":          manage,
	"PUT /api/v1/apps/:app/members/:member":          manage,
	"DELETE /api/v1/apps/:app/members/:member":       manage,

	"GET /api/v1/me":              known,
	"GET /api/v1/tokens":          person,
	"POST /api/v1/tokens":         person,
	"GET /api/v1/tokens/:id":      person,
	"DELETE /api/v1/tokens/:id":   person,
	"GET /api/v1/sessions":        person,
	"GET /api/v1/sessions/:id":    person,
	"DELETE /api/v1/sessions/:id": person,
	"GET /api/v1/people":          ruler,
	"GET /api/v1/people/:id":      ruler,
	"DELETE /api/v1/people/:id":   ruler,
	"GET /api/v1/audit":           manage, // an app's admins see its lines, instance admins all

	"POST /sign-out":             known,
	"GET /":                      known,
	"GET /start":                 operate,
	"GET /start/jobs":            operate,
	"GET /tasks/:id":             view,
	"GET /tasks/:id/cancel":      operate,
	"POST /tasks/:id/cancel":     operate,
	"POST /tasks/:id/retry":      operate,
	"GET /tasks/:id/delete":      operate,
	"POST /tasks/:id/delete":     operate,
	"GET /apps":                  known,
	"GET /new-app":               ruler,
	"POST /new-app":              ruler,
	"GET /apps/:app":             manage,
	"POST /apps/:app":            manage,
	"POST /apps/:app/check":      operate,
	"GET /apps/:app/connection":  manage,
	"POST /apps/:app/connection": manage,
	"GET /apps/:app/disconnect":  manage,
	"POST /apps/:app/disconnect": manage,
	"GET /apps/:app/delete":      ruler,
	"POST /apps/:app/delete":     ruler,

	"GET /apps/:app/members":                 manage,
	"POST /apps/:app/members":                manage,
	"GET /apps/:app/members/:member/remove":  manage,
	"POST /apps/:app/members/:member/remove": manage,
	"GET /apps/:app/files":                   data,
	"POST /apps/:app/files":                  store,
	"GET /apps/:app/files/move":              store,
	"POST /apps/:app/files/move":             store,
	"GET /apps/:app/files/delete":            store,
	"POST /apps/:app/files/delete":           store,
	"POST /tasks/:id/keep":                   store,
	"GET /profile":                           person, // it lists tokens and sessions
	"POST /profile/tokens":                   person,
	"GET /profile/tokens/:id/revoke":         person,
	"POST /profile/tokens/:id/revoke":        person,
	"POST /profile/sessions/:id/end":         person,
	"POST /profile/sessions/end-others":      person,
	"GET /people":                            ruler,
	"GET /people/:id/forget":                 ruler,
	"POST /people/:id/forget":                ruler,
	"GET /audit":                             manage,
	"GET /audit/export":                      manage,
}
