package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The kinds of fault. The first group strikes requests, the second the jobs
// that requests start.
const (
	// FaultStatus answers with Status (500 if 0) and a body of the kind Body.
	FaultStatus = "status"
	// FaultSlow waits for Delay (5s if empty) before anything happens.
	FaultSlow = "slow"
	// FaultSlowBody sends the answer at BytesPerSecond (1000 if 0).
	FaultSlowBody = "slow_body"
	// FaultReset resets the connection after reading Bytes of the request
	// body; the request has no effect.
	FaultReset = "reset"
	// FaultLostAnswer lets the request take effect and resets the connection
	// in place of the answer. Without Path it strikes the start of jobs.
	FaultLostAnswer = "lost_answer"
	// FaultExpiredSession answers 401 whatever the credentials.
	FaultExpiredSession = "expired_session"
	// FaultMaintenance answers 503 with a page, as during maintenance.
	FaultMaintenance = "maintenance"
	// FaultTruncate announces the whole length, sends Bytes (half if 0) and
	// closes the connection. Without Path it strikes downloads.
	FaultTruncate = "truncate"

	// FaultRefuseJob answers a start with the launch-refused body.
	FaultRefuseJob = "refuse_job"
	// FaultStuckJob lets the job run without end.
	FaultStuckJob = "stuck_job"
	// FaultFailJob lets the job end in error without doing its work.
	FaultFailJob = "fail_job"
	// FaultUnknownJob lets the job do its work and end with the status
	// 2147483647, unknown.
	FaultUnknownJob = "unknown_job"
)

var (
	requestFaults = []string{
		FaultStatus, FaultSlow, FaultSlowBody, FaultReset, FaultLostAnswer,
		FaultExpiredSession, FaultMaintenance, FaultTruncate,
	}
	jobFaults = []string{FaultRefuseJob, FaultStuckJob, FaultFailJob, FaultUnknownJob}
)

// The addresses that kinds of fault strike when the rule names none.
var defaultFaultPaths = map[string]string{
	FaultLostAnswer: `^/.*/jobs$`,
	FaultTruncate:   `/11\.1\.2\.3\.600/applicationsnapshots/[^/]+/contents(\?|$)|/contents/[^/]+/download|/v2/files/download/`,
}

// Fault is a rule that makes something go wrong. Only Kind is needed: a rule
// without anything else strikes every time.
type Fault struct {
	ID   int    `json:"id"` // given by the simulator
	Kind string `json:"kind"`
	// Method and Path are regular expressions on the request's method and on
	// its path with query, percent-encoded as sent; empty means any.
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
	// Job is a regular expression on type and name of a job, as in
	// "IMPORT_METADATA importAccount"; for the kinds that strike jobs.
	Job string `json:"job,omitempty"`
	// Skip lets the first matching requests pass. Count is how often the rule
	// strikes; 0 means always. Probability is the chance to strike; 0 means 1.
	Skip        int     `json:"skip,omitempty"`
	Count       int     `json:"count,omitempty"`
	Probability float64 `json:"probability,omitempty"`

	// Status, Body (json, html or empty) and RetryAfter (seconds) are for
	// FaultStatus, the last for FaultMaintenance too.
	Status     int    `json:"status,omitempty"`
	Body       string `json:"body,omitempty"`
	RetryAfter int    `json:"retry_after,omitempty"`
	// Delay is in real time, as in 1.5s.
	Delay          string `json:"delay,omitempty"`
	Bytes          int64  `json:"bytes,omitempty"`
	BytesPerSecond int64  `json:"bytes_per_second,omitempty"`

	// Struck is how often the rule has struck.
	Struck int `json:"struck"`
}

// ParseFault reads a rule from a command line: JSON, or words such as
// "status path=/files/list status=503 count=2", the kind first.
func ParseFault(text string) (Fault, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		var f Fault
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&f); err != nil {
			return Fault{}, fmt.Errorf("fault %q: %w", text, err)
		}
		return f, f.Validate()
	}
	words := strings.Fields(text)
	if len(words) == 0 {
		return Fault{}, errors.New("fault: the kind is missing")
	}
	f := Fault{Kind: words[0]}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		if err := f.set(key, value); err != nil {
			return Fault{}, fmt.Errorf("fault %q: %s: %w", text, word, err)
		}
	}
	return f, f.Validate()
}

func (f *Fault) set(key, value string) error {
	var err error
	switch key {
	case "method":
		f.Method = value
	case "path":
		f.Path = value
	case "job":
		f.Job = value
	case "body":
		f.Body = value
	case "delay":
		f.Delay = value
	case "skip":
		f.Skip, err = strconv.Atoi(value)
	case "count":
		f.Count, err = strconv.Atoi(value)
	case "status":
		f.Status, err = strconv.Atoi(value)
	case "retry_after":
		f.RetryAfter, err = strconv.Atoi(value)
	case "probability":
		f.Probability, err = strconv.ParseFloat(value, 64)
	case "bytes":
		f.Bytes, err = strconv.ParseInt(value, 10, 64)
	case "bytes_per_second":
		f.BytesPerSecond, err = strconv.ParseInt(value, 10, 64)
	default:
		err = errors.New("unknown word")
	}
	return err
}

// Validate reports what is wrong with a rule.
func (f Fault) Validate() error {
	switch {
	case !slices.Contains(requestFaults, f.Kind) && !slices.Contains(jobFaults, f.Kind):
		return fmt.Errorf("kind %q: must be one of %s, %s", f.Kind, strings.Join(requestFaults, ", "), strings.Join(jobFaults, ", "))
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status %d: must be between 200 and 599", f.Status)
	case f.Body != "" && f.Body != "json" && f.Body != "html" && f.Body != "empty":
		return fmt.Errorf("body %q: must be json, html or empty", f.Body)
	case f.Probability < 0 || f.Probability > 1:
		return fmt.Errorf("probability %g: must be between 0 and 1", f.Probability)
	case min(f.Skip, f.Count, f.RetryAfter) < 0 || min(f.Bytes, f.BytesPerSecond) < 0:
		return errors.New("counts, bytes and seconds must not be negative")
	case f.Job != "" && !slices.Contains(jobFaults, f.Kind):
		return fmt.Errorf("job: is for the kinds %s", strings.Join(jobFaults, ", "))
	}
	if _, err := f.delay(); err != nil {
		return err
	}
	_, err := f.compile()
	return err
}

func (f Fault) delay() (time.Duration, error) {
	if f.Delay == "" {
		return 5 * time.Second, nil
	}
	d, err := time.ParseDuration(f.Delay)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("delay %q: must be a duration such as 1.5s", f.Delay)
	}
	return d, nil
}

// faultRule is a Fault in force.
type faultRule struct {
	Fault
	method, path, job *regexp.Regexp
	wait              time.Duration
	seen              int // matching requests
}

func (f Fault) compile() (*faultRule, error) {
	path := f.Path
	if path == "" {
		path = defaultFaultPaths[f.Kind]
	}
	rule := &faultRule{Fault: f}
	var err error
	for _, each := range []struct {
		name, text string
		to         **regexp.Regexp
	}{{"method", f.Method, &rule.method}, {"path", path, &rule.path}, {"job", f.Job, &rule.job}} {
		if *each.to, err = regexp.Compile(each.text); err != nil {
			return nil, fmt.Errorf("%s: %w", each.name, err)
		}
	}
	return rule, nil
}

// faultSet holds the rules in force, in the order they were added.
type faultSet struct {
	mu     sync.Mutex
	random *rand.Rand
	lastID int
	rules  []*faultRule
}

func newFaultSet(seed uint64) *faultSet {
	// Weak random numbers are the point: the same seed gives the same faults.
	return &faultSet{random: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // G404: see above
}

func (s *faultSet) add(f Fault) (int, error) {
	if err := f.Validate(); err != nil {
		return 0, err
	}
	rule, err := f.compile()
	if err != nil {
		return 0, err
	}
	if rule.wait, err = f.delay(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	rule.ID, rule.Struck = s.lastID, 0
	s.rules = append(s.rules, rule)
	return rule.ID, nil
}

func (s *faultSet) list() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	faults := make([]Fault, len(s.rules))
	for i, rule := range s.rules {
		faults[i] = rule.Fault
	}
	return faults
}

func (s *faultSet) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

// remove tells whether there was a rule with the id.
func (s *faultSet) remove(id int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.rules)
	s.rules = slices.DeleteFunc(s.rules, func(rule *faultRule) bool { return rule.ID == id })
	return len(s.rules) < before
}

// strikeRequest returns the rules that strike a request now: delays, and after
// them at most one of another kind.
func (s *faultSet) strikeRequest(r *http.Request) []faultRule {
	s.mu.Lock()
	defer s.mu.Unlock()
	var striking []faultRule
	for _, rule := range s.rules {
		if !slices.Contains(requestFaults, rule.Kind) || !rule.matches(r) || !s.strikes(rule) {
			continue
		}
		striking = append(striking, *rule)
		if rule.Kind != FaultSlow {
			break
		}
	}
	return striking
}

// strikeJob returns the kind of fault that strikes a job being started, or
// nothing.
func (s *faultSet) strikeJob(r *http.Request, typeCode, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rule := range s.rules {
		if !slices.Contains(jobFaults, rule.Kind) || !rule.matches(r) || !rule.job.MatchString(typeCode+" "+name) {
			continue
		}
		if s.strikes(rule) {
			return rule.Kind
		}
	}
	return ""
}

func (rule *faultRule) matches(r *http.Request) bool {
	path := r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		path += "?" + r.URL.RawQuery
	}
	method := rule.method.MatchString(r.Method)
	if rule.Kind == FaultLostAnswer && rule.Path == "" {
		method = method && r.Method == http.MethodPost
	}
	return method && rule.path.MatchString(path)
}

// strikes counts a matching request and decides. It wants the lock held.
func (s *faultSet) strikes(rule *faultRule) bool {
	rule.seen++
	if rule.seen <= rule.Skip || rule.Count > 0 && rule.Struck >= rule.Count {
		return false
	}
	if rule.Probability > 0 && s.random.Float64() >= rule.Probability {
		return false
	}
	rule.Struck++
	return true
}
