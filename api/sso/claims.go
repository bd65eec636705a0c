package sso

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	claimEmail         = "email"
	claimEmailVerified = "email_verified"
	claimSubject       = "sub"
)

// claims is what a token or the userinfo endpoint says, by name. What is not of the
// form it should be counts as not said: the shapes are the providers' own.
type claims map[string]json.RawMessage

// text is a claim that is a string, without the space around it.
func (c claims) text(name string) string {
	var s string
	if json.Unmarshal(c[name], &s) != nil {
		return ""
	}
	return strings.TrimSpace(s)
}

// first is the first of the claims that says something.
func (c claims) first(names ...string) string {
	for _, name := range names {
		if s := c.text(name); s != "" {
			return s
		}
	}
	return ""
}

// has reports whether the claim is there and says something.
func (c claims) has(name string) bool {
	raw := string(c[name])
	return raw != "" && raw != "null" && raw != `""`
}

// denies reports whether a claim is false; some providers write it as a string.
func (c claims) denies(name string) bool {
	raw := string(c[name])
	return raw == "false" || raw == `"false"`
}

// object is a claim that is an object.
func (c claims) object(name string) claims {
	var o claims
	if json.Unmarshal(c[name], &o) != nil {
		return nil
	}
	return o
}

// at is a claim that is a time; false when it is not there.
func (c claims) at(name string) (time.Time, bool) {
	var seconds float64
	if !c.has(name) || json.Unmarshal(c[name], &seconds) != nil || math.Abs(seconds) > math.MaxInt32*1000 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// groups reads a claim of groups: strings, objects with a name, display or value
// (as SCIM has them, which Oracle follows), or a single one of these. Known is
// false when the claim is not there or of another form.
func (c claims) groups(name string) (groups []string, known bool) {
	if !c.has(name) {
		return nil, false
	}
	elements := []json.RawMessage{}
	if json.Unmarshal(c[name], &elements) != nil {
		elements = []json.RawMessage{c[name]}
	}
	for _, element := range elements {
		group, ok := groupName(element)
		if !ok {
			return nil, false
		}
		if group != "" && !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	return groups, true
}

func groupName(element json.RawMessage) (string, bool) {
	var name string
	if json.Unmarshal(element, &name) == nil {
		return strings.TrimSpace(name), true
	}
	var object claims
	if json.Unmarshal(element, &object) != nil {
		return "", false
	}
	name = object.first("name", "display", "value")
	return name, name != ""
}
