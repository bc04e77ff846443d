package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/countersign-dev/countersign/gate"
)

// This file is the only one that writes to the upstream connection of a session (P1, tested). What makes
// the server execute something takes the Permit under which it does; all other messages are a closed list.
// A message goes upstream together with what the server will owe for it, here and nowhere else, so that each
// answer is taken for that of its own message.

var (
	errNoPermit   = errors.New("an executable message without a permit")
	errNotInert   = errors.New("a message that executes, sent as one that does not")
	errMiscounted = errors.New("a message that does not fit what is expected of it")
)

// asks are the messages that the server answers, by what it owes for them.
var asks = [...]byte{
	expectQuery: msgQuery, expectCall: msgFunctionCall, expectParse: msgParse, expectBind: msgBind, expectClose: msgClose,
	expectDescribe: msgDescribe, expectExecute: msgExecute, expectSync: msgSync,
}

// sendHighWater is how much waits to be written upstream before it is written without being asked for.
const sendHighWater = 32 << 10

// forwardExecutable queues a message that makes the server execute something: Query, Bind (planning runs
// code), Execute, FunctionCall.
func (c *conn) forwardExecutable(ctx context.Context, e expected, frame []byte) error {
	if e.permit == nil {
		return errNoPermit
	}
	switch e.kind {
	case expectQuery, expectBind, expectExecute, expectCall:
	default:
		return fmt.Errorf("message %q is not one that executes", frame[0])
	}
	// A cancel request that was passed on must have hit what it was meant for.
	if err := c.cancelling.settled(ctx); err != nil {
		return err
	}
	return c.forward(e, frame)
}

// forwardParse queues a Parse. The server analyses the text, which is why a text that is not understood
// needs a permit for this already (P5).
func (c *conn) forwardParse(e expected, frame []byte) error {
	if e.stmt == nil || !e.stmt.understood && e.stmt.permit == nil {
		return errNoPermit
	}
	if e.kind != expectParse {
		return errNotInert
	}
	return c.forward(e, frame)
}

// forwardInert queues a message that executes nothing.
func (c *conn) forwardInert(e expected, frame []byte) error {
	switch e.kind {
	case expectDescribe, expectClose, expectSync:
		return c.forward(e, frame)
	default:
		return errNotInert
	}
}

// forward queues a message and counts the answer to it.
func (c *conn) forward(e expected, frame []byte) error {
	if asks[e.kind] != frame[0] {
		return errMiscounted
	}
	c.queue = append(c.queue, e)
	return c.send(frame)
}

// forwardFlush and forwardTerminate queue the messages that the server does not answer.
func (c *conn) forwardFlush() error     { return c.send(flushFrame) }
func (c *conn) forwardTerminate() error { return c.send(terminateFrame) }

var (
	flushFrame     = appendFrame(nil, msgFlush)
	syncFrame      = appendFrame(nil, msgSync)
	terminateFrame = appendFrame(nil, msgTerminate)
)

// question is a statement of the gateway's own. It is unexported so that only constants of the source
// convert to it: nothing a client says becomes one.
type question string

const (
	// failing is not SQL, so that the server puts its transaction into the failed state.
	failing question = "COUNTERSIGN REFUSED A STATEMENT OF THIS TRANSACTION"
	// What is in force of the settings that decide how a text is read. They are utility statements, which
	// take no snapshot, so that SET TRANSACTION still works after them.
	askPath       question = "SHOW search_path"
	askConforming question = "SHOW standard_conforming_strings"
	askEncoding   question = "SHOW client_encoding"
	// What is in force of the settings that the server does not report and that change what a statement means;
	// their names are read from here. The last ones are the gateway's own, which a statement may read.
	askSettings question = "SELECT pg_catalog.current_setting('array_nulls', true), pg_catalog.current_setting('backslash_quote', true), " +
		"pg_catalog.current_setting('bytea_output', true), pg_catalog.current_setting('check_function_bodies', true), " +
		"pg_catalog.current_setting('default_table_access_method', true), pg_catalog.current_setting('default_tablespace', true), " +
		"pg_catalog.current_setting('default_text_search_config', true), pg_catalog.current_setting('default_transaction_deferrable', true), " +
		"pg_catalog.current_setting('default_transaction_isolation', true), pg_catalog.current_setting('default_transaction_read_only', true), " +
		"pg_catalog.current_setting('extra_float_digits', true), pg_catalog.current_setting('gin_fuzzy_search_limit', true), " +
		"pg_catalog.current_setting('lc_monetary', true), pg_catalog.current_setting('lc_numeric', true), pg_catalog.current_setting('lc_time', true), " +
		"pg_catalog.current_setting('quote_all_identifiers', true), pg_catalog.current_setting('role', true), " +
		"pg_catalog.current_setting('row_security', true), pg_catalog.current_setting('session_replication_role', true), " +
		"pg_catalog.current_setting('timezone_abbreviations', true), pg_catalog.current_setting('transform_null_equals', true), " +
		"pg_catalog.current_setting('xmlbinary', true), pg_catalog.current_setting('xmloption', true), " +
		"pg_catalog.current_setting('countersign.hold', true), pg_catalog.current_setting('countersign.reason', true), " +
		"pg_catalog.current_setting('countersign.run', true), pg_catalog.current_setting('countersign.ticket', true)"
	// What is in force of one setting, whose name is a value here and never part of the text.
	askSetting question = "SELECT pg_catalog.current_setting($1, true)"
)

// ownName is the name of the gateway's own statements and portals on the server.
const ownName = "countersign_gateway"

// ask queues a statement of our own, whose answers are not passed on.
func (c *conn) ask(q question, params ...string) error {
	m := appendParse(nil, []byte(ownName), []byte(q), nil)
	c.queue = append(c.queue, expected{kind: expectParse, own: true, mute: q == failing, name: ownName})
	if q != failing {
		var at int
		m, at = begin(m, msgBind)
		m = append(append(m, ownName...), 0)
		m = append(append(m, ownName...), 0)
		m = binary.BigEndian.AppendUint16(append(m, 0, 0), uint16(len(params)))
		for _, p := range params {
			m = append(binary.BigEndian.AppendUint32(m, uint32(len(p))), p...)
		}
		m = finish(append(m, 0, 0), at)
		m, at = begin(m, msgExecute)
		m = append(append(m, ownName...), 0)
		m = finish(append(m, 0, 0, 0, 0), at)
		m = appendTarget(m, msgClose, 'P', []byte(ownName))
		m = appendTarget(m, msgClose, 'S', []byte(ownName))
		for _, k := range []kind{expectBind, expectExecute, expectClose, expectClose} {
			c.queue = append(c.queue, expected{kind: k, own: true})
		}
	}
	return c.send(m)
}

// send queues bytes for the server. They leave when flushUp is called, or when many have gathered.
func (c *conn) send(frame []byte) error {
	c.unread += len(frame)
	if len(frame) >= sendHighWater {
		if err := c.flushUp(); err != nil {
			return err
		}
		_, err := c.up.conn.Write(frame)
		return upstreamError(err)
	}
	c.toUp = append(c.toUp, frame...)
	if len(c.toUp) >= sendHighWater {
		return c.flushUp()
	}
	return nil
}

// flushUp writes what is queued.
func (c *conn) flushUp() error {
	if len(c.toUp) == 0 {
		return nil
	}
	_, err := c.up.conn.Write(c.toUp)
	c.toUp = c.toUp[:0]
	if cap(c.toUp) > 2*sendHighWater {
		c.toUp = nil
	}
	return upstreamError(err)
}

// sendCopy writes the data of a COPY in its own phase, in which the goroutine that pumps is the only writer.
func (c *conn) sendCopy(p *gate.Permit, frames []byte) error {
	if p == nil {
		return errNoPermit
	}
	_, err := c.up.conn.Write(frames)
	return upstreamError(err)
}
