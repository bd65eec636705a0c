package storage_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"longhaul/storage"
	"longhaul/storage/storagetest"
)

// newUpload stores an upload of a size.
func newUpload(t *testing.T, db *storage.DB, owner uuid.UUID, size int64) storage.Upload {
	t.Helper()
	u := storage.Upload{
		ID: uuid.Must(uuid.NewV7()), Owner: owner, CreatedBy: "jo", Protocol: "tus", Metadata: map[string]string{"a": "b"},
		Size: &size, State: storage.UploadReceiving, Growth: []byte(`{"key": "x"}`),
	}
	inTx(t, db, func(tx pgx.Tx) error { return storage.InsertUpload(t.Context(), tx, &u, storage.Quota{}, time.Hour) })
	return u
}

func inTx(t *testing.T, db *storage.DB, do func(tx pgx.Tx) error) {
	t.Helper()
	if err := db.InTx(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

// wantStale checks that a holder who lost an upload can write nothing.
func wantStale(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, storage.ErrStale) {
		t.Errorf("%s: got %v, want %v", what, err, storage.ErrStale)
	}
}

// Only the last who holds an upload writes.
func TestUploadFence(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	db := &storage.DB{Pool: pool}
	owner := uuid.New()
	made := newUpload(t, db, owner, 10)
	if _, _, err := db.HoldUpload(t.Context(), made.ID, uuid.New(), "p1", true); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a stranger's hold: %v", err)
	}
	first, held, err := db.HoldUpload(t.Context(), made.ID, owner, "p1", false)
	if err != nil || !held || first.Fence == made.Fence || first.Metadata["a"] != "b" || string(first.Growth) == "" {
		t.Fatalf("%+v, %v, %v", first, held, err)
	}
	// p1 is no process that lives: whoever asks next has it.
	second, held, err := db.HoldUpload(t.Context(), made.ID, owner, "p2", false)
	if err != nil || !held {
		t.Fatalf("%v, %v", held, err)
	}
	save := func(u *storage.Upload, received int64) error {
		u.Received = received
		return db.InTx(t.Context(), func(tx pgx.Tx) error { return storage.SaveUpload(t.Context(), tx, u, storage.Quota{}, time.Hour) })
	}
	wantStale(t, "save by the first", save(&first, 4))
	if err := save(&second, 4); err != nil || second.State != storage.UploadReceiving {
		t.Fatalf("%+v, %v", second, err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_lock(hashtextextended('longhaul process p2', 0))`); err != nil {
		t.Fatal(err)
	}
	if u, held, err := db.HoldUpload(t.Context(), made.ID, owner, "p3", false); held || err != nil || u.Received != 4 {
		t.Errorf("of a process that lives: %+v, %v, %v", u, held, err)
	}
	if _, held, err := db.HoldUpload(t.Context(), made.ID, owner, "p2", false); !held || err != nil {
		t.Errorf("of itself: %v, %v", held, err)
	}
	third, held, err := db.HoldUpload(t.Context(), made.ID, owner, "p3", true)
	if err != nil || !held {
		t.Fatalf("by force: %v, %v", held, err)
	}
	if err := db.ReleaseUpload(t.Context(), made.ID, second.Fence); err != nil {
		t.Fatal(err)
	}
	if err := save(&third, 10); err != nil || third.State != storage.UploadFinishing {
		t.Fatalf("%+v, %v", third, err)
	}
	wantStale(t, "save of one that is complete", save(&third, 10))
	if u, held, err := db.HoldUpload(t.Context(), made.ID, owner, "p4", true); held || err != nil || u.State != storage.UploadFinishing {
		t.Errorf("hold of one that is complete: %+v, %v, %v", u, held, err)
	}
}

// One worker at a time finishes an upload, and another goes on when it dies.
func TestUploadClaim(t *testing.T) {
	t.Parallel()
	pool, _ := storagetest.DB(t)
	db := &storage.DB{Pool: pool}
	u := newUpload(t, db, uuid.New(), 0)
	u, _, err := db.HoldUpload(t.Context(), u.ID, u.Owner, "p1", false)
	if err != nil {
		t.Fatal(err)
	}
	inTx(t, db, func(tx pgx.Tx) error { return storage.SaveUpload(t.Context(), tx, &u, storage.Quota{}, time.Hour) })
	unwoken := func() int {
		t.Helper()
		ids, err := db.UnwokenUploads(t.Context(), "upload", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(ids)
	}
	if unwoken() != 1 {
		t.Error("it is not found to be due")
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_lock(hashtextextended('longhaul process p1', 0))`); err != nil {
		t.Fatal(err)
	}
	first, err := db.ClaimUpload(t.Context(), u.ID, "p1", time.Hour)
	if err != nil || first.Tries != 1 {
		t.Fatalf("%+v, %v", first, err)
	}
	_, err = db.ClaimUpload(t.Context(), u.ID, "p2", time.Hour)
	wantStale(t, "claim of one that is claimed", err)
	if unwoken() != 0 {
		t.Error("it is found to be due while somebody works on it")
	}
	first.Checked, first.Message = 1<<40, "half"
	if err := db.KeepUpload(t.Context(), &first, time.Hour); err != nil {
		t.Fatal(err)
	}
	if shown, err := db.Upload(t.Context(), u.ID, u.Owner); err != nil || shown.Checked != 0 || shown.Message != "half" || shown.Version != first.Version {
		t.Errorf("%+v, %v", shown, err)
	}
	if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_unlock_all()`); err != nil {
		t.Fatal(err)
	}
	second, err := db.ClaimUpload(t.Context(), u.ID, "p2", time.Hour)
	if err != nil || second.Tries != 2 {
		t.Fatalf("%+v, %v", second, err)
	}
	wantStale(t, "sign of life", db.KeepUpload(t.Context(), &first, time.Hour))
	wantStale(t, "progress", db.GrowUpload(t.Context(), &first, []byte(`{}`)))
	wantStale(t, "failure", db.FailUpload(t.Context(), &first, "no good"))
	wantStale(t, "another try", db.InTx(t.Context(), func(tx pgx.Tx) error { return storage.RetryUpload(t.Context(), tx, &first, 0, "") }))
	kept, err := db.KeepContent(t.Context(), &storage.Content{ID: uuid.New(), Encoding: storage.Identity})
	if err != nil {
		t.Fatal(err)
	}
	wantStale(t, "end", db.FinishUpload(t.Context(), &first, kept.ID, kept.SHA256[:], time.Hour))
	if err := db.FinishUpload(t.Context(), &second, uuid.New(), kept.SHA256[:], time.Hour); !errors.Is(err, storage.ErrContentGone) {
		t.Errorf("end with a content that is gone: %v", err)
	}
	if err := db.FinishUpload(t.Context(), &second, kept.ID, kept.SHA256[:], time.Hour); err != nil || second.State != storage.UploadFinished {
		t.Fatalf("%+v, %v", second, err)
	}
	// What was given up is over, whoever still works on it.
	inTx(t, db, func(tx pgx.Tx) error {
		taken, err := storage.TakeUpload(t.Context(), tx, u.ID, &u.Owner)
		if err == nil && (taken.Content == nil || *taken.Content != kept.ID) {
			t.Errorf("%+v", taken)
		}
		return err
	})
	if ids, err := db.ExpiredUploads(t.Context(), 10); err != nil || len(ids) != 1 {
		t.Errorf("%v, %v", ids, err)
	}
}
