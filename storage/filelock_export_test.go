package storage

// LockPaths takes the locks of a writer, for tests that write many changes in one statement.
var LockPaths = lockPaths
