// Package jobs owns the life of a task: what kinds of work there are, which states a task goes
// through, how its steps are worked, repeated, cancelled and cleaned up after, and who is told.
//
// # States
//
//	   ┌────────────────── retry makes a new task ──────────────────┐
//	   ▼                                                            │
//	queued ──admitted──▶ running ──all steps done──▶ succeeded      │
//	   │                    │                                       │
//	   │                    ├──a step cannot go on──▶ failed ───────┤
//	   └────────────────────┴──cancelled by someone─▶ cancelled ────┘
//
// The three on the right are final: nothing but retention touches such a task. The schema
// holds the same rules as CHECKs.
//
// # Steps
//
// A task is a row; the row's step names what is to be done next and due_at says when. One River
// job is one step: it loads the row, does the step, and writes in one transaction what the step
// changed, its own end, and the River job of the next step. A remote job of six hours is a row
// with a next look, and holds no worker.
//
// The rows are the truth and River is the waker. River's rows may vanish, double or be rescued:
// a wake-up for a task that is not due does nothing, and a sweep wakes tasks that are due and
// have no live River job.
//
// Every write of a step carries the fence, a number that rises with each of them. Of two workers
// on one step only the first is heard. A step that reaches outside the database (Step.Holds)
// first claims the task: a lease, kept alive by a heartbeat, which ends with its process.
//
// # Never twice
//
// A remote job is started by a step that writes its intent before the call and the remote id
// after it (Step.Starts). A worker that finds an intent without an id knows that a start may have
// happened and that it cannot know: such a task ends as failed with outcome_unknown.
//
// # Tokens
//
// An app that signs in by OAuth 2 holds a refresh token, which can be used once. Whoever needs a new
// access token writes in the connection's row that it is about to ask, in a commit of its own, asks
// once, and commits the new refresh token before the access token is used: of all tasks in all
// processes one asks, and the others wait for what it writes. No transaction is open meanwhile. A
// process that dies in between leaves word that the token may be spent; the next one tries it, and
// where it was, a person must connect the app again. Tokens are renewed after 24 to 30 hours although
// nobody needs them, since a domain keeps them for seven days.
//
// # Uploads
//
// An upload is received by one request at a time: whoever asks for it next takes it over, with a
// higher fence, and the one before can save nothing more ([Engine.HoldUpload]). With its last byte
// the row becomes finishing, and a River job of its own kind puts pieces together, checks the digest
// and makes a content of the bytes, under a lease. A crash anywhere costs time and no bytes. It is
// used once: in the transaction that makes the task, or the file, its content passes on to that.
//
// # Ends
//
// What a task comes to (a verdict) is stored before cleaning up: the step named tidy removes what
// the task put into the remote application, and its own input, as often as it takes. Only then is
// the task final, in one transaction with its log and the list of its outputs.
package jobs
