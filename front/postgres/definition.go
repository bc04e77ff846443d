package postgres

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/classify/sql"
	"github.com/countersign-dev/countersign/gate"
	"github.com/countersign-dev/countersign/sanitize"
)

// cursor is what DECLARE opened: FETCH reads under its statement and counts under its permit.
type cursor struct {
	stmt   *statement
	permit *gate.Permit
	// effects and objects are those of its query, which every FETCH runs on, or again after a MOVE back.
	effects countersign.Effects
	objects []countersign.Object
	seq     int  // when it was opened, among cursors and portals
	hold    bool // WITH HOLD: it outlives its transaction, once that is committed
	fresh   bool // its transaction has not been committed
}

// maxCursors is how many cursors of a connection are known.
const maxCursors = 1000

// define binds a to the statements that its text reaches by name: what EXECUTE runs and what FETCH reads.
// Else one text could be signed and another be put under the name (P3). A cursor that was not seen being
// declared makes the action unknown (P5).
func (c *conn) define(a *countersign.Action, s *statement) {
	if s.result == nil {
		return
	}
	declared := map[string]bool{} // earlier in this very text
	for i := range s.result.Statements {
		st := &s.result.Statements[i]
		if st.Declares != "" {
			declared[st.Declares] = true
		}
		if st.Execute != "" && c.statements[st.Execute] != nil {
			reaches(a, "prepared statement ", st.Execute, c.statements[st.Execute])
		}
		if st.Fetches == "" || declared[st.Fetches] {
			continue
		}
		if cur, ok := c.cursors[st.Fetches]; ok {
			reaches(a, "cursor ", st.Fetches, cur.stmt)
			runsOn(a, cur.effects, cur.objects)
			continue
		}
		if p := c.portals[st.Fetches]; p != nil && p.action != nil {
			// What the protocol bound and SQL reads is known, but under other parameters and limits.
			reaches(a, "portal ", st.Fetches, p.stmt)
			runsOn(a, p.action.Effects, p.action.Objects)
		}
		a.Effects |= countersign.Unknown
		a.Why = append(slices.Clone(a.Why), countersign.Evidence{
			Effect: countersign.Unknown,
			Why:    sanitize.Const("it reads a cursor that was not declared in this session by a statement the gateway has seen"),
		})
	}
}

// runsOn gives a what the query of a cursor does: reading from it is what runs it (P4).
func runsOn(a *countersign.Action, e countersign.Effects, objects []countersign.Object) {
	e &^= countersign.Session
	if more := e &^ a.Effects; more != 0 {
		a.Why = append(slices.Clone(a.Why), countersign.Evidence{Effect: more, Why: sanitize.Const("the cursor's query, which this runs on or again")})
	}
	a.Effects |= e
	a.Objects = append(slices.Clone(a.Objects), objects...)
}

// opened notes a cursor that DECLARE has opened. The server has no portal of that name then.
func (c *conn) opened(e *expected, st *sql.Statement) {
	if len(c.cursors) >= maxCursors {
		clear(c.cursors) // those forgotten are unknown to the gateway, and judged so
	}
	if p := c.portals[st.Declares]; p != e.portal {
		c.dropPortal(st.Declares, p)
	}
	c.seq++
	c.cursors[st.Declares] = cursor{
		stmt: e.stmt, permit: e.permit, effects: st.Effects, objects: st.Objects,
		seq: c.seq, hold: st.Hold, fresh: true,
	}
}

// closed forgets the cursor or portal that CLOSE has dropped.
func (c *conn) closed(e *expected, st *sql.Statement) {
	if st.ClosesAll {
		clear(c.cursors)
		for name, p := range c.portals {
			if p != e.portal {
				c.dropPortal(name, p)
			}
		}
		return
	}
	delete(c.cursors, st.Closes)
	if p := c.portals[st.Closes]; p != e.portal {
		c.dropPortal(st.Closes, p)
	}
}

// closeAfter forgets the cursors and portals opened after a savepoint that was rolled back to.
func (c *conn) closeAfter(e *expected, seq int) {
	for name, cur := range c.cursors {
		if cur.seq > seq {
			delete(c.cursors, name)
		}
	}
	for name, p := range c.portals {
		if p.seq > seq && p != e.portal {
			c.dropPortal(name, p)
		}
	}
}

// closeBlock forgets the cursors that end with their transaction.
func (c *conn) closeBlock(end gate.BlockEnd) {
	for name, cur := range c.cursors {
		if !cur.hold || cur.fresh && end != gate.Committed {
			delete(c.cursors, name)
		} else if cur.fresh {
			cur.fresh = false
			c.cursors[name] = cur
		}
	}
}

// fetches notes that s reads portals that the protocol bound, so that these have run.
func (c *conn) fetches(s *statement) {
	if s.result == nil {
		return
	}
	for i := range s.result.Statements {
		if p := c.portals[s.result.Statements[i].Fetches]; p != nil && s.result.Statements[i].Fetches != "" {
			p.fetched = true
		}
	}
}

// reaches adds a definition to a, and shows it to those who sign.
func reaches(a *countersign.Action, kind, name string, s *statement) {
	d := countersign.Definition{Name: kind + name, Hash: s.definition()}
	at, found := slices.BinarySearchFunc(a.Definitions, d, func(x, y countersign.Definition) int { return strings.Compare(x.Name, y.Name) })
	if found {
		return
	}
	a.Definitions = slices.Insert(slices.Clone(a.Definitions), at, d)
	a.Shown = sanitize.Join("\n", a.Shown, sanitize.Format("-- %s is: %s", sanitize.Name(name), s.shown))
}

// definition is the hash of a statement's text and declared types.
func (s *statement) definition() countersign.Digest {
	h := sha256.New()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(len(s.text)))
	h.Write(b[:])
	h.Write(s.text)
	for _, oid := range s.types {
		binary.BigEndian.PutUint32(b[:4], oid)
		h.Write(b[:4])
	}
	return countersign.Digest(h.Sum(nil))
}

// counter is the permit whose limits bind the rows of an answer: for FETCH that of the cursor's DECLARE, so
// that reading in small parts is counted as one; but for a FETCH that was itself signed, its own.
func (c *conn) counter(e *expected) *gate.Permit {
	if e.stmt == nil || e.permit.Request() != "" {
		return e.permit
	}
	var st *sql.Statement
	if e.kind == expectQuery {
		st = e.stmt.at(c.relay.index)
	} else {
		st = e.stmt.single()
	}
	if st != nil && st.Fetches != "" {
		if cur, ok := c.cursors[st.Fetches]; ok {
			return cur.permit
		}
	}
	return e.permit
}
