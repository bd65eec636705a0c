package api

import (
	"strings"
	"testing"
)

func FuzzParsePosition(f *testing.F) {
	for _, id := range []string{"", "1.2", "0.0", "-1.0", "1.", ".1", "1.2.3", "99999999999999999999.0", "0x1.1", "+1.1"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		p := parsePosition(id)
		if p.version < 0 || p.offset < 0 {
			t.Errorf("%q: %v", id, p)
		}
		if again := parsePosition(p.String()); again != p {
			t.Errorf("%v is written and read as %v", p, again)
		}
	})
}

func FuzzMatches(f *testing.F) {
	for _, header := range []string{"", "*", `"1"`, `W/"1"`, `"2", "1"`, `"1`, `1"`, `"a,"1""`, `W/W/"1"`, ` , "1"`} {
		f.Add(header, int64(1))
	}
	f.Fuzz(func(t *testing.T, header string, version int64) {
		tag := etag(version)
		if matches(header, version) && !strings.Contains(header, tag) && !strings.Contains(header, "*") {
			t.Errorf("%q matches %s", header, tag)
		}
		if !matches(header+", W/"+tag, version) || !matches(tag+","+header, version) {
			t.Errorf("%s in a list with %q does not match", tag, header)
		}
	})
}
