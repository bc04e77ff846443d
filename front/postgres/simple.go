package postgres

import (
	"bytes"
	"context"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// errFailedBlock is what a server says to anything but the end of a failed transaction.
var errFailedBlock = serverError(codeFailedBlock, "current transaction is aborted, commands ignored until end of transaction block")

// simple answers a query string: one Action with the effects of all its statements.
func (c *conn) simple(ctx context.Context, frame []byte) error {
	body := frame[headerLen:]
	if n := bytes.IndexByte(body, 0); n != len(body)-1 || len(body) == 0 {
		return c.refuseSimple(ctx, serverError(codeProtocol, "invalid message format"))
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	if c.discarding {
		return nil
	}
	s, err := c.understand(ctx, body[:len(body)-1])
	if err != nil || c.discarding {
		return err
	}
	if c.status == 'E' && !s.endsFailed() {
		return c.refuseSimple(ctx, errFailedBlock)
	}
	if err := c.checkNames(s); err != nil {
		return c.refuseSimple(ctx, err)
	}
	if n := s.keeps(); n > 0 && !c.roomToKeep(n) {
		return c.refuseSimple(ctx, c.errKept())
	}
	if s.splits() {
		return c.refuseSimple(ctx, own(codeUnsupported, sanitize.Const("a query string that changes data on both sides of a COMMIT cannot be recorded as one action"),
			sanitize.Clean{}, sanitize.Const("send the transactions as query strings of their own")))
	}
	if c.takesDataFirst(s) {
		return c.copyIn(ctx, s, nil, frame)
	}
	a := c.action(s, nil)
	if s.takesCopy() {
		a.Facts.DataUnseen = true
	}
	p, err := c.admit(ctx, a, s)
	if err != nil {
		return c.refuseSimple(ctx, err)
	}
	return c.runQuery(ctx, s, a, p, frame)
}

// runQuery forwards an admitted query string, exactly as it came, and passes its results on.
func (c *conn) runQuery(ctx context.Context, s *statement, a *countersign.Action, p *gate.Permit, frame []byte) error {
	c.sent(a, p, s)
	c.relay.begin()
	if err := c.forwardExecutable(ctx, expected{kind: expectQuery, stmt: s, permit: p}, frame); err != nil {
		c.unsent(p, err)
		return err
	}
	c.in.giveBack()
	if s.changes() || a.Effects.Any(countersign.Execute|countersign.Unknown) {
		c.generation++
	}
	c.cancelling.running()
	defer c.cancelling.idle()
	c.dropUnnamed()
	if err := c.drain(ctx); err != nil {
		return err
	}
	if c.relay.copyIn {
		if err := c.pump(ctx, p, nil); err != nil {
			return err
		}
	}
	if cut := c.relay.cut; cut != nil {
		c.relay.cut = nil
		return c.refuseSimple(ctx, c.cutReport(cut))
	}
	return nil
}

// call answers a FunctionCall, of which nothing is known: the function is a number.
func (c *conn) call(ctx context.Context, frame []byte) error {
	if err := c.settle(ctx); err != nil || c.discarding {
		return err
	}
	if c.status == 'E' {
		return c.refuseSimple(ctx, errFailedBlock)
	}
	text := bytes.Clone(frame)
	c.in.giveBack()
	s := &statement{
		text: text, shown: sanitize.Const("[a function call by number, outside SQL]"),
		result: &sql.Result{Effects: countersign.Unknown, Why: []countersign.Evidence{{
			Effect: countersign.Unknown, Why: sanitize.Const("the protocol's FunctionCall names a function by its number"),
		}}},
	}
	a := c.action(s, nil)
	p, err := c.admit(ctx, a, s)
	if err != nil {
		return c.refuseSimple(ctx, err)
	}
	c.sent(a, p, s)
	c.relay.begin()
	if err := c.forwardExecutable(ctx, expected{kind: expectCall, stmt: s, permit: p}, text); err != nil {
		c.unsent(p, err)
		return err
	}
	c.generation++
	c.cancelling.running()
	defer c.cancelling.idle()
	if err := c.drain(ctx); err != nil {
		return err
	}
	if cut := c.relay.cut; cut != nil {
		c.relay.cut = nil
		return c.refuseSimple(ctx, c.cutReport(cut))
	}
	return nil
}

// completed takes the end of one statement of a query string, or of an Execute.
func (c *conn) completed(e *expected, tag []byte) {
	if e.own {
		return
	}
	rows := rowsOfTag(tag)
	var st *sql.Statement
	if e.stmt != nil {
		st = e.stmt.at(c.relay.index)
	}
	if e.kind == expectExecute {
		if e.stmt != nil {
			st = e.stmt.single()
		}
		e.portal.done = true
		if !e.portal.settled {
			e.portal.settled = true
			c.block.awaiting = append(c.block.awaiting, awaited{e.permit, e.portal.total(rows)})
		}
	} else {
		c.relay.index++
		c.relay.tagRows += max(rows, 0)
		if rows >= 0 {
			c.relay.tagKnown = true
		}
	}
	if st == nil {
		c.relay.lastTag = string(tag)
		return
	}
	c.mix(st, tag)
	c.follow(e, st, tag)
}

// queryReady takes the end of a query string.
func (c *conn) queryReady(e *expected, status byte) {
	r := &c.relay
	o := gate.Outcome{State: approval.Done, InBlock: status != 'I', Rows: -1}
	if r.tagKnown {
		o.Rows = r.tagRows
	}
	switch {
	case r.failed && r.committed:
		o.State, o.Error = approval.Unknown, sanitize.Join(" ", c.said(), sanitize.Const("(after a COMMIT in the same string)"))
	case r.failed:
		o.State, o.Error, o.InBlock = approval.Failed, c.said(), false
	case r.rolledBack:
		o.State, o.Error, o.InBlock = approval.Failed, sanitize.Const("rolled back by a ROLLBACK in the same string"), false
	}
	if r.cut != nil && o.Error.IsZero() {
		o.Error = sanitize.Const("the result was cut off")
	}
	failed := r.failed || c.block.failed
	switch {
	case r.failed && r.committed:
		r.fate = fatePartly
	case failed || r.rolledBack || status != 'I': // the refusal that follows fails an open block
		r.fate = fateRolledBack
	default:
		r.fate = fateCommitted
	}
	c.block.failed = false
	switch {
	case status != 'I':
		c.beginBlock()
		e.permit.Finish(o)
		c.settleAwaitingInBlock()
		c.block.commitSent = false
	case c.block.open && !failed && r.lastTag != "COMMIT":
		e.permit.Finish(o)
		c.endBlock(gate.RolledBack)
	case failed:
		e.permit.Finish(o)
		c.endBlock(gate.RolledBack)
	default:
		e.permit.Finish(o)
		c.endBlock(gate.Committed)
	}
	r.tagRows, r.tagKnown, r.lastTag, r.privileged, r.committed, r.rolledBack = 0, false, "", false, false, false
	c.status = status
	c.unsynced, c.changing = false, false
}

func (c *conn) settleAwaitingInBlock() {
	b := &c.block
	for _, w := range b.awaiting {
		w.permit.Finish(gate.Outcome{State: approval.Done, InBlock: true, Rows: w.rows})
	}
	b.awaiting = b.awaiting[:0]
}

// mix notes what a COMMIT or ROLLBACK within a query string does to the statements before it.
func (c *conn) mix(st *sql.Statement, tag []byte) {
	switch st.Tx {
	case sql.TxCommit:
		c.relay.committed = string(tag) == "COMMIT"
		c.relay.rolledBack = c.relay.privileged && !c.relay.committed
		c.relay.privileged = false
	case sql.TxRollback, sql.TxRollbackTo:
		c.relay.rolledBack = c.relay.privileged
		c.relay.privileged = false
	default:
		if st.Effects.Privileged() {
			c.relay.privileged = true
		}
	}
}

// splits reports whether privileged statements stand on both sides of the end of a transaction, so that
// no one outcome is true of the whole text.
func (s *statement) splits() bool {
	if s.result == nil || len(s.result.Statements) < 3 {
		return false
	}
	before, ended := false, false
	for i := range s.result.Statements {
		st := &s.result.Statements[i]
		switch {
		case st.Tx == sql.TxCommit || st.Tx == sql.TxRollback || st.Tx == sql.TxRollbackTo || st.Tx == sql.TxPrepare:
			ended = before
		case st.Effects.Privileged():
			if ended {
				return true
			}
			before = true
		}
	}
	return false
}

// refuseSimple answers a query string with an error instead of running it.
func (c *conn) refuseSimple(ctx context.Context, why error) error {
	if err := c.settle(ctx); err != nil || c.discarding {
		return err
	}
	if gone := c.gone(why); gone != nil {
		return gone
	}
	if c.status == 'T' || c.unsynced {
		// The transaction must fail as it would with an error of the server's own, else BEGIN; INSERT;
		// <refused>; COMMIT would commit half.
		if err := c.ask(failing); err != nil {
			return err
		}
		if err := c.drainOwn(ctx); err != nil {
			return err
		}
		c.discarding = false
		if err := c.ownSync(); err != nil {
			return err
		}
		if err := c.drain(ctx); err != nil {
			return err
		}
	}
	c.out = appendReady(appendReport(c.out, msgError, c.errorReport(why)), c.status)
	return c.flush(ctx)
}

// ownSync queues a Sync of the gateway's own, whose ReadyForQuery is not passed on.
func (c *conn) ownSync() error {
	return c.forwardInert(expected{kind: expectSync, own: true}, syncFrame)
}

// drainOwn has the server answer what it was asked, without ending the pipeline.
func (c *conn) drainOwn(ctx context.Context) error {
	if err := c.forwardFlush(); err != nil {
		return err
	}
	return c.drain(ctx)
}
