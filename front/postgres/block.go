package postgres

import (
	"crypto/sha256"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// blockState is what is known of the client's transaction. The server's words are the truth: command tags
// for what ended how, ReadyForQuery for whether a block is open.
type blockState struct {
	open bool
	// dirty: something privileged has run in the open block or in this pipeline.
	dirty bool
	// commitSent: a COMMIT has gone upstream and its answer has not come. A pipeline's Sync commits too.
	commitSent bool
	hash       [sha256.Size]byte // of the statements sent in the open block, in order

	// awaiting are what ran since the last ReadyForQuery outside a query string; how it ended is known then.
	awaiting []awaited
	// doubted: code that cannot be seen ran in the block, and may have changed settings.
	doubted bool
	// failed: the pipeline has failed, and with it all that ran in its implicit transaction.
	failed bool

	// The settings as they were when the transaction began, explicit or not, and at its savepoints.
	before     settings
	savepoints []savedSettings
}

type awaited struct {
	permit *gate.Permit
	rows   int64
}

type savedSettings struct {
	name string
	sets settings
	seq  int // of the latest cursor or portal
}

// sent notes that an action goes upstream under a permit.
func (c *conn) sent(a *countersign.Action, p *gate.Permit, s *statement) {
	b := &c.block
	if a.Effects.Privileged() {
		b.dirty = true
	} else {
		c.relay.undurable = append(c.relay.undurable, p)
	}
	c.touch(s)
	if s.commits() {
		b.commitSent = true
	}
	if s.changes() || a.Effects.Any(countersign.Execute|countersign.Unknown) {
		c.changing = true
	}
	if b.open {
		b.note(a)
	}
	c.fetches(s)
	if a.Effects.Any(countersign.Execute | countersign.Unknown) {
		c.doubt(s)
	}
}

// note adds an action to the hash of the block's statements.
func (b *blockState) note(a *countersign.Action) {
	h := sha256.New()
	h.Write(b.hash[:])
	t := sha256.Sum256(a.Text)
	h.Write(t[:])
	for _, p := range a.Params {
		if p.Null {
			h.Write([]byte{0})
			continue
		}
		t := sha256.Sum256(p.Value)
		h.Write([]byte{1})
		h.Write(t[:])
	}
	h.Sum(b.hash[:0])
}

func (c *conn) beginBlock() {
	if c.block.open {
		return
	}
	c.block.open = true
	c.block.hash = [sha256.Size]byte{}
	c.block.savepoints = nil
	c.sess.BeginBlock()
}

// endBlock settles the block, or the implicit transaction, that the server has ended.
func (c *conn) endBlock(end gate.BlockEnd) {
	b := &c.block
	for _, w := range b.awaiting {
		switch {
		case b.open:
			w.permit.Finish(gate.Outcome{State: approval.Done, InBlock: true, Rows: w.rows})
		case end == gate.Committed:
			w.permit.Finish(gate.Outcome{State: approval.Done, Rows: w.rows})
		case end == gate.InDoubt:
			w.permit.Finish(gate.Outcome{State: approval.Unknown, Rows: w.rows})
		default:
			w.permit.Finish(gate.Outcome{State: approval.Failed, Rows: w.rows, Error: sanitize.Const("rolled back with the transaction it ran in")})
		}
	}
	b.awaiting = b.awaiting[:0]
	for name, p := range c.portals {
		c.dropPortal(name, p)
	}
	c.closeBlock(end)
	if b.open {
		c.sess.EndBlock(end)
	}
	if end == gate.RolledBack {
		c.state.restore(b.before, b.doubted)
	}
	c.state.dropLocal()
	b.before = c.state.sets
	b.open, b.dirty, b.commitSent, b.doubted = false, false, false, false
	b.savepoints = nil
}

// follow does what a completed statement does to the block, the settings, and the prepared statements.
func (c *conn) follow(e *expected, st *sql.Statement, tag []byte) {
	switch st.Tx {
	case sql.TxBegin:
		c.beginBlock()
	case sql.TxCommit, sql.TxRollback:
		end := gate.RolledBack
		if st.Tx == sql.TxCommit && string(tag) == "COMMIT" {
			end = gate.Committed
		}
		open := c.block.open
		c.endBlock(end)
		if st.Chain && open {
			c.beginBlock()
		}
	case sql.TxPrepare:
		end := gate.RolledBack
		if string(tag) == "PREPARE TRANSACTION" {
			end = gate.InDoubt // COMMIT PREPARED or ROLLBACK PREPARED decides, perhaps from elsewhere
		}
		c.endBlock(end)
	case sql.TxSavepoint:
		c.sess.Savepoint(st.Savepoint)
		c.block.savepoints = append(c.block.savepoints, savedSettings{st.Savepoint, c.state.sets, c.seq})
	case sql.TxRollbackTo:
		c.sess.RollbackTo(st.Savepoint)
		if i := c.block.latest(st.Savepoint); i >= 0 {
			c.state.restore(c.block.savepoints[i].sets, c.block.doubted)
			c.closeAfter(e, c.block.savepoints[i].seq)
			c.block.savepoints = c.block.savepoints[:i+1]
		}
	case sql.TxRelease:
		c.sess.Release(st.Savepoint)
		if i := c.block.latest(st.Savepoint); i >= 0 {
			c.block.savepoints = c.block.savepoints[:i]
		}
	case sql.TxNone, sql.TxCommitPrepared, sql.TxRollbackPrepared:
	}
	for i := range st.Sets {
		c.setting(st, &st.Sets[i])
	}
	c.remember(e, st)
}

func (b *blockState) latest(name string) int {
	for i := len(b.savepoints) - 1; i >= 0; i-- {
		if b.savepoints[i].name == name {
			return i
		}
	}
	return -1
}

// ready takes the server's word on the transaction after a Sync.
func (c *conn) ready(status byte) {
	b := &c.block
	failed := b.failed
	b.failed = false
	c.relay.fate = fateCommitted
	if failed || status != 'I' {
		c.relay.fate = fateRolledBack
	}
	switch {
	case status == 'I' && failed:
		c.endBlock(gate.RolledBack)
	case status == 'I':
		c.endBlock(gate.Committed)
	default:
		c.beginBlock()
		for _, w := range b.awaiting {
			w.permit.Finish(gate.Outcome{State: approval.Done, InBlock: true, Rows: w.rows})
		}
		b.awaiting = b.awaiting[:0]
		b.commitSent = false
	}
	c.status = status
	c.unsynced, c.changing = false, false
}
