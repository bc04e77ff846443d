package gate

import (
	"sync"

	"github.com/countersign-dev/countersign"
)

// waits wakes whoever waits for a change of a request. A wake-up says only "look again": the store is
// the truth.
type waits struct {
	mu sync.Mutex
	m  map[countersign.RequestID]map[chan struct{}]struct{}
}

// watch returns a channel that receives after each change made through this gate, and its end.
func (w *waits) watch(id countersign.RequestID) (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m == nil {
		w.m = map[countersign.RequestID]map[chan struct{}]struct{}{}
	}
	if w.m[id] == nil {
		w.m[id] = map[chan struct{}]struct{}{}
	}
	w.m[id][ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.m[id], ch)
		if len(w.m[id]) == 0 {
			delete(w.m, id)
		}
	}
}

func (w *waits) wake(id countersign.RequestID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.m[id] {
		select {
		case ch <- struct{}{}:
		default: // already told to look
		}
	}
}

// held is the number of requests that somebody waits for.
func (w *waits) held() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.m)
}
