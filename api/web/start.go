package web

import (
	"net/url"
	"slices"
	"strings"
)

// StartForm is the form that starts a task.
type StartForm struct {
	Apps  []AppChoice
	App   string // the chosen one; empty: none yet
	Kinds []KindChoice
	Kind  *StartKind // nil: none chosen yet

	Name        string
	Job         *JobField // nil: the kind runs no saved job
	Fields      []Field   // the other parameters
	MaxRejected string
	Again       *Again // nil: not the repetition of a task

	UploadApp string    // the app that an upload is for; empty: who asks sees no data, and uploads for any
	Files     []AppFile // zips of the app, to take in place of an upload
	MoreFiles bool      // there are others
	File      string    // the path of the one that is taken; empty: none
}

// AppFile is a file of the app's own.
type AppFile struct {
	Path string
	Size int64 // bytes
}

// AppChoice is an app that a task can be started for.
type AppChoice struct{ Name, Application string }

// KindChoice is a kind that the chosen app offers.
type KindChoice struct{ Name, Title string }

// StartKind is the chosen kind.
type StartKind struct {
	Name, Title string
	Input       string // required, optional or none
	Exclusive   bool
}

// Again tells that the form repeats an earlier task.
type Again struct {
	ID, Name string
	FileGone bool // its file was deleted and is to be chosen again
}

// AppQuery is the app as a part of an address.
func (f *StartForm) AppQuery() string { return url.QueryEscape(f.App) }

// FilesURL is where the app's files are.
func (f *StartForm) FilesURL() string { return (&App{Name: f.App}).FilesURL() }

// Help says in a few sentences what the kind does and what it takes.
func (k *StartKind) Help() string { return kindHelp[k.Name] }

// FileHelp says what belongs into the zip.
func (k *StartKind) FileHelp() string { return fileHelp[k.Name] }

var kindHelp = map[string]string{
	"epm.importMetadata":  "Loads members into dimensions from CSV files, with an import job saved in the application.",
	"epm.exportMetadata":  "Writes dimensions to CSV files, with an export job saved in the application. You download them here.",
	"epm.importData":      "Loads data from CSV files, or a text file in Essbase format, with an import job saved in the application.",
	"epm.exportData":      "Writes data to a file, with an export job saved in the application. You download it here.",
	"epm.refreshCube":     "Refreshes the database, so that new members and changes to them can be used.",
	"epm.runBusinessRule": "Runs a business rule that is deployed in the application.",
	"epm.runRuleset":      "Runs a ruleset that is deployed in the application.",
	"epm.clearCube":       "Deletes data with a clear job saved in the application. What is cleared cannot be brought back from here.",
}

var fileHelp = map[string]string{
	"epm.importMetadata": "CSV files named like the job, as importAccount.csv, or ending in the dimension’s name, as all_Account.csv.",
	"epm.importData":     "One or more .csv files, or a .txt file in Essbase format.",
}

// CountsRejects reports whether the kind counts rejected records.
func (k *StartKind) CountsRejects() bool { return k.Input == "required" }

// JobField asks which of the jobs saved in the application is to run.
type JobField struct {
	App, Kind string
	Value     string
	Asked     bool     // the application was asked
	Jobs      []string // what it has
	Problem   string   // why it could not be asked
}

// URL is where the jobs are asked for.
func (f *JobField) URL() string {
	return "/start/jobs?" + url.Values{"app": {f.App}, "kind": {f.Kind}, "job": {f.Value}}.Encode()
}

// Unlisted reports whether the value is none of the application's jobs.
func (f *JobField) Unlisted() bool { return f.Value != "" && !slices.Contains(f.Jobs, f.Value) }

// DefaultName is the name that a task of a kind without saved jobs gets: the kind's last word.
func DefaultName(kind string) string { return kind[strings.LastIndexByte(kind, '.')+1:] }

// HasOptions reports whether there is anything to ask that need not be answered.
func (f *StartForm) HasOptions() bool {
	return f.Kind.CountsRejects() || slices.ContainsFunc(f.Fields, func(p Field) bool { return !p.Required })
}

// OptionsSet reports whether any of the options is filled in.
func (f *StartForm) OptionsSet() bool {
	return f.MaxRejected != "" || slices.ContainsFunc(f.Fields, func(p Field) bool {
		return !p.Required && (p.Value != "" || len(p.Pairs) > 0)
	})
}
