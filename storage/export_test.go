package storage

import "slices"

// SealedColumns names the columns that rotation knows, as table.column, in order.
func SealedColumns() []string {
	var names []string
	for _, c := range sealedColumns {
		names = append(names, c.table+"."+c.sealed)
	}
	slices.Sort(names)
	return names
}
