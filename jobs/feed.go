package jobs

import "sync"

// filesChanged tells who waits, here and in other processes, that a file changed. It is called after
// the commit.
func (e *Engine) filesChanged() {
	e.feed.tell()
	e.wakes.SendFiles()
}

// FilesChange is closed when a file of any app is next changed, as far as this process hears of it:
// a word may be lost. Take it before looking for changes.
func (e *Engine) FilesChange() <-chan struct{} { return e.feed.next() }

// feed wakes those who wait for changes of files.
type feed struct {
	mu      sync.Mutex
	waiting chan struct{} // nil when nobody waits
}

func (f *feed) next() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting == nil {
		f.waiting = make(chan struct{})
	}
	return f.waiting
}

func (f *feed) tell() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting != nil {
		close(f.waiting)
		f.waiting = nil
	}
}
