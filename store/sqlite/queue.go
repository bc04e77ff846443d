package sqlite

import (
	"context"
	"sync"

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

// queue is the line in front of the writer. Its order is the order in which put returned.
type queue struct {
	mu     sync.Mutex
	list   []*pending
	bytes  int
	closed bool
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
			q.mu.Unlock()
			select {
			case q.filled <- struct{}{}:
			default:
			}
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

// take moves the front of the line into batch, waiting for the first. It returns an empty batch when the queue is
// closed and empty.
func (q *queue) take(batch []*pending) []*pending {
	for {
		q.mu.Lock()
		if len(q.list) > 0 {
			n, bytes := 0, 0
			for n < len(q.list) && n < maxBatch && (n == 0 || bytes+q.list[n].size <= maxBatchBytes) {
				bytes += q.list[n].size
				n++
			}
			batch = append(batch, q.list[:n]...)
			rest := copy(q.list, q.list[n:])
			clear(q.list[rest:])
			q.list = q.list[:rest]
			q.bytes -= bytes
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

// length returns the number of changes that wait.
func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list)
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
