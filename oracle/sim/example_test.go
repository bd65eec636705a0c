package sim_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"longhaul/oracle/sim"
)

// A client under test loses the answer to the start of a job. The simulator
// knows what became of it.
func ExampleNew() {
	environment, err := sim.New(sim.Config{Speed: 1000, FirstJobID: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = environment.Close() }()
	server := httptest.NewServer(environment)
	defer server.Close()

	if _, err := environment.AddFault(sim.Fault{Kind: sim.FaultLostAnswer, Count: 1}); err != nil {
		fmt.Println(err)
		return
	}
	address := strings.Replace(server.URL, "://", "://admin:welcome1@", 1) + "/HyperionPlanning/rest/v3/applications/Vision/jobs"
	resp, err := http.Post(address, "application/json", strings.NewReader(`{"jobType":"RULES","jobName":"Calculate Plan"}`))
	if err == nil {
		_ = resp.Body.Close()
	}
	fmt.Println("answered:", err == nil)
	for _, job := range environment.Jobs() {
		fmt.Println("started:", job.ID, job.Type, job.Name)
	}
	// Output:
	// answered: false
	// started: 1 RULES Calculate Plan
}
