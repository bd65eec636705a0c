// Package sim is one simulated Oracle EPM Cloud environment, served over real
// HTTP, with its state in memory. A client that works against it has met the
// documented behaviour of the Planning and interop (migration) REST APIs, the
// oddities seen on live environments, and the faults a network adds.
//
// [New] makes a [Sim] from a [Config]; a Sim is an [http.Handler]. The
// applications, members, cubes and job definitions it starts with come from
// environment.json, or from a file of the same form. Jobs really run: imports
// open the archive from the repository, read its CSV files and change members
// and cells; exports write archives. They take simulated time, which passes
// [Config.Speed] times as fast as real time.
//
// Nothing runs in the background. A job's work is done by the first request
// that arrives after the job is due, whichever request that is, so a Sim that
// nobody asks does nothing and needs no goroutine to be stopped.
//
// Each concern keeps its own state behind its own lock, and no method calls
// another concern while it holds one: application (members, cells), console
// (jobs), repository (files), transfers (uploads and downloads in hand),
// faultSet, requestLog, clock.
//
// The package imports nothing of the project's: a simulator that shared code
// with the client would share its mistakes.
package sim
