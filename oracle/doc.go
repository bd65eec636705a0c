// Package oracle is the request core for Oracle Cloud REST APIs: it builds a
// request, signs it, sends it, checks the status, and decodes the answer.
// Sub-packages (such as oracle/epm) put thin typed calls on top of it.
//
// It owns what is the same for every product:
//
//   - one place that says how long to wait ([Config]) and what to try again
//     (reads only, see [Retry]);
//   - one typed error ([Error]), which also tells whether a call that is not
//     repeatable may have happened all the same ([Error.MayHaveHappened]);
//   - links taken from answers, brought back to the configured host before any
//     credential is sent ([Client.Rebase]);
//   - types that take the loose JSON these services send ([Number], [Flag],
//     [Text], [Links]).
//
// It leaves to its sub-packages the paths, the meaning of status codes inside
// a body, and everything that follows a job over more than one request. It
// knows nothing of tasks, queues or storage.
package oracle
