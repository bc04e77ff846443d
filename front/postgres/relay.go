package postgres

import (
	"bytes"
	"context"

	"github.com/countersign-dev/countersign/gate"
)

// kind is what the server has been asked and still has to answer.
type kind uint8

const (
	expectQuery    kind = iota // results, then ReadyForQuery
	expectCall                 // a function's result, then ReadyForQuery
	expectParse                // ParseComplete
	expectBind                 // BindComplete
	expectClose                // CloseComplete
	expectDescribe             // RowDescription or NoData, for a statement after ParameterDescription
	expectExecute              // rows, then CommandComplete, EmptyQueryResponse or PortalSuspended
	expectSync                 // ReadyForQuery
)

// expected is one answer that the server owes.
type expected struct {
	kind   kind
	own    bool // the gateway's own question: its answers are not passed on
	mute   bool // and neither is its error
	name   string
	stmt   *statement // Parse: what was parsed; Query: the text
	before *statement // Parse, Close: what stood under the name before
	taken  bool       // Parse: the name is taken, so that the server must refuse it
	portal *portal
	permit *gate.Permit
}

// relayState is how far the answers have been walked.
type relayState struct {
	partial int   // bytes of a row that are still to come
	rows    int64 // rows and bytes walked and not yet counted
	bytes   int64
	// left is how many of them the statement's limit allows; the row after these begins at edge.
	left      int64
	edge      int
	edgeBytes int64
	// undurable are the permits whose intent must be durable before another byte goes to the client (P6).
	undurable []*gate.Permit
	// cut is why the result may not go on: a limit, or an intent that could not be recorded. Until the
	// exchange is over everything the server says is dropped.
	cut error
	// cutChange: what was cut off changes data; fate is what became of that, once the server has said so.
	cutChange bool
	fate      fate
	// failed: the server has reported an error in this exchange.
	failed bool
	report report // of that error

	// What the command tags of a query string have told so far.
	tagRows    int64
	tagKnown   bool
	lastTag    string
	privileged bool // something privileged ran since the last end of a transaction in the string
	committed  bool // a COMMIT in the string took place
	rolledBack bool // something privileged was rolled back by the string itself
	fatal      bool // the server has said that it ends the connection
	index      int  // of the statement within a query string whose answer comes next
	copyIn     bool // the server asks for COPY data
	// ended: the client has sent a Sync among the data of a COPY, and nothing after it.
	ended bool
	// swallowed: the front has asked the client for the data of the COPY itself already.
	swallowed bool
	own       [][]byte // the rows that answered the gateway's own questions
}

// begin forgets what the answers before have told. The answer to a query string or a function call begins.
func (r *relayState) begin() { r.index, r.failed, r.report = 0, false, report{} }

// tells reports whether an error is told to the client: also one of the gateway's own message, since it ends the
// client's pipeline; but not one that is asked for, nor where the gateway ends the exchange by itself.
func (c *conn) tells(e *expected) bool {
	if !e.own {
		return true
	}
	for i := c.head; i < len(c.queue); i++ {
		if k := &c.queue[i]; k.kind == expectSync && k.own {
			return false
		}
	}
	return !e.mute
}

func (c *conn) owed() *expected {
	if c.head == len(c.queue) {
		return nil
	}
	return &c.queue[c.head]
}

func (c *conn) pop() {
	c.queue[c.head] = expected{}
	c.head++
	if c.head == len(c.queue) {
		c.queue, c.head = c.queue[:0], 0
	}
}

// drain passes on the server's answers until it owes none, or asks for COPY data.
func (c *conn) drain(ctx context.Context) error {
	if err := c.flushUp(); err != nil {
		return err
	}
	for {
		if err := c.walk(ctx); err != nil {
			return err
		}
		if err := c.flush(ctx); err != nil {
			return err
		}
		if c.owed() == nil || c.relay.copyIn {
			c.unread = 0
			if len(c.back.pending()) > 0 && c.owed() == nil {
				// What it says unasked must be known before another message of the client is taken.
				return c.overhear(ctx)
			}
			c.back.rest()
			return nil
		}
		if err := c.back.fill(); err != nil {
			return c.lost(err)
		}
	}
}

func (c *conn) lost(err error) error {
	if timedOut(err) && c.ended.Load() != nil {
		return errEnded
	}
	return upstreamError(err)
}

// walk takes the frames that have arrived, without waiting. Rows pass as they are; of a row only the
// header is looked at.
func (c *conn) walk(ctx context.Context) error {
	b, r := &c.back, &c.relay
	start, rowsFrom := b.r, -1
	for c.owed() != nil && !r.copyIn || r.partial > 0 {
		if r.partial > 0 {
			n := min(r.partial, b.w-b.r)
			b.r += n
			r.partial -= n
			if r.cut != nil {
				start = b.r
			}
			if r.partial > 0 {
				break
			}
			continue
		}
		typ, size, ok, err := b.header()
		if err != nil {
			return upstreamError(errUpstreamWords)
		}
		if !ok {
			break
		}
		if typ == msgDataRow || typ == msgCopyData {
			e := c.owed()
			if e.kind != expectQuery && e.kind != expectExecute {
				return upstreamError(errUpstreamWords)
			}
			if e.own {
				if b.w-b.r < size {
					break
				}
				if err := c.pass(ctx, b.buf[start:b.r]); err != nil {
					return err
				}
				r.own = append(r.own, bytes.Clone(b.buf[b.r+headerLen:b.r+size]))
				b.r += size
				start = b.r
				continue
			}
			if rowsFrom < 0 {
				rowsFrom = b.r
				r.left, r.edge = c.counter(e).Left(), -1
			}
			if r.rows == r.left {
				r.edge, r.edgeBytes = b.r, r.bytes
			}
			r.rows++
			r.bytes += int64(size)
			n := min(size, b.w-b.r)
			r.partial = size - n
			b.r += n
			if r.cut != nil {
				start = b.r
			}
			continue
		}
		if size > maxServerMessage {
			return upstreamError(errUpstreamWords)
		}
		if b.w-b.r < size {
			break
		}
		if rowsFrom >= 0 {
			start = c.countRows(ctx, start, rowsFrom)
			rowsFrom = -1
		}
		at := b.r
		b.r += size
		var instead []byte
		switch e := c.owed(); {
		case r.cut != nil || e != nil && e.own && !c.tells(e):
		case typ == msgError || typ == msgNotice:
			instead = c.told(e, typ, b.buf[at:b.r])
		case typ == msgFunctionResult && e != nil && e.permit != nil:
			if err := e.permit.Count(0, int64(size)); err != nil {
				c.cutOff(ctx, err)
			}
		}
		keep, err := c.answer(typ, b.buf[at+headerLen:b.r])
		if err != nil {
			return err
		}
		if keep && instead != nil {
			if err := c.pass(ctx, b.buf[start:at]); err != nil {
				return err
			}
			c.out = append(c.out, instead...)
			start = b.r
		}
		if !keep {
			if err := c.pass(ctx, b.buf[start:at]); err != nil {
				return err
			}
			start = b.r
		}
	}
	if rowsFrom >= 0 {
		start = c.countRows(ctx, start, rowsFrom)
	}
	return c.pass(ctx, b.buf[start:b.r])
}

// countRows counts the rows walked since rowsFrom. When they may not be sent, what lies before them
// passes, they and all that follow are dropped, and the server is told to stop.
func (c *conn) countRows(ctx context.Context, start, rowsFrom int) int {
	r := &c.relay
	rows, size := r.rows, r.bytes
	r.rows, r.bytes = 0, 0
	if r.cut != nil {
		return c.back.r
	}
	e := c.owed()
	if e.portal != nil {
		e.portal.rows += rows
	}
	p := c.counter(e)
	if r.edge > rowsFrom && p.Count(r.left, r.edgeBytes) == nil {
		// The rows up to the limit go; the next one ends the result.
		rowsFrom, rows, size = r.edge, rows-r.left, size-r.edgeBytes
	}
	err := p.Count(rows, size)
	if err == nil {
		return start
	}
	if failed := c.pass(ctx, c.back.buf[start:rowsFrom]); failed != nil {
		err = failed
	}
	c.cutOff(ctx, err)
	return c.back.r
}

// cutOff ends a result. The server is asked to stop; what it still sends is dropped.
func (c *conn) cutOff(ctx context.Context, why error) {
	c.relay.cut, c.relay.fate = why, fateUnknown
	c.relay.cutChange = c.owed() == nil || changed(c.owed())
	if err := c.up.cancel(ctx); err != nil {
		c.log.Warn("a cancel request did not reach the server", "error", c.front.sanitizer.Text(err.Error()))
	}
}

// direct is the size from which bytes are written to the client without being copied first.
const direct = 16 << 10

// pass queues bytes for the client, or writes them when they are many.
func (c *conn) pass(ctx context.Context, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if len(b) < direct {
		c.out = append(c.out, b...)
		return nil
	}
	if err := c.flush(ctx); err != nil || c.relay.cut != nil {
		return err
	}
	return c.write(b)
}

// flush writes what is queued for the client, once the intents of all that is in it are durable.
func (c *conn) flush(ctx context.Context) error {
	r := &c.relay
	for i, p := range r.undurable {
		err := p.Durable(ctx)
		r.undurable[i] = nil
		if err != nil && r.cut == nil {
			c.cutOff(ctx, err)
		}
	}
	r.undurable = r.undurable[:0]
	if r.cut != nil && !isLimit(r.cut) {
		c.out = c.out[:0] // results of an intent that is not recorded (P6)
	}
	if len(c.out) == 0 {
		return nil
	}
	err := c.write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > 2*direct {
		c.out = nil
	}
	return err
}

// answer takes one message of the server that is not a row, and says whether it passes to the client.
func (c *conn) answer(typ byte, body []byte) (keep bool, err error) {
	switch typ {
	case msgNotice, msgNotification:
		return true, nil
	case msgParameterStatus:
		c.parameter(body)
		return true, nil
	}
	e := c.owed()
	if e == nil {
		if r := decodeReport(body); typ == msgError && (r.severity == "FATAL" || r.severity == "PANIC") {
			c.relay.fatal = true // the server ends the connection
			return true, nil
		}
		return false, upstreamError(errUpstreamWords)
	}
	keep = !e.own && c.relay.cut == nil
	if typ == msgError {
		keep = c.tells(e) && c.relay.cut == nil
		c.serverFailed(e, body)
		return keep, nil
	}
	switch e.kind {
	case expectQuery, expectCall, expectExecute:
		return keep && !(typ == msgCopyInResponse && c.relay.swallowed), c.result(e, typ, body)
	case expectSync:
		if typ != msgReady || len(body) != 1 {
			break
		}
		c.ready(body[0])
		c.pop()
		return keep, nil
	case expectDescribe:
		switch typ {
		case msgParameterDescripton:
			if e.stmt != nil {
				e.stmt.learn(body)
			}
			return keep, nil
		case msgRowDescription, msgNoData:
			c.pop()
			return keep, nil
		}
	case expectParse:
		if typ == msgParseComplete {
			if e.taken { // what the gateway knows of the session is not true
				return false, upstreamError(errUpstreamWords)
			}
			if !e.own {
				c.forget(e.before)
			}
			c.pop()
			return keep, nil
		}
	case expectBind:
		if typ == msgBindComplete {
			c.pop()
			return keep, nil
		}
	case expectClose:
		if typ == msgCloseComplete {
			c.forget(e.before)
			c.pop()
			return keep, nil
		}
	}
	return false, upstreamError(errUpstreamWords)
}

// result takes a message of a result. Only what can be part of this very answer is taken: anything else
// means that the server answers another message than the gateway believes, and ends the session.
func (c *conn) result(e *expected, typ byte, body []byte) error {
	fits := e.kind != expectCall
	if typ != msgReady && c.over(e) {
		return upstreamError(errUpstreamWords)
	}
	switch typ {
	case msgRowDescription:
		fits = e.kind == expectQuery
	case msgCopyOutResponse, msgCopyDone:
	case msgFunctionResult:
		fits = e.kind == expectCall
		c.relay.index++
	case msgCopyInResponse:
		fits = fits && e.mayTakeCopy()
		c.relay.copyIn = fits
	case msgCommandComplete:
		tag, _, _ := bytes.Cut(body, []byte{0})
		if fits = fits && c.fits(e, tag); fits {
			c.completed(e, tag)
		}
	case msgEmptyQuery:
		if fits {
			c.completed(e, nil)
		}
	case msgPortalSuspended:
		fits = e.kind == expectExecute
	case msgReady:
		if fits = e.kind != expectExecute && len(body) == 1 && c.whole(e); fits {
			c.queryReady(e, body[0])
		}
	default:
		fits = false
	}
	if !fits {
		c.relay.copyIn = false
		return upstreamError(errUpstreamWords)
	}
	switch typ {
	case msgRowDescription, msgCopyOutResponse, msgCopyDone, msgFunctionResult, msgCopyInResponse:
		return nil
	}
	if e.kind == expectExecute {
		if po := e.portal; po != nil {
			if po.owed--; po.dropped {
				c.dropPortal(e.name, po)
			}
		}
		c.pop()
	} else if typ == msgReady {
		c.pop()
	}
	return nil
}
