package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxQ bounds the q parameter; the longest documented one is under 300 bytes.
const maxQ = 4096

var errQ = errors.New("invalid q parameter")

// parseQ reads the query parameter q: an object of one level, as JSON or in
// the looser form that Oracle's pages print, {type:"export",chunkSize:14}.
// Values come back as text. An empty s is an empty object.
func parseQ(s string) (map[string]string, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return map[string]string{}, nil
	}
	if len(s) > maxQ {
		return nil, fmt.Errorf("%w: %d bytes are too many", errQ, len(s))
	}
	if values, ok := parseStrictQ(s); ok {
		return values, nil
	}
	return parseLooseQ(s)
}

func parseStrictQ(s string) (map[string]string, bool) {
	var object map[string]any
	decoder := json.NewDecoder(strings.NewReader(s))
	decoder.UseNumber()
	if err := decoder.Decode(&object); err != nil || decoder.More() || object == nil {
		return nil, false
	}
	values := make(map[string]string, len(object))
	for key, value := range object {
		text, ok := scalarText(value)
		if !ok {
			return nil, false
		}
		values[key] = text
	}
	return values, true
}

// scalarText returns a JSON scalar as text, without the quotes of a string.
func scalarText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case bool:
		return fmt.Sprint(v), true
	case json.Number:
		return v.String(), true
	case nil:
		return "", true
	default:
		return "", false
	}
}

func parseLooseQ(s string) (map[string]string, error) {
	body, ok := strings.CutPrefix(s, "{")
	if !ok || !strings.HasSuffix(body, "}") {
		return nil, fmt.Errorf("%w: not an object", errQ)
	}
	rest := strings.TrimSpace(strings.TrimSuffix(body, "}"))
	values := map[string]string{}
	for rest != "" {
		var key, value string
		var err error
		if key, rest, err = looseToken(rest, ":"); err != nil {
			return nil, err
		}
		if rest, ok = strings.CutPrefix(rest, ":"); !ok || key == "" {
			return nil, fmt.Errorf("%w: name without value", errQ)
		}
		if value, rest, err = looseToken(strings.TrimSpace(rest), ","); err != nil {
			return nil, err
		}
		values[key] = value
		if rest, ok = strings.CutPrefix(rest, ","); !ok && rest != "" {
			return nil, fmt.Errorf("%w: text after the value of %s", errQ, key)
		}
		rest = strings.TrimSpace(rest)
	}
	return values, nil
}

// looseToken cuts a quoted or bare token off s; a bare one ends before stop.
func looseToken(s, stop string) (token, rest string, err error) {
	if quote := s[:min(1, len(s))]; quote == `"` || quote == `'` {
		token, rest, ok := strings.Cut(s[1:], quote)
		if !ok {
			return "", "", fmt.Errorf("%w: quote is not closed", errQ)
		}
		return token, strings.TrimSpace(rest), nil
	}
	end := strings.Index(s, stop)
	if end < 0 {
		end = len(s)
	}
	return strings.TrimSpace(s[:end]), s[end:], nil
}
