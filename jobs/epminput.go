package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"longhaul/oracle"
	"longhaul/storage"
	"longhaul/storage/archive"
)

// chooser picks, among the names in an archive, the files that a job reads.
type chooser func(job string, names []string) []string

// dimensionFile is the vendor's rule for metadata files that are not named like their job
// (prest/import_metadata): they end in _<Dimension>.csv.
var dimensionFile = regexp.MustCompile(`_[^_/]+\.csv$`)

// metadataFiles are the files that an import of metadata reads; others are ignored by it.
func metadataFiles(job string, names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		base := path.Base(name)
		return base != job+".csv" && !dimensionFile.MatchString(base)
	})
}

// dataFiles are the files that an import of data reads: CSV, or TXT in Essbase's own format
// (prest/import_data).
func dataFiles(_ string, names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		ext := strings.ToLower(path.Ext(name))
		return ext != ".csv" && ext != ".txt"
	})
}

func checkMetadataFiles(d *Draft) error {
	job := jobName(d.Task)
	return d.checkFiles(metadataFiles(job, d.names()),
		fmt.Sprintf("%s.csv, like the import job, or files whose names end in _<Dimension>.csv", job))
}

func checkDataFiles(d *Draft) error {
	return d.checkFiles(dataFiles(jobName(d.Task), d.names()), "one or more .csv files, or a .txt file in Essbase format")
}

// names lists the files in a draft's archive.
func (d *Draft) names() []string {
	names := make([]string, 0, len(d.Listing.Files))
	for _, f := range d.Listing.Files {
		names = append(names, f.Name)
	}
	return names
}

// checkFiles refuses an archive without the files that a job reads, and one in which they lie
// in several folders: the vendor takes them side by side.
func (d *Draft) checkFiles(chosen []string, expected string) error {
	if len(chosen) == 0 {
		return invalid("file", "the archive holds no file that the job reads. Found: %s. Expected: %s", some(d.names()), expected)
	}
	folder := path.Dir(chosen[0])
	for _, name := range chosen {
		if path.Dir(name) != folder {
			return invalid("file", "the files that the job reads must lie in one folder; found %s and %s", chosen[0], name)
		}
	}
	return nil
}

// some lists a few names and counts the rest.
func some(names []string) string {
	const few = 10
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// jobName is the saved job that a task runs.
func jobName(t *storage.Task) string {
	var p SavedJob
	if err := json.Unmarshal(t.Params, &p); err == nil && p.Job != "" {
		return p.Job
	}
	return t.Name
}

// The names of a task's files in the remote application hold its id, so that no other task's
// files, nor a person's, can be hit.
func inboxName(t *storage.Task) string  { return "longhaul-" + t.ID.String() + ".zip" }
func errorName(t *storage.Task) string  { return "longhaul-" + t.ID.String() + "-errors.zip" }
func exportName(t *storage.Task) string { return "longhaul-" + t.ID.String() + "-export.zip" }

// uploadInput packs what the job reads and uploads it. It begins anew each time: the service
// never overwrites, so what an earlier try left is deleted first.
func uploadInput(choose chooser) func(context.Context, *Run) (Next, error) {
	return func(ctx context.Context, r *Run) (Next, error) {
		packed := r.Task.Folder() + "/" + workFolder + "/upload.zip"
		size, err := r.pack(ctx, choose, packed)
		if err != nil {
			return Next{}, err
		}
		client, err := r.client(ctx)
		if err != nil {
			return Next{}, err
		}
		name := inboxName(r.Task)
		if err := client.DeleteFile(ctx, name); err != nil && !oracle.IsNotFound(err) {
			return Next{}, err
		}
		file, err := r.engine.files.Open(ctx, packed)
		if err != nil {
			return Next{}, err
		}
		defer file.Close() //nolint:errcheck // read only
		err = client.Upload(ctx, name, file, size, func(sent int64) {
			r.Progress(ctx, int(10+30*sent/max(size, 1)), fmt.Sprintf("Uploading: %s of %s", byteSize(sent), byteSize(size)))
		})
		if err != nil {
			return Next{}, again(err)
		}
		r.Logf("Uploaded %s as %s", byteSize(size), name)
		r.Task.Message = "Uploaded"
		next := Go("submit")
		next.cleanup = func(ctx context.Context) {
			if err := r.engine.files.RemoveAll(ctx, r.Task.Folder()+"/"+workFolder); err != nil {
				r.Logger().WarnContext(ctx, "a packed upload could not be removed and is left to the task's end", "error", err)
			}
		}
		return next, r.Remember(struct{}{})
	}
}

// pack zips the files that the job reads, side by side.
func (r *Run) pack(ctx context.Context, choose chooser, key string) (int64, error) {
	inbound := r.Task.Folder() + "/" + inboundFolder
	var names []string
	for file, err := range r.engine.files.List(ctx, inbound) {
		if err != nil {
			return 0, err
		}
		names = append(names, strings.TrimPrefix(file.Key, inbound+"/"))
	}
	names = choose(jobName(r.Task), names)
	if len(names) == 0 {
		return 0, &Failure{Code: CodeInvalidInput, Message: "The input holds no file that the job reads"}
	}
	sources := make([]archive.Source, 0, len(names))
	for _, name := range names {
		sources = append(sources, archive.Source{Name: path.Base(name), Open: func(ctx context.Context) (io.ReadCloser, error) {
			return r.engine.files.Open(ctx, path.Join(inbound, name))
		}})
	}
	w, err := r.engine.files.Create(ctx, key)
	if err != nil {
		return 0, err
	}
	defer w.Abort() //nolint:errcheck // what stays is swept
	if err := archive.Pack(ctx, w, sources, archive.PackOptions{}); err != nil {
		return 0, err
	}
	stored, err := w.Commit()
	return stored.Size, err
}
