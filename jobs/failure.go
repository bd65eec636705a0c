package jobs

import (
	"errors"
	"fmt"
	"strings"
)

// The states of a task.
const (
	Queued    = "queued"
	Running   = "running"
	Succeeded = "succeeded"
	Failed    = "failed"
	Cancelled = "cancelled"
)

// States lists all states in the order of a task's life.
var States = []string{Queued, Running, Succeeded, Failed, Cancelled}

// Code is a stable word for why a task did not succeed.
type Code string

// The codes that a task's error may carry.
const (
	CodeInvalidInput      Code = "invalid_input"
	CodeRejectedRecords   Code = "rejected_records"
	CodeRemoteFailed      Code = "remote_failed"
	CodeRemoteUnreachable Code = "remote_unreachable"
	CodeOutcomeUnknown    Code = "outcome_unknown"
	CodeUnauthorized      Code = "unauthorized"
	CodeTimedOut          Code = "timed_out"
	CodeCancelled         Code = "cancelled"
	CodeInternal          Code = "internal"
)

// Failure ends a task. Message says what happened in a sentence for the person who started it;
// Detail says what to do next, or quotes the remote application.
type Failure struct {
	Code    Code
	Message string
	Detail  string
	Result  any // optional: what is known of the run all the same
}

func (f *Failure) Error() string {
	if f.Detail == "" {
		return fmt.Sprintf("%s: %s", f.Code, f.Message)
	}
	return fmt.Sprintf("%s: %s (%s)", f.Code, f.Message, f.Detail)
}

var (
	// ErrUnknownKind says that no such kind of work is offered.
	ErrUnknownKind = errors.New("unknown kind")
	// ErrInputGone says that a task cannot be retried because its input was deleted.
	ErrInputGone = errors.New("the input of this task was deleted when it ended; start a new task and send the file again")
	// ErrFinal says that a task has ended and cannot be changed.
	ErrFinal = errors.New("this task has ended")
	// ErrNotFinal says that a task has not ended yet.
	ErrNotFinal = errors.New("this task has not ended yet; cancel it first")
)

// Field is one thing wrong with a request: where, and what.
type Field struct {
	Location string
	Message  string
}

// Invalid refuses a request for a task before anything is stored.
type Invalid struct {
	Detail string
	Fields []Field
}

func (i *Invalid) Error() string {
	words := make([]string, 0, len(i.Fields)+1)
	if i.Detail != "" {
		words = append(words, i.Detail)
	}
	for _, f := range i.Fields {
		words = append(words, f.Location+": "+f.Message)
	}
	return strings.Join(words, "; ")
}

// invalid makes an Invalid about one field.
func invalid(location, format string, args ...any) *Invalid {
	message := fmt.Sprintf(format, args...)
	return &Invalid{Detail: message, Fields: []Field{{Location: location, Message: message}}}
}
