package oracle

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestNumber(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want Number
		bad  bool
	}{
		{in: `0`, want: Number{0, true}},
		{in: `-1`, want: Number{-1, true}},
		{in: `"-1"`, want: Number{-1, true}},
		{in: `" 7 "`, want: Number{7, true}},
		{in: `2147483647`, want: Number{math.MaxInt32, true}},
		{in: `2147483647.0`, want: Number{math.MaxInt32, true}},
		{in: `1e3`, want: Number{1000, true}},
		{in: `"9007199254740993"`, want: Number{9007199254740993, true}},
		{in: `null`},
		{in: `""`},
		{in: `"null"`},
		{in: `"-"`},
		{in: `"abc"`, bad: true},
		{in: `1.5`, bad: true},
		{in: `1e300`, bad: true},
		{in: `true`, bad: true},
		{in: `{}`, bad: true},
		{in: `"NaN"`, bad: true},
	}
	for _, tt := range tests {
		var got Number
		err := json.Unmarshal([]byte(tt.in), &got)
		if (err != nil) != tt.bad || got != tt.want {
			t.Errorf("Number of %s = %v, %v; want %v", tt.in, got, err, tt.want)
		}
	}
}

func TestFlag(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Flag{
		`true`: true, `"true"`: true, `"TRUE"`: true, `1`: true, `false`: false, `"false"`: false, `null`: false, `""`: false,
	} {
		got := !want
		if err := json.Unmarshal([]byte(in), &got); err != nil || got != want {
			t.Errorf("Flag of %s = %v, %v; want %v", in, got, err, want)
		}
	}
	var f Flag
	if err := json.Unmarshal([]byte(`"perhaps"`), &f); err == nil {
		t.Error("Flag of perhaps: no error")
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Text{
		`null`:                    "",
		`"null"`:                  "",
		`" Completed\n"`:          "Completed",
		`95`:                      "95",
		`2222333344445555`:        "2222333344445555",
		`true`:                    "true",
		`["a", null, "b", ["c"]]`: "a; b; c",
		`{}`:                      "",
		`{"Message":"no", "x":1}`: "no",
		`{"x":1}`:                 `{"x":1}`,
		`{"processed":2,"faileditems":[{"errormessage":"no such user"}]}`: `{"faileditems":[{"errormessage":"no such user"}],"processed":2}`,
	} {
		var got Text
		if err := json.Unmarshal([]byte(in), &got); err != nil || got != want {
			t.Errorf("Text of %s = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	self := Link{Rel: "self", Href: "https://h/x", Action: "GET"}
	tests := map[string]Links{
		`null`: nil,
		`{}`:   nil,
		`[]`:   nil,
		`"no"`: nil,
		`[{"rel":"self","href":" https://h/x ","action":"GET","data":null}]`:       {self},
		`{"rel":"self","href":"https://h/x","action":"GET"}`:                       {self},
		`{"self":{"href":"https://h/x","action":"GET"},"next":"https://h/y"}`:      {{Rel: "next", Href: "https://h/y"}, self},
		`[null, 3, "https://h/x", {"rel":"self"}, {"rel":7,"href":"https://h/z"}]`: {{Href: "https://h/z"}},
	}
	for in, want := range tests {
		var got Links
		if err := json.Unmarshal([]byte(in), &got); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("links of %s (-want +got):\n%s", in, diff)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, rel := range []string{"Job Status", "job status", " JOB  STATUS ", "Job' 'Status", "job-status", "Job Status\n"} {
		links := Links{{Rel: "self", Href: "a"}, {Rel: rel, Href: "b"}}
		if got := links.Find("Job Status"); got != "b" {
			t.Errorf("Find among rel %q = %q", rel, got)
		}
	}
	if got := (Links{{Rel: "self", Href: "a"}}).Find("Job Status"); got != "" {
		t.Errorf("Find without = %q", got)
	}
}

func TestMemberNamesInAnyCase(t *testing.T) {
	t.Parallel()
	for _, in := range []string{`{"jobId":95}`, `{"jobID":95}`, `{"JOBID":"95"}`} {
		var a struct {
			JobID Text `json:"jobId"`
		}
		if err := json.Unmarshal([]byte(in), &a); err != nil || a.JobID != "95" {
			t.Errorf("%s: %q, %v", in, a.JobID, err)
		}
	}
}

func TestCleanMessage(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"com.hyperion.planning.InvalidDimensionException: The dimension Tyme is invalid.": "The dimension Tyme is invalid.",
		"com.hyperion.planning.HspRuntimeException: com.hyperion.A$B: twice\n":            "twice",
		"java.lang.NullPointerException":                                                  "java.lang.NullPointerException",
		"Invalid file : Sales.zip":                                                        "Invalid file : Sales.zip",
		"see a.Data: row 3":                                                               "see a.Data: row 3",
		" a\tb\x00c\xff ":                                                                 "a b c\uFFFD",
		"":                                                                                "",
	}
	for in, want := range tests {
		if got := CleanMessage(in); got != want {
			t.Errorf("CleanMessage(%q) = %q; want %q", in, got, want)
		}
	}
	if got := CleanMessage(strings.Repeat("ä", 5000)); utf8.RuneCountInString(got) != maxMessage+1 {
		t.Errorf("long message keeps %d runes", utf8.RuneCountInString(got))
	}
}

// FuzzDecode holds that no body makes the tolerant types panic, and that what
// they take they can take again.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"status":"-1","details":"null","jobID":95,"links":null,"flag":"true"}`,
		`{"descriptiveStatus":"Error","jobId":-1,"status":1,"details":null,"jobName":null,"links":null}`,
		`{"links":{},"status":0,"error":null,"details":{"processed":2,"faileditems":[{"errormessage":"x"}]}}`,
		`{"detail":"a","status":400,"links":[{"rel":"Job' 'Status","href":" https://h/p?q={a:b}"}]}`,
		"\xef\xbb\xbf[1,2]", `{`, `null`, `"\ud800"`, `{"status":1e999}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var a struct {
			Status  Number `json:"status"`
			Details Text   `json:"details"`
			Links   Links  `json:"links"`
			Flag    Flag   `json:"flag"`
		}
		err := json.Unmarshal(trimBOM(in), &a)
		if err == nil && !utf8.ValidString(string(a.Details)) {
			t.Errorf("details are not UTF-8: %q", a.Details)
		}
		if told := readErrorBody(in); told != nil {
			if m := told.message(); m != CleanMessage(m) {
				t.Errorf("message %q is not clean", m)
			}
		}
		for _, l := range a.Links {
			if l.Href == "" || a.Links.Find(l.Rel) == "" {
				t.Errorf("link %+v cannot be found", l)
			}
		}
	})
}
