package jobs

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"longhaul/oracle/epm"
	"longhaul/storage"
	"longhaul/storage/archive"
)

func TestImportSentence(t *testing.T) {
	t.Parallel()
	rejected := &importResult{Records: records{Read: 10000, Processed: 9588, Rejected: 412}}
	tests := []struct {
		name     string
		result   *importResult
		messages []epm.Message
		rejects  string
		want     string
	}{
		{"all well", &importResult{Records: records{Read: 1234, Processed: 1234}}, nil, "", "All 1,234 rows imported"},
		{
			"an unknown parent, row apart", rejected,
			[]epm.Message{{Severity: "INFO", Text: "begun"}, {Severity: "ERROR", Row: 17, Text: `Unable to fetch/create parent member "E_99" of member "A_1"`}},
			"outbound/rejected/Account.csv",
			`412 of 10,000 rows rejected; see outbound/rejected/Account.csv; first: row 17, parent "E_99" unknown`,
		},
		{
			"row in the text", rejected,
			[]epm.Message{{Text: "Row 18: Duplicate member"}},
			"",
			"412 of 10,000 rows rejected; first: row 18, Duplicate member",
		},
		{"no message", rejected, nil, "outbound/rejected.zip", "412 of 10,000 rows rejected; see outbound/rejected.zip"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := importSentence(tt.result, tt.messages, tt.rejects); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCancelVerdict(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 14, 3, 12, 0, time.UTC)
	by, id := "jane", "224"
	status := func(s string) *string { return &s }
	base := storage.Task{CancelRequestedBy: &by, Name: "importAccount", Params: json.RawMessage(`{}`)}
	tests := []struct {
		name   string
		change func(*storage.Task)
		says   string
	}{
		{"nothing started", func(*storage.Task) {}, "before anything was started"},
		{"start unclear", func(t *storage.Task) { t.RemoteIntentAt = &now }, "is not known"},
		{"running", func(t *storage.Task) {
			t.RemoteIntentAt, t.RemoteJobID, t.RemoteStatus = &now, &id, status("Processing")
		}, "job 224 goes on in the application"},
		{"ended there", func(t *storage.Task) {
			t.RemoteIntentAt, t.RemoteJobID, t.RemoteStatus = &now, &id, status("Completed")
		}, "job 224 had already ended"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			task := base
			tt.change(&task)
			f := cancelVerdict(&task)
			if f.Code != CodeCancelled || !strings.Contains(f.Message, tt.says) || !strings.HasPrefix(f.Message, "Cancelled by jane") {
				t.Errorf("got %v, want it to say %q", f, tt.says)
			}
		})
	}
}

func TestUnknownOutcomeSaysWhatToCheck(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 14, 3, 12, 0, time.UTC)
	f := unknownOutcome(&storage.Task{Name: "nightly", Params: json.RawMessage(`{"job":"importAccount"}`), RemoteIntentAt: &now})
	for _, want := range []string{`"importAccount"`, "2026-11-21 14:03:12 UTC", "do not start it again before it ends", "start this task again"} {
		if !strings.Contains(f.Detail, want) {
			t.Errorf("%q does not say %q", f.Detail, want)
		}
	}
}

func TestCheckMetadataFiles(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, params string
		files        []string
		refused      string // empty: fine
	}{
		{"named like the task", `{}`, []string{"importAccount.csv"}, ""},
		{"named like the job", `{"job":"loadAll"}`, []string{"loadAll.csv"}, ""},
		{"the vendor's rule", `{}`, []string{"nightly_Account.csv", "x_HSP_SmartLists.csv"}, ""},
		{"in a folder", `{}`, []string{"export/importAccount.csv", "export/readme.txt"}, ""},
		{"case counts", `{}`, []string{"importaccount.csv"}, "Found: importaccount.csv. Expected: importAccount.csv"},
		{"none", `{}`, []string{"a.txt", "b.xlsx"}, "Found: a.txt, b.xlsx. Expected: importAccount.csv"},
		{"two folders", `{}`, []string{"a/importAccount.csv", "b/x_Entity.csv"}, "one folder"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := &Draft{Task: &storage.Task{Name: "importAccount", Params: json.RawMessage(tt.params)}, Listing: &archive.Listing{}}
			for _, name := range tt.files {
				d.Listing.Files = append(d.Listing.Files, archive.File{Name: name})
			}
			err := checkMetadataFiles(d)
			if (err != nil) != (tt.refused != "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
				t.Errorf("got %v, want %q", err, tt.refused)
			}
		})
	}
}

func TestVendorParams(t *testing.T) {
	t.Parallel()
	task := &storage.Task{ID: uuid.Nil, Params: json.RawMessage(
		`{"job":"x","refresh_cube":true,"delimiter":"tab","prompts":{"Year":"FY26"},"mdx_query":"{[Jan]}"}`)}
	got, err := vendorParams(task)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"refreshCube": true, "delimiter": "tab", "Year": "FY26", "mdxQuery": "{[Jan]}"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestVendorParamsKnowsEveryParam finds a param that was added to a kind and is not sent.
func TestVendorParamsKnowsEveryParam(t *testing.T) {
	t.Parallel()
	for _, kind := range NewKinds(EPMKinds()...).All() {
		for name := range kind.Schema().Properties {
			if name != "job" && name != "prompts" && vendorNames[name] == "" {
				t.Errorf("%s: the param %s has no vendor's name", kind.Name, name)
			}
		}
		if _, ok := kind.Schema().Properties["job"]; !ok {
			t.Errorf("%s: runs a saved job but has no param job", kind.Name)
		}
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"importAccount", "Plan Rollup", "Münchner Übertrag", "a"} {
		if err := checkName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a/b", `a\b`, "..", ".", "a.", " a", "a\x00b", "a:b", strings.Repeat("x", 101), "\xff"} {
		if err := checkName(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for tries, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 7: time.Minute, 100: time.Minute} {
		for range 20 {
			if got := backoff(tries); got < want || got > want*6/5 {
				t.Errorf("after %d tries: %s, want %s and a fifth at most", tries, got, want)
			}
		}
	}
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	step := Step{Do: func(context.Context, *Run) (Next, error) { panic("out of luck") }}
	if _, err := step.run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("got %v", err)
	}
}
