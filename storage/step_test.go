package storage_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
	"longhaul/storage/storagetest"
)

// newDB returns a database with the app "none", and a River job to name as a task's waker.
func newDB(t *testing.T) *storage.DB {
	t.Helper()
	pool, _ := storagetest.DB(t)
	if _, err := pool.Exec(t.Context(), `INSERT INTO apps (name, product) VALUES ('none', 'none')`); err != nil {
		t.Fatal(err)
	}
	return &storage.DB{Pool: pool}
}

// newTask stores a task that is due, woken by a River job of its own.
func newTask(t *testing.T, db *storage.DB) *storage.Task {
	t.Helper()
	now := time.Now().Truncate(time.Microsecond)
	deadline := now.Add(time.Hour)
	task := &storage.Task{
		ID: uuid.Must(uuid.NewV7()), App: "none", Name: "test", Kind: "noop", Params: json.RawMessage(`{}`), Attempt: 1,
		CreatedBy: "tester", State: "queued", CreatedAt: now, Step: "run", DueAt: &now, DeadlineAt: &deadline,
		Work: json.RawMessage(`{}`), Input: "none", Outputs: []storage.Output{}, Fence: 1, Version: 1,
	}
	job := riverJob(t, db)
	task.JobID = &job
	err := db.InTx(t.Context(), func(tx pgx.Tx) error {
		var batch pgx.Batch
		storage.QueueTask(&batch, storage.Everywhere, task, storage.Audit{Actor: "tester", Action: "task.create"})
		return tx.SendBatch(t.Context(), &batch).Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func riverJob(t *testing.T, db *storage.DB) (id int64) {
	t.Helper()
	err := db.Pool.QueryRow(t.Context(), `INSERT INTO river_job (args, kind, max_attempts) VALUES ('{}', 'step', 25) RETURNING id`).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func saveStep(ctx context.Context, db *storage.DB, task *storage.Task, log string) error {
	return db.InTx(ctx, func(tx pgx.Tx) error { return storage.SaveStep(ctx, tx, task, log, 0) })
}

func TestClaimIsForOne(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	task := newTask(t, db)
	var won, lost int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			mine := *task
			err := db.Claim(t.Context(), &mine, "p1", time.Minute, false)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errors.Is(err, storage.ErrStale):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won != 1 || lost != 7 {
		t.Errorf("%d won and %d lost", won, lost)
	}
}

func TestIntentIsWrittenOnce(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	task := newTask(t, db)
	if err := db.Claim(t.Context(), task, "p1", -time.Second, true); err != nil {
		t.Fatal(err)
	}
	if task.RemoteIntentAt == nil || task.State != "running" {
		t.Fatalf("claimed as %+v", task)
	}
	// The lease is over and the fence is known, and still nobody may start again.
	if err := db.Claim(t.Context(), task, "p2", time.Minute, true); !errors.Is(err, storage.ErrStale) {
		t.Errorf("a second intent: %v", err)
	}
}

func TestIntentIsRefusedOnceCancelled(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	task := newTask(t, db)
	err := db.InTx(t.Context(), func(tx pgx.Tx) error {
		_, err := storage.RequestCancel(t.Context(), tx, storage.Everywhere, task.ID, "someone")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Claim(t.Context(), task, "p1", time.Minute, true); !errors.Is(err, storage.ErrStale) {
		t.Errorf("an intent after cancelling: %v", err)
	}
}

func TestStaleWorkerWritesNothing(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	task := newTask(t, db)
	late := *task
	if err := db.Claim(t.Context(), task, "p1", time.Minute, false); err != nil {
		t.Fatal(err)
	}
	if err := db.SaveProgress(t.Context(), task, "kept\n"); err != nil {
		t.Fatal(err)
	}
	late.State, late.Message = "failed", "from the past"
	if err := saveStep(t.Context(), db, &late, "lost\n"); !errors.Is(err, storage.ErrStale) {
		t.Errorf("save: %v", err)
	}
	if err := db.SaveProgress(t.Context(), &late, "lost\n"); !errors.Is(err, storage.ErrStale) {
		t.Errorf("progress: %v", err)
	}
	code, message := "internal", "late"
	late.ErrorCode, late.ErrorMessage, late.LogSize = &code, &message, 5
	if err := storage.FinishTask(t.Context(), db.Pool, &late, "lost\n", time.Hour, 0); !errors.Is(err, storage.ErrStale) {
		t.Errorf("finish: %v", err)
	}
	text, final, err := db.Log(t.Context(), task.ID, 0)
	if err != nil || final || text != "kept\n" {
		t.Errorf("log %q, final %v, %v", text, final, err)
	}
}

func TestLogIsOneTextFromFirstToLast(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	task := newTask(t, db)
	task.State, task.StartedAt = "running", &task.CreatedAt
	for _, line := range []string{"one\n", "zwei ä\n", "three\n"} {
		if err := saveStep(t.Context(), db, task, line); err != nil {
			t.Fatal(err)
		}
	}
	const whole = "one\nzwei ä\nthree\nlast\n"
	for _, after := range []int64{0, 2, 4, 11, 12, 100} {
		text, _, err := db.Log(t.Context(), task.ID, after)
		if want := whole[min(int(after), 18):18]; err != nil || text != want {
			t.Errorf("after %d: %q, want %q (%v)", after, text, want, err)
		}
	}
	task.State, task.Percent = "succeeded", 100
	if err := storage.FinishTask(t.Context(), db.Pool, task, "last\n", time.Hour, 0); err != nil {
		t.Fatal(err)
	}
	text, final, err := db.Log(t.Context(), task.ID, 4)
	if err != nil || !final || text != whole[4:] || task.LogSize != int64(len(whole)) {
		t.Errorf("final log %q of %d bytes, final %v (%v)", text, task.LogSize, final, err)
	}
	var rows int
	if err := db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM task_logs`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d log rows are left (%v)", rows, err)
	}
}

func TestCancelDuringAStepMakesItDue(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	task := newTask(t, db)
	err := db.InTx(t.Context(), func(tx pgx.Tx) error {
		_, err := storage.RequestCancel(t.Context(), tx, storage.Everywhere, task.ID, "someone")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	task.DueAt = &later
	if err := saveStep(t.Context(), db, task, ""); err != nil {
		t.Fatal(err)
	}
	if task.CancelRequestedAt == nil || task.DueAt.After(time.Now().Add(time.Minute)) {
		t.Errorf("cancel %v, due %v", task.CancelRequestedAt, task.DueAt)
	}
}

func TestUnwokenFindsWhatRiverForgot(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	living, forgotten, done, held := newTask(t, db), newTask(t, db), newTask(t, db), newTask(t, db)
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := db.Pool.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`DELETE FROM river_job WHERE id = $1`, *forgotten.JobID)
	exec(`UPDATE river_job SET state = 'discarded', finalized_at = now() WHERE id = $1`, *done.JobID)
	exec(`DELETE FROM river_job WHERE id = $1`, *held.JobID)
	if err := db.Claim(t.Context(), held, "p1", time.Minute, false); err != nil {
		t.Fatal(err)
	}
	exec(`UPDATE tasks SET due_at = due_at - interval '1 minute'`)
	found, err := db.Unwoken(t.Context(), time.Second, 10)
	if err != nil {
		t.Fatal(err)
	}
	want := map[uuid.UUID]bool{forgotten.ID: true, done.ID: true}
	for _, id := range found {
		if !want[id] {
			t.Errorf("woke %s; living is %s, held is %s", id, living.ID, held.ID)
		}
		delete(want, id)
	}
	if len(want) > 0 {
		t.Errorf("forgot %v", want)
	}
}

// TestReleaseDead: a process that lives keeps its work, one whose connection ended loses it.
func TestReleaseDead(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	alive, stopAlive := runWakes(t, db, "alive")
	dying, stopDying := runWakes(t, db, "dying")
	<-alive
	<-dying
	tasks := map[string]*storage.Task{}
	for _, process := range []string{"alive", "dying"} {
		task := newTask(t, db)
		if err := db.Claim(t.Context(), task, process, time.Hour, false); err != nil {
			t.Fatal(err)
		}
		_, err := db.Pool.Exec(t.Context(), `UPDATE river_job SET state = 'running', attempt = 3, attempted_by = $2 WHERE id = $1`,
			*task.JobID, []string{"earlier", process})
		if err != nil {
			t.Fatal(err)
		}
		tasks[process] = task
	}
	if jobs, leases, err := db.ReleaseDead(t.Context(), "self"); jobs+leases != 0 || err != nil {
		t.Fatalf("took %d jobs and %d leases from the living (%v)", jobs, leases, err)
	}
	stopDying()
	var jobs, leases int64
	for deadline := time.Now().Add(10 * time.Second); jobs+leases == 0 && time.Now().Before(deadline); {
		var err error
		if jobs, leases, err = db.ReleaseDead(t.Context(), "self"); err != nil {
			t.Fatal(err)
		}
	}
	if jobs != 1 || leases != 1 {
		t.Errorf("took %d jobs and %d leases", jobs, leases)
	}
	if err := saveStep(t.Context(), db, tasks["dying"], ""); !errors.Is(err, storage.ErrStale) {
		t.Errorf("the dead process still writes: %v", err)
	}
	if err := saveStep(t.Context(), db, tasks["alive"], ""); err != nil {
		t.Errorf("the living process cannot write: %v", err)
	}
	var attempt int
	if err := db.Pool.QueryRow(t.Context(), `SELECT attempt FROM river_job WHERE id = $1 AND state = 'available'`,
		*tasks["dying"].JobID).Scan(&attempt); err != nil || attempt != 3 {
		t.Errorf("attempts %d (%v)", attempt, err)
	}
	stopAlive()
}

// runWakes lets a process live until stop.
func runWakes(t *testing.T, db *storage.DB, process string) (ready <-chan struct{}, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	up, ended := make(chan struct{}, 8), make(chan struct{})
	wakes := storage.NewWakes(db.Pool, process, slog.New(slog.DiscardHandler))
	go func() {
		defer close(ended)
		wakes.Run(ctx, func() { up <- struct{}{} })
	}()
	end := func() { cancel(); <-ended }
	t.Cleanup(end)
	return up, end
}

// TestWakesTravel: word of a change reaches another process, and not its sender.
func TestWakesTravel(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx, cancel := context.WithCancel(t.Context())
	heard := map[string]chan uuid.UUID{"a": make(chan uuid.UUID, 1000), "b": make(chan uuid.UUID, 1000)}
	up := make(chan struct{}, 8)
	var all sync.WaitGroup
	wakes := map[string]*storage.Wakes{}
	for name, ids := range heard {
		w := storage.NewWakes(db.Pool, name, slog.New(slog.DiscardHandler))
		w.Changed = func(changed []uuid.UUID) {
			for _, id := range changed {
				ids <- id
			}
		}
		wakes[name] = w
		all.Go(func() { w.Run(ctx, func() { up <- struct{}{} }) })
	}
	<-up
	<-up
	sent := make(map[uuid.UUID]bool)
	for range 450 { // more than fit into one notification
		id := uuid.New()
		sent[id] = true
		wakes["a"].Send(id)
	}
	for len(sent) > 0 {
		select {
		case id := <-heard["b"]:
			delete(sent, id)
		case <-time.After(10 * time.Second):
			t.Fatalf("%d changes never arrived", len(sent))
		}
	}
	if len(heard["a"]) > 0 {
		t.Error("the sender heard itself")
	}
	cancel()
	all.Wait()
}

func TestStateRulesAreInTheSchema(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	task := newTask(t, db)
	for name, set := range map[string]string{
		"an unknown state":              `state = 'paused'`,
		"final and not finished":        `state = 'succeeded'`,
		"finished and still due":        `state = 'succeeded', finished_at = now(), log = ''`,
		"running and not started":       `state = 'running'`,
		"failed without a reason":       `state = 'failed', finished_at = now(), due_at = NULL, step = '', log = ''`,
		"a hundred percent and open":    `percent = 100`,
		"a hundred and one percent":     `percent = 101`,
		"a job id without intent":       `remote_job_id = '7'`,
		"half a lease":                  `lease_by = 'p1'`,
		"open without a deadline":       `deadline_at = NULL`,
		"an error that is not in place": `error_code = 'internal', error_message = 'x'`,
		"final with an archive":         `state = 'cancelled', error_code = 'cancelled', error_message = 'x', finished_at = now(), due_at = NULL, step = '', log = '', input = 'archive'`,
	} {
		_, err := db.Pool.Exec(t.Context(), `UPDATE tasks SET `+set+` WHERE id = $1`, task.ID)
		if err == nil {
			t.Errorf("the schema took %s", name)
		}
	}
}
