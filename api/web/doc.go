// Package web renders Longhaul's pages for people in browsers.
//
// It owns the templates, the style sheet, the scripts and the words: how a state is called, what
// a size or a time looks like, how a form is drawn from a JSON Schema. Each page is a function
// from values to a View; nothing here reads a database or a request. Loading what a page shows,
// and who may see it, is package api's work.
//
// The pages work without scripts as far as reading, cancelling, retrying, deleting and the files of
// apps go; with them they follow what happens by themselves, and uploads go on after a break. Nothing is inline, so that a strict
// Content-Security-Policy holds. Folder thirdparty/ has what others wrote, with its licences.
package web
