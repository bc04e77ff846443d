package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// spool is the data of a COPY FROM STDIN that was read before its decision, as the client framed it.
type spool struct {
	chunks [][]byte
	size   int
	hash   countersign.Digest
	// whole: the client has sent all of it. Else it was too much to keep, the rest is still to come, and
	// those who sign know that they have not seen it (fact data_unseen).
	whole bool
}

const spoolChunk = 64 << 10

// takesDataFirst reports whether a query string is one COPY FROM STDIN, whose data can be read before it
// is decided. In a longer string the data comes between results and is unseen.
func (c *conn) takesDataFirst(s *statement) bool { return s.single() != nil && s.takesCopy() }

// bindCopy keeps the Bind of a COPY FROM STDIN back until its data is there.
func (c *conn) bindCopy(ctx context.Context, name string, po *portal, frame []byte) error {
	po.bindFrame = frame
	if err := c.answerHere(ctx, appendFrame(nil, msgBindComplete)); err != nil || c.discarding {
		return err
	}
	c.open(name, po)
	return nil
}

// copyIn runs COPY FROM STDIN, by a query string or by the Execute of a portal. Where policy does not
// plainly allow it without looking at the data, the data is read first and its hash becomes part of
// what is signed (P3).
func (c *conn) copyIn(ctx context.Context, s *statement, po *portal, frame []byte) error {
	refuse := c.refuseSimple
	if po != nil {
		refuse = c.refuse
	}
	frame = bytes.Clone(frame)
	c.in.giveBack()
	if err := c.settle(ctx); err != nil || c.discarding {
		return err
	}
	if po != nil {
		if err := c.boundStill(ctx, po); err != nil {
			return refuse(ctx, err)
		}
		if c.discarding {
			return nil
		}
	}
	a := c.action(s, nil)
	unseen := *a
	unseen.Facts.DataUnseen = true
	if c.sess.Judge(&unseen).Verdict == countersign.Allow {
		p, err := c.admit(ctx, &unseen, s)
		if err != nil {
			return refuse(ctx, err)
		}
		return c.runCopy(ctx, s, po, &unseen, p, frame, nil)
	}
	if c.sess.Judge(a).Verdict == countersign.Deny {
		if p, err := c.admit(ctx, a, s); err != nil {
			return refuse(ctx, err)
		} else { // policy has changed its mind meanwhile
			return c.runCopy(ctx, s, po, a, p, frame, nil)
		}
	}
	sp := &spool{}
	defer func() { c.front.memory.give(cap0(sp.chunks)) }()
	if err := c.readSpool(ctx, s, sp); err != nil {
		return refuse(ctx, err)
	}
	if sp.whole {
		a.Definitions = append(a.Definitions, countersign.Definition{Name: "stdin", Hash: sp.hash})
	} else {
		a.Facts.DataUnseen = true
	}
	p, err := c.admit(ctx, a, s)
	if err != nil {
		return refuse(ctx, err)
	}
	return c.runCopy(ctx, s, po, a, p, frame, sp)
}

// boundStill makes sure that the Bind that was kept back binds what it would have bound when it came, and
// reads its names anew: the server looks them up only now (P3).
func (c *conn) boundStill(ctx context.Context, po *portal) error {
	m, err := decodeBind(po.bindFrame[headerLen:], nil)
	if err != nil {
		return err
	}
	if c.statements[string(m.statement)] != po.stmt {
		return own(codeUnsupported, sanitize.Const("the statement of a COPY was replaced or closed between Bind and Execute"),
			sanitize.Clean{}, sanitize.Const("close it after the COPY has ended"))
	}
	if err := c.freshPath(ctx); err != nil || c.discarding {
		return err
	}
	c.classifyAgain(po.stmt)
	if st := po.stmt.single(); st == nil || st.Copy != sql.CopyFromClient {
		return own(codeUnsupported, sanitize.Const("the session changed between Bind and Execute"), sanitize.Clean{}, sanitize.Const("bind the statement again"))
	}
	return c.parseAgain(po.stmt, m.statement)
}

func cap0(chunks [][]byte) (n int) {
	for _, b := range chunks {
		n += cap(b)
	}
	return n
}

var copyBinary = regexp.MustCompile(`(?i)\bbinary\b`)

// readSpool asks the client for the data and keeps it, within its limits.
func (c *conn) readSpool(ctx context.Context, s *statement, sp *spool) error {
	// The response gives no columns: clients do not need them, and only the server knows their number.
	format := byte(0)
	if copyBinary.Match(s.text) {
		format = 1
	}
	c.out = appendFrame(c.out, msgCopyInResponse, format, 0, 0)
	if err := c.flush(ctx); err != nil {
		return err
	}
	h := sha256.New()
	for {
		typ, size, ok, err := c.in.header()
		if err != nil {
			return c.dismiss("invalid message length")
		}
		if ok && typ == msgCopyData && !c.spoolRoom(sp, size) {
			return nil
		}
		if !ok || len(c.in.pending()) < size {
			if ok && typ != msgCopyData && size > clientBufferHigh {
				return c.dismiss("invalid message length")
			}
			c.clientDeadline(time.Time{})
			if err := c.in.fill(); err != nil {
				return c.clientRead(err)
			}
			continue
		}
		frame := c.in.buf[c.in.r : c.in.r+size]
		c.in.r += size
		switch typ {
		case msgCopyData:
			h.Write(frame[headerLen:])
			sp.add(frame)
		case msgCopyDone:
			sp.whole = true
			h.Sum(sp.hash[:0])
			return nil
		case msgCopyFail:
			f := fields{b: frame[headerLen:]}
			return serverError(codeCancelled, fmt.Sprintf("COPY from stdin failed: %s", f.text()))
		case msgFlush, msgSync: // as the server, which ignores them here
		case msgTerminate:
			return errClientGone
		default:
			return serverError(codeProtocol, fmt.Sprintf("unexpected message type 0x%02X during COPY from stdin", typ))
		}
	}
}

// spoolRoom reserves what a frame needs, or reports that the data is too much to keep.
func (c *conn) spoolRoom(sp *spool, size int) bool {
	if sp.size+size > c.front.limits.CopySpool {
		return false
	}
	if n := len(sp.chunks); n > 0 && cap(sp.chunks[n-1])-len(sp.chunks[n-1]) >= size {
		return true
	}
	need := max(spoolChunk, size)
	if !c.front.memory.take(need) {
		return false
	}
	sp.chunks = append(sp.chunks, make([]byte, 0, need))
	return true
}

func (sp *spool) add(frame []byte) {
	last := len(sp.chunks) - 1
	sp.chunks[last] = append(sp.chunks[last], frame...)
	sp.size += len(frame)
}

// runCopy forwards an admitted COPY FROM STDIN with its data.
func (c *conn) runCopy(ctx context.Context, s *statement, po *portal, a *countersign.Action, p *gate.Permit, frame []byte, sp *spool) error {
	c.relay.swallowed = sp != nil
	defer func() { c.relay.swallowed = false }()
	if po == nil {
		return c.runCopyQuery(ctx, s, a, p, frame, sp)
	}
	po.permit, po.action, po.ran = p, a, true
	bindFrame := po.bindFrame
	po.bindFrame = nil
	c.sent(a, p, s)
	c.unsynced = true
	if err := c.forwardExecutable(ctx, expected{kind: expectBind, own: true, portal: po, permit: p}, bindFrame); err != nil {
		return err
	}
	po.owed++
	if err := c.forwardExecutable(ctx, expected{kind: expectExecute, portal: po, stmt: s, permit: p}, frame); err != nil {
		return err
	}
	// The server ignores it while it reads data; where it does not ask for any, its answer must come.
	if err := c.forwardFlush(); err != nil {
		return err
	}
	c.cancelling.running()
	defer c.cancelling.idle()
	if err := c.drain(ctx); err != nil {
		return err
	}
	if c.relay.copyIn {
		if err := c.pump(ctx, p, sp); err != nil {
			return err
		}
	}
	if err := c.finishCut(ctx, false); err != nil {
		return err
	}
	return c.endedAmongData(ctx)
}

// endedAmongData ends the pipeline of a COPY that the server failed, where the client's Sync was read as one
// among the data: the server had stopped to ignore them by then.
func (c *conn) endedAmongData(ctx context.Context) error {
	ended := c.relay.ended
	c.relay.ended = false
	if !ended || !c.discarding {
		return nil
	}
	return c.sync(ctx)
}

func (c *conn) runCopyQuery(ctx context.Context, s *statement, a *countersign.Action, p *gate.Permit, frame []byte, sp *spool) error {
	c.sent(a, p, s)
	c.relay.begin()
	if err := c.forwardExecutable(ctx, expected{kind: expectQuery, stmt: s, permit: p}, frame); err != nil {
		c.unsent(p, err)
		return err
	}
	c.cancelling.running()
	defer c.cancelling.idle()
	c.dropUnnamed()
	if err := c.drain(ctx); err != nil {
		return err
	}
	if c.relay.copyIn {
		return c.pump(ctx, p, sp)
	}
	return nil
}

// pump feeds the server the data it asks for while its answers are passed on: it may report an error, or
// many notices, before it has read everything.
func (c *conn) pump(ctx context.Context, p *gate.Permit, sp *spool) error {
	for c.relay.copyIn {
		c.relay.copyIn, c.relay.ended = false, false
		c.clientDeadline(time.Time{})
		fed := make(chan error, 1)
		go func() {
			err := c.feed(p, sp)
			if err != nil {
				_ = c.up.conn.SetReadDeadline(past) // the answers will not come
			}
			fed <- err
		}()
		err := c.drain(ctx)
		_ = c.client.SetReadDeadline(past)
		lost := <-fed
		c.clientDeadline(time.Time{})
		if lost != nil {
			return lost
		}
		if err != nil {
			return err
		}
		if typ, _, ok, _ := c.in.header(); ok && typ == msgTerminate {
			return errClientGone
		}
		if c.relay.failed && strings.Contains(c.relay.report.message, strayWords) {
			return c.dismiss("unexpected message during COPY from stdin")
		}
		sp, c.relay.swallowed = nil, false
	}
	c.relay.ended = c.relay.ended && c.discarding
	return nil
}

// feed writes the spooled data, then what the client still sends, up to its end. It owns the client's
// reader and the writing side of the server's connection meanwhile. A deadline in the past ends it: the
// server has answered already.
func (c *conn) feed(p *gate.Permit, sp *spool) error {
	if sp != nil {
		for _, chunk := range sp.chunks {
			if err := c.sendCopy(p, chunk); err != nil {
				return err
			}
		}
		if sp.whole {
			return c.sendCopy(p, copyEnd)
		}
	}
	in := &c.in
	for {
		// Whole frames go as they lie in the buffer, many at once.
		from := in.r
		next := c.copyFrames(in)
		if in.r > from {
			c.relay.ended = false
			if err := c.sendCopy(p, in.buf[from:in.r]); err != nil {
				return err
			}
		}
		switch next {
		case copyEnds:
			return c.sendCopy(p, flushFrame) // a pipeline's answers come only when asked for
		case copySkips:
			// The server ignores these while it reads data, but not once it has failed, which it may have already
			// without the gateway's knowing: one that went along might be answered.
			typ, size, _, _ := in.header()
			in.r += size
			c.relay.ended = typ == msgSync
			continue
		case copyStray:
			// To the server this would be an error, unless it has failed the COPY already. CopyFail finds out which.
			return c.sendCopy(p, copyStrayEnd)
		}
		if _, size, ok, _ := in.header(); ok && size > c.front.limits.Message {
			return c.dismiss("invalid message length")
		}
		if err := in.fill(); err != nil {
			if timedOut(err) && c.ended.Load() == nil {
				return nil
			}
			return c.clientRead(err)
		}
	}
}

// copyEnd is CopyDone and a Flush; copyStrayEnd has CopyFail instead, with words to know it by.
var (
	copyEnd      = append(appendFrame(nil, msgCopyDone), flushFrame...)
	copyStrayEnd = append(appendFrame(nil, msgCopyFail, append([]byte(strayWords), 0)...), flushFrame...)
)

const strayWords = "countersign: a message that is not part of a COPY came among its data"

// copyNext is what stands in the client's stream after frames of COPY data.
type copyNext uint8

const (
	copyMore  copyNext = iota // more has to be read
	copyEnds                  // the data has ended; the frame that says so is among those walked
	copySkips                 // a Sync or Flush, not walked
	copyStray                 // something that does not belong there, not walked
)

// copyFrames walks the complete frames of COPY data that have arrived, up to its end.
func (c *conn) copyFrames(in *reader) copyNext {
	for {
		typ, size, ok, err := in.header()
		if err != nil {
			return copyStray
		}
		if !ok || len(in.pending()) < size && (typ == msgCopyData || typ == msgCopyDone || typ == msgCopyFail) {
			return copyMore
		}
		switch typ {
		case msgCopyData:
			in.r += size
		case msgCopyDone, msgCopyFail:
			in.r += size
			return copyEnds
		case msgFlush, msgSync:
			if len(in.pending()) < size {
				return copyMore
			}
			return copySkips
		default:
			return copyStray
		}
	}
}
