package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseQ(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]map[string]string{
		"":                    {},
		`{}`:                  {},
		`{"jobType":"RULES"}`: {"jobType": "RULES"},
		`{download:complete}`: {"download": "complete"},
		`{"isFirst":true, "chunkSize":14, "fileSize":"9"}`: {"isFirst": "true", "chunkSize": "14", "fileSize": "9"},
		`{type:"import",importUsers:false,userPassword:a b}`: {
			"type": "import", "importUsers": "false", "userPassword": "a b",
		},
		`{chunkSize:5,isFirst:true,"extDirPath":"inbox/a,b"}`: {"chunkSize": "5", "isFirst": "true", "extDirPath": "inbox/a,b"},
		`{since:2017-12-10,'x':'y:z'}`:                        {"since": "2017-12-10", "x": "y:z"},
		`{"a":null}`:                                          {"a": ""},
	} {
		got, err := parseQ(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{"x", "{", `{"a"}`, `{"a":"b`, `{"a":"b"c}`, `[1]`, `{:1}`, strings.Repeat("x", maxQ+1)} {
		if got, err := parseQ(text); !errors.Is(err, errQ) {
			t.Errorf("%.40q: %v, %v", text, got, err)
		}
	}
}

func FuzzParseQ(f *testing.F) {
	for _, text := range []string{``, `{}`, `{"jobType":"RULES"}`, `{type:"export",chunkSize:14}`, `{a:'b',c:d e}`, `{"a":{}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseQ(text)
		if err != nil {
			return
		}
		// What was read, written as JSON, reads the same.
		strict, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if len(strict) > maxQ || strings.Contains(string(strict), `\ufffd`) {
			return
		}
		again, err := parseQ(string(strict))
		if err != nil {
			t.Fatalf("%q became %s: %v", text, strict, err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Errorf("%q (-first +second):\n%s", text, diff)
		}
	})
}

func FuzzMetadataFile(f *testing.F) {
	f.Add([]byte("Entity,Parent\nE_1,Total Entity\n"))
	f.Add([]byte("\ufeffEntity, Parent, Data Storage, Operation\r\n\"E,1\",E_9,shared,\n\"x\" y,,\nE_100,,,delete idescendants\n"))
	f.Add([]byte("Entity,Parent\nE_100,E_111\nE_200,E_100\nE_100,E_200\n\"open"))
	f.Fuzz(func(t *testing.T, content []byte) {
		a := fuzzApplication(t)
		records, err := newTable(bytes.NewReader(content), ',')
		if err != nil {
			return
		}
		load, err := newOutlineLoad(a, a.dimension("Entity"), records.header)
		if err != nil {
			return
		}
		var part jobPart
		if err := part.readAll(records, &rejects{}, load.apply); err != nil && !errors.Is(err, errRecordTooLong) {
			t.Fatal(err)
		}
		checkOutline(t, a, a.dimension("Entity"))
	})
}

func fuzzApplication(t *testing.T) *application {
	t.Helper()
	s, err := loadSeed("")
	if err != nil {
		t.Fatal(err)
	}
	applications, err := s.build()
	if err != nil {
		t.Fatal(err)
	}
	return applications[0]
}

// checkOutline fails unless the members of a dimension form one tree and its
// export can be imported.
func checkOutline(t *testing.T, a *application, d *dimension) {
	t.Helper()
	reached := 0
	d.root.walk(func(m *member, _ int) {
		reached++
		if d.members[m.name] != m || a.owner[m.name] != d {
			t.Fatalf("member %q is not indexed", m.name)
		}
		for _, child := range m.children {
			if child.parent != m {
				t.Fatalf("child %q of %q has another parent", child.name, m.name)
			}
		}
		if reached > len(d.members) {
			t.Fatal("the outline has a cycle")
		}
	})
	if reached != len(d.members) {
		t.Fatalf("%d of %d members are in the outline", reached, len(d.members))
	}
	header, records := outlineRecords(d)
	load, err := newOutlineLoad(a, d, header)
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records {
		if err := load.apply(record); err != nil {
			t.Fatalf("exported record %q: %v", record, err)
		}
	}
}

func FuzzDataFile(f *testing.F) {
	f.Add([]byte("Account,Oct,Point-of-View,Data Load Cube Name\n4110,1,\"FY26,Actual,Working,E_111,P_110\",Plan1\n"))
	f.Add([]byte("Account,Oct,Point-of-View,Data Load Cube Name\n4110,#missing,\"FY26,,\",Plan1\n,,,\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		a := fuzzApplication(t)
		records, err := newTable(bytes.NewReader(content), ',')
		if err != nil {
			return
		}
		load, err := newDataLoad(a, records)
		if err != nil {
			return
		}
		var part jobPart
		if err := part.readAll(records, &rejects{}, load.apply); err != nil && !errors.Is(err, errRecordTooLong) {
			t.Fatal(err)
		}
		for _, c := range a.cubes {
			for key, value := range c.cells {
				for d, name := range c.names(key) {
					if d.members[name] == nil || !isNumber(value) {
						t.Fatalf("cell %q of %q: %q", key, c.name, value)
					}
				}
			}
		}
	})
}

func FuzzEssbaseLine(f *testing.F) {
	f.Add(`"6100" Jan "No Entity" 1`)
	f.Add(`"open`)
	f.Fuzz(func(t *testing.T, line string) {
		a := fuzzApplication(t)
		if err := a.storeEssbase(a.cube("VisASO"), essbaseFields(line)); err != nil && err.Error() == "" {
			t.Fatal("an error without words")
		}
	})
}

func FuzzParseSelection(f *testing.F) {
	for _, text := range []string{"", "A", `"A,B",&V`, "ILvl0Descendants(Total Entity), IDescendants(\"X\")", "Children((", ",,"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		selectors, err := parseSelection(text)
		if err != nil && !errors.Is(err, errSelection) {
			t.Fatal(err)
		}
		for _, s := range selectors {
			if s.name == "" {
				t.Fatalf("%q: a selector without a name", text)
			}
		}
	})
}

func FuzzCleanName(f *testing.F) {
	for _, name := range []string{"a", `inbox\x.csv`, "../x", "/x", "a//b", "a/../b", "x\x00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		name, err := cleanName(raw)
		if err != nil {
			return
		}
		if again, err := cleanName(name); err != nil || again != name || strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") {
			t.Errorf("%q became %q", raw, name)
		}
	})
}

func TestSelections(t *testing.T) {
	t.Parallel()
	a := fuzzApplication(t)
	for text, want := range map[string]int{
		"E_111": 1, "E_111,E_112,E_111": 2, "Children(E_100)": 2, "IChildren(E_100)": 3, "Descendants(E_100)": 7,
		"IDescendants(E_100)": 8, "ILvl0Descendants(E_100)": 5, `"No Entity"`: 1, "": 0, "idescendants( E_110 )": 4, "&CurrYear,E_111": 2,
	} {
		set, err := a.expand(a.cube("Plan1"), text)
		count := 0
		for _, members := range set {
			count += len(members)
		}
		if err != nil || count != want {
			t.Errorf("%s: %d members, %v; want %d", text, count, err, want)
		}
	}
}

func TestSpoolsCountWhatTheyHold(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	store := newBlobStore(folder, 5<<20)
	write := func(total int) (*spool, error) {
		s := store.newSpool()
		for total > 0 {
			n, err := s.Write(make([]byte, min(total, 64<<10)))
			if err != nil {
				return s, err
			}
			total -= n
		}
		return s, nil
	}
	small, err := write(1000)
	if err != nil || small.file != nil {
		t.Fatalf("small: %v, in a file %t", err, small.file != nil)
	}
	large, err := write(3 << 20)
	if err != nil || large.file == nil {
		t.Fatalf("large: %v, in a file %t", err, large.file != nil)
	}
	content := large.finish()
	tooLarge, err := write(3 << 20)
	if !errors.Is(err, errFull) {
		t.Fatalf("too large: %v", err)
	}
	tooLarge.discard()
	small.discard()
	reader, err := content.open()
	if err != nil {
		t.Fatal(err)
	}
	content.remove()
	if n, err := io.Copy(io.Discard, reader); n != 3<<20 || err != nil {
		t.Errorf("a removed blob that is open: %d bytes, %v", n, err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	if store.left != 5<<20 || store.leftFast != memoryBytes {
		t.Errorf("%d bytes left, %d of memory", store.left, store.leftFast)
	}
	if _, err := content.open(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open after remove: %v", err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 || len(store.files) != 0 {
		t.Errorf("temporary files are left: %v, %v, %d open", left, err, len(store.files))
	}
	if _, err := write(2 << 20); err != nil {
		t.Error(err)
	}
	if err := store.close(); err != nil {
		t.Error(err)
	}
}

func TestTheLogKeepsTheNewest(t *testing.T) {
	t.Parallel()
	var log requestLog
	for range keptRequests + 5 {
		log.add(Request{})
	}
	all := log.after(0, 0)
	if len(all) != keptRequests || all[0].Number != 6 || all[len(all)-1].Number != keptRequests+5 {
		t.Errorf("%d kept, from %d to %d", len(all), all[0].Number, all[len(all)-1].Number)
	}
	if part := log.after(keptRequests+3, 1); len(part) != 1 || part[0].Number != keptRequests+4 {
		t.Errorf("part: %+v", part)
	}
	if none := log.after(keptRequests+50, 0); len(none) != 0 {
		t.Errorf("none: %+v", none)
	}
}
