package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/approval"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// portal is a bound statement. All its Executes run under the permit of its Bind.
type portal struct {
	stmt    *statement
	action  *countersign.Action
	permit  *gate.Permit
	done    bool  // it has run to its end
	ran     bool  // an Execute was forwarded
	fetched bool  // a FETCH or MOVE of SQL was
	kept    int   // bytes taken for it
	seq     int   // when it was bound, among cursors and portals
	settled bool  // its outcome is among those awaiting, or recorded
	rows    int64 // of the parts fetched so far
	// generation and names are the connection's when it was judged, hash is the block's after it.
	generation, names int
	hash              [sha256.Size]byte
	owed              int  // Executes that the server has not answered yet
	dropped           bool // it is gone on the server once these are answered

	// bindFrame is the Bind of a COPY FROM STDIN, which goes upstream with its Execute, once the data is there.
	bindFrame []byte
}

// total is the number of rows in the end: those returned in parts, or what the command tag says.
func (p *portal) total(tag int64) int64 { return max(p.rows, tag) }

// The most that a client may keep prepared; the server has no such limit, but memory here is shared.
const (
	maxStatements = 10_000
	maxPortals    = 1_000
)

func (c *conn) parse(ctx context.Context, frame []byte) error {
	m, err := decodeParse(frame[headerLen:])
	if err != nil {
		return c.refuse(ctx, serverError(codeProtocol, "invalid message format"))
	}
	if err := c.settleChanging(ctx); err != nil || c.discarding {
		return err
	}
	if err := c.checkName(ctx, m.name); err != nil || c.discarding {
		return c.refuse(ctx, err)
	}
	known, err := c.understand(ctx, m.text)
	if err != nil || c.discarding {
		return err
	}
	if len(known.result.Statements) > 1 {
		return c.refuse(ctx, serverError(codeSyntax, "cannot insert multiple commands into a prepared statement"))
	}
	if c.status == 'E' && !known.endsFailed() {
		return c.refuse(ctx, errFailedBlock)
	}
	if err := c.checkNames(known); err != nil {
		return c.refuse(ctx, err)
	}
	name := string(m.name)
	if len(c.statements) >= maxStatements && c.statements[name] == nil {
		return c.refuse(ctx, own(codeResultLimit, sanitize.Const("too many prepared statements"),
			sanitize.Format("a connection keeps %s at most", sanitize.Int(maxStatements)), sanitize.Const("close some with DEALLOCATE")))
	}
	s := *known
	s.types = m.types
	size := len(frame) + len(s.text) + len(s.shown.String())
	if err := c.keep(size); err != nil {
		return c.refuse(ctx, err)
	}
	s.kept = size
	s.frame = frame
	a := c.action(&s, nil)
	if !s.understood || c.sess.Judge(a).Verdict == countersign.Deny {
		// Not understood: held already, since the server's analysis runs code. Denied: this records the refusal.
		p, err := c.admit(ctx, a, &s)
		if err != nil {
			c.release(&s.kept)
			return c.refuse(ctx, err)
		}
		s.permit, s.signed = p, a
		c.relay.undurable = append(c.relay.undurable, p)
	}
	e := expected{kind: expectParse, name: name, stmt: &s, before: c.statements[name]}
	// Where the name is taken the server refuses it, and the one before is put back.
	e.taken = name != "" && e.before != nil && !e.before.doubt
	c.statements[name] = &s
	if name != "" {
		c.names++
	}
	c.unsynced = true
	return c.forwardParse(e, s.frame)
}

func (c *conn) bind(ctx context.Context, frame []byte) error {
	m, err := decodeBind(frame[headerLen:], nil)
	if err != nil {
		return c.refuse(ctx, serverError(codeProtocol, "invalid message format"))
	}
	if err := c.settleChanging(ctx); err != nil || c.discarding {
		return err
	}
	for _, name := range [][]byte{m.portal, m.statement} {
		if err := c.checkName(ctx, name); err != nil || c.discarding {
			return c.refuse(ctx, err)
		}
	}
	s := c.statements[string(m.statement)]
	if s == nil || s.doubt && s.frame == nil {
		return c.refuse(ctx, noStatement(m.statement))
	}
	if c.status == 'E' && !s.endsFailed() {
		return c.refuse(ctx, errFailedBlock)
	}
	name := string(m.portal)
	if _, taken := c.portals[name]; taken && name != "" {
		return c.refuse(ctx, serverError(codeDuplicateName, fmt.Sprintf("cursor \"%s\" already exists", name)))
	}
	if len(c.portals) >= maxPortals && name != "" {
		return c.refuse(ctx, own(codeResultLimit, sanitize.Const("too many portals"),
			sanitize.Format("a connection keeps %s at most", sanitize.Int(maxPortals)), sanitize.Const("close some")))
	}
	po := &portal{stmt: s, generation: c.generation, names: c.names}
	if err := c.keep(len(frame) + s.kept); err != nil {
		return c.refuse(ctx, err)
	}
	po.kept = len(frame) + s.kept // the portal keeps the statement, too
	defer func() {
		if po.seq == 0 { // it was not opened
			c.release(&po.kept)
		}
	}()
	s.typeParams(m.params)
	if st := s.single(); st != nil && st.Copy == sql.CopyFromClient {
		return c.bindCopy(ctx, name, po, frame)
	}
	if po.action, err = c.boundAction(ctx, s, m.params); err != nil || c.discarding {
		return err
	}
	if untyped(m.params) && c.sess.Judge(po.action).Verdict != countersign.Allow {
		// Who signs must see values, and sign their types.
		if err := c.parseAgain(s, m.statement); err != nil {
			return err
		}
		if err := c.learnTypes(ctx, s, m.statement); err != nil || c.discarding {
			return err
		}
		s.typeParams(m.params)
		po.action = c.action(s, m.params)
	}
	if s.permit != nil {
		if err := c.freshSettings(ctx); err != nil {
			return c.refuse(ctx, err)
		}
		po.action.Context = c.bound(s)
	}
	if s.permit != nil && !s.signedFor(po.action) {
		s.finishUnused()
	}
	if po.permit = s.permit; po.permit != nil {
		s.permit, s.signed = nil, nil // what was signed at Parse is exactly this
	} else if po.permit, err = c.admit(ctx, po.action, s); err != nil {
		return c.refuse(ctx, err)
	}
	if c.discarding { // an earlier message of the pipeline failed while this one was looked at
		po.permit.Finish(gate.Outcome{State: approval.Failed, Rows: -1, Error: errSkipped})
		return nil
	}
	if err := c.parseAgain(s, m.statement); err != nil {
		return err
	}
	c.open(name, po)
	c.sent(po.action, po.permit, s)
	po.hash = c.block.hash
	c.unsynced = true
	e := expected{kind: expectBind, name: name, portal: po, stmt: s, permit: po.permit}
	if err := c.forwardExecutable(ctx, e, frame); err != nil {
		c.unsent(po.permit, err)
		return err
	}
	return nil
}

// open puts a portal under its name. A cursor of that name is gone on the server, or else this fails there.
func (c *conn) open(name string, po *portal) {
	c.dropPortal(name, c.portals[name])
	delete(c.cursors, name)
	c.seq++
	po.seq = c.seq
	c.portals[name] = po
	if name != "" {
		c.names++
	}
}

// typeParams gives parameters their types: those that Parse declares, else those the server told.
func (s *statement) typeParams(params []countersign.Param) {
	for i := range params {
		p := &params[i]
		if i < len(s.types) {
			p.Type = s.types[i]
		}
		if p.Type == 0 && i < len(s.learned) {
			p.Type = s.learned[i]
		}
	}
}

func untyped(params []countersign.Param) bool {
	for i := range params {
		if params[i].Type == 0 {
			return true
		}
	}
	return false
}

// learnTypes asks the server for the types of a statement's parameters.
func (c *conn) learnTypes(ctx context.Context, s *statement, name []byte) error {
	c.unsynced = true
	if err := c.forwardInert(expected{kind: expectDescribe, own: true, stmt: s}, appendTarget(nil, msgDescribe, 'S', name)); err != nil {
		return err
	}
	return c.settle(ctx)
}

// learn takes a ParameterDescription.
func (s *statement) learn(body []byte) {
	f := fields{b: body}
	n := int(f.uint16())
	if len(f.b) != 4*n {
		return
	}
	s.learned = make([]uint32, n)
	for i := range s.learned {
		s.learned[i] = f.uint32()
	}
}

var errSkipped = sanitize.Const("not run: an earlier statement of the pipeline failed")

// boundAction makes the Action of a bound statement.
func (c *conn) boundAction(ctx context.Context, s *statement, params []countersign.Param) (*countersign.Action, error) {
	if err := c.freshPath(ctx); err != nil {
		return nil, err
	}
	c.classifyAgain(s)
	return c.action(s, params), nil
}

func noStatement(name []byte) error {
	if len(name) == 0 {
		return serverError(codeNoStatement, "unnamed prepared statement does not exist")
	}
	return serverError(codeNoStatement, fmt.Sprintf("prepared statement \"%s\" does not exist", name))
}

// parseAgain puts a statement back under its name when code that cannot be seen may have replaced it. An error
// of that is told to the client as one of the message that needs the statement.
func (c *conn) parseAgain(s *statement, name []byte) error {
	if !s.doubt {
		return nil
	}
	s.doubt = false
	if err := c.forwardInert(expected{kind: expectClose, own: true}, appendTarget(nil, msgClose, 'S', name)); err != nil {
		return err
	}
	return c.forwardParse(expected{kind: expectParse, own: true, name: string(name), stmt: s}, s.frame)
}

func (c *conn) describe(ctx context.Context, frame []byte) error {
	kind, name, err := decodeTarget(frame[headerLen:])
	if err != nil {
		return c.refuse(ctx, serverError(codeProtocol, "invalid message format"))
	}
	if err := c.checkName(ctx, name); err != nil || c.discarding {
		return c.refuse(ctx, err)
	}
	if p := c.portals[string(name)]; kind == 'P' && p != nil && p.bindFrame != nil {
		return c.answerHere(ctx, appendFrame(nil, msgNoData))
	}
	e := expected{kind: expectDescribe}
	if kind == 'S' {
		e.stmt = c.statements[string(name)]
	}
	c.unsynced = true
	return c.forwardInert(e, frame)
}

func (c *conn) execute(ctx context.Context, frame []byte) error {
	name, _, err := decodeExecute(frame[headerLen:])
	if err != nil {
		return c.refuse(ctx, serverError(codeProtocol, "invalid message format"))
	}
	if err := c.checkName(ctx, name); err != nil || c.discarding {
		return c.refuse(ctx, err)
	}
	p := c.portals[string(name)]
	if p == nil {
		if err := c.settleChanging(ctx); err != nil || c.discarding {
			return err
		}
		return c.refuse(ctx, serverError(codeNoCursor, fmt.Sprintf("portal \"%s\" does not exist", name)))
	}
	if !p.ran && (p.generation != c.generation || p.names != c.names && p.stmt.byName()) {
		// What it names may be something else than what was judged at Bind (P3): the server looks up much only now.
		return c.refuse(ctx, own(codeUnsupported, sanitize.Const("the session changed between Bind and Execute"),
			sanitize.Const("another statement that changes what names mean ran in between"), sanitize.Const("bind the statement again")))
	}
	if p.bindFrame != nil {
		return c.copyIn(ctx, p.stmt, p, bytes.Clone(frame))
	}
	if !p.ran && c.sess.Judge(p.action).Verdict == countersign.Deny {
		// Policy has turned against it since its Bind. This records the refusal. The permit of its Bind keeps
		// the action as it was.
		same := *p.action
		again, err := c.admit(ctx, &same, p.stmt)
		if err != nil {
			return c.refuse(ctx, err)
		}
		again.Finish(gate.Outcome{State: approval.Failed, Rows: -1, Error: sanitize.Const("not run: it is allowed already")})
	}
	c.runs(p)
	p.ran = true
	p.owed++
	c.unsynced = true
	e := expected{kind: expectExecute, portal: p, stmt: p.stmt, permit: p.permit}
	if err := c.forwardExecutable(ctx, e, frame); err != nil || !e.mayTakeCopy() {
		return err
	}
	// What the client sends next is the data of a COPY, where the server asks for it: its Sync would end nothing.
	if err := c.settle(ctx); err != nil {
		return err
	}
	return c.endedAmongData(ctx)
}

// runs notes what an Execute does beyond what its Bind was noted for: between them the pipeline may have
// ended, and others may have been bound and run.
func (c *conn) runs(p *portal) {
	unseen := p.action.Effects.Any(countersign.Execute | countersign.Unknown)
	c.touch(p.stmt)
	if p.stmt.changes() || unseen {
		c.generation++
		c.changing = true
	}
	if unseen {
		c.doubt(p.stmt)
	}
	if p.stmt.commits() {
		c.block.commitSent = true
	}
	if p.action.Effects.Privileged() {
		c.block.dirty = true
	}
	if !p.ran && c.block.open && c.block.hash != p.hash {
		c.block.note(p.action)
	}
}

func (c *conn) close(ctx context.Context, frame []byte) error {
	kind, name, err := decodeTarget(frame[headerLen:])
	if err != nil {
		return c.refuse(ctx, serverError(codeProtocol, "invalid message format"))
	}
	if err := c.checkName(ctx, name); err != nil || c.discarding {
		return c.refuse(ctx, err)
	}
	e := expected{kind: expectClose, name: string(name)}
	if kind == 'S' {
		e.before = c.statements[e.name]
		delete(c.statements, e.name)
		c.names++
	} else if p := c.portals[e.name]; p != nil {
		// Its Executes may still be unanswered; the outcome is known then.
		if err := c.settle(ctx); err != nil || c.discarding {
			return err
		}
		unsent := p.bindFrame != nil
		c.dropPortal(e.name, p)
		if unsent {
			return c.answerHere(ctx, appendFrame(nil, msgCloseComplete))
		}
	}
	c.unsynced = true
	return c.forwardInert(e, frame)
}

// sync ends a pipeline.
func (c *conn) sync(ctx context.Context) error {
	c.discarding = false
	if c.block.dirty {
		c.block.commitSent = !c.block.open || c.block.commitSent
	}
	if err := c.forwardInert(expected{kind: expectSync}, syncFrame); err != nil {
		return err
	}
	c.cancelling.running()
	defer c.cancelling.idle()
	if err := c.drain(ctx); err != nil {
		return err
	}
	return c.finishCut(ctx, true)
}

// settle has the server answer all that it was sent, without ending the pipeline.
func (c *conn) settle(ctx context.Context) error {
	if c.owed() == nil {
		return nil
	}
	if err := c.forwardFlush(); err != nil {
		return err
	}
	c.cancelling.running()
	defer c.cancelling.idle()
	if err := c.drain(ctx); err != nil {
		return err
	}
	if c.relay.copyIn { // of a text that was run without being understood
		if err := c.pump(ctx, c.owed().permit, nil); err != nil {
			return err
		}
	}
	return c.finishCut(ctx, false)
}

// settleChanging settles when something unanswered decides how the next message is to be understood.
func (c *conn) settleChanging(ctx context.Context) error {
	if !c.changing || c.owed() == nil {
		return nil
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	c.changing = false
	return nil
}

// answerHere gives an answer of the server's kind without asking the server, in its turn.
func (c *conn) answerHere(ctx context.Context, frame []byte) error {
	if err := c.settle(ctx); err != nil || c.discarding {
		return err
	}
	c.out = append(c.out, frame...)
	return nil
}

// refuse answers a message of the extended protocol with an error. Like the server, it then ignores
// everything up to the client's Sync; the server's transaction fails with it.
func (c *conn) refuse(ctx context.Context, why error) error {
	if err := c.settle(ctx); err != nil || c.discarding {
		return err
	}
	if gone := c.gone(why); gone != nil {
		return gone
	}
	return c.fail(ctx, why)
}

func (c *conn) fail(ctx context.Context, why error) error {
	if c.status == 'T' || c.unsynced {
		if err := c.ask(failing); err != nil {
			return err
		}
		if err := c.drainOwn(ctx); err != nil {
			return err
		}
	}
	c.block.failed = true
	c.discarding = true
	c.out = appendReport(c.out, msgError, c.errorReport(why))
	return c.flush(ctx)
}

// finishCut tells the client of a result that was cut off, once the server has nothing more to say.
func (c *conn) finishCut(ctx context.Context, synced bool) error {
	why := c.relay.cut
	if why == nil {
		return nil
	}
	c.relay.cut = nil
	if synced {
		return c.refuseSimple(ctx, c.cutReport(why))
	}
	c.relay.fate = fateRolledBack
	if c.discarding { // the server has failed by itself
		c.out = appendReport(c.out, msgError, c.errorReport(c.cutReport(why)))
		return c.flush(ctx)
	}
	return c.fail(ctx, c.cutReport(why))
}

// serverFailed takes an error of the server. In the extended protocol it skips all it was sent up to the
// next Sync, so what was expected of these messages is undone.
func (c *conn) serverFailed(e *expected, body []byte) {
	r := &c.relay
	r.report = decodeReport(body)
	r.failed = true
	if r.report.severity == "FATAL" || r.report.severity == "PANIC" {
		r.fatal = true
	}
	if e.kind == expectQuery || e.kind == expectCall {
		return // ReadyForQuery follows
	}
	if e.kind == expectSync {
		return // the commit at Sync failed: ReadyForQuery follows
	}
	c.block.failed = true
	if e.portal != nil && e.kind != expectBind || e.kind == expectBind && e.portal != nil {
		e.portal.settled = true
		e.portal.permit.Finish(gate.Outcome{State: approval.Failed, Rows: -1, Error: c.said()})
	}
	if e.kind == expectParse && e.name == "" {
		e.before = nil // a failed Parse has dropped the unnamed statement before it failed
	}
	last := c.head
	for last < len(c.queue) && c.queue[last].kind != expectSync {
		last++
	}
	c.discarding = last == len(c.queue)
	for i := last - 1; i >= c.head; i-- {
		c.undo(&c.queue[i])
	}
	for c.head < last {
		n := last - c.head
		c.pop()
		if n == 1 {
			break
		}
	}
}

// undo takes back what was noted of a message that the server did not process.
func (c *conn) undo(e *expected) {
	switch e.kind {
	case expectParse:
		if e.stmt == nil {
			return
		}
		if e.own { // it was to put the statement back
			e.stmt.doubt = true
			return
		}
		c.forget(e.stmt)
		if c.statements[e.name] == e.stmt {
			c.restoreStatement(e)
		}
	case expectClose:
		if e.before != nil && c.statements[e.name] == nil {
			c.restoreStatement(e)
		}
	case expectBind:
		if e.portal != nil && c.portals[e.name] == e.portal {
			c.dropPortal(e.name, e.portal)
		}
	case expectExecute:
		if e.portal != nil && !e.portal.settled {
			e.portal.settled = true
			e.portal.permit.Finish(gate.Outcome{State: approval.Failed, Rows: -1, Error: errSkipped})
		}
	case expectQuery, expectCall, expectDescribe, expectSync:
	}
}

func (c *conn) restoreStatement(e *expected) {
	if e.before == nil {
		delete(c.statements, e.name)
		return
	}
	c.statements[e.name] = e.before
}

// dropPortal forgets a portal, and settles its permit when nothing else will.
func (c *conn) dropPortal(name string, p *portal) {
	if p == nil {
		return
	}
	if c.portals[name] == p {
		delete(c.portals, name)
	}
	p.dropped = true
	c.release(&p.kept)
	if p.permit == nil || p.settled || p.owed > 0 {
		return
	}
	p.settled = true
	o := gate.Outcome{State: approval.Done, InBlock: c.block.open, Rows: p.rows}
	switch {
	case p.fetched:
		o.Rows = -1
	case !p.ran:
		o = gate.Outcome{State: approval.Failed, Rows: -1, Error: sanitize.Const("not run: bound and never executed")}
	}
	p.permit.Finish(o)
}
