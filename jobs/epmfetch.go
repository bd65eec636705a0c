package jobs

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"longhaul/oracle"
	"longhaul/oracle/epm"
	"longhaul/storage"
	"longhaul/storage/archive"
	"longhaul/storage/files"
)

// records counts what an import did with what it read.
type records struct {
	Read      int64 `json:"read"`
	Processed int64 `json:"processed"`
	Rejected  int64 `json:"rejected"`
}

// importResult is the result of an import.
type importResult struct {
	Records    records            `json:"records"`
	Dimensions map[string]records `json:"dimensions,omitempty"`
	Message    string             `json:"message"`
}

// shownMessages is how many of the application's messages the log repeats.
const shownMessages = 20

// fetchImport brings what an import left: its counts, its messages and its rejected records.
func fetchImport(ctx context.Context, r *Run) (Next, error) {
	var work epmWork
	if err := r.Recall(&work); err != nil {
		return Next{}, err
	}
	client, err := r.client(ctx)
	if err != nil {
		return Next{}, err
	}
	result, messages, err := r.importDetails(ctx, client)
	if err != nil {
		return Next{}, err
	}
	if err := r.clearOutputs(ctx); err != nil {
		return Next{}, err
	}
	rejects, err := r.fetchRejects(ctx, client)
	if err != nil {
		return Next{}, err
	}
	if err := r.keepMessages(ctx, messages); err != nil {
		return Next{}, err
	}
	result.Message = importSentence(result, messages, rejects)
	r.Logf("%s", result.Message)
	return r.judgeImport(&work, result)
}

// judgeImport says whether the import is what the person wanted.
func (r *Run) judgeImport(work *epmWork, result *importResult) (Next, error) {
	limit := r.Task.MaxRejected
	switch {
	case !work.State.Done():
		return Next{}, remoteFailure(*r.Task.RemoteJobID, work.State, work.Details, result)
	case limit != nil && result.Records.Rejected > *limit:
		return Next{}, &Failure{
			Code: CodeRejectedRecords, Message: result.Message, Result: result,
			Detail: fmt.Sprintf("At most %d rejected records were allowed. The others were imported; correct the rejected ones and import them again.", *limit),
		}
	}
	return Done(result), nil
}

// importDetails adds up the counts of a job and its parts, and collects their messages.
func (r *Run) importDetails(ctx context.Context, client *epm.Client) (*importResult, []epm.Message, error) {
	id := *r.Task.RemoteJobID
	details, err := client.JobDetails(ctx, id, "")
	if err != nil {
		return nil, nil, err
	}
	result := &importResult{Dimensions: make(map[string]records)}
	messages := details.Messages
	for _, load := range details.Loads {
		result.Records.Read += load.Read
		result.Records.Processed += load.Processed
		result.Records.Rejected += load.Rejected
		if load.Dimension != "" {
			d := result.Dimensions[load.Dimension]
			result.Dimensions[load.Dimension] = records{d.Read + load.Read, d.Processed + load.Processed, d.Rejected + load.Rejected}
		}
		if load.ChildJobID == "" || load.Rejected == 0 {
			continue
		}
		child, err := client.ChildJobDetails(ctx, id, load.ChildJobID, "ERROR")
		if err != nil {
			return nil, nil, err
		}
		for _, m := range child.Messages {
			if m.Dimension == "" {
				m.Dimension = load.Dimension
			}
			messages = append(messages, m)
		}
	}
	return result, messages, nil
}

// clearOutputs removes what an earlier try of fetching left.
func (r *Run) clearOutputs(ctx context.Context) error {
	r.Task.Outputs = []storage.Output{}
	return r.engine.files.RemoveAll(ctx, r.outbound(""))
}

// download fetches a file of the remote application into outbound/.
func (r *Run) download(ctx context.Context, client *epm.Client, name, as string) error {
	w, err := r.engine.files.Create(ctx, r.outbound(as))
	if err != nil {
		return err
	}
	defer w.Abort() //nolint:errcheck // what stays is swept
	_, err = client.Download(ctx, name, w, func(received int64) {
		r.Progress(ctx, r.Task.Percent, "Fetching: "+byteSize(received))
	})
	if err != nil {
		return err
	}
	stored, err := w.Commit()
	if err != nil {
		return err
	}
	r.Task.Outputs = append(r.Task.Outputs, output(as, stored.Size, stored.SHA256, stored.Sums))
	return nil
}

// fetchRejects brings the error file and unpacks it, so that a person can open what is in it.
// It returns the path of the first file, or nothing when there is none.
func (r *Run) fetchRejects(ctx context.Context, client *epm.Client) (string, error) {
	err := r.download(ctx, client, errorName(r.Task), "rejected.zip")
	if oracle.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if err := r.unpackRejects(ctx); err != nil {
		var refusal *archive.Refusal
		if !errors.As(err, &refusal) {
			return "", err
		}
		r.Logf("The error file is kept as it came: %v", refusal)
		return outboundFolder + "/rejected.zip", r.engine.files.RemoveAll(ctx, r.outbound("rejected"))
	}
	if len(r.Task.Outputs) == 0 {
		return "", nil
	}
	return outboundFolder + "/" + r.Task.Outputs[0].Path, nil
}

// unpackRejects replaces outbound/rejected.zip by the folder outbound/rejected.
func (r *Run) unpackRejects(ctx context.Context) error {
	file, err := r.engine.files.Open(ctx, r.outbound("rejected.zip"))
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	listing, err := archive.Check(file, r.Task.Outputs[0].Size, r.engine.Limits)
	if err != nil {
		return err
	}
	batch, err := r.engine.files.Batch(ctx, r.outbound("rejected"), len(listing.Files))
	if err != nil {
		return err
	}
	defer batch.Close() //nolint:errcheck // a handle of a folder
	if err := archive.Extract(ctx, file, listing, batch, archive.ExtractOptions{}); err != nil {
		return err
	}
	outputs := make([]storage.Output, 0, len(listing.Files))
	for _, f := range listing.Files {
		output, err := r.describe(ctx, "rejected/"+f.Name)
		if err != nil {
			return err
		}
		outputs = append(outputs, output)
	}
	r.Task.Outputs = outputs
	return r.engine.files.Remove(ctx, r.outbound("rejected.zip"))
}

// describe measures a file in outbound/.
func (r *Run) describe(ctx context.Context, name string) (storage.Output, error) {
	file, err := r.engine.files.Open(ctx, r.outbound(name))
	if err != nil {
		return storage.Output{}, err
	}
	defer file.Close() //nolint:errcheck // read only
	var digest files.Digest
	_, err = io.Copy(&digest, file)
	return output(name, digest.Size(), digest.SHA256(), digest.Sums()), err
}

// outbound is the key of an output.
func (r *Run) outbound(name string) string {
	return path.Join(r.Task.Folder(), outboundFolder, name)
}

func output(name string, size int64, digest [sha256.Size]byte, sums []byte) storage.Output {
	return storage.Output{Path: name, Size: size, SHA256: hex.EncodeToString(digest[:]), Sums: sums}
}

// keepMessages puts what the application said into outbound/messages.txt, and its beginning
// into the log.
func (r *Run) keepMessages(ctx context.Context, messages []epm.Message) error {
	if len(messages) == 0 {
		return nil
	}
	w, err := r.engine.files.Create(ctx, r.outbound("messages.txt"))
	if err != nil {
		return err
	}
	defer w.Abort() //nolint:errcheck // what stays is swept
	lines := bufio.NewWriter(w)
	for i, m := range messages {
		if i < shownMessages {
			r.Logf("%s", messageLine(m))
		} else if i == shownMessages {
			r.Logf("%d more messages are in %s/messages.txt", len(messages)-shownMessages, outboundFolder)
		}
		if _, err := fmt.Fprintln(lines, messageLine(m)); err != nil {
			return err
		}
	}
	if err := lines.Flush(); err != nil {
		return err
	}
	stored, err := w.Commit()
	if err != nil {
		return err
	}
	r.Task.Outputs = append(r.Task.Outputs, output("messages.txt", stored.Size, stored.SHA256, stored.Sums))
	return nil
}

// messageLine words one message: where, then what.
func messageLine(m epm.Message) string {
	var where []string
	if m.Dimension != "" {
		where = append(where, m.Dimension)
	}
	if m.Row > 0 {
		where = append(where, fmt.Sprintf("row %d", m.Row))
	}
	if len(where) == 0 {
		return m.Text
	}
	return strings.Join(where, ", ") + ": " + m.Text
}

// importSentence tells a person what became of the rows.
func importSentence(result *importResult, messages []epm.Message, rejects string) string {
	p := message.NewPrinter(language.English)
	if result.Records.Rejected == 0 {
		return p.Sprintf("All %d rows imported", result.Records.Read)
	}
	sentence := p.Sprintf("%d of %d rows rejected", result.Records.Rejected, result.Records.Read)
	if rejects != "" {
		sentence += "; see " + rejects
	}
	for _, m := range messages {
		if m.Severity == "ERROR" || m.Severity == "" {
			return sentence + "; first: " + plainWords(m)
		}
	}
	return sentence
}

// The vendor's messages that people meet most, as seen in job consoles and public forums.
var (
	rowInText     = regexp.MustCompile(`(?i)^row (\d+)\s*[:,-]\s*(.*)$`)
	unknownParent = regexp.MustCompile(`(?i)parent member "([^"]*)"`)
)

// plainWords says what a message means, in few words: row 17, parent "E_99" unknown.
func plainWords(m epm.Message) string {
	row, what := m.Row, m.Text
	if found := rowInText.FindStringSubmatch(what); found != nil {
		what = found[2]
		if n, err := strconv.ParseInt(found[1], 10, 64); err == nil {
			row = n
		}
	}
	if found := unknownParent.FindStringSubmatch(what); found != nil {
		what = fmt.Sprintf("parent %q unknown", found[1])
	}
	if row > 0 {
		return fmt.Sprintf("row %d, %s", row, what)
	}
	return what
}

// fetchExport brings the file that an export wrote.
func fetchExport(ctx context.Context, r *Run) (Next, error) {
	var work epmWork
	if err := r.Recall(&work); err != nil {
		return Next{}, err
	}
	if !work.State.Done() {
		return Next{}, remoteFailure(*r.Task.RemoteJobID, work.State, work.Details, nil)
	}
	client, err := r.client(ctx)
	if err != nil {
		return Next{}, err
	}
	if err := r.clearOutputs(ctx); err != nil {
		return Next{}, err
	}
	as := path.Base(r.Task.Name) + ".zip"
	err = r.download(ctx, client, exportName(r.Task), as)
	if oracle.IsNotFound(err) {
		return Next{}, &Failure{
			Code: CodeRemoteFailed, Message: fmt.Sprintf("Job %s ended and left no file", *r.Task.RemoteJobID), Detail: work.Details,
		}
	}
	if err != nil {
		return Next{}, err
	}
	sentence := fmt.Sprintf("Exported %s to %s/%s", byteSize(r.Task.Outputs[0].Size), outboundFolder, as)
	r.Logf("%s", sentence)
	return Done(map[string]any{"message": sentence}), nil
}
