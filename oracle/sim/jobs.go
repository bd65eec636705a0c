package sim

import (
	"math"
	"slices"
	"sync"
	"time"
)

// The values of status in answers about Planning jobs.
const (
	statusProcessing       = -1
	statusSuccess          = 0
	statusError            = 1
	statusCancelPending    = 2
	statusCancelled        = 3
	statusInvalidParameter = 4
	statusUnknown          = math.MaxInt32
)

// descriptions go with a status where the job itself says nothing finer.
var descriptions = map[int]string{
	statusProcessing:       "Processing",
	statusSuccess:          "Completed",
	statusError:            "Error",
	statusCancelPending:    "Pending Cancellation",
	statusCancelled:        "Cancelled",
	statusInvalidParameter: "Invalid parameter",
	statusUnknown:          "Unknown",
}

// completedWithErrors is the descriptive status of an import with rejects.
const completedWithErrors = "Completed with errors"

const (
	// cancelTakes is how long a job stays in cancel pending.
	cancelTakes = 2 * time.Second
	// keptMessages bounds the messages kept of one dimension of a job, and
	// jobsWithMessages how many jobs, the newest, keep theirs.
	keptMessages     = 1000
	jobsWithMessages = 2000
)

// outcome is how a job ended.
type outcome struct {
	status      int
	description string // empty for the usual one of the status
	details     string
	parts       []jobPart
}

func failed(err error) outcome { return outcome{status: statusError, details: err.Error()} }

// jobPart is what a job did to one dimension. In metadata jobs each is a child
// job with an id.
type jobPart struct {
	childID   int
	dimension string
	loadType  string
	read      int
	rejected  int
	failure   string // why the part as a whole failed
	messages  []message
}

// message is one line of a job's log.
type message struct{ kind, category, text string }

const (
	messageError = "ERROR"
	messageInfo  = "INFO"
)

func (p *jobPart) log(kind, text string) {
	if len(p.messages) < keptMessages {
		p.messages = append(p.messages, message{kind: kind, category: p.loadType, text: text})
	}
}

// job is one run of a Planning job. The console's lock guards what is below
// the blank line; the rest does not change.
type job struct {
	id         int
	app        *application
	kind       string // the code of its type
	name       string
	user       string
	parameters object
	started    time.Time // real time
	exclusive  bool
	work       func() outcome
	fault      string // what a fault rule does to it: a kind of fault, or empty

	due      time.Time // simulated time
	working  bool
	polls    int
	outcome  outcome // status is statusProcessing or statusCancelPending until it ended
	finished time.Time
}

func (j *job) ended() bool {
	return j.outcome.status != statusProcessing && j.outcome.status != statusCancelPending
}

// console is the job console: every job that was started.
type console struct {
	clock *clock

	mu     sync.Mutex
	nextID func() int
	all    []*job
	byID   map[int]*job
	active []*job
}

func newConsole(clock *clock, nextID func() int) *console {
	return &console{clock: clock, nextID: nextID, byID: map[int]*job{}}
}

// start adds a job that will be due after d, and gives it its id.
func (c *console) start(j *job, d time.Duration) {
	now := c.clock.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if j.exclusive {
		if other := c.blocker(j); other != nil {
			d = time.Second
			j.work = func() outcome {
				return failed(refusef("Another job is running on the application %s: %s (job %d). Only one cube refresh or metadata import can run at a time.",
					j.app.name, other.name, other.id))
			}
		}
	}
	j.id = c.nextID()
	j.started = c.clock.realNow()
	j.due = now.Add(d)
	j.outcome.status = statusProcessing
	c.all = append(c.all, j)
	c.byID[j.id] = j
	c.active = append(c.active, j)
	if old := len(c.all) - jobsWithMessages; old >= 0 {
		c.all[old].forgetMessages()
	}
}

// forgetMessages replaces the parts: copies of the job go on reading the old.
func (j *job) forgetMessages() {
	j.outcome.parts = slices.Clone(j.outcome.parts)
	for i := range j.outcome.parts {
		j.outcome.parts[i].messages = nil
	}
}

// blocker returns a running job that j cannot run beside.
func (c *console) blocker(j *job) *job {
	for _, other := range c.active {
		if other.exclusive && other.app == j.app {
			return other
		}
	}
	return nil
}

// newChildID gives an id to a child job.
func (c *console) newChildID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nextID()
}

// settle does the work of every job that is due. Work happens outside the
// lock: other requests go on and see the job as running.
func (c *console) settle() {
	for {
		j := c.takeDue()
		if j == nil {
			return
		}
		result := j.outcomeOfWork()
		c.mu.Lock()
		c.end(j, result)
		c.mu.Unlock()
	}
}

// takeDue marks the job that has been due longest as being worked.
func (c *console) takeDue() *job {
	now := c.clock.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	var next *job
	for _, j := range c.active {
		stuck := j.fault == FaultStuckJob && j.outcome.status == statusProcessing
		if j.working || stuck || j.due.After(now) || next != nil && !j.due.Before(next.due) {
			continue
		}
		next = j
	}
	if next == nil {
		return nil
	}
	if next.outcome.status == statusCancelPending {
		// A cancelled job never did its work.
		next.work = func() outcome { return outcome{status: statusCancelled} }
		next.fault = ""
	}
	next.working = true
	return next
}

func (j *job) outcomeOfWork() outcome {
	if j.fault == FaultFailJob {
		return failed(refusef("The job failed: an internal error occurred on the server."))
	}
	result := j.work()
	if j.fault == FaultUnknownJob {
		return outcome{status: statusUnknown, parts: result.parts}
	}
	return result
}

// end records how a job ended. It wants the lock held.
func (c *console) end(j *job, result outcome) {
	if result.description == "" {
		result.description = descriptions[result.status]
	}
	j.outcome = result
	j.working = false
	j.work = nil
	j.finished = c.clock.realNow()
	c.active = slices.DeleteFunc(c.active, func(other *job) bool { return other == j })
}

// look returns a copy of the job of an application. A poll by a client counts:
// its first sees the job in progress however short the job was.
func (c *console) look(a *application, id int, poll bool) (job, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.byID[id]
	if j == nil || j.app != a {
		return job{}, false
	}
	if poll {
		j.polls++
	}
	return *j, true
}

// list returns copies of all jobs in the order they were started.
func (c *console) list() []job {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]job, len(c.all))
	for i, j := range c.all {
		all[i] = *j
	}
	return all
}

// The things a person can do to a running job in the console.
const (
	actionCancel  = "cancel"  // pending, then cancelled
	actionFail    = "fail"    // ends in error at once
	actionUnknown = "unknown" // ends in the unknown state at once
	actionStick   = "stick"   // never ends
	actionRelease = "release" // a stuck job is due now
)

// act does one of them; it reports whether the job exists and still runs, and
// whether the action is known.
func (c *console) act(id int, action, details string) (running, known bool) {
	now := c.clock.now()
	actions := map[string]func(j *job){
		actionCancel:  func(j *job) { j.outcome.status, j.due = statusCancelPending, now.Add(cancelTakes) },
		actionStick:   func(j *job) { j.fault = FaultStuckJob },
		actionRelease: func(j *job) { j.fault, j.due = "", now },
		actionFail:    func(j *job) { c.end(j, outcome{status: statusError, details: details}) },
		actionUnknown: func(j *job) { c.end(j, outcome{status: statusUnknown, details: details}) },
	}
	do, known := actions[action]
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.byID[id]
	running = j != nil && !j.ended() && !j.working
	if running && known {
		do(j)
	}
	return running, known
}

// cutOff ends every running job, as a restart of the service does.
func (c *console) cutOff() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range slices.Clone(c.active) {
		if !j.working {
			c.end(j, outcome{status: statusError, details: "The job was terminated because the service was restarted."})
		}
	}
}
