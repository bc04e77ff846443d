package postgres

import (
	"bytes"

	"github.com/countersign-dev/countersign/classify/sql"
)

// mayTakeCopy reports whether the server may ask for COPY data: where the text says so, or where it was run
// without being understood.
func (e *expected) mayTakeCopy() bool {
	return !e.own && e.stmt != nil && (!e.stmt.understood || e.stmt.takesCopy())
}

// whole reports whether ReadyForQuery may end an answer: one that ends before anything else was said is that
// of another message, and so is one that leaves out statements of a text which the gateway understands.
func (c *conn) whole(e *expected) bool {
	r := &c.relay
	if r.failed {
		return true
	}
	if e.kind == expectQuery && e.stmt != nil && e.stmt.understood {
		return r.index == max(1, len(e.stmt.result.Statements))
	}
	return r.index > 0
}

// over reports whether nothing but ReadyForQuery may follow: the server has reported an error.
func (c *conn) over(e *expected) bool {
	return c.relay.failed && (e.kind == expectQuery || e.kind == expectCall)
}

// fits reports whether a command tag can be that of the statement whose answer is due. It is looked at where
// the session is followed by it: a tag of something else means that the answers have gone out of step.
func (c *conn) fits(e *expected, tag []byte) bool {
	if e.own || e.stmt == nil || !e.stmt.understood {
		return true
	}
	at := 0
	if e.kind == expectQuery {
		at = c.relay.index
	}
	st := e.stmt.at(at)
	if st == nil {
		return false
	}
	is := func(words ...string) bool {
		for _, w := range words {
			if rest, ok := bytes.CutPrefix(tag, []byte(w)); ok && (len(rest) == 0 || rest[0] == ' ') {
				return true
			}
		}
		return false
	}
	switch st.Tx {
	case sql.TxBegin:
		return is("BEGIN", "START TRANSACTION")
	case sql.TxCommit:
		return is("COMMIT", "ROLLBACK")
	case sql.TxPrepare:
		return is("PREPARE TRANSACTION", "ROLLBACK")
	case sql.TxRollback, sql.TxRollbackTo:
		return is("ROLLBACK")
	case sql.TxSavepoint:
		return is("SAVEPOINT")
	case sql.TxRelease:
		return is("RELEASE")
	}
	switch {
	case st.Prepare != "":
		return is("PREPARE")
	case st.Deallocate != "" || st.DiscardAll:
		return is("DEALLOCATE", "DISCARD")
	case st.Declares != "":
		return is("DECLARE CURSOR")
	case st.Closes != "" || st.ClosesAll:
		return is("CLOSE CURSOR")
	case len(st.Sets) > 0 && (st.Tag == "SET" || st.Tag == "RESET"):
		return is(st.Tag)
	default:
		return st.Tx != sql.TxNone || !is("PREPARE", "DEALLOCATE", "DECLARE CURSOR", "CLOSE CURSOR", "COMMIT", "ROLLBACK")
	}
}
