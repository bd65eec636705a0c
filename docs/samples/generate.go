//go:build ignore

// Generate writes the sample archives beside it, the same bytes every time.
// They fit the application Vision of the simulated Oracle environment.
//
//	go run docs/samples/generate.go
package main

import (
	"archive/zip"
	"encoding/csv"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
)

func main() {
	_, source, _, _ := runtime.Caller(0)
	folder := filepath.Dir(source)
	for name, records := range map[string][][]string{
		"importAccount": accounts(),
		"importEntity":  entities(),
		"importActuals": actuals(),
	} {
		if err := write(filepath.Join(folder, name+".zip"), name+".csv", records); err != nil {
			log.Fatalf("write %s: %v", name, err)
		}
	}
}

func write(archiveName, fileName string, records [][]string) error {
	file, err := os.Create(archiveName)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	entry, err := archive.Create(fileName)
	if err != nil {
		return err
	}
	if err := csv.NewWriter(entry).WriteAll(records); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return file.Close()
}

const (
	rollups      = 200
	leaves       = 49 // of each rollup
	badParents   = 412
	firstBad     = 16 // record; row 17 of the file, the header being row 1
	unknownCodes = 9  // E_91 to E_99
)

// accounts are 10,000 records, 412 of which name an entity as their parent, as
// happens when the wrong column is pasted; E_99 and the like do not exist at
// all, so those records are rejected.
func accounts() [][]string {
	parents := []string{"4000", "5000", "6000", "7000", "1000", "2000", "3000"}
	kinds := []string{"Revenue", "Expense", "Expense", "Expense", "Asset", "Liability", "Equity"}
	topics := []string{"Domestic", "Export", "Intercompany", "Online", "Retail", "Wholesale", "Projects", "Maintenance"}
	bad := badRecords()
	records := [][]string{{"Account", "Parent", "Alias: Default", "Data Storage", "Account Type", "Description"}}
	for i := range rollups {
		parent, kind := parents[i%len(parents)], kinds[i%len(parents)]
		topic := topics[i%len(topics)]
		rollup := fmt.Sprintf("A_%s_%03d", parent, i+1)
		records = append(records, []string{rollup, parent, fmt.Sprintf("%s %s %03d", topic, kind, i+1), "dynamic calc", kind, ""})
		for j := range leaves {
			name := fmt.Sprintf("%s_%02d", rollup, j+1)
			alias := fmt.Sprintf("%s %s %03d-%02d", topic, kind, i+1, j+1)
			under := rollup
			if code, isBad := bad[len(records)]; isBad {
				under = code
			}
			records = append(records, []string{name, under, alias, "store", kind, "Imported from the ledger"})
		}
	}
	return records
}

// badRecords chooses the records with an unknown parent: never a rollup, so
// that no other record is rejected for lack of it.
func badRecords() map[int]string {
	random := rand.New(rand.NewPCG(2026, 11))
	bad := map[int]string{firstBad: "E_99"}
	for len(bad) < badParents {
		record := firstBad + 1 + random.IntN(rollups*(leaves+1)-firstBad)
		if (record-1)%(leaves+1) != 0 {
			bad[record] = fmt.Sprintf("E_%d", 99-random.IntN(unknownCodes))
		}
	}
	return bad
}

// entities are records without a mistake.
func entities() [][]string {
	regions := []struct{ code, parent, name string }{
		{"E_130", "E_100", "Mexico"}, {"E_250", "E_200", "Italy"}, {"E_260", "E_200", "Netherlands"}, {"E_340", "E_300", "Singapore"},
	}
	records := [][]string{{"Entity", "Parent", "Alias: Default", "Data Storage", "Region"}}
	for _, region := range regions {
		records = append(records, []string{region.code, region.parent, region.name, "dynamic calc", region.name})
		for i := range 30 {
			name := fmt.Sprintf("%s_%02d", region.code, i+1)
			records = append(records, []string{name, region.code, fmt.Sprintf("%s Office %02d", region.name, i+1), "store", region.name})
		}
	}
	return records
}

// actuals are a data file without a mistake: the twelve months of FY26.
func actuals() [][]string {
	random := rand.New(rand.NewPCG(2026, 12))
	months := []string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}
	records := [][]string{append(append([]string{"Account"}, months...), "Point-of-View", "Data Load Cube Name")}
	for _, account := range []string{"4110", "4120", "4130", "5110", "5120", "5130"} {
		for _, entity := range []string{"E_111", "E_112", "E_113", "E_121", "E_122", "E_210", "E_220", "E_230", "E_240", "E_310"} {
			for _, product := range []string{"P_110", "P_120", "P_130", "P_210", "P_220", "P_240"} {
				record := []string{account}
				for range months {
					record = append(record, fmt.Sprint(1000+random.IntN(90_000)))
				}
				records = append(records, append(record, "FY26,Actual,Working,"+entity+","+product, "Plan1"))
			}
		}
	}
	return records
}
