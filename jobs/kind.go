package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
)

// Input says whether a kind takes an archive.
type Input string

// The three answers.
const (
	InputRequired Input = "required"
	InputOptional Input = "optional"
	InputNone     Input = "none"
)

// Kind is a sort of work: what a person may ask for, and the steps that do it.
type Kind struct {
	Name    string // the vendor's own command name, after its product: epm.importMetadata
	Title   string
	Product string // epm, fusion or none
	Input   Input
	// Params is a pointer to a zero struct; its fields, tags and types are the JSON Schema that
	// tasks of this kind are checked against and forms are drawn from.
	Params any
	// Exclusive kinds run alone on their application.
	Exclusive bool
	// JobType is the code under which the remote application lists the saved definitions that
	// this kind runs; empty for kinds that run none.
	JobType string
	// Deadline is how long a started task may take; 0 means a day.
	Deadline time.Duration
	// Expected is how long a run takes where there is no history to tell; 0 means ten minutes.
	Expected time.Duration

	// Check refuses a draft for reasons that the schema cannot express. Optional.
	Check func(d *Draft) error
	// First names the step that a task starts with, after its archive is unpacked.
	First string
	Steps map[string]Step
	// Tidy removes what the task left in the remote application. It runs before the task is
	// final, may run more than once, and may find nothing to do. Optional.
	Tidy func(ctx context.Context, r *Run) error

	registry huma.Registry
	schema   *huma.Schema
}

// Step is one short piece of a task's work.
type Step struct {
	// Shows is the word for it on the page and in progress.step.
	Shows string
	// Percent is where the task's progress stands when the step begins.
	Percent int
	// Holds makes the step claim the task first: for all that reaches outside the database and
	// would do harm when done by two at once.
	Holds bool
	// Starts makes the step write the intent to start a remote job first; it implies Holds.
	Starts bool
	Do     func(ctx context.Context, r *Run) (Next, error)
}

// Next says how a task goes on after a step.
type Next struct {
	step   string
	after  time.Duration
	done   bool
	result any

	// keepTries makes a repeated step count as another try of the same.
	keepTries bool
	// cleanup runs after the commit; a crash before it must be harmless.
	cleanup func(context.Context)
	// decide completes the decision inside the transaction that writes it.
	decide func(ctx context.Context, tx pgx.Tx) (after time.Duration, err error)
}

// Go goes on with the named step at once.
func Go(step string) Next { return Next{step: step} }

// Again repeats the step after a while.
func Again(after time.Duration) Next { return Next{after: after} }

// Done ends the task as succeeded. The result is kept as JSON.
func Done(result any) Next { return Next{done: true, result: result} }

// Schema is the JSON Schema of the kind's params.
func (k *Kind) Schema() *huma.Schema { return k.schema }

// deadline is how long a started task of the kind may take.
func (k *Kind) deadline() time.Duration {
	if k.Deadline > 0 {
		return k.Deadline
	}
	return 24 * time.Hour
}

// expected is how long a run takes where there is no history.
func (k *Kind) expected() time.Duration {
	if k.Expected > 0 {
		return k.Expected
	}
	return 10 * time.Minute
}

// checkParams holds params against the schema and returns them in canonical form.
func (k *Kind) checkParams(params json.RawMessage) (json.RawMessage, error) {
	if len(bytes.TrimSpace(params)) == 0 || string(params) == "null" {
		params = json.RawMessage(`{}`)
	}
	var value any
	if err := json.Unmarshal(params, &value); err != nil {
		return nil, invalid("body.params", "is not JSON: %v", err)
	}
	var result huma.ValidateResult
	path := huma.NewPathBuffer(nil, 0)
	path.Push("body")
	path.Push("params")
	huma.Validate(k.registry, k.schema, path, huma.ModeWriteToServer, value, &result)
	if len(result.Errors) == 0 {
		return json.Marshal(value)
	}
	refusal := &Invalid{Detail: fmt.Sprintf("the params do not fit the kind %s", k.Name)}
	for _, err := range result.Errors {
		field := Field{Location: "body.params", Message: err.Error()}
		if detail, ok := err.(huma.ErrorDetailer); ok {
			field = Field{Location: detail.ErrorDetail().Location, Message: detail.ErrorDetail().Message}
		}
		refusal.Fields = append(refusal.Fields, field)
	}
	return nil, refusal
}

// Kinds is the list of what can be started, by name.
type Kinds struct {
	byName map[string]*Kind
	sorted []*Kind
}

// NewKinds makes the list and the schema of each kind.
func NewKinds(kinds ...*Kind) *Kinds {
	list := &Kinds{byName: make(map[string]*Kind, len(kinds))}
	for _, k := range kinds {
		k.registry = huma.NewMapRegistry("#/$defs/", huma.DefaultSchemaNamer)
		k.schema = huma.SchemaFromType(k.registry, reflect.TypeOf(k.Params).Elem())
		k.schema.PrecomputeMessages()
		list.byName[k.Name] = k
		list.sorted = append(list.sorted, k)
	}
	slices.SortFunc(list.sorted, func(a, b *Kind) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// All returns the kinds by name.
func (l *Kinds) All() []*Kind { return l.sorted }

// Get returns the kind of that name, or ErrUnknownKind.
func (l *Kinds) Get(name string) (*Kind, error) {
	if k, ok := l.byName[name]; ok {
		return k, nil
	}
	return nil, fmt.Errorf("%q: %w", name, ErrUnknownKind)
}

// The steps that every kind shares.
const (
	stepGate   = "gate" // waits for a place on its application
	stepHold   = "hold" // waits for the end of the maintenance window
	stepUnpack = "unpack"
	stepTidy   = "tidy"
)

// Shows is the word for where a task stands, for progress.step.
func (l *Kinds) Shows(t *storage.Task) string {
	switch {
	case t.Final():
		return t.State
	case t.Step == stepGate, t.Step == stepHold:
		return "waiting"
	case t.Step == stepUnpack:
		return "unpacking"
	case t.Step == stepTidy:
		return "cleaning up"
	}
	if k, ok := l.byName[t.Kind]; ok {
		return k.Steps[t.Step].Shows
	}
	return t.Step
}
