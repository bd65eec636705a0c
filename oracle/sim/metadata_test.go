package sim_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"longhaul/oracle/sim"
)

// importMetadata puts an archive in place, runs the import job and returns its
// final state and id.
func (c *client) importMetadata(job string, packed []byte) (answer, int) {
	c.t.Helper()
	c.put("in.zip", packed)
	got := c.run("IMPORT_METADATA", job, map[string]any{"importZipFileName": "in.zip", "errorFile": "err.zip"})
	return got, number(got.body["jobId"])
}

func (c *client) details(id int) []map[string]any {
	c.t.Helper()
	return items(c.get(fmt.Sprintf("%s/jobs/%d/details", vision, id)))
}

// messages returns the texts of all pages of a child job's messages.
func (c *client) messages(item map[string]any, kind string) []string {
	c.t.Helper()
	path := c.link(item, "child-job-details") + `?q=%7B%22messageType%22%3A%22` + kind + `%22%7D`
	var texts []string
	for path != "?" && path != "" {
		page := c.get(path)
		for _, message := range items(page) {
			if kind != "" && message["msgType"] != kind {
				c.t.Errorf("message of another type: %v", message)
			}
			texts = append(texts, message["msgText"].(string))
		}
		path = c.link(page.body, "next")
	}
	return texts
}

func (c *client) parentOf(dimension, member string) any {
	return c.get(vision + "/dimensions/" + dimension + "/members/" + member).body["parentName"]
}

func TestTheSampleWithRejectedRecords(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*sim.Config){"tidy": func(*sim.Config) {}, "odd": odd(1), "odder": odd(2)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, change)
			got, id := c.importMetadata("importAccount", sample(t, "importAccount.zip"))
			c.wantState(got, 0, "412 of 10000 records were rejected")
			if described, _ := got.body["descriptiveStatus"].(string); strings.TrimSpace(described) != "Completed with errors" || number(got.body["detailedStatus"]) != 8 {
				t.Errorf("state: %s", got.raw)
			}
			list := c.details(id)
			if len(list) != 1 || list[0]["dimensionName"] != "Account" || list[0]["loadType"] != "Metadata Import" ||
				number(list[0]["recordsRead"]) != 10_000 || number(list[0]["recordsProcessed"]) != 9588 || number(list[0]["recordsRejected"]) != 412 {
				t.Fatalf("details: %v", list)
			}
			texts := c.messages(list[0], "ERROR")
			if len(texts) != 412 || texts[0] != `Row 17: Unable to fetch/create parent member "E_99" of member "A_4000_001_15"` {
				t.Fatalf("%d messages, first: %v", len(texts), texts[:1])
			}
			records := unpack(t, c.stored("err.zip"))["Account_errors.csv"]
			if len(records) != 413 {
				t.Fatalf("%d rejected records", len(records)-1)
			}
			want := [][]string{
				{"Account", "Parent", "Alias: Default", "Data Storage", "Account Type", "Description", "Error Message"},
				{"A_4000_001_15", "E_99", "Domestic Revenue 001-15", "store", "Revenue", "Imported from the ledger", texts[0]},
			}
			if diff := cmp.Diff(want, records[:2]); diff != "" {
				t.Errorf("error file (-want +got):\n%s", diff)
			}
			if c.parentOf("Account", "A_4000_001_14") != "A_4000_001" {
				t.Error("an accepted member is missing")
			}
			if got := c.get(vision + "/dimensions/Account/members/A_4000_001_15"); got.status != http.StatusBadRequest {
				t.Error("a rejected member exists")
			}
		})
	}
}

func TestTheSampleWithoutMistakes(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	got, id := c.importMetadata("importEntity", sample(t, "importEntity.zip"))
	c.wantState(got, 0, "Metadata import was successful")
	if got.body["descriptiveStatus"] != "Completed" {
		t.Errorf("state: %s", got.raw)
	}
	if list := c.details(id); number(list[0]["recordsRead"]) != 124 || number(list[0]["recordsRejected"]) != 0 {
		t.Errorf("details: %v", list)
	}
	if errors := c.get(fmt.Sprintf(`%s/jobs/%d/details?q=%%7B%%22msgType%%22%%3A%%22ERROR%%22%%7D`, vision, id)); len(items(errors)) != 0 {
		t.Errorf("details with errors: %s", errors.raw)
	}
	for _, f := range items(c.control(http.MethodGet, "files", nil)) {
		if f["name"] == "err.zip" {
			t.Error("an error file without rejected records")
		}
	}
}

func TestRejectedRecordsMayMakeTheStatusAnError(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *sim.Config) { cfg.RejectStatus = 1 })
	got, _ := c.importMetadata("importAccount", sample(t, "importAccount.zip"))
	c.wantState(got, 1, "412 of 10000")
}

func TestRejectedRecords(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]struct{ csv, want string }{
		"unknown parent":           {"Entity,Parent\nX,E_99\n", `Row 2: Unable to fetch/create parent member "E_99" of member "X"`},
		"parent later in the file": {"Entity,Parent\nX,Y\nY,Total Entity\n", `Row 2: Unable to fetch/create parent member "Y"`},
		"no name":                  {"Entity,Parent\n,Total Entity\n", "Row 2: The member name is missing"},
		"long name":                {"Entity,Parent\n" + strings.Repeat("x", 81) + ",Total Entity\n", "longer than 80"},
		"bracket":                  {"Entity,Parent\nIDescendants(X),Total Entity\n", "not allowed"},
		"first character":          {"Entity,Parent\n@X,Total Entity\n", "not allowed"},
		"bytes that are not UTF-8": {"Entity,Parent\nX\xff,Total Entity\n", "not valid UTF-8"},
		"other dimension":          {"Entity,Parent\nJan,Total Entity\n", `already exists in the dimension "Period"`},
		"twice":                    {"Entity,Parent\nX,Total Entity\nX,Total Entity\n", `Row 3: The member "X" is specified more than once`},
		"storage":                  {"Entity,Parent,Data Storage\nX,Total Entity,sometimes\n", `Invalid Data Storage "sometimes"`},
		"below itself":             {"Entity,Parent\nE_100,E_111\n", "below itself"},
		"too many fields":          {"Entity,Parent\nX,Total Entity,more\n", "has 3 fields, the header only 2"},
		"bare quote":               {"Entity,Parent\nX \"Y,Total Entity\nZ,Total Entity\n", "Row 2: The record is not well formed"},
		"delete the unknown":       {"Entity,Parent,Operation\nX,,delete level 0\n", "cannot be deleted: it does not exist"},
		"delete a parent":          {"Entity,Parent,Operation\nE_100,,delete level 0\n", "not of level 0"},
		"unknown operation":        {"Entity,Parent,Operation\nE_111,,explode\n", `Invalid Operation "explode"`},
		"shared without base":      {"Entity,Parent,Data Storage\nX,E_200,shared\n", "base member of the shared member"},
		"shared at its base":       {"Entity,Parent,Data Storage\nE_111,E_110,shared\n", "has the parent of its base member"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t)
			got, id := c.importMetadata("importEntity", archive(t, "importEntity.csv", each.csv))
			if number(got.body["status"]) != 0 {
				t.Fatalf("state: %s", got.raw)
			}
			list := c.details(id)
			if number(list[0]["recordsRejected"]) != 1 {
				t.Errorf("details: %v", list)
			}
			if texts := c.messages(list[0], "ERROR"); len(texts) != 1 || !strings.Contains(texts[0], each.want) {
				t.Errorf("got %q, want %q", texts, each.want)
			}
		})
	}
}

func TestWhatAMetadataImportChanges(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	csv := "\ufeffEntity, Parent, Alias: Default, Data Storage, Region, Operation\r\n" +
		"E_400,Total Entity,\"Middle East, Africa\",never share,MEA,\r\n" +
		"\r\n" +
		"E_410,E_400,Dubai,,MEA,update\r\n" +
		"E_230,E_400,,,,\r\n" + // moved
		"E_220,,Deutschland,,,\r\n" + // alias changed, stays where it is
		"E_240,,,,,delete level 0\r\n" +
		"E_300,,,,,delete descendants\r\n" +
		"E_120,,,,,delete idescendants\r\n" +
		"E_111,E_200,,shared,,\r\n"
	got, id := c.importMetadata("importEntity", archive(t, "my_Entity.csv", csv, "other.csv", "ignored"))
	c.wantState(got, 0, "successful")
	if list := c.details(id); number(list[0]["recordsRead"]) != 8 {
		t.Errorf("details: %v", list)
	}
	for member, parent := range map[string]any{
		"E_400": "Total Entity", "E_410": "E_400", "E_230": "E_400", "E_220": "E_200", "E_300": "Total Entity", "E_111": "E_110",
		"E_240": nil, "E_310": nil, "E_120": nil, "E_121": nil,
	} {
		if got := c.parentOf("Entity", member); got != parent {
			t.Errorf("parent of %s: %v, want %v", member, got, parent)
		}
	}
	if got := c.get(vision + "/dimensions/Entity/members/E_400"); got.body["dataStorage"] != "NEVERSHARE" || got.body["alias"] != "Middle East, Africa" {
		t.Errorf("E_400: %s", got.raw)
	}
	if got := c.get(vision + "/dimensions/Entity/members/E_220"); got.body["alias"] != "Deutschland" {
		t.Errorf("E_220: %s", got.raw)
	}
	c.wantState(c.run("EXPORT_METADATA", "exportAll", map[string]any{"exportZipFileName": "out.zip"}), 0, "successful")
	entity := unpack(t, c.stored("out.zip"))["exportAll_Entity.csv"]
	if diff := cmp.Diff([]string{"Entity", "Parent", "Alias: Default", "Data Storage", "Region"}, entity[0]); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if last := entity[len(entity)-1]; cmp.Diff([]string{"E_111", "E_200", "", "shared", ""}, last) != "" {
		t.Errorf("shared member: %v", last)
	}
}

func TestWhatAnExportWritesAnImportReads(t *testing.T) {
	t.Parallel()
	first, second := newClient(t), newClient(t)
	first.importMetadata("importAccount", sample(t, "importAccount.zip"))
	got := first.run("Export Metadata", "exportAll", nil)
	first.wantState(got, 0, "Metadata export was successful")
	list := first.details(number(got.body["jobId"]))
	if len(list) != 3 || list[0]["loadType"] != "Metadata Export" || number(list[0]["recordsRead"]) < 9588 {
		t.Errorf("details: %v", list)
	}
	exported := first.stored("exportAll.zip")
	imported, _ := second.importMetadata("importAll", exported)
	second.wantState(imported, 0, "successful")
	second.run("EXPORT_METADATA", "exportAll", nil)
	if again := second.stored("exportAll.zip"); !bytes.Equal(exported, again) {
		t.Errorf("exports differ (-first +second):\n%s", cmp.Diff(unpack(t, exported), unpack(t, again)))
	}
}

func TestMetadataImportsThatFail(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]struct {
		packed []byte
		want   string
	}{
		"not a ZIP":       {[]byte("Account,Parent"), "not a valid ZIP file"},
		"no such entry":   {archive(t, "accounts.csv", "Account,Parent\n"), "File importAccount.csv does not exist in in.zip"},
		"in a folder":     {archive(t, "x/importAccount.csv", "Account,Parent\n"), "does not exist"},
		"no header":       {archive(t, "importAccount.csv", ""), "does not contain a header record"},
		"other dimension": {archive(t, "importAccount.csv", "Entity,Parent\n"), `Unrecognized column header value(s) were specified for the "Account" dimension: "Entity"`},
		"no dimension":    {archive(t, "importAccount.csv", "Parent,Description\n"), `does not name the dimension "Account"`},
		"unknown columns": {archive(t, "importAccount.csv", "Account,Parent,TP1,Plan Type (Nope)\n"), `"TP1", "Plan Type (Nope)"`},
		"endless quote":   {archive(t, "importAccount.csv", "Account,Parent\n\""+strings.Repeat(strings.Repeat("x", 1023)+"\n", 6<<10)), "a record is too long"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t)
			got, _ := c.importMetadata("importAccount", each.packed)
			c.wantState(got, 1, each.want)
			if got.body["descriptiveStatus"] != "Error" {
				t.Errorf("state: %s", got.raw)
			}
		})
	}
	c := newClient(t)
	c.wantState(c.run("IMPORT_METADATA", "importAccount", nil), 1, "File importAccount.zip does not exist.")
	c.wantState(c.run("IMPORT_METADATA", "importAccount", map[string]any{"importZipFileName": "Artifact Snapshot"}), 1, "does not exist")
}

func TestOneMissingFileFailsTheJobButNotTheOtherDimensions(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	got, id := c.importMetadata("importAll", archive(t,
		"importAll_Account.csv", "Account,Parent\nNew,4000\nBad,Nope\n",
		"importAll_Product.csv", "Product,Parent\nP_1,P_TP9\n"))
	c.wantState(got, 1, "One or more child jobs have failed: File importAll_Entity.csv does not exist")
	list := c.details(id)
	if len(list) != 3 || number(list[0]["recordsRejected"]) != 1 || number(list[1]["recordsRead"]) != 0 || number(list[2]["recordsRejected"]) != 1 {
		t.Fatalf("details: %v", list)
	}
	if texts := c.messages(list[1], "ERROR"); len(texts) != 1 || !strings.Contains(texts[0], "does not exist") {
		t.Errorf("messages: %v", texts)
	}
	if c.parentOf("Account", "New") != "4000" {
		t.Error("the file that was there was not imported")
	}
	if files := unpack(t, c.stored("err.zip")); len(files) != 2 || len(files["Product_errors.csv"]) != 2 {
		t.Errorf("error file: %v", files)
	}
}

func TestImportsTakeLongerWithRefreshAndSize(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	takes := func(parameters map[string]any) time.Duration {
		id := c.start("IMPORT_METADATA", "importAccount", parameters)
		c.poll(id)
		var passed time.Duration
		for number(c.poll(id).body["status"]) == -1 {
			c.advance(time.Second)
			passed += time.Second
		}
		return passed
	}
	c.put("importAccount.zip", sample(t, "importAccount.zip"))
	c.put("small.zip", archive(t, "importAccount.csv", "Account,Parent\nX,4000\n"))
	small := takes(map[string]any{"importZipFileName": "small.zip"})
	large := takes(nil)
	refreshed := takes(map[string]any{"importZipFileName": "small.zip", "refreshCube": "true"})
	if small != 9*time.Second || large < 10*time.Second || large > 15*time.Second || refreshed != 17*time.Second {
		t.Errorf("small %v, large %v, with refresh %v", small, large, refreshed)
	}
}
