package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// The types below take what the services really send where the documentation
// promises a number, a boolean, a text or an array; its own examples break the
// promise. Names of members need no help: encoding/json matches jobID to
// jobId by itself.

// Number is an integer sent as a number or a numeric string. Null, an empty
// string, "null" and "-" leave it not Valid.
type Number struct {
	N     int64
	Valid bool
}

// UnmarshalJSON implements [json.Unmarshaler].
func (n *Number) UnmarshalJSON(text []byte) error {
	*n = Number{}
	s := strings.TrimSpace(unquote(text))
	switch strings.ToLower(s) {
	case "", "-", "null":
		return nil
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		*n = Number{i, true}
		return nil
	}
	// 2147483647.0 and 1e3 are integers too; 2^63 is the first beyond int64.
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<63 {
		return fmt.Errorf("%.40q is not an integer", s)
	}
	*n = Number{int64(f), true}
	return nil
}

// Flag is a boolean sent as one or as a string; null is false.
type Flag bool

// UnmarshalJSON implements [json.Unmarshaler].
func (f *Flag) UnmarshalJSON(text []byte) error {
	switch s := strings.ToLower(strings.TrimSpace(unquote(text))); s {
	case "true", "yes", "y", "1":
		*f = true
	case "false", "no", "n", "0", "", "null":
		*f = false
	default:
		return fmt.Errorf("%.40q is not a boolean", s)
	}
	return nil
}

// Text is whatever JSON stands where a text should: a string, trimmed; "" for
// null and for the string "null"; numbers and booleans as written; the texts
// of an array joined; of an object its message, else its JSON.
type Text string

// UnmarshalJSON implements [json.Unmarshaler].
func (t *Text) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	*t = Text(textOf(value))
	return nil
}

func textOf(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		if v = strings.TrimSpace(v); strings.EqualFold(v, "null") {
			return ""
		}
		return v
	case []any:
		return textOfArray(v)
	case map[string]any:
		return textOfObject(v)
	default:
		return fmt.Sprint(v)
	}
}

func textOfArray(values []any) string {
	var parts []string
	for _, v := range values {
		if s := textOf(v); s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, "; ")
}

// messageMembers are the members that hold an object's message, best first.
var messageMembers = []string{"errormessage", "message", "msgtext", "detail", "details", "description", "text", "error"}

func textOfObject(object map[string]any) string {
	lower := make(map[string]any, len(object))
	for name, v := range object {
		lower[strings.ToLower(name)] = v
	}
	for _, name := range messageMembers {
		if s := textOf(lower[name]); s != "" {
			return s
		}
	}
	text, err := json.Marshal(object)
	if err != nil || len(object) == 0 {
		return ""
	}
	return string(text)
}

// Link is one link of an answer. Rel is as sent; compare it through
// [Links.Find]. Href may point to a host that is not to be called: it is for
// [Call.Link] and [Client.Rebase] only.
type Link struct {
	Rel, Href, Action string
}

// Links are an answer's links, sent as null, an array, or an object (one link,
// or a map from relation to link).
type Links []Link

// UnmarshalJSON implements [json.Unmarshaler]. What is not a link is left out.
func (l *Links) UnmarshalJSON(text []byte) error {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return err
	}
	*l = nil
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			l.add("", element)
		}
	case map[string]any:
		if _, single := v["href"].(string); single {
			l.add("", v)
			break
		}
		for rel, element := range v {
			l.add(rel, element)
		}
		slices.SortFunc(*l, func(a, b Link) int { return strings.Compare(a.Rel, b.Rel) })
	}
	return nil
}

// add appends a link told as an href, or as an object with its own rel.
func (l *Links) add(rel string, value any) {
	link := Link{Rel: rel}
	switch v := value.(type) {
	case string:
		if rel != "" { // an array of bare strings says nothing of what they are
			link.Href = strings.TrimSpace(v)
		}
	case map[string]any:
		link.Href, _ = v["href"].(string)
		link.Action, _ = v["action"].(string)
		if own, ok := v["rel"].(string); ok {
			link.Rel = own
		}
		link.Href = strings.TrimSpace(link.Href)
	}
	if link.Href != "" {
		*l = append(*l, link)
	}
}

// Find returns the href of the first link with this relation, or "". Case,
// spaces and punctuation do not count: one page prints Job' 'Status.
func (l Links) Find(rel string) string {
	for _, link := range l {
		if plainRel(link.Rel) == plainRel(rel) {
			return link.Href
		}
	}
	return ""
}

func plainRel(rel string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(rel), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}), " ")
}

// unquote returns the content of a JSON string, or the text of another value.
func unquote(text []byte) string {
	var s string
	if json.Unmarshal(text, &s) == nil {
		return s
	}
	return string(text)
}

var bom = []byte("\xef\xbb\xbf")

func trimBOM(text []byte) []byte {
	return bytes.TrimPrefix(bytes.TrimSpace(text), bom)
}

// looksJSON reports whether a body begins like a JSON object or array; these
// services send nothing else. Content types are no help: proxies' pages come
// with every kind.
func looksJSON(text []byte) bool {
	text = bytes.TrimSpace(trimBOM(text))
	return len(text) > 0 && (text[0] == '{' || text[0] == '[')
}
