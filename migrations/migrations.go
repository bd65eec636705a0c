// Package migrations holds the SQL that makes and changes Longhaul's tables.
// It owns the files only; package storage applies them, after River's own.
//
// A file is named NNNN_what.sql, numbered from 0001 without gaps, and is never
// changed once released. Each runs in a transaction of its own, to the end of
// the file: there is no way down. One that must run outside a transaction
// (CREATE INDEX CONCURRENTLY) says so in a line "---- tern: disable-tx ----".
// Tables are named without a schema, so that a database whose search_path
// says otherwise holds ours and River's side by side.
package migrations

import "embed"

// Files are the migrations, in the root of the file system.
//
//go:embed *.sql
var Files embed.FS
