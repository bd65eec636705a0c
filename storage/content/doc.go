// Package content keeps bytes once, whoever needs them: the archives of tasks, finished uploads, and
// the files of apps.
//
// It owns what ties a row of the table contents to its file in the file storage: that a row which
// can be referred to has its file, that equal bytes are stored once, that what compresses is
// compressed at rest and nobody sees it, that damage is found when it is read, and that the file of
// a content to which nothing refers any more goes.
//
// A file is written first, under a key of its own, and the row after it. A crash between the two
// leaves a file without a row, which the sweep removes a day later. To remove a content it is first
// doomed in the database, where nothing can refer to it any more, then its file goes, and then its
// row. Keys are never used again, so removing bytes never races with the same bytes coming in anew.
//
// Left to others: who refers to a content, and who may read it.
package content
