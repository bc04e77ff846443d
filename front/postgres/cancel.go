package postgres

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"sync"
)

// cancelKey is what a client is given to cancel by: the server's process id, and a secret of ours. The
// server's own secret never leaves the gateway.
type cancelKey struct {
	pid    uint32
	secret [4]byte
}

// registry finds connections by their cancel keys. Servers behind one gateway may give the same process id.
type registry struct {
	mu    sync.Mutex
	byPID map[uint32][]registered // guarded by mu
}

type registered struct {
	secret [4]byte
	conn   *conn
}

func (r *registry) add(pid uint32, c *conn) cancelKey {
	k := cancelKey{pid: pid}
	rand.Read(k.secret[:])
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byPID == nil {
		r.byPID = map[uint32][]registered{}
	}
	r.byPID[pid] = append(r.byPID[pid], registered{k.secret, c})
	return k
}

func (r *registry) remove(k cancelKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.byPID[k.pid]
	for i, e := range list {
		if e.secret == k.secret {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(r.byPID, k.pid)
	} else {
		r.byPID[k.pid] = list
	}
}

// cancel does what a cancel request asks for. Like the server it never says whether the key was right.
func (r *registry) cancel(ctx context.Context, k cancelKey) {
	r.mu.Lock()
	var found *conn
	for _, e := range r.byPID[k.pid] {
		if subtle.ConstantTimeCompare(e.secret[:], k.secret[:]) == 1 {
			found = e.conn
		}
	}
	r.mu.Unlock()
	if found != nil {
		found.cancelRequest(ctx)
	}
}

// cancelRequest ends a wait for signatures, or passes the request on when something runs upstream.
func (c *conn) cancelRequest(ctx context.Context) {
	s := &c.cancelling
	s.mu.Lock()
	switch {
	case s.waiting:
		s.cancelled = true
		s.stop()
		s.mu.Unlock()
		return
	case !s.runs || s.underway:
		s.mu.Unlock()
		return
	}
	s.underway = true
	s.mu.Unlock()
	if err := c.up.cancel(ctx); err != nil {
		c.log.Warn("a cancel request did not reach the server", "error", c.front.sanitizer.Text(err.Error()))
	}
	s.mu.Lock()
	s.underway = false
	s.done.Broadcast()
	s.mu.Unlock()
}

// cancelState is what a cancel request would have to end. It is safe for concurrent use.
type cancelState struct {
	mu        sync.Mutex
	done      *sync.Cond // underway has become false
	runs      bool       // the server works for this connection
	underway  bool       // a cancel request is on its way to the server
	waiting   bool       // for signatures
	cancelled bool       // the wait was ended by a cancel request
	over      bool       // the connection ends: nothing waits any more
	wait      context.Context
	stop      context.CancelFunc
}

func (s *cancelState) init() { s.done = sync.NewCond(&s.mu) }

func (s *cancelState) running() {
	s.mu.Lock()
	s.runs = true
	s.mu.Unlock()
}

func (s *cancelState) idle() {
	s.mu.Lock()
	s.runs = false
	s.mu.Unlock()
}

// settled waits until no cancel request is on its way, so that none hits what is forwarded next. It is
// bounded by the time that a cancel request may take.
func (s *cancelState) settled(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.underway {
		s.done.Wait()
	}
	return ctx.Err()
}

// beginWait returns the context of a wait for signatures. It is used again until it is cancelled.
func (s *cancelState) beginWait(parent context.Context) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wait == nil || s.wait.Err() != nil {
		s.wait, s.stop = context.WithCancel(parent)
	}
	if s.over {
		s.stop()
	}
	s.waiting, s.cancelled = true, false
	return s.wait
}

// finishWait reports whether the wait was ended by a cancel request.
func (s *cancelState) finishWait() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = false
	return s.cancelled
}

// endWait ends this and every later wait: the connection ends.
func (s *cancelState) endWait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.stop != nil {
		s.stop()
	}
}
