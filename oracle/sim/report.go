package sim

import "time"

// Job is one Planning job that was started, as the simulator reports it. A job
// that was refused is none; one whose answer was lost is.
type Job struct {
	ID          int            `json:"id"`
	Application string         `json:"application"`
	Type        string         `json:"type"` // the code, as IMPORT_METADATA
	Name        string         `json:"name"`
	User        string         `json:"user"`
	Parameters  map[string]any `json:"parameters"`
	// StartedAt and FinishedAt are real times. A job's end is noticed by the
	// next request to the simulator, of whatever sort.
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
	// Status is the value that a client is told, -1 while the job runs.
	Status      int    `json:"status"`
	Description string `json:"description"`
	Details     string `json:"details"`
	// Read and Rejected count the records of an import.
	Read     int `json:"records_read"`
	Rejected int `json:"records_rejected"`
	// Polls is how often its state was asked for.
	Polls int    `json:"polls"`
	Fault string `json:"fault,omitempty"` // what a rule does to it
}

// report returns all jobs, the oldest first.
func (c *console) report() []Job {
	all := c.list()
	jobs := make([]Job, len(all))
	for i, j := range all {
		jobs[i] = j.report()
	}
	return jobs
}

func (j job) report() Job {
	report := Job{
		ID: j.id, Application: j.app.name, Type: j.kind, Name: j.name, User: j.user, Parameters: j.parameters,
		StartedAt: j.started.UTC(), Status: j.outcome.status, Description: j.outcome.description,
		Details: j.outcome.details, Polls: j.polls, Fault: j.fault,
	}
	if report.Description == "" {
		report.Description = descriptions[report.Status]
	}
	if j.ended() {
		finished := j.finished.UTC()
		report.FinishedAt = &finished
	}
	for _, part := range j.outcome.parts {
		report.Read += part.read
		report.Rejected += part.rejected
	}
	return report
}
