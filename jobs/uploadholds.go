package jobs

import (
	"sync"

	"github.com/google/uuid"
)

// uploadHolds are the uploads that requests of this process hold, and those that somebody waits
// for.
type uploadHolds struct {
	mu      sync.Mutex
	held    map[uuid.UUID]*UploadHold
	waiting map[uuid.UUID]map[chan struct{}]bool
}

func newUploadHolds() *uploadHolds {
	return &uploadHolds{held: make(map[uuid.UUID]*UploadHold), waiting: make(map[uuid.UUID]map[chan struct{}]bool)}
}

// enter puts a hold in place and returns the one that it takes over from; nil: there was none.
func (u *uploadHolds) enter(h *UploadHold) *UploadHold {
	u.mu.Lock()
	defer u.mu.Unlock()
	before := u.held[h.Upload.ID]
	u.held[h.Upload.ID] = h
	return before
}

// leave ends a hold.
func (u *uploadHolds) leave(h *UploadHold) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.held[h.Upload.ID] == h {
		delete(u.held, h.Upload.ID)
	}
	close(h.done)
}

// wanted asks who holds the upload here to let go: another process wants it.
func (u *uploadHolds) wanted(id uuid.UUID) {
	u.mu.Lock()
	h := u.held[id]
	u.mu.Unlock()
	if h != nil {
		h.stop()
	}
}

// listen returns a channel that is closed when the upload changes. stop must be called.
func (u *uploadHolds) listen(id uuid.UUID) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{})
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waiting[id] == nil {
		u.waiting[id] = make(map[chan struct{}]bool)
	}
	u.waiting[id][c] = true
	return c, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.waiting[id], c)
		if len(u.waiting[id]) == 0 {
			delete(u.waiting, id)
		}
	}
}

// changed wakes who waits for one of the uploads.
func (u *uploadHolds) changed(ids []uuid.UUID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		for c := range u.waiting[id] {
			close(c)
		}
		delete(u.waiting, id)
	}
}
