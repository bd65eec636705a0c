package sim_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// exported runs the export of Vision's actuals and returns its records.
func (c *client) exported(parameters map[string]any) [][]string {
	c.t.Helper()
	all := map[string]any{"exportFileName": "out.zip"}
	maps.Copy(all, parameters)
	c.wantState(c.run("EXPORT_DATA", "exportActuals", all), 0, "Data export was successful")
	return unpack(c.t, c.stored("out.zip"))["exportActuals.csv"]
}

func TestExportData(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	records := c.exported(map[string]any{"columnMembers": "Sep,Oct,Nov", "povMembers": "&CurrYear,Actual,Working,IDescendants(E_100),ILvl0Descendants(Product)"})
	want := [][]string{
		{"Account", "Sep", "Oct", "Nov", "Point-of-View", "Data Load Cube Name"},
		{"4110", "#missing", "125000", "131500", "FY26,Actual,Working,E_111,P_110", "Plan1"},
		{"4110", "#missing", "98000", "102250", "FY26,Actual,Working,E_112,P_110", "Plan1"},
		{"5110", "#missing", "61000", "64200", "FY26,Actual,Working,E_111,P_110", "Plan1"},
	}
	if diff := cmp.Diff(want, records); diff != "" {
		t.Errorf("export (-want +got):\n%s", diff)
	}
	c.wantState(c.run("EXPORT_DATA", "a label", map[string]any{
		"cube": "VisASO", "rowMembers": `"6100"`, "columnMembers": "Children(Q4)", "povMembers": "FY26,Actual,Working,E_900",
		"delimiter": "tab", "customMissingValue": "-", "exportFileName": "aso.zip",
	}), 0, "successful")
	got := c.run("EXPORT_DATA", "", map[string]any{
		"cube": "VisASO", "rowMembers": "6100", "columnMembers": "IChildren(Q4)", "povMembers": "FY26,Actual,Working,E_900", "customMissingValue": "-",
	})
	if got.body["jobName"] != "Export Data" {
		t.Errorf("default name: %s", got.raw)
	}
	aso := unpack(t, c.stored("Export%20Data.zip"))["Export Data.csv"]
	if len(aso) != 2 || strings.Join(aso[1], "|") != "6100|-|220000|221000|-|FY26,Actual,Working,E_900|VisASO" {
		t.Errorf("ASO: %v", aso)
	}
}

func TestImportDataSample(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.put("importActuals.zip", sample(t, "importActuals.zip"))
	got := c.run("IMPORT_DATA", "importActuals", map[string]any{"errorFile": "err.zip"})
	c.wantState(got, 0, "Data import was successful")
	list := c.details(number(got.body["jobId"]))
	if len(list) != 2 || number(list[0]["recordsRead"]) != 360 || list[0]["dimensionName"] != "Account" || list[0]["links"] != nil || list[1]["msgType"] != "INFO" {
		t.Errorf("details: %v", list)
	}
	if records := c.exported(nil); len(records) < 361 {
		t.Errorf("%d records after the import", len(records))
	}
}

func TestImportDataRejects(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	const header = "Account,Oct,Nov,Point-of-View,Data Load Cube Name\n"
	const pov = `"FY26,Actual,Working,E_111,P_120"`
	csv := header +
		"4110,1,2," + pov + ",Plan1\n" +
		"E_99,1,2," + pov + ",Plan1\n" +
		"4110,x,2," + pov + ",Plan1\n" +
		"4110,1,2,\"FY26,Actual,Working,E_111\",Plan1\n" +
		"4110,1,2,\"FY26,Actual,Working,E_111,E_112,P_120\",Plan1\n" +
		"4110,1,2," + pov + ",Plan2\n" +
		"4110,1,2," + pov + ",VisASO\n" +
		"4110,NaN,2," + pov + ",Plan1\n" +
		"Jan,1,2," + pov + ",Plan1\n" +
		"4110,1," + pov + ",Plan1\n" +
		"4120,#missing,,\"FY26,Actual,Working,E_210,P_320\",Plan1\n"
	c.put("d.zip", archive(t, "d2-2.csv", header+"4130,5,6,"+pov+",Plan1\n", "d1-2.csv", csv, "notes.txt", "ignored"))
	got := c.run("IMPORT_DATA", "importActuals", map[string]any{"importFileName": "d.zip", "errorFile": "err.zip"})
	c.wantState(got, 0, "9 of 12 records were rejected. See err.zip in the outbox.")
	id := number(got.body["jobId"])
	errors := items(c.get(fmt.Sprintf(`%s/jobs/%d/details?q=%%7B%%22messageType%%22%%3A%%22ERROR%%22%%7D`, vision, id)))
	wants := []string{
		`Row 3: The member "E_99" does not exist`, `Row 4: The value "x" is not a number`, `Row 5: The point of view has no member of the dimension "Product"`,
		`Row 6: The point of view has two members of the dimension "Entity"`, `Row 7: Cannot find cube with name "Plan2"`,
		`Row 8: The member "P_120" of the dimension "Product" does not belong`, `Row 9: The value "NaN"`, `Row 10: The member "Jan" does not exist`,
		`Row 11: the record has 4 fields`,
	}
	if len(errors) != len(wants) {
		t.Fatalf("%d messages: %v", len(errors), errors)
	}
	for i, want := range wants {
		if text := errors[i]["msgText"].(string); !strings.HasPrefix(text, want) {
			t.Errorf("message %d: %q, want %q", i, text, want)
		}
	}
	if files := unpack(t, c.stored("err.zip")); len(files["d1-2_errors.csv"]) != 10 || len(files) != 1 {
		t.Errorf("error file: %v", files)
	}
	after := map[string]string{}
	for _, record := range c.exported(map[string]any{"columnMembers": "Oct,Nov"}) {
		after[record[0]+" "+record[3]] = record[1] + " " + record[2]
	}
	for cell, want := range map[string]string{
		"4110 FY26,Actual,Working,E_111,P_120": "1 2", "4130 FY26,Actual,Working,E_111,P_120": "5 6",
		"4120 FY26,Actual,Working,E_210,P_320": "#missing 41000", // an empty value leaves the cell, #missing clears it
	} {
		if after[cell] != want {
			t.Errorf("%s: %q, want %q", cell, after[cell], want)
		}
	}
}

func TestDataImportsThatFail(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]struct {
		file, content string
		want          string
	}{
		"first column":   {"x.csv", "Foo,Oct,Point-of-View,Data Load Cube Name\n", `"Foo" is not a dimension`},
		"no POV":         {"x.csv", "Account,Oct,Data Load Cube Name\n", "Point-of-View"},
		"Unknown member": {"x.csv", "Account,Oct,TP1,Point-of-View,Data Load Cube Name\n", `specified: "TP1"`},
		"two drivers":    {"x.csv", "Account,Oct,FY26,Point-of-View,Data Load Cube Name\n", `"FY26"`},
		"no driver":      {"x.csv", "Account,Point-of-View,Data Load Cube Name\n", "names no members"},
		"empty":          {"x.csv", "", "does not contain a header record"},
		"no CSV":         {"x.zip", string(archive(t, "x.txt", "")), "contains no .csv file"},
		"no ZIP":         {"x.zip", "x", "not a valid ZIP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t)
			c.put(each.file, []byte(each.content))
			c.wantState(c.run("IMPORT_DATA", "importActuals", map[string]any{"importFileName": each.file}), 1, each.want)
		})
	}
	c := newClient(t)
	c.wantState(c.run("IMPORT_DATA", "importActuals", map[string]any{"importFileName": "inbox/none.csv"}), 1, "File inbox/none.csv does not exist.")
}

func TestImportDataWithoutADefinition(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.put("d.csv", []byte("Account\tOct\tPoint-of-View\tData Load Cube Name\n4110\t7\tFY27,Plan,Working,E_111,P_110\tPlan1\n"))
	got := c.run("Import Data", "Tabs", map[string]any{"importFileName": "d.csv", "sourceType": "Planning", "delimiter": "tab"})
	c.wantState(got, 0, "successful")
	records := c.exported(map[string]any{"povMembers": "FY27,Plan,Working,E_111,P_110", "columnMembers": "Oct"})
	if len(records) != 2 || records[1][1] != "7" {
		t.Errorf("records: %v", records)
	}
}

func TestImportEssbaseData(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	text := "\"6100\" \"Jan\" \"FY26\" \"Actual\" \"Working\" \"E_900\" 12.5\n\n" +
		"6200 Jan FY26 Actual Working \"No Entity\" 3\n" +
		"6200 Jan FY26 Actual Working E_99 3\n" +
		"6200 Jan FY26 Actual Working 3\n"
	c.put("importEssbase.txt", []byte(text))
	c.wantState(c.run("IMPORT_DATA", "importEssbase", map[string]any{"errorFile": "err.zip"}), 0, "2 of 4 records were rejected")
	if records := unpack(t, c.stored("err.zip"))["importEssbase_errors.csv"]; len(records) != 3 || !strings.HasPrefix(records[1][1], `Row 4: Unknown member or second member of a dimension: "E_99"`) {
		t.Errorf("error file: %v", records)
	}
	c.wantState(c.run("IMPORT_DATA", "importEssbase", map[string]any{"stopOnError": true}), 1, "stopped at the first error")
	c.put("z.zip", archive(t, "z.txt", text))
	c.wantState(c.run("IMPORT_DATA", "importEssbase", map[string]any{"importFileName": "z.zip"}), 0, "2 of 4")
	c.wantState(c.run("IMPORT_DATA", "importEssbase", map[string]any{"importFileName": "z.zip", "cube": "Nope"}), 1, "cube")
}

func TestClearCube(t *testing.T) {
	t.Parallel()
	const forecast = "FY26,Forecast,Working,E_111,P_110"
	all := map[string]any{"povMembers": "FY26,Actual,Forecast,Working,ILvl0Descendants(Entity),ILvl0Descendants(Product)"}
	for name, each := range map[string]struct {
		job        string
		parameters map[string]any
		left       int
		forecast   bool
	}{
		"all of it":     {"Clear Plan1", nil, 0, false},
		"as defined":    {"Clear Forecast", nil, 4, false},
		"other members": {"Clear Forecast", map[string]any{"members": "Descendants(E_100),Actual"}, 2, true},
		"MDX":           {"Clear Plan1", map[string]any{"mdxQuery": "Crossjoin({[Actual]},{[E_111],[E_112]})"}, 2, true},
		"other cube":    {"Clear VisASO", nil, 5, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t)
			c.wantState(c.run("CLEAR_CUBE", each.job, each.parameters), 0, "Clear cube was successful")
			records := c.exported(all)
			found := false
			for _, record := range records {
				found = found || record[len(record)-2] == forecast
			}
			if len(records)-1 != each.left || found != each.forecast {
				t.Errorf("%d records left, want %d: %v", len(records)-1, each.left, records)
			}
		})
	}
	c := newClient(t)
	c.wantState(c.run("CLEAR_CUBE", "Clear Plan1", map[string]any{"mdxQuery": "{[Nope]}"}), 4, "Unknown member")
	c.wantState(c.run("CLEAR_CUBE", "Clear Plan1", map[string]any{"mdxQuery": "{}"}), 4, "selects no members")
	c.wantState(c.run("CLEAR_CUBE", "Clear Plan1", map[string]any{"members": "Foo(E_100)"}), 4, "unknown function")
	if got := c.send(http.MethodPost, vision+"/jobs", map[string]any{"jobType": "CLEAR_CUBE", "jobName": "Clear Plan1", "parameters": map[string]any{"clearComments": "perhaps"}}); got.status != http.StatusBadRequest {
		t.Errorf("wrong flag: %d", got.status)
	}
}
