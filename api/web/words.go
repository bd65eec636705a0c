package web

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// exact is how a point in time is written out; scripts turn it into the reader's time zone.
const exact = "2 Jan 2006, 15:04:05 UTC"

// Exact writes a point in time out.
func Exact(t time.Time) string { return t.UTC().Format(exact) }

// Ago words how long ago t was, seen from now.
func Ago(t, now time.Time) string {
	switch d := now.Sub(t); {
	case d < 45*time.Second:
		return "just now"
	case d < 7*24*time.Hour:
		return span(d) + " ago"
	}
	return t.UTC().Format("2 Jan 2006")
}

// Until words how far t lies ahead, seen from now.
func Until(t, now time.Time) string {
	d := t.Sub(now)
	if d < 45*time.Second {
		return "in a moment"
	}
	return "in " + span(d)
}

// span words a duration in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < 45*time.Second:
		return "a few seconds"
	case d < time.Hour-30*time.Second:
		return fmt.Sprintf("%d min", max(1, int(d.Round(time.Minute)/time.Minute)))
	case d < 48*time.Hour-30*time.Minute:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour)/time.Hour))
	}
	return fmt.Sprintf("%d days", int(d.Round(24*time.Hour)/(24*time.Hour)))
}

// Took words a duration with its two largest units.
func Took(d time.Duration) string {
	d = d.Round(time.Second)
	h, m, s := int(d/time.Hour), int(d%time.Hour/time.Minute), int(d%time.Minute/time.Second)
	switch {
	case d < time.Second:
		return "less than 1 s"
	case h > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case m > 0:
		return fmt.Sprintf("%d min %d s", m, s)
	}
	return fmt.Sprintf("%d s", s)
}

// Bytes words a size.
func Bytes(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, suffixes := float64(n)/unit, "kMGTPE"
	for value >= unit && len(suffixes) > 1 {
		value, suffixes = value/unit, suffixes[1:]
	}
	return fmt.Sprintf("%.1f %cB", value, suffixes[0])
}

// Count writes a number with its thousands parted.
func Count(n int64) string { return message.NewPrinter(language.English).Sprintf("%d", n) }

// plural is the number with the word in the right form.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(int64(n)) + " " + many
}

// label makes a name for people of a name for machines: refresh_cube, Refresh cube.
func label(name string) string {
	if known, ok := knownLabels[name]; ok {
		return known
	}
	return Sentence(strings.ReplaceAll(name, "_", " "))
}

// Sentence makes the first letter of a message a capital.
func Sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return text
	}
	return string(unicode.ToUpper(first)) + text[size:]
}

// knownLabels are names that capitals alone do not make readable.
var knownLabels = map[string]string{
	"ms":                                "Milliseconds",
	"mdx_query":                         "MDX query",
	"export_smart_list_as":              "Smart Lists as",
	"export_data_decimal_scale":         "Decimal places",
	"allowed_users_during_cube_refresh": "Users during the refresh",
	"allowed_users_after_cube_refresh":  "Users after the refresh",
	"terminate_active_requests_before_cube_refresh": "End running requests first",
	"log_off_all_users_before_cube_refresh":         "Log off all users first",
}
