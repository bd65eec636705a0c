package web

import "net/url"

// Filter selects tasks in the list; empty fields select all.
type Filter struct {
	App, Kind, State, Name string
	Cursor                 string // the page; empty: the newest
}

// OpenStates is the filter for tasks that have not ended.
const OpenStates = "open"

// StateChoice is one answer to the question which states to show.
type StateChoice struct{ Value, Word string }

// StateChoices are what the list can be filtered by.
func (Filter) StateChoices() []StateChoice {
	return []StateChoice{
		{OpenStates, "Not ended"},
		{"queued", "Queued"},
		{"running", "Running"},
		{"succeeded", "Succeeded"},
		{"failed", "Failed"},
		{"cancelled", "Cancelled"},
	}
}

// Active reports whether anything is filtered.
func (f Filter) Active() bool { return f.App != "" || f.Kind != "" || f.State != "" || f.Name != "" }

// URL is the address of the list with this filter.
func (f Filter) URL() string {
	values := url.Values{}
	for name, value := range map[string]string{
		"app": f.App, "kind": f.Kind, "state": f.State, "name": f.Name, "cursor": f.Cursor,
	} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if len(values) == 0 {
		return "/"
	}
	return "/?" + values.Encode()
}

// From is the filter's page that begins after the cursor.
func (f Filter) From(cursor string) Filter {
	f.Cursor = cursor
	return f
}

// AnyOpen reports whether a task in the list has not ended.
func (l *TaskList) AnyOpen() bool {
	for i := range l.Tasks {
		if l.Tasks[i].Open() {
			return true
		}
	}
	return false
}

// Empty reports whether the list has nothing to show.
func (l *TaskList) Empty() bool { return len(l.Tasks) == 0 }
