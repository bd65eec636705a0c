package epm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"longhaul/oracle"
)

// MaxDetails bounds how many items of a job's details are fetched; what is
// beyond shows in [Details.More] only. The error file in the outbox has all.
const MaxDetails = 10_000

const (
	// detailPage is what one request asks for, detailDefault what the service
	// gives when not asked; a page shorter than that must be the last.
	detailPage    = 100
	detailDefault = 25
)

// Details tell how a job went. They exist for IMPORT_DATA, EXPORT_DATA,
// IMPORT_METADATA and EXPORT_METADATA only.
type Details struct {
	Loads    []Load
	Messages []Message
	// More is true where the service had more than [MaxDetails] items.
	More bool
}

// Load counts the records of one part of a job: a dimension of a metadata job,
// the data of a data job.
type Load struct {
	// Dimension and Type ("Metadata Import", …) are empty where not told.
	Dimension, Type string
	// Read, Processed and Rejected count records; 0 where not told.
	Read, Processed, Rejected int64
	// ChildJobID is for [Client.ChildJobDetails]; empty where the part has none.
	ChildJobID string
}

// Message is one line the service wrote about a job.
type Message struct {
	// Severity is ERROR, WARNING or INFO; empty where not told.
	Severity string
	// Row is the line of the input file, from 1; 0 where not told. A text that
	// begins with it ("Row 17: …") is cut to what follows.
	Row  int64
	Text string
	// Category and Dimension are empty where not told.
	Category, Dimension string
}

// JobDetails calls Retrieve Job Status Details
// (prest/retrieve_job_status_details) and reads all pages. messageType is
// ERROR, WARNING or INFO, or "" for all.
func (c *Client) JobDetails(ctx context.Context, id, messageType string) (Details, error) {
	return c.details(ctx, messageType, oracle.Call{
		Op:   "read the details of job " + id,
		Path: c.app("/jobs/" + oracle.Segment(id) + "/details"),
	})
}

// ChildJobDetails calls Retrieve Child Job Status Details
// (prest/retrieve_child_job_status_details) for one [Load.ChildJobID] and
// reads all pages. messageType is as for [Client.JobDetails].
func (c *Client) ChildJobDetails(ctx context.Context, id, childID, messageType string) (Details, error) {
	return c.details(ctx, messageType, oracle.Call{
		Op:   fmt.Sprintf("read the details of job %s, part %s", id, childID),
		Path: c.app("/jobs/" + oracle.Segment(id) + "/childjobs/" + oracle.Segment(childID) + "/details"),
	})
}

// details reads pages until the service has no more. Answers carry no count;
// one page that equals the one before is a service that ignores the offset.
func (c *Client) details(ctx context.Context, messageType string, call oracle.Call) (Details, error) {
	var d Details
	var before json.RawMessage
	call.Method = http.MethodGet
	for offset := 0; ; {
		var err error
		if call.Query, err = detailQuery(messageType, offset); err != nil {
			return Details{}, err
		}
		var page struct {
			Items   json.RawMessage `json:"items"`
			Links   oracle.Links    `json:"links"`
			HasMore oracle.Flag     `json:"hasMore"`
		}
		if err := c.api.Do(ctx, call, &page); err != nil {
			return Details{}, err
		}
		list, err := items[detailItem](c, call, page.Items)
		if err != nil {
			return Details{}, err
		}
		if len(list) == 0 || len(list) != detailPage && bytes.Equal(page.Items, before) {
			return d, nil
		}
		d.add(list)
		offset += len(list)
		before = page.Items
		more := len(list) >= detailDefault || bool(page.HasMore) || page.Links.Find("next") != ""
		switch {
		case !more || len(list) > detailPage:
			return d, nil
		case offset >= MaxDetails:
			d.More = true
			return d, nil
		}
	}
}

func detailQuery(messageType string, offset int) (url.Values, error) {
	q := url.Values{"offset": {strconv.Itoa(offset)}, "limit": {strconv.Itoa(detailPage)}}
	if messageType == "" {
		return q, nil
	}
	filter, err := json.Marshal(map[string]string{"messageType": messageType})
	q.Set("q", string(filter))
	return q, err
}

// add sorts items into counts and messages; an item may be both.
func (d *Details) add(list []detailItem) {
	for _, i := range list {
		m := i.message()
		if m.Text != "" {
			d.Messages = append(d.Messages, m)
		}
		if l, ok := i.load(); ok {
			d.Loads = append(d.Loads, l)
		} else if m.Text == "" && len(i.fields) > 0 {
			// Neither shape is known: what it says must not be lost.
			d.Messages = append(d.Messages, Message{Severity: m.Severity, Row: m.Row, Text: oracle.CleanMessage(i.raw)})
		}
	}
}

// detailItem is one item of either call. The pages do not list all of its
// members, and clients have seen different names, so it is read by name.
type detailItem struct {
	fields map[string]json.RawMessage // by name in lower case
	links  oracle.Links
	raw    string
}

// UnmarshalJSON implements [json.Unmarshaler].
func (i *detailItem) UnmarshalJSON(text []byte) error {
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) != nil {
		object = map[string]json.RawMessage{"text": bytes.Clone(text)}
	}
	i.raw = string(text)
	i.fields = make(map[string]json.RawMessage, len(object))
	for name, value := range object {
		i.fields[strings.ToLower(name)] = value
	}
	if links, ok := i.fields["links"]; ok {
		return json.Unmarshal(links, &i.links)
	}
	return nil
}

// text returns the first of the named members that says something.
func (i detailItem) text(names ...string) string {
	for _, name := range names {
		var t oracle.Text
		if value, ok := i.fields[name]; ok && json.Unmarshal(value, &t) == nil && t != "" {
			return oracle.CleanMessage(string(t))
		}
	}
	return ""
}

// number returns the first of the named members that is a number.
func (i detailItem) number(names ...string) (int64, bool) {
	for _, name := range names {
		var n oracle.Number
		if value, ok := i.fields[name]; ok && json.Unmarshal(value, &n) == nil && n.Valid {
			return n.N, true
		}
	}
	return 0, false
}

var leadingRow = regexp.MustCompile(`(?i)^(?:row|line|record)\s+(\d+)\s*[:.,-]\s*`)

func (i detailItem) message() Message {
	m := Message{
		Severity:  strings.ToUpper(i.text("msgtype", "messagetype", "severity", "level")),
		Text:      i.text("msgtext", "messagetext", "message", "msg", "text", "description", "detail", "details"),
		Category:  i.text("msgcategory", "messagecategory", "category"),
		Dimension: i.text("dimensionname", "dimension"),
	}
	var told bool
	if m.Row, told = i.number("row", "rownumber", "rownum", "recordnumber", "linenumber", "line"); told {
		return m
	}
	if head := leadingRow.FindStringSubmatch(m.Text); head != nil && len(head[0]) < len(m.Text) {
		if row, err := strconv.ParseInt(head[1], 10, 64); err == nil {
			m.Row, m.Text = row, m.Text[len(head[0]):]
		}
	}
	return m
}

var childInPath = regexp.MustCompile(`/childjobs/([^/?]+)`)

// load returns the item's counts; false where it has none.
func (i detailItem) load() (Load, bool) {
	l := Load{Dimension: i.text("dimensionname", "dimension"), Type: i.text("loadtype")}
	var read, processed, rejected bool
	l.Read, read = i.number("recordsread")
	l.Processed, processed = i.number("recordsprocessed")
	l.Rejected, rejected = i.number("recordsrejected")
	for _, link := range i.links {
		if m := childInPath.FindStringSubmatch(link.Href); m != nil {
			if id, err := url.PathUnescape(m[1]); err == nil {
				l.ChildJobID = id
			}
		}
	}
	return l, read || processed || rejected || l.ChildJobID != "" || l.Type != ""
}
