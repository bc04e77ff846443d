package sqlite

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"

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

// take moves the front of the line into batch, and returns how many of it somebody waits for. It waits for such a change, or for the
// time of the others. It returns an empty batch when the queue is closed and empty.
func (q *queue) take(batch []*pending) ([]*pending, int) {
	for {
		q.mu.Lock()
		if len(q.list) > 0 && (q.eager > 0 || q.ripe || q.closed) {
			n, bytes, before := 0, 0, q.eager
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
			q.ripe = len(q.list) > 0
			close(q.room)
			q.room = make(chan struct{})
			awaited := before - q.eager
			q.mu.Unlock()
			return batch, awaited
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return batch, 0
		}
		<-q.filled
	}
}

// gather lets the line grow to as many changes that somebody waits for as the last batch held: those that were
// just told their result mostly commit the next one at once, and one commit of all costs little more than one of some.
// It ends as soon as they are there, or when fewer than an eighth of them came during a nap. A lone client is never
// waited for.
func (q *queue) gather(expected int) {
	if expected < 2 {
		return
	}
	for last := q.waiting(); last < expected; {
		nap()
		now := q.waiting()
		if now-last < max(1, expected/8) {
			return
		}
		last = now
	}
}

// waiting returns the number of changes in line that somebody waits for.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.eager
}

const napTime = 100 * time.Microsecond

// nap sleeps for about napTime. The runtime's own timers are rounded up to a millisecond when there is nothing else to do.
func nap() {
	t := unix.NsecToTimeval(int64(napTime))
	_, _ = unix.Select(0, nil, nil, nil, &t) // an early end does no harm
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
