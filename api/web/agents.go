package web

import "strings"

// agents are browsers by what their user agent strings hold. The order matters: nearly all call
// themselves Chrome or Safari too.
var agents = []struct{ mark, name string }{
	{"Edg/", "Edge"},
	{"EdgA/", "Edge"},
	{"EdgiOS/", "Edge"},
	{"OPR/", "Opera"},
	{"SamsungBrowser/", "Samsung Internet"},
	{"Firefox/", "Firefox"},
	{"FxiOS/", "Firefox"},
	{"CriOS/", "Chrome"},
	{"HeadlessChrome/", "Chrome"},
	{"Chrome/", "Chrome"},
	{"Version/", "Safari"},
}

// systems are operating systems by what user agent strings hold. Android calls itself Linux too,
// and an iPhone a Mac.
var systems = []struct{ mark, name string }{
	{"Windows", "Windows"},
	{"iPhone", "iPhone"},
	{"iPad", "iPad"},
	{"Android", "Android"},
	{"CrOS", "ChromeOS"},
	{"Mac OS X", "macOS"},
	{"Linux", "Linux"},
}

// BrowserName words which browser a user agent string is of, and on which system, as far as it
// says: Firefox 140 on Windows.
func BrowserName(userAgent string) string {
	name := "Unknown browser"
	for _, a := range agents {
		if _, rest, ok := strings.Cut(userAgent, a.mark); ok {
			name = strings.TrimSpace(a.name + " " + digits(rest))
			break
		}
	}
	for _, s := range systems {
		if strings.Contains(userAgent, s.mark) {
			return name + " on " + s.name
		}
	}
	return name
}

// digits is the number that text begins with, of at most four digits; others are made up.
func digits(text string) string {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	if n > 4 {
		return ""
	}
	return text[:n]
}
