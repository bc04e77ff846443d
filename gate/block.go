package gate

import (
	"slices"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/sanitize"
)

// BlockEnd says how a transaction block ended.
type BlockEnd string

// The ends of a block.
const (
	Committed  BlockEnd = "committed"
	RolledBack BlockEnd = "rolled_back"
	// InDoubt: COMMIT was sent and no answer came.
	InDoubt BlockEnd = "in_doubt"
)

// block is a session's transaction block.
type block struct {
	id          string    // "" outside a block
	uncommitted []*Permit // privileged actions done in it, in order
	savepoints  []savepoint
	requests    []countersign.RequestID // opened in it; they end with it
}

// savepoint remembers how many actions were done before it.
type savepoint struct {
	name string
	at   int
}

// BeginBlock marks the start of a transaction block.
func (s *Session) BeginBlock() {
	if s.block.id == "" {
		s.block = block{id: newID(blockPrefix).String()}
	}
}

// EndBlock settles the outcomes of what ran in the block, and ends the requests that were opened in it.
func (s *Session) EndBlock(end BlockEnd) {
	b := s.block
	s.block = block{}
	state := map[BlockEnd]approval.State{
		Committed: approval.Done, RolledBack: approval.RolledBack, InDoubt: approval.Unknown,
	}[end]
	for _, p := range b.uncommitted {
		p.record(state, Outcome{Rows: -1})
	}
	for _, id := range b.requests {
		s.g.endRequest(s.g.ctx, id, blockEnded)
	}
}

// blockEnded ends a request that belongs to a transaction block that is over.
func blockEnded(r approval.Request, now time.Time) (approval.Request, error) {
	return r.Lapse(now, sanitize.Const("the transaction block it belonged to has ended; run the statement on its own"))
}

// Savepoint, RollbackTo and Release follow the server's own, by name, so that what a ROLLBACK TO undid is
// recorded as rolled back.
func (s *Session) Savepoint(name string) {
	s.block.savepoints = append(s.block.savepoints, savepoint{name, len(s.block.uncommitted)})
}

// RollbackTo settles as rolled back what ran since the latest savepoint of that name.
func (s *Session) RollbackTo(name string) {
	b := &s.block
	i := b.latest(name)
	if i < 0 {
		return // the server has refused it
	}
	undone := slices.Clone(b.uncommitted[b.savepoints[i].at:])
	b.uncommitted = b.uncommitted[:b.savepoints[i].at]
	b.savepoints = b.savepoints[:i+1]
	for _, p := range undone {
		p.record(approval.RolledBack, Outcome{Rows: -1})
	}
}

// Release forgets the latest savepoint of that name and those after it.
func (s *Session) Release(name string) {
	if i := s.block.latest(name); i >= 0 {
		s.block.savepoints = s.block.savepoints[:i]
	}
}

func (b *block) latest(name string) int {
	for i := len(b.savepoints) - 1; i >= 0; i-- {
		if b.savepoints[i].name == name {
			return i
		}
	}
	return -1
}
