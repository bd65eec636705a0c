package web_test

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"longhaul/api/web"
)

// doc is a rendered view, to be asked what it says.
type doc struct {
	t    *testing.T
	root *html.Node
}

func render(t *testing.T, v web.View) *doc {
	t.Helper()
	text, err := v.Render()
	if err != nil {
		t.Fatalf("render: %v", err)
	}
	root, err := html.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return &doc{t: t, root: root}
}

// all returns the elements that match.
func (d *doc) all(match func(*html.Node) bool) []*html.Node {
	var found []*html.Node
	for n := range d.root.Descendants() {
		if n.Type == html.ElementNode && match(n) {
			found = append(found, n)
		}
	}
	return found
}

func (d *doc) tags(name string) []*html.Node {
	return d.all(func(n *html.Node) bool { return n.Data == name })
}

// id returns the element of that id, or nil.
func (d *doc) id(id string) *html.Node {
	for _, n := range d.all(func(n *html.Node) bool { return attr(n, "id") == id }) {
		return n
	}
	return nil
}

// link returns the address of the link with that text, or nothing.
func (d *doc) link(words string) string {
	for _, a := range d.tags("a") {
		if text(a) == words {
			return attr(a, "href")
		}
	}
	return ""
}

// says checks that the words are on the page.
func (d *doc) says(words ...string) {
	d.t.Helper()
	all := text(d.root)
	for _, w := range words {
		if !strings.Contains(all, w) {
			d.t.Errorf("the page does not say %q:\n%s", w, all)
		}
	}
}

// silent checks that the words are not on the page.
func (d *doc) silent(words ...string) {
	d.t.Helper()
	all := text(d.root)
	for _, w := range words {
		if strings.Contains(all, w) {
			d.t.Errorf("the page says %q:\n%s", w, all)
		}
	}
}

// text is what an element shows, with its spaces evened out.
func text(n *html.Node) string {
	var out strings.Builder
	collect(&out, n)
	return strings.Join(strings.Fields(out.String()), " ")
}

func collect(out *strings.Builder, n *html.Node) {
	switch {
	case n.Type == html.TextNode:
		out.WriteString(n.Data)
	case n.Data == "noscript" || n.Data == "head":
		return
	case n.Data == "p" || n.Data == "li" || n.Data == "dt" || n.Data == "dd" || n.Data == "td" || n.Data == "option":
		out.WriteByte(' ')
	}
	for child := range n.ChildNodes() {
		collect(out, child)
	}
}

func attr(n *html.Node, name string) string {
	if n == nil {
		return ""
	}
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	if n == nil {
		return false
	}
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}
