package epm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"longhaul/oracle"
)

// ErrUnknownJob is in the chain of [Client.Job]'s error where the service does
// not know the job id. It answers 500 then (seen), as it does when something
// inside it breaks, so the error means "most likely": within the hour of the
// daily maintenance it may still know the job again.
var ErrUnknownJob = errors.New("job is not known to the service")

// JobDefinition is a job saved in the application.
type JobDefinition struct {
	// Type is the job console's code, such as IMPORT_METADATA.
	Type string
	Name string
}

// JobDefinitions calls Get Job Definitions (prest/get_job_definitions).
// jobType is a console code such as IMPORT_METADATA, or "" for all.
// Needs the role Service Administrator.
func (c *Client) JobDefinitions(ctx context.Context, jobType string) ([]JobDefinition, error) {
	call := oracle.Call{Op: "list job definitions", Method: http.MethodGet, Path: c.app("/jobdefinitions")}
	if jobType != "" {
		filter, err := json.Marshal(map[string]string{"jobType": jobType})
		if err != nil {
			return nil, err
		}
		call.Query = query("q", string(filter))
	}
	var answer struct {
		Items json.RawMessage `json:"items"`
	}
	if err := c.api.Do(ctx, call, &answer); err != nil {
		return nil, err
	}
	type item struct {
		Type oracle.Text `json:"jobType"`
		Name oracle.Text `json:"jobName"`
	}
	list, err := items[item](c, call, answer.Items)
	definitions := make([]JobDefinition, 0, len(list))
	for _, i := range list {
		definitions = append(definitions, JobDefinition{string(i.Type), string(i.Name)})
	}
	return definitions, err
}

// Job is one run of a job, as the service tells it.
type Job struct {
	// ID is the service's number for the run, in decimal.
	ID   string
	Name string
	// Status is the number as sent; State what it means.
	Status int64
	State  State
	// DescriptiveStatus is the service's word for the state ("Processing",
	// "Completed", "Error", "Completed with errors", …).
	DescriptiveStatus string
	// Details is the job's message; the error's text when it failed.
	Details string
	// URL is where the job can be asked for, on the configured host.
	URL string
}

// launch is the body of a start.
type launch struct {
	Type       string         `json:"jobType"`
	Name       string         `json:"jobName,omitempty"`
	Parameters map[string]any `json:"parameters,omitempty"`
}

// Execute calls Execute a Job (prest/execute_a_job) and returns the job as it
// began; it may have ended already. Names and values keep their case.
//
// It is sent once. When it fails, [oracle.MayHaveHappened] tells whether a job
// may run all the same; there is no documented call to find out which.
func (c *Client) Execute(ctx context.Context, jobType, jobName string, parameters map[string]any) (Job, error) {
	call := oracle.Call{
		Op:     fmt.Sprintf("start %s job %q", jobType, jobName),
		Method: http.MethodPost,
		Path:   c.app("/jobs"),
		JSON:   launch{jobType, jobName, parameters},
	}
	var a jobAnswer
	if err := c.api.Do(ctx, call, &a); err != nil {
		return Job{}, withReason(err)
	}
	if a.id() == "" {
		return Job{}, withReason(c.notStarted(call, a))
	}
	return c.job(call, a)
}

// notStarted is the error of a start that was answered with 200 but without a
// job. With an error's status (the launch-refused body has 1, the general one
// 400) the service said no; with any other it said nothing that can be relied on.
func (c *Client) notStarted(call oracle.Call, a jobAnswer) error {
	if a.Status.Valid && a.Status.N > 0 && a.Status.N < http.StatusInternalServerError {
		return c.api.Failure(call, oracle.KindRefused, a.message())
	}
	err := c.api.Failure(call, oracle.KindProtocol, strings.TrimSpace("answer names no job. "+a.message()))
	err.MayHaveHappened = true
	return err
}

// withReason gives a refusal words where the service had none: its
// launch-refused body says only "Error".
func withReason(err error) error {
	var e *oracle.Error
	if errors.As(err, &e) && e.Kind == oracle.KindRefused && (e.Message == "" || strings.EqualFold(e.Message, "Error")) {
		e.Message = "the job was not started, and no reason was given; check its name, type and parameters"
	}
	return err
}

// Job calls Retrieve Job Status (prest/retrieve_job_status). An id the service
// does not know gives an error with [ErrUnknownJob] in its chain.
// Needs the role Service Administrator.
func (c *Client) Job(ctx context.Context, id string) (Job, error) {
	call := oracle.Call{
		Op:     "look at job " + id,
		Method: http.MethodGet,
		Path:   c.app("/jobs/" + oracle.Segment(id)),
	}
	var a jobAnswer
	err := c.api.Do(ctx, call, &a)
	switch kind := oracle.KindOf(err); {
	case kind == oracle.KindServer || kind == oracle.KindNotFound:
		return Job{}, fmt.Errorf("%w: %w", ErrUnknownJob, err)
	case err != nil:
		return Job{}, err
	}
	switch {
	case a.JobID == "-1", a.id() == "" && a.Detail+a.Message != "":
		// A refusal or the general error body, told with 200.
		return Job{}, fmt.Errorf("%w: %w", ErrUnknownJob, c.api.Failure(call, oracle.KindServer, a.message()))
	case a.id() == "":
		a.JobID = oracle.Text(id)
	}
	return c.job(call, a)
}

// jobAnswer is the body of a start and of a look (prest/retrieve_job_status);
// JobStatus stands in for DescriptiveStatus in one documented example, Detail
// and Message are of the general error body.
type jobAnswer struct {
	Status            oracle.Number `json:"status"`
	JobID             oracle.Text   `json:"jobId"`
	JobName           oracle.Text   `json:"jobName"`
	DescriptiveStatus oracle.Text   `json:"descriptiveStatus"`
	JobStatus         oracle.Text   `json:"jobStatus"`
	Details           oracle.Text   `json:"details"`
	Detail            oracle.Text   `json:"detail"`
	Message           oracle.Text   `json:"message"`
	Links             oracle.Links  `json:"links"`
}

var jobInPath = regexp.MustCompile(`/jobs/(\d+)(?:[/?]|$)`)

// id returns the job's number, from its link if need be, or "" where the
// answer names no job: -1 stands for none.
func (a jobAnswer) id() string {
	switch a.JobID {
	case "", "-1", "0":
	default:
		return string(a.JobID)
	}
	if m := jobInPath.FindStringSubmatch(a.Links.Find("self")); m != nil {
		return m[1]
	}
	return ""
}

func (a jobAnswer) descriptive() string {
	if a.DescriptiveStatus != "" {
		return string(a.DescriptiveStatus)
	}
	return string(a.JobStatus)
}

func (a jobAnswer) message() string {
	for _, t := range []oracle.Text{a.Details, a.Detail, a.Message} {
		if t != "" {
			return oracle.CleanMessage(string(t))
		}
	}
	return oracle.CleanMessage(a.descriptive())
}

// job makes an answer a Job.
func (c *Client) job(call oracle.Call, a jobAnswer) (Job, error) {
	j := Job{
		ID:                a.id(),
		Name:              string(a.JobName),
		Status:            a.Status.N,
		DescriptiveStatus: oracle.CleanMessage(a.descriptive()),
		Details:           oracle.CleanMessage(string(a.Details)),
		URL:               c.jobURL(a),
	}
	if j.Details == "" && a.Detail != "" {
		j.Details = oracle.CleanMessage(string(a.Detail))
	}
	var known bool
	if j.State, known = stateOf(a.Status, j.DescriptiveStatus, j.Details); !known {
		err := c.api.Failure(call, oracle.KindProtocol, "answer does not tell the job's status")
		err.MayHaveHappened = call.Method != http.MethodGet
		return j, err
	}
	return j, nil
}

// jobURL prefers the job's own link to an address put together from its id.
func (c *Client) jobURL(a jobAnswer) string {
	var u *url.URL
	if href := a.Links.Find("self"); jobInPath.MatchString(href) {
		if own, err := c.api.Rebase(href); err == nil {
			u = own
		}
	}
	if u == nil {
		made, err := c.api.Rebase(c.app("/jobs/" + oracle.Segment(a.id())))
		if err != nil {
			return ""
		}
		u = made
	}
	return u.String()
}
