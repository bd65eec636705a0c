// Package storage owns what Longhaul keeps in Postgres: the records of apps and tasks, the
// queries over them, the wake-ups that travel between processes, and the sealing of secrets.
//
// Records are plain structs. The rules of a task's life belong to package jobs; here a rule
// appears only where the database must keep it, as a CHECK or in a WHERE clause. Files lie in
// the packages below: files (the folder of uploads and outputs), archive (zip archives that
// strangers send) and pgserver (the private Postgres).
package storage
