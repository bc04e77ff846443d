package sql

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign-dev/countersign"
)

// control is what of a Statement the session is followed by.
func control(st Statement) Statement {
	return Statement{
		Tx: st.Tx, Chain: st.Chain, Savepoint: st.Savepoint, Copy: st.Copy, Prepare: st.Prepare, Execute: st.Execute,
		Deallocate: st.Deallocate, DiscardAll: st.DiscardAll, Declares: st.Declares, Hold: st.Hold, Fetches: st.Fetches,
		Closes: st.Closes, ClosesAll: st.ClosesAll, Sets: st.Sets,
	}
}

// What only stands in a statement does to the session nothing: EXPLAIN opens no cursor, and a function's
// body runs when it is called.
func TestOnlyTheStatementItselfControlsTheSession(t *testing.T) {
	for _, text := range []string{
		"EXPLAIN DECLARE c CURSOR FOR SELECT 1",
		"EXPLAIN (ANALYZE) DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT 1",
	} {
		r := Classify(text, normal, nil)
		if r.Effects != countersign.Read|countersign.Session {
			t.Errorf("%s: %s", text, r.Effects)
		}
		if diff := cmp.Diff(Statement{}, control(r.Statements[0]), cmp.AllowUnexported(Statement{})); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
	for _, inner := range []string{
		"DECLARE c CURSOR WITH HOLD FOR SELECT 1", "FETCH c", "MOVE c", "CLOSE c", "CLOSE ALL", "COMMIT AND CHAIN", "START TRANSACTION",
		"ROLLBACK TO x", "PREPARE p AS SELECT 1", "DEALLOCATE p", "DEALLOCATE ALL", "DISCARD ALL", "COPY t FROM STDIN", "COPY t TO STDOUT",
	} {
		text := "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC " + inner + "; SELECT 1; END; SELECT 1"
		r := Classify(text, normal, nil)
		if len(r.Statements) != 2 {
			t.Errorf("%s: %v", text, r.Why)
			continue
		}
		st := r.Statements[0]
		if !st.Effects.Has(countersign.Unknown) || st.ReturnsRows {
			t.Errorf("%s: %s, returns rows: %t", text, st.Effects, st.ReturnsRows)
		}
		if diff := cmp.Diff(Statement{}, control(st), cmp.AllowUnexported(Statement{})); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
}

// The protocol prepares statements that SQL's PREPARE does not take. What they do by a name to the
// transaction, to cursors or to other statements, an EXECUTE of them does not tell.
func TestExecuteOfWhatControlsTheSession(t *testing.T) {
	for _, body := range []string{
		"DECLARE c CURSOR FOR SELECT 1", "FETCH 5 FROM c", "MOVE c", "CLOSE c", "CLOSE ALL", "BEGIN", "SAVEPOINT s",
		"DEALLOCATE p", "DEALLOCATE ALL", "DISCARD ALL", "PREPARE q AS SELECT 1", "EXECUTE q",
	} {
		s := normal
		s.Prepared = func(name string) *Statement {
			if name != "p" {
				return nil
			}
			return &Classify(body, normal, nil).Statements[0]
		}
		for _, text := range []string{"EXECUTE p", "EXPLAIN EXECUTE p", "CREATE TABLE t AS EXECUTE p"} {
			if r := Classify(text, s, nil); !r.Effects.Has(countersign.Unknown) {
				t.Errorf("%s of %s: %s", text, body, r.Effects)
			}
		}
	}
	s := normal
	s.Prepared = func(string) *Statement { return &Classify("SELECT 1", normal, nil).Statements[0] }
	two := "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC EXECUTE a; EXECUTE b; END"
	if r := Classify(two, s, nil); !r.Effects.Has(countersign.Unknown) {
		t.Errorf("%s: %s", two, r.Effects)
	}
}
