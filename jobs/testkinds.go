package jobs

import (
	"context"
	"fmt"
	"time"
)

// TestKinds are the kinds noop and sleep, which do nothing at once or for a while. They serve
// benchmarks and people who test a client of the API.
func TestKinds() []*Kind {
	return []*Kind{
		{
			Name: "noop", Title: "Do nothing", Product: "none", Input: InputOptional, Params: &struct{}{},
			First: "run",
			Steps: map[string]Step{"run": {Shows: "running", Do: func(_ context.Context, r *Run) (Next, error) {
				r.Logf("Nothing to do")
				return Done(nil), nil
			}}},
		},
		{
			Name: "sleep", Title: "Sleep for a while", Product: "none", Input: InputOptional, Params: &sleepParams{},
			First: "sleep",
			Steps: map[string]Step{"sleep": {Shows: "sleeping", Do: sleepStep}},
		},
	}
}

type sleepParams struct {
	MS int64 `json:"ms" minimum:"0" maximum:"86400000" doc:"How long to sleep, in milliseconds"`
}

// sleepStep looks at the clock once a second at most, so that it shows progress.
func sleepStep(_ context.Context, r *Run) (Next, error) {
	var params sleepParams
	if err := r.Params(&params); err != nil {
		return Next{}, err
	}
	whole := time.Duration(params.MS) * time.Millisecond
	slept := r.Now().Sub(*r.Task.StartedAt)
	if slept >= whole {
		r.Logf("Slept for %s", whole)
		return Done(map[string]any{"slept_ms": params.MS}), nil
	}
	r.Task.Percent = int(100 * slept / whole)
	r.Task.Message = fmt.Sprintf("Slept for %s of %s", slept.Round(time.Second), whole)
	return Again(min(whole-slept, time.Second)), nil
}
