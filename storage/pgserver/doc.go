// Package pgserver runs the private PostgreSQL that serves one data folder
// when no other database is configured.
//
// It owns the folder given to it and everything in it:
//
//	data/          the cluster, made by initdb
//	password       the password of the user "longhaul", mode 0600
//	run/           the Unix socket
//	postgres.log   what the server says, postgres.log.old before that
//	init-*         an initdb that has not finished; removed at the next start
//
// [Start] makes the cluster when there is none, finds a server that an earlier
// process left running (it was killed, PostgreSQL was not) and goes on with it,
// or starts a new one. [Server.Stop] shuts it down in order. [Lock] is what keeps
// two processes from doing this on one folder; whoever calls Start holds it.
//
// PostgreSQL refuses to run as root, so root starts it as the user who owns the
// cluster: postgres, or nobody where that user is missing.
//
// Which tables are in the database is not this package's business; package
// storage migrates it.
package pgserver
