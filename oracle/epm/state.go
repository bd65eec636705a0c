package epm

import (
	"math"
	"regexp"
	"strings"

	"longhaul/oracle"
)

// State is what a job's status means.
type State string

// The states of a job.
const (
	// StateProcessing: in progress (-1).
	StateProcessing State = "processing"
	// StateCancelPending: someone cancelled it in the job console; it still runs (2).
	StateCancelPending State = "cancel_pending"
	// StateSucceeded: done (0).
	StateSucceeded State = "succeeded"
	// StateCompletedWithErrors: done, with records rejected or thresholds
	// passed. Which number comes with it is not documented.
	StateCompletedWithErrors State = "completed_with_errors"
	// StateCompletedWithWarnings: done, with something to read.
	StateCompletedWithWarnings State = "completed_with_warnings"
	// StateFailed: ended without its work done (1), never begun for a wrong
	// parameter (4), or in no state the service knows (2147483647).
	StateFailed State = "failed"
	// StateCancelled: stopped in the job console (3).
	StateCancelled State = "cancelled"
)

// Terminal reports whether the job will not change any more.
func (s State) Terminal() bool {
	return s != StateProcessing && s != StateCancelPending
}

// Done reports whether the job ran to its end, with or without complaints.
func (s State) Done() bool {
	return s == StateSucceeded || s == StateCompletedWithErrors || s == StateCompletedWithWarnings
}

// The statuses of prest/retrieve_job_status.
const (
	statusSuccess       = 0
	statusError         = 1
	statusCancelPending = 2
	statusCancelled     = 3
	statusUnknown       = math.MaxInt32
)

// stateOf reads a job's state from its number and its words. The number alone
// does not do: "Completed with errors" comes with one that also means
// something else. Without a number the words must do; false where they do not.
func stateOf(status oracle.Number, descriptive, details string) (State, bool) {
	if !status.Valid {
		return stateOfWords(descriptive)
	}
	switch n := status.N; {
	case n == statusCancelPending:
		return StateCancelPending, true
	case n == statusCancelled:
		return StateCancelled, true
	case n == statusSuccess, n == statusError, n == statusUnknown:
		if s, ok := completedWith(descriptive, details); ok {
			return s, true
		}
		if n == statusSuccess {
			return StateSucceeded, true
		}
		return StateFailed, true
	case n < 0:
		// -1 is the only one known; another says at least that it is not over.
		return StateProcessing, true
	}
	return StateFailed, true
}

var completed = regexp.MustCompile(`(?i)\bcompleted\s+with\s+(errors?|warnings?|threshold violations?)\b`)

// completedWith recognises the two ends between success and failure, which the
// job console calls so (cepma/epm_auto_export_job_console).
func completedWith(descriptive, details string) (State, bool) {
	m := completed.FindStringSubmatch(descriptive)
	if m == nil {
		m = completed.FindStringSubmatch(details)
	}
	if m == nil {
		return "", false
	}
	if strings.HasPrefix(strings.ToLower(m[1]), "warning") {
		return StateCompletedWithWarnings, true
	}
	return StateCompletedWithErrors, true
}

func stateOfWords(descriptive string) (State, bool) {
	if s, ok := completedWith(descriptive, ""); ok {
		return s, true
	}
	switch strings.ToLower(descriptive) {
	case "processing", "running", "in progress", "pending":
		return StateProcessing, true
	case "completed", "success", "succeeded":
		return StateSucceeded, true
	case "error", "failed":
		return StateFailed, true
	case "cancelled", "canceled":
		return StateCancelled, true
	}
	return "", false
}
