package sqlite

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/countersign-dev/countersign/gate"
)

// The bounds of the queue in front of the writer and of one commit. They bound the memory that waiting
// changes hold; a Commit past them waits.
const (
	maxQueued      = 8192
	maxQueuedBytes = 64 << 20
	maxBatch       = 2048
	maxBatchBytes  = 8 << 20
)

// lazyWait is how long a change that nobody waits for may stand in line, to share another's commit.
const lazyWait = 5 * time.Millisecond

// queue is the line in front of the writer. Its order is the order in which put returned.
type queue struct {
	count  atomic.Int64 // len(list), for looking without the lock
	mu     sync.Mutex
	list   []*pending
	bytes  int
	closed bool
	eager  int           // changes in line that somebody waits for
	ripe   bool          // a change that nobody waits for has stood in line long enough
	room   chan struct{} // closed and replaced whenever something is taken
	filled chan struct{} // holds a token when the list may have become longer
}

func newQueue() *queue {
	return &queue{room: make(chan struct{}), filled: make(chan struct{}, 1)}
}

// put appends p, waiting for room until ctx is done. One change that is larger than the bound passes
// when it is alone.
func (q *queue) put(ctx context.Context, p *pending) error {
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return gate.ErrClosed
		}
		if len(q.list) == 0 || len(q.list) < maxQueued && q.bytes+p.size <= maxQueuedBytes {
			q.list = append(q.list, p)
			q.bytes += p.size
			q.count.Store(int64(len(q.list)))
			switch {
			case !p.change.Lazy:
				q.eager++
				q.signal()
			case len(q.list) == maxQueued/2:
				q.ripe = true
				q.signal()
			case len(q.list) == 1:
				time.AfterFunc(lazyWait, q.ripen)
			}
			q.mu.Unlock()
			return nil
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// signal wakes the writer. The lock is held, so that the channel is open.
func (q *queue) signal() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

func (q *queue) ripen() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) > 0 && !q.closed {
		q.ripe = true
		q.signal()
	}
}

// take moves the front of the line into batch. It waits for a change that somebody waits for, or for the
// time of the others. It returns an empty batch when the queue is closed and empty.
func (q *queue) take(batch []*pending) []*pending {
	for {
		q.mu.Lock()
		if len(q.list) > 0 && (q.eager > 0 || q.ripe || q.closed) {
			n, bytes := 0, 0
			for n < len(q.list) && n < maxBatch && (n == 0 || bytes+q.list[n].size <= maxBatchBytes) {
				bytes += q.list[n].size
				if !q.list[n].change.Lazy {
					q.eager--
				}
				n++
			}
			batch = append(batch, q.list[:n]...)
			rest := copy(q.list, q.list[n:])
			clear(q.list[rest:])
			q.list = q.list[:rest]
			q.bytes -= bytes
			q.count.Store(int64(len(q.list)))
			q.ripe = len(q.list) > 0
			close(q.room)
			q.room = make(chan struct{})
			q.mu.Unlock()
			return batch
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return batch
		}
		<-q.filled
	}
}

// quiet is how long gather looks for one more change.
const quiet = 20 * time.Microsecond

// gather lets the line grow to the expected length while changes still come in. Those that were just
// told their result commit their next change at once: waiting some microseconds for them puts all of them
// into one commit instead of two that alternate.
func (q *queue) gather(expected int64) {
	for last := q.count.Load(); last < expected; {
		until := time.Now().Add(quiet)
		for q.count.Load() < expected && time.Now().Before(until) {
			runtime.Gosched()
		}
		now := q.count.Load()
		if now == last {
			return
		}
		last = now
	}
}

// close makes put fail; what is in line is still taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	close(q.room)
	q.room = make(chan struct{})
	close(q.filled)
}
