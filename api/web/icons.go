package web

import (
	"fmt"
	"html/template"
)

// icons are drawn on a square of 24, with the stroke and colour of the style sheet. They always
// stand beside a word, so they are hidden from screen readers.
var icons = map[string]template.HTML{
	"check":    `<circle cx="12" cy="12" r="9"/><path d="m8 12.5 2.8 2.8L16 9.5"/>`,
	"warning":  `<path d="M12 4 2.8 19.5h18.4z"/><path d="M12 10v4.5M12 17.2v.1"/>`,
	"cross":    `<circle cx="12" cy="12" r="9"/><path d="m9 9 6 6m0-6-6 6"/>`,
	"slash":    `<circle cx="12" cy="12" r="9"/><path d="m6 18 12-12"/>`,
	"clock":    `<circle cx="12" cy="12" r="9"/><path d="M12 7v5l3.2 2"/>`,
	"spinner":  `<circle class="rail" cx="12" cy="12" r="9"/><path d="M12 3a9 9 0 0 1 9 9"/>`,
	"upload":   `<path d="M12 16V4m-4.5 4.5L12 4l4.5 4.5M4 16v3.5h16V16"/>`,
	"download": `<path d="M12 4v12m-4.5-4.5L12 16l4.5-4.5M4 16v3.5h16V16"/>`,
	"file":     `<path d="M6 3h8l4 4v14H6z"/><path d="M14 3v4h4"/>`,
	"folder":   `<path d="M3.5 19.5v-14h6l2 2.5h9v11.5z"/>`,
	"plus":     `<path d="M12 5v14M5 12h14"/>`,
	"back":     `<path d="m14.5 6-6 6 6 6"/>`,
	"next":     `<path d="m9.5 6 6 6-6 6"/>`,
	"down":     `<path d="M12 5v14m-6-6 6 6 6-6"/>`,
	"again":    `<path d="M20 12a8 8 0 1 1-2.4-5.7L20 8.5"/><path d="M20 3.5v5h-5"/>`,
	"bin":      `<path d="M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7"/>`,
	"copy":     `<path d="M9 9h11v11H9z"/><path d="M15 9V4H4v11h5"/>`,
	"plug":     `<path d="M9 3v5m6-5v5M6 8h12v3a6 6 0 0 1-12 0zM12 17v4"/>`,
	"person":   `<circle cx="12" cy="8" r="4"/><path d="M4.5 20.5c.8-4 3.7-6 7.5-6s6.7 2 7.5 6"/>`,
	"group":    `<circle cx="9" cy="8.5" r="3.5"/><path d="M2.5 20c.7-3.6 3.1-5.4 6.5-5.4s5.8 1.8 6.5 5.4M15.5 5.3a3.5 3.5 0 0 1 0 6.4M18.2 15.2c1.8.9 2.9 2.5 3.3 4.8"/>`,
	"key":      `<circle cx="8" cy="15.5" r="4.5"/><path d="m11.2 12.3 8.3-8.3M16 7.5l3 3"/>`,
	"lock":     `<path d="M5.5 11h13v9.5h-13z"/><path d="M8.5 11V7.5a3.5 3.5 0 0 1 7 0V11"/>`,
	"out":      `<path d="M14 4H5v16h9M10 12h10.5m-4-4 4 4-4 4"/>`,
	"info":     `<circle cx="12" cy="12" r="9"/><path d="M12 11v5.5M12 7.6v.1"/>`,
}

// icon is the named icon as SVG. An unknown name is a mistake in a template, and ends its
// rendering.
func icon(name string) (template.HTML, error) {
	drawing, ok := icons[name]
	if !ok {
		return "", fmt.Errorf("no icon %q", name)
	}
	return `<svg class="icon icon-` + template.HTML(name) + //nolint:gosec // a key of the map above
		`" viewBox="0 0 24 24" aria-hidden="true" focusable="false">` + drawing + `</svg>`, nil
}
