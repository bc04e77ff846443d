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
			continue
		}
		a.Effects |= countersign.Unknown
		a.Why = append(slices.Clone(a.Why), countersign.Evidence{
			Effect: countersign.Unknown,
			Why:    sanitize.Const("it reads a cursor that was not declared in this session by a statement the gateway has seen"),
		})
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
