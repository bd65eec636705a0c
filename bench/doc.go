// Bench measures Longhaul against the figures it is to keep, and prints one table.
//
// Machines differ and are noisy, so most figures are ratios: Longhaul and something that does
// the same without it (pgbench, River alone, a bare Echo handler, unzip, tusd, nginx, a plain loop
// that writes) take turns on the same machine, disk and Postgres, and the medians are compared.
//
// It starts whatever it needs and leaves nothing: the program built from this tree, with its
// private Postgres on a folder on disk, and peers, which are this very program started again
// (see peer.go), so that both sides of a comparison run in processes of their own.
//
// It ends with an error when something was wrong (a task lost, rows that differ) or could not be
// measured. A limit that was missed is no error: the table says so. README.md tells what
// each figure is and what it came to.
package main
