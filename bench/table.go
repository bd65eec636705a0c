package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// line is a line of the table, in its words.
type line struct {
	name     string
	measured string
	against  string // what it is compared with
	ratio    string
	limit    string
	verdict  string
	others   string // how many processors others kept busy meanwhile
}

// limited is a line with a limit: kept says whether the figure is within it.
func limited(l line, limit string, kept bool) line {
	l.limit, l.verdict = limit, "MISSED"
	if kept {
		l.verdict = "kept"
	}
	return l
}

// rivals are what two sides did in their rounds, which took turns.
type rivals struct{ ours, theirs []float64 }

func (r *rivals) add(ours, theirs float64) {
	r.ours, r.theirs = append(r.ours, ours), append(r.theirs, theirs)
}

// ratio is the median of what we did for each thing that the other did in the same round. What
// else the machine is doing changes by the minute, and mostly meets both.
func (r *rivals) ratio() float64 {
	ratios := make([]float64, len(r.ours))
	for i := range ratios {
		ratios[i] = r.ours[i] / r.theirs[i]
	}
	return median(ratios)
}

// words lists the rounds, for the log.
func (r *rivals) words() string {
	words := make([]string, len(r.ours))
	for i := range words {
		words[i] = fmt.Sprintf("%.0f to %.0f", r.ours[i], r.theirs[i])
	}
	return strings.Join(words, ", ")
}

// compared is a line whose ratio must be at least the limit.
func (r *rivals) compared(l line, atLeast float64) line {
	l.ratio = fmt.Sprintf("%.2f", r.ratio())
	return limited(l, fmt.Sprintf("≥ %g", atLeast), r.ratio() >= atLeast)
}

// printTable writes the lines as a Markdown table, and below it what it was measured on.
func printTable(w io.Writer, lines []line, about string) {
	table := [][]string{
		{"figure", "measured", "compared with", "ratio", "limit", "verdict", "others"},
		slices.Repeat([]string{"---"}, 7),
	}
	for _, l := range lines {
		table = append(table, []string{l.name, l.measured, l.against, l.ratio, l.limit, l.verdict, l.others})
	}
	widths := make([]int, 7)
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for r, row := range table {
		pad := " "
		if r == 1 {
			pad = "-"
		}
		for i, cell := range row {
			text.WriteString("| " + cell + strings.Repeat(pad, widths[i]-utf8.RuneCountInString(cell)) + " ")
		}
		text.WriteString("|\n")
	}
	_, _ = fmt.Fprintf(w, "\n%s\n%s\n", text.String(), about) // nowhere else to tell
}

// median of at least one value.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// percentile is the smallest of the values that p percent of them do not exceed; zero of none.
func percentile(values []time.Duration, p float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// ms words a duration in milliseconds.
func ms(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
}
