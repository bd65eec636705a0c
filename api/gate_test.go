package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"longhaul/api"
	"longhaul/jobs"
	"longhaul/oracle/sim"
	"longhaul/storage"
)

// A kind that needs the application alone waits, and says for what.
func TestExclusive(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.addApp("other", s.onSim("Vision")) // another app of the same application
	s.addApp("sales", s.onSim("Sales"))  // another application
	s.fault(sim.Fault{Kind: sim.FaultStuckJob, Count: 1})
	first := s.create(object{"app": "vision", "name": "importAccount", "kind": "epm.importMetadata"}, accounts(t, 20, 0))
	first = s.waitUntil(first.ID, "running in the application", func(t *api.Task) bool { return t.Remote != nil })

	var waiting []api.Task
	for _, app := range []string{"vision", "other"} {
		task := s.create(object{"app": app, "name": "importEntity", "kind": "epm.importMetadata"}, zipOf(t, entry{"importEntity.csv", "Entity,Parent\nE_1,E_100\n"}))
		waiting = append(waiting, s.waitUntil(task.ID, "waiting with the reason", func(t *api.Task) bool {
			return t.State == "queued" && t.Progress.Step == "waiting" && strings.Contains(t.Progress.Message, "Waiting for importAccount, which needs the application alone")
		}))
	}
	// Work of another application does not wait.
	elsewhere := s.create(object{"app": "sales", "name": "Refresh Database", "kind": "epm.refreshCube"}, nil)
	s.waitFinal(elsewhere.ID, "succeeded")

	s.control("jobs/"+first.Remote.JobID, object{"action": "release"})
	s.waitFinal(first.ID, "succeeded")
	for _, task := range waiting {
		final := s.waitFinal(task.ID, "succeeded")
		if log := s.log(task.ID); strings.Count(log, "Waiting for importAccount") != 1 {
			t.Errorf("the reason is not in the log once:\n%s", log)
		}
		if final.StartedAt.Before(*s.getTask(first.ID).FinishedAt) {
			t.Error("started before the first had ended")
		}
	}
}

// max_running is never passed, and reached.
func TestMaxRunning(t *testing.T) {
	t.Parallel()
	const most, tasks = 3, 24
	s := newServer(t)
	s.addApp("narrow", jobs.AppSettings{Product: "none", MaxRunning: most})
	// The database itself counts at every change.
	s.exec(`
		CREATE TABLE peak (running int);
		CREATE FUNCTION note_peak() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO peak SELECT count(*) FROM tasks WHERE app = 'narrow' AND state = 'running';
			RETURN NULL;
		END $$;
		CREATE TRIGGER note_peak AFTER UPDATE ON tasks FOR EACH STATEMENT EXECUTE FUNCTION note_peak()`)
	var ids []string
	for range tasks {
		ids = append(ids, s.create(object{"app": "narrow", "name": "nap", "kind": "sleep", "params": object{"ms": 50}}, nil).ID)
	}
	sawReason := false
	for _, id := range slices.Backward(ids) {
		s.waitUntil(id, "succeeded", func(t *api.Task) bool {
			sawReason = sawReason || strings.Contains(t.Progress.Message, "Waiting for a free place: 3 of 3 tasks of narrow run") ||
				strings.Contains(t.Progress.Message, "older tasks of narrow")
			return t.State == "succeeded"
		})
	}
	if peak := s.count("SELECT max(running) FROM peak"); peak != most {
		t.Errorf("%d ran at once, want %d", peak, most)
	}
	if !sawReason {
		t.Error("no waiting task said why")
	}
	// The oldest go first: only those that are let in together may start in another order.
	moved := s.count(`SELECT max(abs(made - started)) FROM (
		SELECT row_number() OVER (ORDER BY id) AS made, row_number() OVER (ORDER BY started_at) AS started
		FROM tasks WHERE app = 'narrow') AS places`)
	if moved >= most {
		t.Errorf("a task started %d places out of order", moved)
	}
}

// window is a maintenance window of an hour that begins so far from now.
func window(from time.Duration) jobs.AppSettings {
	start, minutes, zone := time.Now().UTC().Add(from).Format("15:04"), 60, "UTC"
	return jobs.AppSettings{Product: "none", MaxRunning: 9, MaintenanceStart: &start, MaintenanceMinutes: &minutes, MaintenanceZone: &zone}
}

func (s *server) held(app, name string) api.Task {
	s.t.Helper()
	task := s.create(object{"app": app, "name": name, "kind": "noop"}, nil)
	return s.waitUntil(task.ID, "held", func(t *api.Task) bool {
		return t.State == "queued" && t.Progress.Step == "waiting" &&
			strings.Contains(t.Progress.Message, "Waiting for the end of the daily maintenance at ")
	})
}

func TestMaintenanceWindow(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.addApp("closed", window(-10*time.Minute))
	task := s.held("closed", "a")
	end := time.Now().UTC().Add(50 * time.Minute)
	if !strings.Contains(task.Progress.Message, end.Format("15:04 UTC")) && !strings.Contains(task.Progress.Message, end.Add(-time.Minute).Format("15:04 UTC")) {
		t.Errorf("%q does not tell the end, about %s", task.Progress.Message, end)
	}
	s.act(task.ID, "cancel")
	s.waitFinal(task.ID, "cancelled")

	// Without history a run is expected to take ten minutes, so it would run into this window.
	s.addApp("soon", jobs.AppSettings{Product: "none", MaxRunning: 9})
	s.waitFinal(s.create(object{"app": "soon", "name": "short", "kind": "noop"}, nil).ID, "succeeded")
	s.waitFinal(s.create(object{"app": "soon", "name": "long", "kind": "noop"}, nil).ID, "succeeded")
	s.exec("UPDATE tasks SET started_at = finished_at - interval '20 minutes' WHERE name = 'long'")
	_, err := s.engine.ReplaceApp(t.Context(), "soon", window(5*time.Minute), jobs.Caller{Name: "test", Reach: storage.Everywhere})
	must(t, err)
	s.held("soon", "unknown")
	s.held("soon", "long")
	s.waitFinal(s.create(object{"app": "soon", "name": "short", "kind": "noop"}, nil).ID, "succeeded")

	// A window counts for an app that has no other limit too.
	only := window(-10 * time.Minute)
	only.MaxRunning = 0
	s.addApp("only", only)
	s.held("only", "a")
}

// Many tasks that end at the same moment, each giving up its place, do not block one another.
func TestEndingTogether(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.addApp("busy", busy())
	ending := func(app string) time.Duration {
		var ids []string
		for range 40 {
			ids = append(ids, s.create(object{"app": app, "name": "naps", "kind": "sleep", "params": object{"ms": 3_600_000}}, nil).ID)
		}
		began := time.Now()
		for _, id := range ids {
			s.act(id, "cancel")
		}
		for _, id := range ids {
			s.waitFinal(id, "cancelled")
		}
		return time.Since(began)
	}
	free, limited := ending("plain"), ending("busy")
	t.Logf("without a limit %s, with one %s", free, limited)
	if limited > 20*free {
		t.Errorf("40 tasks end in %s where they give up a place, and in %s where there is none", limited, free)
	}
}

// When the limits of an app change, its waiting tasks go by the new ones.
func TestNewLimits(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.addApp("closed", window(-10*time.Minute))
	held := s.held("closed", "a")
	waiting := s.waiting()
	began := time.Now()
	for app, limits := range map[string]object{"closed": {"product": "none", "max_running": 1}, "busy": {"product": "none", "max_running": 2}} {
		s.do(http.MethodPut, "/api/v1/apps/"+app, limits).want(http.StatusOK)
	}
	s.waitFinal(held.ID, "succeeded")
	s.waitFinal(waiting.ID, "succeeded")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}
