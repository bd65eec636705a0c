package web

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The controls that a form can draw.
const (
	ControlText    = "text"
	ControlChoice  = "choice"  // one of a few words
	ControlYesNo   = "yesno"   // yes, no, or left out
	ControlCheck   = "check"   // yes or no
	ControlInteger = "integer" // a whole number
	ControlNumber  = "number"
	ControlMap     = "map"  // names with texts
	ControlJSON    = "json" // whatever else a schema may ask for
)

// Field is one parameter in a form.
type Field struct {
	Name     string // as in the params
	Label    string
	Help     string
	Control  string
	Required bool
	Choices  []string
	Min, Max string // empty: no bound
	MaxLen   int    // characters; 0: no bound
	Value    string // what it is filled with
	Pairs    []Pair // what a ControlMap is filled with
}

// Pair is a name with its text.
type Pair struct{ Name, Value string }

// ID is the id of the field's control in the page.
func (f *Field) ID() string { return "params-" + f.Name }

// Location is how the API names the field when it refuses its value.
func (f *Field) Location() string { return "body.params." + f.Name }

// schema is what is read of a JSON Schema.
type schema struct {
	Type        any               `json:"type"` // a word, or words
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Enum        []any             `json:"enum"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
	MaxLength   int               `json:"maxLength"`
	Required    []string          `json:"required"`
	Default     any               `json:"default"`
	Properties  map[string]schema `json:"properties"`
	// Additional is a schema, or a boolean.
	Additional json.RawMessage `json:"additionalProperties"`
}

// Fields draws the form for an object's JSON Schema, required fields first, then by name. The
// values are what it is filled with; nil fills it with the schema's defaults.
func Fields(raw []byte, values map[string]any) ([]Field, error) {
	var s schema
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("read the schema of a form: %w", err)
	}
	fields := make([]Field, 0, len(s.Properties))
	for name, property := range s.Properties {
		value, given := values[name]
		if !given && values == nil {
			value = property.Default
		}
		fields = append(fields, property.field(name, slices.Contains(s.Required, name), value))
	}
	slices.SortFunc(fields, func(a, b Field) int {
		if a.Required != b.Required {
			if a.Required {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Label, b.Label)
	})
	return fields, nil
}

func (s *schema) field(name string, required bool, value any) Field {
	f := Field{
		Name: name, Label: s.Title, Help: s.Description, Required: required, Control: s.control(required),
		Min: bound(s.Minimum), Max: bound(s.Maximum), MaxLen: s.MaxLength,
	}
	if f.Label == "" {
		f.Label = label(name)
	}
	for _, choice := range s.Enum {
		f.Choices = append(f.Choices, plain(choice))
	}
	if pairs, ok := value.(map[string]any); ok && f.Control == ControlMap {
		for name, value := range pairs {
			f.Pairs = append(f.Pairs, Pair{name, plain(value)})
		}
		slices.SortFunc(f.Pairs, func(a, b Pair) int { return strings.Compare(a.Name, b.Name) })
	} else {
		f.Value = plain(value)
	}
	return f
}

// control chooses how a property is asked for.
func (s *schema) control(required bool) string {
	switch s.word() {
	case "string":
		if len(s.Enum) > 0 {
			return ControlChoice
		}
		return ControlText
	case "boolean":
		if required {
			return ControlCheck
		}
		return ControlYesNo
	case "integer":
		return ControlInteger
	case "number":
		return ControlNumber
	case "object":
		if s.mapOfStrings() {
			return ControlMap
		}
	}
	return ControlJSON
}

// word is the schema's type; of several, the first that is not null.
func (s *schema) word() string {
	words, several := s.Type.([]any)
	if !several {
		words = []any{s.Type}
	}
	for _, word := range words {
		if text, ok := word.(string); ok && text != "null" {
			return text
		}
	}
	return ""
}

func (s *schema) mapOfStrings() bool {
	var item schema
	return len(s.Properties) == 0 && json.Unmarshal(s.Additional, &item) == nil && item.word() == "string"
}

func bound(limit *float64) string {
	if limit == nil {
		return ""
	}
	return strconv.FormatFloat(*limit, 'f', -1, 64)
}

// plain writes a JSON value as a control holds it.
func plain(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(raw)
}

// Range words the bounds of a number.
func (f *Field) Range() string {
	switch {
	case f.Control != ControlInteger && f.Control != ControlNumber, f.Min == "" && f.Max == "":
		return ""
	case f.Max == "":
		return "From " + f.Min + "."
	case f.Min == "":
		return "Up to " + f.Max + "."
	}
	return "From " + f.Min + " to " + f.Max + "."
}
