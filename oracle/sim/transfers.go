package sim

import (
	"strconv"
	"sync"
	"time"
)

const (
	// preparing is how long a download takes to be ready, unpacking how long a
	// snapshot that was uploaded takes, both in simulated time.
	preparing = 2 * time.Second
	unpacking = 3 * time.Second
	// keptTransfers bounds the downloads and unpackings remembered, and
	// idleUpload how long an upload in pieces may lie untouched, in real time.
	keptTransfers = 10_000
	idleUpload    = time.Hour
)

// transfer is a download being made ready, or a snapshot being unpacked.
type transfer struct {
	id         string
	name       string
	content    *blob // of a download
	statusPath string
	due        time.Time // simulated
	polls      int
	running    bool // as the last poll saw it
}

// upload is a file arriving in pieces.
type upload struct {
	id       string
	name     string
	declared int64 // bytes; -1 when not said
	touched  time.Time

	mu    sync.Mutex // one piece at a time
	spool *spool     // nil once the upload has ended
}

// transfers are the uploads and downloads in hand.
type transfers struct {
	clock *clock
	ids   oddities // for ids that look like live ones

	mu       sync.Mutex
	count    int
	byID     map[string]*transfer
	order    []string
	uploads  map[string]*upload // by id
	byName   map[string]*upload // those of the calls that go by name
	unpacked map[string]string  // transfer id by file name
}

func newTransfers(clock *clock, seed uint64) *transfers {
	return &transfers{
		clock: clock, ids: oddities{seed: seed}, byID: map[string]*transfer{},
		uploads: map[string]*upload{}, byName: map[string]*upload{}, unpacked: map[string]string{},
	}
}

// newID wants the lock held.
func (t *transfers) newID() string {
	for {
		t.count++
		id := transferID(t.ids.hash("transfer", strconv.Itoa(t.count)))
		if t.byID[id] == nil && t.uploads[id] == nil {
			return id
		}
	}
}

// begin adds a transfer that is done after d and at least one poll. path makes
// the address of its state from its id.
func (t *transfers) begin(name string, content *blob, d time.Duration, path func(id string) string) transfer {
	now := t.clock.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	id := t.newID()
	next := &transfer{id: id, name: name, content: content, statusPath: path(id), due: now.Add(d), running: true}
	t.byID[id] = next
	t.order = append(t.order, id)
	if len(t.order) > keptTransfers {
		t.forgetOldest()
	}
	if content == nil {
		t.unpacked[name] = id
	}
	return *next
}

// forgetOldest wants the lock held.
func (t *transfers) forgetOldest() {
	id := t.order[0]
	if old := t.byID[id]; old != nil && t.unpacked[old.name] == id {
		delete(t.unpacked, old.name)
	}
	delete(t.byID, id)
	t.order = t.order[1:]
}

// look polls a transfer.
func (t *transfers) look(id string) (transfer, bool) {
	now := t.clock.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	found := t.byID[id]
	if found == nil {
		return transfer{}, false
	}
	found.polls++
	found.running = found.polls == 1 || found.due.After(now)
	return *found, true
}

// ready returns a transfer whose last poll saw it done.
func (t *transfers) ready(id string) (transfer, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := t.byID[id]
	if found == nil || found.running {
		return transfer{}, false
	}
	return *found, true
}

// finish makes a transfer done without a poll.
func (t *transfers) finish(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found := t.byID[id]; found != nil {
		found.running = false
	}
}

// unpackingOf returns the id of the newest unpacking of a file.
func (t *transfers) unpackingOf(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unpacked[name]
}

// end forgets a transfer and tells whether it was there.
func (t *transfers) end(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.byID[id]
	delete(t.byID, id)
	return ok
}

// beginUpload starts an upload in pieces. One of the same name that never
// ended is dropped when byName, and so are those left lying.
func (t *transfers) beginUpload(name string, declared int64, s *spool, byName bool) *upload {
	now := t.clock.realNow()
	t.mu.Lock()
	next := &upload{id: t.newID(), name: name, declared: declared, touched: now, spool: s}
	var dropped []*upload
	if old := t.byName[name]; byName && old != nil {
		dropped = append(dropped, old)
	}
	for _, u := range t.uploads {
		if now.Sub(u.touched) > idleUpload {
			dropped = append(dropped, u)
		}
	}
	for _, u := range dropped {
		t.forget(u)
	}
	t.uploads[next.id] = next
	if byName {
		t.byName[name] = next
	}
	t.mu.Unlock()
	for _, u := range dropped {
		u.drop()
	}
	return next
}

// forget wants the lock held.
func (t *transfers) forget(u *upload) {
	delete(t.uploads, u.id)
	if t.byName[u.name] == u {
		delete(t.byName, u.name)
	}
}

// endUpload takes an upload off the books; its bytes are the caller's.
func (t *transfers) endUpload(u *upload) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(u)
}

func (t *transfers) uploadByID(id string) *upload {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.touch(t.uploads[id])
}

func (t *transfers) uploadByName(name string) *upload {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.touch(t.byName[name])
}

func (t *transfers) touch(u *upload) *upload {
	if u != nil {
		u.touched = t.clock.realNow()
	}
	return u
}

// drop throws away what has arrived.
func (u *upload) drop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.spool != nil {
		u.spool.discard()
		u.spool = nil
	}
}
